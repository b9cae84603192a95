"""Tones: a sine for tests and line checks, the keys of a telephone, and the beep that stands in for a voice.

Levels are linear peaks, 0..1. DTMF is ITU-T Q.23: a low and a high tone together, each of the pair at
half the level, so the sum never clips.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LOW_HZ = (697, 770, 852, 941)
_HIGH_HZ = (1209, 1336, 1477, 1633)
_KEYPAD = ("123A", "456B", "789C", "*0#D")
DTMF_HZ = {
    key: (low, high)
    for low, row in zip(_LOW_HZ, _KEYPAD, strict=True)
    for high, key in zip(_HIGH_HZ, row, strict=True)
}
KEY_PAUSE_MS = 500.0
"""How long a `w` between keys is."""

_FULL_SCALE = 32_767.0


def _wave(freq_hz: float, count: int, rate_hz: int) -> NDArray[np.float64]:
    wave: NDArray[np.float64] = np.sin(np.arange(count) * (2 * np.pi * freq_hz / rate_hz))
    return wave


def _to_int16(wave: NDArray[np.float64]) -> NDArray[np.int16]:
    return np.rint(wave * _FULL_SCALE).clip(-32_768, 32_767).astype(np.int16)


def _faded(wave: NDArray[np.float64], rate_hz: int, fade_ms: float) -> NDArray[np.float64]:
    """Raised-cosine edges: a tone that starts at once clicks."""
    count = min(round(rate_hz * fade_ms / 1000), wave.size // 2)
    if count:
        ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / count)
        wave[:count] *= ramp
        wave[-count:] *= ramp[::-1]
    return wave


def _samples(duration_ms: float, rate_hz: int) -> int:
    return round(rate_hz * duration_ms / 1000)


def sine(freq_hz: float, duration_ms: float, rate_hz: int = 8_000, level: float = 0.5) -> NDArray[np.int16]:
    """A plain tone, starting at phase 0, without fades."""
    return _to_int16(level * _wave(freq_hz, _samples(duration_ms, rate_hz), rate_hz))


def silence(duration_ms: float, rate_hz: int = 8_000) -> NDArray[np.int16]:
    return np.zeros(_samples(duration_ms, rate_hz), np.int16)


def dtmf(
    digits: str, on_ms: float = 100.0, off_ms: float = 100.0, rate_hz: int = 8_000, level: float = 0.5
) -> NDArray[np.int16]:
    """The keys pressed one after another, each followed by a pause; `w` waits. ValueError: no key."""
    pieces: list[NDArray[np.int16]] = [silence(0, rate_hz)]
    for digit in digits.upper():
        if digit == "W":
            pieces.append(silence(KEY_PAUSE_MS, rate_hz))
            continue
        if digit not in DTMF_HZ:
            raise ValueError(f"no telephone key {digit!r}")
        low_hz, high_hz = DTMF_HZ[digit]
        count = _samples(on_ms, rate_hz)
        both = (level / 2) * (_wave(low_hz, count, rate_hz) + _wave(high_hz, count, rate_hz))
        pieces += [_to_int16(_faded(both, rate_hz, 2.0)), silence(off_ms, rate_hz)]
    return np.concatenate(pieces)


def beep(
    rate_hz: int = 8_000, duration_ms: float = 200.0, freq_hz: float = 440.0, level: float = 0.1
) -> NDArray[np.int16]:
    """A soft beep: what is heard in place of words when there is no voice to say them."""
    count = _samples(duration_ms, rate_hz)
    return _to_int16(_faded(level * _wave(freq_hz, count, rate_hz), rate_hz, 20.0))
