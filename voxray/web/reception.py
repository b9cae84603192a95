"""The reception of media sockets: an upgrade is let in or not, gets its carrier's serializer, becomes a call.

Joins the policy (`trust`) to the calls (`call.registry`); both are told apart from each other and from the
sockets here.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from twisted.logger import Logger

from voxray.call.expected import Expected, Welcome
from voxray.errors import BadMessage
from voxray.frames import Frame, Ignored, StreamStarted
from voxray.interfaces import CallPort, Declined, MediaSink, Serializer
from voxray.overload import OVERLOAD
from voxray.serializers.sniff import Sniffer
from voxray.stores.ports import Verdict
from voxray.web.hosts import MEDIA_PATH
from voxray.web.requests import asked_host, fields, signed_request
from voxray.web.tokens import Fault
from voxray.web.trust import TOKEN_PARAMETER, Doorkeeper, Refused, Ticket, Trunk

MAX_URI_BYTES = 4_096  # a token has 500 at most, Exotel's whole address 600

OpenWelcome = Callable[[StreamStarted, MediaSink, Welcome], CallPort | None]
Opened = CallPort | Declined | Coroutine[Any, Any, CallPort | Declined]


class Peers(Protocol):
    """The part of `peers.Peers` used here: other instances, that share the calls."""

    def learn_call(self, carrier: str, call_sid: str, dial_id: str) -> Coroutine[Any, Any, None]: ...

    def seen(self, carrier: str, call_sid: str) -> Coroutine[Any, Any, bool]: ...

    def admit(
        self, welcome: Welcome, started: StreamStarted
    ) -> Coroutine[Any, Any, Welcome | Verdict | None]: ...

    def leave(self, lease: str) -> None: ...


class Door(Protocol):
    """Whether the daemon is about to stop."""

    @property
    def serving(self) -> bool:
        """New calls are taken."""

    @property
    def admitting(self) -> bool:
        """Streams of calls that were announced before are let in."""


class AlwaysOpen:
    """It never is."""

    serving = admitting = True


ALWAYS_OPEN = AlwaysOpen()
DRAINING = "draining"


class Guest:
    """One upgrade that was let in: `interfaces.Guest`."""

    def __init__(self, reception: Reception, ticket: Ticket, trunk: Trunk) -> None:
        self._reception, self._ticket, self._trunk = reception, ticket, trunk
        self.serializer: Serializer = trunk.serializer(_query(ticket))

    def open(self, started: StreamStarted, sink: MediaSink) -> Opened:
        return self._reception.open(self._ticket, self._trunk, started, sink)

    def held(self) -> Sequence[bytes]:
        return ()


class UnknownGuest:
    """One whose carrier its own messages have to tell: a `Guest`, and the serializer of it until then."""

    def __init__(self, reception: Reception, ticket: Ticket, trunks: Mapping[str, Trunk]) -> None:
        self._reception, self._ticket, self._trunks = reception, ticket, trunks
        self._sniffer = Sniffer()
        self._trunk: Trunk | None = None
        self._inner: Serializer | None = None
        self.serializer: Serializer = self

    def open(self, started: StreamStarted, sink: MediaSink) -> Opened:
        assert self._trunk is not None  # `decode` gave the `start`
        return self._reception.open(self._ticket, self._trunk, started, sink)

    def held(self) -> Sequence[bytes]:
        return self._sniffer.held[:-1]  # the last is the `start` itself

    # -- Serializer ------------------------------------------------------------
    def decode(self, message: bytes) -> Frame:
        if self._inner is not None:
            return self._inner.decode(message)
        told = self._sniffer.feed(message)
        if told is None:
            return Ignored("carrier_unknown")
        self._trunk = self._trunks.get(told[0])
        if self._trunk is None:
            raise BadMessage("bad_start", "of a carrier that is not in service")
        self._inner = self._trunk.serializer(_query(self._ticket))
        return self._inner.decode(message)

    def media(self, payload: bytes) -> bytes:
        return self._known.media(payload)

    def mark(self, name: str) -> bytes:
        return self._known.mark(name)

    def clear(self) -> bytes:
        return self._known.clear()

    def keys(self, digits: str) -> bytes | None:
        return self._known.keys(digits)

    @property
    def _known(self) -> Serializer:
        assert self._inner is not None  # nothing is sent before `start`
        return self._inner


def _query(ticket: Ticket) -> dict[str, str]:
    return fields(ticket.request.url.partition("?")[2].encode("latin-1"))


class Reception:
    """Lets sockets in."""

    log = Logger()

    def __init__(
        self,
        doorkeeper: Doorkeeper,
        trunks: Mapping[str, Trunk],
        proxy_host: str,
        open_call: OpenWelcome,
        refused: Callable[[str, str], None],
        turned_away: Callable[[Expected], None] = lambda expected: None,
        peers: Peers | None = None,
        full: Callable[[], None] = lambda: None,
        door: Door = ALWAYS_OPEN,
        too_late: Callable[[], None] = lambda: None,
        *,
        overloaded: Callable[[], bool] = lambda: False,
        too_busy: Callable[[], None] = lambda: None,
    ) -> None:
        """`refused(where, reason)` counts; the labels are bounded. `turned_away`: a call of ours, for want of
        room. `full()`: the peers have no place left. `too_late()`: the daemon is about to stop. `too_busy()`:
        it is `overloaded()`."""
        self._doorkeeper, self._trunks, self._proxy_host = doorkeeper, trunks, proxy_host
        self._open_call, self._refused, self._turned_away = open_call, refused, turned_away
        self._peers, self._full = peers, full
        self._door, self._too_late = door, too_late
        self._overloaded, self._too_busy = overloaded, too_busy

    def admit(self, request: Any) -> Guest | UnknownGuest | Refused:
        """An upgrade request."""
        host = asked_host(request, self._proxy_host) or ""
        if len(request.uri) > MAX_URI_BYTES:
            return Refused("upgrade_too_long")
        path, _, _ = request.uri.decode("latin-1").partition("?")
        token = path.removeprefix(MEDIA_PATH).strip("/")
        ticket = self._doorkeeper.ticket(signed_request(request, "wss", host), token)
        if isinstance(ticket, Refused):
            self._refused("upgrade", ticket.reason)
            return ticket
        if not self._expected(ticket):
            self._too_late()
            return Refused(DRAINING, later=True)
        if self._overloaded() and not self._announced(ticket):
            self._too_busy()
            return Refused(OVERLOAD, later=True)
        if ticket.trunk is None:
            return UnknownGuest(self, ticket, self._trunks)
        return Guest(self, ticket, ticket.trunk)

    def open(self, ticket: Ticket, trunk: Trunk, started: StreamStarted, sink: MediaSink) -> Opened:
        """The stream's `start`."""
        if self._peers is not None:
            return self._open_shared(self._peers, ticket, trunk, started, sink)
        welcome = self._doorkeeper.welcome(ticket, trunk, started)
        if isinstance(welcome, Refused):
            return self._decline(welcome.reason)
        return self._opened(started, sink, welcome)

    async def _open_shared(
        self, peers: Peers, ticket: Ticket, trunk: Trunk, started: StreamStarted, sink: MediaSink
    ) -> CallPort | Declined:
        """With the others' consent: the token is spent for all of them, the place is one of all."""
        dial_id = self._doorkeeper.dial_id(ticket, trunk, started)
        await peers.learn_call(trunk.name, started.call_sid, dial_id)
        welcome = self._doorkeeper.welcome(ticket, trunk, started)
        if isinstance(welcome, Refused):
            return self._decline(welcome.reason)
        if trunk.rules.enforced and not welcome.nonce and await peers.seen(trunk.name, started.call_sid):
            return self._decline("second_stream")  # it had its stream elsewhere
        admitted = await peers.admit(welcome, started)
        if admitted is None:
            return self._decline(Fault.SPENT.value)
        if admitted is Verdict.LIVE:
            return self._decline("second_stream")
        if not isinstance(admitted, Welcome):
            self._full()
            return self._no_place(welcome)
        return self._with_place(peers, started, sink, admitted)

    def _with_place(
        self, peers: Peers, started: StreamStarted, sink: MediaSink, welcome: Welcome
    ) -> CallPort | Declined:
        """A place that comes to nothing is given back."""
        opened: CallPort | Declined | None = None
        try:
            # While we asked, another stream of the call may have come here.
            live = self._doorkeeper.live(welcome.carrier, started.call_sid)
            if live and not welcome.nonce:
                opened = self._decline("second_stream")
            else:
                opened = self._opened(started, sink, replace(welcome, replaces=live))
        finally:
            if opened is None or isinstance(opened, Declined):
                peers.leave(welcome.lease)
        return opened

    def _decline(self, reason: str) -> Declined:
        self._refused("start", reason)
        return Declined(reason)

    def _opened(self, started: StreamStarted, sink: MediaSink, welcome: Welcome) -> CallPort | Declined:
        if not (self._door.serving or (self._door.admitting and welcome.expected)):
            self._too_late()
            return self._no_place(welcome, DRAINING)
        if welcome.expected is None and self._overloaded():
            self._too_busy()
            return self._no_place(welcome, OVERLOAD)
        own = {name: value for name, value in started.parameters.items() if name != TOKEN_PARAMETER}
        call = self._open_call(replace(started, parameters=own), sink, welcome)
        return self._no_place(welcome) if call is None else call

    def _no_place(self, welcome: Welcome, reason: str = "max_calls") -> Declined:
        """Who dialled a call is told that it came to nothing."""
        if welcome.expected is not None and welcome.expected.outbound:
            self._turned_away(welcome.expected)
        return Declined(reason, full=True)

    def _expected(self, ticket: Ticket) -> bool:
        """While the daemon drains: the upgrade's call was announced before, or may have been."""
        return self._door.serving or (self._door.admitting and self._announced(ticket))

    def _announced(self, ticket: Ticket) -> bool:
        """A webhook may have told of its call, and was answered that it may come."""
        return ticket.claim is not None or self._doorkeeper.awaits_streams
