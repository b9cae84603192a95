"""The telephone side of the daemon, put together: which carriers are in service, the door, the calls API.

Part of the composition root; once for each edition of the configuration. The carrier of `runner_transport`
takes calls; every other whose credentials are there carries the calls that we place by it. With `auto` all
four take calls; but where one has a secret, those without are not in service: the weakest door is the door.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.internet.defer import Deferred

from voxray import catalog_carriers
from voxray.call.exchange import Exchange
from voxray.call.expected import Expected
from voxray.call.registry import Registry
from voxray.frames import CallInfo
from voxray.interfaces import Ability, CallControl
from voxray.metrics import Metrics
from voxray.office import Office
from voxray.overload import OVERLOAD
from voxray.settings import Settings
from voxray.warming import Warming
from voxray.web import comeback
from voxray.web.calls import Calls
from voxray.web.dialing import Dialer
from voxray.web.hooks import Admission, Hooks
from voxray.web.keys import Keys
from voxray.web.media import MediaResource
from voxray.web.reception import Door, Reception
from voxray.web.rules import AUTO, in_service, rules_of
from voxray.web.trust import Doorkeeper, Trunk


@dataclass(frozen=True, slots=True)
class Lines:
    """The carriers, before there is a call: what the calls need of them, and what the web does."""

    settings: Settings
    carriers: Mapping[str, catalog_carriers.Carrier] = field(default_factory=dict)
    controls: Mapping[str, CallControl] = field(default_factory=dict)
    trunks: Mapping[str, Trunk] = field(default_factory=dict)

    @property
    def insecure(self) -> bool:
        """Strangers may start calls."""
        return any(trunk.inbound and not trunk.rules.signature for trunk in self.trunks.values())

    @property
    def default(self) -> str:
        """The carrier of whatever names none; empty: each request tells."""
        configured = self.settings.calls.carrier
        return "" if configured == AUTO else configured


def lines(settings: Settings, reactor: Any, client: Any = None) -> Lines:
    """The carriers of the settings; none without `runner_transport`. `client` asks their APIs."""
    if not settings.calls.carrier:
        return Lines(settings)
    client = catalog_carriers.rest_client(reactor) if client is None else client
    carriers = {name: catalog_carriers.build_carrier(name) for name in catalog_carriers.CARRIERS}
    controls = {
        name: control
        for name, carrier in carriers.items()
        if (control := carrier.control(settings, client, reactor)) is not None
    }
    trunks = _trunks(settings, carriers, controls)
    return Lines(
        settings=settings,
        carriers={name: carriers[name] for name in trunks},
        controls={name: control for name, control in controls.items() if name in trunks},
        trunks=trunks,
    )


def _trunks(
    settings: Settings, carriers: Mapping[str, catalog_carriers.Carrier], controls: Mapping[str, CallControl]
) -> dict[str, Trunk]:
    """The carriers in service."""
    made = {name: _trunk(settings, carrier, name in controls) for name, carrier in carriers.items()}
    inbound = in_service(
        settings.calls.telephony_auth,
        settings.calls.carrier,
        {name: trunk.rules for name, trunk in made.items()},
        secrets={name for name, trunk in made.items() if trunk.authenticity is not None},
        dialling={name for name, control in controls.items() if Ability.DIAL in control.abilities},
    )
    return {name: replace(made[name], inbound=takes) for name, takes in inbound.items()}


def _trunk(settings: Settings, carrier: catalog_carriers.Carrier, controlled: bool) -> Trunk:
    authenticity, documents = carrier.authenticity(settings), carrier.documents(settings)
    back = documents if settings.calls.reattach and controlled else None
    return Trunk(
        documents=documents,
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
        back=back if isinstance(back, comeback.Documents) else None,
    )


@dataclass(frozen=True, slots=True)
class Front:
    """What the site serves of it."""

    hooks: Any
    media: MediaResource
    board: Calls
    calls: Any
    open_for_use: Callable[[], None]
    """From now on calls are placed by these carriers."""


def front(made: Lines, exchange: Exchange, office: Office, registry: Registry, door: Door) -> Front:
    """The webhooks, the media socket and the calls API."""
    settings, clock = exchange.settings, exchange.clock.seconds
    proxy_host, longest_secs = settings.server.proxy_host, settings.agent.max_call_secs

    peers, overload = office.peers, office.overload

    def room() -> bool:
        """What rings will be a call, and so will what was told to open its stream a moment ago."""
        own = len(registry) + office.expectations.coming(clock()) + len(office.dials.dialing)
        return own < settings.calls.max_calls if peers is None else peers.room(own)

    doorkeeper = _doorkeeper(made, office, registry, clock)
    admission = _admission(exchange, office, room, door)
    hooks = Hooks(doorkeeper, proxy_host, admission, settings.calls.carrier, clock, peers)
    reception = Reception(
        doorkeeper,
        made.trunks,
        proxy_host,
        registry.open,
        admission.refused,
        _turning_away(office.dialer),
        peers,
        exchange.metrics.calls_refused.labels("max_calls").inc,
        door,
        exchange.metrics.calls_refused.labels("draining").inc,
        overloaded=lambda: overload.over,
        too_busy=exchange.metrics.calls_refused.labels(OVERLOAD).inc,
    )
    calls = Calls(
        Keys(settings.server.server_api_keys),
        lambda: registry,
        office.dials,
        office.dialer,
        caller_id=settings.calls.caller_id,
        longest_secs=longest_secs,
        draining=lambda: not door.serving,
        clock=clock,
        wall_clock=time.time,
        replays=office.replays,
        colleagues=office.colleagues,
    )
    return Front(
        hooks.resource(),
        MediaResource(office.sockets, reception.admit),
        calls,
        calls.resource(),
        lambda: office.dialer.use(
            made.controls,
            made.default,
            proxy_host,
            room=lambda: room() and not overload.over,
            longest_secs=longest_secs,
        ),
    )


def _doorkeeper(made: Lines, office: Office, registry: Registry, clock: Callable[[], float]) -> Doorkeeper:
    return Doorkeeper(
        made.trunks,
        made.default,
        tokens=office.tokens,
        expectations=office.expectations,
        live=registry.live,
        clock=clock,
        wall_clock=time.time,
        recognise=catalog_carriers.carrier_of_webhook,
        dialed=office.dials.expected if office.peers is None else office.peers.dialed,
    )


def _admission(exchange: Exchange, office: Office, room: Callable[[], bool], door: Door) -> Admission:
    warming = Warming(exchange.providers.all, exchange.clock)

    def announced(incoming: Any, verified: bool) -> None:
        if verified:  # a stranger's word opens no connection
            warming.call_rings()

    return Admission(
        draining=lambda: not door.serving,
        room=room,
        announced=announced,
        refused=_refusals(exchange.metrics),
        no_call=lambda reason: exchange.metrics.calls_refused.labels(reason).inc(),
        overloaded=lambda: office.overload.over,
        busy_is_503=exchange.settings.limits.overload_response == "503",
        told=office.dialer.told,
        handed_over=office.handovers.take,
    )


def _turning_away(dialer: Dialer) -> Callable[[Expected], None]:
    def turned_away(expected: Expected) -> None:
        info = CallInfo(expected.call_id, call_sid=expected.call_sid, carrier=expected.carrier)
        leaving = Deferred.fromCoroutine(dialer.turned_away(info))
        leaving.addErrback(lambda failure: Dialer.log.failure("turning a call away failed", failure))

    return turned_away


def _refusals(metrics: Metrics) -> Callable[[str, str], None]:
    def refused(where: str, reason: str) -> None:
        metrics.auth_failures.labels(where, reason).inc()

    return refused
