"""Who watches over the reactor: how late it is, whether that allows of another call, and what blocks it."""

from __future__ import annotations

from typing import Any

from voxray.lag import LagProbe
from voxray.metrics import Metrics
from voxray.overload import Overload
from voxray.settings import LimitSettings
from voxray.stalls import StallWatch


class Vigil:
    """One for the process, from the first call it may take to the last."""

    def __init__(self, reactor: Any, metrics: Metrics, overload: Overload) -> None:
        self._metrics, self._overload = metrics, overload
        self._probe = LagProbe(reactor, self._late)
        self._stalls = StallWatch(0.0, metrics.guards.stalls, reactor.seconds)

    def use(self, limits: LimitSettings) -> None:
        self._overload.limit_secs = limits.max_lag_ms / 1_000
        self._stalls.use(limits.stall_log_secs)

    def start(self) -> None:
        self._probe.start()
        self._stalls.start()

    def stop(self) -> None:
        self._probe.stop()
        self._stalls.stop()

    def _late(self, secs: float) -> None:
        self._stalls.beat()
        self._overload.observe(secs)
        metrics = self._metrics
        metrics.reactor_lag.observe(secs)
        metrics.guards.reactor_lag_p99.set(self._overload.p99_secs)
        metrics.guards.overloaded.set(float(self._overload.over))
