"""The offline Transcriber: Moonshine in a worker thread. English.

Telephone audio is brought to the model's 16 kHz by our own resampler. The library takes 8 kHz as well:
of our recordings' words .036 are then wrong against .046 on a silent line, but .072 against .053 with hiss at
-61 dBov, which lines have (`bench/local_engines.py`).
"""

from __future__ import annotations

import re
from queue import Empty, LifoQueue

import numpy as np
from twisted.logger import Logger

from voxray.audio.codec import codec_for
from voxray.audio.resample import resampled
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import CallInfo, Transcript, Utterance
from voxray.interfaces import Worker
from voxray.providers.moonshine import RATE_HZ, Moonshine, SpeechGate
from voxray.providers.offers import MOONSHINE_MODEL

LEAST_MS = 120.0  # shorter is no word
_LANGUAGE = "en"


def tidy(text: str) -> str:
    """A transcript as one would write it: no doubled marks, no spaces before them, no trailing comma.

    >>> tidy("If this is correct,, press,")
    'If this is correct, press.'
    """
    text = " ".join(text.split())
    text = re.sub(r"\s+([,.!?])", r"\1", text)
    text = re.sub(r"([.!?])[,.!?]+", r"\1", text)
    text = re.sub(r",+([.!?]?)", lambda found: found[1] or ",", text)
    text = re.sub(r"([,.!?])(?=[A-Za-z]{2})", r"\1 ", text)
    text = re.sub(r",$", ".", text)
    return "" if not re.search(r"\w", text) else text


class _Ears:
    """What one thread needs for one utterance at a time."""

    def __init__(self) -> None:
        self.gate = SpeechGate()
        self.model = Moonshine()

    def hear(self, utterance: Utterance) -> str:
        """Blocking; the upsampling, too, is left to the thread."""
        codec = codec_for(utterance.media_format)
        rate = utterance.media_format.rate_hz
        samples = codec.decode(utterance.payload)
        wide = resampled(samples, rate, RATE_HZ).astype(np.float32) / np.float32(32_768)
        if not self.gate.holds_speech(wide, RATE_HZ):
            return ""
        return tidy(self.model.transcribe(wide))

    def close(self) -> None:
        self.model.close()


class MoonshineTranscriber:
    """Implements `interfaces.Transcriber`. As many models are loaded as the worker has busy threads."""

    name = "local"
    model = MOONSHINE_MODEL

    log = Logger()

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._free: LifoQueue[_Ears] = LifoQueue()
        self._stopped = False

    async def start(self) -> None:
        """Loads the model, and runs it once: the first run is the slow one. Raises ProviderError."""

        def load() -> None:
            ears = _Ears()
            ears.model.transcribe(np.zeros(RATE_HZ, np.float32))
            self._free.put(ears)

        await self._worker.run(load)
        self.log.info("speech recognition is ready: {model}", model=self.model)

    async def warm_up(self) -> None:
        """Nothing to open: the model stays loaded."""

    async def stop(self) -> None:
        """Frees the models that are not at work; one at work is freed when it is done."""
        self._stopped = True
        self._free_all()

    async def transcribe(self, utterance: Utterance, call: CallInfo) -> Transcript:
        """Raises ProviderError(OVERLOADED) when too many callers wait."""
        if codec_for(utterance.media_format).duration_ms(utterance.payload) < LEAST_MS:
            return Transcript("", language=_LANGUAGE)
        text = await self._worker.run(lambda: self._hear(utterance))
        return Transcript(text, language=_LANGUAGE)

    def _hear(self, utterance: Utterance) -> str:
        """In the thread."""
        if self._stopped:
            raise ProviderError(self.name, ErrorKind.UNAVAILABLE, "stopped")
        try:
            ears = self._free.get_nowait()
        except Empty:
            ears = _Ears()
        try:
            return ears.hear(utterance)
        finally:
            self._free.put(ears)
            self._free_if_stopped()

    def _free_if_stopped(self) -> None:
        if self._stopped:
            self._free_all()

    def _free_all(self) -> None:
        while True:
            try:
                self._free.get_nowait().close()
            except Empty:
                return
