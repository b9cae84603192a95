"""G.711 u-law and A-law by table: what every telephone carrier sends (ITU-T G.711).

The stdlib's `audioop` did this until Python 3.13; its results are the reference and are equalled on all
256 codes and all 65,536 samples of both laws. The trap is in the encoders: u-law works on the sample's
upper 14 bits and A-law on its upper 13, and the low bits are dropped *before* the sign is taken, so -1
and +1 are not mirror images.

Samples are int16; floats are float32 with full scale at 1.0 (int16 / 32768).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ULAW_SILENCE = 0xFF
ALAW_SILENCE = 0xD5

_ULAW_BIAS = 0x84
_ULAW_LOUDEST = 0x1FFF  # of 13 bits, bias included
_ULAW_SEGMENT_ENDS = np.array([0x3F, 0x7F, 0xFF, 0x1FF, 0x3FF, 0x7FF, 0xFFF], np.int32)
_ALAW_SEGMENT_ENDS = np.array([0x1F, 0x3F, 0x7F, 0xFF, 0x1FF, 0x3FF, 0x7FF], np.int32)


def _ulaw_decode_table() -> NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.int32)
    magnitude = (((code & 0x0F) << 3) + _ULAW_BIAS) << ((code & 0x70) >> 4)
    return np.where(code & 0x80, _ULAW_BIAS - magnitude, magnitude - _ULAW_BIAS).astype(np.int16)


def _alaw_decode_table() -> NDArray[np.int16]:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    segment = (code & 0x70) >> 4
    step = (code & 0x0F) << 4
    magnitude = np.where(segment == 0, step + 8, (step + 0x108) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _every_sample() -> NDArray[np.int32]:
    """All int16 values, in the order of their bit patterns read as uint16: what the tables are indexed by."""
    return np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)


def _ulaw_encode_table() -> NDArray[np.uint8]:
    sample = _every_sample() >> 2
    magnitude = np.minimum(np.abs(sample) + (_ULAW_BIAS >> 2), _ULAW_LOUDEST)
    segment = np.searchsorted(_ULAW_SEGMENT_ENDS, magnitude)
    code = (segment << 4) | ((magnitude >> (segment + 1)) & 0x0F)
    table: NDArray[np.uint8] = (code ^ np.where(sample < 0, 0x7F, 0xFF)).astype(np.uint8)
    return table


def _alaw_encode_table() -> NDArray[np.uint8]:
    sample = _every_sample() >> 3
    magnitude = np.where(sample < 0, -sample - 1, sample)
    segment = np.searchsorted(_ALAW_SEGMENT_ENDS, magnitude)
    code = (segment << 4) | ((magnitude >> np.maximum(segment, 1)) & 0x0F)
    table: NDArray[np.uint8] = (code ^ np.where(sample < 0, 0x55, 0xD5)).astype(np.uint8)
    return table


_ULAW_TO_LINEAR = _ulaw_decode_table()
_ALAW_TO_LINEAR = _alaw_decode_table()
_ULAW_TO_FLOAT = _ULAW_TO_LINEAR.astype(np.float32) / np.float32(32_768)
_ALAW_TO_FLOAT = _ALAW_TO_LINEAR.astype(np.float32) / np.float32(32_768)
_LINEAR_TO_ULAW = _ulaw_encode_table()
_LINEAR_TO_ALAW = _alaw_encode_table()


def ulaw_to_linear(payload: bytes) -> NDArray[np.int16]:
    return _ULAW_TO_LINEAR[np.frombuffer(payload, np.uint8)]


def ulaw_to_float(payload: bytes) -> NDArray[np.float32]:
    return _ULAW_TO_FLOAT[np.frombuffer(payload, np.uint8)]


def linear_to_ulaw(samples: NDArray[np.int16]) -> bytes:
    return _LINEAR_TO_ULAW[samples.view(np.uint16)].tobytes()


def alaw_to_linear(payload: bytes) -> NDArray[np.int16]:
    return _ALAW_TO_LINEAR[np.frombuffer(payload, np.uint8)]


def alaw_to_float(payload: bytes) -> NDArray[np.float32]:
    return _ALAW_TO_FLOAT[np.frombuffer(payload, np.uint8)]


def linear_to_alaw(samples: NDArray[np.int16]) -> bytes:
    return _LINEAR_TO_ALAW[samples.view(np.uint16)].tobytes()
