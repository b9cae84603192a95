"""Telnyx's: call control's actions, and TeXML's calls.

`POST /v2/calls/{id}/actions/{hangup, transfer, send_dtmf, streaming_stop}`; a call that is over is 422 with
"90018". A dial is `POST /v2/texml/Accounts/{account}/Calls` with an ApplicationSid, where another account is
404 with "10005" (its `{account}` is the organization's id, and users have been led astray by that), or
`POST /v2/texml/calls/{application}`. Both are answered without an envelope; the second's page shows a
`call_sid`, the first's leaves it out, though it is the same call: `tells_call_sid` plays either.
`POST /v2/texml/Accounts/{account}/Calls/{id}` changes a call as Twilio's does. Source: Telnyx's "Call
commands", "Initiate an outbound call", "Create a connection-scoped TeXML call", "Update call".
"""

from __future__ import annotations

import re
from typing import Any

from twisted.web.server import Request

from voxray.simulator.documents import read_document
from voxray.simulator.rest.resource import Api, Refused, json_answer, number, path_of, required
from voxray.simulator.rest.switchboard import Order
from voxray.simulator.twiml import BadAnswer

_ACTION = re.compile(r"/v2/calls/([^/]+)/actions/(hangup|transfer|send_dtmf|streaming_stop)")
_CALLS = re.compile(r"/v2/texml/(?:Accounts/([^/]+)/Calls|calls/([^/]+))")
_CALL = re.compile(r"/v2/texml/Accounts/([^/]+)/Calls/([^/]+)")
_ENDED, _MISSING, _BAD, _NOWHERE = 90018, 10004, 10015, 10005


class TelnyxResource(Api):
    """JSON bodies (forms too where TeXML has them), a bearer's key. Codes are strings."""

    def render_POST(self, request: Request) -> bytes:
        if not self._board.admits_key(request.getHeader(b"authorization") or b""):
            return json_answer(request, 401, _errors(10009, "Authentication failed"))
        path = path_of(request)
        action, calls, call = (each.fullmatch(path) for each in (_ACTION, _CALLS, _CALL))
        account = (calls and calls[1]) or (call and call[1])
        if not (action or calls or call) or account not in (None, self._board.account_sid):
            return json_answer(request, 404, _errors(_NOWHERE, "Resource not found"))
        call_id = action[1] if action else call[2] if call else ""
        try:
            fields = self._fields(request)
            if fields is None:
                raise Refused(400, _BAD, "Bad Request")
            if action:
                return self._answered(request, call_id, 200, self._acted(call_id, action[2], fields))
            if call:
                return self._answered(request, call_id, 200, self._changed(call_id, fields))
            assert calls is not None
            order = self._dialled(fields, in_path=bool(calls[2]))
        except (Refused, BadAnswer) as refused:
            status, code = getattr(refused, "status", 422), getattr(refused, "code", _BAD)
            return self._answered(request, call_id, status, _errors(code, str(refused)))
        told = {"call_sid": order.ids.call_sid} if self._board.tells_call_sid else {}
        body = told | {"from": order.from_number, "to": order.to, "status": "queued"}
        return self._answered(request, order.ids.call_sid, 200, body)

    def _acted(self, call_id: str, action: str, fields: dict[str, Any]) -> dict[str, Any]:
        needed = {"send_dtmf": "digits", "transfer": "to"}.get(action)
        if needed and not (isinstance(fields.get(needed), str) and fields[needed]):
            raise Refused(422, _MISSING, f"Missing {needed}")
        board = self._board
        if action == "send_dtmf":
            done = board.press(call_id, fields["digits"])
        elif action == "transfer":
            done = board.transfer(call_id, fields["to"])
        else:
            done = board.end(call_id)
        if not done:
            raise Refused(422, _ENDED, "Call has already ended")
        return {"data": {"result": "ok"}}

    def _changed(self, call_id: str, fields: dict[str, Any]) -> dict[str, Any]:
        moved = read_document(fields["Texml"].encode()) if fields.get("Texml") else None
        if fields.get("Status") in ("completed", "canceled"):
            done = self._board.end(call_id)
        elif moved is not None or fields.get("Url"):
            done = self._board.line(call_id) is not None
        else:
            raise Refused(422, _MISSING, "Missing Status, Url or Texml")
        if not done:
            raise Refused(422, _ENDED, "Call has already ended")
        if moved is not None:
            self._go(call_id, moved)
        elif fields.get("Url") and not fields.get("Status"):
            self._move(call_id, fields.get("Method", "GET"), fields["Url"])
        return {"sid": call_id, "account_sid": self._board.account_sid, "status": fields.get("Status", "")}

    def _dialled(self, fields: dict[str, Any], *, in_path: bool) -> Order:
        """`in_path`: the application is in the path. Its own webhook is not known here: `Url` is required."""
        names = ("To", "From", "Url") if in_path else ("ApplicationSid", "To", "From", "Url")
        required(fields, dict.fromkeys(names, _MISSING), 422)
        ids = self._ids()
        order = Order(
            ids,
            ids.call_sid,
            fields["To"],
            fields["From"],
            answer_url=fields["Url"],
            answer_method=fields.get("UrlMethod") or fields.get("Method") or "GET",
            status_url=fields.get("StatusCallback", ""),
            status_method=fields.get("StatusCallbackMethod", "POST"),
            events=tuple(str(fields.get("StatusCallbackEvent", "completed")).split()),
            ring_secs=number(fields, "Timeout", 30, 5, 120),
            max_secs=number(fields, "TimeLimit", 14_400, 30, 14_400),
            fields=fields,
        )
        self._order(order)
        return order


def _errors(code: int, title: str) -> dict[str, Any]:
    return {"errors": [{"code": str(code), "title": title}]}
