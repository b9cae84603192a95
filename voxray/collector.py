"""Garbage collection at moments of our choosing.

A finished call is a knot of references that only the collector can undo. Left to itself Python runs it over
everything, at a moment when audio is due, or so seldom that megabytes of finished calls pile up. So: what is
there at start is frozen out of it, whole collections on its own are made rare, and one is made here at most
once a second, after calls have ended.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

PERIOD_SECS = 1.0
LONGEST_PERIODS = 30
"""Without an ended call one is made all the same after so long: long calls make garbage too."""

THRESHOLDS = (700, 10, 1000)
"""Young objects as ever; a whole collection of Python's own accord only if ours should fail."""


class Collector:
    """Looks once a second whether calls have ended."""

    def __init__(
        self, clock: IReactorTime, ended: Callable[[], int], collect: Callable[[], object] = gc.collect
    ) -> None:
        """`ended()` is the number of calls that have ended so far; `collect` is for tests."""
        self._ended = ended
        self._collect = collect
        self._seen = 0
        self._waited = 0
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock

    def start(self) -> None:
        """To be called once everything that stays is there."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        self._loop.start(PERIOD_SECS, now=False)

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def _tick(self) -> None:
        ended = self._ended()
        self._waited += 1
        if ended != self._seen or self._waited >= LONGEST_PERIODS:
            self._seen, self._waited = ended, 0
            self._collect()
