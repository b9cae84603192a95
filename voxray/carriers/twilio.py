"""Twilio over HTTP: answer documents (TwiML), webhook signatures, hang-up by REST.

Sources: Twilio, "TwiML Voice: <Stream>", "Webhooks Security", "Call resource"; the signature's quirks are
those of twilio-python's RequestValidator, whose vectors are in the tests.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote, urlsplit, urlunsplit

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxray.carriers import twiml
from voxray.carriers.rest import HttpClient, Rest
from voxray.carriers.xml import CONTENT_TYPE
from voxray.errors import CarrierError
from voxray.frames import IncomingCall

API_URL = "https://api.twilio.com"
_CALL_SID = re.compile(r"CA[0-9a-fA-F]{32}", re.ASCII)


# -- answer documents ----------------------------------------------------------
class TwilioDocuments:
    """`interfaces.AnswerDocuments` for Twilio."""

    name = "twilio"
    content_type = CONTENT_TYPE

    def incoming(self, form: Mapping[str, str]) -> IncomingCall:
        return twiml.incoming(form, _CALL_SID)

    def answer(self, url: str, parameters: Mapping[str, str]) -> bytes:
        return twiml.connect_stream(url, parameters, {})

    def busy(self) -> bytes:
        return twiml.reject_busy()


# -- signatures ----------------------------------------------------------------
def signature(auth_token: str, url: str, params: Iterable[tuple[str, str]] = ()) -> str:
    """X-Twilio-Signature of exactly this URL: base64(HMAC-SHA1(token, url + sorted names and values)).

    Values of a repeated name are sorted and each counted once, as Twilio's own library does.
    """
    signed = url + "".join(name + value for name, value in sorted(set(params)))
    digest = hmac.new(auth_token.encode(), signed.encode("utf-8", "surrogatepass"), hashlib.sha1)
    return b64encode(digest.digest()).decode("ascii")


def verify(
    auth_tokens: Sequence[str],
    url: str,
    params: Iterable[tuple[str, str]],
    sent: str,
    body: bytes | None = None,
) -> bool:
    """Whether `sent` signs `url`, as the carrier dialled it, under any token (two during a rotation).

    Twilio is not consistent about default ports, so the URL is tried with and without; for the
    WebSocket upgrade also with and without a trailing slash. `body`: a JSON webhook's, whose hash is
    in the URL's `bodySHA256`.
    """
    if body is not None and not _body_matches(url, body):
        return False
    pairs = list(params) if body is None else []
    given = sent.encode("utf-8", "surrogatepass")
    good = False
    for token in auth_tokens:
        for spelling in _spellings(url):
            good |= hmac.compare_digest(signature(token, spelling, pairs).encode("ascii"), given)
    return good


def _body_matches(url: str, body: bytes) -> bool:
    digest = re.search(r"[?&]bodySHA256=([0-9a-f]{64})(?:&|$)", url)
    return digest is not None and hmac.compare_digest(digest[1], hashlib.sha256(body).hexdigest())


def _spellings(url: str) -> list[str]:
    """The URL as given, and as Twilio may have spelt it."""
    parts = urlsplit(url)
    netlocs = [parts.netloc]
    port = 443 if parts.scheme == "https" else 80
    if parts.scheme == "wss":
        netlocs += [f"{parts.netloc}:443"]
    if parts.port is None:
        netlocs.append(f"{parts.netloc}:{port}")
    elif parts.netloc.endswith(f":{parts.port}"):
        netlocs.append(parts.netloc.removesuffix(f":{parts.port}"))
    paths = [parts.path]
    if parts.scheme in ("ws", "wss"):
        paths.append(parts.path.removesuffix("/") if parts.path.endswith("/") else parts.path + "/")
    return [urlunsplit(parts._replace(netloc=netloc, path=path)) for netloc in netlocs for path in paths]


# -- REST ----------------------------------------------------------------------
class TwilioControl:
    """`interfaces.CallControl` by Twilio's REST API.

    The call's id comes from a stream anybody may have opened: it is matched whole before it gets into
    a URL that carries the operator's credentials, and redirects are not followed with them.
    """

    log = Logger()

    def __init__(
        self,
        client: HttpClient,
        reactor: IReactorTime,
        account_sid: str,
        auth_token: str,
        base_url: str = API_URL,
    ) -> None:
        self._rest = Rest("twilio", client, reactor, auth=(account_sid, auth_token))
        self._calls_url = f"{base_url.rstrip('/')}/2010-04-01/Accounts/{quote(account_sid, safe='')}/Calls"

    async def hang_up(self, call_sid: str) -> None:
        if _CALL_SID.fullmatch(call_sid) is None:
            raise CarrierError("twilio", "not a call id of Twilio's: nothing was sent")
        url = f"{self._calls_url}/{call_sid}.json"
        status = (await self._rest.ask("hang-up", "POST", url, data={"Status": "completed"})).status
        if status == 404:  # code 20404: the call had ended already
            self.log.debug("twilio: call {call_sid} had ended already", call_sid=call_sid)
        elif not 200 <= status < 300:
            raise CarrierError("twilio", f"hang-up answered {status}", status=status)
