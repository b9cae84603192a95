"""What a drain does to the daemon: `drain.Household` over the calls, the dialer and the service manager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxray.call.call import Call
from voxray.call.reasons import EndReason
from voxray.call.registry import Registry
from voxray.drain import Left
from voxray.metrics import Metrics
from voxray.office import Office


class Manager(Protocol):
    """The service manager, such as systemd."""

    def stopping(self) -> None: ...

    def extend(self, secs: float) -> None: ...


class Household:
    """One for the process."""

    log = Logger()

    def __init__(
        self,
        registry: Registry,
        office: Office,
        clock: IReactorTime,
        metrics: Metrics,
        manager: Manager,
        stop: Callable[[], None],
    ) -> None:
        """`stop()` stops the reactor."""
        self._registry, self._office, self._clock = registry, office, clock
        self._metrics, self._manager, self._stop = metrics, manager, stop

    def left(self) -> Left:
        streams = self._office.expectations.on_their_way(self._clock.seconds())
        asked = self._office.dialer.asking + self._office.sockets.deciding
        return Left(len(self._registry), streams, asked)

    def begin(self, longest_secs: float) -> None:
        self._metrics.draining.set(1)
        self._manager.stopping()
        self._manager.extend(longest_secs)
        self._office.dialer.give_up_all(EndReason.SHUTDOWN, self._office.expectations.announced)

    def say_goodbye(self) -> None:
        self._each(lambda call: call.say_goodbye(EndReason.DRAIN_FORCED))

    def hang_up(self) -> None:
        self._each(lambda call: call.cut_short(EndReason.DRAIN_FORCED))

    def stop(self) -> None:
        self._registry.abort_all(1001, EndReason.DRAIN_FORCED)
        self._stop()

    def _each(self, action: Callable[[Call], None]) -> None:
        """One call's trouble is not another's."""
        for call in self._registry:
            try:
                action(call)
            except Exception:  # noqa: BLE001
                self.log.failure("call {call_id}: ending it failed", call_id=call.call_id)
