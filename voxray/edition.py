"""An edition: all that was built from one reading of the configuration.

A call lives by the edition it began with, however often the configuration is read again meanwhile. What
outlives editions are the `Premises`; `install` makes an edition the one that new calls get. Part of the
composition root.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from socket import socket
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxray import catalog, inference
from voxray.call.call import Call
from voxray.call.exchange import Exchange
from voxray.call.metronome import Metronome
from voxray.call.phrases import PhraseBook
from voxray.call.registry import Registry
from voxray.cdr import CallRecords
from voxray.circuits import Limits
from voxray.frames import CallInfo, Wire
from voxray.http import HttpClient
from voxray.interfaces import MediaSink, Providers, VoiceActivity
from voxray.limits import show
from voxray.metrics import HttpRecorder, Metrics
from voxray.office import Office
from voxray.settings import AgentSettings, Settings
from voxray.storing import Stores, sessions
from voxray.telephony import Front, Lines, front, lines
from voxray.turns.vad import EnergyVoiceActivity
from voxray.web.api import Api
from voxray.web.exposition import MetricsAlone, MetricsPage
from voxray.web.forwarded import networks
from voxray.web.idle import Idle
from voxray.web.keys import Keys
from voxray.web.reception import Door
from voxray.web.site import Root, VoxraySite
from voxray.worker import ThreadWorker

SPOKEN_AT_ONCE = ("local", "scripted")
"""Voices that make the fixed phrases in a moment. A vendor's may take long, so nobody waits for those."""


MEND_SECS = 30.0
"""Between two attempts at phrases that could not be made."""


class Engine(Protocol):
    """Providers, and the voice activity model."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Premises:
    """What the process has one of."""

    reactor: Any
    wall_clock: Callable[[], float]
    http: HttpClient
    workers: tuple[ThreadWorker, ThreadWorker]  # for ears, for the voice
    names: ThreadWorker  # for look-ups
    metrics: Metrics
    records: CallRecords
    beat: Metronome
    office: Office
    registry: Registry
    door: Door
    stores: Stores
    page: MetricsPage
    ready: Callable[[], bool]


@dataclass(eq=False, slots=True)
class Edition:
    """One reading of the configuration, built."""

    exchange: Exchange
    lines: Lines
    front: Front | None
    root: Root
    calls: int = 0
    """That live by it."""
    emptied: Callable[[], None] = lambda: None
    """Called when the last of them has ended."""
    preparing: Deferred[None] | None = field(default=None, repr=False)
    tried_at: float = 0.0
    """When its phrases were last made, or not."""

    _log = Logger()

    @property
    def settings(self) -> Settings:
        return self.exchange.settings

    @property
    def engines(self) -> tuple[Engine, ...]:
        """In the order of starting."""
        return (self.exchange.activity, *self.exchange.providers.all)

    def make_call(self, info: CallInfo, wire: Wire, sink: MediaSink, ended: Callable[[Call], None]) -> Call:
        """`registry.MakeCall`."""

        def over(call: Call) -> None:
            self.calls -= 1
            ended(call)
            if not self.calls:
                self.emptied()

        call = Call(info, wire, sink, self.exchange, over)
        self.calls += 1
        self._mend()
        return call

    async def prepare(self) -> None:
        """The fixed phrases are spoken, so that none costs a call its time."""
        self.tried_at = self.exchange.clock.seconds()
        making = self.exchange.phrases.prepare(fixed_phrases(self.settings.agent))
        if self.exchange.providers.tts.name in SPOKEN_AT_ONCE:
            await making
            return
        self.preparing = Deferred.fromCoroutine(making)
        self.preparing.addErrback(self._not_prepared)

    def _mend(self) -> None:
        """Phrases that could not be made are tried again, now that a call is here that may need them."""
        now = self.exchange.clock.seconds()
        busy = self.preparing is not None and not self.preparing.called
        wanted = fixed_phrases(self.settings.agent)
        if busy or now - self.tried_at < MEND_SECS or not self.exchange.phrases.lacks(wanted):
            return
        self.tried_at = now
        self.preparing = Deferred.fromCoroutine(self.exchange.phrases.prepare(wanted))
        self.preparing.addErrback(self._not_prepared)

    def close(self) -> None:
        """No call lives by it, and none will. Its engines are stopped by whoever knows who shares them."""
        if self.preparing is not None:
            self.preparing.cancel()

    def _not_prepared(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("fixed phrases failed", failure)


def fixed_phrases(agent: AgentSettings) -> tuple[str, ...]:
    """What an agent may have to say when it has no voice to say it with; the most needed first."""
    handover = agent.failure_handover if agent.on_provider_failure == "transfer" else ""
    failing = (agent.apology, agent.hold_phrase, agent.failure_goodbye, handover)
    return (agent.greeting, *failing, agent.goodbye, agent.idle_prompt, agent.transfer_apology)


def build(premises: Premises, settings: Settings, before: Edition | None = None) -> Edition:
    """Raises ConfigError. Engines of `before` whose settings are the same are taken over."""
    made = lines(settings, premises.reactor, premises.office.client)
    exchange = _exchange(premises, settings, made, None if before is None else before.exchange)
    served = None
    if settings.calls.carrier:
        served = front(made, exchange, premises.office, premises.registry, premises.door)
    return Edition(exchange, made, served, _root(premises, settings, served))


def install(premises: Premises, site: VoxraySite, edition: Edition) -> None:
    """In one reactor turn: what begins from now on is this edition's."""
    settings = edition.settings
    premises.registry.use(settings.calls.max_calls, edition.make_call)
    premises.office.use(settings)
    if edition.front is not None:  # else nobody can place a call; what rings can still be given up
        edition.front.open_for_use()
    premises.records.use(settings.calls.cdr_file)
    premises.http.circuits.limits = Limits(settings.circuits.failures, settings.circuits.pause_secs)
    premises.metrics.insecure.labels("webhook_auth").set(edition.lines.insecure)
    premises.office.vigil.use(settings.limits)
    premises.page.use(enabled=settings.server.metrics_enabled, keys=Keys(settings.server.metrics_keys))
    show(premises.metrics, settings)
    site.use(
        edition.root,
        max_body_bytes=settings.server.max_request_body_bytes,
        trusted=networks(settings.server.trusted_proxies),
        limits=settings.limits,
    )


def site_of(premises: Premises, edition: Edition) -> VoxraySite:
    """The site; it outlives the edition."""
    server = edition.settings.server
    return VoxraySite(
        edition.root,
        premises.reactor,
        premises.wall_clock,
        HttpRecorder(premises.metrics),
        max_body_bytes=server.max_request_body_bytes,
        trusted=networks(server.trusted_proxies),
        limits=edition.settings.limits,
        crowd=premises.office.crowd,
    )


def beside(
    premises: Premises, settings: Settings, listener: socket | None
) -> Sequence[tuple[socket, VoxraySite]]:
    """What is served on the port of `metrics_bind`, where there is one."""
    if listener is None:
        return ()
    site = VoxraySite(
        MetricsAlone(premises.page).resource(),
        premises.reactor,
        premises.wall_clock,
        HttpRecorder(premises.metrics),
        max_body_bytes=0,
        limits=settings.limits,
    )
    return [(listener, site)]


def _exchange(premises: Premises, settings: Settings, made: Lines, before: Exchange | None) -> Exchange:
    providers = _providers(premises, settings, before)
    return Exchange(
        settings=settings,
        providers=providers,
        phrases=PhraseBook(providers.tts, None if before is None else before.phrases),
        activity=_voice_activity(premises, settings, before),
        controls=made.controls,
        clock=premises.reactor,
        beat=premises.beat,
        metrics=premises.metrics,
        pacings={name: carrier.pacing for name, carrier in made.carriers.items()},
        transfer_url=premises.office.handovers.url,
        records=premises.records,
    )


def _providers(premises: Premises, settings: Settings, before: Exchange | None) -> Providers:
    """Recognisers and voices may have a model to load: those stay where nothing about them has changed.

    The agent's mind is made anew, for a scenario is read then.
    """
    made = catalog.build_providers(settings, premises.http, premises.reactor, *premises.workers)
    if before is None:
        return made
    new, old = settings.providers, before.settings.providers
    same_stt = replace(new, llm=old.llm, tts=old.tts) == old
    same_tts = replace(new, llm=old.llm, stt=old.stt) == old
    return Providers(
        stt=before.providers.stt if same_stt else made.stt,
        llm=made.llm,
        tts=before.providers.tts if same_tts else made.tts,
    )


def _voice_activity(premises: Premises, settings: Settings, before: Exchange | None) -> VoiceActivity:
    turns = settings.turns
    if before is not None:
        old = before.settings.turns
        if (turns.vad_type, turns.vad_threshold) == (old.vad_type, old.vad_threshold):
            return before.activity
    if turns.vad_type == "energy":
        return EnergyVoiceActivity(turns.vad_threshold)
    reactor = premises.reactor
    return inference.SileroVoiceActivity(reactor, inference.InferenceThread(reactor))


def _root(premises: Premises, settings: Settings, served: Front | None) -> Root:
    page = None if settings.server.metrics_bind else premises.page
    api = Api(lambda: premises.ready() and premises.stores.ready, page)
    asked = sessions(settings, premises.stores, draining=lambda: not premises.door.serving)
    if served is None:
        return Root(api.resource(), Idle().resource(), None, sessions=asked)
    return Root(api.resource(), served.hooks, served.media, served.calls, sessions=asked)
