"""The composition root: the only place that builds things, and the only one that names the reactor.

At the top it imports what `Options` needs and no more: `twistd --help` and a configuration error must answer
at once, and importing klein installs a reactor.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from voxray.config import Loaded
from voxray.errors import ConfigError
from voxray.listening import inherited
from voxray.options import Options, complain

if TYPE_CHECKING:
    from socket import socket

    from twisted.application.service import IService

    from voxray.drain import Drain
    from voxray.edition import Edition, Premises
    from voxray.editions import Editions
    from voxray.entrance import Entrance
    from voxray.reloading import Reloader
    from voxray.service import Parts
    from voxray.settings import Settings
    from voxray.systemd import Notify
    from voxray.worker import ThreadWorker

__all__ = ["Options", "makeService"]

EARS_THREADS = 2
BEAT_SECS = 0.02


def makeService(options: Options) -> IService:
    """The daemon, its port already bound. What is wrong is said in one line, with status 1."""
    # A resampler's small matrix products are slower on threads, and theirs would fight the engines'.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if sys.__stderr__ is not None:  # what a watchdog's SIGABRT, or a crash, interrupted
        with suppress(OSError, ValueError):
            faulthandler.enable(sys.__stderr__)
    from twisted.internet import reactor

    # Two clocks: durations by one that no clock step moves, dates by the wall clock.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    try:
        adopted = inherited(options["listen"], options.passed)
        return _build(options.settings, options.warnings, reactor, adopted, load=options.load)
    except ConfigError as error:
        complain(str(error))


def _build(
    settings: Settings,
    warnings: tuple[str, ...],
    reactor: Any,
    adopted: socket | None = None,
    *,
    load: Callable[[], Loaded],
) -> IService:
    """`adopted` is the port, where somebody has opened it for us; `load` reads the configuration again."""
    from voxray.cdr import MAX_WAITING
    from voxray.edition import build, install, metrics_port, site_of
    from voxray.editions import Editions
    from voxray.entrance import entrance
    from voxray.listening import bind
    from voxray.metrics import ConfigRecorder
    from voxray.reloading import Reloader
    from voxray.service import Daemon
    from voxray.systemd import Notify
    from voxray.worker import ThreadWorker

    notify = Notify.of(os.environ, reactor)
    files = ThreadWorker(reactor, "files", 1, MAX_WAITING)
    daemon: Daemon
    editions: Editions
    premises, drain = _premises(
        settings,
        reactor,
        files,
        notify,
        drain_secs=lambda: editions.current.settings.calls.drain_timeout_secs,
        ready=lambda: daemon.ready,
    )
    first = build(premises, settings)
    site = site_of(premises, first)
    door = entrance(settings.server, site, reactor, time.time, premises.metrics, premises.office.crowd)

    def adopt(edition: Edition) -> None:
        install(premises, site, edition)
        door.use(edition.settings.server)

    editions = Editions(first, adopt)
    rebuild = partial(build, premises)
    recorder = ConfigRecorder(premises.metrics, time.time)
    reloader = Reloader(load, rebuild, editions, files, notify, recorder, premises.ready)
    listener = adopted or bind(settings.server.host, settings.server.port)
    beside = metrics_port(premises, settings)
    parts = _parts(premises, editions, door, listener, warnings, drain, reloader, notify, beside)
    daemon = Daemon(parts, reactor)
    return daemon


def _parts(
    premises: Premises,
    editions: Editions,
    door: Entrance,
    listener: socket,
    warnings: tuple[str, ...],
    drain: Drain,
    reloader: Reloader,
    notify: Notify,
    beside: Sequence[tuple[socket, Any]],
) -> Parts:
    """What the service starts, in this order."""
    from voxray.service import Parts

    office = premises.office
    return Parts(
        editions=editions,
        registry=premises.registry,
        site=door.factory,
        close_sockets=office.sockets.close_all,
        listener=listener,
        startables=[
            *premises.stores.startables,
            premises.records,
            editions,
            office.dialer,
            *door.startables,
        ],
        workers=[*premises.workers, premises.names, *door.workers],
        http=premises.http,
        warnings=warnings,
        drain=drain,
        reloader=reloader,
        notify=notify,
        vigil=office.vigil,
        beside=beside,
        on_hangup=door.on_hangup,
    )


def _premises(
    settings: Settings,
    reactor: Any,
    files: ThreadWorker,
    notify: Notify,
    *,
    drain_secs: Callable[[], float],
    ready: Callable[[], bool],
) -> tuple[Premises, Drain]:
    """What outlives the configuration, and how it ends."""
    from twisted.internet.error import ReactorNotRunning

    from voxray import catalog_carriers, gauges, resolving
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
    from voxray.storing import stores
    from voxray.web.exposition import MetricsPage
    from voxray.worker import ThreadWorker

    def stop() -> None:
        with suppress(ReactorNotRunning):  # it is stopping already
            reactor.stop()

    metrics = Metrics()
    kept = stores(settings, metrics, reactor)
    records = CallRecords(settings.calls.cdr_file, files, reactor, time.time, metrics.cdr_lost)
    client = catalog_carriers.rest_client(reactor)
    office = Office(reactor, time.time, client, metrics, records, kept.shared)
    registry = Registry(clock=reactor, metrics=metrics, expectations=office.expectations)
    office.watch(registry)
    names = ThreadWorker(
        reactor, "names", resolving.THREADS, resolving.MAX_WAITING, stop_secs=resolving.STOP_SECS
    )
    resolving.install(reactor, names)
    drain = Drain(reactor, Household(registry, office, reactor, metrics, notify, stop), drain_secs)
    premises = Premises(
        reactor=reactor,
        wall_clock=time.time,
        http=HttpClient(reactor, recorder=ProviderRecorder(metrics.registry)),
        workers=(ThreadWorker(reactor, "ears", EARS_THREADS), ThreadWorker(reactor, "voice", 1)),
        names=names,
        metrics=metrics,
        records=records,
        beat=Metronome(reactor, BEAT_SECS),
        office=office,
        registry=registry,
        door=drain,
        stores=kept,
        page=MetricsPage(metrics.registry),
        ready=ready,
    )
    gauges.watch(premises, files)
    return premises, drain
