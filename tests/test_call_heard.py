"""What was heard, in words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxray.call.conversation import MAX_MESSAGES, Conversation
from voxray.call.heard import Spoken, heard_text, unheard_text
from voxray.call.keypad import Keypad
from voxray.frames import Message

WORDS = st.lists(st.text("abcdefgh,.", min_size=1, max_size=9), min_size=1, max_size=20).map(" ".join)


class HeardTests(SynchronousTestCase):
    def test_nothing_and_everything(self) -> None:
        """Before its start a piece was not heard; after its end all of it was."""
        pieces = [Spoken("Hello there.", 0.0, 1000.0), Spoken("How are you?", 1000.0, 2000.0)]
        self.assertEqual(heard_text(pieces, 0.0, 2000.0), "")
        self.assertEqual(heard_text(pieces, 1000.0, 2000.0), "Hello there.")
        self.assertEqual(heard_text(pieces, 5000.0, 2000.0), "Hello there. How are you?")

    def test_in_the_middle(self) -> None:
        """Half of the audio is about half of the words, cut between words."""
        pieces = [Spoken("one two three four", 0.0, 2000.0)]
        self.assertEqual(heard_text(pieces, 1000.0, 2000.0), "one two")
        self.assertEqual(unheard_text(pieces, 1000.0, 2000.0), "three four")

    def test_a_piece_still_growing(self) -> None:
        """While a sentence is being made its length is estimated from its text."""
        pieces = [Spoken("a" * 10 + " " + "b" * 9, 0.0)]
        self.assertEqual(heard_text(pieces, 700.0, 100.0), "a" * 10)

    @given(text=WORDS, end=st.floats(100, 10_000), share=st.floats(0, 1.2))
    def test_heard_and_unheard_are_all_words_in_order(self, text: str, end: float, share: float) -> None:
        """No word is lost and none is said twice."""
        pieces = [Spoken(text, 0.0, end)]
        both = (heard_text(pieces, end * share, end) + " " + unheard_text(pieces, end * share, end)).split()
        self.assertEqual(both, text.split())

    @given(text=WORDS, shares=st.lists(st.floats(0, 1), min_size=2, max_size=6))
    def test_more_time_is_never_fewer_words(self, text: str, shares: list[float]) -> None:
        """Hearing is monotone."""
        lengths = [len(heard_text([Spoken(text, 0.0, 1000.0)], 1000 * s, 1000.0)) for s in sorted(shares)]
        self.assertEqual(lengths, sorted(lengths))


class ConversationTests(SynchronousTestCase):
    def test_roles_are_joined(self) -> None:
        """Two utterances in a row are one message; an unheard reply is none."""
        talk = Conversation("Be brief.")
        talk.caller_said("I want")
        talk.agent_said("  ")
        talk.caller_said("a table.")
        self.assertEqual(
            list(talk.messages()), [Message("system", "Be brief."), Message("user", "I want a table.")]
        )

    def test_it_does_not_grow_for_ever(self) -> None:
        """The system prompt stays, the oldest exchanges go."""
        talk = Conversation("prompt")
        for i in range(MAX_MESSAGES):
            talk.caller_said(f"q{i}")
            talk.agent_said(f"a{i}")
        messages = talk.messages()
        self.assertEqual(len(messages), MAX_MESSAGES + 1)
        self.assertEqual(messages[0].role, "system")
        self.assertEqual(messages[-1].text, f"a{MAX_MESSAGES - 1}")


class KeypadTests(SynchronousTestCase):
    def test_hash_ends_an_entry(self) -> None:
        """1 2 # is one entry; a lone # is none."""
        pad = Keypad()
        self.assertIsNone(pad.press("#", 0.0))
        self.assertIsNone(pad.press("1", 0.1))
        self.assertIsNone(pad.press("2", 0.2))
        self.assertEqual(pad.press("#", 0.3), "12")

    def test_a_pause_ends_an_entry(self) -> None:
        """Two seconds without a key."""
        pad = Keypad()
        pad.press("7", 1.0)
        self.assertIsNone(pad.elapsed(2.9))
        self.assertEqual(pad.elapsed(3.0), "7")
        self.assertIsNone(pad.elapsed(9.0))
