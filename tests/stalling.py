"""A voice activity detector that gets stuck, as a thread does on a starved machine."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from voxray.interfaces import SpeechDetector, SpeechWindow
from voxray.turns.vad import EnergyVoiceActivity

Samples = NDArray[np.float32]


class StallingActivity(EnergyVoiceActivity):
    """Answers nothing while `stuck`; `go_on` answers all it was asked, and what is asked for that."""

    def __init__(self, threshold: float = 0.02) -> None:
        super().__init__(threshold)
        self.stuck = False
        self.asked: deque[tuple[SpeechDetector, Samples]] = deque()

    def open(self, rate_hz: int, on_window: SpeechWindow) -> SpeechDetector:
        return _Detector(self, super().open(rate_hz, on_window))

    def go_on(self) -> None:
        self.stuck = False
        while self.asked:
            detector, samples = self.asked.popleft()
            detector.feed(samples)


class _Detector:
    def __init__(self, owner: StallingActivity, detector: SpeechDetector) -> None:
        self.window_samples = detector.window_samples
        self._owner, self._detector = owner, detector

    def feed(self, samples: Samples) -> None:
        if self._owner.stuck:
            self._owner.asked.append((self._detector, samples))
        else:
            self._detector.feed(samples)

    def close(self) -> None:
        self._detector.close()
