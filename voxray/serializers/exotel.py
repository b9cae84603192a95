"""Exotel AgentStream (the Voicebot applet): its JSON messages <-> frames. Pure; one instance a socket.

Sources: Exotel, "Voicebot applet" and "AgentStream" pages; its repositories Agent-Stream and
voice-streaming, whose samples differ from the pages. Traps:

- The audio is linear PCM, 16 bit little-endian, not u-law: `media_format.encoding` is "base64" in most calls
  and names the transport. Only an encoding that says mulaw, ulaw or pcmu is u-law (the Legs API).
- The rate is what `media_format` says, else 8000. The `?sample-rate=` of the socket's URL is not seen here:
  a stream that was asked for at another rate, and whose `start` does not say so, would be misread.
- Keys are snake_case, on some paths camelCase; the id goes back under the name it came by.
- Numbers are strings in some calls and numbers in others. There is no `track`.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Mapping
from typing import Any

from voxray.errors import BadMessage
from voxray.frames import Connected, Encoding, Frame, Ignored, MediaFormat, StreamStarted, StreamStopped
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

RATES_HZ = (8_000, 16_000, 24_000)
_ULAW = ("mulaw", "ulaw", "pcmu")
_RATE_IN_NAME = re.compile(r"rate=([0-9]{1,6})", re.ASCII)  # audio/L16;rate=16000
_WHOLE = re.compile(r"([0-9]{1,6})(?:\.0)?", re.ASCII)
_STOP_REASONS = ("callended", "stopped")


class ExotelSerializer:
    """`interfaces.Serializer` for Exotel. Id and spelling are learnt from the first `start`."""

    def __init__(self) -> None:
        self._media_head = self._mark_head = self._clear = b""
        self._bytes_per_ms = 0
        self._sent = 0  # messages of audio
        self._sent_bytes = 0

    # -- from Exotel -----------------------------------------------------------
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
            return self._start(document)
        if event == "stop":
            return StreamStopped(_stop_reason(document.get("stop")))
        if event == "closed":  # instead of `stop` on some paths
            return StreamStopped("closed")
        if event == "clear":
            return Ignored("clear")  # nobody documents that Exotel answers a clear; a test tool may echo it
        return Ignored("unknown_event")

    def _start(self, document: Mapping[str, Any]) -> StreamStarted:
        start = start_of(document)
        frame = started(document, _media_format(first_of(start, MEDIA_FORMAT)))
        self._learn(frame, _camel(document, start))
        return frame

    def _learn(self, frame: StreamStarted, camel: bool) -> None:
        """Builds the templates of what we send; a second `start` does not change them."""
        if self._clear:
            return
        key, sid = b"streamSid" if camel else b"stream_sid", dumps(frame.stream_sid)
        self._media_head = b'{"event":"media","%b":%b,"media":{"chunk":"' % (key, sid)
        self._mark_head = b'{"event":"mark","%b":%b,"mark":{"name":' % (key, sid)
        self._clear = b'{"event":"clear","%b":%b}' % (key, sid)
        self._bytes_per_ms = frame.media_format.bytes_per_ms

    # -- to Exotel -------------------------------------------------------------
    def media(self, payload: bytes) -> bytes:
        """With the counters of Exotel's samples: some streams are said to end early without them.

        `timestamp` is our own audio's clock: ms of it sent before this message.
        """
        at_ms = self._sent_bytes // self._bytes_per_ms
        self._sent += 1
        self._sent_bytes += len(payload)
        return b'%b%d","timestamp":"%d","sequenceNumber":"%d","payload":"%b"}}' % (
            self._media_head,
            self._sent,
            at_ms,
            self._sent,
            b2a_base64(payload, newline=False),
        )

    def mark(self, name: str) -> bytes:
        return self._mark_head + dumps(name) + b"}}"

    def clear(self) -> bytes:
        return self._clear

    def keys(self, digits: str) -> None:
        """No message presses keys."""


def _camel(document: Mapping[str, Any], start: Mapping[str, Any]) -> bool:
    """Whether the stream's id came as `streamSid`; where both levels have it, the message's own decides."""
    level = document if "stream_sid" in document or "streamSid" in document else start
    return "stream_sid" not in level and "streamSid" in level


def _stop_reason(stop: object) -> str:
    reason = stop.get("reason") if isinstance(stop, dict) else None
    return reason if isinstance(reason, str) and reason in _STOP_REASONS else "stop"


def _media_format(described: object) -> MediaFormat:
    """Linear PCM at 8 kHz unless told otherwise. Raises BadMessage for a rate that is none of Exotel's."""
    if isinstance(described, str):  # the beta guide's spelling: the encoding alone
        described = {"encoding": described}
    if not isinstance(described, dict):
        described = {}
    name = text_of(described.get("encoding")).lower()
    encoding = Encoding.ULAW if any(word in name for word in _ULAW) else Encoding.L16
    rate = text_of(first_of(described, ("sample_rate", "sampleRate")))
    if not rate and (named := _RATE_IN_NAME.search(name)):
        rate = named[1]
    whole = _WHOLE.fullmatch(rate or "8000")
    if whole is None or int(whole[1]) not in RATES_HZ:
        raise BadMessage("unsupported_media", "Exotel's rates are 8000, 16000 and 24000 Hz")
    return MediaFormat(encoding, int(whole[1]))
