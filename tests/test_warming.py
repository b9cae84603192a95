"""Warming up is a favour that strangers cannot turn into a flood of the vendors."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.fakes import Stage
from voxray.warming import GAP_SECS, MAX_AT_ONCE, Warming


class Slow(Stage):
    """Warms up until told that it is warm."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] = []

    async def warm_up(self) -> None:
        self.waiting.append(Deferred())
        await self.waiting[-1]


class WarmingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.provider = Clock(), Slow()
        self.warming = Warming([self.provider], self.clock)

    def ring(self, times: int, apart: float) -> int:
        for _ in range(times):
            self.clock.advance(apart)
            self.warming.call_rings()
        return len(self.provider.waiting)

    def test_a_thousand_webhooks_at_once(self) -> None:
        """One connection: the pool has it for all of them."""
        self.assertEqual(self.ring(1000, 0.0), 1)

    def test_one_vendor_for_two_stages(self) -> None:
        """It is looked up once: its connections serve both."""
        other = Slow()
        Warming([self.provider, other], self.clock).call_rings()
        self.assertEqual((len(self.provider.waiting), len(other.waiting)), (0, 1))

    @shows("F59")
    def test_a_vendor_that_hangs(self) -> None:
        """A few wait for it and no more; when one is through, the next may."""
        self.assertEqual(self.ring(100, GAP_SECS), MAX_AT_ONCE)
        self.provider.waiting[0].callback(None)
        self.assertEqual(self.ring(1, GAP_SECS), MAX_AT_ONCE + 1)

    def test_a_failure(self) -> None:
        """It is logged, and gives its place back."""
        self.ring(1, 0.0)
        self.provider.waiting[0].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.ring(100, GAP_SECS), MAX_AT_ONCE + 1)
