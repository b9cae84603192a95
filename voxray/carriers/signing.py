"""What the checks of the carriers' signatures share. Nothing here raises, whatever it is given. Pure."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable
from urllib.parse import parse_qsl

MAX_FIELDS = 200  # Twilio sends about 30


def raw(text: str) -> bytes:
    """The bytes that are signed; lone surrogates, which no carrier sends, are no error here."""
    return text.encode("utf-8", "surrogatepass")


def form(body: bytes) -> list[tuple[str, str]] | None:
    """A body's parameters, in order, decoded just as the webhook reads them, whatever it says its type is:

    what is acted on must be what was signed. None for more of them than any carrier sends, which would only
    keep us busy.
    """
    text = body.decode("utf-8", "surrogateescape")
    try:
        return parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=MAX_FIELDS)
    except ValueError:
        return None


def unpacked(text: str) -> bytes:
    """Base64 -> bytes; empty when it is none, or spelled as no encoder would."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return b""
    return data if b64encode(data).decode("ascii") == text else b""


def any_equal(made: Iterable[str], given: Iterable[str]) -> bool:
    """All are compared, so that the time does not tell which one matched."""
    theirs = [raw(text) for text in given]
    good = False
    for ours in made:
        for sent in theirs:
            good |= hmac.compare_digest(raw(ours), sent)
    return good
