"""How loud: linear RMS (0..1, 1 is full scale), dBov and peak.

dBov is decibels relative to the loudest a digital channel can be (RFC 6464): a full-scale square wave is
0 dBov, a full-scale sine -3.01. Speech on a good line sits near -26, digital silence is put at -127.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

SILENCE_DBOV = -127.0
_FULL_SCALE = 32_768.0


def rms(samples: NDArray[np.int16] | NDArray[np.float32]) -> float:
    """Of int16 samples or of floats in -1..1; 0.0 for no samples."""
    if not samples.size:
        return 0.0
    floats = samples.astype(np.float32, copy=False)  # squares of int16 would wrap round
    root = math.sqrt(float(np.dot(floats, floats)) / samples.size)
    return root / _FULL_SCALE if samples.dtype == np.int16 else root


def peak(samples: NDArray[np.int16] | NDArray[np.float32]) -> float:
    """The largest magnitude, 0..1."""
    if not samples.size:
        return 0.0
    largest = max(float(samples.max()), -float(samples.min()))  # abs(-32768) is negative in int16
    return largest / _FULL_SCALE if samples.dtype == np.int16 else largest


def dbov(linear: float) -> float:
    """A linear level as dBov, never under -127."""
    if linear <= 0.0:
        return SILENCE_DBOV
    return max(SILENCE_DBOV, 20.0 * math.log10(linear))


def from_dbov(level_dbov: float) -> float:
    """dBov as a linear level."""
    return float(10.0 ** (level_dbov / 20.0))
