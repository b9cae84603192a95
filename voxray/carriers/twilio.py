"""Twilio over HTTP: answer documents (TwiML), and calls ended, moved and placed by REST.

Sources: Twilio, "TwiML Voice: <Stream>", "<Dial>", "Call resource".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from twisted.internet.interfaces import IReactorTime

from voxray.carriers import twiml, xml
from voxray.carriers.control import Control, whole_secs
from voxray.carriers.rest import HttpClient, Rest, not_found
from voxray.errors import CarrierError
from voxray.frames import IncomingCall
from voxray.interfaces import Ability, Dialed, DialOrder
from voxray.probing import Probed

API_URL = "https://api.twilio.com"
_CALL_SID = re.compile(r"CA[0-9a-fA-F]{32}", re.ASCII)


# -- answer documents ----------------------------------------------------------
class TwilioDocuments:
    """`interfaces.AnswerDocuments` and `web.comeback.Documents` for Twilio."""

    name = "twilio"
    content_type = xml.CONTENT_TYPE

    def incoming(self, form: Mapping[str, str]) -> IncomingCall:
        return twiml.incoming(form, _CALL_SID)

    def answer(self, url: str, parameters: Mapping[str, str]) -> bytes:
        return twiml.connect_stream(url, parameters, {})

    def answer_then(self, url: str, parameters: Mapping[str, str], again: str) -> bytes:
        return twiml.connect_stream(url, parameters, {}, again)

    def wait_then(self, secs: int, again: str) -> bytes:
        return twiml.wait_then(secs, again)

    def busy(self) -> bytes:
        return twiml.reject_busy()

    def hang_up(self) -> bytes:
        return xml.hang_up()

    def connect(self, to: str) -> bytes:
        return xml.document(twiml.dial(to))


# -- REST ----------------------------------------------------------------------
class TwilioControl(Control):
    """`interfaces.CallControl` by Twilio's REST API.

    It cannot press keys: `<Play digits>` would take the call away from its stream.
    """

    abilities = frozenset({Ability.HANG_UP, Ability.TRANSFER, Ability.DIAL})

    def __init__(
        self,
        client: HttpClient,
        reactor: IReactorTime,
        account_sid: str,
        auth_token: str,
        base_url: str = API_URL,
    ) -> None:
        super().__init__(Rest("twilio", client, reactor, auth=(account_sid, auth_token)))
        self._account_url = f"{base_url.rstrip('/')}/2010-04-01/Accounts/{quote(account_sid, safe='')}"
        self._calls_url = f"{self._account_url}/Calls"

    async def hang_up(self, call_sid: str) -> None:
        await self._rest.order(
            "hang-up", "POST", self._call_url(call_sid), over=not_found, data={"Status": "completed"}
        )

    async def transfer(self, call_sid: str, to: str, document_url: str) -> None:
        """The new document goes with the request; nothing is fetched."""
        document = xml.markup(twiml.dial(self._number(to, sip=True)))
        await self._rest.order("transfer", "POST", self._call_url(call_sid), data={"Twiml": document})

    async def dial(self, order: DialOrder) -> Dialed:
        """`completed` is told of every end, also of a call that was never answered."""
        form = {
            "To": self._number(order.to, sip=True),
            "From": self._number(order.from_number),
            "Url": order.answer_url,
            "Method": "POST",
            "StatusCallback": order.status_url,
            "StatusCallbackMethod": "POST",
            "StatusCallbackEvent": "completed",
            "Timeout": str(whole_secs(order.ring_secs, 1, 600)),
            "TimeLimit": str(whole_secs(order.max_call_secs, 1, 14_400)),
        }
        answer = await self._rest.order("dial", "POST", f"{self._calls_url}.json", data=form)
        sid = self._id_in(answer, answer.fields().get("sid"), _CALL_SID)
        return Dialed(sid, sid)

    async def cancel(self, reference: str) -> None:
        """`completed` also ends a call that still rings, where `canceled` would miss one just answered."""
        await self.hang_up(reference)

    async def probe(self) -> Probed:
        """The account; its answer holds the token too, so nothing of it is passed on but two words."""
        answer = await self._rest.order("account", "GET", f"{self._account_url}.json")
        fields = answer.fields()
        if fields.get("status") in ("suspended", "closed"):
            raise CarrierError("twilio", f"the account is {fields['status']}", status=answer.status)
        trial = "a trial account: a message of Twilio's comes first, and it calls verified numbers only"
        return Probed("the account is known", trial if fields.get("type") == "Trial" else "")

    def _call_url(self, call_sid: str) -> str:
        return f"{self._calls_url}/{self._segment(call_sid, _CALL_SID)}.json"
