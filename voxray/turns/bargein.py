"""Does the caller want the floor? Decided while the agent speaks, from a fifth of a second of sound.

Evidence is averaged over the windows of one stretch of speech: how sure the detector is, how much the
spectrum changes, how clear the pitch is, and whether there was a noise just before that was no speech (a
cough begins with one). From `FIRST_LOOK` windows (160 ms) on it is looked at after every window; talk goes
on to be talk, so the longer a stretch stays doubtful the more it must show. What is still doubtful but goes
on for `SURELY_SECS` is taken for talk; what ends before is left to the words (`voxray.turns.backchannel`).

The weights are a logistic regression (bench/turns.py says how well they do and on what): sentences of some
20 speakers, each counting alike, against people's coughs, throats cleared, sneezes, sighs, yawns and
synthetic hums, at telephone quality. A first fit on five professional voices noticed only 64 % of other
speakers in 300 ms: refit on many voices, and look at voices left out.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from voxray.settings import TurnSettings
from voxray.turns.acoustics import COUNT, WindowShape
from voxray.turns.vad import EnergyVad

FIRST_LOOK = 5  # windows
THRESHOLD = 0.25  # log odds at the first look
RISE = 0.15  # and for each window after, up to
RISE_MAX = 1.0
SURELY = 25  # windows: 800 ms
SURE_MEAN = 0.8

HEARD = 0.4  # a stretch goes on while the detector says at least this
LOUD_RATIO = 4.0  # 12 dB over the noise
ABOVE_NOISE = 2.0  # 6 dB: what a stretch must stand over the noise; voices in the caller's room do not
LOOK_BACK = 6  # windows before the stretch in which noise counts against it
PRE_MAX = 3

#                   sure  change  jumps  pitch  flat  high   hum  step
_MEANS = np.array([0.42, 17.16, -21.82, 6.43, 0.36, 0.34, -0.27, 1.09])
_LAST_SURE, _LEAST_SURE, _BURST, _BIAS = 1.07, 0.17, -0.07, -14.86
_HUM = 6  # the feature's place
HUM_MEAN = 0.55  # nearly all energy under 600 Hz: a closed mouth, whatever the rest says


class Decision(Enum):
    """What to do about the agent's speech."""

    NONE = "none"
    INTERRUPT = "interrupt"


class BargeInDetector:
    """One agent utterance or a whole call; `reset()` between. Feed it every window, in order."""

    def __init__(self, settings: TurnSettings, rate_hz: int = 8000) -> None:
        self._armed = settings.allow_interruptions and settings.interruption_strategy == ""
        self._min_volume = settings.vad_min_volume
        self._noise = EnergyVad(rate_hz, settings.vad_threshold)
        self._recent_loud: list[bool] = []
        self.started_ms: float | None = None
        """Start of the stretch now judged, media time."""
        self._begin()

    def reset(self) -> None:
        """The agent begins or ends speaking: what was heard so far is no evidence. The noise is kept."""
        self._recent_loud.clear()
        self._begin()

    def _begin(self) -> None:
        self._shape = WindowShape()
        self._sum = np.zeros(COUNT)
        self._count = 0
        self._least = np.inf
        self._burst = 0
        self._floor = 0.0
        self._levels = 0.0
        self._sure = 0.0
        self._decided = False
        self.started_ms = None

    def feed(self, probability: float, level: float, samples: NDArray[np.float32], at_ms: float) -> Decision:
        """One window that ended at `at_ms`. INTERRUPT is said once a stretch."""
        floor = self._noise.floor
        self._noise.feed(samples)
        if probability < HEARD or level < self._min_volume:
            if self._count:
                self._begin()
            self._recent_loud = [*self._recent_loud[-LOOK_BACK + 1 :], level > LOUD_RATIO * floor]
            return Decision.NONE
        if not self._armed or self._decided:
            return Decision.NONE
        if not self._count:
            self._burst = min(sum(self._recent_loud), PRE_MAX)
            self._recent_loud.clear()
            self._floor = floor
            self.started_ms = at_ms - 1000.0 * len(samples) / self._noise.rate_hz
        self._levels += level
        self._decided = self._judge(probability, self._shape.feed(probability, level, samples))
        return Decision.INTERRUPT if self._decided else Decision.NONE

    def _judge(self, probability: float, features: NDArray[np.float64]) -> bool:
        self._count += 1
        self._sum += features
        self._sure += probability
        self._least = min(self._least, float(features[0]))
        if self._count < FIRST_LOOK or self._levels < ABOVE_NOISE * self._floor * self._count:
            return False
        if self._count >= SURELY and self._sure / self._count > SURE_MEAN:
            return True
        if self._sum[_HUM] > HUM_MEAN * self._count:
            return False
        evidence = (
            float(_MEANS @ self._sum) / self._count
            + _LAST_SURE * float(features[0])
            + _LEAST_SURE * self._least
            + _BURST * self._burst
            + _BIAS
        )
        return evidence >= THRESHOLD + min(RISE * (self._count - FIRST_LOOK), RISE_MAX)
