"""A parent's stores, asked over a real socket pair, keep to the contract."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from tests.store_contract import (
    FOREVER,
    BoardContract,
    HandOverContract,
    ReplayContract,
    SessionContract,
    TokenContract,
    live,
    together,
)
from voxray.errors import StoreUnavailable
from voxray.stores.answering import Answering
from voxray.stores.asked import AskedBoard, AskedHandOver, AskedReplays, AskedSessions, AskedTokens
from voxray.stores.memory import MemoryBoard
from voxray.stores.ports import Verdict
from voxray.workers.line import PIECE_BYTES, Answers, Line


class LineCase(TestCase):
    """Two ends of a line, in one process."""

    def line(self, here: Answers, there: Answers, lost: Callable[[], None] = lambda: None) -> list[Line]:
        ends = [Line(reactor, here, lost), Line(reactor, there)]  # type: ignore[arg-type]
        for end, sock in zip(ends, socket.socketpair(), strict=True):
            factory: Any = Factory()
            factory.noisy = False
            factory.buildProtocol = lambda addr, end=end: end
            sock.setblocking(False)
            reactor.adoptStreamConnection(sock.fileno(), socket.AF_UNIX, factory)  # type: ignore[attr-defined]
            sock.close()
        self.addCleanup(self.hang_up, ends)
        return ends

    async def hang_up(self, ends: list[Line]) -> None:
        for end in ends:
            if end.up and end.transport is not None:
                end.transport.loseConnection()  # type: ignore[no-untyped-call]
        while any(end.up for end in ends):
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]


class AskedTests(SessionContract, ReplayContract, TokenContract, HandOverContract, BoardContract, LineCase):
    """Time is a clock's."""

    def setUp(self) -> None:
        self.clock = Clock()
        kept = Answering(self.clock.seconds)
        fleeting = Answering(self.clock.seconds, MemoryBoard(self.clock.seconds, self.SHORT_SECS))
        ask, briefly = (self.line({}, store.table)[0].ask for store in (kept, fleeting))
        self.sessions, self.replays, self.tokens = AskedSessions(ask), AskedReplays(ask), AskedTokens(ask)
        self.handover, self.board, self.brief = AskedHandOver(ask), AskedBoard(ask), AskedBoard(briefly)

    async def lapse(self) -> None:
        self.clock.advance(self.SHORT_SECS)


class TwoWorkersTests(LineCase):
    """Two workers, one parent."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.kept = Answering(self.clock.seconds)
        self.asks = [self.line({}, self.kept.table)[0].ask for _ in range(2)]

    async def test_one_token(self) -> None:
        """Both compete for each of 200 tokens: exactly one wins each."""
        stores = [AskedTokens(ask) for ask in self.asks]
        racers = [store.spend(f"n{number}", FOREVER) for number in range(200) for store in stores]
        won = await together(*racers)
        self.assertEqual([sum(won[i : i + 2]) for i in range(0, 400, 2)], [1] * 200)

    async def test_exact_admission(self) -> None:
        """200 ask at once, half of each, for 50 places: exactly 50 get one."""
        boards = [AskedBoard(ask) for ask in self.asks]
        asking = (boards[n % 2].reserve(live(n), 50, take_over=False) for n in range(200))
        verdicts = [reserved.verdict for reserved in await together(*asking)]
        self.assertEqual((verdicts.count(Verdict.ADMITTED), verdicts.count(Verdict.FULL)), (50, 150))

    async def test_a_worker_that_is_gone(self) -> None:
        """Its calls' places are free at once, however many; the other's stay, and nobody is over."""
        boards = [AskedBoard(ask) for ask in self.asks]
        await boards[0].renew([live(number, node="w1") for number in range(1_500)])
        await boards[1].reserve(live(9_999, node="w2"), 9_999, take_over=False)
        self.assertEqual(await self.kept.forget("w1"), 1_500)
        self.assertEqual(await boards[1].count(), 1)
        self.assertFalse(await boards[1].seen("twilio", "CA7"))


class LineTests(LineCase):
    async def test_long_values(self) -> None:
        """Questions and answers of any length, whatever AMP's limit is."""

        async def echo(text: str) -> str:
            return text

        line, _ = self.line({}, {"echo": echo})
        for size in (0, 1, PIECE_BYTES - 20, PIECE_BYTES, 3 * PIECE_BYTES, 1_000_000):
            self.assertEqual(await line.ask("echo", {"text": "x" * size}), "x" * size)

    async def refused(self, line: Line, what: str, said: Any = None, secs: float = 5.0) -> str:
        try:
            await line.ask(what, said, secs)
        except StoreUnavailable as why:
            return why.reason
        raise AssertionError("it was answered")

    async def test_failures(self) -> None:
        """Who stumbles says so, and the line stays; what cannot be said, or takes long, is told apart."""

        async def fails() -> None:
            raise ZeroDivisionError

        async def dawdles() -> str:
            return await deferLater(reactor, 0.2, lambda: "late")  # type: ignore[arg-type]

        async def fine() -> int:
            return 7

        there = {"fails": fails, "dawdles": dawdles, "fine": fine}
        line, other = self.line({}, there)
        self.assertEqual(await self.refused(line, "fails"), "stumbled")
        self.assertEqual(await self.refused(line, "unknown"), "stumbled")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, KeyError)), 2)
        self.assertEqual(await self.refused(line, "fine", {"text": "\ud800"}), "unspeakable")
        self.assertEqual(await self.refused(line, "dawdles", secs=0.05), "timeout")
        await deferLater(reactor, 0.3)  # type: ignore[arg-type]  # the late answer is nobody's
        self.assertEqual(await line.ask("fine"), 7)
        other.transport.loseConnection()  # type: ignore[union-attr, no-untyped-call]
        self.assertEqual(await self.refused(line, "dawdles"), "lost")
        self.assertEqual(await self.refused(line, "fine"), "down")
        line.tell("fine")

    async def test_the_end(self) -> None:
        """Who is left hears of it once."""
        lost: list[bool] = []
        line, other = self.line({}, {}, lambda: lost.append(line.up))
        other.transport.loseConnection()  # type: ignore[union-attr, no-untyped-call]
        while not lost:
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        self.assertEqual(lost, [False])
