"""The composition root: the only place that builds things, and the only one that names the reactor.

At the top it imports what `Options` needs and no more: `twistd --help` and a configuration error must answer
at once, and importing klein installs a reactor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voxray.errors import ConfigError
from voxray.options import Options, complain

if TYPE_CHECKING:
    from twisted.application.service import IService

    from voxray.settings import Settings

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    """The daemon, its port already bound. What is wrong is said in one line, with status 1."""
    try:
        return _build(options.settings, options.warnings)
    except ConfigError as error:
        complain(str(error))


def _build(settings: Settings, warnings: tuple[str, ...]) -> IService:
    import time

    from twisted.internet import reactor

    from voxray.call.call import Call, Exchange
    from voxray.call.metronome import Metronome
    from voxray.call.phrases import PhraseBook
    from voxray.call.registry import Registry
    from voxray.catalog import build_providers
    from voxray.frames import ULAW_8K
    from voxray.http import HttpClient
    from voxray.listening import bind
    from voxray.metrics import Metrics
    from voxray.service import Daemon, Parts
    from voxray.worker import ThreadWorker

    # Two clocks: durations by one that no clock step moves, dates by the wall clock.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]

    metrics = Metrics()
    http = HttpClient(reactor)
    worker = ThreadWorker(reactor, "engines", threads=2)
    providers = build_providers(settings, http, reactor, worker)
    activity = _voice_activity(settings, reactor)
    phrases = PhraseBook(providers.tts, ULAW_8K)
    exchange = Exchange(
        settings=settings,
        providers=providers,
        phrases=phrases,
        activity=activity,
        control=_control(settings, reactor),
        clock=reactor,
        beat=Metronome(reactor, 0.02),
        metrics=metrics,
    )
    registry = Registry(
        max_calls=settings.calls.max_calls,
        carrier=settings.calls.carrier,
        make_call=lambda info, wire, sink, ended: Call(info, wire, sink, exchange, ended),
        clock=reactor,
        metrics=metrics,
    )
    agent, server = settings.agent, settings.server
    daemon: Daemon
    site = _site(settings, exchange, registry, reactor, ready=lambda: daemon.ready)
    listener = bind(server.host, server.port)
    daemon = Daemon(
        Parts(
            exchange=exchange,
            registry=registry,
            site=_with_tls(settings, site),
            listener=listener,
            startables=[activity, *providers.all],
            worker=worker,
            http=http,
            phrases=(agent.greeting, agent.apology, agent.goodbye, agent.idle_prompt),
            warnings=warnings,
            where="{}:{}{}".format(*listener.getsockname()[:2], " (TLS)" if server.tls.enable else ""),
        ),
        reactor,
    )
    return daemon


def _voice_activity(settings: Settings, reactor: Any) -> Any:
    from voxray.inference import InferenceThread, SileroVoiceActivity
    from voxray.turns.vad import EnergyVoiceActivity

    if settings.turns.vad_type == "energy":
        return EnergyVoiceActivity(settings.turns.vad_threshold)
    return SileroVoiceActivity(reactor, InferenceThread(reactor))


def _control(settings: Settings, reactor: Any) -> Any:
    """The carrier's REST API, if we have its credentials."""
    keys = settings.providers.api_keys
    sid, token = keys.get("twilio_account_sid", ""), keys.get("twilio_auth_token", "")
    if settings.calls.carrier != "twilio" or not (sid and token):
        return None
    from treq.client import HTTPClient
    from twisted.web.client import Agent, HTTPConnectionPool

    from voxray.carriers.twilio import API_URL, TwilioControl

    client = HTTPClient(Agent(reactor, connectTimeout=3, pool=HTTPConnectionPool(reactor)))
    base_url = settings.providers.base_urls.get("twilio", API_URL)
    return TwilioControl(client, reactor, sid, token, base_url)


def _site(settings: Settings, exchange: Any, registry: Any, reactor: Any, *, ready: Any) -> Any:
    import time

    from voxray.carriers.twilio import TwilioDocuments
    from voxray.metrics import HttpRecorder, MediaRecorder
    from voxray.serializers.twilio import TwilioSerializer
    from voxray.web.api import Api
    from voxray.web.hooks import Admission, Hooks
    from voxray.web.media import MediaFactory, MediaResource
    from voxray.web.site import Root, VoxraySite

    metrics, server = exchange.metrics, settings.server
    api = Api(ready, metrics.registry if server.metrics_enabled else None)
    admission = Admission(
        draining=lambda: not ready(), room=registry.admits, announced=_announcer(registry, exchange)
    )
    hooks = Hooks(TwilioDocuments(), server.proxy_host, admission)
    media = MediaFactory(reactor, settings.media, TwilioSerializer, registry.open, MediaRecorder(metrics))
    root = Root(api.resource(), hooks.resource(), MediaResource(media))
    return VoxraySite(
        root, reactor, time.time, HttpRecorder(metrics), max_body_bytes=server.max_request_body_bytes
    )


def _announcer(registry: Any, exchange: Any) -> Any:
    """A webhook came: remember it, and open the vendors' connections while the carrier dials back."""
    from twisted.internet.defer import Deferred
    from twisted.logger import Logger

    log = Logger(namespace="voxray.tap")

    def announced(incoming: Any) -> None:
        registry.announce(incoming)
        for provider in exchange.providers.all:
            warming = Deferred.fromCoroutine(provider.warm_up())
            warming.addErrback(lambda failure: log.failure("warming up failed", failure))

    return announced


def _with_tls(settings: Settings, site: Any) -> Any:
    """The site behind TLS where it is asked for. Raises ConfigError for files that do not serve."""
    tls = settings.server.tls
    if not tls.enable:
        return site
    from pathlib import Path

    from OpenSSL.SSL import Error as SslError
    from twisted.internet.ssl import PrivateCertificate
    from twisted.protocols.tls import TLSMemoryBIOFactory

    try:
        pem = Path(tls.key_file).read_bytes() + b"\n" + Path(tls.cert_file).read_bytes()
        context = PrivateCertificate.loadPEM(pem).options()
        context.getContext()
    except (OSError, SslError, ValueError) as error:
        raise ConfigError(f"tls_cert_file and tls_key_file cannot be used: {error}") from error
    return TLSMemoryBIOFactory(context, False, site)
