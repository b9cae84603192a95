"""Telnyx media streaming: its JSON messages <-> frames. Pure; one instance a socket.

Sources: Telnyx, "Media Streaming over WebSockets", "TeXML: <Stream>". What differs from Twilio:

- the caller's audio is in the codec of the *call leg* (A-law in much of the world), said in `start`; ours
  is in the codec our answer document asks for (`bidirectionalCodec`), so the two may differ;
- audio may come out of order, with a number to put it right;
- linear PCM is big-endian (RFC 3551; Telnyx does not say, users found it so): it is turned round here,
  both ways, so that everything behind sees little-endian;
- Opus, one packet a message, begins and ends here too: behind is linear PCM at 16 kHz;
- complaints about what we sent come back as `error`; the stream goes on.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from voxray.audio import opus
from voxray.audio.codec import codec_for
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
from voxray.serializers import formats
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
    swapped,
    text_of,
)
from voxray.serializers.reorder import Reorder
from voxray.serializers.strictjson import dumps

SEND_FORMATS = formats.TELNYX
_OPUS_INSIDE = SEND_FORMATS["OPUS"]

_LEAST_SEND_MS = 20  # "media chunks must be at least 20 ms"

_CALL_ID = ("call_control_id", "callControlId", "call_sid", "callSid")
_ACCOUNT_ID = ("user_id", "userId", "account_sid", "accountSid")
_SAMPLE_RATE = ("sample_rate", "sampleRate")

# The codecs of a leg that we understand, and the rates they come at.
_ENCODINGS = {"PCMU": Encoding.ULAW, "PCMA": Encoding.ALAW, "L16": Encoding.L16}
_RATES_HZ = {
    "PCMU": ("8000",),
    "PCMA": ("8000",),
    "L16": ("8000", "16000", "24000"),
    "OPUS": ("8000", "16000", "24000", "48000"),  # all the same to a decoder
}
_CHANNELS = {"OPUS": ("1", "2")}  # it is always "opus/48000/2" in SDP, and decodes to one all the same

_ERRORS = {
    "100002": "carrier_unknown_error",
    "100003": "carrier_malformed_frame",
    "100004": "carrier_invalid_media",
    "100005": "carrier_rate_limit_reached",
}


class TelnyxSerializer:
    """`interfaces.Serializer` for Telnyx. What we send names no stream: only the codec is learnt.

    `codec` is one of `SEND_FORMATS`: what our answer document asked for.
    """

    def __init__(self, *, codec: str = "PCMU", l16_big_endian: bool = True) -> None:
        self._codec, self._send_format = codec, SEND_FORMATS[codec]
        self._l16_big_endian = l16_big_endian
        self._l16 = self._started = False
        self._reorder: Reorder[Audio] = Reorder()
        self._decoder: opus.OpusDecoder | None = None  # of a leg that is Opus
        self._decoder_due: int | None = None  # the number after the last one it was given
        self._encoder = opus.OpusEncoder() if codec == "OPUS" else None
        self._outward = self._outward_for(codec)
        said = codec_for(self._send_format)
        self._least, self._silence = len(said.silent(_LEAST_SEND_MS)), said.silence[:1]

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
        if self._decoder is not None and not opus.is_packet(audio.payload):
            raise BadMessage("bad_media", "not an Opus packet")  # from here on it is one that was lost
        number = milliseconds(media.get("chunk"))  # as lax a number as a timestamp
        if number is None:
            return self._inward([audio])
        ready = self._reorder.feed(number, audio)
        if ready is None:
            return Ignored("late_media")
        if not ready:
            return Ignored("early_media")  # it waits its turn
        return self._inward(ready, self._reorder.due)

    def _inward(self, ready: Sequence[Audio], due: int | None = None) -> Frame:
        """Audio in its order, as everything behind wants it; `due` is the number after it."""
        if self._decoder is not None:
            return self._decoded(self._decoder, ready, due)
        audio = ready[0]
        if len(ready) > 1:
            audio = replace(audio, payload=b"".join([each.payload for each in ready]))
        if not self._l16:
            return audio
        whole = audio.payload[: len(audio.payload) & ~1]  # half a sample is noise from there on
        if not whole:
            return Ignored("empty_media")
        return replace(audio, payload=swapped(whole) if self._l16_big_endian else whole)

    def _decoded(self, decoder: opus.OpusDecoder, ready: Sequence[Audio], due: int | None) -> Frame:
        """Each packet by itself; what was given up before the first of them is made up for."""
        lost = 0
        if due is not None:
            lost = 0 if self._decoder_due is None else due - len(ready) - self._decoder_due
            self._decoder_due = due
        try:
            pieces = [decoder.conceal(lost, ready[0].payload)] if lost > 0 else []
            pieces += [decoder.decode(each.payload) for each in ready]
        except ValueError:
            raise BadMessage("bad_media", "not an Opus packet") from None
        return replace(ready[0], payload=b"".join(pieces))

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
        name, heard = self._leg(first_of(start_of(document), MEDIA_FORMAT))
        frame = replace(started(document, heard, _CALL_ID, _ACCOUNT_ID), send_format=self._send_format)
        if not self._started:  # a second one changes nothing
            self._started = True
            self._l16 = name == "L16"
            self._decoder = opus.OpusDecoder() if name == "OPUS" else None
        return frame

    def _leg(self, described: object) -> tuple[str, MediaFormat]:
        """The leg's codec, and what it is to those behind; absent is what our document asks for."""
        if described is None:
            return self._codec, self._send_format
        if not isinstance(described, dict):
            raise BadMessage("unsupported_media", "media_format is no object")
        return _leg(described)

    # -- to Telnyx -------------------------------------------------------------
    def media(self, payload: bytes) -> bytes:
        """`payload` in the send format; with Opus 120 ms at most, and filled up to whole packets of 20."""
        payload = payload.ljust(self._least, self._silence)
        return b'{"event":"media","media":{"payload":"%b"}}' % b2a_base64(
            self._outward(payload), newline=False
        )

    def _outward_for(self, codec: str) -> Callable[[bytes], bytes]:
        if self._encoder is not None:
            return _whole_packets(self._encoder)
        return swapped if codec == "L16" and self._l16_big_endian else bytes

    def mark(self, name: str) -> bytes:
        return b'{"event":"mark","mark":{"name":%b}}' % dumps(name)

    def clear(self) -> bytes:
        if self._encoder is not None:
            self._encoder.reset()  # or the next reply would begin with the end of this one
        return b'{"event":"clear"}'

    def keys(self, digits: str) -> None:
        """No message presses keys."""


def _whole_packets(encoder: opus.OpusEncoder) -> Callable[[bytes], bytes]:
    size = _LEAST_SEND_MS * _OPUS_INSIDE.bytes_per_ms
    return lambda pcm: encoder.encode(pcm + bytes(-len(pcm) % size))


def _error(payload: object) -> Ignored:
    """Telnyx's complaint of what we sent, by its code."""
    code = text_of(payload.get("code")) if isinstance(payload, dict) else ""
    return Ignored(_ERRORS.get(code, "carrier_unknown_error"), complaint=True)


def _leg(described: Mapping[str, Any]) -> tuple[str, MediaFormat]:
    """A codec we cannot read is refused: to hear it as u-law would be to hear noise."""
    name = text_of(described.get("encoding")).upper().removeprefix("AUDIO/")
    rate = text_of(first_of(described, _SAMPLE_RATE) or 8000)
    channels = text_of(described.get("channels", 1))
    if rate not in _RATES_HZ.get(name, ()) or channels not in _CHANNELS.get(name, ("1",)):
        asked = f"{name[:16]} at {rate[:8]} Hz" if name.isascii() and name.isprintable() else "the codec"
        raise BadMessage(
            "unsupported_media", f"{asked}: not PCMU, PCMA, L16 or OPUS; limit the number to these"
        )
    if name != "OPUS":
        return name, MediaFormat(_ENCODINGS[name], int(rate))
    if not opus.available():
        raise BadMessage("unsupported_media", "OPUS: install libopus (Debian: libopus0), or limit the number")
    return name, _OPUS_INSIDE
