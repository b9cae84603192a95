"""Streamed words into speakable pieces: where they end, when they come, and that no word is lost."""

# Models write curly quotes, dashes and full-width marks.
# ruff: noqa: RUF001

from __future__ import annotations

import re
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxray.turns.sentences import SentenceSplitter
from voxray.turns.speakable import Speakable


def tokens(text: str) -> list[str]:
    """As models send words: the pattern by which cl100k and its kin cut text before they encode it."""
    return re.findall(r"[^\w\r\n]?[^\W\d_]+|[\d_]{1,3}| ?[^\s\w]+[\r\n]*|\s+", text)


def split(deltas: Iterable[str], splitter: SentenceSplitter | None = None) -> list[str]:
    splitter = splitter or SentenceSplitter(first_clause_chars=0)
    pieces = [piece for delta in deltas for piece in splitter.feed(delta)]
    return pieces + splitter.flush()


def words(pieces: Iterable[str]) -> list[str]:
    return re.findall(r"\w+", " ".join(pieces))


def cuttings(text: str) -> st.SearchStrategy[list[str]]:
    """Every way of cutting a text."""
    return st.lists(st.integers(0, len(text)), max_size=30).map(
        lambda cuts: [text[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(text)], strict=True)]
    )


ONE_SENTENCE = [
    "Dr. Smith and Mrs. Jones v. the rest vs. Prof. Plum will see you.",
    "It is $3.50 or 1,000.00 all told.",
    "We open at 10:30 and close at 5 p.m. on weekdays.",
    "From 9 a.m. to 5 p.m. Eastern time.",
    "We ship to the U.S. and the U.K. within a week.",
    "Ask for No. 5 on Main St. near the bank.",
    "It is near St. Louis, by Mt. Hood.",
    "Fruit, e.g. apples, i.e. the round ones, etc. will do.",
    "Write to jane.doe@example.co.uk or see https://www.example.com/a.b?c=d!e for more.",
    "Well... let me think about that.",
    "Well… let me think about that.",
    "J. R. Smith called for you.",
    "1. First do this.",
    "The options are: 1. First, 2. Second, and 3. Third.",
    "On the 21st of Jan. 2026 or Sat. the 5th of Feb. at the latest.",
    "It is about 5 ft. 6 in. tall and approx. 10 lbs. heavy.",
    "Acme Inc. Ltd. and Smith & Co. is a company.",
    "Version 2.0.1 of Node.js is at 192.168.0.1 now.",
    "Martin Luther King Jr. Boulevard is ahead.",
    'He said "hello", and left.',
    "Talk to Jane Doe, Ph.D. or M.D. as you like.",
    "Is it 5:30?",
    "No?!",
    "Call ext. 12 please.",
    "The temperature is -3.5 degrees.",
]

SPLITS = [
    ("Hello there. How are you?", ["Hello there.", "How are you?"]),
    ("Yes! No? Really?! Fine.", ["Yes!", "No?", "Really?!", "Fine."]),
    ("We close at 5 p.m. Our office is near.", ["We close at 5 p.m.", "Our office is near."]),
    ("I live in the U.S. It's big.", ["I live in the U.S.", "It's big."]),
    ("It is on Main St. We are near.", ["It is on Main St.", "We are near."]),
    ("No. We don't.", ["No.", "We don't."]),
    ("So do I. The end.", ["So do I.", "The end."]),
    ("We are open at 10. Please come.", ["We are open at 10.", "Please come."]),
    ("It is 10:30. We are open.", ["It is 10:30.", "We are open."]),
    ("It costs $3.50. Is that fine?", ["It costs $3.50.", "Is that fine?"]),
    ("Mail a@b.com. We answer.", ["Mail a@b.com.", "We answer."]),
    ("It was in Jan. We met.", ["It was in Jan.", "We met."]),
    ("See you Monday. Bye.", ["See you Monday.", "Bye."]),
    ("Hmm... Let me see.", ["Hmm...", "Let me see."]),
    ("Plan A. Then what?", ["Plan A.", "Then what?"]),
    ('She said "stop." He did.', ['She said "stop."', "He did."]),
    ("(Yes, indeed.) Go on.", ["(Yes, indeed.)", "Go on."]),
    ("“Is it?” Yes.", ["“Is it?”", "Yes."]),
    ("One line\nAnother line\n\nA third", ["One line", "Another line", "A third"]),
    ("1. First thing\n2. Second thing", ["1. First thing", "2. Second thing"]),
    ("नमस्ते। आप कैसे हैं?", ["नमस्ते।", "आप कैसे हैं?"]),
    ("你好。今天怎么样？很好！", ["你好。", "今天怎么样？", "很好！"]),
    ("「はい。」そうです。", ["「はい。」", "そうです。"]),
    ("a small start. and on. 5 of them.", ["a small start.", "and on.", "5 of them."]),
    ("Great 😀! Next 👍🏽.", ["Great!", "Next."]),
    (" \n ... \n", []),
    ("", []),
]


class WhereTheyEnd(SynchronousTestCase):
    def test_one_sentence(self) -> None:
        """Abbreviations, prices, times, initials, addresses, list numbers: the sentence stays whole."""
        for text in ONE_SENTENCE:
            for deltas in ([text], tokens(text), re.findall(r"\s*\S+", text)):
                self.assertEqual("".join(deltas), text)
                self.assertEqual(split(deltas), [text], deltas)

    def test_sentences(self) -> None:
        """Sentences are told apart, alike for one delta and for a model's tokens."""
        for text, expected in SPLITS:
            self.assertEqual(split([text]), expected, text)
            got = split(tokens(text))
            self.assertEqual(got, expected, text)

    def test_word_by_word(self) -> None:
        """With whole words as deltas (space in front, stop behind) the cuts are the same."""
        for text, expected in SPLITS:
            self.assertEqual(split(re.findall(r"\s*\S+", text)), expected, text)

    def test_hard_maximum(self) -> None:
        """A sentence without end is cut at a comma, else at a space, else at the maximum."""
        comma = "word " * 30 + "end, " + "word " * 20
        self.assertEqual(split([comma])[0], ("word " * 30 + "end,"))
        pieces = split(["word " * 200])
        self.assertTrue(all(len(piece) <= 240 and not piece.endswith("wor") for piece in pieces))
        self.assertEqual(words(pieces), ["word"] * 200)
        self.assertEqual([len(piece) for piece in split(["x" * 500])], [240, 240, 20])

    @given(st.text(alphabet="ab ,.\n", max_size=600), st.integers(2, 50))
    def test_never_too_long(self, text: str, max_chars: int) -> None:
        """No piece is over the maximum."""
        pieces = split([text], SentenceSplitter(max_chars=max_chars))
        self.assertTrue(all(0 < len(piece) <= max_chars for piece in pieces))


class FirstClause(SynchronousTestCase):
    def first(self, text: str) -> str:
        return split([text], SentenceSplitter())[0]

    def test_early(self) -> None:
        """The first piece ends at a comma, semicolon, colon or dash once it is long enough."""
        for mark in (",", ";", ":"):
            text = f"Thank you for calling Bright Smile{mark} this is Anna."
            self.assertEqual(self.first(text), f"Thank you for calling Bright Smile{mark}")
        for dash in ("—", " — ", " - ", " – "):
            text = f"Thank you for calling Bright Smile{dash}this is Anna."
            self.assertEqual(self.first(text).rstrip(" -"), "Thank you for calling Bright Smile")

    def test_not_too_early(self) -> None:
        """A short one waits, and so do few words."""
        for text in (
            "Sure, I can help you with that.",
            "Extraordinarilycomplicatedwords, these are.",
        ):
            self.assertEqual(self.first(text), text)

    def test_not_within_numbers(self) -> None:
        """A comma in a number, a colon in a time or a URL, a hyphen in a word: no clause ends there."""
        for text in (
            "Your balance is now around 1,000,000 dollars.",
            "The next appointment is at 10:30 today.",
            "You can find all of it at https://example.com today.",
            "We are proud of our very well-known service.",
            "We are open from Monday on 9–5 every day.",
        ):
            self.assertEqual(split([text], SentenceSplitter()), [text])
            self.assertEqual(split(tokens(text), SentenceSplitter()), [text])

    def test_only_the_first(self) -> None:
        """Later pieces are whole sentences; after flush the next reply has a first piece again."""
        text = "Thank you so much for calling us, Anna. I can help you with all of that, of course."
        splitter = SentenceSplitter()
        expected = [
            "Thank you so much for calling us,",
            "Anna.",
            "I can help you with all of that, of course.",
        ]
        self.assertEqual(split([text], splitter), expected)
        self.assertEqual(split([text], splitter), expected)

    def test_off(self) -> None:
        """0 means whole sentences only."""
        text = "Thank you so much for calling us, Anna."
        self.assertEqual(split([text], SentenceSplitter(first_clause_chars=0)), [text])

    def test_without_spaces(self) -> None:
        """Scripts without spaces have clauses too; they are denser, so half the length is enough."""
        self.assertEqual(
            self.first("非常感谢您今天致电我们公司的客服，我是安娜。"), "非常感谢您今天致电我们公司的客服，"
        )


class WhenTheyCome(SynchronousTestCase):
    """The delta with which a piece is given out: every delta waited is heard by the caller."""

    def when(self, deltas: list[str]) -> list[tuple[int, str]]:
        splitter = SentenceSplitter()
        return [(n, piece) for n, delta in enumerate(deltas) for piece in splitter.feed(delta)]

    def test_ordinary_word(self) -> None:
        """A stop after an ordinary word needs no look ahead."""
        self.assertEqual(self.when([" I", " can", " help", " you", "."]), [(4, "I can help you.")])
        self.assertEqual(self.when(["Do it."]), [(0, "Do it.")])

    def test_questions_at_once(self) -> None:
        """A question or exclamation mark at a delta's end is the end."""
        self.assertEqual(self.when(["Is it", " Monday", "?"]), [(2, "Is it Monday?")])
        self.assertEqual(self.when(["Hello", "!"]), [(1, "Hello!")])

    def test_space_in_the_same_delta(self) -> None:
        """With the space there, nothing is waited for."""
        self.assertEqual(self.when(["See you Monday. "]), [(0, "See you Monday.")])
        self.assertEqual(self.when(["It is 10. "]), [(0, "It is 10.")])

    def test_what_must_wait(self) -> None:
        """Numbers, abbreviations, capitals, addresses wait for the next delta, and only for that."""
        self.assertEqual(self.when(["It is 10", ".", " We"]), [(2, "It is 10.")])
        self.assertEqual(self.when(["Hi Anna", ".", " We"]), [(2, "Hi Anna.")])
        self.assertEqual(self.when(["It is 10", ".", "5", " now"]), [])
        self.assertEqual(self.when(["I saw Dr", ".", " We"]), [])
        self.assertEqual(self.when(["see example.com", ".", " We"]), [(2, "see example.com.")])
        self.assertEqual(self.when(["At 5 p.m", ".", " We", " are"]), [(3, "At 5 p.m.")])

    def test_open_quotation(self) -> None:
        """A stop inside a quotation waits for its closing mark."""
        self.assertEqual(self.when(['Say "stop', ".", '"', " Then"]), [(2, 'Say "stop."')])

    def test_clause_at_once(self) -> None:
        """The first clause goes out with its comma when a letter stands before it."""
        self.assertEqual(
            self.when(["Thank you for calling Bright Smile", ",", " this"]),
            [(1, "Thank you for calling Bright Smile,")],
        )

    def test_second_mark(self) -> None:
        """A mark that comes after the sentence went out is dropped, not spoken as a piece."""
        self.assertEqual(split(["What", "?", "!", " Yes", "."]), ["What?", "Yes."])
        self.assertEqual(split(["oh well", ".", "..", " Yes", "."]), ["oh well.", "Yes."])
        self.assertEqual(split(["oh well", ".", "..", " go on", "."]), ["oh well.", "go on."])
        self.assertEqual(split(["‘we go", ".", "’", " Then", " it", "."]), ["‘we go.", "Then it."])

    def test_several_in_one_delta(self) -> None:
        """One delta may hold many sentences."""
        self.assertEqual(self.when(["One. Two is it. Three"]), [(0, "One."), (0, "Two is it.")])


MARKDOWN = [
    ("**Hello** *there*, __you__ _all_!", "Hello there, you all!"),
    ("***Both*** and ~~gone~~.", "Both and gone."),
    ("# Title\nText", "Title\nText"),
    ("###### Title", "Title"),
    ("- one\n* two\n+ three\n> four\n• five", "one\ntwo\nthree\nfour\nfive"),
    ("> - nested", "nested"),
    ("1. **Bold:** text", "1. Bold: text"),
    ("Use `code` and\n```python\nprint\n```\nend", "Use code and\n\nprint\n\nend"),
    ("See [our *site*](https://x.y/z_1(2), now.", "See [our site](https://x.y/z_1(2), now."),
    ("See [our *site*](https://x.y/z_1), now.", "See our site, now."),
    ("A [note] and [1].", "A [note] and [1]."),
    ("| a | b |", "a b"),
    ("Press * or #. Dial *67. Press *, then #1.", "Press * or #. Dial *67. Press *, then #1."),
    ("2*3 and 4 * 5", "2*3 and 4 * 5"),
    ("john_doe@x.com and snake_case_name", "john_doe@x.com and snake_case_name"),
    ("-5 degrees - or so", "-5 degrees - or so"),
    ("#1 choice", "#1 choice"),
    ("5 < 6 and 7 > 3 <b", "5 < 6 and 7 > 3 <b"),
    ("~5 minutes", "~5 minutes"),
    ("<think>Let me. See</think>Hello", "Hello"),
    ("<THINKING>a < b </THINKING>\nHello", "Hello"),
    ("Hello <think>never closed. Not said", "Hello"),
    ("stray</think> Hello", "stray Hello"),
    ("a<think>b</think>c<think>d</think>e", "ace"),
    ("Hi 😀👍🏽 you 👨‍👩‍👧 and 🇩🇪 ❤️ 1️⃣", "Hi you and 1"),
    ("A → B", "A B"),
    ("क्‍ष stays", "क्‍ष stays"),  # the joiner belongs to the script
    ("zero\u200bwidth soft\u00adhyphen", "zerowidth softhyphen"),
]


class SayableOnly(SynchronousTestCase):
    def said(self, deltas: Iterable[str]) -> str:
        speakable = Speakable()
        out = "".join(speakable.feed(delta) for delta in deltas) + speakable.flush()
        return "\n".join(" ".join(line.split()) for line in out.strip().split("\n"))

    def test_table(self) -> None:
        """Markdown, thoughts and pictures are removed; what can be said, and the telephone's keys, stay."""
        for text, expected in MARKDOWN:
            self.assertEqual(self.said([text]), expected, text)

    def test_letter_by_letter(self) -> None:
        """The same when every character comes alone."""
        for text, expected in MARKDOWN:
            self.assertEqual(self.said(text), expected, text)

    @settings(max_examples=300)
    @given(st.data())
    def test_any_cutting(self, data: st.DataObject) -> None:
        """However a text full of markup is cut, exactly the same is said."""
        bits = st.sampled_from(
            [
                *"*_`~#|[]()<>-+•\n \u200d\ufe0f",
                "**",
                "```",
                "<think>",
                "</think>",
                "<thinking>",
                "](",
                "- ",
                "# ",
                *["word", "a", "5", "😀", "👍🏽", ".", "\n\n", "https://x.y", "[t](u)", "py\n"],
            ]
        )
        text = "".join(data.draw(st.lists(bits, max_size=30)))
        deltas = data.draw(cuttings(text))
        whole, cut = Speakable(), Speakable()
        expected = whole.feed(text) + whole.flush()
        self.assertEqual("".join(map(cut.feed, deltas)) + cut.flush(), expected)

    def test_plain_text_does_not_wait(self) -> None:
        """Nothing plain is held back."""
        speakable = Speakable()
        for delta in ("Hello", ",", " you", ".", " #", " - ", "5", "!"):
            self.assertEqual(speakable.feed(delta), delta)

    def test_reuse(self) -> None:
        """After flush an open thought or a half tag is forgotten."""
        speakable = Speakable()
        speakable.feed("<think>open")
        speakable.flush()
        self.assertEqual(speakable.feed("Hello"), "Hello")


# Text as it is said: words, numbers, abbreviations, all stops; no markup, no word over the maximum.
PLAIN = st.lists(
    st.sampled_from(
        [
            *"., ;:?!\"'()…—–-।。？，\n",
            "...",
            "?!",
            "e.g.",
            "Dr.",
            "p.m.",
            "U.S.",
            "St.",
            "No.",
            "3.50",
            "10:30",
            "1,000.00",
            "a@b.com",
            "https://x.y/z?q=1",
            "we",
            "The",
            "ordinary",
            "words",
            "I",
            "J.",
            "5",
            "नमस्ते",
            "你好",
            *[" we", " The", " ordinary", " words", " Our", " 1.", " ", " ", " ", "don't", "it's"],
        ]
    ),
    max_size=80,
).map("".join)


class NothingLost(SynchronousTestCase):
    @settings(max_examples=300)
    @given(st.data(), PLAIN, st.integers(0, 30), st.integers(60, 240))
    def test_cutting_changes_no_word(
        self, data: st.DataObject, text: str, first_chars: int, max_chars: int
    ) -> None:
        """However the text came, exactly its letters and digits are said, in order, none twice."""
        deltas = data.draw(cuttings(text))
        pieces = split(deltas, SentenceSplitter(first_clause_chars=first_chars, max_chars=max_chars))
        said = [char for char in "".join(pieces) if char.isalnum()]
        self.assertEqual(said, [char for char in text if char.isalnum()])

    @settings(max_examples=300)
    @given(st.data(), PLAIN)
    def test_whole_words(self, data: st.DataObject, text: str) -> None:
        """Words are not cut in two by a delta's end, nor joined: the words are those of the text."""
        deltas = data.draw(cuttings(text))
        longest = max(map(len, re.findall(r"\S+", text)), default=0)
        if longest <= 200:
            self.assertEqual(words(split(deltas, SentenceSplitter())), words([text]))

    @given(PLAIN)
    def test_pieces_are_lines(self, text: str) -> None:
        """A piece is one line with a word in it, without space around it."""
        for piece in split([text], SentenceSplitter()):
            self.assertEqual(piece, " ".join(piece.split()))
            self.assertTrue(any(char.isalnum() for char in piece))

    @given(st.text(), st.data())
    def test_any_text(self, text: str, data: st.DataObject) -> None:
        """No text, cut anyhow, is an error."""
        split(data.draw(cuttings(text)), SentenceSplitter())

    def test_long_reply(self) -> None:
        """A long reply in a model's tokens is cut into all its sentences."""
        text = "This is a sentence of the long reply, as models like to write them. " * 300
        self.assertEqual(split(tokens(text)), [text[:67]] * 300)
