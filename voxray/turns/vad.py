"""Is anybody speaking? From windows of audio to stretches of speech.

`EnergyVad` makes a probability of speech out of a window's energy over an adaptive noise floor;
`SpeechGate` makes stretches of speech out of any detector's probabilities, by hysteresis. Both pure: time
is media time in ms, an argument.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ConfigError
from voxray.interfaces import SpeechDetector, SpeechWindow
from voxray.settings import TurnSettings

_TINY = 1e-5  # -100 dBov; keeps log10 off zero


def decibels(level: float) -> float:
    """A linear RMS level in dBov (full scale square wave = 0)."""
    return 20.0 * math.log10(max(level, _TINY))


class EnergyVad:
    """Speech is what stands out of the noise by some 9 dB.

    The floor is the least smoothed energy of the last two seconds (R. Martin, "Noise power spectral density
    estimation based on optimal smoothing and minimum statistics", 2001, without the spectrum): speech dips
    between syllables, noise does not, so talk does not raise the floor and a new steady noise is learnt in
    two seconds. `threshold` is the RMS taken for speech while the line is still unknown; no window under
    a fifth of it ever is (0.004, -48 dBov, by default: telephone speech is near 0.05).
    """

    OVER_FLOOR_DB = 8.0
    STEEPNESS_DB = 1.2
    BIAS_DB = 3.0  # a minimum lies under the mean of what it is taken of
    SMOOTHING = 0.5

    def __init__(self, rate_hz: int, threshold: float = 0.02) -> None:
        # Blocks of 8 windows of 32 ms; 8 blocks are two seconds.
        self._window_ms = 32.0
        self._least = threshold / 5
        start = threshold * 10 ** (-(self.OVER_FLOOR_DB + 2 * self.STEEPNESS_DB + self.BIAS_DB) / 20)
        self._blocks: deque[float] = deque([start], maxlen=8)
        self._current = math.inf
        self._count = 0
        self._power = 0.0
        self.rate_hz = rate_hz

    @property
    def floor(self) -> float:
        """The noise floor now, linear RMS."""
        return min(min(self._blocks), self._current) * 10 ** (self.BIAS_DB / 20)

    def feed(self, samples: NDArray[np.float32]) -> tuple[float, float]:
        """One window of 20..32 ms: (probability of speech, RMS level)."""
        power = float(np.dot(samples, samples)) / len(samples)
        level = math.sqrt(power)
        over = decibels(level) - decibels(self.floor)
        self._learn(power)
        if level < self._least:
            return 0.0, level
        return 1.0 / (1.0 + math.exp((self.OVER_FLOOR_DB - over) / self.STEEPNESS_DB)), level

    def _learn(self, power: float) -> None:
        self._power += self.SMOOTHING * (power - self._power)
        # Digital silence (a codec's, between talk spurts) says nothing of the noise under the speech.
        self._current = min(self._current, max(math.sqrt(self._power), self._least / 8))
        self._count += 1
        if self._count == 8:
            self._blocks.append(self._current)
            self._current, self._count = math.inf, 0


class _EnergyDetector:
    """One caller, answered at once. Implements SpeechDetector."""

    def __init__(self, vad: EnergyVad, window_samples: int, on_window: SpeechWindow) -> None:
        self.window_samples = window_samples
        self._vad = vad
        self._on_window: SpeechWindow | None = on_window

    def feed(self, samples: NDArray[np.float32]) -> None:
        if self._on_window is not None:
            self._on_window(*self._vad.feed(samples), samples)

    def close(self) -> None:
        self._on_window = None


class EnergyVoiceActivity:
    """Energy over an adaptive noise floor; needs no model and no thread. Implements VoiceActivity."""

    def __init__(self, threshold: float = 0.02) -> None:
        self._threshold = threshold

    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """Nothing to release."""

    def open(self, rate_hz: int, on_window: SpeechWindow) -> SpeechDetector:
        """`rate_hz` is 8000 or 16000."""
        if rate_hz not in (8000, 16000):
            raise ConfigError(f"voice activity is detected at 8000 or 16000 Hz, not {rate_hz}")
        return _EnergyDetector(EnergyVad(rate_hz, self._threshold), rate_hz * 32 // 1000, on_window)


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Somebody speaks, since `start_ms`; said at `at_ms`."""

    start_ms: float
    at_ms: float


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """Silence, since `end_ms`; said at `at_ms`."""

    end_ms: float
    at_ms: float


GateEvent: TypeAlias = SpeechStarted | SpeechStopped


class SpeechGate:
    """Hysteresis: speech held for `vad_start_secs` opens it, silence held for `vad_stop_secs` closes it.

    A window is speech from `vad_confidence` on, and stays so down to 0.15 under it (as Silero's own
    iterator does).
    """

    STOP_MARGIN = 0.15

    def __init__(self, settings: TurnSettings) -> None:
        self._start_at = settings.vad_confidence
        self._stop_below = max(settings.vad_confidence - self.STOP_MARGIN, 0.01)
        self._start_ms = settings.vad_start_secs * 1000.0
        self._stop_ms = settings.vad_stop_secs * 1000.0
        self._min_volume = settings.vad_min_volume
        self._since: float | None = None  # first window of speech of this stretch, or of one beginning
        self._last = 0.0  # end of the last window of speech
        self._last_before = 0.0  # the same, before the stretch now beginning
        self.open = False

    @property
    def speech_start_ms(self) -> float | None:
        """Where the present (or just beginning) stretch began."""
        return self._since

    @property
    def last_speech_ms(self) -> float:
        """The end of the last window that was speech. A blip under half the start time was none."""
        return self._last

    def reset(self) -> None:
        """Forget the present stretch; the next speech starts a new one."""
        self.open = False
        self._since = None

    def feed(self, probability: float, level: float, start_ms: float, end_ms: float) -> GateEvent | None:
        """One window, which lasted from `start_ms` to `end_ms`."""
        limit = self._start_at if self._since is None else self._stop_below
        if probability >= limit and level >= self._min_volume:
            return self._speech(start_ms, end_ms)
        return self._silence(end_ms, (end_ms - start_ms) / 2)

    def _speech(self, start_ms: float, end_ms: float) -> GateEvent | None:
        if self._since is None:
            self._since = start_ms
            self._last_before = self._last
        self._last = end_ms
        near = (end_ms - start_ms) / 2  # windows are coarse: to the nearest, not to the next
        if not self.open and end_ms - self._since >= self._start_ms - near:
            self.open = True
            return SpeechStarted(self._since, end_ms)
        return None

    def _silence(self, end_ms: float, slack_ms: float) -> GateEvent | None:
        """Time comes in whole windows: the nearest will do (`slack_ms` is half a window), not the next."""
        if not self.open:
            if self._since is not None and self._last - self._since < self._start_ms / 2:
                self._last = self._last_before
            self._since = None
            return None
        if end_ms - self._last < self._stop_ms - slack_ms:
            return None
        self.open = False
        self._since = None
        return SpeechStopped(self._last, end_ms)
