"""The scripted receptionist: what is understood, what is answered, what is derived from the messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxray.errors import ConfigError
from voxray.frames import Message
from voxray.providers import scenario
from voxray.providers import understanding as ear
from voxray.providers.receptionist import Reply, reply

SCENARIO = scenario.load()
GREETING = "Hello, this is Robin at Willow Street Dental. How can I help you?"


def talk(*heard: str) -> list[Reply]:
    """A conversation in which every reply is heard to its end; the replies to each turn."""
    messages = [Message("system", "Be kind."), Message("assistant", GREETING)]
    replies = []
    for text in heard:
        messages.append(Message("user", text))
        replies.append(reply(SCENARIO, messages))
        messages.append(Message("assistant", replies[-1].text))
    return replies


def last(*heard: str) -> str:
    return talk(*heard)[-1].text


def after(messages: Sequence[tuple[str, str]]) -> str:
    return reply(SCENARIO, [Message(role, text) for role, text in messages]).text


class BookingTests(SynchronousTestCase):
    """A visit, slot by slot."""

    def test_greets_first(self) -> None:
        """Before the caller spoke, the reply is the greeting."""
        self.assertEqual(reply(SCENARIO, [Message("system", "x")]).text, GREETING)

    def test_whole_booking(self) -> None:
        """Day, time and name are asked for in turn, said back, confirmed; goodbye ends the call."""
        replies = talk(
            "Hi, I'd like to make an appointment.", "Tuesday", "half past two", "My name is Ann Lee.",
            "Yes, that's right.", "No, thank you.",
        )  # fmt: skip
        self.assertEqual(
            [each.text for each in replies],
            [
                "Sure. What day would you like to come in?",
                "Okay, Tuesday. What time on Tuesday suits you?",
                "Okay, Tuesday at 2:30 PM. Can I have your name, please?",
                "So that is Tuesday at 2:30 PM for Ann Lee. Is that correct?",
                "Great, Ann Lee, you are booked for Tuesday at 2:30 PM. Is there anything else?",
                "Thank you, Ann Lee. We will see you Tuesday at 2:30 PM. Goodbye!",
            ],
        )
        self.assertEqual([each.end_call for each in replies], [False] * 5 + [True])

    def test_several_slots_at_once(self) -> None:
        """What was said already is not asked."""
        self.assertEqual(
            last("An appointment on Friday at 9 a.m. please, my name is Bob"),
            "So that is Friday at 9 AM for Bob. Is that correct?",
        )

    def test_correction(self) -> None:
        """A slot said anew replaces the old one, also after the booking; a bare no asks what to change."""
        booked = ("Monday at ten", "Juliet", "yes")
        self.assertIn("Juliet", last(*booked))
        self.assertEqual(
            last("Monday at ten", "Juliet", "no, make it eleven"),
            "So that is Monday at 11 AM for Juliet. Is that correct?",
        )
        self.assertEqual(
            last(*booked, "actually Wednesday"), "So that is Wednesday at 10 AM for Juliet. Is that correct?"
        )
        self.assertEqual(last("Monday at ten", "Juliet", "no", "the name"), "Can I have your name, please?")

    def test_closed(self) -> None:
        """A day or an hour at which nobody is there is refused, and asked for again."""
        self.assertIn("closed on Sunday", last("book me in on Sunday at ten"))
        self.assertIn("no visits at 9 PM", last("Monday at nine pm"))
        self.assertEqual(
            last("Monday at nine pm", "at three"), "Okay, Monday at 3 PM. Can I have your name, please?"
        )

    def test_fact_in_between(self) -> None:
        """A question in the middle of a booking is answered and not taken for a name."""
        self.assertEqual(
            last("Monday at ten", "Where are you located?"),
            "We are at 24 Willow Street, right next to the library. Can I have your name, please?",
        )
        self.assertIn("parking behind", last("Monday at ten", "parking?"))

    def test_cancel(self) -> None:
        """Cancelling forgets the visit."""
        self.assertIn("cancelled", last("Monday at ten", "cancel that"))
        self.assertNotIn("Monday", last("Monday at ten", "Juliet", "yes", "cancel it", "goodbye"))


class TalkTests(SynchronousTestCase):
    """Everything that is not a booking."""

    def test_facts(self) -> None:
        """Hours, address, prices, parking and the telephone number are known, misheard words included."""
        for heard, part in (
            ("When are you open?", "Monday to Friday"),
            ("Hello, your hour.", "Monday to Friday"),
            ("What's your adress?", "24 Willow"),
            ("how much is it", "60 dollars"),
            ("can I park there", "parking"),
            ("Your telephone number?", "5 5 5"),
            ("To speak with a customer advocate.", "Nobody else"),
            ("At the tone, please say your name.", "Robin"),
        ):
            self.assertIn(part, last(heard), heard)

    def test_keys(self) -> None:
        """A number may be typed; other keys are not read out as words, and the question is asked again."""
        self.assertIn("noted your number: 5 5 5 0 1 4 2.", last("DTMF: 5550142#"))
        self.assertIn("keys do nothing", last("DTMF: 12#"))
        self.assertIn("Can I have your name", last("Monday at ten", "DTMF: 1"))

    def test_unknown_words_come_back(self) -> None:
        """What the agent has no answer for is repeated: another recording gets another answer."""
        one, two = last("Weasels have eaten our phone system."), last("Go forward ten meters.")
        self.assertIn("I heard you say: Weasels have eaten our phone system.", one)
        self.assertIn("I heard you say: Go forward ten meters.", two)

    def test_repeat(self) -> None:
        """ "Say that again" gets the last reply, whole, even when the caller cut it short."""
        whole = last("how much is it")
        self.assertEqual(last("how much is it", "I'm sorry, I did not understand your response."), whole)
        cut = after([("user", "how much is it"), ("assistant", "A checkup"), ("user", "pardon?")])
        self.assertEqual(cut, whole)
        self.assertEqual(after([("assistant", GREETING), ("user", "pardon?")]), GREETING)

    def test_line_check(self) -> None:
        """ "Can you hear me?" is answered, and the open question asked again."""
        self.assertEqual(
            last("Monday at ten", "can you hear me?"), "Yes, I can hear you. Can I have your name, please?"
        )

    def test_one_moment(self) -> None:
        """A caller who asks for a moment gets it, and the booking goes on after it."""
        self.assertEqual(last("Monday at ten", "one moment please"), "Of course, take your time.")
        self.assertIn("for Juliet", last("Monday at ten", "one moment please", "Juliet"))

    def test_number(self) -> None:
        """A telephone number is said back by its digits."""
        self.assertIn("5 5 5 0 1 4 2", last("The number I have is five, five, five, oh, one, four, two."))

    def test_goodbye(self) -> None:
        """Goodbye, also as recognizers spell it, ends the call."""
        for heard in ("Goodbye.", "Good-by,", "Thank you. Goodbye.", "bye"):
            self.assertTrue(talk(heard)[-1].end_call, heard)

    def test_a_no_in_a_story(self) -> None:
        """A "not" in a long sentence does not hang up."""
        answer = talk("thank you", "He was not an ill-disposed young man.")[-1]
        self.assertFalse(answer.end_call)
        self.assertIn("I heard you say", answer.text)

    def test_no_words(self) -> None:
        """Marks without words are not understood, and not repeated."""
        self.assertIn("did not catch", last("..."))


class HeardTests(SynchronousTestCase):
    """The assistant's messages hold what the caller heard, which may be less than was said."""

    def booking(self, heard_of_question: str) -> str:
        return after(
            [
                ("user", "Monday at ten"),
                ("assistant", "Okay, Monday at 10 AM. Can I have your name, please?"),
                ("user", "Juliet"),
                ("assistant", heard_of_question),
                ("user", "yes"),
            ]
        )

    def test_yes_to_a_question_not_heard(self) -> None:
        """A yes after an interrupted question books nothing: the question is asked again."""
        question = "So that is Monday at 10 AM for Juliet. Is that correct?"
        self.assertEqual(self.booking("So that is Monday"), question)
        self.assertIn("you are booked", self.booking(question))
        self.assertIn("you are booked", self.booking("So that is Monday at 10 AM for Juliet. Is that"))

    def test_yes_after_the_question_was_repeated(self) -> None:
        """Once asked again and heard, a yes counts."""
        question = "So that is Monday at 10 AM for Juliet. Is that correct?"
        self.assertIn(
            "you are booked",
            after(
                [
                    ("user", "Monday at ten"),
                    ("assistant", "Okay, Monday at 10 AM. Can I have your name, please?"),
                    ("user", "Juliet"),
                    ("assistant", "So that"),
                    ("user", "yes"),
                    ("assistant", question),
                    ("user", "yes"),
                ]
            ),
        )

    def test_nothing_heard_in_between(self) -> None:
        """Two messages of the caller in a row are one turn."""
        self.assertEqual(
            after([("user", "I would like to book"), ("user", "on Monday at ten")]),
            "Okay, Monday at 10 AM. Can I have your name, please?",
        )

    def test_stateless(self) -> None:
        """The same messages give the same reply, whatever was asked before."""
        first = last("Monday at ten")
        last("Friday at nine", "Bob")
        self.assertEqual(last("Monday at ten"), first)

    @given(
        st.lists(st.tuples(st.sampled_from(["user", "assistant", "system", "tool"]), st.text(max_size=60)))
    )
    def test_any_conversation(self, messages: list[tuple[str, str]]) -> None:
        """There is always something to say, whatever the messages."""
        self.assertTrue(after(messages))


class UnderstandingTests(SynchronousTestCase):
    """Words into days, times, names."""

    def test_times(self) -> None:
        """Times of day, as people say and recognizers write them."""
        for heard, minutes in (
            ("ten o'clock", 600), ("at 10:30", 630), ("nine A.M.", 540), ("two p M..", 840), 
            ("9am", 540), ("10:30PM", 1350), ("2p.m.", 840),
            ("2", 840),
            ("eleven thirty", 690), ("half past two", 870), ("quarter to nine", 525), ("noon", 720),
            ("quarter past three", 915), ("four fifteen pm", 975), ("twelve am", 0), 
            ("three in the morning", 180), ("1430", 870), ("five five five", None), ("ten dollars", None),
            ("seventy", None), ("8 in the evening", 1200),
        ):  # fmt: skip
            self.assertEqual(ear.time_in(ear.words_of(heard)), minutes, heard)

    def test_spoken_times(self) -> None:
        """Times as they are said back."""
        spoken = [ear.spoken_time(minutes) for minutes in (0, 510, 720, 870)]
        self.assertEqual(spoken, ["12 AM", "8:30 AM", "12 PM", "2:30 PM"])

    @given(st.integers(0, 1439))
    def test_time_said_back_is_understood(self, minutes: int) -> None:
        """What the agent says is what it would hear."""
        self.assertEqual(ear.time_in(ear.words_of(ear.spoken_time(minutes))), minutes)

    def test_days(self) -> None:
        """Days are the nearest of those they are like; the last one counts."""
        for heard, day in (
            ("Tuesday", "tuesday"), ("Thursday's fine", "thursday"), ("wensday", "wednesday"),
            ("Monday, no, Friday", "friday"), ("tomorow", "tomorrow"), ("someday", ""),
        ):  # fmt: skip
            self.assertEqual(ear.day_in(ear.words_of(heard)), day, heard)

    def test_names(self) -> None:
        """An introduced name is heard at any time, a bare one only when it was asked for."""
        for heard, expected, name in (
            ("My name is Ann Lee.", False, "Ann Lee"), ("It's Bob.", True, "Bob"),
            ("Juliet.", True, "Juliet"), ("Juliet.", False, ""), ("Yes, please", True, ""),
            ("um, Charlie", True, "Charlie"),
            ("for Victor", True, "Victor"), ("We had everything before us that day", True, ""),
        ):  # fmt: skip
            self.assertEqual(ear.name_in(heard, expected), name, heard)

    def test_yes_and_no(self) -> None:
        """Plain and mixed answers."""
        for heard, meaning in (
            ("Yes.", True), ("if this is correct", True), ("no", False), ("not right", False),
            ("no, that's fine", True), ("weasels", None),
        ):  # fmt: skip
            self.assertIs(ear.yes_or_no(ear.words_of(heard)), meaning, heard)


class ScenarioTests(SynchronousTestCase):
    """A user's own scenario file."""

    def load(self, content: object) -> scenario.Scenario:
        path = self.mktemp()
        text = content if isinstance(content, str) else json.dumps(content)
        Path(path).write_text(text)
        return scenario.load(path, ("desk", "sales"))

    def fact(self, **more: object) -> dict[str, object]:
        return {"business": "B", "facts": [{"id": "x", "words": ["y"], "answer": "z", **more}]}

    def test_own_office(self) -> None:
        """What a file leaves out comes from the one that ships."""
        own = self.load({"business": "Joe's Garage", "lines": {"greeting": "{business}, {agent} speaking."}})
        self.assertEqual(reply(own, []).text, "Joe's Garage, Robin speaking.")
        self.assertEqual(own.lines["ask_day"], SCENARIO.lines["ask_day"])

    def test_own_fact(self) -> None:
        """A fact of one's own is answered."""
        fact = {"id": "pets", "words": ["dog", "cat"], "answer": "Pets may wait outside."}
        own = self.load({"business": "B", "facts": [fact]})
        self.assertIn("Pets may wait", reply(own, [Message("user", "can I bring my dog")]).text)

    def test_transfer(self) -> None:
        """The caller is told, asked nothing more, and connected; a booking in between is still there."""
        facts = [
            {"id": "person", "words": ["person"], "answer": "One moment, {name}.", "transfer": "desk"},
            {"id": "menu", "words": ["press one"], "answer": "Sure.", "press": "1, 2"},
        ]
        own = self.load({"business": "B", "facts": facts})
        asked = [Message("user", "a visit on Tuesday at ten please, my name is Bob")]
        asked += [Message("assistant", reply(own, asked).text), Message("user", "Can I talk to a person?")]
        self.assertEqual(reply(own, asked), Reply("One moment, Bob.", transfer="desk"))
        menu = [Message("user", "For sales, press one.")]
        self.assertEqual(reply(own, menu), Reply("Sure.", press="1w2"))
        again = [*asked, Message("assistant", "One moment, Bob. Nobody there."), Message("user", "yes")]
        self.assertIn("Bob", reply(own, again).text)

    def test_mistakes(self) -> None:
        """Every mistake is a ConfigError that says where, and what is wanted."""
        for content, *parts in (
            ("{", "line 1"),
            ([], "an object"),
            ({}, '"business" is missing'),
            ({"business": ""}, "some text is wanted"),
            ({"business": "B", "agnet": "A"}, "'agnet'", "did you mean 'agent'?"),
            ({"business": "B", "lines": {"greting": "x"}}, "did you mean 'greeting'?"),
            ({"business": "B", "lines": {"greeting": "{dya}"}}, "lines.greeting", "{dya}", "{day}"),
            ({"business": "B", "lines": {"greeting": "{"}}, "lines.greeting", "brace"),
            ({"business": "B", "lines": {"greeting": "{day:{time}}"}}, "lines.greeting", "{day}"),
            ({"business": "B", "lines": {"greeting": 3}}, "not a number"),
            ({"business": "B", "appointment": {"opens": 25}}, "an hour from 0 to 23", "25"),
            ({"business": "B", "appointment": {"opens": 9, "closes": 8}}, "before opens"),
            ({"business": "B", "appointment": {"days": ["mon"]}}, "unknown day 'mon'"),
            ({"business": "B", "facts": [{"id": "x", "words": [], "answer": "y"}]}, "facts[0].words"),
            ({"business": "B", "facts": {}}, "a list"),
            (self.fact(transfer="mars"), "facts[0].transfer", "'mars'", "desk, sales"),
            (self.fact(transfer=5), "facts[0].transfer", "some text"),
            (self.fact(press="hello"), "facts[0].press", "0-9"),
            (self.fact(press=5), "facts[0].press", "some text"),
            (self.fact(pres="1"), "did you mean 'press'?"),
        ):  # fmt: skip
            message = str(self.assertRaises(ConfigError, self.load, content))
            for part in parts:
                self.assertIn(part, message)

    def test_no_file(self) -> None:
        """A path that is not there is named."""
        self.assertIn("/no/such", str(self.assertRaises(ConfigError, scenario.load, "/no/such.json")))

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            *SCENARIO.lines,
                            "business",
                            "agent",
                            "appointment",
                            "facts",
                            "lines",
                            "days",
                            "opens",
                            "words",
                            "id",
                        ]
                    ),
                    inner,
                    max_size=4,
                )
            ),
        )
    )
    def test_any_json(self, content: object) -> None:
        """Any JSON is either a scenario or a ConfigError."""
        shipped = json.loads((scenario.files("voxray") / "data" / scenario.SHIPPED).read_text("utf-8"))
        try:
            scenario.parse(content, shipped, "x")
        except ConfigError:
            return
