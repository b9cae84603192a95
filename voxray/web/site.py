"""The site: its resource tree, and an access log with true dates and no query strings.

twisted.web dates its log from `reactor.seconds`, which is monotonic here: the date comes from an
injected wall clock instead.
"""
# mypy: disable-error-code="no-untyped-call"
# (twisted.web is mostly unannotated)

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.web.http import datetimeToLogString
from twisted.web.resource import Resource
from twisted.web.server import Site

from voxray.settings import LimitSettings
from voxray.web import hosts
from voxray.web.channel import BoundedRequest, Channel, HttpRecorder
from voxray.web.crowd import Crowd
from voxray.web.envelope import failure
from voxray.web.forwarded import Network
from voxray.web.routes import SESSION_ROUTES, route_of
from voxray.web.share import Share

__all__ = ["HttpRecorder", "Root", "VoxraySite"]


def access_line(date: str, request: Any) -> str:
    """One line of the access log. The query may hold numbers or keys: it is left out."""
    path = hosts.loggable(request.path.decode("ascii", "backslashreplace"))[:256]
    method = request.method.decode("ascii", "backslashreplace")[:16]
    client, asked = request.origin.client or "-", f"{_printable(method)} {_printable(path)}"
    return f'{client} - - {date} "{asked}" {request.code} {request.sentLength} {request.request_id}'


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() and c != '"' else "?" for c in text)


class VoxraySite(Site):
    """The site. `wall_clock` gives seconds since the epoch, for dates alone.

    `trusted`: the proxies whose X-Forwarded-* headers are believed.
    """

    noisy = False  # "answering on ..." says it
    protocol: Any = Channel
    requestFactory = BoundedRequest

    def __init__(
        self,
        root: Resource,
        reactor: IReactorTime,
        wall_clock: Callable[[], float],
        recorder: HttpRecorder,
        *,
        max_body_bytes: int,
        trusted: Sequence[Network] = (),
        limits: LimitSettings | None = None,
        crowd: Crowd | None = None,
    ) -> None:
        super().__init__(
            root,
            reactor=reactor,
            timeout=None,  # replaced by the deadlines
            logFormatter=access_line,
            parsePOSTFormSubmission=False,
        )
        self._wall_clock = wall_clock
        self.recorder = recorder
        self.max_body_bytes = max_body_bytes
        self.trusted = trusted
        self.limits = limits or LimitSettings()
        self.share = Share(reactor)
        self.crowd = Crowd() if crowd is None else crowd

    def use(
        self, root: Resource, *, max_body_bytes: int, trusted: Sequence[Network], limits: LimitSettings
    ) -> None:
        """Holds for requests from now on; those that are being answered go on as they began."""
        self.resource, self.max_body_bytes, self.trusted = root, max_body_bytes, trusted
        self.limits = limits

    def refused(self, request: BoundedRequest) -> None:
        """One that never got as far as the log of requests that were answered."""
        channel = request.channel
        request.method = getattr(channel, "_command", b"-")
        request.path = getattr(channel, "_path", b"-").partition(b"?")[0]
        self.log(request)

    def _updateLogDateTime(self) -> None:
        self._logDateTime = datetimeToLogString(self._wall_clock())
        self._logDateTimeCall = self.reactor.callLater(1, self._updateLogDateTime)

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 alone: a WebSocket cannot take over an HTTP/2 stream here."""
        return [b"http/1.1"]


class Root(Resource):
    """The tree: real children (the media socket) first, the API's paths, all else to the webhook.

    Without a carrier there is no media socket, and `hooks` is a status page. A Klein resource is a leaf, so
    it cannot be the parent of /telephony: it is handed each request with the path put back.
    """

    def __init__(
        self,
        api: Resource,
        hooks: Resource,
        media: Any | None,
        calls: Resource | None = None,
        sessions: Resource | None = None,
    ) -> None:
        super().__init__()
        self._api = api
        self._calls = calls
        self._sessions = sessions
        self._hooks = hooks
        self._media = media
        self.putChild(b"telephony", _Telephony(hooks, media))

    def close_sockets(self, code: int, reason: str) -> Deferred[None]:
        """Ends every media socket; fires when they are gone."""
        gone: Deferred[None] = succeed(None) if self._media is None else self._media.close_all(code, reason)
        return gone

    def getChild(self, path: bytes, request: Any) -> Resource:
        request.prepath.pop()
        request.postpath.insert(0, path)
        route = route_of(request.path)
        if route == "calls" and self._calls is not None:
            return self._calls
        if route in SESSION_ROUTES:
            return self._sessions or self._hooks
        return self._hooks if route in ("root", "other", "calls") else self._api


class _Telephony(Resource):
    """/telephony: the media socket, and what carriers ask for beside it. Nothing of it without a carrier."""

    def __init__(self, hooks: Resource, media: Any | None) -> None:
        super().__init__()
        self._hooks = hooks if media is not None else _Nothing()
        if media is not None:
            self.putChild(b"ws", media)

    def getChild(self, path: bytes, request: Any) -> Resource:
        request.prepath[-2:] = []
        request.postpath[:0] = [b"telephony", path]
        return self._hooks

    def render(self, request: Any) -> bytes:
        return failure(request, 404, "Not found")


class _Nothing(Resource):
    """What is not there."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        return failure(request, 404, "Not found")
