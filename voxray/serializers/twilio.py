"""Twilio Media Streams: its JSON messages <-> frames. Pure; one instance a socket.

Source: Twilio, "Media Streams - WebSocket messages". All counters and timestamps are strings there;
carriers and test tools are laxer, so both spellings of a key and numbers for strings are taken.
`decode` runs 50 times a second a call, and is the first thing a stranger's bytes meet: the media path
is straight-line code, and everything else ends in a frame or in BadMessage with one of `REASONS`.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from typing import Any

from voxray.errors import BadMessage
from voxray.frames import (
    ULAW_8K,
    Audio,
    Connected,
    Dtmf,
    Frame,
    Ignored,
    Mark,
    MediaFormat,
    StreamStarted,
    StreamStopped,
)
from voxray.serializers.strictjson import dumps, loads

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

_STREAM_SID = ("streamSid", "stream_sid", "streamId", "stream_id")
_CALL_SID = ("callSid", "call_sid", "callId", "call_id")
_ACCOUNT_SID = ("accountSid", "account_sid", "accountId", "account_id")
_MEDIA_FORMAT = ("mediaFormat", "media_format")
_PARAMETERS = ("customParameters", "custom_parameters")

# Twilio's own ids are ^(MZ|CA|AC)[0-9a-fA-F]{32}$. Test tools send others; what must not get in is
# anything that could leave a JSON string, a log line or a URL path.
_ID = re.compile(r"[A-Za-z0-9_:-]{1,128}", re.ASCII)
_DIGITS = frozenset("0123456789*#ABCD")
_URLSAFE = str.maketrans("-_", "+/")
_MAX_PARAMETERS = 64
_MAX_PARAMETER_CHARS = 500  # Twilio's own limit, for names and for values
_MAX_MARK_CHARS = 256


class TwilioSerializer:
    """`interfaces.Serializer` for Twilio. The stream's id is learnt from the first `start`."""

    def __init__(self) -> None:
        self._media_head = self._mark_head = self._clear = b""

    # -- from Twilio -----------------------------------------------------------
    def decode(self, message: bytes) -> Frame:
        try:
            document = loads(message)
        except (ValueError, RecursionError):
            raise BadMessage("not_json") from None
        if type(document) is not dict:
            raise BadMessage("not_object")
        event = document.get("event")
        if event == "media":
            return _audio(document.get("media"))
        if type(event) is not str:
            raise BadMessage("no_event")
        return self._rarer(event, document)

    def _rarer(self, event: str, document: dict[str, Any]) -> Frame:
        if event == "mark":
            return _mark(document.get("mark"))
        if event == "dtmf":
            return _dtmf(document.get("dtmf"))
        if event == "connected":
            return Connected()
        if event == "start":
            started = _started(document)
            self._learn(started.stream_sid)
            return started
        if event == "stop":
            return StreamStopped()
        return Ignored("unknown_event")

    def _learn(self, stream_sid: str) -> None:
        """Builds the templates of what we send; a second `start` does not change them."""
        if self._clear:
            return
        sid = dumps(stream_sid)
        self._media_head = b'{"event":"media","streamSid":%b,"media":{"payload":"' % sid
        self._mark_head = b'{"event":"mark","streamSid":%b,"mark":{"name":' % sid
        self._clear = b'{"event":"clear","streamSid":%b}' % sid

    # -- to Twilio -------------------------------------------------------------
    def media(self, payload: bytes) -> bytes:
        return self._media_head + b2a_base64(payload, newline=False) + b'"}}'

    def mark(self, name: str) -> bytes:
        return self._mark_head + dumps(name) + b"}}"

    def clear(self) -> bytes:
        return self._clear


def _audio(media: object) -> Audio | Ignored:
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
    return Audio(audio, _milliseconds(media.get("timestamp")))


def _lenient_base64(text: str) -> bytes:
    """Takes what other senders do to base64: line breaks, no padding, the URL alphabet."""
    bare = "".join(text.split()).translate(_URLSAFE).rstrip("=")
    try:
        return a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
    except ValueError:  # not the alphabet, `=` in the middle, one character over, not ASCII
        raise BadMessage("bad_base64") from None


def _milliseconds(value: object) -> int | None:
    """Twilio's media clock; a string of digits, or an integer from the lax. Anything else is no clock."""
    if type(value) is str:
        return int(value) if len(value) < 16 and value.isascii() and value.isdigit() else None
    if type(value) is int and 0 <= value < 10**15:
        return value
    return None


def _mark(mark: object) -> Mark:
    name = mark.get("name") if isinstance(mark, dict) else None
    if type(name) is not str or len(name) > _MAX_MARK_CHARS:
        raise BadMessage("bad_mark")
    return Mark(name)


def _dtmf(dtmf: object) -> Dtmf:
    digit = _text(dtmf.get("digit")).upper() if isinstance(dtmf, dict) else ""
    if digit not in _DIGITS:
        raise BadMessage("bad_dtmf")
    return Dtmf(digit)


def _started(document: dict[str, Any]) -> StreamStarted:
    start = document.get("start")
    if not isinstance(start, dict):
        raise BadMessage("bad_start", "no start object")
    account_sid = _first(start, _ACCOUNT_SID)
    return StreamStarted(
        stream_sid=_id(_first(start, _STREAM_SID) or _first(document, _STREAM_SID), "stream id"),
        call_sid=_id(_first(start, _CALL_SID), "call id"),
        account_sid=_id(account_sid, "account id") if account_sid else "",
        media_format=_media_format(_first(start, _MEDIA_FORMAT)),
        parameters=_parameters(_first(start, _PARAMETERS)),
    )


def _first(mapping: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((mapping[name] for name in names if name in mapping), None)


def _text(value: object) -> str:
    """A string, or a number as its digits; anything else is nothing."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _id(value: object, what: str) -> str:
    text = _text(value)
    if _ID.fullmatch(text) is None:
        raise BadMessage("bad_start", f"{what} is missing or malformed")
    return text


def _media_format(described: object) -> MediaFormat:
    """u-law at 8 kHz is all Twilio has, so an absent description means that; another codec is refused."""
    if described is None:
        return ULAW_8K
    if not isinstance(described, dict):
        raise BadMessage("unsupported_media")
    rate = _text(described.get("sampleRate", described.get("sample_rate", 8000)))
    channels = _text(described.get("channels", 1))
    if (described.get("encoding"), rate, channels) != ("audio/x-mulaw", "8000", "1"):
        raise BadMessage("unsupported_media")
    return ULAW_8K


def _parameters(value: object) -> dict[str, str]:
    """Custom parameters; absent, null and "" mean none, values that are not text are dropped."""
    if not isinstance(value, dict):
        return {}
    kept: dict[str, str] = {}
    for name, item in value.items():
        if len(kept) == _MAX_PARAMETERS:
            break
        text = _text(item)
        if len(name) <= _MAX_PARAMETER_CHARS and (text or item == ""):
            kept[name] = text[:_MAX_PARAMETER_CHARS]
    return kept
