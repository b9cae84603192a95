"""Vendors' endpoints among the metrics. Implements `circuits.Recorder`."""

from __future__ import annotations

from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge


class ProviderRecorder:
    """Vendors' endpoints as `voxray.circuits` reports them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._up = Gauge(
            "voxray_provider_up",
            "1 while a vendor's endpoint is asked; 0 while it is left alone, for it failed",
            ("stage", "model"),
            registry=registry,
        )
        self._paused = Counter(
            "voxray_provider_paused_total",
            "Times an endpoint that failed was left alone for a while, by its last failure",
            ("stage", "model", "error_type"),
            registry=registry,
        )

    def provider_up(self, stage: str, model: str, up: bool) -> None:
        self._up.labels(stage, model).set(float(up))

    def provider_gone(self, stage: str, model: str) -> None:
        with suppress(KeyError):
            self._up.remove(stage, model)

    def provider_paused(self, stage: str, model: str, kind: str) -> None:
        self._paused.labels(stage, model, kind).inc()
