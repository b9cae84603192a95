"""Exotel AgentStream (the Voicebot applet): its JSON messages <-> frames. Pure; one instance a socket.

Sources: Exotel, "Voicebot applet" and "AgentStream" pages; its repositories Agent-Stream and
voice-streaming, whose samples differ from the pages. Traps:

- The audio is linear PCM, 16 bit little-endian, not u-law: `media_format.encoding` is "base64" in most calls
  and names the transport. Only an encoding that says mulaw, ulaw or pcmu is u-law (the Legs API).
- The rate is what `media_format` says, else what the socket's URL asked for, else 8000.
- Exotel's own pages differ about u-law. Where a stream's own clock says that a byte is a sample, that is
  complained of, once; it is read as PCM all the same.
- Keys are snake_case, on some paths camelCase; the id goes back under the name it came by.
- Numbers are strings in some calls and numbers in others. There is no `track`.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Mapping
from typing import Any

from voxray.errors import BadMessage
from voxray.frames import (
    Audio,
    Connected,
    Encoding,
    Frame,
    Ignored,
    MediaFormat,
    StreamStarted,
    StreamStopped,
)
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
_RATE_ASKED = ("sample-rate", "sample_rate")  # in the URL; the second once, in the developers' guide
_ULAW = ("mulaw", "ulaw", "pcmu")
_RATE_IN_NAME = re.compile(r"rate=([0-9]{1,6})", re.ASCII)  # audio/L16;rate=16000
_WHOLE = re.compile(r"([0-9]{1,6})(?:\.0)?", re.ASCII)
_STOP_REASONS = ("callended", "stopped")
_ULAW_LIKE = 10
"""So many messages in a row whose length fits their clock as u-law alone: a second of audio."""


def asked_rate(query: Mapping[str, str], usual_hz: int = 8_000) -> int:
    """The rate that the socket's URL asked for, where it is one of Exotel's."""
    asked = str(first_of(query, _RATE_ASKED))
    return next((rate for rate in RATES_HZ if str(rate) == asked), usual_hz)


class ExotelSerializer:
    """`interfaces.Serializer` for Exotel. Id and spelling are learnt from the first `start`.

    `rate_hz` is what holds where `start` says nothing.
    """

    def __init__(self, *, rate_hz: int = 8_000) -> None:
        self._rate_hz = rate_hz
        self._media_head = self._mark_head = self._clear = b""
        self._bytes_per_ms = 0
        self._clock_ms: int | None = None
        self._ulaw_like = -1  # not to be looked for (any more)
        self._sent = 0  # messages of audio
        self._sent_bytes = 0

    # -- from Exotel -----------------------------------------------------------
    def decode(self, message: bytes) -> Frame:
        document = document_of(message)
        event = event_of(document)
        if event == "media":
            audio = audio_of(document.get("media"))
            if self._ulaw_like >= 0 and isinstance(audio, Audio) and self._looks_like_ulaw(audio):
                return Ignored("looks_like_ulaw", complaint=True)  # in its place: noise is no loss
            return audio
        return self._rarer(event, document)

    def _looks_like_ulaw(self, audio: Audio) -> bool:
        """At 8 kHz, 800 bytes for each 100 ms of the carrier's clock, for a second: True, once a call."""
        before_ms, self._clock_ms = self._clock_ms, audio.timestamp_ms
        if before_ms is None or audio.timestamp_ms is None:
            return False
        fits = len(audio.payload) == (audio.timestamp_ms - before_ms) * 8
        self._ulaw_like = self._ulaw_like + 1 if fits else 0
        if self._ulaw_like < _ULAW_LIKE:
            return False
        self._ulaw_like = -1
        return True

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
        frame = started(document, _media_format(first_of(start, MEDIA_FORMAT), self._rate_hz))
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
        self._ulaw_like = 0 if self._bytes_per_ms == 16 else -1  # L16 at 8 kHz

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


def _media_format(described: object, usual_hz: int) -> MediaFormat:
    """Linear PCM at `usual_hz` unless told otherwise. BadMessage for a rate that is none of Exotel's."""
    if isinstance(described, str):  # the beta guide's spelling: the encoding alone
        described = {"encoding": described}
    if not isinstance(described, dict):
        described = {}
    name = text_of(described.get("encoding")).lower()
    encoding = Encoding.ULAW if any(word in name for word in _ULAW) else Encoding.L16
    rate = text_of(first_of(described, ("sample_rate", "sampleRate")))
    if not rate and (named := _RATE_IN_NAME.search(name)):
        rate = named[1]
    whole = _WHOLE.fullmatch(rate or str(usual_hz))
    if whole is None or int(whole[1]) not in RATES_HZ:
        raise BadMessage("unsupported_media", "Exotel's rates are 8000, 16000 and 24000 Hz")
    return MediaFormat(encoding, int(whole[1]))
