"""The factory of media sockets, and their place in the site's resource tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from voxray.interfaces import Guest
from voxray.settings import MediaSettings
from voxray.web.envelope import failure
from voxray.web.hosts import is_media_path
from voxray.web.mediasocket import END_REASONS, MediaProtocol, MediaRecorder
from voxray.web.trust import Refused

__all__ = ["END_REASONS", "MediaFactory", "MediaProtocol", "MediaRecorder", "MediaResource"]

TICK_SECS = 1.0


class _Timers:
    """Autobahn's timers on our clock; its own batched ones go to the global reactor."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor

    def call_later(self, delay: float, function: Callable[..., object], *args: Any, **kwargs: Any) -> Any:
        return self._reactor.callLater(delay, function, *args, **kwargs)


class MediaFactory(WebSocketServerFactory):
    """Makes the sockets and keeps their time. Pings are ours: a missing pong alone ends no call."""

    def __init__(
        self,
        reactor: IReactorTime,
        settings: MediaSettings,
        recorder: MediaRecorder,
        *,
        max_sockets: int = 0,
        subprotocols: tuple[str, ...] = (),
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]  # Autobahn's
            server="", protocols=list(subprotocols), reactor=reactor
        )
        self._batched_timer = _Timers(reactor)
        self.settings = settings
        self.recorder = recorder
        self.sockets: set[MediaProtocol] = set()
        self._gone: list[Deferred[None]] = []
        self._expected: tuple[Guest, str, str] | None = None
        self._heart = LoopingCall(self._beat)
        self._heart.clock = reactor
        self._max_sockets = max_sockets
        self._set_options()

    @property
    def deciding(self) -> int:
        """Sockets of which other instances are asked whether they may be calls."""
        return sum(socket.deciding for socket in self.sockets)

    def use(self, settings: MediaSettings) -> None:
        """Holds for sockets from now on."""
        self.settings = settings
        self._set_options()

    def _set_options(self) -> None:
        size = self.settings.max_message_bytes
        self.setProtocolOptions(  # type: ignore[no-untyped-call]  # Autobahn's
            webStatus=False,
            maxFramePayloadSize=size,
            maxMessagePayloadSize=size,
            failByDrop=False,  # limits end in their close codes
            openHandshakeTimeout=10,
            closeHandshakeTimeout=1,
            tcpNoDelay=True,
            perMessageCompressionAccept=lambda offers: None,
            autoPingInterval=0,
            allowNullOrigin=True,
            maxConnections=self._max_sockets,
        )

    def expect(self, guest: Guest, client: str = "", request_id: str = "") -> None:
        """Whose socket the next one is; `buildProtocol` follows at once.

        `client`: whose address to log; behind a proxy the connection's own is the proxy's.
        """
        self._expected = guest, client, request_id

    def buildProtocol(self, addr: object) -> MediaProtocol | None:  # type: ignore[override]
        """None for a connection that nobody let in."""
        expected, self._expected = self._expected, None
        if expected is None:
            return None
        guest, client, request_id = expected
        protocol = MediaProtocol(guest, self.settings, client=client, request_id=request_id)
        protocol.factory = self
        return protocol

    def opened(self, socket: MediaProtocol) -> None:
        self.sockets.add(socket)
        self.recorder.socket_opened()
        if not self._heart.running:
            self._heart.start(TICK_SECS, now=False)

    def closed(self, socket: MediaProtocol, why: str) -> None:
        self.sockets.discard(socket)
        self.recorder.socket_closed(why)
        if not self.sockets and self._heart.running:
            self._heart.stop()
        self._tell_gone()

    def close_all(self, code: int, reason: str) -> Deferred[None]:
        """For the end of the daemon. Fires when every socket is gone; the close handshake is bounded."""
        gone: Deferred[None] = Deferred()
        self._gone.append(gone)
        for socket in tuple(self.sockets):
            socket.end(code, "hung_up", reason)
        self._tell_gone()
        return gone

    def _tell_gone(self) -> None:
        if not self.sockets:
            waiting, self._gone = self._gone, []
            for gone in waiting:
                gone.callback(None)

    def _beat(self) -> None:
        for socket in tuple(self.sockets):
            socket.tick(TICK_SECS)


class MediaResource(WebSocketResource):
    """Asks the reception, and hands an HTTP connection over to the factory's protocol."""

    def __init__(self, factory: MediaFactory, admit: Callable[[Any], Guest | Refused]) -> None:
        super().__init__(factory)  # type: ignore[no-untyped-call]  # Autobahn's
        self._media_factory, self._admit = factory, admit
        self.close_all = factory.close_all

    def render(self, request: Any) -> Any:
        if not is_media_path(request.uri.partition(b"?")[0].decode("latin-1")):
            return failure(request, 404, "Not found")  # spelt with escapes: log and metrics would not know it
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"Allow", b"GET")
            return failure(request, 405, "Method not allowed")
        if (request.getHeader("upgrade") or "").lower() != "websocket":
            return _no_upgrade(request)
        guest = self._admit(request)
        if isinstance(guest, Refused):
            return _refusal(request, guest)
        self._media_factory.expect(guest, request.origin.client, request.request_id)
        channel, transport = request.channel, request.channel.transport
        result = super().render(request)  # type: ignore[no-untyped-call]  # Autobahn's
        if channel.transport is None:  # taken over; the channel will hear of nothing more
            taken = transport.protocol
            heir = getattr(taken, "wrappedProtocol", taken)
            heir.place = channel.handed_over(heir)
        return result


def _no_upgrade(request: Any) -> bytes:
    """Whoever it is: most often a proxy that drops the two headers, which has to show in its log."""
    request.setResponseCode(426, b"Upgrade Required")
    request.setHeader(b"Upgrade", b"websocket")
    return b""


def _refusal(request: Any, refused: Refused) -> bytes:
    """Before the upgrade, and without a word."""
    if refused.later:  # a balancer asks the next instance
        request.setHeader(b"Retry-After", b"5")
        request.setResponseCode(503)
        return b""
    request.setResponseCode(401 if refused.challenge else 403)
    if refused.challenge:
        request.setHeader(b"WWW-Authenticate", refused.challenge.encode("ascii"))
    return b""
