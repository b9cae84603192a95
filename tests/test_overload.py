"""When no more calls are taken because the process is late (F58), and what a stall looks like (F55)."""

from __future__ import annotations

import sys
import threading
import time

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.lag import LagProbe
from voxray.overload import HOLD_TICKS, WINDOW_TICKS, Overload
from voxray.stalls import LOOK_SECS, StallWatch, Suspicion, frames


@shows("F58")
class GateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.gate = Overload(0.1)

    def ticks(self, *lateness: float) -> list[bool]:
        found = []
        for secs in lateness:
            self.gate.observe(secs)
            found.append(self.gate.over)
        return found

    def test_one_late_tick(self) -> None:
        """Alone it closes nothing, the second within ten seconds does."""
        self.assertEqual(self.ticks(0.0, 0.15, 0.15), [False, False, True])
        self.gate = Overload(0.1)
        self.assertNotIn(True, self.ticks(0.15, *[0.01] * (WINDOW_TICKS - 1), 0.15))

    def test_a_stall(self) -> None:
        """The ticks that a long stall swallowed count: one is enough."""
        self.assertEqual(self.ticks(0.25), [True])
        self.assertAlmostEqual(self.gate.p99_secs, 0.15)

    def test_hysteresis(self) -> None:
        """Open again after three seconds below half of the limit, no tick earlier; then it stays open."""
        self.ticks(0.9)
        self.assertNotIn(False, self.ticks(*[0.08] * 200))
        self.assertNotIn(False, self.ticks(*[0.04] * (HOLD_TICKS - 1), 0.06))
        self.assertEqual(self.ticks(*[0.04] * HOLD_TICKS), [True] * (HOLD_TICKS - 1) + [False])
        self.assertNotIn(True, self.ticks(*[0.09] * 300))

    def test_off(self) -> None:
        """Without a limit it never closes, and one that is taken away opens it."""
        self.ticks(5.0)
        self.gate.limit_secs = 0.0
        self.assertFalse(self.gate.over)
        self.assertNotIn(True, self.ticks(*[5.0] * 10))

    def test_fed_by_the_probe(self) -> None:
        """A reactor that is 300 ms late once in a while is too late; a punctual one is not."""
        clock = Clock()
        probe = LagProbe(clock, self.gate.observe)
        probe.start()
        for _ in range(200):
            clock.advance(0.1)
        self.assertFalse(self.gate.over)
        clock.advance(0.4)
        self.assertTrue(self.gate.over)
        probe.stop()


@shows("F55")
class SuspicionTests(SynchronousTestCase):
    def test_once(self) -> None:
        """Half a second without a sign of life is a stall, told once; a sign of life begins anew."""
        suspicion = Suspicion(0.5)
        now, found = 0.0, []
        for beat in [1] * 12 + [2] * 12:
            found.append(suspicion.look(beat, now, now))
            now += LOOK_SECS
        told = [round(secs, 1) for secs in found if secs]
        self.assertEqual(told, [0.5, 0.5])

    def test_stopped_process(self) -> None:
        """An hour in which nobody ran, ourselves neither, is no stall; one that was worked through is."""
        for worked, told in ((0.0, False), (3600.0, True)):
            suspicion = Suspicion(0.5)
            suspicion.look(1, 0.0, 0.0)
            suspicion.look(1, 0.1, 0.0)
            self.assertEqual(bool(suspicion.look(1, 3600.1, worked)), told)

    def test_off(self) -> None:
        """With 0 nothing is a stall."""
        suspicion = Suspicion(0.0)
        self.assertFalse(any(suspicion.look(1, n * LOOK_SECS, 0.0) for n in range(100)))


class Counter:
    def __init__(self) -> None:
        self.told = threading.Event()

    def inc(self) -> None:
        self.told.set()


@shows("F55")
class WatchTests(SynchronousTestCase):
    def test_beats(self) -> None:
        """While there are beats nothing is said; the thread ends when it is told to."""
        counter = Counter()
        now = [0.0]
        watch = StallWatch(0.5, counter, lambda: now[0])
        threads = threading.active_count()
        watch.start()
        watch.stop()
        self.assertEqual((counter.told.is_set(), threading.active_count()), (False, threads))

    def test_names_the_function(self) -> None:
        """The line has the innermost function first, and no values."""

        def a_culprit(secret: str) -> list[str]:
            return list(frames(sys._getframe()))

        told = a_culprit("canary")
        self.assertRegex(
            told[0], r"^WatchTests\.test_names_the_function\.<locals>\.a_culprit \(tests\.test_over"
        )
        self.assertIn("test_names_the_function (", told[1])
        self.assertNotIn("canary", " ".join(told))
        self.assertLessEqual(len(told), 6)
        self.assertEqual(list(frames(None)), [])

    def test_blocked(self) -> None:
        """A thread that gives no sign of life is named while it is still at it."""
        counter, lines = Counter(), []
        watch = StallWatch(0.2, counter, time.monotonic)
        self.patch(
            watch, "_log", type("Log", (), {"error": lambda s, text, **fields: lines.append(fields)})()
        )
        watch.start()
        self.addCleanup(watch.stop)

        def blocks() -> bool:
            return counter.told.wait(10)

        self.assertTrue(blocks())
        watch.stop()
        self.assertIn("blocks", lines[0]["stack"])
