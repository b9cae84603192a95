"""The stores in memory keep to the contract, and to their bounds."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.store_contract import (
    BoardContract,
    HandOverContract,
    ReplayContract,
    SessionContract,
    TokenContract,
)
from voxray.stores.memory import (
    Fading,
    MemoryBoard,
    MemoryHandOver,
    MemoryReplays,
    MemorySessions,
    MemoryTokens,
)


class MemoryTests(SessionContract, ReplayContract, TokenContract, HandOverContract, BoardContract, TestCase):
    """Time is a clock's."""

    def setUp(self) -> None:
        self.clock = Clock()
        seconds = self.clock.seconds
        self.sessions, self.replays, self.tokens = (
            MemorySessions(seconds),
            MemoryReplays(seconds),
            MemoryTokens(seconds),
        )
        self.handover = MemoryHandOver(seconds)
        self.board, self.brief = MemoryBoard(seconds), MemoryBoard(seconds, self.SHORT_SECS)

    async def lapse(self) -> None:
        self.clock.advance(self.SHORT_SECS)


class BoundTests(SynchronousTestCase):
    def test_bounds(self) -> None:
        """By weight, the oldest first; what is replaced or taken weighs nothing any more."""
        clock = Clock()
        fading: Fading[bytes] = Fading(clock.seconds, 10, len)
        for key, text in (("a", b"aaaa"), ("b", b"bbbb"), ("a", b"AA"), ("c", b"cccc")):
            fading.put(key, text, 9)
        self.assertEqual([fading.get(key) for key in "abc"], [b"AA", b"bbbb", b"cccc"])
        fading.put("d", b"d", 9)
        self.assertEqual([fading.get(key) for key in "abcd"], [b"AA", None, b"cccc", b"d"])
        self.assertEqual(fading.pop("c"), b"cccc")
        fading.put("e", b"eeeeeee", 9)
        self.assertEqual([fading.get(key) for key in "acde"], [b"AA", None, b"d", b"eeeeeee"])

    def test_what_is_over_takes_no_room(self) -> None:
        """The next that comes clears it away."""
        clock = Clock()
        fading: Fading[int] = Fading(clock.seconds, 10)
        for number in range(5):
            fading.put(str(number), number, 1)
        clock.advance(1)
        fading.put("new", 9, 1)
        self.assertEqual(len(fading), 1)
