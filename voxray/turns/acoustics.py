"""What a window of 32 ms sounds like: a few numbers that tell talking from humming, coughing and noise.

Talking has a pitch most of the time and a spectrum that moves; a hum has the first without the second, a
cough begins with noise. Costs some 30 us a window; only windows that stand out of the noise are measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 8000
SIZE = 256
_HALF = SIZE // 2 + 1
_BIN_HZ = RATE_HZ / SIZE

_TAPER = np.hanning(SIZE)
# The taper's own autocorrelation: divided out, so that a steady tone has periodicity 1 at any lag.
_TAPER_POWER = np.fft.irfft(np.abs(np.fft.rfft(_TAPER)) ** 2)
_LAGS = slice(20, 115)  # pitches of 70 to 400 Hz
_UNTAPER = 1.0 / np.maximum(_TAPER_POWER[_LAGS] / _TAPER_POWER[0], 0.05)
# Bands wide enough for two harmonics, so that a gliding pitch alone is no change of the spectrum.
_EDGES = (3, 12, 21, 30, 40, 52, 66, 84, 110)
BANDS = len(_EDGES) - 1
_DEPTH = 2.7  # what is 27 dB under the loudest band is the line's noise
_TINY = 1e-6


def _sums() -> NDArray[np.float64]:
    """Columns: the bands, then all under 600 Hz, then all over 1 kHz."""
    made = np.zeros((_HALF, BANDS + 2))
    for band in range(BANDS):
        made[_EDGES[band] : _EDGES[band + 1], band] = 1.0
    made[_EDGES[0] : round(600 / _BIN_HZ), BANDS] = 1.0
    made[round(1000 / _BIN_HZ) : _EDGES[-1], BANDS + 1] = 1.0
    return made


_SUMS = _sums()


@dataclass(frozen=True, slots=True)
class Shape:
    """One window."""

    bands: NDArray[np.float64]
    """The spectrum's shape, log10 of power around its mean."""
    periodicity: float
    """How clear the pitch is, 0 to 1."""
    openness: float
    """log10 of the power over 1 kHz to that under 600 Hz: a closed mouth is under -2.5."""


def shape_of(samples: NDArray[np.float32]) -> Shape:
    """256 samples at 8 kHz (at 16 kHz every second sample is used)."""
    window = samples if len(samples) == SIZE else samples[:: len(samples) // SIZE][:SIZE]
    parts = np.fft.rfft(window * _TAPER).view(np.float64)
    power = (parts * parts).reshape(_HALF, 2) @ (1.0, 1.0)
    power[:3] = 0.0  # direct current and mains hum
    logs = np.log10(power @ _SUMS + _TINY)
    bands = logs[:BANDS]
    bands = np.maximum(bands, bands.max() - _DEPTH)
    lagged = np.fft.irfft(power)
    clear = float((lagged[_LAGS] * _UNTAPER).max()) / (float(lagged[0]) + 1e-9)
    low, high = logs[BANDS:].tolist()
    return Shape(bands - bands.sum() / BANDS, min(max(clear, 0.0), 1.0), min(max(high - low, -3.5), 1.0))
