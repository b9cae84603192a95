"""Speech as a provider makes it -> bytes as the wire wants them; the path is chosen by the format."""

from __future__ import annotations

from contextlib import aclosing

from voxray.audio.codec import OddByteCarry, codec_for
from voxray.audio.resample import Resampler
from voxray.frames import CallInfo, MediaFormat, Speech
from voxray.interfaces import Synthesizer


class Voicing:
    """Conversions of one stretch of speech, with the state they need between pieces."""

    def __init__(self, wire: MediaFormat) -> None:
        self._wire = wire
        self._out = codec_for(wire)
        self._source: MediaFormat | None = None
        self._resampler: Resampler | None = None
        self._carry = OddByteCarry()

    def feed(self, speech: Speech) -> bytes:
        """More of the wire's bytes; where both ends speak the same codec, the very same bytes."""
        if speech.media_format == self._wire:
            return speech.payload
        if speech.media_format != self._source:
            self._choose(speech.media_format)
        payload = speech.payload
        assert self._source is not None
        if self._source.sample_bytes == 2:
            payload = self._carry.feed(payload)
        samples = codec_for(self._source).decode(payload)
        if self._resampler is not None:
            samples = self._resampler.feed(samples)
        return self._out.encode(samples)

    def flush(self) -> bytes:
        """The end of a piece: what the filter still holds. The next piece starts afresh."""
        if self._resampler is None:
            return b""
        tail = self._out.encode(self._resampler.flush())
        self._resampler.reset()
        return tail

    def _choose(self, source: MediaFormat) -> None:
        self._source = source
        self._carry = OddByteCarry()
        same_rate = source.rate_hz == self._wire.rate_hz
        self._resampler = None if same_rate else Resampler(source.rate_hz, self._wire.rate_hz)


async def render(tts: Synthesizer, text: str, wire: MediaFormat, call: CallInfo) -> bytes:
    """A whole phrase in the wire's codec, for phrases made before they are needed. Raises ProviderError."""
    voicing = Voicing(wire)
    out = bytearray()
    async with aclosing(tts.synthesize(text, call)) as pieces:
        async for speech in pieces:
            out += voicing.feed(speech)
    out += voicing.flush()
    return bytes(out)
