"""How late the reactor is: the first thing to look at when calls sound bad."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

PERIOD_SECS = 0.1


class LagProbe:
    """A timer that reports its own lateness, in seconds."""

    def __init__(self, clock: IReactorTime, observe: Callable[[float], object]) -> None:
        self._clock = clock
        self._observe = observe
        self._due = 0.0
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock

    def start(self) -> None:
        self._due = self._clock.seconds() + PERIOD_SECS
        self._loop.start(PERIOD_SECS, now=False)

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def _tick(self) -> None:
        """A LoopingCall keeps to its grid; ticks it missed are part of this one's lateness."""
        now = self._clock.seconds()
        self._observe(max(0.0, now - self._due))
        while self._due <= now:
            self._due += PERIOD_SECS
