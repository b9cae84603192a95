"""Barge-in by its sound, back-channels by their words."""

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from voxray.settings import TurnSettings
from voxray.turns.backchannel import Verdict, is_backchannel, words_decide
from voxray.turns.bargein import BargeInDetector, Decision
from voxray.turns.silero import SileroModel

DATA = Path(__file__).parent / "data" / "turns"
SETTINGS = TurnSettings()


def recording(name):
    with wave.open(str(DATA / f"{name}.wav")) as reader:
        rate = reader.getframerate()
        pcm = np.frombuffer(reader.readframes(reader.getnframes()), "<i2").astype(np.float32) / 32768
    step = rate // 8000
    return pcm[: len(pcm) // step * step].reshape(-1, step).mean(axis=1)


class AcousticTests(SynchronousTestCase):
    model = SileroModel()

    def interrupted_ms(self, sound, settings=SETTINGS, spoken_at=None, noise=5e-4):
        """When the agent would be stopped, from the start of `sound`, after a second of line noise."""
        rng = np.random.default_rng(4)
        signal = np.concatenate([np.zeros(8192, np.float32), sound, np.zeros(4096, np.float32)])
        signal = (signal + rng.standard_normal(len(signal)) * noise).astype(np.float32)
        detector = BargeInDetector(settings)
        for _ in range(20 if spoken_at else 0):
            detector.overhear(0.95, spoken_at, np.full(256, noise, np.float32))
        for at in range(len(signal) // 256):
            window = signal[at * 256 : (at + 1) * 256]
            probability, level = self.model.run(8000, [0], [0] if at == 0 else [], [window])
            at_ms = (at + 1) * 32.0
            if detector.feed(float(probability[0]), float(level[0]), window, at_ms) is Decision.INTERRUPT:
                return at_ms - 8192 / 8
        return None

    def test_people_are_heard(self) -> None:
        """A person who speaks stops the agent; how soon is counted from the file's start, breath included."""
        for name, within_ms in (("dickens-times", 600), ("austen-amiable", 900)):
            at_ms = self.interrupted_ms(recording(name))
            self.assertIsNotNone(at_ms, name)
            self.assertLess(at_ms, within_ms, name)

    def test_noise_is_not(self) -> None:
        """White noise 20 dB under speech, mains hum, clicks and a burst of noise do not stop it."""
        rng = np.random.default_rng(5)
        time = np.arange(16000) / 8000
        burst = rng.standard_normal(16000) * np.exp(-time / 0.08) * 0.3
        for name, sound in (
            ("white", rng.standard_normal(16000) * 0.005),
            ("hum", 0.05 * np.sin(2 * np.pi * 100 * time)),
            ("clicks", np.where(rng.random(16000) < 0.001, 0.5, 0.0)),
            ("burst", burst),
        ):
            self.assertIsNone(self.interrupted_ms(sound.astype(np.float32)), name)

    def test_a_hum_is_not(self) -> None:
        """A murmur in two humps with a gliding pitch does not stop it, though it is a voice."""
        time = np.arange(5600) / 8000
        phase = 2 * np.pi * np.cumsum(np.linspace(110, 140, 5600)) / 8000
        murmur = sum(np.sin(n * phase) / n**2 for n in range(1, 12))
        hump = np.sqrt(np.abs(np.sin(np.pi * time / 0.35)))
        self.assertIsNone(self.interrupted_ms((murmur * hump * 0.1).astype(np.float32)))

    def test_a_voice_in_the_room(self) -> None:
        """Speech 20 dB under a normal talker, or under the caller once heard, does not stop it."""
        far = recording("dickens-times")
        far = far * 10 ** (-52 / 20) / np.sqrt((far**2).mean())
        self.assertIsNone(self.interrupted_ms(far))
        self.assertIsNone(self.interrupted_ms(far * 5, spoken_at=0.2))
        self.assertIsNotNone(self.interrupted_ms(far * 5, spoken_at=0.02))

    def test_a_quiet_caller(self) -> None:
        """Who has always been quiet is heard at that level."""
        quiet = recording("dickens-times")
        quiet = quiet * 10 ** (-44 / 20) / np.sqrt((quiet**2).mean())
        self.assertIsNotNone(self.interrupted_ms(quiet, spoken_at=10 ** (-44 / 20), noise=5e-5))

    def test_strategies(self) -> None:
        """Only the acoustic strategy interrupts by sound; the others leave it to the words, or to nobody."""
        sound = recording("dickens-times")
        for strategy in ("min_words", "none"):
            changed = replace(SETTINGS, interruption_strategy=strategy)
            self.assertIsNone(self.interrupted_ms(sound, changed))
        self.assertIsNone(self.interrupted_ms(sound, replace(SETTINGS, allow_interruptions=False)))

    def test_said_once(self) -> None:
        """One stretch of speech interrupts once."""
        rng = np.random.default_rng(6)
        sound = recording("dickens-times")
        detector = BargeInDetector(SETTINGS)
        said = []
        for at in range(len(sound) // 256):
            window = (sound[at * 256 : (at + 1) * 256] + rng.standard_normal(256) * 1e-4).astype(np.float32)
            said.append(detector.feed(0.95, 0.1, window, at * 32.0 + 32.0))
        self.assertEqual(said.count(Decision.INTERRUPT), 1)

    def test_reset_forgets_the_evidence(self) -> None:
        """When the agent begins to speak, what the caller said before is no barge-in."""
        sound = recording("dickens-times")
        detector = BargeInDetector(SETTINGS)
        for at in range(len(sound) // 256):
            if at % 4 == 0:
                detector.reset()
            window = sound[at * 256 : (at + 1) * 256].astype(np.float32)
            decision = detector.feed(0.95, 0.1, window, at * 32.0 + 32.0)
            self.assertIs(decision, Decision.NONE)

    def test_extremes(self) -> None:
        """Digital silence, full scale and probabilities of exactly 0 and 1 are survived."""
        detector = BargeInDetector(SETTINGS)
        for probability in (0.0, 1.0):
            for value in (0.0, 1.0, -1.0):
                for at in range(30):
                    detector.feed(probability, abs(value), np.full(256, value, np.float32), at * 32.0)


class WordTests(SynchronousTestCase):
    def test_backchannels(self) -> None:
        """What people say to show they listen."""
        for text in (
            "Mhm.",
            "mm-hmm",
            "Uh-huh!",
            "Yeah.",
            "yeah, okay",
            "I see.",
            "Oh, right, right.",
            "Hmm...",
        ):
            self.assertTrue(is_backchannel(text), text)
        for text, language in (
            ("Sí, claro.", "es"),
            ("Ja, genau", "de-DE"),
            ("D’accord", "fr"),  # noqa: RUF001
            ("ok", "xx"),
        ):
            self.assertTrue(is_backchannel(text, language), text)

    def test_others(self) -> None:
        """Words that want something, many words, and nothing at all."""
        for text in (
            "",
            "no",
            "Stop.",
            "wait",
            "yeah but",
            "okay what about Tuesday",
            "yes yes yes yes yes yes",
        ):
            self.assertFalse(is_backchannel(text), text)

    def test_decisions(self) -> None:
        """What an overlap turns out to be under each strategy."""
        resume, interrupt = Verdict.RESUME, Verdict.INTERRUPT
        for strategy, words, text, expected in (
            ("", 1, "", resume),
            ("", 1, "mhm", resume),
            ("", 1, "No.", interrupt),
            ("", 1, "Could you repeat that?", interrupt),
            ("min_words", 3, "hold on", resume),
            ("min_words", 3, "hold on please", interrupt),
            ("min_words", 1, "yeah", resume),
            ("none", 1, "Could you repeat that?", resume),
        ):
            settings = replace(SETTINGS, interruption_strategy=strategy, min_words=words)
            self.assertIs(words_decide(text, settings), expected, (strategy, text))
        off = replace(SETTINGS, allow_interruptions=False)
        self.assertIs(words_decide("Could you repeat that?", off), resume)
