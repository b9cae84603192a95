"""Keys of who speaks when, from the document to what is transcribed, interrupted and said."""

from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from tests.house import House, Line
from tests.test_call_call import human
from voxray.audio.g711 import linear_to_ulaw
from voxray.frames import TextDelta

LEAD_SECS = 0.8  # the line is quiet first
WINDOW_SECS = 0.032
SENTENCE = human("dickens-wisdom")
NUMBERS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"


def tone(rms: float) -> bytes:
    """20 ms at a level (RMS of 1)."""
    samples = 32_768 * rms * np.sqrt(2) * np.sin(np.arange(160) * 2 * np.pi / 8)
    return linear_to_ulaw(samples.astype(np.int16))


class TurnCase(SynchronousTestCase):
    def line(self, **document: object) -> tuple[House, Line]:
        """A call whose line has been quiet for a moment."""
        house = House(self, document, [TextDelta(NUMBERS)], [TextDelta("Yes.")])
        line = house.dial()
        line.silence(LEAD_SECS)
        return house, line

    def heard(self, packet: bytes, secs: float = 0.8, **document: object) -> bool:
        """Whether so long a tone is a turn to a daemon so configured."""
        house, line = self.line(**document)
        line.tone(secs, packet)
        line.silence(1.5)
        return bool(house.stt.asked)

    def wait(self, most_secs: float = 4.0, **document: object) -> float:
        """Seconds from the end of a tone until the transcriber is asked."""
        house, line = self.line(**document)
        line.tone(0.8)
        ended = house.reactor.seconds()
        while not house.stt.asked:
            line.silence(0.02)
            self.assertLess(house.reactor.seconds() - ended, most_secs)
        return house.reactor.seconds() - ended

    def about(self, found: float, wanted: float) -> None:
        """To two windows."""
        self.assertTrue(wanted - WINDOW_SECS <= found <= wanted + 2 * WINDOW_SECS, (found, wanted))


class EndpointingTests(TurnCase):
    def test_turn_stop_secs(self) -> None:
        """So much silence ends the turn."""
        for secs in (0.4, 0.6, 1.2):
            self.about(self.wait(turn_stop_secs=secs), secs)

    def test_turn_detection(self) -> None:
        """Either word, and silence ends the turn."""
        for word in ("none", "silence"):
            self.about(self.wait(turn_detection=word), 0.6)

    def test_vad_stop_secs(self) -> None:
        """So much silence is a pause, at which transcribing begins early."""
        for secs in (0.2, 0.5, 0.9):
            self.about(self.wait(vad_stop_secs=secs, eager_transcription=True, turn_stop_secs=2), secs)

    def test_eager_transcription(self) -> None:
        """On: asked at the first pause, and not again at the turn's end; off: at the turn's end."""
        self.about(self.wait(eager_transcription=True), 0.2)
        self.about(self.wait(eager_transcription=False), 0.6)
        house, line = self.line(eager_transcription=True)
        line.tone(0.8)
        line.silence(1.5)
        self.assertEqual(len(house.stt.asked), 1)

    def test_turn_pre_speech_ms(self) -> None:
        """What is transcribed begins so long before the speech."""
        for padding_ms in (0, 100, 500):
            house, line = self.line(turn_pre_speech_ms=padding_ms)
            line.tone(0.8)
            line.silence(1.0)
            [(utterance, _)] = house.stt.asked
            samples = np.frombuffer(utterance.payload, np.uint8)
            loud = np.flatnonzero((samples & 0x70) < 0x40)  # u-law: the segment tells the level
            self.about(float(loud[0]) / 8000, padding_ms / 1000)

    def test_turn_max_duration_secs(self) -> None:
        """A longer turn is transcribed in pieces of at most so long."""
        for most_secs, pieces in ((0.5, 4), (8, 1)):
            house, line = self.line(turn_max_duration_secs=most_secs)
            line.tone(1.5)
            line.silence(1.0)
            lengths = [u.end_ms - u.start_ms for u, _ in house.stt.asked]
            self.assertEqual(len(lengths), pieces, lengths)
            self.assertLessEqual(max(lengths), most_secs * 1000 + 40)

    def test_user_turn_stop_timeout_secs(self) -> None:
        """Packets cease in the middle of speech: so long after the last one the turn is over."""
        for secs in (1.5, 3):
            house, line = self.line(user_turn_stop_timeout_secs=secs)
            line.tone(0.8)
            house.pass_time(secs - 0.1)
            self.assertEqual(house.stt.asked, [])
            house.pass_time(0.7)
            self.assertEqual(len(house.stt.asked), 1)


class DetectorTests(TurnCase):
    def voice(self, **document: object) -> bool:
        """Whether a person's sentence is a turn."""
        house, line = self.line(**document)
        line.hear(SENTENCE)
        line.silence(1.5)
        return bool(house.stt.asked)

    def test_vad_type(self) -> None:
        """To silero a loud tone is no speech, a person is; to the energy detector both are."""
        for kind, tone_heard in (("silero", False), ("energy", True)):
            self.assertEqual(self.heard(tone(0.2), vad_type=kind), tone_heard, kind)
            self.assertTrue(self.voice(vad_type=kind), kind)

    def test_vad_confidence(self) -> None:
        """Silero is never wholly sure: at 1 nobody is heard."""
        self.assertTrue(self.voice(vad_type="silero", vad_confidence=0.7))
        self.assertFalse(self.voice(vad_type="silero", vad_confidence=1.0))

    def test_vad_threshold(self) -> None:
        """What is far below it is no speech to the energy detector."""
        for threshold, heard in ((0.02, True), (0.3, False)):
            self.assertEqual(self.heard(tone(0.03), vad_threshold=threshold), heard)
            self.assertTrue(self.heard(tone(0.3), vad_threshold=threshold))

    def test_vad_min_volume(self) -> None:
        """What is softer is no speech, whatever the detector says."""
        for least, heard in ((0.0, True), (0.04, True), (0.06, False)):
            self.assertEqual(self.heard(tone(0.05), vad_min_volume=least), heard, least)

    def test_vad_start_secs_vad(self) -> None:
        """A sound shorter than this is no speech."""
        for start_secs, heard in ((0.1, True), (0.2, True), (0.5, False)):
            self.assertEqual(self.heard(tone(0.2), 0.3, vad_start_secs_vad=start_secs), heard, start_secs)


class InterruptionTests(TurnCase):
    def speaking(self, **document: object) -> tuple[House, Line]:
        """The agent is a second into its numbers."""
        house, line = self.line(**document)
        line.press("1#")
        line.silence(0.5)
        self.assertEqual(line.said, [NUMBERS])
        return house, line

    def words_over(self, words: str, **document: object) -> Line:
        """The caller says `words` over the agent, with a sound that means nothing to it."""
        _, line = self.speaking(**document)
        line.tone(0.4)
        line.silence(0.7)
        if "clear" not in line.kinds():
            line.answer(words)
        return line

    def test_allow_interruptions(self) -> None:
        """On: speech stops the agent at once; off: it finishes, and answers what was said then."""
        _, line = self.speaking()
        line.hear(SENTENCE[8:])
        self.assertEqual(line.kinds()[-1], "clear")
        _, line = self.speaking(allow_interruptions=False)
        line.hear(SENTENCE[:40])
        line.silence(0.7)
        line.answer("What about Monday?")
        line.silence(1.5)
        self.assertNotIn("clear", line.kinds())
        self.assertEqual(len(line.audio), 17 * 800)
        self.assertEqual(line.said, [NUMBERS, "Yes."])

    def test_interruption_strategy(self) -> None:
        """Empty: the sound of speech is enough; `min_words`: its words decide; `none`: nothing stops it."""
        for strategy, by_sound, by_words in (
            ("", True, True),
            ("min_words", False, True),
            ("none", False, False),
        ):
            _, line = self.speaking(interruption_strategy=strategy)
            line.hear(SENTENCE[8:])
            self.assertEqual("clear" in line.kinds(), by_sound, strategy)
            line = self.words_over("Wait, stop right there.", interruption_strategy=strategy)
            self.assertEqual("clear" in line.kinds(), by_words, strategy)

    def test_min_words(self) -> None:
        """Fewer words do not stop the agent."""
        for least, words, stopped in (
            (1, "Stop.", True),
            (3, "Stop it.", False),
            (3, "Stop it now.", True),
        ):
            line = self.words_over(words, interruption_strategy="min_words", min_words=least)
            self.assertEqual("clear" in line.kinds(), stopped, words)

    def test_resume_false_interruption(self) -> None:
        """Stopped by what turned out to be no turn: it goes on where it was stopped, or not."""
        for resumes in (True, False):
            _, line = self.speaking(resume_false_interruption=resumes)
            line.hear(SENTENCE[8:])
            self.assertIn("clear", line.kinds())
            line.silence(0.8)
            line.answer("")
            line.silence(2.0)
            self.assertEqual(self.went_on(line), resumes)
            _, line = self.speaking(resume_false_interruption=resumes)
            line.hear(SENTENCE[8:])
            line.silence(0.8)
            line.answer("Okay.")  # a nod: what is not resumed is answered, or nobody would speak
            line.silence(2.0)
            self.assertEqual((self.went_on(line), line.said[-1] == "Yes."), (resumes, not resumes))
            _, line = self.speaking(resume_false_interruption=resumes, vad_start_secs_vad=1)
            line.hear(SENTENCE[8:30])  # enough to stop it, too short to be a turn
            self.assertIn("clear", line.kinds())
            line.silence(4.0)
            self.assertEqual(self.went_on(line), resumes)

    def went_on(self, line: Line) -> bool:
        return len(line.said) == 2 and line.said[1].endswith("fifteen sixteen")

    def test_no_resumption_while_the_turn_is_open(self) -> None:
        """The caller interrupts, speaks for long and takes a breath: the agent does not talk into it."""
        for phase in range(4):  # of the check, which comes every half second
            _, line = self.speaking(turn_stop_secs=1.2)
            line.silence(0.12 * phase)
            line.hear(SENTENCE[8:])
            self.assertIn("clear", line.kinds())
            sent = len(line.audio)
            line.silence(1.1)
            self.assertEqual(len(line.audio), sent)
