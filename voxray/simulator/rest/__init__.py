"""Stand-ins for the carriers' REST APIs: agents end, move and place simulated calls like real ones.

One module a carrier, read from its own documentation; `switchboard` is what they act on. Loopback only.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.web.server import Site

from voxray.simulator.rest.exotel import ExotelResource
from voxray.simulator.rest.plivo import PlivoResource
from voxray.simulator.rest.switchboard import Asked, Line, Order, Switchboard
from voxray.simulator.rest.telnyx import TelnyxResource
from voxray.simulator.rest.twilio import TwilioResource

__all__ = ["APIS", "Asked", "Line", "Order", "Switchboard", "listen"]

APIS = {"twilio": TwilioResource, "telnyx": TelnyxResource, "plivo": PlivoResource, "exotel": ExotelResource}


def listen(reactor: Any, switchboard: Switchboard, port: int) -> Deferred[IListeningPort]:
    """Serves the switchboard on 127.0.0.1; port 0 picks a free one."""
    site = Site(APIS[switchboard.carrier](switchboard), reactor=reactor)
    endpoint = TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")
    port_open: Deferred[IListeningPort] = endpoint.listen(site)
    return port_open
