"""Figures that are looked up when `/metrics` is asked for them, and cost nothing in between.

Part of the composition root: it knows who has each figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Gauge, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from voxray import logs
from voxray.edition import Premises
from voxray.http import HttpRequest
from voxray.worker import ThreadWorker


class _LostLines(Collector):
    """Log lines that nobody took; the log has its counter before there are metrics."""

    def collect(self) -> Iterable[CounterMetricFamily]:
        text = "Log lines that were dropped: standard output was not read"
        yield CounterMetricFamily("voxray_log_lines_lost_total", text, value=logs.lost())


def watch(premises: Premises, files: ThreadWorker) -> None:
    """From now on they are among the metrics."""
    registry = premises.metrics.registry
    _process(premises, registry)
    registry.register(_LostLines())
    waiting = Gauge(
        "voxray_worker_queue_depth",
        "Jobs that wait for a thread: recognition, voices, files",
        ("pool",),
        registry=registry,
    )
    for worker in (*premises.workers, premises.names, files):
        waiting.labels(worker.name).set_function(_waiting(worker))
    _calls(premises, registry)


def _process(premises: Premises, registry: CollectorRegistry) -> None:
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    timers = Gauge("voxray_reactor_delayed_calls", "Timers that run", registry=registry)
    timers.set_function(lambda: len(premises.reactor.getDelayedCalls()))
    sockets = Gauge("voxray_provider_sockets", "Connections to vendors, the idle ones too", registry=registry)
    sockets.set_function(lambda: premises.http.connections)
    retries = premises.metrics.llm_retries

    def retried(request: HttpRequest) -> None:
        if request.model:
            retries.labels("llm", request.model).inc()

    premises.http.retried = retried


def _calls(premises: Premises, registry: CollectorRegistry) -> None:
    office, clock = premises.office, premises.reactor.seconds
    expected = Gauge(
        "voxray_calls_expected", "Calls whose webhook was answered a moment ago", registry=registry
    )
    expected.set_function(lambda: office.expectations.coming(clock()))
    ringing = Gauge(
        "voxray_dials_ringing", "Calls that we placed and nobody has taken yet", registry=registry
    )
    ringing.set_function(lambda: len(office.dials.dialing))
    if (link := premises.stores.link) is not None:
        up = Gauge("voxray_store_up", "1 while Redis answers", registry=registry)
        up.set_function(lambda: link.up)


def _waiting(worker: ThreadWorker) -> Callable[[], float]:
    return lambda: worker.waiting
