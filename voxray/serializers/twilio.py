"""Twilio Media Streams: its JSON messages <-> frames. Pure; one instance a socket.

Source: Twilio, "Media Streams - WebSocket messages". All counters and timestamps are strings there;
carriers and test tools are laxer, so both spellings of a key and numbers for strings are taken.
`decode` runs 50 times a second a call, and is the first thing a stranger's bytes meet: the media path
is straight-line code, and everything else ends in a frame or in BadMessage with one of `common.REASONS`.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import Any

from voxray.errors import BadMessage
from voxray.frames import ULAW_8K, Connected, Frame, Ignored, MediaFormat, StreamStopped
from voxray.serializers.common import (
    MEDIA_FORMAT,
    audio_of,
    document_of,
    dtmf_of,
    event_of,
    first_of,
    mark_of,
    start_of,
    started,
    text_of,
)
from voxray.serializers.strictjson import dumps

_ONLY = "only audio/x-mulaw at 8000 Hz is understood"


class TwilioSerializer:
    """`interfaces.Serializer` for Twilio. The stream's id is learnt from the first `start`."""

    def __init__(self) -> None:
        self._media_head = self._mark_head = self._clear = b""

    # -- from Twilio -----------------------------------------------------------
    def decode(self, message: bytes) -> Frame:
        document = document_of(message)
        event = event_of(document)
        if event == "media":
            return audio_of(document.get("media"))
        return self._rarer(event, document)

    def _rarer(self, event: str, document: dict[str, Any]) -> Frame:
        if event == "mark":
            return mark_of(document.get("mark"))
        if event == "dtmf":
            return dtmf_of(document.get("dtmf"))
        if event == "connected":
            return Connected()
        if event == "start":
            frame = started(document, _media_format(first_of(start_of(document), MEDIA_FORMAT)))
            self._learn(frame.stream_sid)
            return frame
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

    def keys(self, digits: str) -> None:
        """No message presses keys."""


def _media_format(described: object) -> MediaFormat:
    """u-law at 8 kHz is all Twilio has, so an absent description means that; another codec is refused."""
    if described is None:
        return ULAW_8K
    if not isinstance(described, dict):
        raise BadMessage("unsupported_media", _ONLY)
    rate = text_of(described.get("sampleRate", described.get("sample_rate", 8000)))
    channels = text_of(described.get("channels", 1))
    if (described.get("encoding"), rate, channels) != ("audio/x-mulaw", "8000", "1"):
        raise BadMessage("unsupported_media", _ONLY)
    return ULAW_8K
