"""Requests get a share of each turn of the reactor, so that audio is on time whatever is asked.

Twisted reads all sockets that are ready in one turn, and answers all requests that came in one read: 64 KiB
of `GET /health` are 1,700 requests, and more than a second. Here what is over the share waits, first come
first served, for the next turn, in which timers have their say first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

SHARE_SECS = 0.005
"""Of a turn; a packet of audio is 20 ms."""


class Share:
    """One for all connections of the process. `Work` must not raise."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._spent_secs = 0.0
        self._waiting: deque[Callable[[], None]] = deque()
        self._turning = False

    def take(self, work: Callable[[], None]) -> bool:
        """Works now, or in a turn to come; whether it did."""
        now = not self._waiting and self._spent_secs < SHARE_SECS
        if now:
            self._do(work)
        else:
            self._waiting.append(work)
        self._see_to_next()
        return now

    def _do(self, work: Callable[[], None]) -> None:
        began = self._reactor.seconds()
        work()
        self._spent_secs += self._reactor.seconds() - began

    def _turn(self) -> None:
        self._turning, self._spent_secs = False, 0.0
        while self._waiting and self._spent_secs < SHARE_SECS:
            self._do(self._waiting.popleft())
        self._see_to_next()

    def _see_to_next(self) -> None:
        if not self._turning and (self._waiting or self._spent_secs):
            self._turning = True
            self._reactor.callLater(0, self._turn)
