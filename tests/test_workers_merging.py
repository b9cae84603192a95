"""Metrics of several processes as one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from twisted.trial.unittest import SynchronousTestCase

from voxray.metrics import Metrics
from voxray.workers.merging import Exposition, merged, read, written

REASONS = st.sampled_from(["caller_hangup", 'a "quoted" one', "back\\slash", "two\nlines", "naïve"])
EVENTS = st.lists(st.tuples(REASONS, st.floats(0, 20)), max_size=12)


class Process:
    """One process's instruments, and what happened to it."""

    def __init__(self, events: list[tuple[str, float]], calls: int = 0) -> None:
        self.registry = registry = CollectorRegistry()
        ended = Counter("ended_total", "Calls that are over", ["reason"], registry=registry)
        took = Histogram("took_seconds", "How long", ["reason"], registry=registry, buckets=(0.1, 1, 10))
        Gauge("voxray_calls_active", "Calls", registry=registry).set(calls)
        for reason, secs in events:
            ended.labels(reason).inc()
            took.labels(reason).observe(secs)

    def text(self) -> str:
        return generate_latest(self.registry).decode("utf-8")

    def read(self) -> Exposition:
        return read(self.text())


def value(exposition: Exposition, sample: str, **labels: str) -> float | None:
    """One sample's, wherever it is."""
    key = (sample, tuple(sorted(labels.items())))
    return next((f.samples[key] for f in exposition.values() if key in f.samples), None)


def without_dates(exposition: Exposition) -> dict[str, dict[object, float]]:
    return {name: dict(f.samples) for name, f in exposition.items() if not name.endswith("_created")}


class MergeTests(SynchronousTestCase):
    @given(EVENTS)
    def test_one(self, events: list[tuple[str, float]]) -> None:
        """One process's is what it was, to the byte."""
        text = Process(events, 3).text()
        self.assertEqual(written(merged([read(text)])).decode("utf-8"), text)

    @given(st.lists(EVENTS, min_size=1, max_size=4))
    def test_as_if_it_were_one_process(self, shares: list[list[tuple[str, float]]]) -> None:
        """Counters, buckets, sums and counts are those of one process to whom all of it happened."""
        together = without_dates(merged([Process(share).read() for share in shares]))
        alone = without_dates(Process([event for share in shares for event in share]).read())
        self.assertEqual(together.keys(), alone.keys())
        for name, samples in alone.items():
            self.assertEqual(together[name].keys(), samples.keys())
            for key, number in samples.items():
                self.assertAlmostEqual(together[name][key], number, msg=str(key))

    @given(EVENTS, EVENTS, EVENTS)
    def test_order(self, a: list[tuple[str, float]], b: list[tuple[str, float]], c: list[object]) -> None:
        """Who is asked first makes no difference."""
        one, other = Process(a, 1).read(), Process(b, 2).read()
        forth, back = merged([one, other]), merged([other, one])
        self.assertEqual(without_dates(forth).keys(), without_dates(back).keys())
        for name, samples in without_dates(forth).items():
            for key, number in samples.items():
                self.assertAlmostEqual(without_dates(back)[name][key], number)

    @given(EVENTS, EVENTS)
    def test_what_is_gone(self, dead: list[tuple[str, float]], alive: list[tuple[str, float]]) -> None:
        """What a process had counted stays counted when it is gone; how it was is no more."""
        one, other = Process(dead, 5).read(), Process(alive, 2).read()
        before, after = merged([one, other]), merged([other], [one])
        self.assertEqual(value(after, "voxray_calls_active"), 2)
        for reason, _ in dead + alive:
            for sample in ("ended_total", "took_seconds_count", "took_seconds_sum"):
                number = value(before, sample, reason=reason)
                assert number is not None
                self.assertAlmostEqual(value(after, sample, reason=reason) or 0.0, number)

    def test_gauges(self) -> None:
        """Counts are added; of flags the raised one counts, of `up` and of dates the worse."""
        one, other = Metrics(), Metrics()
        for metrics, number in ((one, 1.0), (other, 3.0)):
            metrics.calls_active.set(number)
            metrics.up.set(float(number == 3))
            metrics.draining.set(float(number == 3))
            metrics.degraded.labels("redis").set(float(number == 1))
            metrics.config_loaded_at.set(number)
            metrics.config_reloads.labels("loaded").inc(number)
            metrics.insecure.labels("webhook_auth").set(float(number == 3))
        got = merged([read(generate_latest(m.registry).decode()) for m in (one, other)])
        for sample, labels, number in (
            ("voxray_calls_active", {}, 4.0),
            ("voxray_up", {}, 0.0),
            ("voxray_draining", {}, 1.0),
            ("voxray_degraded", {"what": "redis"}, 1.0),
            ("voxray_insecure_config", {"what": "webhook_auth"}, 1.0),
            ("voxray_config_last_reload_success_timestamp_seconds", {}, 1.0),
            ("voxray_config_reload_total", {"outcome": "loaded"}, 3.0),
        ):
            self.assertEqual(value(got, sample, **labels), number, sample)

    def test_labels_that_one_has(self) -> None:
        """A series that only one process has is there with its number."""
        one, other = Process([("a", 1.0)]).read(), Process([("b", 2.0)]).read()
        got = merged([one, other])
        self.assertEqual(value(got, "ended_total", reason="a"), 1.0)
        self.assertEqual(value(got, "took_seconds_sum", reason="b"), 2.0)

    def test_every_gauge_has_been_thought_of(self) -> None:
        """A new gauge is either added up, or in the table: whoever makes one decides here."""
        gauges = {f.name for f in read(generate_latest(Metrics().registry).decode()).values() if not f.added}
        decided = {
            "http_active_connections",
            "voxray_calls_active",
            "voxray_config_last_reload_success_timestamp_seconds",
            "voxray_degraded",
            "recording_queue_depth",
            "voxray_build_info",
            "voxray_draining",
            "voxray_insecure_config",
            "voxray_limit",
            "voxray_overloaded",
            "voxray_pending_connections",
            "voxray_reactor_lag_p99_seconds",
            "voxray_pipeline_queue_depth",
            "voxray_up",
        }
        self.assertEqual({name for name in gauges if not name.endswith("_created")} - decided, set())
