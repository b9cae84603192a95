"""The HTTP server's connections and requests: what twisted.web leaves unbounded, bounded.

twisted.web spools any body over 100 kB to a temporary file before a resource is asked, and its only
timeout is an idle one that a byte a minute defeats. Here bodies stay in memory and are refused as soon
as they are too long, and every phase of a connection has an absolute deadline. A WebSocket that takes
a connection over is out of their reach.
"""
# mypy: disable-error-code="no-untyped-call"
# (twisted.web is mostly unannotated)

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote_to_bytes

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.server import Request

from voxray.web import envelope, forwarded, hosts

if TYPE_CHECKING:
    from voxray.web.site import VoxraySite

_REFUSAL = (
    b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
)


def _utf8(path: bytes) -> bool:
    """What Klein makes of the path is text."""
    try:
        unquote_to_bytes(path.partition(b"?")[0]).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def label_of(method: bytes) -> str:
    """A bounded label."""
    text = method.decode("ascii", "replace")
    return text if text in _METHODS else "other"


CALLS_PATH = "/api/v1/calls"
ROUTES = {
    "/": "root",
    "/health": "health",
    "/api/v1/health": "health",
    "/ready": "ready",
    "/api/v1/ready": "ready",
    "/metrics": "metrics",
    "/start": "start",
    "/api/v1/start": "start",
    "/webrtc/offer": "webrtc_offer",
    "/api/v1/webrtc/offer": "webrtc_offer",
    "/ws": "ws",
}
SESSION_PATHS = ("/sessions/", "/api/v1/sessions/")
SESSION_ROUTES = frozenset({"start", "session_offer", "webrtc_offer", "ws"})


def route_of(path: bytes) -> str:
    """A bounded label."""
    text = path.decode("ascii", "replace")
    if hosts.is_media_path(text):
        return "telephony_ws"
    if text == CALLS_PATH or text.startswith(f"{CALLS_PATH}/"):
        return "calls"
    if text.startswith(SESSION_PATHS):
        return "session_offer"
    return ROUTES.get(text, "other")


class HttpRecorder(Protocol):
    """What the metrics want to know of HTTP; `route` and `method` are bounded labels.

    The media socket's route only appears when its upgrade was refused before Autobahn saw it.
    """

    def request_started(self, route: str) -> None: ...

    def request_ended(self, route: str, method: str, status: int, seconds: float) -> None: ...

    def timed_out(self, route: str, method: str) -> None:
        """A connection was cut in the middle of a request or an answer, or before its first request."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Absolute, in seconds, from the start of each phase."""

    headers: float = 10.0  # from the accepted connection, TLS handshake included
    body: float = 15.0
    response: float = 30.0  # until the peer has read it
    idle: float = 60.0  # from one answer to the next request's last header


class Channel(HTTPChannel):
    """One connection. Exactly one deadline runs at a time."""

    site: VoxraySite
    transport: Any
    totalHeadersSize = 16_384
    maxHeaders = 100

    _deadline: Any = None
    _heir: Any = None
    _late: tuple[str, str] | None = ("other", "other")  # whose the deadline is while nothing is asked

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.site.reactor.callLater(seconds, self._expired)

    def _disarm(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _expired(self) -> None:
        if self.transport is None:
            return
        if (asked := self._asked()) is not None:
            self.site.recorder.timed_out(*asked)
        self.transport.abortConnection()

    def _asked(self) -> tuple[str, str] | None:
        """Route and method of what takes too long; None: nothing, the connection only was idle."""
        path = getattr(self, "_path", None)  # twisted.web's, from the request's line to its body's end
        if path is not None:
            return route_of(path), label_of(self._command)
        if self.requests:
            return self.requests[-1].route, label_of(self.requests[-1].method)
        return self._late

    def connectionMade(self) -> None:
        self._arm(self.site.deadlines.headers)
        super().connectionMade()

    def allHeadersReceived(self) -> None:
        self._arm(self.site.deadlines.body)
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        self._arm(self.site.deadlines.response)
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        self._late = None if self.persistent else (request.route, label_of(request.method))
        if self.persistent:
            self._arm(self.site.deadlines.idle)
        super().requestDone(request)

    def handed_over(self, heir: Any = None) -> None:
        """The connection is a WebSocket's now; see `media.MediaResource`. `heir` is its protocol."""
        self._disarm()
        self.requests.clear()
        self._heir = heir

    def dataReceived(self, data: bytes) -> None:
        """What came in one segment with the upgrade is the heir's; twisted.web would keep it."""
        super().dataReceived(data)
        if self._heir is not None and self._dataBuffer:
            rest, self._dataBuffer = b"".join(self._dataBuffer), []
            self._heir.transport.resumeProducing()
            self._heir.dataReceived(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._disarm()
        super().connectionLost(reason)


class BoundedRequest(Request):
    """One request: its body bounded and in memory, its Host checked, its cost recorded.

    `origin` is who asked, as far as a trusted proxy tells: what is logged, counted or limited by address, and
    what an address of ours is made of, goes by it.
    """

    channel: Any  # Channel; None once the connection is lost
    content: Any
    site: Any
    _refused = False
    _received = 0
    _began: float | None = None
    route = "other"
    origin = forwarded.Origin()

    def getHeader(self, key: Any) -> Any:
        """A header's last value; bytes that are no text are Latin-1, where twisted.web would fail."""
        if isinstance(key, bytes):
            return super().getHeader(key)
        values = self.requestHeaders.getRawHeaders(key.encode("ascii"))
        return values[-1].decode("latin-1") if values else None

    # -- the channel calls -----------------------------------------------------
    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()
        if length is not None and length > self.channel.site.max_body_bytes:
            self._refuse(413, b"Payload Too Large", "Request body too large")

    def handleContentChunk(self, data: bytes) -> None:
        if self._refused:
            return
        self._received += len(data)
        if self._received > self.channel.site.max_body_bytes:
            self._refuse(413, b"Payload Too Large", "Request body too large")
        else:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self._refused:
            return
        self.origin = forwarded.origin(
            getattr(self.client, "host", ""),
            lambda name: self.requestHeaders.getRawHeaders(name, []),
            self.channel.site.trusted,
        )
        if not path.startswith((b"/", b"*")):
            self._refuse(400, b"Bad Request", "Bad request")  # absolute-form: nobody proxies through us
        elif not _utf8(path):
            self._refuse(400, b"Bad Request", "Bad request")
        elif not hosts.acceptable(self.requestHeaders.getRawHeaders(b"host", [])):
            self._refuse(400, b"Bad Request", "Bad Host header")
        else:
            super().requestReceived(command, path, version)

    def _refuse(self, status: int, phrase: bytes, message: str) -> None:
        """Answers before the request is whole, and hangs up: what else comes is not worth reading."""
        self._refused = True
        body = envelope.error_body(status, message, envelope.request_id(self.getHeader("X-Request-ID")))
        self.channel.transport.write(_REFUSAL % (status, phrase, len(body)) + body)
        self.channel.site.recorder.request_started("other")
        self.channel.site.recorder.request_ended("other", label_of(self.method), status, 0.0)
        self.channel.loseConnection()

    # -- measurement -----------------------------------------------------------
    def process(self) -> None:
        site = self.channel.site
        self.route = route_of(self.path)
        if self.route != "telephony_ws":
            self._began = site.reactor.seconds()
            site.recorder.request_started(self.route)
        super().process()

    def render(self, resrc: Any) -> None:
        self.setHeader(b"server", b"voxray")
        super().render(resrc)

    def finish(self) -> None:
        super().finish()
        self._ended()

    def connectionLost(self, reason: Any) -> None:
        super().connectionLost(reason)
        self._ended()

    def _ended(self) -> None:
        began, self._began = self._began, None
        if began is not None:
            seconds = self.site.reactor.seconds() - began
            self.site.recorder.request_ended(self.route, label_of(self.method), self.code, seconds)
