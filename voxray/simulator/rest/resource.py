"""What the stand-ins have in common: reading a request, answering it, writing it down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Request

from voxray.simulator.carriers import CARRIERS
from voxray.simulator.documents import Moved, read_document
from voxray.simulator.masking import masked
from voxray.simulator.rest.switchboard import Asked, Order, Switchboard
from voxray.simulator.wires.vocabulary import CallIds

_MAX_BODY = 65_536


class Refused(Exception):
    """A request that the carrier would refuse."""

    def __init__(self, status: int, code: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.code, self.reason = status, code, reason


class Api(Resource):
    """Every path; a carrier's own answers for the few it knows."""

    isLeaf = True
    forms_only = False  # else JSON, and forms that say they are
    _log = Logger()

    def __init__(self, switchboard: Switchboard) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._board = switchboard

    def _answered(self, request: Request, call_id: str, status: int, body: Mapping[str, Any] | None) -> bytes:
        """The answer, once it is written down; no `body` is an empty one."""
        fields = self._fields(request) or {}
        asked = Asked(request.method.decode("ascii"), path_of(request), fields, call_id, status)
        self._board.log.append(asked)
        self._board.requests.append((call_id, status))
        self._log.info("REST: {status} for {call_id}", status=status, call_id=call_id)
        return json_answer(request, status, body) if body is not None else _empty(request, status)

    def _fields(self, request: Request) -> dict[str, Any] | None:
        return fields_of(request, forms_only=self.forms_only)

    def _order(self, order: Order) -> None:
        """Raises Refused when the board takes none."""
        if self._board.refuses is not None:
            status, reason = self._board.refuses
            raise Refused(status, status, reason)
        self._board.dial(order)

    def _ids(self) -> CallIds:
        """Of a new call."""
        return CARRIERS[self._board.carrier].new_ids(self._board.account_sid)

    def _move(self, call_id: str, method: str, url: str) -> None:
        """The call goes where the agent's document at this URL says, once that is here."""

        def failed(failure: Failure) -> None:
            problem = f"the document of the transfer: {masked(failure.getErrorMessage())}"
            self._board.transfer(call_id, "", problem)

        Deferred.fromCoroutine(self._moved(call_id, method, url)).addErrback(failed)

    async def _moved(self, call_id: str, method: str, url: str) -> None:
        line = self._board.line(call_id)
        if line is not None:
            self._go(call_id, read_document(await line.fetch(method, url)))

    def _go(self, call_id: str, moved: Moved) -> None:
        """What a document says."""
        if moved.keys:
            self._board.press(call_id, moved.keys)
        if moved.dials:
            self._board.transfer(call_id, moved.dials)
        else:
            self._board.end(call_id)


def path_of(request: Request) -> str:
    return unquote(request.path.decode("ascii", "replace"))


def json_answer(request: Request, status: int, body: Mapping[str, Any]) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    return json.dumps(body).encode()


def _empty(request: Request, status: int) -> bytes:
    request.setResponseCode(status)
    return b""


def fields_of(request: Request, *, forms_only: bool) -> dict[str, Any] | None:
    """The body's: a JSON object's, or a form's (the first of each name). None for what is no object."""
    body = b""
    if request.content is not None:
        request.content.seek(0)
        body = request.content.read(_MAX_BODY)
    if not body:
        return {}
    kind = request.getHeader(b"content-type") or b""
    if not forms_only and not kind.startswith(b"application/x-www-form-urlencoded"):
        return _object(body)
    return dict(reversed(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)))


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def required(fields: Mapping[str, Any], names: Mapping[str, int], status: int = 400) -> None:
    """Raises Refused with the code of the first that is missing."""
    for name, code in names.items():
        if not isinstance(fields.get(name), str) or not fields[name]:
            raise Refused(status, code, f"{name} is required")


def number(fields: Mapping[str, Any], name: str, default: float, least: float, most: float) -> float:
    """A number of seconds within what the carrier takes. Raises Refused."""
    try:
        value = float(fields.get(name, default))
    except (TypeError, ValueError):
        value = -1.0
    if not least <= value <= most:
        raise Refused(400, 20001, f"{name} is {least:g} to {most:g}")
    return value
