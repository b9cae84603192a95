"""Plivo over HTTP: answer documents (Plivo XML), and calls ended, moved, keyed and placed by REST.

Sources: Plivo, "XML: Stream", "XML: Dial", "Request parameters", "Call API".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote
from xml.etree import ElementTree as ET

from twisted.internet.interfaces import IReactorTime

from voxray.carriers import xml
from voxray.carriers.control import Control, whole_secs
from voxray.carriers.rest import HttpClient, Rest, not_found
from voxray.frames import IncomingCall
from voxray.interfaces import Ability, Dialed, DialOrder
from voxray.probing import Probed

API_URL = "https://api.plivo.com"
AUDIO = "audio/x-mulaw;rate=8000"
"""What we ask for, usually; two pages of Plivo's differ about the default, so it is always said."""

_MAX_NUMBER_CHARS = 256  # digits without "+", or a SIP URI
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
# `CallStatus` of a call that is no more. Plivo posts these to the answer URL: `hangup_url` defaults to it.
_OVER = frozenset(("completed", "busy", "failed", "timeout", "no-answer", "cancel", "canceled", "rejected"))


# -- answer documents ----------------------------------------------------------
class PlivoDocuments:
    """`interfaces.AnswerDocuments` for Plivo. Keeps nothing: the same request has the same answer.

    Plivo requests the answer URL again when a call has ended (unless the application has a hangup URL of its
    own) and may do so when a stream ends. What tells that the call is over is answered with `<Hangup/>` and
    opens no stream; any other request for a call is answered as the first was, so a repeated or retried one
    does no harm: a call that we hung up by REST is over before Plivo can ask, and where nothing follows
    `<Stream>` the end of the stream is the end of the call.
    """

    name = "plivo"
    content_type = xml.CONTENT_TYPE

    def __init__(self, audio: str = AUDIO) -> None:
        self._audio = audio

    def incoming(self, form: Mapping[str, str]) -> IncomingCall:
        uuid = form.get("CallUUID", "")
        return IncomingCall(
            call_sid=uuid if _UUID.fullmatch(uuid) else "",
            from_number=form.get("From", "")[:_MAX_NUMBER_CHARS],
            to_number=form.get("To", "")[:_MAX_NUMBER_CHARS],
            over=xml.hang_up() if _is_over(form) else None,
        )

    def answer(self, url: str, parameters: Mapping[str, str]) -> bytes:
        """A two-way stream that keeps the call up as long as it lasts, with nothing after it.

        The URL is the element's text; there is no `<Connect>`. `parameters` stay out: `extraHeaders` takes
        letters and digits only, 512 bytes in all, and the call's id is enough to find its numbers.
        """
        response = ET.Element("Response")
        stream = ET.SubElement(
            response, "Stream", bidirectional="true", keepCallAlive="true", contentType=self._audio
        )
        stream.text = xml.clean(url)
        return xml.document(response)

    def busy(self) -> bytes:
        """As the first element: the call is turned away rather than answered."""
        return xml.hang_up(reason="busy")

    def hang_up(self) -> bytes:
        return xml.hang_up()

    def connect(self, to: str) -> bytes:
        """With nothing after it, the end of that call is the end of this one."""
        response = ET.Element("Response")
        element = ET.SubElement(ET.SubElement(response, "Dial"), "User" if xml.is_sip(to) else "Number")
        element.text = xml.clean(_plain(to))
        return xml.document(response)


def _is_over(form: Mapping[str, str]) -> bool:
    return form.get("Event", "").lower() == "hangup" or form.get("CallStatus", "").lower() in _OVER


def _plain(number: str) -> str:
    """As Plivo writes numbers: without "+"."""
    return number.removeprefix("+")


# -- REST ----------------------------------------------------------------------
class PlivoControl(Control):
    """`interfaces.CallControl` by Plivo's REST API. Every path of it must end in a slash."""

    abilities = frozenset({Ability.HANG_UP, Ability.TRANSFER, Ability.PRESS_KEYS, Ability.DIAL})

    def __init__(
        self,
        client: HttpClient,
        reactor: IReactorTime,
        auth_id: str,
        auth_token: str,
        base_url: str = API_URL,
    ) -> None:
        super().__init__(Rest("plivo", client, reactor, auth=(auth_id, auth_token)))
        self._root = f"{base_url.rstrip('/')}/v1/Account/{quote(auth_id, safe='')}"

    async def hang_up(self, call_sid: str) -> None:
        await self._rest.order("hang-up", "DELETE", self._call_url(call_sid), over=not_found)

    async def transfer(self, call_sid: str, to: str, document_url: str) -> None:
        """Plivo takes the new document from a URL only."""
        self._number(to, sip=True)
        body = {"legs": "aleg", "aleg_url": document_url, "aleg_method": "POST"}
        await self._rest.order("transfer", "POST", self._call_url(call_sid), json=body)

    async def press_keys(self, call_sid: str, digits: str) -> None:
        """The stream's own message does the same, and sooner."""
        body = {"digits": self._keys(digits), "leg": "aleg"}
        await self._rest.order("keys", "POST", f"{self._call_url(call_sid)}DTMF/", json=body)

    async def dial(self, order: DialOrder) -> Dialed:
        """The answer's id is the request's, and not always the call's."""
        body = {
            "from": _plain(self._number(order.from_number)),
            "to": _plain(self._number(order.to, sip=True)),
            "answer_url": order.answer_url,
            "answer_method": "POST",
            "hangup_url": order.status_url,
            "hangup_method": "POST",
            "ring_timeout": whole_secs(order.ring_secs, 1, 600),
            "time_limit": whole_secs(order.max_call_secs, 1, 86_400),
        }
        answer = await self._rest.order("dial", "POST", f"{self._root}/Call/", json=body)
        return Dialed(self._id_in(answer, answer.fields().get("request_uuid"), _UUID))

    async def cancel(self, reference: str) -> None:
        url = f"{self._root}/Request/{self._segment(reference, _UUID)}/"
        await self._rest.order("cancel", "DELETE", url, over=not_found)

    async def probe(self) -> Probed:
        await self._rest.order("account", "GET", f"{self._root}/")
        return Probed("the account is known")

    def _call_url(self, call_sid: str) -> str:
        return f"{self._root}/Call/{self._segment(call_sid, _UUID)}/"
