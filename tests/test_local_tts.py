"""The offline voices: what comes out, how loud, how soon, and what is said when a library is missing."""

from __future__ import annotations

import ctypes
import importlib.util
from typing import Any
from unittest.mock import patch

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from tests.local_speech import CALL, InlineWorker, by_telephone, finish, missing, word_error_rate
from voxray.audio.level import dbov, rms
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import Encoding, MediaFormat, Speech
from voxray.providers import scenario
from voxray.providers.flite import Flite, Spoken
from voxray.providers.local_stt import MoonshineTranscriber
from voxray.providers.local_tts import LocalSpeech, finished

FLITE, ESPEAK = "libflite.so.1", "libespeak-ng.so.1"
SENTENCE = "Hello, thanks for calling. How can I help you?"


def speak(synthesizer: LocalSpeech, text: str) -> list[Speech]:
    async def collect() -> list[Speech]:
        return [piece async for piece in synthesizer.synthesize(text, CALL)]

    return finish(collect())


def joined(pieces: list[Speech]) -> np.ndarray[Any, np.dtype[np.int16]]:
    return np.frombuffer(b"".join(piece.payload for piece in pieces), "<i2")


def without(*libraries: str) -> Any:
    """As on a machine that lacks these libraries."""
    real = ctypes.CDLL

    def load(name: str, *args: Any, **kwargs: Any) -> Any:
        if name in libraries:
            raise OSError(f"{name}: cannot open shared object file")
        return real(name, *args, **kwargs)

    return patch.object(ctypes, "CDLL", load)


class FinishedTests(SynchronousTestCase):
    """Trimming and levelling, on made-up audio."""

    def tone(self, lead: float, tail: float, level: float = 3000) -> Spoken:
        parts = (np.zeros(int(16_000 * lead)), np.ones(8000) * level, np.zeros(int(16_000 * tail)))
        return Spoken(np.concatenate(parts).astype(np.int16), 16_000)

    def test_outer_silence(self) -> None:
        """20 ms of silence are left in front, 120 ms behind, however much there was."""
        out = finished(self.tone(0.3, 0.4))
        self.assertEqual(int(np.flatnonzero(out)[0]), 320)
        self.assertEqual(out.size, 320 + 8000 + 1920)
        self.assertEqual(finished(self.tone(0, 0)).size, 8000)

    def test_level(self) -> None:
        """Loud and soft voices end at -20 dBov."""
        for level in (900, 3000, 15_000):
            out = finished(self.tone(0, 0, level))
            self.assertLess(abs(dbov(rms(out)) + 20.0), 0.1)

    def test_peaks(self) -> None:
        """A voice with high peaks stays softer rather than clipping."""
        samples = np.ones(8000, np.int16) * 500
        samples[4000] = 30_000
        self.assertLessEqual(int(finished(Spoken(samples, 16_000)).max()), int(0.9 * 32768))

    def test_nothing(self) -> None:
        """Silence, or less than a frame, is nothing to say."""
        for samples in (np.zeros(0, np.int16), np.zeros(9, np.int16), np.zeros(5000, np.int16)):
            self.assertEqual(finished(Spoken(samples, 16_000)).size, 0)


class MissingTests(SynchronousTestCase):
    """Without libraries, and with wrong names."""

    def test_nothing_installed(self) -> None:
        """Without flite and espeak-ng starting is UNAVAILABLE, with what to type."""
        with without(FLITE, ESPEAK):
            error = self.assertRaises(ProviderError, finish, LocalSpeech(InlineWorker()).start())
        self.assertIs(error.kind, ErrorKind.UNAVAILABLE)
        self.assertIn("apt-get install libflite1", str(error))

    def test_unknown_voice(self) -> None:
        """A voice nobody has is refused with the names there are."""
        error = self.assertRaises(ProviderError, finish, LocalSpeech(InlineWorker(), "bob").start())
        self.assertIn("rms, slt, awb, kal16, espeak", str(error))

    def test_falls_back_to_espeak(self) -> None:
        """Without flite espeak-ng speaks, at its own rate."""
        if reason := missing(ESPEAK):
            self.skipTest(reason)
        synthesizer = LocalSpeech(InlineWorker())
        with without(FLITE):
            finish(synthesizer.start())
        pieces = speak(synthesizer, SENTENCE)
        self.assertEqual({piece.media_format for piece in pieces}, {MediaFormat(Encoding.L16, 22_050)})
        self.assertTrue(1.5 < joined(pieces).size / 22_050 < 6)
        self.assertEqual(synthesizer.model, "espeak")


class FliteTests(SynchronousTestCase):
    """The default voice."""

    if _reason := missing(FLITE):
        skip = _reason

    def setUp(self) -> None:
        self.synthesizer = LocalSpeech(InlineWorker())
        finish(self.synthesizer.start())

    def test_blocks(self) -> None:
        """A sentence comes in blocks of 200 ms (the last is shorter) of 16 kHz linear audio."""
        pieces = speak(self.synthesizer, SENTENCE)
        self.assertEqual({piece.media_format for piece in pieces}, {MediaFormat(Encoding.L16, 16_000)})
        self.assertEqual({len(piece.payload) for piece in pieces[:-1]}, {6400})
        self.assertTrue(0 < len(pieces[-1].payload) <= 6400)

    def test_starts_soon(self) -> None:
        """Speech begins within 60 ms of the first sample: silence in front is latency."""
        samples = joined(speak(self.synthesizer, SENTENCE))
        self.assertLess(int(np.flatnonzero(np.abs(samples) > 800)[0]), 960)

    def test_nothing_to_say(self) -> None:
        """Text without a word gives no audio."""
        for text in ("", "  ", "...", "\u2026!"):
            self.assertEqual(speak(self.synthesizer, text), [])

    def test_typography(self) -> None:
        """Typographic quotes, dashes, accents and NUL are spoken as their plain kin."""
        flite = Flite()
        for fancy, plain in (("It\u2019s", "It's"), ("caf\u00e9", "cafe"), ("a\0b", "a b")):
            # The voices draw random excitation: only the lengths are the same each time.
            self.assertEqual(flite.speak(fancy).samples.size, flite.speak(plain).samples.size, fancy)

    def test_voices_differ(self) -> None:
        """Each voice is its own."""
        sizes = {
            voice: Flite().speak(SENTENCE, voice).samples.size for voice in ("rms", "slt", "awb", "kal16")
        }
        self.assertEqual(len(set(sizes.values())), 4)

    def test_closing_early(self) -> None:
        """A consumer that stops after the first block is no trouble."""

        async def first() -> Speech:
            stream = self.synthesizer.synthesize(SENTENCE, CALL)
            try:
                return await anext(stream)
            finally:
                await stream.aclose()

        self.assertEqual(len(finish(first()).payload), 6400)

    def test_understood_by_telephone(self) -> None:
        """What the receptionist says is understood by the recognizer after u-law: WER under 0.25."""
        if importlib.util.find_spec("moonshine_voice") is None:
            self.skipTest("moonshine-voice is not installed")
        own = scenario.load()
        values = {"day": "Monday", "time": "10 AM", "name": "Victor", "said": "good morning", "question": ""}
        phrases = [own.fill(text, **values) for text in (*own.lines.values(), *(f.answer for f in own.facts))]
        transcriber = MoonshineTranscriber(InlineWorker())
        finish(transcriber.start())
        pairs = []
        for phrase in phrases:
            spoken = by_telephone(joined(speak(self.synthesizer, phrase)), 16_000)
            pairs.append((phrase, finish(transcriber.transcribe(spoken, CALL)).text))
        finish(transcriber.stop())
        self.assertLess(word_error_rate(pairs), 0.25)
