"""Stopping: who is let in, who is waited for, and for how long. On an imaginary clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.drain import CUT_SECS, GOODBYE_SECS, HURRIED_SECS, LOOK_SECS, SLACK_SECS, Drain, Left

STEP = 1 / 16  # exact


class Household:
    """Calls, and what was done to them."""

    def __init__(self, clock: Clock, calls: int = 0, streams: int = 0, requests: int = 0) -> None:
        self._clock = clock
        self.calls, self.streams, self.requests = calls, streams, requests
        self.done: list[tuple[str, float]] = []

    def left(self) -> Left:
        return Left(self.calls, self.streams, self.requests)

    def begin(self, longest_secs: float) -> None:
        self.longest_secs = longest_secs
        self._note("begin")

    def say_goodbye(self) -> None:
        self._note("goodbye")

    def hang_up(self) -> None:
        self._note("hang up")

    def stop(self) -> None:
        self._note("stop")

    def _note(self, what: str) -> None:
        self.done.append((what, round(self._clock.seconds(), 3)))


class DrainTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.note)
        self.addCleanup(globalLogPublisher.removeObserver, self.note)

    def note(self, event: dict[str, object]) -> None:
        if str(event.get("log_format", "")).startswith("stopping"):
            self.logged.append(str(event["log_format"]).format(**event))

    def drain(self, timeout_secs: float = 300.0, **left: int) -> Drain:
        self.house = Household(self.clock, **left)
        return Drain(self.clock, self.house, lambda: timeout_secs)

    def wait(self, secs: float) -> None:
        self.clock.pump([STEP] * round(secs / STEP))

    def ended(self) -> None:
        """Nothing is left of it."""
        self.assertEqual(self.clock.getDelayedCalls(), [])


@shows("F51")
class PatienceTests(DrainTestCase):
    """One SIGTERM."""

    def test_serving(self) -> None:
        """Until then everybody is let in, and nothing runs."""
        drain = self.drain(calls=3)
        self.assertTrue(drain.serving and drain.admitting)
        self.ended()

    def test_nobody(self) -> None:
        """Without a call it stops in the same reactor turn."""
        drain = self.drain()
        drain.asked()
        self.assertEqual(self.house.done, [("begin", 0), ("stop", 0)])
        self.ended()

    def test_the_last_call(self) -> None:
        """Announced streams are let in, new calls are not; it stops as soon as the last call has ended."""
        drain = self.drain(calls=2)
        drain.asked()
        self.assertEqual((drain.serving, drain.admitting), (False, True))
        self.wait(100)
        self.house.calls = 1
        self.wait(100)
        self.assertEqual(self.house.done, [("begin", 0)])
        self.house.calls = 0
        self.wait(2 * LOOK_SECS)
        self.assertEqual([what for what, _ in self.house.done], ["begin", "stop"])
        self.assertLess(self.house.done[-1][1], 200 + 2 * LOOK_SECS)
        self.ended()

    def test_those_on_their_way(self) -> None:
        """A call announced, and a carrier that has not answered, are waited for too."""
        for left in ({"streams": 1}, {"requests": 1}):
            drain = self.drain(**left)
            drain.asked()
            self.wait(5)
            self.assertEqual([what for what, _ in self.house.done], ["begin"], left)
            self.house.streams = self.house.requests = 0
            self.wait(2 * LOOK_SECS)
            self.assertEqual([what for what, _ in self.house.done], ["begin", "stop"], left)
            self.ended()

    def test_time_up(self) -> None:
        """Goodbye at the deadline, nobody is let in any more; who stays is hung up on, then left."""
        drain = self.drain(20.0, calls=2)
        drain.asked()
        self.assertEqual(self.house.longest_secs, 20.0 + GOODBYE_SECS + CUT_SECS + SLACK_SECS)
        self.wait(20)
        self.assertEqual((drain.serving, drain.admitting), (False, False))
        self.wait(20)
        cut = 20 + GOODBYE_SECS
        self.assertEqual(
            self.house.done, [("begin", 0), ("goodbye", 20), ("hang up", cut), ("stop", cut + CUT_SECS)]
        )
        self.ended()

    def test_all_leave(self) -> None:
        """Once the goodbyes were heard it stops, and cuts nobody."""
        drain = self.drain(20.0, calls=2, streams=1)
        drain.asked()
        self.wait(22)
        self.house.calls = 0  # a stream that was expected is not any more
        self.wait(2 * LOOK_SECS)
        self.assertEqual([what for what, _ in self.house.done], ["begin", "goodbye", "stop"])
        self.ended()

    def test_at_once(self) -> None:
        """drain_timeout_secs 0: the goodbye is the next thing."""
        drain = self.drain(0.0, calls=1)
        drain.asked()
        self.clock.advance(0)
        self.assertEqual(self.house.done, [("begin", 0), ("goodbye", 0)])
        self.wait(10)
        self.ended()

    def test_told(self) -> None:
        """The log says who is left: at the beginning, every ten seconds, and at the end."""
        drain = self.drain(60.0, calls=2, streams=1)
        drain.asked()
        self.house.calls, self.house.streams = 1, 0
        self.wait(25)
        self.house.calls = 0
        self.wait(2 * LOOK_SECS)
        self.assertEqual(
            self.logged,
            [
                "stopping: no new calls; 2 calls left, 1 on the way, for at most 60 s",
                "stopping: told once more, it says goodbye at once",
                "stopping: no new calls; 1 call left, 0 on the way, for at most 50 s",
                "stopping: no new calls; 1 call left, 0 on the way, for at most 40 s",
                f"stopping: nobody is left after {self.house.done[-1][1]:.1f} s",
            ],
        )


@shows("F51")
class AskedAgainTests(DrainTestCase):
    """A second SIGTERM, and more."""

    def test_second(self) -> None:
        """The goodbye comes at once, and has a second; a second later everything is over."""
        drain = self.drain(calls=2)
        drain.asked()
        self.wait(7)
        drain.asked()
        self.wait(10)
        self.assertEqual(
            self.house.done,
            [
                ("begin", 0),
                ("goodbye", 7),
                ("hang up", 7 + HURRIED_SECS),
                ("stop", 7 + HURRIED_SECS + CUT_SECS),
            ],
        )
        self.ended()

    def test_during_the_goodbye(self) -> None:
        """It is cut short, but not made longer."""
        drain = self.drain(0.0, calls=2)
        drain.asked()
        self.wait(1)
        drain.asked()
        self.wait(0.5)
        drain.asked()
        self.wait(3)
        self.assertEqual(
            [at for what, at in self.house.done if what == "hang up"], [round(1 + HURRIED_SECS, 3)]
        )
        self.ended()

    def test_too_late(self) -> None:
        """While calls are cut off, and after the end, it changes nothing."""
        drain = self.drain(0.0, calls=2)
        drain.asked()
        self.wait(GOODBYE_SECS + 0.1)
        drain.asked()
        self.wait(5)
        drain.asked()
        self.assertEqual([what for what, _ in self.house.done].count("stop"), 1)
        self.ended()

    def test_closed(self) -> None:
        """A daemon that stops for another reason: no timer stays, nobody is let in, nothing is done."""
        drain = self.drain(calls=2)
        drain.asked()
        drain.close()
        self.assertFalse(drain.serving or drain.admitting)
        drain.asked()
        self.wait(400)
        self.assertEqual(self.house.done, [("begin", 0)])
        self.ended()

    @given(
        st.floats(0, 100),
        st.integers(0, 4),
        st.lists(st.tuples(st.sampled_from(["asked", "leave", "wait"]), st.floats(0, 40)), max_size=12),
    )
    def test_always_ends(self, timeout_secs: float, calls: int, steps: list[tuple[str, float]]) -> None:
        """Whatever happens, once and within its time; nobody is cut off who had not been told goodbye."""
        self.clock = Clock()
        drain = self.drain(timeout_secs, calls=calls)
        drain.asked()
        for what, secs in steps:
            if what == "asked":
                drain.asked()
            elif what == "leave":
                self.house.calls = max(0, self.house.calls - 1)
            self.clock.advance(secs)
        self.wait(timeout_secs + GOODBYE_SECS + CUT_SECS + 1)
        done = [what for what, _ in self.house.done]
        self.assertEqual((done.count("begin"), done.count("stop"), done[-1]), (1, 1, "stop"))
        self.assertEqual(done, [what for what in ("begin", "goodbye", "hang up", "stop") if what in done])
        if "hang up" in done:
            self.assertIn("goodbye", done)
        if "goodbye" not in done:
            self.assertEqual(self.house.calls, 0)
        self.ended()
