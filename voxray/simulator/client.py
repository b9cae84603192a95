"""Places a simulated call over real sockets: the webhook by HTTP, the media stream by Autobahn.

What the webhook is sent, and what its answer means, is the carrier's (`carriers`); where it all goes is
`target`'s. permessage-deflate is never offered; carriers do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import TimeoutError as SocketTimeout
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxray.simulator.answers import applet_url
from voxray.simulator.caller import SimulatedCall
from voxray.simulator.documents import next_of
from voxray.simulator.duplicate import DuplicateSocket
from voxray.simulator.rest.switchboard import Line, Switchboard
from voxray.simulator.result import CallResult
from voxray.simulator.signing import basic, outgoing
from voxray.simulator.target import Address, Target, media_address
from voxray.simulator.twiml import BadAnswer, StreamAnswer
from voxray.simulator.webhook import WebhookFailed, ask
from voxray.simulator.wires.vocabulary import CallIds

MAX_MESSAGE_BYTES = 1 << 20  # a whole reply in one message is legal
HANDSHAKE_SECS = 10.0
_CLOSE_SECS = 2.0
_PATIENT_CLOSE_SECS = 8.0  # for an agent that is to close by itself
_CLOSE_AFTER_STOP_SECS = 0.1


class Party(Protocol):
    """What a socket belongs to: a call, or a second socket of one."""

    def start(
        self, send: Callable[[str], None], close: Callable[[int], None], abort: Callable[[], None]
    ) -> None: ...

    def message(self, payload: bytes, is_binary: bool = False) -> None: ...

    def closed(self, code: int | None) -> None: ...

    def refused(self, reason: str) -> None: ...

    def hang_up(self, ended_by: str) -> None: ...


class CallerProtocol(WebSocketClientProtocol):
    """The media socket; forwards to the call and guards it against Autobahn's swallowed exceptions."""

    _voxray_log = Logger()

    def __init__(self, call: Party) -> None:
        super().__init__()
        self._call = call
        self.opened = False
        self._closing: Any = None
        self.gone: Deferred[None] = Deferred()

    def sendData(self, data: bytes, *more: Any, **named: Any) -> None:
        """Autobahn's, which names the port of the handshake's Host even when it is the scheme's own."""
        if self.state == self.STATE_CONNECTING:
            host = f"\r\nHost: {self.factory.host}"
            port = 443 if self.factory.isSecure else 80
            data = data.replace(f"{host}:{port}\r\n".encode(), f"{host}\r\n".encode(), 1)
        super().sendData(data, *more, **named)

    def onOpen(self) -> None:
        self.opened = True
        self._guarded(self._call.start, self._send_text, self._send_close, self._abort)

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

    def _abort(self) -> None:
        self.dropConnection(abort=True)

    def _close_now(self, code: int) -> None:
        if self.state == self.STATE_OPEN:
            self.sendClose(code)


class CallerFactory(WebSocketClientFactory):
    """One connection for one call."""

    noisy = False

    def __init__(
        self, reactor: Any, url: str, call: Party, user_agent: str, headers: Mapping[str, str]
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


async def ring(reactor: Any, target: Target, ids: CallIds, times: int = 1) -> StreamAnswer:
    """The webhook: what the server wants done with the call; the last answer counts. Raises DialFailed,
    WebhookFailed, BadAnswer, BadKey.
    """
    if target.stream_url:
        return applet_url(target.stream_url)
    side, fields = target.side, target.side.fields(ids, target.numbers)
    method = target.method or side.method
    signed, sent = (outgoing(method, url, fields) for url in (target.public, target.url))
    bodies = [await ask(reactor, target, signed, sent.url) for _ in range(times)]
    return side.parse_answer(bodies[-1])


def upgrade(target: Target, url: str) -> tuple[str, dict[str, str]]:
    """The URL as it is connected to, and the carrier's headers on the upgrade.

    A user and a password in the URL become Basic credentials, as on Exotel.
    """
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    plain = urlunsplit(parts._replace(netloc=host))
    headers = target.signer.upgrade(plain)
    if at:
        user, _, password = userinfo.partition(":")
        headers |= {"Authorization": basic(unquote(user), unquote(password))}
    return plain, headers


class Sockets:
    """The media sockets of one call: the first, those after a loss, and a duplicate if it is to have one."""

    _log = Logger()

    def __init__(self, reactor: Any, target: Target, answer: StreamAnswer, call: SimulatedCall) -> None:
        self._reactor, self._target, self._call = reactor, target, call
        self._url, self._again = answer.url, answer.again
        self._address = media_address(target, answer.url)
        self._opened: list[CallerProtocol] = []
        self._waiting: list[Deferred[None]] = []

    async def open(self) -> None:
        """The first."""
        self._call.redial = self._redial
        if self._call.quirks.duplicate_socket:
            self._call.on_begun = self._duplicate
        self._call.next_verb = self._next_verb if self._again else None
        await self._connect(self._call)

    async def _connect(self, party: Party) -> None:
        """Signed anew each time."""
        url, headers = upgrade(self._target, self._url)
        factory = CallerFactory(self._reactor, url, party, self._target.side.socket_agent, headers)
        try:
            await _endpoint(self._reactor, self._address).connect(factory)
        except (ConnectError, DNSLookupError, SocketTimeout) as error:
            party.refused(f"the media socket at {self._address.host}:{self._address.port}: {error}")
        else:
            self._opened.append(factory.caller)

    def _redial(self) -> None:
        self._later(self._connect(self._call))

    def _next_verb(self) -> None:
        self._later(self._follow())

    async def _follow(self) -> None:
        """What the agent's document says after the stream that is over: ask again, and do as one is told."""
        call, side = self._call, self._target.side
        fields = side.fields(call.result.ids, self._target.numbers) | {"CallStatus": "in-progress"}
        while self._again:
            try:
                body = await ask(self._reactor, self._target, outgoing("POST", self._again, fields))
                told = next_of(body, side.parse_answer)
            except (WebhookFailed, BadAnswer) as error:
                call.result.problems.append(str(error))
                break
            if told.pause_secs:
                await deferLater(self._reactor, told.pause_secs)
            self._again = told.again
            if told.stream is not None:
                self._url, self._address = told.stream.url, media_address(self._target, told.stream.url)
                call.next_verb = self._next_verb if self._again else None
                call.next_stream(told.stream, side.new_ids("").stream_sid)
                await self._connect(call)
                return
        call.document_over()

    def _duplicate(self) -> None:
        self._call.on_begun = None
        stream_sid = self._target.side.new_ids("").stream_sid
        ids = self._call.result.ids.another_stream(stream_sid)
        wire = self._target.side.wire(ids, self._target.numbers, self._call.quirks)
        second = DuplicateSocket(wire, self._call.parameters)
        self._call.result.duplicate = second.result
        self._later(self._connect(second))
        self._call.done.addCallback(second.call_over)

    def _later(self, connecting: Any) -> None:
        waiting: Deferred[None] = Deferred.fromCoroutine(connecting)
        waiting.addErrback(self._broken)
        self._waiting.append(waiting)

    def _broken(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("a media socket failed", failure=failure)
            self._call.hang_up("failed")

    async def gone(self) -> None:
        """Until all are closed; what the agent does not close in time is dropped."""
        for waiting in self._waiting:
            waiting.cancel()
        patient = not self._call.quirks.close_after_stop
        for socket in self._opened:
            await socket.closed_within(self._reactor, _PATIENT_CLOSE_SECS if patient else _CLOSE_SECS)


async def place_call(
    reactor: Any, target: Target, call: SimulatedCall, switchboard: Switchboard | None = None
) -> CallResult:
    """Rings, connects, and follows the call to its end. Raises what `ring` does."""
    began = reactor.seconds()
    answer = await ring(reactor, target, call.result.ids, 2 if call.quirks.webhook_twice else 1)
    return await connect(reactor, target, call, answer, switchboard, began)


async def connect(
    reactor: Any,
    target: Target,
    call: SimulatedCall,
    answer: StreamAnswer,
    switchboard: Switchboard | None = None,
    began: float = 0.0,
) -> CallResult:
    """The call whose webhook has been answered, to its end. Raises DialFailed for another machine."""
    call_sid = call.result.ids.call_sid
    call.answered(answer)
    sockets = Sockets(reactor, target, answer, call)
    if switchboard is not None:
        switchboard.add(call_sid, line_of(reactor, target, call))
    try:
        await sockets.open()
        result = await call.done
        result.setup_ms = max(0.0, (call.started - (began or call.started)) * 1000.0)
        await sockets.gone()
    finally:
        call.hang_up("failed")  # nothing for a call that is over; the end of one that is being given up
        if switchboard is not None:
            switchboard.remove(call_sid)
    return result


def line_of(reactor: Any, target: Target, call: SimulatedCall) -> Line:
    """What the carrier's REST API can do to this call, and ask the agent about it."""

    async def fetch(method: str, url: str) -> bytes:
        fields = target.side.fields(call.result.ids, target.numbers) | {"CallStatus": "in-progress"}
        if "Event" in fields:
            fields["Event"] = "Redirect"  # Plivo's
        return await ask(reactor, target, outgoing(method, url, fields))

    return Line(call.hung_up_by_agent, call.keys_from_agent, call.transferred, fetch)
