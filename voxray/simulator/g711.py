"""Mu-law for the simulator: its own reading of ITU-T G.711, so that the daemon's tables have a witness.

The decoder follows the standard's formula; the encoder is derived from the decoder (nearest value), not
from a second formula, so it cannot share a mistake with one. Samples are int16.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 8000
PACKET_BYTES = 160  # 20 ms
SILENCE_BYTE = 0xFF  # decodes to 0

Samples = NDArray[np.int16]


def _decoded(code: int) -> int:
    """One code to its sample: complement, then sign, three bits of segment, four of step; bias 132."""
    inverted = ~code & 0xFF
    magnitude = (((inverted & 0x0F) << 3) + 132) << ((inverted >> 4) & 0x07)
    return 132 - magnitude if inverted & 0x80 else magnitude - 132


_DECODE: Samples = np.array([_decoded(code) for code in range(256)], dtype=np.int16)


def _nearest_codes() -> NDArray[np.uint8]:
    """For every 16 bit sample the code whose value is nearest; indexed by the sample + 32768."""
    positive = np.arange(0xFF, 0x7F, -1, dtype=np.int64)  # 0xFF is 0, 0x80 the loudest
    levels = _DECODE[positive].astype(np.int64)
    edges = (levels[1:] + levels[:-1] + 1) // 2
    magnitudes = np.abs(np.arange(-32768, 32768, dtype=np.int64))
    codes = positive[np.searchsorted(edges, magnitudes, side="right")]
    negative = np.arange(-32768, 32768) < 0
    return np.where(negative, codes & 0x7F, codes).astype(np.uint8)


_ENCODE = _nearest_codes()


def decode(payload: bytes) -> Samples:
    """Mu-law bytes to samples."""
    return _DECODE[np.frombuffer(payload, dtype=np.uint8)]


def encode(samples: Samples) -> bytes:
    """Samples to mu-law bytes."""
    return _ENCODE[samples.astype(np.int32) + 32768].tobytes()
