"""Plivo Audio Streaming: its JSON messages <-> frames. Pure; one instance a socket.

Sources: Plivo, "Audio streaming: messages"; its stream SDKs for Python, Node and Java. `start` is the first
message: there is no `connected`. Sequence numbers are JSON numbers and timestamps strings; neither is used
but as a clock. A checkpoint that `clearAudio` dropped never comes back, and the first one of a call
sometimes does not either: no caller of `mark` may wait for its echo.

Plivo does not document the byte order of L16; its SDKs' examples hand the bytes on as little-endian, and so
has everything behind this. Where it turns out otherwise, samples are turned round here, both ways.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from voxray.audio.codec import OddByteCarry
from voxray.errors import BadMessage
from voxray.frames import Audio, Connected, Encoding, Frame, Ignored, MediaFormat, StreamStopped
from voxray.serializers import formats
from voxray.serializers.common import (
    MEDIA_FORMAT,
    audio_of,
    document_of,
    dtmf_of,
    event_of,
    first_of,
    mark_of,
    parameters_of,
    start_of,
    started,
    swapped,
    text_of,
)
from voxray.serializers.strictjson import dumps, loads

# The three that Plivo has.
CONTENT_TYPES = {wire: asked.partition(";")[0] for asked, wire in formats.PLIVO.items()}
_FORMATS = {(content_type, wire.rate_hz): wire for wire, content_type in CONTENT_TYPES.items()}
_EXTRA_HEADERS = ("extra_headers", "extraHeaders")
_MAX_HEADERS_CHARS = 4096  # Plivo's own limit is 512 bytes


class PlivoSerializer:
    """`interfaces.Serializer` for Plivo. The stream's id and codec are learnt from the first `start`.

    `content_type` is what our answer document asked for: what holds where `start` says nothing.
    """

    def __init__(
        self, *, content_type: str = "audio/x-mulaw;rate=8000", l16_big_endian: bool = False
    ) -> None:
        self._media_head = self._mark_head = self._clear = b""
        self._asked = _media_format({"encoding": content_type})
        self._l16_big_endian = l16_big_endian
        self._turn = False  # what comes and goes is L16 in the other byte order
        self._carry = OddByteCarry()

    # -- from Plivo ------------------------------------------------------------
    def decode(self, message: bytes) -> Frame:
        document = document_of(message)
        event = event_of(document)
        if event == "media":
            audio = audio_of(document.get("media"))
            return self._turned(audio) if self._turn and isinstance(audio, Audio) else audio
        return self._rarer(event, document)

    def _turned(self, audio: Audio) -> Frame:
        whole = self._carry.feed(audio.payload)
        return replace(audio, payload=swapped(whole)) if whole else Ignored("empty_media")

    def _rarer(self, event: str, document: dict[str, Any]) -> Frame:
        if event in ("playedStream", "played"):  # the second in an older FAQ
            return mark_of(document)
        if event == "dtmf":
            return dtmf_of(document.get("dtmf"))
        if event == "start":
            return self._start(document)
        if event == "stop":  # in the Java SDK alone; usually the socket just closes
            return StreamStopped()
        if event == "connected":
            return Connected()
        return Ignored("cleared" if event == "clearedAudio" else "unknown_event")

    def _start(self, document: dict[str, Any]) -> Frame:
        described = first_of(start_of(document), MEDIA_FORMAT)
        wire = self._asked if described is None else _media_format(described)
        frame = started(document, wire)
        headers = first_of(document, _EXTRA_HEADERS)
        frame = replace(frame, parameters={**frame.parameters, **extra_headers(headers)})
        self._learn(frame.stream_sid, wire)
        return frame

    def _learn(self, stream_sid: str, wire: MediaFormat) -> None:
        """Builds the templates of what we send; a second `start` does not change them."""
        if self._clear:
            return
        self._turn = self._l16_big_endian and wire.encoding is Encoding.L16
        sid, content_type = dumps(stream_sid), dumps(CONTENT_TYPES[wire])
        self._media_head = b'{"event":"playAudio","media":{"contentType":%b,"sampleRate":%d,"payload":"' % (
            content_type,
            wire.rate_hz,
        )
        self._mark_head = b'{"event":"checkpoint","streamId":%b,"name":' % sid
        self._clear = b'{"event":"clearAudio","streamId":%b}' % sid

    # -- to Plivo --------------------------------------------------------------
    def media(self, payload: bytes) -> bytes:
        if self._turn:
            payload = swapped(payload)
        return self._media_head + b2a_base64(payload, newline=False) + b'"}}'

    def mark(self, name: str) -> bytes:
        return self._mark_head + dumps(name) + b"}"

    def clear(self) -> bytes:
        return self._clear

    def keys(self, digits: str) -> bytes:
        return b'{"event":"sendDTMF","dtmf":%b}' % dumps(digits)


def _media_format(described: object) -> MediaFormat:
    """One of Plivo's three; any other codec is refused.

    Sample values are bare types; one with the document's `;rate=8000` is understood too.
    """
    if not isinstance(described, dict) or text_of(described.get("channels", 1)) != "1":
        raise BadMessage("unsupported_media")
    content_type, _, suffix = text_of(described.get("encoding")).lower().partition(";")
    rate = text_of(first_of(described, ("sampleRate", "sample_rate")))
    rate = rate or suffix.strip().removeprefix("rate=") or "8000"
    wire = _FORMATS.get((content_type.strip(), int(rate))) if rate in ("8000", "16000") else None
    if wire is None:
        raise BadMessage("unsupported_media")
    return wire


def extra_headers(value: object) -> dict[str, str]:
    """The parameters in `extra_headers`: one string, in one of three spellings; what is malformed is dropped.

    The reference has `k=v;k=v`, the XML attribute it comes from commas, the SDKs' comments a JSON string.
    """
    if not isinstance(value, str):
        return parameters_of(value)
    text = value[:_MAX_HEADERS_CHARS].strip()
    if text.startswith("{") and (found := _json_object(text)) is not None:
        return parameters_of(found)
    pairs = (pair.partition("=") for pair in text.replace(",", ";").split(";"))
    return parameters_of(
        {name.strip(): item.strip() for name, equals, item in pairs if equals and name.strip()}
    )


def _json_object(text: str) -> Mapping[str, Any] | None:
    try:
        found = loads(text.encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
