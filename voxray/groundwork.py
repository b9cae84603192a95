"""What outlives the configuration, built once, and how it ends. Part of the composition root: `tap` calls it.

Importing txredisapi and klein installs a reactor, so nothing imports this before makeService runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet.error import ReactorNotRunning

from voxray import catalog_carriers, gauges, resolving, storing, worker
from voxray.call.metronome import Metronome
from voxray.call.registry import Registry
from voxray.cdr import CallRecords
from voxray.drain import Drain
from voxray.edition import Premises
from voxray.endpoints import ProviderRecorder
from voxray.household import Household
from voxray.http import HttpClient
from voxray.metrics import Metrics
from voxray.office import Office
from voxray.settings import Settings
from voxray.stores.shared import Shared
from voxray.systemd import Notify
from voxray.web.colleagues import Colleagues
from voxray.web.exposition import MetricsPage
from voxray.workers.child import Child

ENGINES = (("ears", 2), ("voice", 1))
"""Their threads."""
BEAT_SECS = 0.02


def groundwork(
    settings: Settings,
    reactor: Any,
    files: worker.ThreadWorker,
    notify: Notify,
    *,
    drain_secs: Callable[[], float],
    ready: Callable[[], bool],
    child: Child | None,
) -> tuple[Premises, Drain]:
    """`child`: this process is one of several."""
    metrics = Metrics()
    kept = storing.stores(settings, metrics, reactor, child)
    records = CallRecords(settings.calls.cdr_file, files, reactor, time.time, metrics.cdr_lost)
    office = _office(reactor, metrics, records, kept.shared, child)
    registry = Registry(clock=reactor, metrics=metrics, expectations=office.expectations)
    office.watch(registry)
    household = Household(registry, office, reactor, metrics, notify, partial(_stop, reactor))
    drain = Drain(reactor, household, drain_secs)
    ears, voice = (worker.ThreadWorker(reactor, name, threads) for name, threads in ENGINES)
    premises = Premises(
        reactor=reactor,
        wall_clock=time.time,
        http=HttpClient(reactor, recorder=ProviderRecorder(metrics.registry)),
        workers=(ears, voice),
        names=resolving.install(reactor),
        metrics=metrics,
        records=records,
        beat=Metronome(reactor, BEAT_SECS),
        office=office,
        registry=registry,
        door=drain,
        stores=kept,
        page=MetricsPage(metrics.registry, None if child is None else child.exposition),
        ready=ready,
    )
    gauges.watch(premises, files)
    return premises, drain


def _office(
    reactor: Any, metrics: Metrics, records: CallRecords, shared: Shared | None, child: Child | None
) -> Office:
    client = catalog_carriers.rest_client(reactor)
    if child is None:
        return Office(reactor, time.time, client, metrics, records, shared)
    colleagues = Colleagues(child.ask, child.orders.number)
    return Office(reactor, time.time, client, metrics, records, shared, child.orders.secret, colleagues)


def _stop(reactor: Any) -> None:
    with suppress(ReactorNotRunning):  # it is stopping already
        reactor.stop()
