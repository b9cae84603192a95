"""Telnyx over HTTP: answer documents (TeXML), webhook signatures, hang-up by REST.

Sources: Telnyx, "TeXML: <Stream>", "Webhook signing", "Hang up a call". A TeXML application fetches its voice
URL by GET unless told otherwise; both carry the same names.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxray.carriers import twiml
from voxray.carriers.rest import HttpClient, Rest
from voxray.carriers.xml import CONTENT_TYPE
from voxray.errors import CarrierError
from voxray.frames import IncomingCall

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

API_URL = "https://api.telnyx.com"
TOLERANCE_SECS = 300.0
"""A webhook older or newer than this is refused: it may be a replay."""

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
    """`interfaces.AnswerDocuments` for Telnyx. `codec` is one of the serializer's SEND_FORMATS."""

    name = "telnyx"
    content_type = CONTENT_TYPE

    def __init__(self, codec: str = "PCMU") -> None:
        rate = "8000" if codec in ("PCMU", "PCMA") else "16000"
        ours = {"bidirectionalCodec": codec, "bidirectionalSamplingRate": rate, "codec": codec}
        self._stream = {**_STREAM, **ours}

    def incoming(self, form: Mapping[str, str]) -> IncomingCall:
        return twiml.incoming(form, _CALL_ID)

    def answer(self, url: str, parameters: Mapping[str, str]) -> bytes:
        return twiml.connect_stream(url, parameters, self._stream)

    def busy(self) -> bytes:
        return twiml.reject_busy()


# -- signatures ----------------------------------------------------------------
def public_key(text: str) -> Ed25519PublicKey:
    """The account's key as the portal shows it: base64 of 32 bytes. Raises ValueError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return Ed25519PublicKey.from_public_bytes(b64decode(text.strip(), validate=True))
    except ValueError:  # binascii.Error is one too
        raise ValueError("a Telnyx public key is 32 bytes in base64") from None


def verify(keys: Sequence[Ed25519PublicKey], timestamp: str, body: bytes, sent: str, now: float) -> bool:
    """Whether `sent` (telnyx-signature-ed25519) signs `timestamp` (telnyx-timestamp) and the raw `body`.

    `now` is Unix time. Under any of the keys (two during a rotation). A GET has no body: its signature
    binds nothing but the time, so it proves little.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16):
        return False
    if abs(now - int(timestamp)) > TOLERANCE_SECS:
        return False
    try:
        signature = b64decode(sent, validate=True)
    except ValueError:
        return False
    message = timestamp.encode("ascii") + b"|" + body
    return any(_signs(key, signature, message) for key in keys)


def _signs(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


# -- REST ----------------------------------------------------------------------
class TelnyxControl:
    """`interfaces.CallControl` by Telnyx's call control API, which rules TeXML calls too."""

    log = Logger()

    def __init__(
        self, client: HttpClient, reactor: IReactorTime, api_key: str, base_url: str = API_URL
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"}
        self._rest = Rest("telnyx", client, reactor, headers=headers)
        self._calls_url = f"{base_url.rstrip('/')}/v2/calls"

    async def hang_up(self, call_sid: str) -> None:
        if _CALL_ID.fullmatch(call_sid) is None:
            raise CarrierError("telnyx", "not a call id of Telnyx's: nothing was sent")
        url = f"{self._calls_url}/{quote(call_sid, safe='')}/actions/hangup"
        answer = await self._rest.ask("hang-up", "POST", url, json={})
        if answer.status == 422 and _already_ended(answer.body):
            self.log.debug("telnyx: call {call_sid} had ended already", call_sid=call_sid)
        elif not 200 <= answer.status < 300:
            raise CarrierError("telnyx", f"hang-up answered {answer.status}", status=answer.status)


def _already_ended(body: bytes) -> bool:
    """422 has other reasons; which one it is stands in the body, as a string."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return False
    errors = document.get("errors") if isinstance(document, dict) else None
    codes = (
        [error.get("code") for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    )
    return _ENDED_CODE in (str(code) for code in codes)
