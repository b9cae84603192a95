"""A stand-in for Twilio's REST API, so that an agent can end a simulated call as it would a real one.

It knows one resource: `POST /2010-04-01/Accounts/{AC}/Calls/{CA}.json`. `Status=completed` ends the call
(200; the media stream gets `stop` and closes); so do `Twiml=` and `Url=`, which on Twilio move the call
away from its stream. A call that is over or unknown is 404 with code 20404, as Twilio answers. Listens on
loopback only.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

_CALL = re.compile(rb"^/2010-04-01/Accounts/(AC[0-9a-fA-F]{32})/Calls/(CA[0-9a-fA-F]{32})\.json$")


@dataclass(slots=True)
class Switchboard:
    """The calls that are up, by call SID, and every request that was made about any."""

    account_sid: str
    auth_token: str = field(default="", repr=False)  # empty: any password will do
    requests: list[tuple[str, int]] = field(default_factory=list)  # call SID, status answered
    _calls: dict[str, Callable[[], None]] = field(default_factory=dict)

    def add(self, call_sid: str, hang_up: Callable[[], None]) -> None:
        self._calls[call_sid] = hang_up

    def remove(self, call_sid: str) -> None:
        self._calls.pop(call_sid, None)

    def end(self, call_sid: str) -> bool:
        """Ends the call; False when there is none."""
        hang_up = self._calls.pop(call_sid, None)
        if hang_up is None:
            return False
        hang_up()
        return True

    def admits(self, user: bytes, password: bytes) -> bool:
        """Whether these are the account's credentials. Compared in constant time, as a good example."""
        known = secrets.compare_digest(user, self.account_sid.encode())
        return known and (not self.auth_token or secrets.compare_digest(password, self.auth_token.encode()))


class CallsResource(Resource):
    """Every path; only one of them is the calls' resource."""

    isLeaf = True
    _log = Logger()

    def __init__(self, switchboard: Switchboard) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._switchboard = switchboard

    def render_POST(self, request: Request) -> bytes:
        user, password = request.getUser(), request.getPassword()
        if not self._switchboard.admits(user, password):
            return _problem(request, 401, 20003, "Authenticate")
        found = _CALL.match(request.path)
        if found is None or found[1].decode() != self._switchboard.account_sid:
            return _not_found(request)
        call_sid = found[2].decode()
        change = _change(request)
        if not change:
            return self._answered(call_sid, 400, _problem(request, 400, 20001, "Status, Url or Twiml"))
        if not self._switchboard.end(call_sid):
            return self._answered(call_sid, 404, _not_found(request))
        self._log.info("REST: {change} for {call_sid}", change=change, call_sid=call_sid)
        return self._answered(call_sid, 200, self._call_json(request, call_sid, change))

    def _answered(self, call_sid: str, status: int, body: bytes) -> bytes:
        self._switchboard.requests.append((call_sid, status))
        return body

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


def listen(reactor: Any, switchboard: Switchboard, port: int) -> Deferred[IListeningPort]:
    """Serves the switchboard on 127.0.0.1; port 0 picks a free one."""
    site = Site(CallsResource(switchboard), reactor=reactor)
    endpoint = TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")
    port_open: Deferred[IListeningPort] = endpoint.listen(site)
    return port_open
