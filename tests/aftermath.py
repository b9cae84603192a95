"""What must be left of a call that is over: one record, and nothing else."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.house import House, Line

BEATS = "Metronome._beat"
"""The two beats that all calls share stop at their next tick: nobody joins."""


class Aftermath:
    """Knows what timers an idle daemon has. Made before the first call."""

    def __init__(self, case: SynchronousTestCase, house: House) -> None:
        self._case, self._house = case, house
        self._idle = self._timers()

    def check(self, line: Line, reason: str, code: int | None = None) -> dict[str, Any]:
        """Just after the end of the only call. Returns its record."""
        case, house = self._case, self._house
        [record] = house.records
        case.assertEqual(record["reason"], reason)
        if code is not None:
            case.assertEqual(line.code, code)
        self.check_nothing_left()
        ended = [sample for sample in self._samples("voxray_calls_ended_total") if sample.value]
        case.assertEqual([(s.labels["reason"], s.value) for s in ended], [(reason, 1.0)])
        return record

    def check_nothing_left(self) -> None:
        """At once but for the shared beats, and those within a second."""
        case, house = self._case, self._house
        case.assertTrue(all(line.over for line in house.lines), "a socket is open")
        case.assertEqual(self._value("voxray_calls_active"), 0)
        case.assertEqual(self._value("http_active_connections", route="telephony_ws"), 0)
        case.assertEqual(self.stages(), [])
        case.assertEqual([name for name in self._added() if not name.endswith(BEATS)], [])
        house.pass_time(1.0, 0.1)
        case.assertEqual(self._added(), [])

    def stages(self) -> list[str]:
        """Those that are running."""
        house = self._house
        running = {
            "stt": sum(not waiting.called for _, waiting in house.stt.asked),
            "llm": len(house.llm.asked) - house.llm.closed,
            "tts": house.tts.running,
        }
        return [name for name, count in running.items() if count]

    def _added(self) -> list[str]:
        return sorted((self._timers() - self._idle).elements())

    def _timers(self) -> Counter[str]:
        return Counter(map(_name, self._house.reactor.getDelayedCalls()))

    def _samples(self, name: str) -> list[Any]:
        registry = self._house.daemon._parts.exchange.metrics.registry
        return [s for metric in registry.collect() for s in metric.samples if s.name == name]

    def _value(self, name: str, **labels: str) -> float:
        values: list[float] = [s.value for s in self._samples(name) if s.labels == labels]
        return sum(values)


def _name(timer: Any) -> str:
    """Whose it is: `Class.method`."""
    function = getattr(timer.func, "f", timer.func)  # a LoopingCall's own is no help
    if isinstance(owner := getattr(function, "__self__", None), Deferred):
        return f"{type(owner).__name__}.{function.__name__}"
    return str(getattr(function, "__qualname__", repr(function)))
