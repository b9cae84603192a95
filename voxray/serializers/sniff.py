"""Which carrier is at the other end of a media socket, by the shape of its first messages. Pure.

A fallback, and a check: the configuration decides. Ids alone tell nothing, as Exotel's own pages print
`MZ...` and `CA...` for theirs; what tells is which keys a `start` has, and where. Plivo has `start` as its
first message and a test tool may send nothing else, so messages are taken one by one until there is a
`start`; what was read on the way is kept, for the serializer that is then chosen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from voxray.errors import BadMessage
from voxray.serializers.common import document_of, text_of

MAX_MESSAGES = 20
"""So many without a `start` that tells, and nothing is to be hoped for."""

_TWILIO_SID = re.compile(r"MZ[0-9a-f]{32}", re.ASCII)
_EXOTEL_ENCODINGS = frozenset(("base64", "raw", "raw/slin", "audio/x-raw"))


def carrier_of_start(document: Mapping[str, Any], configured: str = "") -> str:
    """Whose `start` this is; "" where it is none, or nobody's.

    `configured` decides only where shapes do not.
    """
    start = document.get("start")
    if document.get("event") != "start" or not isinstance(start, dict):
        return ""
    if _has(document, "stream_id") and _has(start, "call_control_id"):
        return "telnyx"
    if _has(start, "streamId") and _has(start, "callId"):
        return "plivo"
    if _has(start, "stream_sid") and _has(start, "call_sid"):
        return "exotel"
    if _has(start, "streamSid") and _has(start, "callSid"):
        return _twilio_or_exotel(start, configured)
    return ""


def _twilio_or_exotel(start: Mapping[str, Any], configured: str) -> str:
    """Twilio's spelling, which Exotel has on some of its paths."""
    described = start.get("mediaFormat")
    encoding = described.get("encoding") if isinstance(described, dict) else None
    if encoding == "audio/x-mulaw" and _TWILIO_SID.fullmatch(text_of(start["streamSid"])):
        return "twilio"
    if configured == "exotel" or _has(start, "from") or _has(start, "to"):
        return "exotel"
    return "exotel" if isinstance(encoding, str) and encoding in _EXOTEL_ENCODINGS else "twilio"


def _has(mapping: Mapping[str, Any], name: str) -> bool:
    """A text or a number, not an empty one."""
    return bool(text_of(mapping.get(name)))


class Sniffer:
    """One socket's first messages, until they tell.

    A `start` that is nobody's is taken for the configured carrier's, if there is one: its serializer has the
    better words for what is wrong with it.
    """

    def __init__(self, configured: str = "", max_messages: int = MAX_MESSAGES) -> None:
        self._configured, self._max_messages = configured, max_messages
        self.held: list[bytes] = []
        """What was read, in order: for the serializer, once there is one."""
        self.ignored = 0
        """Messages that were no JSON object, and are not held."""

    @property
    def exhausted(self) -> bool:
        """As much was read as is ever read; there will be no carrier."""
        return len(self.held) + self.ignored >= self._max_messages

    def feed(self, message: bytes) -> tuple[str, list[bytes]] | None:
        """The carrier and all it has said so far, this message included; None: not told yet."""
        if self.exhausted:
            return None
        try:
            document = document_of(message)
        except BadMessage:
            self.ignored += 1
            return None
        self.held.append(message)
        carrier = carrier_of_start(document, self._configured)
        if not carrier and document.get("event") == "start":
            carrier = self._configured
        return (carrier, self.held) if carrier else None
