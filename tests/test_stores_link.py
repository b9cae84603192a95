"""The connection to Redis on an imaginary clock: how long it waits, what it tells, when it comes back."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.redis_server import Counted
from voxray.errors import StoreUnavailable
from voxray.stores.link import (
    LONGEST_PAUSE_SECS,
    OP_SECS,
    PING_SECS,
    STEADY_SECS,
    RedisLink,
    Script,
    pause_secs,
)
from voxray.stores.replies import Lost, Refusal


class FakeWire:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.lost: Deferred[None] = Deferred()
        self.open: list[tuple[tuple[Any, ...], Deferred[Any]]] = []
        self.aborted = False

    async def ask(self, *words: Any) -> Any:
        answer: Deferred[Any] = Deferred(lambda _: self.open.remove(asked))
        asked = (words, answer)
        self.open.append(asked)
        return await answer

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            while self.open:
                self.answer(Lost("gone"))
            if not self.lost.called:
                self.lost.callback(None)

    def answer(self, reply: Any) -> None:
        """The oldest question; an exception is what it fails with."""
        _, answer = self.open.pop(0)
        if isinstance(reply, Exception):
            answer.errback(reply)
        else:
            answer.callback(reply)


class LinkTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.counted = Counted()
        self.connecting: list[Deferred[Any]] = []
        self.changes: list[bool] = []
        self.logged: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)
        self.link = RedisLink("redis://h:1", self.connect, self.clock, self.counted, dice=lambda: 1.0)
        self.link.watch(self.changes.append)
        self.successResultOf(Deferred.fromCoroutine(self.link.start()))
        self.addCleanup(self.stop)

    def stop(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.link.stop()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def connect(self) -> Any:
        connecting: Deferred[Any] = Deferred()
        self.connecting.append(connecting)
        return await connecting

    def come(self) -> FakeWire:
        """A connection is made."""
        wire = FakeWire()
        self.connecting[-1].callback(wire)
        return wire

    def refuse(self, error: Exception) -> None:
        self.connecting[-1].errback(error)

    def ask(self, *words: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.link.ask(*(words or ("GET", "k"))))

    def reason(self, asked: Deferred[Any]) -> str:
        return str(self.failureResultOf(asked, StoreUnavailable).value.reason)

    def levels(self, level: str) -> list[str]:
        return [e["log_format"] for e in self.logged if e.get("log_level") and e["log_level"].name == level]


class AskingTests(LinkTestCase):
    @shows("F20")
    def test_down(self) -> None:
        """Before there is a connection, and after it is lost, the answer is no at once."""
        self.assertEqual(self.reason(self.ask()), "down")
        wire = self.come()
        asked = self.ask()
        self.assertNoResult(asked)
        wire.answer(b"v")
        self.assertEqual(self.successResultOf(asked), b"v")
        wire.lost.callback(None)
        self.assertEqual(self.reason(self.ask()), "down")
        self.assertEqual(self.changes, [True, False])
        self.assertEqual(self.counted.reasons, ["down", "down"])

    @shows("F22")
    def test_late(self) -> None:
        """Half a second, and the whole connection is given up: everybody else hears at once."""
        wire = self.come()
        asked = self.ask()
        self.clock.advance(OP_SECS - 0.1)
        other = self.ask()
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        self.assertEqual(self.reason(asked), "timeout")
        self.assertTrue(wire.aborted)
        self.assertFalse(self.link.up)
        self.assertEqual(self.reason(other), "lost")

    def test_refusals(self) -> None:
        """What they do to the connection, and which of them are the caller's to understand."""
        for text, reason, stays in (
            ("READONLY x", "stale", False),
            ("LOADING x", "stale", False),
            ("MASTERDOWN x", "stale", False),
            ("OOM x", "write", True),
            ("NOPERM x", "auth", True),
            ("BUSY x", "other", True),
        ):
            if not self.link.up:
                self.clock.advance(1)
                wire = self.come()
            asked = self.ask()
            wire.answer(Refusal(text))
            self.assertEqual((self.reason(asked), self.link.up), (reason, stays), text)
        asked = self.ask()
        wire.answer(Refusal("WRONGTYPE x"))
        self.failureResultOf(asked, Refusal)

    def test_cancelled(self) -> None:
        """Who asked went away: nothing happens to the connection."""
        self.come()
        asked = self.ask()
        asked.addErrback(lambda failure: None)
        asked.cancel()
        self.clock.advance(OP_SECS / 2)
        self.assertTrue(self.link.up)
        self.assertEqual(self.counted.reasons, [])

    def test_scripts(self) -> None:
        """By digest; whole when Redis does not know it."""
        wire = self.come()
        script = Script("return 1")
        running = Deferred.fromCoroutine(self.link.run(script, ["k"], "a"))
        self.assertEqual(wire.open[0][0], ("EVALSHA", script.digest, 1, "k", "a"))
        wire.answer(Refusal("NOSCRIPT x"))
        self.assertEqual(wire.open[0][0], ("EVAL", "return 1", 1, "k", "a"))
        wire.answer(1)
        self.assertEqual(self.successResultOf(running), 1)


class StayingTests(LinkTestCase):
    def test_pings(self) -> None:
        """A server that stops is found out within a second, without anybody asking it anything."""
        wire = self.come()
        for _ in range(5):
            self.clock.advance(PING_SECS)
            wire.answer("PONG")
        self.clock.pump([0.1] * 11)
        self.assertEqual((self.link.up, wire.aborted, self.changes), (False, True, [True, False]))

    def test_a_ping_that_is_refused(self) -> None:
        """A master that became a replica without its master, say: it is left."""
        wire = self.come()
        self.clock.advance(PING_SECS)
        wire.answer(Refusal("MASTERDOWN x"))
        self.assertFalse(self.link.up)

    def test_coming_back(self) -> None:
        """For ever, one attempt at a time; the pauses grow, and shrink once it was back for a while."""
        for pause in (0.05, 0.1, 0.2, 0.4, 0.8, 0.8):
            self.refuse(OSError("refused"))
            tries = len(self.connecting)
            self.clock.advance(pause - 0.01)
            self.assertEqual(len(self.connecting), tries)
            self.clock.advance(0.01)
            self.assertEqual(len(self.connecting), tries + 1)
            self.clock.advance(100)  # it hangs
            self.assertEqual(len(self.connecting), tries + 1)
        for secs, pause in ((STEADY_SECS - PING_SECS, 0.8), (STEADY_SECS, 0.05)):
            wire = self.come()
            for _ in range(round(secs / PING_SECS)):
                self.clock.advance(PING_SECS)
                wire.answer("PONG")
            wire.lost.callback(None)
            tries = len(self.connecting)
            self.clock.advance(pause - 0.01)
            self.assertEqual(len(self.connecting), tries)
            self.clock.advance(0.01)
            self.assertEqual(len(self.connecting), tries + 1)

    def test_a_connection_that_is_gone_at_once(self) -> None:
        """It never was up."""
        wire = FakeWire()
        wire.lost.callback(None)
        self.connecting[-1].callback(wire)
        self.assertEqual((self.link.up, self.changes), (False, []))

    def test_stopped(self) -> None:
        """Nothing of it is left, at whatever moment."""
        wire = self.come()
        self.stop()
        self.assertTrue(wire.aborted)
        self.assertEqual((self.link.up, self.changes), (False, [True, False]))
        self.assertEqual(self.levels("critical"), [])

    def test_a_watcher_at_fault(self) -> None:
        """Costs neither the connection nor the others."""
        self.link._watchers.insert(0, lambda up: 1 // 0)
        self.come()
        self.assertEqual((self.link.up, self.changes), (True, [True]))
        self.stop()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    @given(st.integers(0, 10_000), st.floats(0, 1))
    def test_pauses(self, failures: int, dice: float) -> None:
        """Never none, never over the longest."""
        self.assertTrue(0 < pause_secs(failures, dice) <= LONGEST_PAUSE_SECS)


@shows("F24")
class TellingTests(LinkTestCase):
    def test_once_for_each_outage(self) -> None:
        """Not for each try."""
        for _ in range(5):
            self.refuse(OSError("refused"))
            self.clock.advance(1)
        self.assertEqual(len(self.levels("warn")), 1)
        self.come().lost.callback(None)
        self.clock.advance(1)
        self.refuse(OSError("refused"))
        self.assertEqual((len(self.levels("warn")), len(self.levels("info"))), (2, 1))

    def test_keys_that_are_refused(self) -> None:
        """Loud, but once a minute, and without the words of the server."""
        for _ in range(59):
            self.refuse(Refusal("WRONGPASS s3cret"))
            self.clock.advance(1)
        self.assertEqual(len(self.levels("error")), 1)
        self.clock.advance(1)
        self.refuse(Refusal("NOAUTH s3cret"))
        self.assertEqual(len(self.levels("error")), 2)
        self.assertNotIn("s3cret", str(self.logged))

    def test_writes_that_are_refused(self) -> None:
        """Once a minute each kind."""
        wire = self.come()
        for text in ("OOM x", "OOM x", "MISCONF x", "NOPERM x", "NOPERM x"):
            asked = self.ask()
            wire.answer(Refusal(text))
            self.failureResultOf(asked, StoreUnavailable)
        self.assertEqual(len(self.levels("error")), 3)
