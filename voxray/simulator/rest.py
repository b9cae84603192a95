"""Stand-ins for the carriers' REST APIs, so that an agent can end a simulated call as it would a real one.

Twilio: `POST /2010-04-01/Accounts/{AC}/Calls/{CA}.json`; `Status=completed` ends the call, and so do `Twiml=`
and `Url=`, which move it away from its stream. Telnyx: `POST /v2/calls/{id}/actions/{hangup, transfer,
send_dtmf, streaming_stop}`. Plivo: `DELETE /v1/Account/{MA}/Call/{uuid}/`, `POST` there (transfer) and to
`DTMF/`; the slash at the end is required. Exotel has none: the agent closes its socket. A call that is over
is 404 with code 20404, 422 with "90018", 404. Listens on loopback only.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

_TWILIO = re.compile(rb"^/2010-04-01/Accounts/(AC[0-9a-fA-F]{32})/Calls/(CA[0-9a-fA-F]{32})\.json$")
_TELNYX = re.compile(r"^/v2/calls/([^/]+)/actions/(hangup|transfer|send_dtmf|streaming_stop)$")
_PLIVO = re.compile(r"^/v1/Account/([^/]+)/Call/([0-9a-f-]{36})/(DTMF/)?$")
_MAX_BODY = 65_536


@dataclass(slots=True)
class Switchboard:
    """The calls that are up, by call id, and every request that was made about any."""

    account_sid: str
    auth_token: str = field(default="", repr=False)  # empty: any password will do
    carrier: str = "twilio"
    requests: list[tuple[str, int]] = field(default_factory=list)  # call id, status answered
    _calls: dict[str, Callable[[], None]] = field(default_factory=dict)
    _keys: dict[str, Callable[[str], None]] = field(default_factory=dict)

    def add(
        self, call_sid: str, hang_up: Callable[[], None], keys: Callable[[str], None] = lambda digits: None
    ) -> None:
        """`keys` is told of those the agent presses towards the caller."""
        self._calls[call_sid], self._keys[call_sid] = hang_up, keys

    def remove(self, call_sid: str) -> None:
        self._calls.pop(call_sid, None)

    def press(self, call_sid: str, digits: str) -> bool:
        """Presses keys towards the caller; False when there is no such call."""
        if call_sid not in self._calls:
            return False
        self._keys[call_sid](digits)
        return True

    def end(self, call_sid: str) -> bool:
        """Ends the call; False when there is none."""
        hang_up = self._calls.pop(call_sid, None)
        if hang_up is None:
            return False
        hang_up()
        return True

    def admits_key(self, authorization: bytes) -> bool:
        """The same for a bearer's key."""
        scheme, _, key = authorization.partition(b" ")
        return scheme == b"Bearer" and bool(key) and (not self.auth_token or _same(key, self.auth_token))

    def admits(self, user: bytes, password: bytes) -> bool:
        """Whether these are the account's credentials. Compared in constant time, as a good example."""
        return _same(user, self.account_sid) and (not self.auth_token or _same(password, self.auth_token))


def _same(given: bytes, secret: str) -> bool:
    return secrets.compare_digest(given, secret.encode())


class _Api(Resource):
    """Every path; a carrier's own answers for the few it knows."""

    isLeaf = True
    _log = Logger()

    def __init__(self, switchboard: Switchboard) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._switchboard = switchboard

    def _answered(self, call_sid: str, status: int, body: bytes) -> bytes:
        self._switchboard.requests.append((call_sid, status))
        self._log.info("REST: {status} for {call_sid}", status=status, call_sid=call_sid)
        return body


class CallsResource(_Api):
    """Twilio's."""

    def render_POST(self, request: Request) -> bytes:
        user, password = request.getUser(), request.getPassword()
        if not self._switchboard.admits(user, password):
            return _problem(request, 401, 20003, "Authenticate")
        found = _TWILIO.match(request.path)
        if found is None or found[1].decode() != self._switchboard.account_sid:
            return _not_found(request)
        call_sid = found[2].decode()
        change = _change(request)
        if not change:
            return self._answered(call_sid, 400, _problem(request, 400, 20001, "Status, Url or Twiml"))
        if not self._switchboard.end(call_sid):
            return self._answered(call_sid, 404, _not_found(request))
        return self._answered(call_sid, 200, self._call_json(request, call_sid, change))

    def _call_json(self, request: Request, call_sid: str, change: str) -> bytes:
        status = "completed" if change == "completed" else "in-progress"
        account = self._switchboard.account_sid
        return _json(request, 200, {"sid": call_sid, "account_sid": account, "status": status})


def _change(request: Request) -> str:
    """What is to become of the call: completed, moved, or "" for a request that makes no sense."""
    arguments = request.args or {}
    if arguments.get(b"Status") in ([b"completed"], [b"canceled"]):
        return "completed"
    return "moved" if b"Twiml" in arguments or b"Url" in arguments else ""


def _json(request: Request, status: int, body: dict[str, Any]) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    return json.dumps(body).encode()


def _problem(request: Request, status: int, code: int, message: str) -> bytes:
    if status == 401:
        challenge = b'Basic realm="Twilio API"'
        request.setHeader(b"WWW-Authenticate", challenge)
    more = f"https://www.twilio.com/docs/errors/{code}"
    return _json(request, status, {"code": code, "message": message, "more_info": more, "status": status})


def _not_found(request: Request) -> bytes:
    return _problem(request, 404, 20404, "The requested resource was not found")


# -- Telnyx ------------------------------------------------------------------
class TelnyxResource(_Api):
    """Call control's actions."""

    def render_POST(self, request: Request) -> bytes:
        if not self._switchboard.admits_key(request.getHeader(b"authorization") or b""):
            return _errors(request, 401, "10009", "Authentication failed")
        found = _TELNYX.match(unquote(request.path.decode("ascii", "replace")))
        if found is None:
            return _errors(request, 404, "10005", "Resource not found")
        call_id, action = found[1], found[2]
        body = _object(request)
        if body is None:
            return self._answered(call_id, 400, _errors(request, 400, "10015", "Bad Request"))
        digits = body.get("digits", "")
        if action == "send_dtmf" and (not isinstance(digits, str) or not digits):
            return self._answered(call_id, 422, _errors(request, 422, "10004", "Missing digits"))
        pressing = action == "send_dtmf"
        board = self._switchboard
        if not (board.press(call_id, digits) if pressing else board.end(call_id)):
            ended = _errors(request, 422, "90018", "Call has already ended")
            return self._answered(call_id, 422, ended)
        return self._answered(call_id, 200, _json(request, 200, {"data": {"result": "ok"}}))


def _errors(request: Request, status: int, code: str, title: str) -> bytes:
    return _json(request, status, {"errors": [{"code": code, "title": title}]})


def _object(request: Request) -> dict[str, Any] | None:
    """The JSON object of a request's body; an empty one for no body."""
    body = request.content.read(_MAX_BODY) if request.content is not None else b""
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


# -- Plivo -------------------------------------------------------------------
class PlivoResource(_Api):
    """A call's."""

    def render_DELETE(self, request: Request) -> bytes:
        found = self._found(request)
        if isinstance(found, bytes):
            return found
        if found[3] or not self._switchboard.end(found[2]):
            return self._answered(found[2], 404, _error(request, 404, "call not found"))
        request.setResponseCode(204)
        return self._answered(found[2], 204, b"")

    def render_POST(self, request: Request) -> bytes:
        found = self._found(request)
        if isinstance(found, bytes):
            return found
        digits = (_object(request) or {}).get("digits", "")
        board, call_id = self._switchboard, found[2]
        if not (board.press(call_id, str(digits)) if found[3] else board.end(call_id)):
            return self._answered(call_id, 404, _error(request, 404, "call not found"))
        return self._answered(call_id, 202, _json(request, 202, {"message": "done"}))

    def _found(self, request: Request) -> re.Match[str] | bytes:
        """The path's parts, or the refusal."""
        if not self._switchboard.admits(request.getUser(), request.getPassword()):
            return _error(request, 401, "authentication failed")
        found = _PLIVO.match(unquote(request.path.decode("ascii", "replace")))
        if found is None or found[1] != self._switchboard.account_sid:
            return _error(request, 404, "not found")
        return found


def _error(request: Request, status: int, message: str) -> bytes:
    return _json(request, status, {"error": message})


class NoApi(_Api):
    """Exotel's: it has no call to end a call with. What is asked of it is recorded, and refused."""

    def render(self, request: Request) -> bytes:
        return self._answered(request.path.decode("ascii", "replace"), 404, _error(request, 404, "not found"))


_APIS = {"twilio": CallsResource, "telnyx": TelnyxResource, "plivo": PlivoResource, "exotel": NoApi}


def listen(reactor: Any, switchboard: Switchboard, port: int) -> Deferred[IListeningPort]:
    """Serves the switchboard on 127.0.0.1; port 0 picks a free one."""
    site = Site(_APIS[switchboard.carrier](switchboard), reactor=reactor)
    endpoint = TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")
    port_open: Deferred[IListeningPort] = endpoint.listen(site)
    return port_open
