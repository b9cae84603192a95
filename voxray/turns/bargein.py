"""Does the caller want the floor? Decided while the agent speaks, from a fifth of a second of sound.

The last eight windows (256 ms) are kept. Once `FIRST_LOOK` of them have passed since the sound set in, each
further window is judged by two questions, and both must be answered yes: is it a voice (and not a cough, a
knock: they begin with noise), and does it talk (a hum has a clear pitch too, but its spectrum stays)? Sound
must be as loud as someone at the telephone: within 15 dB of how loud the caller has been, and 15 dB over the
noise. What is still doubtful but goes on for `SURELY_SECS` is taken for talk; what ends before is left to
the words (`voxray.turns.backchannel`).

The weights are two logistic regressions made by bench/fit_bargein.py from freely licensed recordings and
synthetic sounds; bench/turns.py says how well they do on others. On 832 barge-ins by five readers 94 % are
noticed within 270 ms; of synthetic "mhm"s 7 to 21 % stop the agent, of coughs at most 5 %, of noise 20 dB
under speech none. "Uh-huh" is speech by its sound and left to the words. `TALK_LEAST` trades the first for
the second: -2 notices 95 % in time and stops for twice as many hums.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from voxray.settings import TurnSettings
from voxray.turns.acoustics import Shape, shape_of
from voxray.turns.vad import EnergyVad, decibels

KEPT = 8  # windows
FIRST_LOOK = 6  # windows since the sound set in, itself counted
SURELY_SECS = 0.8
SURE_MEAN = 0.8

EVIDENT = 0.3  # judged only while the detector says at least this
VOICED = 0.25
LEAST_LOUD = 0.00316  # -50 dBov: no sound under it sets in
LOUD_RATIO = 4.0  # 12 dB over the noise, and so must it
FAR_RATIO = 5.6  # 15 dB: what the loudest window stands over the noise
NEAR_DB = -40.0  # and the level of all, as long as the caller has not been heard
NEAR_RANGE = (-50.0, -32.0)
UNDER_SPEECH_DB = 15.0
_LEVELS_FROM = 10  # windows of the caller's speech before its level is believed

VOICE = ("mean_sure", "voiced_share", "last_sure", "burst", "pitch")
TALK = ("change", "span", "open_mean", "open_most", "open_range", "pitch_change", "pitch_span", "hum")
# --- made by bench/fit_bargein.py ---
VOICE_WEIGHTS = np.array([0.95, 3.93, 0.77, 2.97, -0.74])
VOICE_BIAS = -4.75
TALK_WEIGHTS = np.array([3.57, -5.03, 0.68, -1.48, 1.06, 12.54, 4.10, -2.20])
TALK_BIAS = -5.49
# ------------------------------------
VOICE_LEAST = -1.5
TALK_LEAST = -1.5
LATE = 1.5  # more is asked of what did not show itself in the first `KEPT` windows


class Decision(Enum):
    """What to do about the agent's speech."""

    NONE = "none"
    INTERRUPT = "interrupt"


@dataclass(slots=True)
class _Heard:
    probability: float
    log_odds: float
    level: float
    loud: bool
    shape: Shape | None


class BargeInDetector:
    """One call. Feed it every window while the agent speaks, in order, and `overhear` the others."""

    def __init__(self, settings: TurnSettings, rate_hz: int = 8000) -> None:
        self._armed = settings.allow_interruptions and settings.interruption_strategy == ""
        self._min_volume = settings.vad_min_volume
        self._noise = EnergyVad(rate_hz, settings.vad_threshold)
        self._window_ms = 32.0
        self._recent: deque[_Heard] = deque(maxlen=KEPT)
        self._speech_db: float | None = None
        self._speech_windows = 0
        self.started_ms: float | None = None
        """Start of the sound now judged, media time."""
        self.reset()

    def reset(self) -> None:
        """The agent begins or ends speaking: what was heard so far is no evidence. Levels are kept."""
        self._recent.clear()
        self._lasting = self._sure = 0.0
        self._age = 0  # windows since the sound set in
        self._decided = False
        self.started_ms = None

    def overhear(self, probability: float, level: float, samples: NDArray[np.float32]) -> None:
        """A window while the agent is silent: how loud the caller is, and the noise."""
        self._noise.feed(samples)
        if probability < SURE_MEAN or level < LEAST_LOUD:
            return
        self._speech_windows += 1
        loud = decibels(level)
        before = loud if self._speech_db is None else self._speech_db
        self._speech_db = before + (loud - before) / min(self._speech_windows, 50)

    def feed(self, probability: float, level: float, samples: NDArray[np.float32], at_ms: float) -> Decision:
        """One window that ended at `at_ms`. INTERRUPT is said once a stretch."""
        floor = self._noise.floor
        self._noise.feed(samples)
        loud = level >= max(LEAST_LOUD, LOUD_RATIO * floor)
        odds = math.log((probability + 1e-3) / (1.001 - probability))
        shape = shape_of(samples) if loud and not self._decided else None
        self._recent.append(_Heard(probability, max(-4.0, min(4.0, odds)), level, loud, shape))
        self._age = self._age + 1 if any(h.loud for h in self._recent) else 0
        if probability < EVIDENT:
            self._lasting = self._sure = 0.0
            self._decided = self._decided and self._age > 0
            return Decision.NONE
        self._lasting += 1
        self._sure += probability
        if not self._armed or self._decided or level < self._min_volume:
            return Decision.NONE
        self._decided = self._judge(floor, at_ms)
        return Decision.INTERRUPT if self._decided else Decision.NONE

    def _judge(self, floor: float, at_ms: float) -> bool:
        heard = self._since_onset()
        self.started_ms = at_ms - self._age * self._window_ms
        if len(heard) < FIRST_LOOK or max(h.level for h in heard) < FAR_RATIO * floor:
            return False
        if math.sqrt(sum(h.level * h.level for h in heard) / len(heard)) < self._near():
            return False
        return self._decide(heard, at_ms)

    def _decide(self, heard: list[_Heard], at_ms: float) -> bool:
        found = evidence(heard)
        if found is None:
            return False
        if self._lasting * self._window_ms >= SURELY_SECS * 1000 and self._sure > SURE_MEAN * self._lasting:
            return talks(found[1])
        return is_talk(*found, LATE if self._age > KEPT else 0.0)

    def _since_onset(self) -> list[_Heard]:
        heard = list(self._recent)
        first = next((n for n, h in enumerate(heard) if h.loud), len(heard))
        return heard[first:]

    def _near(self) -> float:
        """The level under which a voice is not the caller's own."""
        db = NEAR_DB
        if self._speech_db is not None and self._speech_windows >= _LEVELS_FROM:
            db = min(max(self._speech_db - UNDER_SPEECH_DB, NEAR_RANGE[0]), NEAR_RANGE[1])
        return float(10 ** (db / 20))


def is_talk(voice: NDArray[np.float64], talk: NDArray[np.float64], more: float = 0.0) -> bool:
    """Both questions, by what `evidence` found; `more` is asked of both."""
    return float(voice @ VOICE_WEIGHTS) + VOICE_BIAS >= VOICE_LEAST + more and talks(talk, more)


def talks(talk: NDArray[np.float64], more: float = 0.0) -> bool:
    """A voice, but not a hum."""
    return float(talk @ TALK_WEIGHTS) + TALK_BIAS >= TALK_LEAST + more


def evidence(heard: list[_Heard]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The features of `VOICE` and of `TALK`, since the sound set in; None without a voice."""
    loud = [h for h in heard if h.loud]
    most = max(h.level for h in loud)
    voiced = [
        (n, h.level, h.shape)
        for n, h in enumerate(heard)
        if h.shape is not None and h.probability >= VOICED and h.level > 0.1 * most
    ]
    if not voiced:
        return None
    shapes = [s for _, _, s in voiced]
    opens = [s.openness for s in shapes]
    clear = [(n, s) for n, level, s in voiced if s.periodicity >= 0.6 and level > 0.2 * most]
    bands = np.array([s.bands for s in shapes])
    voice = [
        sum(h.log_odds for h in loud) / len(loud),
        len(voiced) / len(heard),
        heard[-1].log_odds,
        sum(h.probability < 0.2 for h in loud) / KEPT,
        sum(s.periodicity for s in shapes) / len(shapes),
    ]
    changes = _changes([(n, s) for n, _, s in voiced])
    pitched = sorted(_changes(clear))
    talk = [
        sum(min(c, 0.8) for c in changes) / max(len(changes), 1),
        min(_span(bands), 0.6),
        sum(opens) / len(opens),
        max(opens),
        max(opens) - min(opens),
        min(pitched[len(pitched) // 2], 0.6) if pitched else 0.3,
        min(_span(np.array([s.bands for _, s in clear])), 0.6) if len(clear) > 1 else 0.3,
        sum(o < -2.5 for o in opens) / len(opens),
    ]
    return np.array(voice), np.array(talk)


def _changes(shapes: list[tuple[int, Shape]]) -> list[float]:
    """How far the spectrum moved between windows that follow each other."""
    found = []
    for (n, before), (m, after) in pairwise(shapes):
        if m == n + 1:
            moved = after.bands - before.bands
            found.append(math.sqrt(float(moved @ moved) / len(moved)))
    return found


def _span(bands: NDArray[np.float64]) -> float:
    """How far it went in all."""
    around = bands - bands.sum(0) / len(bands)
    return math.sqrt(float((around * around).sum()) / around.size)
