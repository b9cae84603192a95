"""`POST /start` and what follows from it: sessions by which a browser's offer is told what it is about.

The offers themselves, and `/ws`, come with the rooms: until then they are guarded, looked up and refused.
Klein installs the reactor when imported, so only makeService imports this.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import uuid4

from klein import Klein
from twisted.logger import Logger

from voxray.errors import StoreUnavailable
from voxray.serializers.strictjson import loads
from voxray.stores.forms import digest, is_session_id
from voxray.stores.ports import Replays, Session, SessionStore, Unstorable
from voxray.web.api import problems
from voxray.web.cors import Origins
from voxray.web.envelope import bare_success_body, failure, prepare
from voxray.web.keys import Keys

REPLAY_SECS = 86_400.0
STUN = "stun:stun.l.google.com:19302"
_RETRY_AFTER_SECS = b"2"
_NO_ROOMS = "Rooms are not built yet"
_NO_SOCKET = "This socket is not built yet"

Handler = Callable[..., Any]


class BadStart(Exception):
    """A body that is not what `/start` takes; `field` is empty when it is no JSON object."""

    def __init__(self, field: str = "", message: str = "") -> None:
        super().__init__(message)
        self.field = field


def guarded(methods: str) -> Callable[[Handler], Handler]:
    """A route for browsers and for those who have a key; without any key configured, for everybody."""

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        def checked(self: Sessions, request: Any, **matched: str) -> Any:
            request.setHeader(b"Cache-Control", b"no-store")
            self.origins.answer(request, methods)
            if request.method == b"OPTIONS":
                request.setResponseCode(204)
                return b""
            if self.keys and not self.keys.admit(request):
                request.setHeader(b"WWW-Authenticate", b"Bearer")
                return failure(request, 401, "Unauthorized")
            return handler(self, request, **matched)

        return checked

    return decorate


class Sessions:
    """Klein routes of the session endpoints."""

    log = Logger()
    app = Klein()

    def __init__(
        self,
        keys: Keys,
        origins: Origins,
        sessions: SessionStore,
        replays: Replays,
        ttl_secs: float,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self.keys, self.origins = keys, origins
        self._sessions, self._replays, self._ttl_secs = sessions, replays, ttl_secs
        self._draining = draining

    def resource(self) -> Any:
        return self.app.resource()

    # -- the routes ------------------------------------------------------------
    @app.route("/start", methods=["POST", "OPTIONS"])
    @app.route("/api/v1/start", methods=["POST", "OPTIONS"])
    @guarded("POST, OPTIONS")
    async def start(self, request: Any) -> bytes:
        """201 and a session; an Idempotency-Key asked again gets the answer it got."""
        if self._draining():
            return _later(request)
        try:
            session = session_asked(request.content.read())
        except BadStart as bad:
            if not bad.field:
                return failure(request, 400, "Invalid JSON body")
            return _invalid(request, bad.field, str(bad))
        try:
            body = await self._started(session, request.getHeader("Idempotency-Key") or "")
        except Unstorable as problem:
            return _invalid(request, "body", str(problem))
        except StoreUnavailable:
            return _later(request)
        prepare(request, 201)
        return body

    @app.route("/sessions/<session_id>/api/offer", methods=["POST", "PATCH", "OPTIONS"])
    @app.route("/api/v1/sessions/<session_id>/offer", methods=["POST", "PATCH", "OPTIONS"])
    @guarded("POST, PATCH, OPTIONS")
    async def offer(self, request: Any, session_id: str) -> bytes:
        """The session is looked up; the offer cannot be taken yet."""
        if not is_session_id(session_id):
            return failure(request, 400, "Invalid session ID format", code="VALIDATION_ERROR")
        try:
            session = await self._sessions.get(session_id)
        except StoreUnavailable:
            return _later(request)
        if session is None:
            return failure(request, 404, "Session not found")
        return failure(request, 503, _NO_ROOMS)

    @app.route("/webrtc/offer", methods=["POST", "OPTIONS"])
    @app.route("/api/v1/webrtc/offer", methods=["POST", "OPTIONS"])
    @guarded("POST, OPTIONS")
    def webrtc(self, request: Any) -> bytes:
        return failure(request, 503, _NO_ROOMS)

    @app.route("/ws", methods=["GET"])
    @guarded("GET")
    def socket(self, request: Any) -> bytes:
        """Guarded as it will be: a page of another site must not open it in a visitor's name."""
        if not self.origins.admit_socket(request, keyed=bool(self.keys)):
            return failure(request, 403, "Forbidden")
        return failure(request, 503, _NO_SOCKET)

    # -- inside ----------------------------------------------------------------
    async def _started(self, session: Session, idempotency_key: str) -> bytes:
        """The body of the answer. Raises Unstorable, StoreUnavailable."""
        key = digest(idempotency_key) if idempotency_key else ""
        if key and (before := await self._replays.before(key)) is not None and _ours(before):
            return before
        session_id = str(uuid4())
        await self._sessions.put(session_id, session, self._ttl_secs)
        body = bare_success_body(_view(session_id, session))
        if not key:
            return body
        first = await self._replays.once(key, body, REPLAY_SECS)
        if first == body or not _ours(first):
            return body
        await self._sessions.delete(session_id)  # asked twice at once, and the other was faster
        return first


def session_asked(body: bytes) -> Session:
    """What `/start` was given; nothing at all is a session too. Raises BadStart."""
    try:
        asked = loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise BadStart from None
    if not isinstance(asked, dict):
        raise BadStart
    if _flag(asked, "createDailyRoom"):
        raise BadStart("createDailyRoom", _NO_ROOMS.lower())
    data = asked.get("body")
    if not isinstance(data, dict | None):
        raise BadStart("body", "must be an object")
    return Session(data or {}, _flag(asked, "enableDefaultIceServers"))


def _flag(asked: dict[str, Any], name: str) -> bool:
    value = asked.get(name)
    if not isinstance(value, bool | None):
        raise BadStart(name, "must be true or false")
    return bool(value)


def _view(session_id: str, session: Session) -> dict[str, object]:
    view: dict[str, object] = {"sessionId": session_id}
    if session.enable_default_ice_servers:
        view["iceConfig"] = {"iceServers": [{"urls": [STUN]}]}
    return view


def _ours(answer: bytes) -> bool:
    """An answer that was kept: it may have been anybody's writing since."""
    try:
        return is_session_id(loads(answer)["data"]["sessionId"])
    except (ValueError, RecursionError, TypeError, LookupError):
        return False


def _invalid(request: Any, field: str, message: str) -> bytes:
    return failure(request, 422, "Invalid request", [{"field": field, "message": message}])


def _later(request: Any) -> bytes:
    request.setHeader(b"Retry-After", _RETRY_AFTER_SECS)
    return failure(request, 503, "Service unavailable")


problems(Sessions.app)
