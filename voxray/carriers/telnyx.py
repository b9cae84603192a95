"""Telnyx over HTTP: answer documents (TeXML), and calls ended, moved, keyed and placed by REST.

Sources: Telnyx, "TeXML: <Stream>", "Call commands", "Initiate an outbound call". A TeXML application fetches
its voice URL by GET unless told otherwise; both carry the same names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid4, uuid5

from twisted.internet.interfaces import IReactorTime

from voxray.carriers import twiml, xml
from voxray.carriers.control import Control, whole_secs
from voxray.carriers.rest import Answer, HttpClient, Rest
from voxray.errors import CarrierError
from voxray.frames import IncomingCall
from voxray.interfaces import Ability, Dialed, DialOrder
from voxray.probing import Probed

API_URL = "https://api.telnyx.com"
KEY_MS = 250
_UNSURE_MAX = 100  # transfers that got no answer; the oldest goes

# A call control id: a version, and base64url that only Telnyx can read. In TeXML it is the CallSid.
_CALL_ID = re.compile(r"(?:v[0-9]{1,2}:)?[A-Za-z0-9_-]{16,200}", re.ASCII)
_ENDED_CODE = "90018"  # "Call has already ended"
_STREAM = MappingProxyType(
    {
        "bidirectionalMode": "rtp",  # the default is mp3, and then raw audio of ours is never played
        "bidirectionalCodec": "PCMU",  # ours
        "bidirectionalSamplingRate": "8000",
        "codec": "PCMU",  # the caller's; Telnyx converts G.711 of either law to the other, and nothing else
        "enableReconnect": "false",  # or Telnyx dials again when *we* close the socket
    }
)


# -- answer documents ----------------------------------------------------------
class TelnyxDocuments:
    """`interfaces.AnswerDocuments` and `web.comeback.Documents` for Telnyx.

    `codec` is one of the serializer's SEND_FORMATS.
    """

    name = "telnyx"
    content_type = xml.CONTENT_TYPE

    def __init__(self, codec: str = "PCMU") -> None:
        rate = "8000" if codec in ("PCMU", "PCMA") else "16000"
        ours = {"bidirectionalCodec": codec, "bidirectionalSamplingRate": rate, "codec": codec}
        self._stream = {**_STREAM, **ours}

    def incoming(self, form: Mapping[str, str]) -> IncomingCall:
        return twiml.incoming(form, _CALL_ID)

    def answer(self, url: str, parameters: Mapping[str, str]) -> bytes:
        return twiml.connect_stream(url, parameters, self._stream)

    def answer_then(self, url: str, parameters: Mapping[str, str], again: str) -> bytes:
        return twiml.connect_stream(url, parameters, self._stream, again)

    def wait_then(self, secs: int, again: str) -> bytes:
        return twiml.wait_then(secs, again)

    def busy(self) -> bytes:
        return twiml.reject_busy()

    def hang_up(self) -> bytes:
        return xml.hang_up()

    def connect(self, to: str) -> bytes:
        return xml.document(twiml.dial(to, "Number"))


# -- REST ----------------------------------------------------------------------
class TelnyxControl(Control):
    """`interfaces.CallControl` by Telnyx's call control API, which rules TeXML calls too.

    Dialling goes through TeXML, so that the call asks our webhook like any other, and takes the account's and
    the application's ids besides the key.
    """

    def __init__(
        self,
        client: HttpClient,
        reactor: IReactorTime,
        api_key: str,
        base_url: str = API_URL,
        *,
        account_sid: str = "",
        application_sid: str = "",
    ) -> None:
        super().__init__(Rest("telnyx", client, reactor, headers={"Authorization": f"Bearer {api_key}"}))
        root = f"{base_url.rstrip('/')}/v2"
        self._calls_url = f"{root}/calls"
        self._balance_url = f"{root}/balance"
        self._dial_url = f"{root}/texml/Accounts/{quote(account_sid, safe='')}/Calls"
        self._application_sid = application_sid if account_sid else ""
        can = {Ability.HANG_UP, Ability.TRANSFER, Ability.PRESS_KEYS}
        self.abilities = frozenset({*can, Ability.DIAL} if self._application_sid else can)
        self._unsure: dict[tuple[str, str], str] = {}

    async def hang_up(self, call_sid: str) -> None:
        url = self._action_url(call_sid, "hangup")
        body = {"command_id": str(uuid5(NAMESPACE_URL, f"hangup {call_sid}"))}
        await self._rest.order("hang-up", "POST", url, over=_already_ended, json=body)

    async def transfer(self, call_sid: str, to: str, document_url: str) -> None:
        """Shows the number that the caller dialled.

        Telnyx does a command of one id once: a transfer that got no answer keeps its id, so that a second
        try does not call anybody twice. One that was answered does not, so that it can be tried again.
        """
        url, number = self._action_url(call_sid, "transfer"), self._number(to, sip=True)
        command_id = self._unsure.pop((call_sid, number), "") or str(uuid4())
        try:
            await self._rest.order("transfer", "POST", url, json={"to": number, "command_id": command_id})
        except CarrierError as error:
            if not error.status:
                self._unsure[call_sid, number] = command_id
            if len(self._unsure) > _UNSURE_MAX:
                del self._unsure[next(iter(self._unsure))]
            raise

    async def press_keys(self, call_sid: str, digits: str) -> None:
        url = self._action_url(call_sid, "send_dtmf")
        body = {"digits": self._keys(digits), "duration_millis": KEY_MS}
        await self._rest.order("keys", "POST", url, json=body)

    async def dial(self, order: DialOrder) -> Dialed:
        """The documented answer has no call id: where there is none, the call cannot be given up by us."""
        if not self._application_sid:
            raise self._refusal("dialling takes the account's and the application's ids")
        body = {
            "ApplicationSid": self._application_sid,
            "To": self._number(order.to, sip=True),
            "From": self._number(order.from_number),
            "Url": order.answer_url,
            "UrlMethod": "POST",  # a GET could not be signed
            "StatusCallback": order.status_url,
            "StatusCallbackMethod": "POST",
            "StatusCallbackEvent": "completed",
            "Timeout": whole_secs(order.ring_secs, 5, 120),
            "TimeLimit": whole_secs(order.max_call_secs, 30, 14_400),
        }
        answer = await self._rest.order("dial", "POST", self._dial_url, json=body)
        call_id = self._dialed_id(answer)
        return Dialed(call_id, call_id)

    async def cancel(self, reference: str) -> None:
        await self.hang_up(reference)

    async def probe(self) -> Probed:
        """The balance: what Telnyx's own pages tell a key by."""
        answer = await self._rest.order("balance", "GET", self._balance_url)
        found = answer.fields().get("data")
        credit = found.get("available_credit") if isinstance(found, dict) else None
        return Probed("the key is known", "no credit is left" if _spent(credit) else "")

    def _action_url(self, call_sid: str, action: str) -> str:
        return f"{self._calls_url}/{self._segment(call_sid, _CALL_ID)}/actions/{action}"

    def _dialed_id(self, answer: Answer) -> str:
        fields = answer.fields()
        fields = fields["data"] if isinstance(fields.get("data"), dict) else fields
        found = next(
            (fields[name] for name in ("call_sid", "sid", "call_control_id") if fields.get(name)), None
        )
        if found is None and isinstance(fields.get("status"), str):
            return ""
        return self._id_in(answer, found, _CALL_ID)


def _spent(credit: object) -> bool:
    try:
        return float(credit) <= 0 if isinstance(credit, str) else False
    except ValueError:
        return False


def _already_ended(answer: Answer) -> bool:
    """422 has other reasons; which one it is stands in the body, as a string."""
    errors = answer.fields().get("errors")
    if answer.status != 422 or not isinstance(errors, list):
        return False
    return _ENDED_CODE in [str(error.get("code")) for error in errors if isinstance(error, dict)]
