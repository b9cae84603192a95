"""The composition root: the only place that builds things, and the only one that names the reactor.

At the top it imports what `Options` needs and no more: `twistd --help` and a configuration error must answer
at once, and importing klein installs a reactor.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from collections.abc import Callable
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
    from voxray.workers.child import Child

__all__ = ["Options", "makeService", "work"]

SECRET_BYTES = 32


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
    from voxray.edition import build, install, site_of
    from voxray.editions import Editions
    from voxray.entrance import entrance
    from voxray.groundwork import groundwork
    from voxray.listening import bind, bind_address
    from voxray.metrics import ConfigRecorder
    from voxray.reloading import Reloader
    from voxray.service import Daemon
    from voxray.systemd import Notify
    from voxray.worker import ThreadWorker

    notify = Notify.of(os.environ, reactor)
    files = ThreadWorker(reactor, "files", 1, MAX_WAITING)
    daemon: Daemon
    editions: Editions
    premises, drain = groundwork(
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
    key, address = "metrics_bind", settings.server.metrics_bind
    other = bind_address(key, address) if child is None else child.metrics_listener
    parts = _parts(premises, editions, door, listener, warnings, drain, reloader, notify, other, child)
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
    other: socket | None,
    child: Child | None,
) -> Parts:
    """What the service starts, in this order. `other` is the port of the metrics alone."""
    from voxray.edition import beside
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
        beside=beside(premises, editions.current.settings, other),
        parent=child,
        on_hangup=door.on_hangup,
    )
