"""The composition root: the only place that builds things, and the only one that names the reactor.

At the top it imports what `Options` needs and no more: `twistd --help` and a configuration error must answer
at once, and importing klein installs a reactor.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from voxray.config import Loaded
from voxray.errors import ConfigError
from voxray.options import Options, complain

if TYPE_CHECKING:
    from twisted.application.service import IService

    from voxray.cdr import CallRecords
    from voxray.drain import Drain
    from voxray.edition import Edition, Premises
    from voxray.metrics import Metrics
    from voxray.service import Manager
    from voxray.settings import Settings

__all__ = ["Options", "makeService"]

EARS_THREADS = 2
BEAT_SECS = 0.02


def makeService(options: Options) -> IService:
    """The daemon, its port already bound. What is wrong is said in one line, with status 1."""
    # A resampler's small matrix products are slower on threads, and theirs would fight the engines'.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from twisted.internet import reactor

    # Two clocks: durations by one that no clock step moves, dates by the wall clock.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    try:
        return _build(options.settings, options.warnings, reactor, load=options.load)
    except ConfigError as error:
        complain(str(error))


def _build(
    settings: Settings, warnings: tuple[str, ...], reactor: Any, *, load: Callable[[], Loaded]
) -> IService:
    """`load` reads the configuration again."""
    from voxray.cdr import MAX_WAITING, CallRecords
    from voxray.edition import build, install, site_of
    from voxray.editions import Editions
    from voxray.entrance import entrance
    from voxray.listening import bind
    from voxray.metrics import ConfigRecorder, Metrics
    from voxray.reloading import Reloader
    from voxray.service import Daemon, NoManager, Parts
    from voxray.worker import ThreadWorker

    metrics, manager = Metrics(), NoManager()
    files = ThreadWorker(reactor, "files", 1, MAX_WAITING)
    records = CallRecords(settings.calls.cdr_file, files, reactor, time.time, metrics.cdr_lost)
    daemon: Daemon
    editions: Editions
    premises, drain = _premises(
        reactor,
        metrics,
        records,
        manager,
        drain_secs=lambda: editions.current.settings.calls.drain_timeout_secs,
        ready=lambda: daemon.ready,
    )
    first = build(premises, settings)
    site = site_of(premises, first)
    door = entrance(settings.server, site, reactor, time.time, metrics)

    def adopt(edition: Edition) -> None:
        install(premises, site, edition)
        door.use(edition.settings.server)

    editions = Editions(first, adopt)
    rebuild = partial(build, premises)
    recorder = ConfigRecorder(metrics, time.time)
    reloader = Reloader(load, rebuild, editions, files, manager, recorder, premises.ready)
    daemon = Daemon(
        Parts(
            editions=editions,
            registry=premises.registry,
            site=door.factory,
            close_sockets=premises.office.sockets.close_all,
            listener=bind(settings.server.host, settings.server.port),
            startables=[records, editions, premises.office.dialer, *door.startables],
            workers=[*premises.workers, *door.workers],
            http=premises.http,
            warnings=warnings,
            drain=drain,
            reloader=reloader,
            manager=manager,
            on_hangup=door.on_hangup,
        ),
        reactor,
    )
    return daemon


def _premises(
    reactor: Any,
    metrics: Metrics,
    records: CallRecords,
    manager: Manager,
    *,
    drain_secs: Callable[[], float],
    ready: Callable[[], bool],
) -> tuple[Premises, Drain]:
    """What outlives the configuration, and how it ends."""
    from twisted.internet.error import ReactorNotRunning

    from voxray.call.metronome import Metronome
    from voxray.call.registry import Registry
    from voxray.drain import Drain
    from voxray.edition import Premises
    from voxray.household import Household
    from voxray.http import HttpClient
    from voxray.office import Office
    from voxray.telephony import rest_client
    from voxray.worker import ThreadWorker

    def stop() -> None:
        with suppress(ReactorNotRunning):  # it is stopping already
            reactor.stop()

    office = Office(reactor, time.time, rest_client(reactor), metrics, records)
    registry = Registry(clock=reactor, metrics=metrics, expectations=office.expectations)
    registry.watch(office.dialer)
    drain = Drain(reactor, Household(registry, office, reactor, metrics, manager, stop), drain_secs)
    premises = Premises(
        reactor=reactor,
        wall_clock=time.time,
        http=HttpClient(reactor),
        workers=(ThreadWorker(reactor, "ears", EARS_THREADS), ThreadWorker(reactor, "voice", 1)),
        metrics=metrics,
        records=records,
        beat=Metronome(reactor, BEAT_SECS),
        office=office,
        registry=registry,
        door=drain,
        ready=ready,
    )
    return premises, drain
