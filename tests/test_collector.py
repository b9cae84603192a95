"""When garbage is collected."""

from __future__ import annotations

import gc

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.collector import LONGEST_PERIODS, Collector


@shows("F56")
class CollectorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        self.ended = 0
        self.collections = 0
        self.clock = Clock()
        self.collector = Collector(self.clock, lambda: self.ended, self.collect)
        self.collector.start()

    def collect(self) -> None:
        self.collections += 1

    def test_once_a_second_while_calls_end(self) -> None:
        """A hundred calls that end in one second are one collection; none, none."""
        self.ended = 100
        self.clock.pump([0.25] * 4)
        self.assertEqual(self.collections, 1)
        self.clock.pump([0.25] * 12)
        self.assertEqual(self.collections, 1)

    def test_now_and_then_all_the_same(self) -> None:
        """Long calls make garbage too."""
        self.clock.pump([1.0] * LONGEST_PERIODS)
        self.assertEqual(self.collections, 1)

    def test_stops(self) -> None:
        """No timer is left."""
        self.collector.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
