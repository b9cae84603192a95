"""The carrier's webhooks: a call rings, and this says where to open the media socket.

No handler runs before the policy (`trust`) has let the request in: the decorator sees to that, so that no
route can forget it. Klein installs the reactor when imported, so only makeService imports this.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Protocol

from klein import Klein
from twisted.logger import Logger

from voxray.call.expected import Expected
from voxray.frames import IncomingCall
from voxray.overload import OVERLOAD
from voxray.web.api import problems
from voxray.web.comeback import WAIT_SECS, Documents, Trail, trail_of
from voxray.web.envelope import failure, success
from voxray.web.handovers import PATH as TRANSFER_PATH
from voxray.web.hosts import stream_url
from voxray.web.requests import asked_host, fields, query, signed_request
from voxray.web.trust import TOKEN_PARAMETER, Doorkeeper, Refused, Trunk, Visitor

_RETRY_AFTER_SECS = b"5"
_HINT_EVERY_SECS = 60.0
_MAX_BODY_BYTES, _MAX_URI_BYTES = 16_384, 8_192
"""Carriers send about two thousand; to parse much more would keep everybody waiting for a stranger's sake."""
DIAL_FIELD = "call"
"""The query field by which the webhook of a call that we placed names it."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What the webhook asks and tells the rest of the process."""

    draining: Callable[[], bool]
    room: Callable[[], bool]
    """Whether one more call fits under `max_calls`."""
    announced: Callable[[IncomingCall, bool], None]
    """A call is about to open its socket; whether that is sure: warm the providers up."""
    refused: Callable[[str, str], None] = lambda where, reason: None
    """Counts what was not let in; the labels are bounded."""
    no_call: Callable[[str], None] = lambda reason: None
    """Counts calls that were not taken though nothing was wrong with them; the label is bounded."""
    overloaded: Callable[[], bool] = lambda: False
    """The process is too late to take one more."""
    busy_is_503: bool = False
    """There is another address that the carrier asks if this one fails."""
    told: Callable[[str, Mapping[str, str]], None] = lambda dial_id, form: None
    """The status of a call that we placed."""
    handed_over: Callable[[str], str | None] = lambda token: None
    """The number that the token of a transfer leads to."""


Answer = bytes | Coroutine[Any, Any, bytes]
Handler = Callable[..., Answer]


class Peers(Protocol):
    """The part of `peers.Peers` used here."""

    def must_ask(self, dial_id: str) -> bool: ...

    def learn_dial(self, dial_id: str) -> Coroutine[Any, Any, None]: ...

    def seen(self, carrier: str, call_sid: str) -> Coroutine[Any, Any, bool]: ...

    def up(self, carrier: str, call_sid: str) -> Coroutine[Any, Any, bool]: ...

    def announce(self, expected: Expected) -> None: ...

    def transfer(self, token: str) -> Coroutine[Any, Any, str | None]: ...


def knowing(handler: Handler) -> Callable[..., Any]:
    """Where another instance may have placed the call that the request names, it is asked first."""

    @wraps(handler)
    def checked(self: Hooks, request: Any, **matched: str) -> Any:
        dial_id = query(request).get(DIAL_FIELD, "")
        if self.peers is None or not self.peers.must_ask(dial_id):
            return handler(self, request, **matched)
        return after(self.peers.learn_dial(dial_id), self, request, **matched)

    async def after(learning: Coroutine[Any, Any, None], self: Hooks, request: Any, **matched: str) -> Any:
        await learning
        result = handler(self, request, **matched)
        return await result if isinstance(result, Coroutine) else result

    return checked


def from_carrier(handler: Handler) -> Callable[..., Answer]:
    """A route for carriers alone: `handler(self, request, visitor)` runs for those who are let in."""

    @wraps(handler)
    def checked(self: Hooks, request: Any, **matched: str) -> Answer:
        visitor = self.let_in(request)
        return visitor if isinstance(visitor, bytes) else handler(self, request, visitor, **matched)

    return checked


def from_reporter(handler: Handler) -> Callable[..., Answer]:
    """The same for reports on calls of ours: not every carrier signs those."""

    @wraps(handler)
    def checked(self: Hooks, request: Any) -> Answer:
        visitor = self.let_in(request, status=True)
        return visitor if isinstance(visitor, bytes) else handler(self, request, visitor)

    return checked


class Hooks:
    """Klein routes on `/`."""

    _log = Logger()
    app = Klein()

    def __init__(
        self,
        doorkeeper: Doorkeeper,
        proxy_host: str,
        admission: Admission,
        title: str,
        clock: Callable[[], float],
        peers: Peers | None = None,
    ) -> None:
        """`title` is what the status page says was started; `peers`: other instances share the calls."""
        self.peers = peers
        self._doorkeeper = doorkeeper
        self._proxy_host = proxy_host
        self._admission = admission
        self._title = title
        self._clock = clock
        self._hinted: dict[str, float] = {}

    def resource(self) -> Any:
        return self.app.resource()

    # -- the door --------------------------------------------------------------
    def let_in(self, request: Any, *, status: bool = False) -> Visitor | bytes:
        """The visitor, or the answer to somebody who is none. `status`: it only brings a report."""
        body = request.content.read()
        if len(body) > _MAX_BODY_BYTES or len(request.uri) > _MAX_URI_BYTES:
            return self._turned_away(request, Refused("webhook_too_long"))
        asked = query(request)
        form = fields(body, request.getHeader("Content-Type")) if request.method == b"POST" else asked
        host = asked_host(request, self._proxy_host)
        if host is None:
            return failure(request, 400, "Bad Host header")
        dial_id = asked.get(DIAL_FIELD, "")
        trunk = self._doorkeeper.trunk_of(form, dial_id)
        if trunk is None:
            return self._turned_away(request, Refused("webhook_unknown"))
        signed = signed_request(request, request.origin.scheme or "https", host, body)
        visitor = self._doorkeeper.visitor(trunk, signed, form, dial_id, status=status)
        return self._turned_away(request, visitor) if isinstance(visitor, Refused) else visitor

    def _turned_away(self, request: Any, refused: Refused) -> bytes:
        """403 and not a word: nothing helps a forger. The owner is told once a minute."""
        self._admission.refused("webhook", refused.reason)
        now = self._clock()
        if now - self._hinted.get(refused.reason, -_HINT_EVERY_SECS) >= _HINT_EVERY_SECS:
            self._hinted[refused.reason] = now
            text = "webhook refused: {reason}{hint}"
            hint = f": {refused.hint}" if refused.hint else ""
            self._log.warn(text, reason=refused.reason, hint=hint)
        request.setResponseCode(403)
        return b""

    # -- the routes ------------------------------------------------------------
    @app.route("/", methods=["POST"])
    @knowing
    @from_carrier
    def post(self, request: Any, visitor: Visitor) -> Answer:
        return self._answer(request, visitor)

    @app.route("/", methods=["GET"])
    @knowing
    def get(self, request: Any) -> Answer:
        """The status page; with a call's parameters, the webhook of a number set to fetch by GET."""
        asked = query(request) if len(request.uri) <= _MAX_URI_BYTES else {}
        trunk = self._doorkeeper.trunk_of(asked, asked.get(DIAL_FIELD, ""))
        if trunk is not None and (
            trunk.documents.incoming(asked).call_sid or (trunk.rules.either and _authorized(request))
        ):
            return self.get_call(request)
        return success(request, {"status": f"Bot started with {self._title}"})

    @from_carrier
    def get_call(self, request: Any, visitor: Visitor) -> Answer:
        return self._answer(request, visitor)

    @app.route("/telephony/status", methods=["POST", "GET"])
    @knowing
    @from_reporter
    def status(self, request: Any, visitor: Visitor) -> bytes:
        """What became of a call that we placed."""
        if visitor.dialed is not None:
            self._admission.told(visitor.dialed.call_id, visitor.form)
        return b""

    @app.route(f"{TRANSFER_PATH}/<token>", methods=["POST", "GET"])
    @knowing
    @from_carrier
    def transfer(self, request: Any, visitor: Visitor, token: str) -> Answer:
        """The document of a transfer, once."""
        number = self._admission.handed_over(token)
        if number is None and self.peers is not None:
            return self._transfer_elsewhere(request, visitor, self.peers.transfer(token))
        return self._connect(request, visitor, number)

    async def _transfer_elsewhere(
        self, request: Any, visitor: Visitor, asking: Coroutine[Any, Any, str | None]
    ) -> bytes:
        """Another instance has the call that is transferred."""
        return self._connect(request, visitor, await asking)

    def _connect(self, request: Any, visitor: Visitor, number: str | None) -> bytes:
        document = visitor.trunk.documents.connect(number) if number else None
        if document is None:
            return failure(request, 404, "Not found")
        return self._document(request, visitor.trunk, document)

    # -- answering -------------------------------------------------------------
    def _answer(self, request: Any, visitor: Visitor) -> Answer:
        trunk, call = visitor.trunk, visitor.call
        if call.over is not None:  # neither a new call nor a stream for a dead one
            return self._document(request, trunk, call.over)
        awaited = self._doorkeeper.awaits(visitor)
        if self._admission.draining() and not awaited:
            self._admission.no_call("draining")
            return self._later(request)
        if not awaited and (reason := self._no_room()):
            return self._busy(request, trunk, reason)
        if self.peers is not None and trunk.rules.enforced:
            return self._answer_new(request, visitor, self.peers.seen(trunk.name, call.call_sid))
        return self._answer_here(request, visitor)

    def _no_room(self) -> str:
        """Why there is no place for one more call; empty: there is."""
        if self._admission.overloaded():
            return OVERLOAD
        return "" if self._admission.room() else "max_calls"

    def _busy(self, request: Any, trunk: Trunk, reason: str) -> bytes:
        self._admission.no_call(reason)
        self._log.warn("webhook: no room for another call ({reason}), answered busy", reason=reason)
        document = None if self._admission.busy_is_503 else trunk.documents.busy()
        return self._later(request) if document is None else self._document(request, trunk, document)

    async def _answer_new(self, request: Any, visitor: Visitor, seeing: Coroutine[Any, Any, bool]) -> bytes:
        """Unless another instance has the call, or had it."""
        if await seeing:
            assert self.peers is not None
            up = await self.peers.up(visitor.trunk.name, visitor.call.call_sid)
            return self._no_more(request, visitor, up=up)
        return self._answer_here(request, visitor)

    def _answer_here(self, request: Any, visitor: Visitor) -> bytes:
        trunk, call = visitor.trunk, visitor.call
        expected = self._doorkeeper.answered(visitor)
        if expected is None:
            return self._no_more(request, visitor, up=self._doorkeeper.live(trunk.name, call.call_sid))
        if self.peers is not None:
            self.peers.announce(expected)
        self._announce(call, visitor.verified)
        host = asked_host(request, self._proxy_host)
        assert host is not None  # `let_in` saw to it
        url, told = stream_url(host, expected.token), _parameters(call, expected)
        trail = trail_of(query(request)).another_stream()
        if (back := _way_back(visitor)) is not None and trail.goes_on:
            document = back.answer_then(url, told, _again(request, host, trail))
        else:
            document = trunk.documents.answer(url, told)
        return self._document(request, trunk, document)

    def _no_more(self, request: Any, visitor: Visitor, *, up: bool) -> bytes:
        """A call that has its stream (`up`), or had it: the request is a replay or a retry, or comes back."""
        trunk, back, trail = visitor.trunk, _way_back(visitor), trail_of(query(request))
        if up and back is not None and trail.back and trail.waiting().goes_on:
            host = asked_host(request, self._proxy_host) or ""
            waiting = back.wait_then(WAIT_SECS, _again(request, host, trail.waiting()))
            return self._document(request, trunk, waiting)
        if not trail.back:
            self._admission.refused("webhook", "webhook_repeated")
        document = trunk.documents.hang_up()
        if document is None:
            return failure(request, 409, "The call has its stream")
        return self._document(request, trunk, document)

    def _document(self, request: Any, trunk: Trunk, document: bytes) -> bytes:
        request.setHeader(b"Content-Type", trunk.documents.content_type.encode("ascii"))
        return document

    def _later(self, request: Any) -> bytes:
        request.setHeader(b"Retry-After", _RETRY_AFTER_SECS)
        return failure(request, 503, "Service unavailable")

    def _announce(self, call: IncomingCall, verified: bool) -> None:
        """Warming up is a favour: its failure must not cost the call its answer."""
        try:
            self._admission.announced(call, verified)
        except Exception:  # noqa: BLE001
            self._log.failure("webhook: announcing a call failed")


def _authorized(request: Any) -> bool:
    """Who brings credentials reads no status page: Exotel need not say which call it is about."""
    return request.getHeader("Authorization") is not None


def _way_back(visitor: Visitor) -> Documents | None:
    """A call that we placed does not come back: what it was about is gone with the process."""
    return visitor.trunk.back if visitor.verified and visitor.dialed is None else None


def _again(request: Any, host: str, trail: Trail) -> str:
    return trail.url(request.origin.scheme or "https", host)


def _parameters(call: IncomingCall, expected: Expected) -> Mapping[str, str]:
    """What the media socket is to be told in `start`: Twilio itself does not say who calls whom."""
    told = {"from": call.from_number, "to": call.to_number, TOKEN_PARAMETER: expected.token}
    return {name: value for name, value in told.items() if value}


problems(Hooks.app)
