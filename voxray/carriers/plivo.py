"""Plivo over HTTP: answer documents (Plivo XML), webhook signatures, hang-up by REST.

Sources: Plivo, "XML: Stream", "Request parameters", "Validating requests", "Call API". The signatures are
those of its Go and Python SDKs, whose vectors are in the tests.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit
from xml.etree import ElementTree as ET

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxray.carriers.rest import HttpClient, Rest
from voxray.carriers.xml import CONTENT_TYPE, clean, document
from voxray.errors import CarrierError
from voxray.frames import IncomingCall

API_URL = "https://api.plivo.com"
AUDIO = "audio/x-mulaw;rate=8000"
"""What we ask for, usually; two pages of Plivo's differ about the default, so it is always said."""

_MAX_NUMBER_CHARS = 256  # digits without "+", or a SIP URI
_CALL_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
# `CallStatus` of a call that is no more. Plivo posts these to the answer URL: `hangup_url` defaults to it.
_OVER = frozenset(("completed", "busy", "failed", "timeout", "no-answer", "cancel", "canceled", "rejected"))

Pairs = Iterable[tuple[str, str]]


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
    content_type = CONTENT_TYPE

    def __init__(self, audio: str = AUDIO) -> None:
        self._audio = audio

    def incoming(self, form: Mapping[str, str]) -> IncomingCall:
        uuid = form.get("CallUUID", "")
        return IncomingCall(
            call_sid=uuid if _CALL_UUID.fullmatch(uuid) else "",
            from_number=form.get("From", "")[:_MAX_NUMBER_CHARS],
            to_number=form.get("To", "")[:_MAX_NUMBER_CHARS],
            over=_hang_up() if _is_over(form) else None,
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
        stream.text = clean(url)
        return document(response)

    def busy(self) -> bytes:
        """As the first element: the call is turned away rather than answered."""
        return _hang_up(reason="busy")


def _is_over(form: Mapping[str, str]) -> bool:
    return form.get("Event", "").lower() == "hangup" or form.get("CallStatus", "").lower() in _OVER


def _hang_up(**attributes: str) -> bytes:
    response = ET.Element("Response")
    ET.SubElement(response, "Hangup", attributes)
    return document(response)


# -- signatures ----------------------------------------------------------------
def signature_v3(auth_token: str, method: str, url: str, nonce: str, params: Pairs = ()) -> str:
    """X-Plivo-Signature-V3 of exactly this URL: base64(HMAC-SHA256(token, base + "." + nonce)).

    `params` are the form's; a POST with a form and no query is signed with a lone "?" before them.
    """
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    form = list(params)
    base = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    if method.upper() == "GET":
        asked = {name for name, _ in query}  # Plivo's library lets the query win over a form
        everything = query + [(name, value) for name, value in form if name not in asked]
        base += "?" + _query(everything) if everything else ""
    else:
        base += "?" + _query(query) if query or form else ""
        base += "." if query and form else ""
        base += "".join(name + value for name, value in sorted(form))
    return _digest(auth_token, f"{base}.{nonce}", "sha256")


def signature_v2(auth_token: str, url: str, nonce: str) -> str:
    """X-Plivo-Signature-V2. It covers the URL without its query and no parameter: whoever has seen one
    may send others under it. For accounts that still send no V3."""
    parts = urlsplit(url)
    base = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    return _digest(auth_token, base + nonce, "sha256")


def signature_v1(auth_token: str, url: str, params: Pairs = ()) -> str:
    """X-Plivo-Signature, the legacy: HMAC-SHA1 over the URL and the sorted names and values; no nonce."""
    return _digest(auth_token, url + "".join(name + value for name, value in sorted(params)), "sha1")


def verify(
    auth_tokens: Sequence[str], method: str, url: str, params: Pairs, headers: Mapping[str, str]
) -> bool:
    """Whether `headers` sign the request to `url`, as Plivo dialled it, under any of the tokens.

    V3 decides where it was sent, V2 only where no V3 was; V1 is not taken. Each header may list several
    signatures, and its `Ma` form is by the main account's token when a subaccount owns the call.
    """
    sent = {name.lower(): value for name, value in headers.items()}
    form = list(params)
    for version in ("v3", "v2"):
        given = _listed(sent, version)
        if not given:
            continue
        nonce = sent.get(f"x-plivo-signature-{version}-nonce", "")
        made = [
            signature_v3(token, method, url, nonce, form)
            if version == "v3"
            else signature_v2(token, url, nonce)
            for token in auth_tokens
            if token
        ]
        return bool(nonce) and _any_equal(made, given)
    return False


def verify_upgrade(auth_tokens: Sequence[str], url: str, headers: Mapping[str, str]) -> bool:
    """Whether `headers` sign the WebSocket upgrade to `url`: a GET without form.

    Plivo's SDKs disagree about the scheme that was signed, so all four are tried.
    """
    parts = urlsplit(url)
    spellings = [urlunsplit(parts._replace(scheme=scheme)) for scheme in ("https", "wss", "http", "ws")]
    return any(verify(auth_tokens, "GET", spelling, (), headers) for spelling in spellings)


def _query(pairs: Pairs) -> str:
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _digest(auth_token: str, signed: str, algorithm: str) -> str:
    text = signed.encode("utf-8", "surrogatepass")
    return b64encode(hmac.new(auth_token.encode(), text, getattr(hashlib, algorithm)).digest()).decode(
        "ascii"
    )


def _listed(sent: Mapping[str, str], version: str) -> list[bytes]:
    names = (f"x-plivo-signature-{version}", f"x-plivo-signature-ma-{version}")
    listed = ",".join(sent.get(name, "") for name in names).split(",")
    return [item.strip().encode("utf-8", "surrogatepass") for item in listed if item.strip()]


def _any_equal(made: Sequence[str], given: Sequence[bytes]) -> bool:
    """All are compared, so that the time does not tell which one matched."""
    good = False
    for ours in made:
        for theirs in given:
            good |= hmac.compare_digest(ours.encode("ascii"), theirs)
    return good


# -- REST ----------------------------------------------------------------------
class PlivoControl:
    """`interfaces.CallControl` by Plivo's REST API.

    The call's id comes from a stream anybody may have opened: it is matched whole before it gets into
    a URL that carries the operator's credentials.
    """

    log = Logger()

    def __init__(
        self,
        client: HttpClient,
        reactor: IReactorTime,
        auth_id: str,
        auth_token: str,
        base_url: str = API_URL,
    ) -> None:
        self._rest = Rest("plivo", client, reactor, auth=(auth_id, auth_token))
        self._calls_url = f"{base_url.rstrip('/')}/v1/Account/{quote(auth_id, safe='')}/Call"

    async def hang_up(self, call_sid: str) -> None:
        if _CALL_UUID.fullmatch(call_sid) is None:
            raise CarrierError("plivo", "not a call id of Plivo's: nothing was sent")
        # Plivo requires the slash at the end.
        status = (await self._rest.ask("hang-up", "DELETE", f"{self._calls_url}/{call_sid}/")).status
        if status == 404:
            self.log.debug("plivo: call {call_sid} had ended already", call_sid=call_sid)
        elif not 200 <= status < 300:
            raise CarrierError("plivo", f"hang-up answered {status}", status=status)
