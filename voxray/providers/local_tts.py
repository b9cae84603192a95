"""The offline Synthesizer: flite in a worker thread, espeak-ng where flite is missing.

A sentence is synthesized whole (some 70 ms) and handed out in blocks of 200 ms, so that a caller who
barges in stops it early. Silence is cut off in front, where it would only be latency, and shortened behind.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator

import numpy as np
from numpy.typing import NDArray
from twisted.logger import Logger

from voxray.audio.level import from_dbov, peak
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import CallInfo, Encoding, MediaFormat, Speech
from voxray.interfaces import Worker
from voxray.providers.espeak import Espeak
from voxray.providers.flite import VOICES, Flite, Spoken
from voxray.providers.offers import LOCAL_VOICE

BLOCK_MS = 200
LEAD_MS = 20  # silence left in front
TAIL_MS = 120  # silence left behind: the pause between two sentences
LEVEL_DBOV = -20.0  # RMS of the speech; a telephone's handset expects -26 to -18
PEAK = 0.89  # never louder than -1 dBov
_FRAME_MS = 10
_QUIET = 0.01  # of full scale, before levelling


def finished(spoken: Spoken) -> NDArray[np.int16]:
    """The speech without its outer silence, at -20 dBov. Nothing but silence gives nothing."""
    size = spoken.rate_hz * _FRAME_MS // 1000
    samples = spoken.samples
    if samples.size < size:
        return np.zeros(0, np.int16)
    frames = samples[: samples.size // size * size].reshape(-1, size).astype(np.float32) / np.float32(32_768)
    levels = np.sqrt((frames**2).mean(axis=1))
    loud = np.flatnonzero(levels > _QUIET)
    if not loud.size:
        return np.zeros(0, np.int16)
    first = max(0, int(loud[0]) - LEAD_MS // _FRAME_MS) * size
    last = (int(loud[-1]) + 1 + TAIL_MS // _FRAME_MS) * size
    speech = float(np.sqrt((levels[loud] ** 2).mean()))
    gain = min(from_dbov(LEVEL_DBOV) / speech, PEAK / peak(samples))
    levelled: NDArray[np.int16] = np.rint(samples[first:last] * gain).astype(np.int16)
    return levelled


class LocalSpeech:
    """Implements `interfaces.Synthesizer`. Voices: rms, slt, awb, kal16 (flite); espeak, espeak:LANGUAGE."""

    name = "local"
    log = Logger()

    def __init__(self, worker: Worker, voice: str = "") -> None:
        self._worker = worker
        self.model = voice or LOCAL_VOICE
        self._flite: Flite | None = None
        self._espeak: Espeak | None = None

    async def start(self) -> None:
        """Loads the voice. Raises ProviderError(UNAVAILABLE): unknown, or neither library is there."""
        await self._worker.run(self._load)
        self.log.info("speech synthesis is ready: {voice}", voice=self.model)

    async def warm_up(self) -> None:
        """Nothing to open: the voice stays loaded."""

    async def stop(self) -> None:
        """The libraries cannot be unloaded; the worker is stopped by whoever made it."""

    async def synthesize(self, text: str, call: CallInfo) -> AsyncGenerator[Speech, None]:
        """Blocks of 200 ms, all in one format; none for text without a word in it."""
        if not re.search(r"\w", text):
            return
        samples, media_format = await self._worker.run(lambda: self._spoken(text))
        step = media_format.rate_hz * BLOCK_MS // 1000
        for start in range(0, samples.size, step):
            yield Speech(samples[start : start + step].astype("<i2").tobytes(), media_format)

    def _spoken(self, text: str) -> tuple[NDArray[np.int16], MediaFormat]:
        """In the thread."""
        if self._flite is None and self._espeak is None:
            self._load()
        if self._flite is not None:
            spoken = self._flite.speak(text, self.model)
        else:
            assert self._espeak is not None
            spoken = self._espeak.speak(text, self._espeak_language())
        return finished(spoken), MediaFormat(Encoding.L16, spoken.rate_hz)

    def _espeak_language(self) -> str:
        kind, _, language = self.model.partition(":")
        return language if kind == "espeak" and language else "en-us"

    def _load(self) -> None:
        """In the thread."""
        if self.model.partition(":")[0] == "espeak":
            self._espeak = Espeak()
            self._espeak.speak("ready", self._espeak_language())
            return
        if self.model not in VOICES:
            known = ", ".join((*VOICES, "espeak"))
            raise ProviderError(
                self.name, ErrorKind.UNAVAILABLE, f"no voice {self.model!r}; there are {known}"
            )
        try:
            flite = Flite()
            flite.load(self.model)
            self._flite = flite
        except ProviderError as missing:
            self._fall_back(missing)

    def _fall_back(self, missing: ProviderError) -> None:
        try:
            self._espeak = Espeak()
        except ProviderError:
            raise missing from None
        self.log.warn("{missing}; speaking with espeak-ng until then", missing=str(missing))
        self.model = "espeak"
