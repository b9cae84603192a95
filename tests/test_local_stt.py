"""The offline recognizer, on recorded humans over a telephone line."""

from __future__ import annotations

import importlib.util
from unittest.mock import patch

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from tests.local_speech import (
    CALL,
    InlineWorker,
    by_telephone,
    finish,
    index,
    recording,
    word_error_rate,
    word_errors,
    words,
)
from voxray.audio.codec import codec_for
from voxray.audio.resample import resampled
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import ULAW_8K, Encoding, MediaFormat, Message, Utterance
from voxray.providers import moonshine, scenario
from voxray.providers.local_stt import MoonshineTranscriber, tidy
from voxray.providers.receptionist import reply

WER_BOUND = 0.09  # measured: 0.046 (8 kHz u-law, 0.4 s of silence around)


class TidyTests(SynchronousTestCase):
    """The transcript as one would write it."""

    def test_marks(self) -> None:
        """Doubled and trailing marks, stray spaces, marks alone."""
        for raw, clean in (
            ("If this is correct,, press,", "If this is correct, press."),
            ("two p M..", "two p M."),
            (" It was . It  was", "It was. It was"),
            ("?", ""),
            ("", ""),
            ("Hours,", "Hours."),
            ("It's 10,000 or 2.5.", "It's 10,000 or 2.5."),
        ):
            self.assertEqual(tidy(raw), clean)


class WordErrorTests(SynchronousTestCase):
    """The yardstick itself."""

    def test_counts(self) -> None:
        """Substitutions, insertions, deletions; numbers and marks do not count."""
        self.assertEqual(word_errors(words("a b c"), words("a x c d")), 2)
        self.assertEqual(word_errors(words("two P.M."), words("2 pm")), 0)
        self.assertEqual(word_error_rate([("a b", "a b"), ("c d", "")]), 0.5)


class MissingTests(SynchronousTestCase):
    """Without the package."""

    def test_not_installed(self) -> None:
        """Starting fails as UNAVAILABLE, with what to type."""
        with patch.object(moonshine.importlib, "import_module", side_effect=ImportError):
            error = self.assertRaises(ProviderError, finish, MoonshineTranscriber(InlineWorker()).start())
        self.assertIs(error.kind, ErrorKind.UNAVAILABLE)
        self.assertIn("pip install moonshine-voice==0.0.73", str(error))

    def test_broken(self) -> None:
        """A package that does not load is UNAVAILABLE, too, whatever it raises."""
        with patch.object(moonshine.importlib, "import_module", side_effect=OSError("libfoo")):
            error = self.assertRaises(ProviderError, finish, MoonshineTranscriber(InlineWorker()).start())
        self.assertIs(error.kind, ErrorKind.UNAVAILABLE)


class MoonshineTests(SynchronousTestCase):
    """The real engine; one model for all of these tests."""

    if importlib.util.find_spec("moonshine_voice") is None:
        skip = "moonshine-voice is not installed"
    shared: MoonshineTranscriber | None = None

    def setUp(self) -> None:
        if MoonshineTests.shared is None:
            MoonshineTests.shared = MoonshineTranscriber(InlineWorker())
            finish(MoonshineTests.shared.start())
        self.transcriber = MoonshineTests.shared

    def hear(self, utterance: Utterance) -> str:
        return finish(self.transcriber.transcribe(utterance, CALL)).text

    def test_word_error_rate_of_humans(self) -> None:
        """On all human recordings, by telephone, fewer than 9 words in 100 are wrong; none is empty."""
        pairs = [
            (entry["text"], self.hear(by_telephone(*recording(entry["id"]))))
            for entry in index()["recordings"]
            if entry["human"]
        ]
        self.assertEqual([meant for meant, heard in pairs if not heard], [])
        self.assertLess(word_error_rate(pairs), WER_BOUND)

    def test_silence_and_noise(self) -> None:
        """Silence, hiss, hum, a tone, a cough and a knock are no words."""
        random, time = np.random.default_rng(1), np.arange(16_000) / 8000
        signals = {
            "silence": np.zeros(16_000),
            "hiss": random.standard_normal(16_000) * 800,
            "loud hiss": random.standard_normal(16_000) * 6000,
            "hum": np.sin(2 * np.pi * 50 * time) * 3000,
            "tone": np.sin(2 * np.pi * 425 * time) * 9000,
        }
        for name, samples in signals.items():
            self.assertEqual(self.hear(by_telephone(np.int16(samples.clip(-32768, 32767)), 8000)), "", name)
        for id in ("cough", "knock"):
            self.assertEqual(self.hear(by_telephone(*recording(id))), "", id)

    def test_short_and_empty(self) -> None:
        """Too little audio for a word is no word, and does not reach the engine."""
        for payload in (b"", b"\x12", b"\x12" * 800):
            self.assertEqual(self.hear(Utterance(payload, ULAW_8K, 0.0, 0.0)), "")

    def test_other_formats(self) -> None:
        """A-law at 8 kHz and linear PCM at 8, 16 and 24 kHz are understood as well."""
        samples, rate = recording("go-forward")
        formats = [MediaFormat(Encoding.L16, wire_rate) for wire_rate in (8000, 16000, 24000)]
        for wire in (*formats, MediaFormat(Encoding.ALAW, 8000)):
            payload = codec_for(wire).encode(resampled(samples, rate, wire.rate_hz))
            self.assertEqual(self.hear(Utterance(payload, wire, 0.0, 0.0)), "Go forward ten meters.", wire)

    def test_swapped_recordings_swap_answers(self) -> None:
        """Nothing but the audio decides: two recordings exchanged exchange what is heard and answered."""

        def answers(first: str, second: str) -> list[str]:
            heard = [self.hear(by_telephone(*recording(id))) for id in (first, second)]
            own = scenario.load()
            return [reply(own, [Message("user", text)]).text for text in heard]

        one, two = answers("weasels", "terribly-wrong")
        self.assertIn("easels", one)
        self.assertIn("terribly wrong", two)
        self.assertEqual(answers("terribly-wrong", "weasels"), [two, one])

    def test_dialogue_books(self) -> None:
        """The recorded appointment, heard turn by turn, ends booked for Juliet, Monday at ten."""
        own, messages, said = scenario.load(), list[Message](), list[str]()
        for id in index()["dialogues"]["appointment"]:
            messages.append(Message("user", self.hear(by_telephone(*recording(id)))))
            answer = reply(own, messages)
            said.append(answer.text)
            messages.append(Message("assistant", answer.text))
        self.assertIn("Monday to Friday", said[0])
        self.assertIn("Juliet, you are booked for Monday at 10 AM", said[3])
        self.assertTrue(answer.end_call)

    def test_stopped(self) -> None:
        """After stop the model is freed, and a late utterance is refused."""
        own = MoonshineTranscriber(InlineWorker())
        finish(own.start())
        finish(own.stop())
        utterance = by_telephone(*recording("no"))
        error = self.assertRaises(ProviderError, finish, own.transcribe(utterance, CALL))
        self.assertIs(error.kind, ErrorKind.UNAVAILABLE)
