"""The composition root: the only place that builds things, and the only one that names the reactor.

At the top it imports what `Options` needs and no more: `twistd --help` and a configuration error must answer
at once, and importing klein installs a reactor.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from voxray.errors import ConfigError
from voxray.listening import inherited
from voxray.options import Options, complain

if TYPE_CHECKING:
    from socket import socket

    from twisted.application.service import IService

    from voxray.call.exchange import Exchange
    from voxray.cdr import CallRecords
    from voxray.http import HttpClient
    from voxray.metrics import Metrics
    from voxray.settings import Settings
    from voxray.storing import Stores
    from voxray.telephony import Front, Lines
    from voxray.worker import ThreadWorker

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
        adopted = inherited(options["listen"], options.passed)
        return _build(options.settings, options.warnings, reactor, adopted)
    except ConfigError as error:
        complain(str(error))


def _build(
    settings: Settings, warnings: tuple[str, ...], reactor: Any, adopted: socket | None = None
) -> IService:
    from voxray.call.registry import Registry
    from voxray.cdr import MAX_WAITING, CallRecords
    from voxray.entrance import entrance
    from voxray.http import HttpClient
    from voxray.listening import bind
    from voxray.metrics import Metrics
    from voxray.service import Daemon, Parts
    from voxray.storing import stores
    from voxray.systemd import Notify
    from voxray.telephony import front, lines
    from voxray.worker import ThreadWorker

    http = HttpClient(reactor)
    workers = (ThreadWorker(reactor, "ears", EARS_THREADS), ThreadWorker(reactor, "voice", 1))
    metrics = Metrics()
    files = ThreadWorker(reactor, "files", 1, MAX_WAITING)
    records = CallRecords(settings.calls.cdr_file, files, reactor, time.time, metrics.cdr_lost)
    made = lines(settings, reactor) if settings.calls.carrier else None
    exchange = _exchange(settings, http, workers, made, reactor, metrics, records)
    registry = Registry(
        max_calls=settings.calls.max_calls,
        make_call=_call_maker(exchange),
        clock=reactor,
        metrics=metrics,
        expectations=made.expectations if made else None,
    )
    daemon: Daemon
    kept = stores(settings, metrics, reactor)
    served = front(made, exchange, registry, reactor, lambda: daemon.ready, kept.shared) if made else None
    site = _site(exchange, served, kept, reactor, ready=lambda: daemon.ready and kept.ready)
    door = entrance(settings.server, site, reactor, time.time, exchange.metrics)
    agent = settings.agent
    daemon = Daemon(
        Parts(
            exchange=exchange,
            registry=registry,
            site=door.factory,
            close_sockets=site.resource.close_sockets,
            listener=adopted or bind(settings.server.host, settings.server.port),
            startables=[
                *kept.startables,
                records,
                exchange.activity,
                *exchange.providers.all,
                *([served.dialer] if served else []),
                *door.startables,
            ],
            workers=[*workers, *door.workers],
            http=http,
            phrases=(agent.greeting, agent.apology, agent.goodbye, agent.idle_prompt, agent.transfer_apology),
            warnings=warnings,
            notify=Notify.of(os.environ, reactor),
            on_hangup=door.on_hangup,
        ),
        reactor,
    )
    return daemon


def _exchange(
    settings: Settings,
    http: HttpClient,
    workers: tuple[ThreadWorker, ThreadWorker],
    made: Lines | None,
    reactor: Any,
    metrics: Metrics,
    records: CallRecords,
) -> Exchange:
    """What all calls share."""
    from voxray.call.exchange import Exchange
    from voxray.call.metronome import Metronome
    from voxray.call.phrases import PhraseBook
    from voxray.catalog import build_providers

    providers = build_providers(settings, http, reactor, *workers)
    return Exchange(
        settings=settings,
        providers=providers,
        phrases=PhraseBook(providers.tts),
        activity=_voice_activity(settings, reactor),
        controls=made.controls if made else {},
        clock=reactor,
        beat=Metronome(reactor, BEAT_SECS),
        metrics=metrics,
        pacings={name: carrier.pacing for name, carrier in made.carriers.items()} if made else {},
        transfer_url=made.handovers.url if made else lambda call_id, number: "",
        records=records,
    )


def _call_maker(exchange: Exchange) -> Any:
    from voxray.call.call import Call

    return lambda info, wire, sink, ended: Call(info, wire, sink, exchange, ended)


def _voice_activity(settings: Settings, reactor: Any) -> Any:
    from voxray.inference import InferenceThread, SileroVoiceActivity
    from voxray.turns.vad import EnergyVoiceActivity

    if settings.turns.vad_type == "energy":
        return EnergyVoiceActivity(settings.turns.vad_threshold)
    return SileroVoiceActivity(reactor, InferenceThread(reactor))


def _site(exchange: Exchange, served: Front | None, kept: Stores, reactor: Any, *, ready: Any) -> Any:
    from voxray.metrics import HttpRecorder
    from voxray.storing import sessions
    from voxray.web.api import Api
    from voxray.web.forwarded import networks
    from voxray.web.idle import Idle
    from voxray.web.site import Root, VoxraySite

    settings, metrics = exchange.settings, exchange.metrics
    api = Api(ready, metrics.registry if settings.server.metrics_enabled else None)
    if served is None:
        root = Root(api.resource(), Idle().resource(), None, sessions=sessions(settings, kept))
    else:
        front = (served.hooks, served.media, served.calls)
        root = Root(api.resource(), *front, sessions=sessions(settings, kept))
    body_limit = settings.server.max_request_body_bytes
    trusted = networks(settings.server.trusted_proxies)
    return VoxraySite(
        root, reactor, time.time, HttpRecorder(metrics), max_body_bytes=body_limit, trusted=trusted
    )
