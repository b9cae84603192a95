"""How Telnyx signs its webhooks: Ed25519 over the time and the raw body. Pure.

Source: Telnyx, "Webhook signing".
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from typing import TYPE_CHECKING

from voxray.carriers.signing import unpacked
from voxray.interfaces import Proof, SignedRequest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TOLERANCE_SECS = 300.0
"""A webhook older or newer than this is refused: it may be a replay."""


def public_key(text: str) -> Ed25519PublicKey:
    """The account's key as the portal shows it: base64 of 32 bytes. Raises ValueError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return Ed25519PublicKey.from_public_bytes(b64decode(text.strip(), validate=True))
    except ValueError:  # binascii.Error is one too
        raise ValueError("a Telnyx public key is 32 bytes in base64") from None


def judge(keys: Sequence[Ed25519PublicKey], timestamp: str, body: bytes, sent: str, now: float) -> Proof:
    """Whether `sent` (telnyx-signature-ed25519) signs `timestamp` (telnyx-timestamp) and the raw `body`.

    `now` is Unix time. Under any of the keys (two during a rotation). A GET has no body: its signature
    binds nothing but the time, so it proves little.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16):
        return Proof.FORGED
    message = timestamp.encode("ascii") + b"|" + body
    if not any(_signs(key, unpacked(sent), message) for key in keys):
        return Proof.FORGED
    return Proof.GENUINE if abs(now - int(timestamp)) <= TOLERANCE_SECS else Proof.STALE


def _signs(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


class TelnyxAuthenticity:
    """`interfaces.Authenticity` for Telnyx. The URL is not signed: of a GET's query nothing is proven."""

    signs_urls = False
    signs_upgrades = False
    advice = (
        "set the voice URL's method to POST in the TeXML application: a GET comes unsigned, or signs nothing "
        "of what it says"
    )

    def __init__(self, public_keys: Sequence[str]) -> None:
        """The account's, in base64; during a rotation both. Raises ValueError for what is none."""
        self._keys = [public_key(text) for text in public_keys]

    def webhook(self, request: SignedRequest, now: float) -> Proof:
        if request.method.upper() != "POST":  # its parameters are in the URL, which nothing signs
            return Proof.UNSIGNED
        timestamp = request.headers.get("telnyx-timestamp", "")
        sent = request.headers.get("telnyx-signature-ed25519", "")
        if not timestamp or not sent:
            return Proof.UNSIGNED
        return judge(self._keys, timestamp, request.body, sent, now)

    def upgrade(self, request: SignedRequest, now: float) -> Proof:
        """Telnyx documents no signature of an upgrade."""
        return Proof.UNSIGNED
