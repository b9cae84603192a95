"""Audio bytes <-> samples, for every `MediaFormat` we speak: chosen once, when a call or a voice starts.

A codec keeps no state. Streams of L16 may be cut in the middle of a sample (HTTP bodies are): put an
`OddByteCarry` in front.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voxray.audio import g711
from voxray.frames import Encoding, MediaFormat

RATES_HZ = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_LITTLE_ENDIAN = np.dtype("<i2")


def _l16_to_linear(payload: bytes) -> NDArray[np.int16]:
    """Raises ValueError for half a sample. The result is read-only: it is the payload itself."""
    return np.frombuffer(payload, _LITTLE_ENDIAN).astype(np.int16, copy=False)


def _l16_to_float(payload: bytes) -> NDArray[np.float32]:
    return np.frombuffer(payload, _LITTLE_ENDIAN).astype(np.float32) * np.float32(1 / 32_768)


def _linear_to_l16(samples: NDArray[np.int16]) -> bytes:
    return samples.astype(_LITTLE_ENDIAN, copy=False).tobytes()


@dataclass(frozen=True, slots=True)
class Codec:
    """One format's conversions.

    `decode` gives int16, `to_float` float32 within -1..1; both raise ValueError for half a sample.
    `silence` is one sample of it.
    """

    media_format: MediaFormat
    decode: Callable[[bytes], NDArray[np.int16]]
    to_float: Callable[[bytes], NDArray[np.float32]]
    encode: Callable[[NDArray[np.int16]], bytes]
    silence: bytes

    @property
    def bytes_per_ms(self) -> int:
        return self.media_format.bytes_per_ms

    @property
    def sample_width(self) -> int:
        """Bytes of one sample."""
        return len(self.silence)

    def bytes_in(self, duration_ms: float) -> int:
        """Bytes of so much audio, whole samples; exact where `bytes_per_ms` is not (22.05 and 44.1 kHz)."""
        return round(self.media_format.rate_hz * duration_ms / 1000) * self.sample_width

    def silent(self, duration_ms: float) -> bytes:
        return self.silence * (self.bytes_in(duration_ms) // self.sample_width)

    def duration_ms(self, payload: bytes) -> float:
        return len(payload) / self.sample_width * 1000 / self.media_format.rate_hz


@lru_cache(maxsize=64)
def codec_for(media_format: MediaFormat) -> Codec:
    """The codec of a format; ValueError, worded for a log line, when we do not speak it."""
    if media_format.rate_hz not in RATES_HZ:
        known = ", ".join(str(rate) for rate in RATES_HZ)
        raise ValueError(f"unsupported sample rate {media_format.rate_hz} Hz; we speak {known}")
    match media_format.encoding:
        case Encoding.ULAW:
            return Codec(
                media_format,
                g711.ulaw_to_linear,
                g711.ulaw_to_float,
                g711.linear_to_ulaw,
                bytes([g711.ULAW_SILENCE]),
            )
        case Encoding.ALAW:
            return Codec(
                media_format,
                g711.alaw_to_linear,
                g711.alaw_to_float,
                g711.linear_to_alaw,
                bytes([g711.ALAW_SILENCE]),
            )
        case Encoding.L16:
            return Codec(media_format, _l16_to_linear, _l16_to_float, _linear_to_l16, b"\0\0")


class OddByteCarry:
    """Keeps the stray bytes of a sample cut in two until its rest comes."""

    def __init__(self, sample_width: int = 2) -> None:
        self._width = sample_width
        self._carry = b""

    def feed(self, data: bytes) -> bytes:
        """The whole samples so far, in order."""
        if self._carry:
            data = self._carry + data
        rest = len(data) % self._width
        if not rest:
            self._carry = b""
            return data
        self._carry = data[-rest:]
        return data[:-rest]

    @property
    def held(self) -> int:
        """Bytes waiting; not 0 at a stream's end means it was cut off."""
        return len(self._carry)
