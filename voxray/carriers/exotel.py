"""Exotel over HTTP: the answer of a dynamic Voicebot URL, its password, and calls placed by REST.

Nothing hangs a call up or moves it but the flow it is in: when we close the socket, the next applet has it.

A Voicebot applet has either a static `wss://` URL, and then nothing here is asked, or an `https://` URL that
Exotel fetches at each call, expecting JSON with `url` at the top level. Which method and parameters it uses
is not documented; its other applets send GET with CallSid, CallFrom and CallTo. Nothing is required.

Nobody signs anything: unless the applet's URL holds a password, these parameters may be a stranger's.
Sources: Exotel, "AgentStream", "Working with the Voicebot applet", "Connect Voice AI".
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from urllib.parse import quote

from twisted.internet.interfaces import IReactorTime

from voxray.carriers.control import Control, whole_secs
from voxray.carriers.rest import HttpClient, Rest
from voxray.carriers.signing import raw, unpacked
from voxray.frames import IncomingCall
from voxray.interfaces import Ability, Dialed, DialOrder, Proof, SignedRequest
from voxray.probing import Probed

API_URL = "https://api.in.exotel.com"  # Mumbai; Singapore's is api.exotel.com
NOTE = "Configure the WebSocket URL above in your Exotel App Bazaar Voicebot Applet"
_MAX_NUMBER_CHARS = 256
_MAX_STREAM_URL_CHARS = 600
_CALL_SID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)  # 32 hex digits, or Twilio's form


# -- answer documents ----------------------------------------------------------
class ExotelDocuments:
    """`interfaces.AnswerDocuments` for Exotel."""

    name = "exotel"
    content_type = "application/json"

    def __init__(self, sample_rate: int = 8000) -> None:
        self._asked = "" if sample_rate == 8000 else f"sample-rate={sample_rate}"

    def incoming(self, form: Mapping[str, str]) -> IncomingCall:
        sid = form.get("CallSid", "")
        return IncomingCall(
            call_sid=sid if _CALL_SID.fullmatch(sid) else "",
            from_number=form.get("CallFrom", "")[:_MAX_NUMBER_CHARS],
            to_number=form.get("CallTo", "")[:_MAX_NUMBER_CHARS],
        )

    def answer(self, url: str, parameters: Mapping[str, str]) -> bytes:
        """`url` is what Exotel reads; `websocketUrl` and `note` are for the person who looks here for it.

        `parameters` stay out: Exotel's `start` says who calls whom, and a query may get lost.
        """
        if self._asked:
            url += ("&" if "?" in url else "?") + self._asked
        document = {"url": url, "websocketUrl": url, "note": NOTE}
        return json.dumps(document, separators=(",", ":")).encode("ascii")

    def busy(self) -> None:
        """No document that turns a call away is known: the status has to say it."""
        return

    def hang_up(self) -> None:
        """Nor one that ends a call."""
        return

    def connect(self, to: str) -> None:
        """Nor one that says who is next: that is the flow's."""
        return


# -- authenticity --------------------------------------------------------------
class ExotelAuthenticity:
    """`interfaces.Authenticity` for Exotel: the user and password that stand in the applet's URL.

    Exotel makes HTTP Basic of them, on the fetch of an `https://` URL and on the upgrade of a `wss://` one.
    """

    signs_urls = False
    signs_upgrades = True
    advice = (
        "write exotel_ws_user and exotel_ws_password into the Voicebot applet's URL: "
        "https://USER:PASSWORD@HOST/, or wss://USER:PASSWORD@HOST/telephony/ws"
    )

    def __init__(self, user: str, password: str) -> None:
        self._digest = hashlib.sha256(raw(f"{user}:{password}")).digest()

    def webhook(self, request: SignedRequest, now: float) -> Proof:
        sent = request.headers.get("authorization", "")
        if not sent:
            return Proof.UNSIGNED
        scheme, _, credentials = sent.partition(" ")
        given = hashlib.sha256(unpacked(credentials.strip())).digest()
        same = hmac.compare_digest(given, self._digest)
        return Proof.GENUINE if same and scheme.lower() == "basic" else Proof.FORGED

    def upgrade(self, request: SignedRequest, now: float) -> Proof:
        return self.webhook(request, now)


# -- REST ----------------------------------------------------------------------
class ExotelControl(Control):
    """`interfaces.CallControl` for Exotel: closing the socket is a transfer; dialling takes credentials."""

    def __init__(
        self,
        client: HttpClient,
        reactor: IReactorTime,
        account_sid: str = "",
        api_key: str = "",
        api_token: str = "",
        base_url: str = API_URL,
    ) -> None:
        super().__init__(Rest("exotel", client, reactor, auth=(api_key, api_token)))
        self._calls_url = f"{base_url.rstrip('/')}/v1/Accounts/{quote(account_sid, safe='')}/Calls"
        dials = {Ability.DIAL} if account_sid and api_key and api_token else set()
        self.abilities = frozenset({Ability.CLOSING_TRANSFERS, *dials})

    async def dial(self, order: DialOrder) -> Dialed:
        """Exotel calls `From` first, so that is whom we want; our own number is `CallerId`.

        It is told of the media socket at once and asks no webhook.
        """
        if Ability.DIAL not in self.abilities:
            raise self._refusal("dialling takes an account, a key and its token")
        if len(order.stream_url) > _MAX_STREAM_URL_CHARS:
            raise self._refusal(f"a stream URL of more than {_MAX_STREAM_URL_CHARS} characters")
        form = {
            "From": self._number(order.to),
            "CallerId": self._number(order.from_number),
            "StreamUrl": order.stream_url,
            "StreamType": "bidirectional",
            "TimeLimit": str(whole_secs(order.max_call_secs, 1, 14_400)),
            "StatusCallback": order.status_url,
            "StatusCallbackContentType": "application/json",
        }
        answer = await self._rest.order("dial", "POST", f"{self._calls_url}/connect.json", data=form)
        call = answer.fields().get("Call")
        sid = self._id_in(answer, call.get("Sid") if isinstance(call, dict) else None, _CALL_SID)
        return Dialed("", sid)  # no documented call gives it up

    async def probe(self) -> Probed:
        """The list of calls, one long; who called whom is not looked at."""
        if Ability.DIAL not in self.abilities:
            raise self._refusal("without an account, a key and its token there is nothing to try")
        await self._rest.order("calls", "GET", f"{self._calls_url}.json?PageSize=1")
        return Probed("the account is known")
