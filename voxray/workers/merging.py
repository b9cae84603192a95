"""The metrics of several processes as one: counters and histograms added, gauges as the table says. Pure.

A counter must never go back: Prometheus takes that for a restart and counts all of it again. So what a
process that is gone (or does not answer) had counted by its last word is added too; its gauges are not, for
they say how things are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

ADDED = ("counter", "histogram", "summary")
GAUGES: dict[str, Callable[[Iterable[float]], float]] = {
    "voxray_up": min,
    "voxray_draining": max,
    "voxray_degraded": max,
    "voxray_insecure_config": max,
    "voxray_overloaded": max,
    "voxray_provider_up": min,
    "voxray_limit": max,  # the same in each
    "voxray_reactor_lag_p99_seconds": max,
    "voxray_store_up": min,
    "process_start_time_seconds": min,
    "process_max_fds": min,
}
"""Others are added, such as calls that are up."""
SUFFIXES: dict[str, Callable[[Iterable[float]], float]] = {
    "_created": min,
    "_info": max,
    # The worst of them, for alerts: one process may have kept an old configuration or certificate.
    "_timestamp_seconds": min,
}
COUNTED_ONCE = frozenset({"voxray_config_reload_total", "voxray_tls_reload_total"})
"""What happens to all of them at the same time, and is one event; who started later has seen fewer."""

_Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its samples by name and labels, in the order they came in."""

    name: str
    kind: str
    about: str
    samples: dict[_Key, float] = field(default_factory=dict)

    @property
    def added(self) -> bool:
        return self.kind in ADDED


Exposition = dict[str, Family]


def read(text: str) -> Exposition:
    """What one process tells. Raises ValueError for what is no exposition."""
    found: Exposition = {}
    for metric in text_string_to_metric_families(text):
        family = Family(metric.name, metric.type, metric.documentation)
        for sample in metric.samples:
            family.samples[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
        found[metric.name] = family
    return found


def merged(living: Sequence[Exposition], gone: Sequence[Exposition] = ()) -> Exposition:
    """One of all. Of `gone`, what had been counted."""
    counted = [{name: family for name, family in each.items() if family.added} for each in gone]
    result: Exposition = {}
    for exposition in (*living, *counted):
        for name, family in exposition.items():
            kept = result.setdefault(name, Family(name, family.kind, family.about))
            for key in family.samples:
                kept.samples.setdefault(key, 0.0)
    for name, kept in result.items():
        families = [each[name] for each in (*living, *counted) if name in each]
        for key in kept.samples:
            together = _how(kept, key[0])
            kept.samples[key] = together(f.samples[key] for f in families if key in f.samples)
    return result


def written(exposition: Exposition) -> bytes:
    """As `/metrics` answers."""
    return generate_latest(_Collected(exposition))


def _how(family: Family, sample: str) -> Callable[[Iterable[float]], float]:
    if family.added:
        return max if sample in COUNTED_ONCE else sum
    if family.name in GAUGES:
        return GAUGES[family.name]
    return next((how for suffix, how in SUFFIXES.items() if family.name.endswith(suffix)), sum)


class _Collected:
    """What prometheus_client writes out."""

    def __init__(self, exposition: Exposition) -> None:
        self._exposition = exposition

    def collect(self) -> Iterator[Metric]:
        for family in self._exposition.values():
            metric = Metric(family.name, family.about, family.kind)
            for (name, labels), value in family.samples.items():
                metric.add_sample(name, MappingProxyType(dict(labels)), value)  # type: ignore[arg-type]
            yield metric
