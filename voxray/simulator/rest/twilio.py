"""Twilio's: `POST /2010-04-01/Accounts/{AC}/Calls/{CA}.json` changes a call, `.../Calls.json` places one.

`Status=completed` (or `canceled`) ends it, `Twiml=` and `Url=` move it away from its stream: connected to
whom they dial, or to nobody. A call that is over is 404 with code 20404. Source: Twilio's "Call resource".
"""

from __future__ import annotations

import re
from typing import Any

from twisted.web.server import Request

from voxray.simulator.documents import read_document
from voxray.simulator.rest.resource import Api, Refused, json_answer, number, path_of, required
from voxray.simulator.rest.switchboard import Order
from voxray.simulator.twiml import BadAnswer

_CALL = re.compile(r"/2010-04-01/Accounts/(AC[0-9a-fA-F]{32})/Calls(?:/(CA[0-9a-fA-F]{32}))?\.json", re.ASCII)
_RING_SECS, _MOST_RING_SECS, _MOST_SECS = 60, 600, 86_400


class TwilioResource(Api):
    """Form bodies, HTTP Basic."""

    forms_only = True

    def render_POST(self, request: Request) -> bytes:
        if not self._board.admits(request.getUser(), request.getPassword()):
            return json_answer(request, 401, _problem(401, 20003, "Authenticate"))
        found = _CALL.fullmatch(path_of(request))
        if found is None or found[1] != self._board.account_sid:
            return json_answer(request, 404, _problem(404, 20404, _NOT_FOUND))
        call_sid = found[2] or ""
        try:
            status, body = self._changed(request, call_sid) if call_sid else self._dialled(request)
        except (Refused, BadAnswer) as refused:
            code, status = getattr(refused, "code", 20001), getattr(refused, "status", 400)
            return self._answered(request, call_sid, status, _problem(status, code, str(refused)))
        return self._answered(request, body["sid"], status, body)

    def _changed(self, request: Request, call_sid: str) -> tuple[int, dict[str, Any]]:
        fields, board = self._fields(request) or {}, self._board
        if fields.get("Status") in ("completed", "canceled"):
            if not board.end(call_sid):
                raise Refused(404, 20404, _NOT_FOUND)
            return 200, self._call(call_sid, "completed")
        if not {"Twiml", "Url"} & set(fields):
            raise Refused(400, 20001, "Status, Url or Twiml")
        moved = read_document(fields["Twiml"].encode()) if "Twiml" in fields else None
        if board.line(call_sid) is None:
            raise Refused(404, 20404, _NOT_FOUND)
        if moved is not None:
            self._go(call_sid, moved)
        else:
            self._move(call_sid, fields.get("Method", "POST"), fields["Url"])
        return 200, self._call(call_sid, "in-progress")

    def _dialled(self, request: Request) -> tuple[int, dict[str, Any]]:
        fields = self._fields(request) or {}
        required(fields, {"To": 21201, "From": 21213, "Url": 21205})
        ids = self._ids()
        order = Order(
            ids,
            ids.call_sid,
            fields["To"],
            fields["From"],
            answer_url=fields["Url"],
            answer_method=fields.get("Method", "POST"),
            status_url=fields.get("StatusCallback", ""),
            status_method=fields.get("StatusCallbackMethod", "POST"),
            events=tuple(_all(request, b"StatusCallbackEvent")) or ("completed",),
            ring_secs=number(fields, "Timeout", _RING_SECS, 1, _MOST_RING_SECS),
            max_secs=number(fields, "TimeLimit", 0, 0, _MOST_SECS),
            fields=fields,
        )
        self._order(order)
        more = {"from": order.from_number, "to": order.to, "direction": "outbound-api"}
        return 201, self._call(ids.call_sid, "queued") | more

    def _call(self, call_sid: str, status: str) -> dict[str, Any]:
        return {"sid": call_sid, "account_sid": self._board.account_sid, "status": status}


_NOT_FOUND = "The requested resource was not found"


def _all(request: Request, name: bytes) -> list[str]:
    return [value.decode("ascii", "replace") for value in (request.args or {}).get(name, [])]


def _problem(status: int, code: int, message: str) -> dict[str, Any]:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return {"code": code, "message": message, "more_info": more, "status": status}
