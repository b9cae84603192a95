"""Exotel's: `POST /v1/Accounts/{account}/Calls/connect.json` dials a number and connects it to a stream.

`From` is the number that is dialled, `CallerId` the ExoPhone it sees. No call is ended here: the agent closes
its socket; what else is asked is recorded, and refused. Source: Exotel's "Connect Voice AI API".
"""

from __future__ import annotations

import re

from twisted.web.server import Request

from voxray.simulator.answers import applet_url
from voxray.simulator.rest.resource import Api, Refused, json_answer, number, path_of, required
from voxray.simulator.rest.switchboard import Order
from voxray.simulator.twiml import BadAnswer

_CONNECT = re.compile(r"/v1/Accounts/([^/]+)/Calls/connect\.json")
_MAX_CUSTOM = 128


class ExotelResource(Api):
    """Form bodies, HTTP Basic with an API key, which is not the account."""

    forms_only = True

    def render(self, request: Request) -> bytes:
        path = path_of(request)
        found = _CONNECT.fullmatch(path)
        if found is None or found[1] != self._board.account_sid or request.method != b"POST":
            return self._answered(request, path, 404, {"error": "not found"})
        if not self._board.admits(request.getUser(), request.getPassword()):
            return json_answer(request, 401, _refusal(401, "authentication failed"))
        try:
            order = self._dialled(request)
        except (Refused, BadAnswer) as refused:
            status = getattr(refused, "status", 400)
            return self._answered(request, "", status, _refusal(status, str(refused)))
        call = {
            "Sid": order.ids.call_sid,
            "AccountSid": self._board.account_sid,
            "From": order.to,
            "PhoneNumberSid": order.from_number,
            "Status": "in-progress",
            "Direction": "outbound-api",
        }
        return self._answered(request, order.ids.call_sid, 200, {"Call": call})

    def _dialled(self, request: Request) -> Order:
        fields = self._fields(request) or {}
        required(fields, {"From": 400, "CallerId": 400, "StreamUrl": 400, "StreamType": 400})
        if fields["StreamType"] != "bidirectional":
            raise Refused(400, 400, "StreamType is bidirectional")
        if len(fields.get("CustomField", "")) > _MAX_CUSTOM:
            raise Refused(400, 400, f"CustomField has at most {_MAX_CUSTOM} characters")
        applet_url(fields["StreamUrl"])
        ids = self._ids()
        events = tuple(value for name, value in fields.items() if name.startswith("StatusCallbackEvents"))
        order = Order(
            ids,
            ids.call_sid,
            fields["From"],
            fields["CallerId"],
            stream_url=fields["StreamUrl"],
            status_url=fields.get("StatusCallback", ""),
            status_type=fields.get("StatusCallbackContentType", "multipart/form-data"),
            events=events,
            ring_secs=number(fields, "TimeOut", 60, 1, 600),
            max_secs=number(fields, "TimeLimit", 14_400, 1, 14_400),
            fields=fields,
            dialled_is_from=True,
        )
        self._order(order)
        return order


def _refusal(status: int, message: str) -> dict[str, object]:
    return {"RestException": {"Status": status, "Message": message}}
