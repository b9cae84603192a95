"""Places a simulated call over real sockets: the webhook by HTTP, the media stream by Autobahn.

What the webhook is sent, and what its answer means, is the carrier's (`carriers`). Only loopback unless
allowed otherwise. When the webhook is on loopback the media socket goes to the webhook's own host and port,
whatever public name the answer gives: that is what the carrier's network and the proxy in front of the
daemon would have done. permessage-deflate is never offered; carriers do not.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import TimeoutError as SocketTimeout
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import Logger

from voxray.simulator.answers import applet_url
from voxray.simulator.caller import SimulatedCall
from voxray.simulator.carriers import CARRIERS, Carrier
from voxray.simulator.rest import Switchboard
from voxray.simulator.result import CallResult
from voxray.simulator.twiml import StreamAnswer
from voxray.simulator.webhook import ask_webhook, signature, with_query
from voxray.simulator.wires.vocabulary import CallIds, Numbers

MAX_MESSAGE_BYTES = 1 << 20  # a whole reply in one message is legal
HANDSHAKE_SECS = 10.0
DEFAULT_ACCOUNT_SID = CARRIERS["twilio"].default_account
_CLOSE_SECS = 2.0
_CLOSE_AFTER_STOP_SECS = 0.1


class DialFailed(Exception):
    """The call could not be placed; one line, for people."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to call, and as whom."""

    url: str  # the webhook
    via: str = ""  # host:port for the media socket, plain ws; empty: see the module
    public_url: str = ""  # what the webhook's signature covers; empty: `url`
    from_number: str = "+15558675310"
    to_number: str = "+15017122661"
    account_sid: str = DEFAULT_ACCOUNT_SID
    auth_token: str = field(default="", repr=False)  # empty: requests are not signed
    allow_remote: bool = False
    carrier: str = "twilio"
    method: str = ""  # of the webhook; empty: the carrier's own
    stream_url: str = ""  # Exotel's static applet: no webhook is asked

    @property
    def side(self) -> Carrier:
        return CARRIERS[self.carrier]

    @property
    def numbers(self) -> Numbers:
        return Numbers(self.from_number, self.to_number)


def new_ids(account_sid: str, carrier: str = "twilio") -> CallIds:
    """Fresh ids of the carrier's shape."""
    return CARRIERS[carrier].new_ids(account_sid)


def is_loopback(host: str) -> bool:
    """Whether a name or address can only be this machine. Names other than localhost are not looked up."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Address:
    """Where the media socket is opened."""

    host: str
    port: int
    tls: bool


def media_address(target: Target, stream_url: str) -> Address:
    """Where to connect for this answer. Raises DialFailed when that is not loopback and may not be."""
    webhook, stream = urlsplit(target.url), urlsplit(stream_url)
    if target.via:
        via = urlsplit(f"//{target.via}")
        address = Address(via.hostname or "", via.port or 80, tls=False)
    elif is_loopback(webhook.hostname or ""):
        secure = webhook.scheme == "https"
        address = Address(webhook.hostname or "", webhook.port or (443 if secure else 80), tls=secure)
    else:
        secure = stream.scheme == "wss"
        address = Address(stream.hostname or "", stream.port or (443 if secure else 80), tls=secure)
    check_local(address.host, target.allow_remote)
    return address


def check_local(host: str, allow_remote: bool) -> None:
    """Raises DialFailed for a host that is another machine, unless allowed."""
    if not allow_remote and not is_loopback(host):
        raise DialFailed(f"{host!r} is not this machine; --allow-remote lets calls leave it")


class CallerProtocol(WebSocketClientProtocol):
    """The media socket; forwards to the call and guards it against Autobahn's swallowed exceptions."""

    _voxray_log = Logger()

    def __init__(self, call: SimulatedCall) -> None:
        super().__init__()
        self._call = call
        self.opened = False
        self._closing: Any = None
        self.gone: Deferred[None] = Deferred()

    def onOpen(self) -> None:
        self.opened = True
        self._guarded(self._call.start, self._send_text, self._send_close)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self._guarded(self._call.message, payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self.opened:
            self._guarded(self._call.closed, code)
        else:
            self._guarded(self._call.refused, reason or "the media socket was refused")
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        self.gone.callback(None)

    def closed_within(self, clock: Any, secs: float) -> Deferred[None]:
        """Fires when the socket is gone; it is dropped when the peer does not close it in time."""
        late = clock.callLater(secs, self.dropConnection, True)
        return self.gone.addBoth(lambda _: late.cancel() if late.active() else None)

    def _guarded(self, method: Any, *arguments: Any) -> None:
        try:
            method(*arguments)
        except Exception:  # noqa: BLE001 - Autobahn would lose it
            self._voxray_log.failure("simulated call failed")
            self._call.hang_up("failed")

    def _send_text(self, text: str) -> None:
        if self.state == self.STATE_OPEN:
            self.sendMessage(text.encode("utf-8"))  # type: ignore[no-untyped-call]

    def _send_close(self, code: int) -> None:
        """After `stop` the agent may close first. Two closes that cross are a reset to an Autobahn server."""
        self._closing = self.factory.reactor.callLater(_CLOSE_AFTER_STOP_SECS, self._close_now, code)

    def _close_now(self, code: int) -> None:
        if self.state == self.STATE_OPEN:
            self.sendClose(code)


class CallerFactory(WebSocketClientFactory):
    """One connection for one call."""

    noisy = False

    def __init__(
        self, reactor: Any, url: str, call: SimulatedCall, user_agent: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(url, useragent=user_agent, headers=dict(headers), reactor=reactor)  # type: ignore[no-untyped-call]
        self.setProtocolOptions(  # type: ignore[no-untyped-call]
            maxFramePayloadSize=MAX_MESSAGE_BYTES,
            maxMessagePayloadSize=MAX_MESSAGE_BYTES,
            failByDrop=False,
            openHandshakeTimeout=HANDSHAKE_SECS,
            closeHandshakeTimeout=_CLOSE_SECS / 2,
            tcpNoDelay=True,
            perMessageCompressionOffers=[],
        )
        self.caller = CallerProtocol(call)

    def buildProtocol(self, addr: IAddress | None) -> CallerProtocol:
        self.caller.factory = self
        return self.caller


def _endpoint(reactor: Any, address: Address) -> IStreamClientEndpoint:
    endpoint: IStreamClientEndpoint = HostnameEndpoint(
        reactor, address.host.encode("ascii"), address.port, HANDSHAKE_SECS
    )
    return wrapClientTLS(optionsForClientTLS(address.host), endpoint) if address.tls else endpoint


async def ring(reactor: Any, target: Target, ids: CallIds) -> StreamAnswer:
    """The webhook: what the server wants done with the call. Raises DialFailed, WebhookFailed, BadAnswer."""
    if target.stream_url:
        return applet_url(target.stream_url)
    check_local(urlsplit(target.url).hostname or "", target.allow_remote)
    side, fields = target.side, target.side.fields(ids, target.numbers)
    method = target.method or side.method
    headers = {"User-Agent": side.user_agent}
    if target.carrier == "twilio" and target.auth_token:
        public = target.public_url or target.url
        signed = (public, fields) if method == "POST" else (with_query(public, fields), {})
        headers["X-Twilio-Signature"] = signature(target.auth_token, *signed)
    return side.parse_answer(await ask_webhook(reactor, method, target.url, fields, headers))


def upgrade(target: Target, url: str) -> tuple[str, dict[str, str]]:
    """The URL as it is connected to, and the carrier's headers on the upgrade.

    A user and a password in the URL become Basic credentials, as on Exotel.
    """
    parts = urlsplit(url)
    if target.carrier == "twilio":
        token = target.auth_token
        return url, {"X-Twilio-Signature": signature(token, url, {})} if token else {}
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, {}
    secret = base64.b64encode(user.encode("ascii")).decode("ascii")
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {secret}"}


async def place_call(
    reactor: Any, target: Target, call: SimulatedCall, switchboard: Switchboard | None = None
) -> CallResult:
    """Rings, connects, and follows the call to its end. Raises DialFailed, WebhookFailed, BadAnswer."""
    began = reactor.seconds()
    ids = call.result.ids
    answer = await ring(reactor, target, ids)
    call.answered(answer)
    address = media_address(target, answer.url)
    url, headers = upgrade(target, answer.url)
    factory = CallerFactory(reactor, url, call, target.side.socket_agent, headers)
    if switchboard is not None:
        switchboard.add(ids.call_sid, call.hung_up_by_agent, call.keys_from_agent)
    try:
        await _endpoint(reactor, address).connect(factory)
        result = await call.done
        result.setup_ms = max(0.0, (call.started - began) * 1000.0)
        await factory.caller.closed_within(reactor, _CLOSE_SECS)
    except (ConnectError, DNSLookupError, SocketTimeout) as error:
        raise DialFailed(f"the media socket at {address.host}:{address.port}: {error}") from None
    finally:
        call.hang_up("failed")  # nothing for a call that is over; the end of one that is being given up
        if switchboard is not None:
            switchboard.remove(ids.call_sid)
    return result
