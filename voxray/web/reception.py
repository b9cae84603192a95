"""The reception of media sockets: an upgrade is let in or not, gets its carrier's serializer, becomes a call.

Joins the policy (`trust`) to the calls (`call.registry`); both are told apart from each other and from the
sockets here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.logger import Logger

from voxray.call.expected import Welcome
from voxray.frames import StreamStarted
from voxray.interfaces import CallPort, Declined, MediaSink, Serializer
from voxray.web.hosts import MEDIA_PATH
from voxray.web.requests import asked_host, fields, signed_request
from voxray.web.trust import TOKEN_PARAMETER, Doorkeeper, Refused, Ticket, Trunk

OpenWelcome = Callable[[StreamStarted, MediaSink, Welcome], CallPort | None]


class Guest:
    """One upgrade that was let in: `web.mediasocket.Guest`."""

    def __init__(self, reception: Reception, ticket: Ticket, trunk: Trunk) -> None:
        self._reception, self._ticket, self._trunk = reception, ticket, trunk
        self.serializer: Serializer = trunk.serializer(fields(ticket.request.url.partition("?")[2].encode()))

    def open(self, started: StreamStarted, sink: MediaSink) -> CallPort | Declined:
        return self._reception.open(self._ticket, self._trunk, started, sink)


class Reception:
    """Lets sockets in."""

    log = Logger()

    def __init__(
        self,
        doorkeeper: Doorkeeper,
        proxy_host: str,
        open_call: OpenWelcome,
        refused: Callable[[str, str], None],
    ) -> None:
        """`refused(where, reason)` counts; the labels are bounded."""
        self._doorkeeper, self._proxy_host = doorkeeper, proxy_host
        self._open_call, self._refused = open_call, refused

    def admit(self, request: Any) -> Guest | Refused:
        """An upgrade request."""
        host = asked_host(request, self._proxy_host) or ""
        path, _, _ = request.uri.decode("latin-1").partition("?")
        token = path.removeprefix(MEDIA_PATH).strip("/")
        ticket = self._doorkeeper.ticket(signed_request(request, "wss", host), token)
        if isinstance(ticket, Refused):
            self._refused("upgrade", ticket.reason)
            return ticket
        assert ticket.trunk is not None
        return Guest(self, ticket, ticket.trunk)

    def open(
        self, ticket: Ticket, trunk: Trunk, started: StreamStarted, sink: MediaSink
    ) -> CallPort | Declined:
        """The stream's `start`."""
        welcome = self._doorkeeper.welcome(ticket, trunk, started)
        if isinstance(welcome, Refused):
            self._refused("start", welcome.reason)
            return Declined(welcome.reason)
        own = {name: value for name, value in started.parameters.items() if name != TOKEN_PARAMETER}
        call = self._open_call(replace(started, parameters=own), sink, welcome)
        return Declined("max_calls", full=True) if call is None else call
