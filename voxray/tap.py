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
    from voxray.workers.child import Child

__all__ = ["Options", "makeService", "work"]

EARS_THREADS = 2
SECRET_BYTES = 32
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
        if options.settings.server.workers > 1:
            return _supervise(options, reactor, adopted)
        return _build(options.settings, options.warnings, reactor, adopted, load=options.load)
    except ConfigError as error:
        complain(str(error))


def work() -> None:
    """One of several processes: `python -m voxray.workers`, as their parent runs it."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from twisted.internet import reactor

    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    from voxray.workers.child import Child

    def build(child: Child, listener: socket) -> Any:
        from voxray.reloading import with_lasting

        settings = with_lasting(child.load().settings, child.orders.before().settings)
        return _build(settings, (), reactor, listener, load=child.load, child=child)

    Child(reactor, build).begin()
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]


def _supervise(options: Options, reactor: Any, adopted: socket | None) -> IService:
    """The parent of several. Loads nothing that only calls need."""
    import secrets

    from voxray.listening import bind, bind_address
    from voxray.systemd import Notify
    from voxray.worker import ThreadWorker
    from voxray.workers.orders import Orders
    from voxray.workers.spawning import Spawner
    from voxray.workers.supervisor import Parts, Supervisor

    server = options.settings.server
    listener = adopted or bind(server.host, server.port)
    beside = bind_address("metrics_bind", server.metrics_bind)
    secret = secrets.token_bytes(SECRET_BYTES)
    parts = Parts(
        settings=options.settings,
        warnings=options.warnings,
        orders=Orders(0, options.source, options.text, options.text, secret),
        listeners=[listener] if beside is None else [listener, beside],
        spawn=Spawner(reactor, listener, beside, captured=not options.writes_log),
        notify=Notify.of(os.environ, reactor),
        files=ThreadWorker(reactor, "files", 1),
    )
    return Supervisor(parts, reactor)


def _build(
    settings: Settings,
    warnings: tuple[str, ...],
    reactor: Any,
    adopted: socket | None = None,
    *,
    load: Callable[[], Loaded],
    child: Child | None = None,
) -> IService:
    """`adopted` is the port, where somebody has opened it for us; `load` reads the configuration again.

    `child`: this process is one of several.
    """
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
        child=child,
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
    beside = metrics_port(premises, settings, None if child is None else child.metrics_listener)
    parts = _parts(premises, editions, door, listener, warnings, drain, reloader, notify, beside, child)
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
    child: Child | None,
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
        parent=child,
        vigil=premises.vigil,
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
    child: Child | None,
) -> tuple[Premises, Drain]:
    """What outlives the configuration, and how it ends."""
    from prometheus_client import generate_latest

    from voxray import catalog_carriers, gauges
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
    from voxray.vigil import Vigil
    from voxray.web.colleagues import Colleagues
    from voxray.web.exposition import MetricsPage
    from voxray.worker import ThreadWorker

    metrics = Metrics()
    kept = stores(settings, metrics, reactor, child)
    records = CallRecords(settings.calls.cdr_file, files, reactor, time.time, metrics.cdr_lost)
    client = catalog_carriers.rest_client(reactor)
    with_others = () if child is None else (child.orders.secret, Colleagues(child.ask, child.orders.number))
    office = Office(reactor, time.time, client, metrics, records, kept.shared, *with_others)
    registry = Registry(clock=reactor, metrics=metrics, expectations=office.expectations)
    office.watch(registry)
    names = _names(reactor)
    household = Household(registry, office, reactor, metrics, notify, partial(_stop, reactor))
    drain = Drain(reactor, household, drain_secs)
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
        vigil=Vigil(reactor, metrics, office.overload),
        page=MetricsPage(partial(generate_latest, metrics.registry) if child is None else child.exposition),
        ready=ready,
    )
    gauges.watch(premises, files)
    return premises, drain


def _names(reactor: Any) -> ThreadWorker:
    """Looks up the names of hosts."""
    from voxray import resolving
    from voxray.worker import ThreadWorker

    made = ThreadWorker(
        reactor, "names", resolving.THREADS, resolving.MAX_WAITING, stop_secs=resolving.STOP_SECS
    )
    resolving.install(reactor, made)
    return made


def _stop(reactor: Any) -> None:
    from twisted.internet.error import ReactorNotRunning

    with suppress(ReactorNotRunning):  # it is stopping already
        reactor.stop()
