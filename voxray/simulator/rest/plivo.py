"""Plivo's: below `/v1/Account/{MA}/`, `DELETE Call/{uuid}/` hangs up, `POST` there transfers, to `DTMF/`
presses keys.

A transfer is of the A leg, to what the document at `aleg_url` says: Plivo fetches it, signed, after its 202.
`POST Call/` places a call (201) and tells a `request_uuid`, which is not the id that the call will have;
`DELETE Request/{request_uuid}/` gives it up while it rings. The slash at the end of each is required. A call
that is over is 404. Source: Plivo's "Call API", plivo-python.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from twisted.web.server import Request

from voxray.simulator.rest.resource import Api, Refused, json_answer, number, path_of, required
from voxray.simulator.rest.switchboard import Order

_PATH = re.compile(r"/v1/Account/([^/]+)/(Call|Request)/(?:([0-9a-f-]{36})/(DTMF/)?)?")


class PlivoResource(Api):
    """JSON bodies, HTTP Basic."""

    def render(self, request: Request) -> bytes:
        if not self._board.admits(request.getUser(), request.getPassword()):
            return json_answer(request, 401, {"error": "authentication failed"})
        found = _PATH.fullmatch(path_of(request))
        if found is None or found[1] != self._board.account_sid:
            return json_answer(request, 404, {"error": "not found"})
        kind, call_id, keys = found[2], found[3] or "", bool(found[4])
        try:
            status, body = self._done(request, kind, call_id, keys)
        except Refused as refused:
            status, body = refused.status, {"error": refused.reason}
        return self._answered(request, call_id or body.get("request_uuid", ""), status, body or None)

    def _done(self, request: Request, kind: str, call_id: str, keys: bool) -> tuple[int, dict[str, Any]]:
        fields, board = self._fields(request), self._board
        if fields is None:
            raise Refused(400, 400, "the body is not JSON")
        match (request.method, kind, bool(call_id), keys):
            case (b"DELETE", "Call", True, False):
                return 204, _found(board.end(call_id))
            case (b"DELETE", "Request", True, False):
                return 204, _found(board.give_up(call_id))
            case (b"POST", "Call", True, True):
                required(fields, {"digits": 400})
                return 202, _found(board.press(call_id, fields["digits"])) | {"message": "digits sent"}
            case (b"POST", "Call", True, False):
                return self._transferred(call_id, fields)
            case (b"POST", "Call", False, False):
                return self._dialled(fields)
        raise Refused(404, 404, "not found")

    def _transferred(self, call_id: str, fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        _found(self._board.line(call_id) is not None)
        if fields.get("legs", "aleg") != "aleg":
            raise Refused(400, 400, "legs: only the A leg is here")
        required(fields, {"aleg_url": 400})
        self._move(call_id, fields.get("aleg_method", "POST"), fields["aleg_url"])
        return 202, {"message": "call transferred", "api_id": str(uuid.uuid4())}

    def _dialled(self, fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The numbers are digits; a plus is put up with."""
        required(fields, {"from": 400, "to": 400, "answer_url": 400})
        order = Order(
            self._ids(),
            str(uuid.uuid4()),
            fields["to"],
            fields["from"],
            answer_url=fields["answer_url"],
            answer_method=fields.get("answer_method", "POST"),
            status_url=fields.get("hangup_url") or fields["answer_url"],
            status_method=fields.get("hangup_method", "POST"),
            ring_secs=number(fields, "ring_timeout", 120, 0, 86_400),
            max_secs=number(fields, "time_limit", 14_400, 1, 86_400),
            fields=fields,
        )
        self._order(order)
        return 201, {"message": "call fired", "request_uuid": order.reference, "api_id": str(uuid.uuid4())}


def _found(there: bool) -> dict[str, Any]:
    """An empty body; raises Refused for a call that is not there."""
    if not there:
        raise Refused(404, 404, "call not found")
    return {}
