"""Speech as a provider makes it -> bytes as the wire wants them; the path is chosen by the format."""

from __future__ import annotations

from collections.abc import Iterable

from voxray.audio.codec import OddByteCarry, codec_for
from voxray.audio.formats import Conversion
from voxray.audio.resample import Resampler
from voxray.frames import MediaFormat, Speech


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
            return speech.payload if self._wire.sample_bytes == 1 else self._carry.feed(speech.payload)
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
        self._carry = OddByteCarry()  # half a sample here was cut off by the provider
        if self._resampler is None:
            return b""
        tail = self._out.encode(self._resampler.flush())
        self._resampler.reset()
        return tail

    def _choose(self, source: MediaFormat) -> None:
        self._source = source
        self._carry = OddByteCarry()
        resamples = Conversion(source, self._wire).resamples
        self._resampler = Resampler(source.rate_hz, self._wire.rate_hz) if resamples else None


def voiced(pieces: Iterable[Speech], wire: MediaFormat) -> bytes:
    """A whole stretch of speech, all of it there, in the wire's codec."""
    voicing = Voicing(wire)
    return b"".join([voicing.feed(speech) for speech in pieces]) + voicing.flush()
