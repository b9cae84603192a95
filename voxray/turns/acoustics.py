"""What a window of 32 ms sounds like: a few numbers that tell talking from humming, coughing and noise.

Talking has a clear pitch and a spectrum that changes from window to window; a hum has the first without
the second, a cough or a sneeze has neither for long.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 8000
SIZE = 256
COUNT = 8  # features of one window

_FFT = 512
_BIN_HZ = RATE_HZ / _FFT
_TAPER = np.hanning(SIZE).astype(np.float32)
# The taper's own autocorrelation: divided out, so that a steady tone has periodicity 1 at any lag.
_TAPER_POWER = np.fft.irfft(np.abs(np.fft.rfft(_TAPER, _FFT)) ** 2)[:SIZE]
_TAPER_SHAPE = _TAPER_POWER / _TAPER_POWER[0] + 1e-6
_LAGS = slice(20, 115)  # pitches of 70 to 400 Hz
_BANDS = np.array([8 + 16 * n for n in range(14)])  # 14 bands of 250 Hz from 125 Hz on
_LOW = round(600 / _BIN_HZ)
_LOG_FLOOR = 1e-9


class WindowShape:
    """Turns windows into features; keeps the spectrum before for the change. One stretch of audio."""

    def __init__(self) -> None:
        self._shape: NDArray[np.float64] | None = None
        self._level_db = 0.0

    def feed(self, probability: float, level: float, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        """The `COUNT` features of a window: 256 samples at 8 kHz (at 16 kHz every second sample is used)."""
        window = samples if len(samples) == SIZE else samples[:: len(samples) // SIZE][:SIZE]
        power = np.abs(np.fft.rfft((window - window.mean()) * _TAPER, _FFT)) ** 2
        total = float(power[3:].sum()) + 1e-12
        low = min(float(power[:_LOW].sum()) / total, 1.0)
        speech = power[8:218] + 1e-10
        flatness = float(np.exp(np.log(speech).mean()) / speech.mean())
        change = self._change(power)
        level_db = 20.0 * math.log10(level + 1e-6)
        step, self._level_db = abs(level_db - self._level_db), level_db
        return np.array(
            [
                max(-4.0, min(4.0, math.log((probability + 1e-3) / (1.001 - probability)))),
                min(change, 0.9),
                max(change - 0.9, 0.0),
                _periodicity(power),
                math.log(flatness + 1e-3),
                math.log(1.0 - low + 0.02),
                max(low - 0.93, 0.0) * 10.0,
                min(step, 12.0) / 6.0,
            ]
        )

    def _change(self, power: NDArray[np.float64]) -> float:
        bands = np.log10(np.add.reduceat(power[:232], _BANDS) + _LOG_FLOOR)
        shape = bands - bands.mean()
        before, self._shape = self._shape, shape
        if before is None:
            return 0.0
        return float(np.sqrt(((shape - before) ** 2).mean()))


def _periodicity(power: NDArray[np.float64]) -> float:
    lagged = np.fft.irfft(power)[:SIZE]
    if lagged[0] <= 0.0:
        return 0.0
    return min(max(float((lagged / lagged[0] / _TAPER_SHAPE)[_LAGS].max()), 0.0), 1.0)
