"""Editions of the configuration: what is started, what is shared, and when the last user has left."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from voxray.editions import Editions
from voxray.errors import ErrorKind, ProviderError

FAILED = ProviderError("voice", ErrorKind.UNAVAILABLE, "no such voice")


class Engine:
    """Notes its life."""

    def __init__(self, error: Exception | None = None, gate: Deferred[None] | None = None) -> None:
        self.life: list[str] = []
        self._error, self._gate = error, gate

    async def start(self) -> None:
        if self._gate is not None:
            await self._gate
        self.life.append("start")
        if self._error is not None:
            raise self._error

    async def stop(self) -> None:
        self.life.append("stop")


class Edition:
    """The part of `edition.Edition` used here."""

    def __init__(self, *engines: Engine) -> None:
        self.engines, self.calls, self.closed = engines, 0, 0
        self.emptied: Any = None

    async def prepare(self) -> None: ...

    def close(self) -> None:
        self.closed += 1

    def hang_up(self) -> None:
        """One of its calls is over."""
        self.calls -= 1
        if not self.calls and self.emptied:
            self.emptied()


class EditionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.installed: list[Any] = []
        self.shared, self.own = Engine(), Engine()
        self.first = Edition(self.shared, self.own)
        self.editions = Editions(self.first, self.installed.append)  # type: ignore[arg-type]
        self.do(self.editions.start())

    def do(self, work: Any) -> None:
        self.successResultOf(Deferred.fromCoroutine(work))

    def change(self, edition: Any) -> None:
        self.do(self.editions.change(edition))

    def lives(self, *engines: Engine) -> list[list[str]]:
        return [engine.life for engine in engines]

    def test_first(self) -> None:
        """It is installed at once, and started with the daemon."""
        self.assertEqual(self.installed, [self.first])
        self.assertEqual(self.lives(self.shared, self.own), [["start"]] * 2)

    def test_change(self) -> None:
        """Without calls the old one's own engines stop at once; what both have goes on."""
        new = Engine()
        self.change(second := Edition(self.shared, new))
        self.assertEqual(self.installed, [self.first, second])
        self.assertIs(self.editions.current, second)
        self.assertEqual(self.lives(self.shared, self.own, new), [["start"], ["start", "stop"], ["start"]])
        self.assertEqual((self.first.closed, second.closed, len(self.editions)), (1, 0, 1))

    def test_while_calls_live_by_it(self) -> None:
        """The old one's engines stop after the last call that uses them, in whichever order calls end."""
        self.first.calls = 2
        middle, last = Engine(), Engine()
        self.change(second := Edition(self.shared, middle))
        second.calls = 1
        self.change(Edition(middle, last))
        self.assertEqual(len(self.editions), 3)
        self.first.hang_up()
        self.assertEqual(self.own.life, ["start"])
        second.hang_up()
        self.assertEqual(self.lives(self.shared, middle), [["start"]] * 2)  # others still use them
        self.first.hang_up()
        self.assertEqual(self.lives(self.shared, self.own), [["start", "stop"]] * 2)
        self.assertEqual(self.lives(middle, last), [["start"]] * 2)
        self.assertEqual((self.first.closed, second.closed, len(self.editions)), (1, 1, 1))

    def test_current_without_calls(self) -> None:
        """The current one stays, however often its last call ends."""
        self.first.calls = 1
        self.first.hang_up()
        self.assertEqual(self.lives(self.shared, self.own), [["start"]] * 2)

    def test_one_that_cannot_start(self) -> None:
        """Nothing has changed, what was started of it is stopped, what is shared goes on."""
        good, bad = Engine(), Engine(FAILED)
        edition: Any = Edition(self.shared, good, bad)
        self.failureResultOf(Deferred.fromCoroutine(self.editions.change(edition)), ProviderError)
        self.assertEqual((self.installed, self.editions.current), ([self.first], self.first))
        self.assertEqual(
            self.lives(self.shared, self.own, good, bad),
            [["start"], ["start"], ["start", "stop"], ["start", "stop"]],
        )
        self.assertEqual(edition.closed, 1)

    def test_stop(self) -> None:
        """Every engine once, whoever uses it; another's failure keeps none from it."""
        self.first.calls = 1
        new = Engine()

        async def fail() -> None:
            raise FAILED

        self.patch(self.own, "stop", fail)
        self.change(second := Edition(self.shared, new))
        self.do(self.editions.stop())
        self.assertEqual(self.lives(self.shared, new), [["start", "stop"]] * 2)
        self.assertEqual((self.first.closed, second.closed), (1, 1))
        self.assertEqual(len(self.flushLoggedErrors(ProviderError)), 1)
        self.first.hang_up()
        self.assertEqual(self.lives(self.shared, new), [["start", "stop"]] * 2)

    def test_stopped_while_one_starts(self) -> None:
        """The daemon ends during a change: the new one never comes, and nothing of it stays."""
        gate: Deferred[None] = Deferred()
        slow = Engine(gate=gate)
        changing = Deferred.fromCoroutine(self.editions.change(Edition(slow)))  # type: ignore[arg-type]
        self.do(self.editions.stop())
        gate.callback(None)
        self.successResultOf(changing)
        self.assertEqual((self.installed, slow.life), ([self.first], ["start", "stop"]))
