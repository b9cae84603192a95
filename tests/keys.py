"""Reads a telephone's keys out of audio: Goertzel's filter at the eight frequencies, none of our code."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

LOW, HIGH = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
KEYPAD = ("123A", "456B", "789C", "*0#D")
BLOCK_MS = 10
AUDIBLE = 0.01  # of full scale, RMS


def power(block: NDArray[np.float64], freq_hz: float, rate_hz: int) -> float:
    """Goertzel: how much of one frequency there is."""
    turn = 2.0 * math.cos(2.0 * math.pi * freq_hz / rate_hz)
    last = before = 0.0
    for sample in block:
        last, before = float(sample) + turn * last - before, last
    return last * last + before * before - turn * last * before


def key_of(block: NDArray[np.float64], rate_hz: int) -> str:
    """The key whose two tones are nearly all of the block; "?" when they are not."""
    low = max(LOW, key=lambda freq: power(block, freq, rate_hz))
    high = max(HIGH, key=lambda freq: power(block, freq, rate_hz))
    whole = float(np.sum(block**2)) * len(block) / 2
    share = (power(block, low, rate_hz) + power(block, high, rate_hz)) / whole
    return KEYPAD[LOW.index(low)][HIGH.index(high)] if share > 0.9 else "?"


def keys_heard(samples: NDArray[np.float64], rate_hz: int) -> list[tuple[str, float, float]]:
    """Each key with the milliseconds at which it begins and ends, silences left out. Samples within -1..1."""
    size = rate_hz * BLOCK_MS // 1000
    found: list[tuple[str, float, float]] = []
    begun: int | None = None
    blocks = [samples[i : i + size] for i in range(0, len(samples) - size + 1, size)]
    for n, block in enumerate([*blocks, np.zeros(size)]):
        loud = math.sqrt(float(np.mean(block**2))) > AUDIBLE
        if loud and begun is None:
            begun = n
        elif not loud and begun is not None:
            middle = samples[(begun + 1) * size : (n - 1) * size]
            found.append((key_of(middle, rate_hz), begun * BLOCK_MS, n * BLOCK_MS))
            begun = None
    return found
