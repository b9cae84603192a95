"""What the carriers' JSON messages have in common: reading them safely. Pure.

A stranger's bytes meet this code first. Everything here gives a value or raises BadMessage with one of
`REASONS`; both spellings of a key, and numbers for strings or strings for numbers, are taken.
"""

from __future__ import annotations

import re
from array import array
from binascii import a2b_base64
from collections.abc import Mapping
from typing import Any

from voxray.errors import BadMessage
from voxray.frames import Audio, Dtmf, Ignored, Mark, MediaFormat, StreamStarted
from voxray.serializers.strictjson import loads

REASONS = (
    "not_json",
    "not_object",
    "no_event",
    "bad_start",
    "unsupported_media",
    "bad_media",
    "bad_base64",
    "bad_mark",
    "bad_dtmf",
)

STREAM_SID = ("streamSid", "stream_sid", "streamId", "stream_id")
CALL_SID = ("callSid", "call_sid", "callId", "call_id")
ACCOUNT_SID = ("accountSid", "account_sid", "accountId", "account_id")
MEDIA_FORMAT = ("mediaFormat", "media_format")
PARAMETERS = ("customParameters", "custom_parameters")

# Carriers' ids are hex with a prefix, and UUIDs. Test tools send others; what must not get in is anything
# that could leave a JSON string, a log line or a URL path.
_ID = re.compile(r"[A-Za-z0-9_:-]{1,128}", re.ASCII)
_DIGITS = frozenset("0123456789*#ABCD")
_URLSAFE = str.maketrans("-_", "+/")
_MAX_PARAMETERS = 64
_MAX_PARAMETER_CHARS = 500  # Twilio's own limit, for names and for values; nobody's is longer
_MAX_MARK_CHARS = 256


def document_of(message: bytes) -> dict[str, Any]:
    """One text message as the object it must be."""
    try:
        document = loads(message)
    except (ValueError, RecursionError):
        raise BadMessage("not_json") from None
    if type(document) is not dict:
        raise BadMessage("not_object")
    return document


def event_of(document: Mapping[str, Any]) -> str:
    event = document.get("event")
    if type(event) is not str:
        raise BadMessage("no_event")
    return event


def audio_of(media: object) -> Audio | Ignored:
    if type(media) is not dict:
        raise BadMessage("bad_media")
    payload = media.get("payload")
    if type(payload) is not str:
        raise BadMessage("bad_media")
    track = media.get("track")
    if track is not None and track != "inbound" and track != "inbound_track":
        return Ignored("outbound_track")  # our own voice: must never reach VAD or STT
    try:
        audio = a2b_base64(payload, strict_mode=True)
    except ValueError:
        audio = _lenient_base64(payload)
    if not audio:
        return Ignored("empty_media")
    return Audio(audio, milliseconds(media.get("timestamp")))


def _lenient_base64(text: str) -> bytes:
    """Takes what other senders do to base64: line breaks, no padding, the URL alphabet."""
    bare = "".join(text.split()).translate(_URLSAFE).rstrip("=")
    try:
        return a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
    except ValueError:  # not the alphabet, `=` in the middle, one character over, not ASCII
        raise BadMessage("bad_base64") from None


def milliseconds(value: object) -> int | None:
    """The media clock; a string of digits, or an integer from the lax. Anything else is no clock."""
    if type(value) is str:
        return int(value) if len(value) < 16 and value.isascii() and value.isdigit() else None
    if type(value) is int and 0 <= value < 10**15:
        return value
    return None


def swapped(payload: bytes) -> bytes:
    """16 bit samples in the other byte order; whole ones."""
    samples = array("H", payload)
    samples.byteswap()
    return samples.tobytes()


def mark_of(mark: object) -> Mark:
    name = mark.get("name") if isinstance(mark, dict) else None
    if type(name) is not str or len(name) > _MAX_MARK_CHARS:
        raise BadMessage("bad_mark")
    return Mark(name)


def dtmf_of(dtmf: object) -> Dtmf:
    digit = text_of(dtmf.get("digit")).upper() if isinstance(dtmf, dict) else ""
    if digit not in _DIGITS:
        raise BadMessage("bad_dtmf")
    return Dtmf(digit)


def start_of(document: Mapping[str, Any]) -> dict[str, Any]:
    start = document.get("start")
    if not isinstance(start, dict):
        raise BadMessage("bad_start", "no start object")
    return start


def started(
    document: Mapping[str, Any],
    media_format: MediaFormat,
    call_sid: tuple[str, ...] = CALL_SID,
    account_sid: tuple[str, ...] = ACCOUNT_SID,
) -> StreamStarted:
    """A `start` message's ids and parameters; the ids go by the names given."""
    start = start_of(document)
    account = first_of(start, account_sid)
    return StreamStarted(
        stream_sid=identifier(first_of(start, STREAM_SID) or first_of(document, STREAM_SID), "stream id"),
        call_sid=identifier(first_of(start, call_sid), "call id"),
        account_sid=identifier(account, "account id") if account else "",
        media_format=media_format,
        parameters=parameters_of(first_of(start, PARAMETERS)) | _numbers(start),
    )


def _numbers(start: Mapping[str, Any]) -> dict[str, str]:
    """Who calls whom, where the carrier says so in `start` itself: as the parameters "from" and "to"."""
    numbers = {name: text_of(start.get(name))[:_MAX_PARAMETER_CHARS] for name in ("from", "to")}
    return {name: number for name, number in numbers.items() if number}


def first_of(mapping: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """What stands under the first of the names; null is as good as absent."""
    return next((mapping[name] for name in names if mapping.get(name) is not None), None)


def text_of(value: object) -> str:
    """A string, or a number as its digits; anything else is nothing."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 8000.0
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def identifier(value: object, what: str) -> str:
    written = text_of(value)
    if _ID.fullmatch(written) is None:
        raise BadMessage("bad_start", f"{what} is missing or malformed")
    return written


def parameters_of(value: object) -> dict[str, str]:
    """Custom parameters; absent, null and "" mean none, values that are not text are dropped."""
    if not isinstance(value, dict):
        return {}
    kept: dict[str, str] = {}
    for name, item in value.items():
        if len(kept) == _MAX_PARAMETERS:
            break
        written = text_of(item)
        if len(name) <= _MAX_PARAMETER_CHARS and (written or item == ""):
            kept[name] = written[:_MAX_PARAMETER_CHARS]
    return kept
