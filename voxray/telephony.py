"""The telephone side of the daemon, put together: which carriers are in service, the door, the calls API.

Part of the composition root: `tap` calls it, with the reactor in hand. The carrier of `runner_transport`
takes calls; every other whose credentials are there carries the calls that we place by it. With `auto` all
four take calls; but where one has a secret, those without are not in service: the weakest door is the door.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred

from voxray import catalog_carriers
from voxray.call.dials import Dial, Dials
from voxray.call.exchange import Exchange
from voxray.call.expected import Expectations, Expected
from voxray.call.reasons import EndReason, reason_of
from voxray.call.record import CallRecord, Records
from voxray.call.registry import Registry
from voxray.frames import CallInfo
from voxray.interfaces import Ability, CallControl
from voxray.metrics import MediaRecorder, Metrics
from voxray.settings import Settings
from voxray.stores.shared import Shared
from voxray.warming import Warming
from voxray.web.calls import Calls
from voxray.web.dialing import Dialer
from voxray.web.handovers import Handovers
from voxray.web.hooks import Admission, Hooks
from voxray.web.keys import Keys
from voxray.web.media import MediaFactory, MediaResource
from voxray.web.peers import Peers
from voxray.web.reception import Reception
from voxray.web.rules import AUTO, in_service, rules_of
from voxray.web.tokens import StreamTokens
from voxray.web.trust import Doorkeeper, Trunk


@dataclass(frozen=True, slots=True)
class Lines:
    """The carriers, before there is a call: what the calls need of them, and what the web does."""

    settings: Settings
    carriers: Mapping[str, catalog_carriers.Carrier]
    controls: Mapping[str, CallControl]
    trunks: Mapping[str, Trunk]
    expectations: Expectations
    dials: Dials
    handovers: Handovers

    @property
    def insecure(self) -> bool:
        """Strangers may start calls."""
        return any(trunk.inbound and not trunk.rules.signature for trunk in self.trunks.values())


def lines(settings: Settings, reactor: Any) -> Lines:
    """The carriers of the settings."""
    client = catalog_carriers.rest_client(reactor)
    carriers = {name: catalog_carriers.build_carrier(name) for name in catalog_carriers.CARRIERS}
    controls = {
        name: control
        for name, carrier in carriers.items()
        if (control := carrier.control(settings, client, reactor)) is not None
    }
    trunks = _trunks(settings, carriers, controls)
    dials = Dials()
    return Lines(
        settings=settings,
        carriers={name: carriers[name] for name in trunks},
        controls={name: control for name, control in controls.items() if name in trunks},
        trunks=trunks,
        expectations=Expectations(settings.calls.stream_token_secs),
        dials=dials,
        handovers=Handovers(
            settings.server.proxy_host, reactor.seconds, lambda call_id: dials.get(call_id) is not None
        ),
    )


def _trunks(
    settings: Settings, carriers: Mapping[str, catalog_carriers.Carrier], controls: Mapping[str, CallControl]
) -> dict[str, Trunk]:
    """The carriers in service."""
    made = {name: _trunk(settings, carrier, name) for name, carrier in carriers.items()}
    inbound = in_service(
        settings.calls.telephony_auth,
        settings.calls.carrier,
        {name: trunk.rules for name, trunk in made.items()},
        secrets={name for name, trunk in made.items() if trunk.authenticity is not None},
        dialling={name for name, control in controls.items() if Ability.DIAL in control.abilities},
    )
    return {name: replace(made[name], inbound=takes) for name, takes in inbound.items()}


def _trunk(settings: Settings, carrier: catalog_carriers.Carrier, name: str) -> Trunk:
    authenticity = carrier.authenticity(settings)
    return Trunk(
        documents=carrier.documents(settings),
        serializer=lambda query: carrier.serializer(settings, query),
        authenticity=authenticity,
        rules=rules_of(
            settings.calls.telephony_auth,
            secret=authenticity is not None,
            static_streams=carrier.static_streams,
        ),
        parameters=carrier.parameters,
        challenge=carrier.challenge,
        unsigned_status=carrier.unsigned_status,
    )


@dataclass(frozen=True, slots=True)
class Front:
    """What the site serves of it."""

    hooks: Any
    media: MediaResource
    calls: Any
    dialer: Dialer


def front(
    made: Lines,
    exchange: Exchange,
    registry: Registry,
    reactor: Any,
    ready: Callable[[], bool],
    shared: Shared | None = None,
) -> Front:
    """The webhooks, the media socket and the calls API. `shared`: with other instances, by Redis."""
    settings, metrics = exchange.settings, exchange.metrics
    configured, proxy_host = settings.calls.carrier, settings.server.proxy_host
    peers = None if shared is None else _peers(made, registry, reactor, shared)

    def room() -> bool:
        """What rings will be a call, and so will what was told to open its stream a moment ago."""
        coming = made.expectations.coming(reactor.seconds()) + len(made.dials.dialing)
        own = len(registry) + coming
        return own < settings.calls.max_calls if peers is None else peers.room(own)

    doorkeeper = _doorkeeper(made, registry, reactor, peers)
    dialer = Dialer(
        made.controls,
        "" if configured == AUTO else configured,
        proxy_host,
        made.dials,
        doorkeeper,
        reactor,
        room=room,
        longest_secs=settings.agent.max_call_secs,
        peers=peers,
        over=_recorder(exchange.records, reactor.seconds),
    )
    registry.watch(dialer)
    admission = _admission(made, exchange, room, dialer, ready)
    hooks = Hooks(doorkeeper, proxy_host, admission, configured, reactor.seconds, peers)
    full = metrics.calls_refused.labels("max_calls").inc
    reception = Reception(
        doorkeeper,
        made.trunks,
        proxy_host,
        registry.open,
        admission.refused,
        _turning_away(dialer),
        peers,
        full,
    )
    factory = MediaFactory(reactor, settings.media, MediaRecorder(metrics))
    metrics.insecure.labels("webhook_auth").set(made.insecure)
    calls = Calls(
        Keys(settings.server.server_api_keys),
        lambda: registry,
        made.dials,
        dialer,
        caller_id=settings.calls.caller_id,
        longest_secs=settings.agent.max_call_secs,
        draining=lambda: not ready(),
        clock=reactor.seconds,
        wall_clock=time.time,
    )
    return Front(hooks.resource(), MediaResource(factory, reception.admit), calls.resource(), dialer)


def _doorkeeper(made: Lines, registry: Registry, reactor: Any, peers: Peers | None) -> Doorkeeper:
    configured = made.settings.calls.carrier
    return Doorkeeper(
        made.trunks,
        "" if configured == AUTO else configured,
        tokens=_tokens(made.settings),
        expectations=made.expectations,
        live=registry.live,
        clock=reactor.seconds,
        wall_clock=time.time,
        recognise=catalog_carriers.carrier_of_webhook,
        dialed=made.dials.expected if peers is None else peers.dialed,
    )


def _peers(made: Lines, registry: Registry, reactor: Any, shared: Shared) -> Peers:
    peers = Peers(
        shared,
        made.dials,
        made.expectations,
        token_secs=made.settings.calls.stream_token_secs,
        clock=reactor.seconds,
        wall_clock=time.time,
    )
    shared.lost = registry.lost
    made.handovers.note = peers.note_transfer
    registry.watch(peers)
    return peers


def _admission(
    made: Lines, exchange: Exchange, room: Callable[[], bool], dialer: Dialer, ready: Callable[[], bool]
) -> Admission:
    warming = Warming(exchange.providers.all, exchange.clock)

    def announced(incoming: Any, verified: bool) -> None:
        if verified:  # a stranger's word opens no connection
            warming.call_rings()

    return Admission(
        draining=lambda: not ready(),
        room=room,
        announced=announced,
        refused=_refusals(exchange.metrics),
        told=dialer.told,
        handed_over=made.handovers.take,
    )


def _turning_away(dialer: Dialer) -> Callable[[Expected], None]:
    def turned_away(expected: Expected) -> None:
        info = CallInfo(expected.call_id, call_sid=expected.call_sid, carrier=expected.carrier)
        leaving = Deferred.fromCoroutine(dialer.turned_away(info))
        leaving.addErrback(lambda failure: Dialer.log.failure("turning a call away failed", failure))

    return turned_away


def _recorder(records: Records, clock: Callable[[], float]) -> Callable[[Dial], None]:
    """Calls of ours that never were up are recorded too."""

    def over(dial: Dial) -> None:
        info = CallInfo(
            dial.dial_id,
            call_sid=dial.call_sid,
            from_number=dial.from_number,
            to_number=dial.to,
            carrier=dial.carrier,
            outbound=True,
        )
        now = records.date()
        begun = now - (clock() - dial.began)
        records.keep(CallRecord(info, reason_of(dial.reason, EndReason.FAILED), begun, now))

    return over


def _refusals(metrics: Metrics) -> Callable[[str, str], None]:
    def refused(where: str, reason: str) -> None:
        metrics.auth_failures.labels(where, reason).inc()

    return refused


def _tokens(settings: Settings) -> StreamTokens:
    key = settings.calls.stream_secret.encode() or secrets.token_bytes(32)
    return StreamTokens(key, settings.calls.stream_token_secs)
