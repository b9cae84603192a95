"""Telnyx media streaming: its JSON messages <-> frames. Pure; one instance a socket.

Sources: Telnyx, "Media Streaming over WebSockets", "TeXML: <Stream>". What differs from Twilio:

- the caller's audio is in the codec of the *call leg* (A-law in much of the world), said in `start`; ours
  is in the codec our answer document asks for (`bidirectionalCodec`), so the two may differ;
- audio may come out of order, with a number to put it right;
- linear PCM is big-endian (RFC 3551; Telnyx does not say, users found it so): it is turned round here,
  so that everything behind sees little-endian;
- complaints about what we sent come back as `error`; the stream goes on.
"""

from __future__ import annotations

from array import array
from binascii import b2a_base64
from dataclasses import replace
from typing import Any

from voxray.errors import BadMessage
from voxray.frames import (
    ULAW_8K,
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
    milliseconds,
    start_of,
    started,
    text_of,
)
from voxray.serializers.reorder import Reorder
from voxray.serializers.strictjson import dumps

SEND_FORMAT = ULAW_8K
"""What `carriers.telnyx` asks for as `bidirectionalCodec`."""

_LEAST_SEND_BYTES = 20 * SEND_FORMAT.bytes_per_ms  # "media chunks must be at least 20 ms"
_ULAW_SILENCE = b"\xff"

_CALL_ID = ("call_control_id", "callControlId", "call_sid", "callSid")
_ACCOUNT_ID = ("user_id", "userId", "account_sid", "accountSid")
_SAMPLE_RATE = ("sample_rate", "sampleRate")

# The codecs of a leg that we understand, and the rates they come at.
_ENCODINGS = {"PCMU": Encoding.ULAW, "PCMA": Encoding.ALAW, "L16": Encoding.L16}
_RATES_HZ = {Encoding.ULAW: ("8000",), Encoding.ALAW: ("8000",), Encoding.L16: ("8000", "16000", "24000")}

_ERRORS = {
    "100002": "carrier_unknown_error",
    "100003": "carrier_malformed_frame",
    "100004": "carrier_invalid_media",
    "100005": "carrier_rate_limit_reached",
}


class TelnyxSerializer:
    """`interfaces.Serializer` for Telnyx. What we send names no stream: only the codec is learnt."""

    def __init__(self, *, l16_big_endian: bool = True) -> None:
        self._l16_big_endian = l16_big_endian
        self._l16 = self._started = False
        self._reorder: Reorder[Audio] = Reorder()

    # -- from Telnyx -----------------------------------------------------------
    def decode(self, message: bytes) -> Frame:
        document = document_of(message)
        event = event_of(document)
        if event == "media":
            return self._media(document.get("media"))
        return self._rarer(event, document)

    def _media(self, media: Any) -> Frame:
        """All the audio that is due now, as one frame; it begins at the first message's timestamp."""
        audio = audio_of(media)
        if not isinstance(audio, Audio):
            return audio
        number = milliseconds(media.get("chunk"))  # as lax a number as a timestamp
        if number is None:
            return self._turned(audio)
        ready = self._reorder.feed(number, audio)
        if ready is None:
            return Ignored("late_media")
        if not ready:
            return Ignored("early_media")  # it waits its turn
        if len(ready) > 1:
            audio = Audio(b"".join([each.payload for each in ready]), ready[0].timestamp_ms)
        return self._turned(audio)

    def _turned(self, audio: Audio) -> Frame:
        if not self._l16:
            return audio
        whole = audio.payload[: len(audio.payload) & ~1]  # half a sample is noise from there on
        if not whole:
            return Ignored("empty_media")
        return replace(audio, payload=_swapped(whole) if self._l16_big_endian else whole)

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
            return StreamStopped()
        if event == "error":
            return _error(document.get("payload"))
        return Ignored("unknown_event")

    def _start(self, document: dict[str, Any]) -> StreamStarted:
        media_format = _media_format(first_of(start_of(document), MEDIA_FORMAT))
        frame = replace(started(document, media_format, _CALL_ID, _ACCOUNT_ID), send_format=SEND_FORMAT)
        if not self._started:  # a second one changes nothing
            self._started = True
            self._l16 = frame.media_format.encoding is Encoding.L16
        return frame

    # -- to Telnyx -------------------------------------------------------------
    def media(self, payload: bytes) -> bytes:
        if len(payload) < _LEAST_SEND_BYTES:
            payload = payload.ljust(_LEAST_SEND_BYTES, _ULAW_SILENCE)
        return b'{"event":"media","media":{"payload":"%b"}}' % b2a_base64(payload, newline=False)

    def mark(self, name: str) -> bytes:
        return b'{"event":"mark","mark":{"name":%b}}' % dumps(name)

    def clear(self) -> bytes:
        return b'{"event":"clear"}'

    def keys(self, digits: str) -> None:
        """No message presses keys."""


def _swapped(payload: bytes) -> bytes:
    samples = array("H", payload)
    samples.byteswap()
    return samples.tobytes()


def _error(payload: object) -> Ignored:
    """Telnyx's complaint of what we sent, by its code."""
    code = text_of(payload.get("code")) if isinstance(payload, dict) else ""
    return Ignored(_ERRORS.get(code, "carrier_unknown_error"), complaint=True)


def _media_format(described: object) -> MediaFormat:
    """The leg's codec. What is absent is what our document asks for; a codec we cannot read is refused.

    To hear it as u-law would be to hear noise.
    """
    if described is None:
        return ULAW_8K
    if not isinstance(described, dict):
        raise BadMessage("unsupported_media", "media_format is no object")
    name = text_of(described.get("encoding")).upper().removeprefix("AUDIO/")
    rate = text_of(first_of(described, _SAMPLE_RATE) or 8000)
    encoding = _ENCODINGS.get(name)
    if encoding is None or rate not in _RATES_HZ[encoding] or text_of(described.get("channels", 1)) != "1":
        asked = f"{name[:16]} at {rate[:8]} Hz" if name.isascii() and name.isprintable() else "the codec"
        raise BadMessage("unsupported_media", f"{asked}: not PCMU, PCMA or L16; limit the number to these")
    return MediaFormat(encoding, int(rate))
