"""Turns: when they begin, pause, are cut and end."""

from dataclasses import replace

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.trial.unittest import SynchronousTestCase

from voxray.settings import TurnSettings
from voxray.turns.endpointing import (
    Completeness,
    Endpointer,
    TurnEnded,
    TurnPaused,
    TurnPiece,
    TurnResumed,
    TurnStarted,
    completeness,
)

MS = 32.0
SETTINGS = TurnSettings()


class Call:
    """An endpointer and its media time."""

    def __init__(self, settings=SETTINGS) -> None:
        self.endpointer = Endpointer(settings)
        self.count = 0
        self.events = []

    @property
    def now(self) -> float:
        return self.count * MS

    def hear(self, probability: float, windows: int):
        heard = []
        for _ in range(windows):
            heard += self.endpointer.feed(probability, 0.1, self.now, self.now + MS)
            self.count += 1
        self.events += heard
        return heard


def kinds(events):
    return [type(e) for e in events]


class TurnTests(SynchronousTestCase):
    def test_one_turn(self) -> None:
        """Speech and silence make one turn, from the first window of speech to the last."""
        call = Call()
        call.hear(0.0, 10)
        call.hear(0.9, 30)
        call.hear(0.0, 40)
        self.assertEqual(kinds(call.events), [TurnStarted, TurnPaused, TurnEnded])
        ended = call.events[-1]
        self.assertEqual((ended.start_ms, ended.end_ms), (10 * MS, 40 * MS))

    def test_the_wait_counts_from_the_last_speech(self) -> None:
        """`stop_secs` has the detector's stop time in it: a turn ends 0.6 s after the last word, not 0.8."""
        call = Call()
        call.hear(0.9, 30)
        call.hear(0.0, 40)
        ended = call.events[-1]
        self.assertGreaterEqual(ended.at_ms - ended.end_ms, 600)
        self.assertLess(ended.at_ms - ended.end_ms, 600 + MS)

    def test_a_short_pause_is_no_end(self) -> None:
        """Half a second of thought stays within the turn."""
        call = Call()
        call.hear(0.9, 30)
        call.hear(0.0, 15)
        call.hear(0.9, 30)
        self.assertEqual(kinds(call.events), [TurnStarted, TurnPaused, TurnResumed])

    def test_speech_beginning_again_holds_the_turn(self) -> None:
        """Speech that sets in just before the wait is over keeps the turn, though it is not confirmed yet."""
        call = Call()
        call.hear(0.9, 30)
        call.hear(0.0, 17)
        call.hear(0.9, 10)
        self.assertNotIn(TurnEnded, kinds(call.events))

    def test_unfinished_words_are_waited_out(self) -> None:
        """After "my number is" the turn is held 1.4 s; after a full sentence 0.6 s."""
        for text, wait in (("My number is", 1400), ("I'd like to book a table.", 600)):
            call = Call()
            call.hear(0.9, 30)
            call.hear(0.0, 8)
            call.endpointer.hint(text)
            call.hear(0.0, 60)
            ended = call.events[-1]
            self.assertIsInstance(ended, TurnEnded)
            self.assertLess(abs(ended.at_ms - ended.end_ms - wait), MS, text)

    def test_a_hint_is_forgotten_when_the_caller_goes_on(self) -> None:
        """Early words say nothing of what was said after them."""
        call = Call()
        call.hear(0.9, 30)
        call.hear(0.0, 8)
        call.endpointer.hint("my number is")
        call.hear(0.9, 30)
        call.hear(0.0, 60)
        ended = call.events[-1]
        self.assertLess(ended.at_ms - ended.end_ms, 600 + MS)

    def test_a_late_hint_changes_nothing(self) -> None:
        """Words that come when the turn is over, or while the caller speaks, move no wait."""
        call = Call()
        call.endpointer.hint("my number is")
        call.hear(0.9, 30)
        call.endpointer.hint("my number is")
        call.hear(0.0, 30)
        self.assertLess(call.events[-1].at_ms - call.events[-1].end_ms, 600 + MS)

    def test_a_long_turn_is_cut_into_pieces(self) -> None:
        """No piece is longer than the greatest duration, they join without a gap, and the turn stays one."""
        call = Call(replace(SETTINGS, max_duration_secs=2.0))
        call.hear(0.9, 200)
        call.hear(0.0, 40)
        pieces = [e for e in call.events if isinstance(e, TurnPiece)]
        self.assertEqual(len(pieces), 3)
        self.assertEqual(kinds(call.events).count(TurnEnded), 1)
        edges = [0.0] + [p.end_ms for p in pieces]
        self.assertEqual([p.start_ms for p in pieces], edges[:-1])
        self.assertTrue(all(p.end_ms - p.start_ms < 2000 + MS for p in pieces))
        self.assertEqual(call.events[-1].start_ms, edges[-1])

    def test_a_cut_falls_into_a_breath(self) -> None:
        """From three quarters of the greatest duration on, a silent window is taken for the cut."""
        call = Call(replace(SETTINGS, max_duration_secs=2.0))
        call.hear(0.9, 50)
        call.hear(0.0, 1)
        self.assertEqual(kinds(call.events), [TurnStarted, TurnPiece])

    def test_no_audio_any_more(self) -> None:
        """The call's timer ends a turn whose audio stopped coming; without a turn there is nothing to end."""
        call = Call()
        self.assertIsNone(call.endpointer.force_end(0.0))
        call.hear(0.9, 30)
        ended = call.endpointer.force_end(call.now + 5000)
        self.assertEqual((ended.start_ms, ended.end_ms), (0.0, 30 * MS))
        self.assertFalse(call.endpointer.in_turn)
        call.hear(0.9, 10)
        self.assertTrue(call.endpointer.in_turn)


class TurnMachine(RuleBasedStateMachine):
    """Any mixture of speech, silence, noise, hints and forced ends."""

    def __init__(self) -> None:
        super().__init__()
        self.call = Call(replace(SETTINGS, max_duration_secs=3.0))
        self.in_turn = False
        self.covered = 0.0
        self.silent = 0

    def check(self, events) -> None:
        for event in events:
            if isinstance(event, TurnStarted):
                assert not self.in_turn
                assert event.start_ms >= self.covered
                self.in_turn = True
            else:
                assert self.in_turn
            if isinstance(event, (TurnPiece, TurnEnded)):
                assert self.covered <= event.start_ms <= event.end_ms <= event.at_ms
                self.covered = event.end_ms
            if isinstance(event, TurnEnded):
                self.in_turn = False

    @rule(probability=st.floats(0, 1), windows=st.integers(1, 120))
    def hear(self, probability: float, windows: int) -> None:
        for _ in range(windows):
            self.check(self.call.hear(probability, 1))
            self.silent = self.silent + 1 if probability < 0.5 else 0
            # 1.4 s of silence (the longest wait) and a window end any turn.
            assert not (self.in_turn and self.silent * MS > 1400 + MS)

    @rule(text=st.sampled_from(["and", "Yes.", "my number is", "", "What time is it?"]))
    def hint(self, text: str) -> None:
        self.call.endpointer.hint(text)

    @rule()
    def lost(self) -> None:
        ended = self.call.endpointer.force_end(self.call.now)
        assert (ended is not None) == self.in_turn
        self.check([ended] if ended else [])

    @invariant()
    def agrees(self) -> None:
        assert self.call.endpointer.in_turn == self.in_turn


TurnMachine.TestCase.settings = hypothesis_settings(max_examples=40, stateful_step_count=20, deadline=None)


class TurnMachineTests(SynchronousTestCase):
    def test_machine(self) -> None:
        """No two starts without an end, pieces in order without overlap, and a bounded wait."""
        TurnMachine.TestCase("runTest").runTest()


class CompletenessTests(SynchronousTestCase):
    def test_unfinished(self) -> None:
        """Dangling words, commas, lead-ins and numbers half dictated."""
        for text in (
            "I'd like to book an appointment for",
            "Hello, my name is",
            "and",
            "On Tuesday,",
            "My number is.",
            "five five five",
            "It's 555 12",
            "I was wondering if",
            "So um",
            "my phone number",
        ):
            self.assertIs(completeness(text), Completeness.UNFINISHED, text)

    def test_finished(self) -> None:
        """Questions, full sentences, short answers."""
        for text in (
            "What are your hours?",
            "What is it for?",
            "I'd like an appointment on Tuesday.",
            "Yes.",
            "no",
            "Thank you, goodbye.",
            "I think so.",
            "My number is 555 123 4567.",
            "Yes, it is.",
        ):
            self.assertIs(completeness(text), Completeness.FINISHED, text)

    def test_unknown(self) -> None:
        """Nothing, or words that could go either way."""
        for text in ("", "?!", "Tuesday afternoon", "Monday", "Good-by."):
            self.assertIs(completeness(text), Completeness.UNKNOWN, text)
