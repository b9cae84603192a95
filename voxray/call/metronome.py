"""One beat for all calls: a timer of its own for each would wake the process far more often."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger


class Metronome:
    """Calls everybody who joined, every `interval_secs`; silent while nobody has."""

    log = Logger()

    def __init__(self, clock: IReactorTime, interval_secs: float) -> None:
        self._clock = clock
        self._interval = interval_secs
        self._members: dict[Callable[[float], None], None] = {}
        self._loop = LoopingCall(self._beat)
        self._loop.clock = clock

    def join(self, member: Callable[[float], None]) -> None:
        """`member(now)` is called on every beat; joining twice is once."""
        self._members[member] = None
        if not self._loop.running:
            self._loop.start(self._interval, now=False).addErrback(self._stumbled)

    def leave(self, member: Callable[[float], None]) -> None:
        self._members.pop(member, None)

    def __len__(self) -> int:
        return len(self._members)

    def _beat(self) -> None:
        if not self._members:
            self._loop.stop()
            return
        now = self._clock.seconds()
        for member in tuple(self._members):
            try:
                member(now)
            except Exception:  # noqa: BLE001
                # One exception in a LoopingCall stops it for good: no call may silence the others.
                self.log.failure("a beat failed; its member is dropped")
                self.leave(member)

    def _stumbled(self, failure: object) -> None:
        self.log.error("the metronome stopped: {failure}", failure=failure)
