"""What /metrics has: the contract's names and labels, and figures that are true."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from platform import python_version
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.fakes import RecordingSink, Stage
from tests.house import House
from tests.test_call_hearing import no_keys
from tests.test_settings_effect_stores import REDIS
from voxray import __version__
from voxray.call.mouth import Mouth
from voxray.call.pacer import Pacer
from voxray.call.pipeline import Pipeline, SentenceFeed
from voxray.call.times import TurnTimes
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import ULAW_8K, CallInfo, Message, ReplyEvent, Speech, TextDelta, Transcript, Utterance
from voxray.interfaces import Providers
from voxray.metrics import CrewMetrics, HttpRecorder, Metrics, TlsRecorder
from voxray.web.routes import _METHODS, ROUTES

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"
CONTRACT = Path(__file__).parent / "data" / "metrics" / "contract.json"
LEFT_OUT = frozenset({"session_id"})
"""Always empty in the original; to Prometheus an empty label and none are the same."""
PERSONAL = frozenset(
    {"session_id", "call_id", "call_sid", "stream_sid", "from", "to", "number", "path", "ip"}
)


def instruments(registry: CollectorRegistry) -> dict[str, tuple[str, frozenset[str]]]:
    """Name -> kind and labels, of everything there is."""
    found = {}
    for collector in registry._collector_to_names:
        labels = getattr(collector, "_labelnames", None)
        for family in collector.collect():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            own = [label for sample in family.samples[:1] for label in sample.labels if label != "le"]
            found[name] = family.type, frozenset(own if labels is None else labels)
    return found


def everything(case: SynchronousTestCase) -> dict[str, tuple[str, frozenset[str]]]:
    """Of a daemon with Redis, a certificate and workers: what only those have is there too."""
    house = House(case, REDIS)
    registry = house.daemon._parts.exchange.metrics.registry
    TlsRecorder(registry)
    CrewMetrics(registry)
    return instruments(registry)


class ContractTests(SynchronousTestCase):
    def test_names(self) -> None:
        """Every name of the contract that telephony has, with its kind and the labels ever filled."""
        found = everything(self)
        for row in json.loads(CONTRACT.read_text(encoding="utf-8")):
            wanted = set(row["labels"]) - LEFT_OUT
            if row["name"].startswith("http_"):
                wanted -= {"model"}  # HTTP has none
            self.assertEqual(found.get(row["name"]), (row["kind"], frozenset(wanted)), row["name"])

    def test_buckets(self) -> None:
        """The contract's histograms have Go's default buckets."""
        metrics = Metrics()
        metrics.llm_first.labels("llm", "success", "m").observe(1)
        [family] = metrics.llm_first.collect()
        limits = [sample.labels["le"] for sample in family.samples if "le" in sample.labels]
        expected = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
        self.assertEqual(limits, [*map(str, expected), "+Inf"])

    @shows("T11", "T25")
    def test_nobody_is_named(self) -> None:
        """No label could hold a call, a caller or a session."""
        for name, (_, labels) in everything(self).items():
            self.assertEqual(labels & PERSONAL, frozenset(), name)

    @shows("T11", "T25")
    def test_series_do_not_grow(self) -> None:
        """T11: as many lines after twenty calls as after two."""
        house, sizes = House(self), []
        for count in (2, 18):
            for _ in range(count):
                line = house.dial()
                line.silence(0.1)
                line.send({"event": "stop"})
            house.pass_time(1.0)
            house.ask("GET", "/metrics")  # this route's own first time
            sizes.append(house.ask("GET", "/metrics").body.count(b"\n"))
        self.assertEqual(sizes[0], sizes[1])


class PageTests(SynchronousTestCase):
    """docs/metrics.md."""

    def test_page(self) -> None:
        """Each metric that a daemon has is there with kind and labels, once; and none that it has not."""
        rows = re.findall(
            r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.M
        )
        told = {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}
        self.assertEqual(len(rows), len(told))
        found = everything(self)
        self.assertEqual(set(found) - set(told), set(), "docs/metrics.md lacks these")
        self.assertEqual(told, found)


@shows("T25")
class StrangersTests(SynchronousTestCase):
    def test_the_page_stays_short(self) -> None:
        """Whoever asks for everything by every method makes no page that takes long to write."""
        metrics = Metrics()
        recorder = HttpRecorder(metrics)
        sizes = []
        for statuses in ((200, 503), (400, 401, 403, 404, 405, 413)):
            for status in statuses:
                methods = sorted(_METHODS) if status >= 400 and status != 503 else ["GET"]
                for method in [*methods, "other"]:
                    for route in {*ROUTES.values(), "other", "calls", "session_offer"}:
                        recorder.request_started(route)
                        recorder.request_ended(route, method, status, 0.1)
            sizes.append(generate_latest(metrics.registry).count(b"\nhttp_request_duration_seconds"))
        self.assertLess(sizes[1] - sizes[0], 6 * 15)


class OursTests(SynchronousTestCase):
    """Figures of the daemon itself."""

    def page(self, house: House) -> str:
        return house.ask("GET", "/metrics").body.decode()

    def value(self, page: str, name: str) -> float:
        [line] = [each for each in page.splitlines() if each.startswith(f"{name} ")]
        return float(line.split()[1])

    def test_a_call(self) -> None:
        """Up, one call begun, and over for its reason; every reason is there from the start."""
        house = House(self)
        before = self.page(house)
        self.assertEqual(self.value(before, 'voxray_calls_ended_total{reason="caller_hangup"}'), 0)
        self.assertEqual(self.value(before, 'voxray_calls_refused_total{reason="max_calls"}'), 0)
        line = house.dial()
        during = self.page(house)
        line.send({"event": "stop"})
        line.settle()
        after = self.page(house)
        active = [self.value(page, "voxray_calls_active") for page in (before, during, after)]
        self.assertEqual(active, [0, 1, 0])
        self.assertEqual(self.value(after, "voxray_calls_started_total"), 1)
        self.assertEqual(self.value(after, 'voxray_calls_ended_total{reason="caller_hangup"}'), 1)
        self.assertEqual(self.value(after, "voxray_up"), 1)

    def test_the_process(self) -> None:
        """Its version, memory, descriptors, CPU, timers, queues and connections."""
        page = self.page(House(self))
        build = f'voxray_build_info{{python="{python_version()}",version="{__version__}"}}'
        self.assertEqual(self.value(page, build), 1)
        for name in ("process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"):
            self.assertGreater(self.value(page, name), 0)
        self.assertGreater(self.value(page, "voxray_reactor_delayed_calls"), 0)
        self.assertEqual(self.value(page, "voxray_provider_sockets"), 0)
        for pool in ("ears", "voice", "files"):
            self.assertEqual(self.value(page, f'voxray_worker_queue_depth{{pool="{pool}"}}'), 0)
        self.assertGreaterEqual(self.value(page, "voxray_log_lines_lost_total"), 0)

    def test_refused_at_the_webhook(self) -> None:
        """A call that is answered busy, or sent elsewhere while the daemon drains, is one that is refused."""
        house = House(self, {"max_calls": 1, "drain_timeout_secs": 60})
        house.dial()
        form = b"CallSid=CA" + b"7" * 32 + b"&From=%2B1&To=%2B2"
        house.ask("POST", "/", form)
        self.assertEqual(self.value(self.page(house), 'voxray_calls_refused_total{reason="max_calls"}'), 1)
        house.terminate()
        house.pass_time(0.1)
        house.ask("POST", "/", form)
        self.assertEqual(self.value(self.page(house), 'voxray_calls_refused_total{reason="draining"}'), 1)


class Timed(Stage):
    """A provider that answers when the test says so."""

    name, model = "timed", "timed-1"

    def __init__(self) -> None:
        self.next: Deferred[Any] = Deferred()

    async def _wait(self) -> Any:
        self.next = Deferred()
        return await self.next

    async def transcribe(self, utterance: Utterance, call: CallInfo) -> Transcript:
        return Transcript(await self._wait())

    async def reply(self, messages: list[Message], call: CallInfo) -> AsyncGenerator[ReplyEvent, None]:
        while (text := await self._wait()) is not None:
            yield TextDelta(text)

    async def synthesize(self, text: str, call: CallInfo) -> AsyncGenerator[Speech, None]:
        while (ms := await self._wait()) is not None:
            yield Speech(b"\x7f" * ms * 8, ULAW_8K)


class FirstByteTests(SynchronousTestCase):
    """Times by the clock of the test: what the vendor took, not what we did with it."""

    def setUp(self) -> None:
        self.clock, self.metrics = Clock(), Metrics()
        self.stt, self.llm, self.tts = Timed(), Timed(), Timed()
        self.pacer = Pacer(RecordingSink(), ULAW_8K, b"\xff")
        self.mouth = Mouth(self.pacer, ULAW_8K, self.clock)
        providers: Any = Providers(self.stt, self.llm, self.tts)  # type: ignore[arg-type]
        info = CallInfo("call-1")
        self.pipeline = Pipeline(providers, self.mouth, info, self.clock, self.metrics, no_keys)
        self.times = TurnTimes()
        self.clock.advance(100)

    def after(self, secs: float, stage: Timed, given: object) -> None:
        self.clock.advance(secs)
        waiting = stage.next
        if isinstance(given, Exception):
            waiting.errback(given)
        else:
            waiting.callback(given)

    def observed(self, name: str, status: str | None = "success", **labels: str) -> list[float]:
        """Count and sum."""
        labels |= {"model": "timed-1"} | ({} if status is None else {"status": status})
        value = self.metrics.registry.get_sample_value
        return [round(value(f"{name}_{part}", labels) or 0.0, 6) for part in ("count", "sum")]

    def test_words(self) -> None:
        """From the request to the first words, to the last, and between two."""
        feed = SentenceFeed(self.clock)
        self.pipeline.reply([], feed, self.times)
        self.after(0.7, self.llm, "Hel")
        self.after(0.2, self.llm, "lo.")
        self.after(0.1, self.llm, None)
        first = self.observed("llm_time_to_first_token_seconds", stage="llm")
        self.assertEqual(first, [1, 0.7])
        self.assertEqual(self.observed("llm_generation_latency_seconds", stage="llm"), [1, 1.0])
        self.assertEqual(self.observed("llm_inter_token_latency_seconds", None, stage="llm"), [1, 0.2])

    def test_no_words(self) -> None:
        """A reply that fails has no first words; its time is an error's."""
        self.pipeline.reply([], SentenceFeed(self.clock), self.times)
        self.after(3.0, self.llm, ProviderError("timed", ErrorKind.TIMEOUT, "late"))
        self.assertEqual(self.observed("llm_time_to_first_token_seconds", stage="llm"), [0, 0])
        self.assertEqual(self.observed("llm_generation_latency_seconds", "error", stage="llm"), [1, 3.0])

    def test_sound(self) -> None:
        """From the request to the first audio, and to the last; how far it fell behind being spoken."""
        feed = SentenceFeed(self.clock)
        feed.put("Hello.")
        feed.end()
        self.pipeline.speak(feed, self.times)
        self.after(0.4, self.tts, 500)
        self.after(0.6, self.tts, 30_000)  # the audio was for half a second: 100 ms behind
        # now there is more than the mouth takes: the time until it does is not the vendor's
        for _ in range(1_000):
            self.clock.advance(0.02)
            self.pacer.tick(self.clock.seconds())
            if self.pacer.queued_ms <= 19_900:
                break
        self.clock.advance(0.25)
        self.after(0.3, self.tts, None)
        self.assertEqual(self.observed("tts_time_to_first_audio_chunk_seconds", stage="tts"), [1, 0.4])
        self.assertEqual(self.observed("tts_streaming_lag_seconds", None, direction="egress"), [1, 0.1])
        count, total = self.observed("tts_synthesis_latency_seconds", stage="tts")
        self.assertEqual(count, 1)
        self.assertTrue(1.3 <= total <= 1.3 + 0.5, total)

    def test_transcript(self) -> None:
        """From the request to the words; and how long the caller waited for it since the last of his."""
        self.times.speech_end = 99.5
        utterance = Utterance(b"\xff" * 8000, ULAW_8K, 0.0, 800.0)
        self.pipeline.transcribe(utterance, self.times).addCallback(
            lambda _: self.pipeline.transcribed(self.times)
        )
        self.after(0.9, self.stt, "hello")
        for name in ("stt_time_to_first_token_seconds", "stt_transcription_latency_seconds"):
            self.assertEqual(self.observed(name, stage="stt"), [1, 0.9])
        self.assertEqual(self.observed("stt_streaming_lag_seconds", None, direction="ingress"), [1, 1.4])
