"""The instruments of what is done against too much, in the process's registry. Names as in `metrics`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class Guards:
    """What is done against too much: of connections, of calls, of one thing at a time."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reactor_lag_p99 = Gauge(
            "voxray_reactor_lag_p99_seconds",
            "99th percentile of the reactor's lag in ten seconds; new calls depend on it",
            registry=registry,
        )
        self.overloaded = Gauge(
            "voxray_overloaded", "1 while no new call is taken for lateness", registry=registry
        )
        self.stalls = Counter(
            "voxray_reactor_stalls_total",
            "Times one thing kept the process from all others for too long",
            registry=registry,
        )
        self.crowd = Gauge(
            "voxray_pending_connections",
            "Connections that are no calls, those that are exempt apart",
            registry=registry,
        )
        self.turned_away = Counter(
            "voxray_connections_refused_total",
            "Connections closed: too many of one address, too many, for a newer one's sake",
            ("reason",),
            registry=registry,
        )
        self.limits = Gauge("voxray_limit", "The limits that hold, by key", ("name",), registry=registry)


class CrowdRecorder:
    """Connections that are no calls."""

    def __init__(self, guards: Guards) -> None:
        self._guards = guards
        for reason in ("per_ip", "pending", "displaced"):
            guards.turned_away.labels(reason)

    def crowd(self, size: int) -> None:
        self._guards.crowd.set(size)

    def turned_away(self, reason: str) -> None:
        self._guards.turned_away.labels(reason).inc()
