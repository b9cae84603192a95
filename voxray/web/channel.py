"""The HTTP server's connections and requests: what twisted.web leaves unbounded, bounded.

twisted.web spools any body over 100 kB to a temporary file before a resource is asked, and its only
timeout is an idle one that a byte a minute defeats. Here bodies stay in memory and are refused as soon
as they are too long, and every phase of a connection has an absolute deadline. A WebSocket that takes
a connection over is out of their reach.
"""
# mypy: disable-error-code="no-untyped-call"
# (twisted.web is mostly unannotated)

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote_to_bytes

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.server import Request

from voxray.web import envelope, forwarded, hosts
from voxray.web.crowd import Place
from voxray.web.kernel import unread_bytes
from voxray.web.routes import label_of, route_of

if TYPE_CHECKING:
    from voxray.web.site import VoxraySite

_log = Logger()
_REFUSAL = (
    b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nX-Request-ID: %b\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n"
)
_PHRASES = {
    400: b"Bad Request",
    404: b"Not Found",
    413: b"Payload Too Large",
    415: b"Unsupported Media Type",
    503: b"Service Unavailable",
}


def _utf8(path: bytes) -> bool:
    """What Klein makes of the path is text."""
    try:
        unquote_to_bytes(path.partition(b"?")[0]).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class HttpRecorder(Protocol):
    """What the metrics want to know of HTTP; `route` and `method` are bounded labels.

    The media socket's route only appears when its upgrade was refused before Autobahn saw it.
    """

    def request_started(self, route: str) -> None: ...

    def request_ended(self, route: str, method: str, status: int, seconds: float) -> None: ...

    def timed_out(self, route: str, method: str) -> None:
        """A connection was cut in the middle of a request or an answer, or before its first request."""


class Channel(HTTPChannel):
    """One connection. Exactly one deadline runs at a time."""

    site: VoxraySite
    transport: Any

    _deadline: Any = None
    _heir: Any = None
    _place: Place
    _cut = _waits = False
    _answered_at = 0.0
    _late: tuple[str, str] | None = ("other", "other")  # whose the deadline is while nothing is asked

    def _arm(self, seconds: float, then: Callable[[], None] | None = None) -> None:
        self._disarm()
        self._deadline = self.site.reactor.callLater(seconds, then or self._expired)

    def _disarm(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _expired(self) -> None:
        if (asked := self._asked()) is not None and self.transport is not None:
            self.site.recorder.timed_out(*asked)
        self._cut_off()

    def _cut_off(self) -> None:
        """Nothing that still comes is read."""
        self._cut = True
        if self.transport is not None:
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
        limits = self.site.limits
        self.totalHeadersSize = self.MAX_LENGTH = limits.max_header_bytes
        self.maxHeaders = limits.max_headers
        self._place = self.site.crowd.enter(self.peer, self._cut_off)
        self._arm(limits.header_timeout_secs)
        super().connectionMade()

    def peer_known(self) -> None:
        """Whose connection a proxy passes on: not the proxy's, as it seemed."""
        if self._place.belongs_to(self.peer):
            self._cut_off()

    @property
    def peer(self) -> str:
        """The address at the other end of the connection."""
        return getattr(self.transport.getPeer(), "host", None) or ""

    def comes_from(self, client: str) -> bool:
        """The connection counts for him until his request is answered. False: he has too many."""
        return not self._place.belongs_to(client)

    def allHeadersReceived(self) -> None:
        self._arm(self.site.limits.body_timeout_secs)
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """The request is whole: it is answered now, or in its turn."""
        self._place.busy = True
        self._arm(self.site.limits.response_timeout_secs)
        self.paused = self._waits = True  # the parser must not go on with what came behind it
        if self.site.share.take(self._answer):
            self.paused = False

    def _answer(self) -> None:
        late, self._waits = not self._busyReceiving, False
        if self._cut:
            return
        if late:  # what came behind it is older where the parser has it
            self._dataBuffer.insert(0, self._buffer)
            self.paused, self._buffer = False, b""
        try:
            super().allContentReceived()
            self._pass_on()
        except Exception:  # noqa: BLE001 - the reactor would log it and cut the connection
            _log.failure("a connection failed")
            self._cut_off()

    def requestDone(self, request: Any) -> None:
        self._place.busy = False
        self._place.belongs_to(self.peer)
        self._late = None if self.persistent else (request.route, label_of(request.method))
        if self.persistent:
            limits = self.site.limits
            self._answered_at = self.site.reactor.seconds()
            self._arm(min(limits.response_timeout_secs, limits.keepalive_timeout_secs), self._rest)
        super().requestDone(request)

    def _rest(self) -> None:
        """No request came in the meantime. A short answer is written at once, into the kernel's buffer; but
        whoever has not fetched it from there by now is no better than one whom we wait to write to."""
        idle_secs = self.site.reactor.seconds() - self._answered_at
        left = self.site.limits.keepalive_timeout_secs - idle_secs
        if left <= 0 or unread_bytes(self.transport):
            self._expired()
        else:
            self._arm(left)

    def handed_over(self, heir: Any = None) -> Place:
        """The connection is a WebSocket's now (`heir`), and so is its place; see `media.MediaResource`."""
        self._disarm()
        self.requests.clear()
        self._heir = heir
        return self._place

    def _respondToBadRequestAndDisconnect(self) -> None:
        """What twisted.web itself finds malformed: it would answer without a body, and count nothing."""
        request: Any = self.requests[-1] if self.requests else self.requestFactory(self)
        request.refuse(400, "Bad request")

    def lineReceived(self, line: bytes) -> None:
        """No header goes on in the next line: proxies do not agree on what that means (RFC 9112, 5.2)."""
        if line[:1] in (b" ", b"\t"):
            self._respondToBadRequestAndDisconnect()
        else:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """It would close without a word."""
        self._respondToBadRequestAndDisconnect()

    def _send100Continue(self) -> None:
        """Who was refused already is not asked for more."""
        if not self.requests[-1].refused:
            super()._send100Continue()

    def dataReceived(self, data: bytes) -> None:
        """What came in one segment with the upgrade is the heir's; twisted.web would keep it."""
        if self._cut:
            return
        if self._waits and not self._busyReceiving:
            self._dataBuffer.append(data)
            if sum(map(len, self._dataBuffer)) > self._optimisticEagerReadSize:
                self.transport.pauseProducing()
            return
        super().dataReceived(data)
        self._pass_on()

    def _pass_on(self) -> None:
        """To the heir."""
        if self._heir is not None and self._dataBuffer:
            rest, self._dataBuffer = b"".join(self._dataBuffer), []
            self._heir.transport.resumeProducing()
            self._heir.dataReceived(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._cut = True
        self._disarm()
        self._place.leave()
        super().connectionLost(reason)


class BoundedRequest(Request):
    """One request: its body bounded and in memory, its Host checked, its cost recorded.

    `origin` is who asked, as far as a trusted proxy tells: what is logged, counted or limited by address, and
    what an address of ours is made of, goes by it.
    """

    channel: Any  # Channel; None once the connection is lost
    content: Any
    site: Any
    refused = False
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

    @cached_property
    def request_id(self) -> str:
        """The client's own, if it is sane; else ours."""
        return envelope.request_id(self.getHeader("X-Request-ID"))

    # -- the channel calls -----------------------------------------------------
    def gotLength(self, length: int | None) -> None:
        """The headers are in."""
        self.content = BytesIO()
        self.origin = forwarded.origin(
            getattr(self.client, "host", ""),
            lambda name: self.requestHeaders.getRawHeaders(name, []),
            self.channel.site.trusted,
        )
        if not self.channel.comes_from(self.origin.client):
            self.refuse(503, "Too many connections")
        elif length is not None and length > self.channel.site.max_body_bytes:
            self.refuse(413, "Request body too large")
        elif any(value.lower() != b"identity" for value in self._encodings()):
            self.refuse(415, "Compressed requests are not read")

    def _encodings(self) -> Sequence[bytes]:
        found: Sequence[bytes] = self.requestHeaders.getRawHeaders(b"content-encoding", [])
        return found

    def handleContentChunk(self, data: bytes) -> None:
        if self.refused:
            return
        self._received += len(data)
        if self._received > self.channel.site.max_body_bytes:
            self.refuse(413, "Request body too large")
        else:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self.refused:
            return
        if not path.startswith(b"/"):
            self.refuse(400, "Bad request")  # absolute-form: nobody proxies through us; nor do we know "*"
        elif not _utf8(path):
            self.refuse(400, "Bad request")
        elif b"//" in path.partition(b"?")[0]:
            self.refuse(404, "Not found")  # Klein would take it for one
        elif not hosts.acceptable(self.requestHeaders.getRawHeaders(b"host", [])):
            self.refuse(400, "Bad Host header")
        else:
            super().requestReceived(command, path, version)

    def refuse(self, status: int, message: str) -> None:
        """Answers before the request is whole, and hangs up: what else comes is not worth reading."""
        if self.refused:
            return
        self.refused = True
        self.code = status
        if not self.origin.client:  # its headers were not read to the end
            self.origin = forwarded.Origin(self.channel.peer)
        body = envelope.error_body(status, message, self.request_id)
        identity = self.request_id.encode("ascii")
        self.sentLength = len(body)
        self.channel.transport.write(_REFUSAL % (status, _PHRASES[status], identity, len(body)) + body)
        self.channel.site.recorder.request_started("other")
        self.channel.site.recorder.request_ended("other", label_of(self.method), status, 0.0)
        self.channel.site.refused(self)
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
        self.setHeader(b"x-request-id", self.request_id.encode("ascii"))
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
