"""Keys of what the agent says, from the document to what the model is told and the caller hears."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.house import House, Line
from tests.test_exotel_carrier import EXOTEL
from tests.test_exotel_carrier import call as exotel_call
from voxray.errors import ConfigError, ErrorKind, ProviderError
from voxray.frames import Message, TextDelta, Transfer

DOWN = ProviderError("fake", ErrorKind.OVERLOADED, "down")


class PhraseTests(SynchronousTestCase):
    def test_system_prompt(self) -> None:
        """The model is told it first, before what the caller did; without one, nothing."""
        for document, first in (
            ({"system_prompt": "You sell tea."}, [Message("system", "You sell tea.")]),
            ({}, []),
        ):
            house = House(self, document, [TextDelta("Yes.")])
            house.dial().press("1#")
            self.assertEqual(house.llm.asked, [[*first, Message("user", "DTMF: 1")]])

    def test_greeting(self) -> None:
        """Said at once, before the caller has said anything; without one the agent waits."""
        line = House(self, {"greeting": "Tea and more."}).dial()
        self.assertEqual(line.said, ["Tea and more."])
        line = House(self, {"greeting": ""}).dial()
        line.silence(2.0)
        self.assertEqual(line.audio, b"")

    def test_apology(self) -> None:
        """Said when a provider fails; empty: nothing is said, and the call goes on."""
        for document, said in (({"apology": "So sorry."}, ["So sorry."]), ({"apology": ""}, [])):
            house = House(self, document, [DOWN], [TextDelta("Better now.")])
            line = house.dial()
            line.press("1#")
            line.silence(1.0)
            self.assertEqual(line.said, said)
            line.press("2#")
            line.silence(1.0)
            self.assertEqual(line.said, [*said, "Better now."])

    def test_scenario_file(self) -> None:
        """The local model answers from the owner's file; without one, as the receptionist."""
        path = Path(self.mktemp()).absolute()
        fact = {"id": "tea", "words": ["tea"], "answer": "Green or black?"}
        scenario = {"business": "The Tea House", "facts": [fact]}
        path.write_text(json.dumps(scenario), encoding="utf-8")
        said = []
        for document in ({"scenario_file": str(path)}, {}):
            house = House(self, {"llm_provider": "local", **document}, real=("llm",))
            line = house.dial()
            line.tone(0.8)
            line.silence(1.0)
            line.answer("Do you have tea?")
            line.silence(3.0)
            said.append(" ".join(line.said))
        self.assertIn("Green or black?", said[0])
        self.assertTrue(said[1])
        self.assertNotIn("Green", said[1])


@shows("T29")
class IdleTests(SynchronousTestCase):
    def quiet_call(self, secs: float, **document: object) -> Line:
        keys = {"user_idle_timeout_secs": 3, "goodbye": "Bye.", "idle_prompt": "Hello?", **document}
        line = House(self, keys).dial()
        line.silence(secs)
        return line

    def test_user_idle_timeout_secs(self) -> None:
        """A silent caller is prompted after so long, and not before; 0: never."""
        for secs in (2, 5):
            self.assertEqual(self.quiet_call(secs - 0.1, user_idle_timeout_secs=secs).said, [])
            self.assertEqual(self.quiet_call(secs + 0.6, user_idle_timeout_secs=secs).said, ["Hello?"])
        self.assertEqual(self.quiet_call(30.0, user_idle_timeout_secs=0).said, [])

    def test_idle_prompt(self) -> None:
        """The words of the prompt are the owner's."""
        self.assertEqual(self.quiet_call(4.0, idle_prompt="Still deciding?").said, ["Still deciding?"])

    def test_idle_prompts_max(self) -> None:
        """So many prompts, each after the same silence, then goodbye and the end."""
        for most in (0, 1, 3):
            line = self.quiet_call(5.0 * (most + 1), idle_prompts_max=most)
            words = len(line.audio) // 800
            self.assertEqual(words, most + 1)  # "Hello?" each time, then "Bye."
            self.assertEqual((line.said[-1], line.code), ("Bye.", 1000))


class EndTests(SynchronousTestCase):
    def ends_after(self, most_secs: float, **document: object) -> None:
        """A call ends, politely, between `most_secs` and a second later."""
        line = House(self, {"goodbye": "Bye.", **document}).dial()
        line.silence(most_secs - 0.1)
        self.assertEqual((line.said, line.code), ([], None))
        line.silence(1.1)
        self.assertEqual((line.said, line.code), (["Bye."], 1000))

    @shows("T29")
    def test_max_call_secs(self) -> None:
        """The longest call: goodbye, and the socket is closed."""
        self.ends_after(3.0, max_call_secs=3)
        self.ends_after(6.0, max_call_secs=6)

    @shows("T29")
    def test_rtc_max_duration_secs(self) -> None:
        """The Go project's name does the same; the shorter of the two holds; 0 and less are no limit."""
        self.ends_after(3.0, rtc_max_duration_secs=3)
        self.ends_after(3.0, rtc_max_duration_secs=3, max_call_secs=6)
        self.ends_after(3.0, rtc_max_duration_secs=6, max_call_secs=3)
        self.ends_after(4.0, rtc_max_duration_secs=0, max_call_secs=4)
        self.ends_after(4.0, rtc_max_duration_secs=-1, max_call_secs=4)

    def test_goodbye(self) -> None:
        """The owner's words end the call; without any it ends in silence."""
        line = House(self, {"goodbye": "Mind the gap.", "max_call_secs": 1}).dial()
        line.silence(2.0)
        self.assertEqual((line.said, line.code), (["Mind the gap."], 1000))
        line = House(self, {"goodbye": "", "max_call_secs": 1}).dial()
        line.silence(2.0)
        self.assertEqual((line.audio, line.code), (b"", 1000))


class TransferTests(SynchronousTestCase):
    def asked(self, line: Line, keys: str) -> None:
        line.press(keys)
        line.silence(2.0)

    def test_transfers(self) -> None:
        """A name of the key is transferred to (Exotel: by closing); another is not, and the call goes on."""
        replies = [TextDelta("Sales then."), Transfer("sales")], [TextDelta("Here I am.")]
        for transfers, code in (
            ({"sales": "+14155550100"}, 1000),
            ({"Sales": "+14155550100"}, None),
            ({}, None),
        ):
            house = House(self, {**EXOTEL, "transfers": transfers}, *replies)
            line = exotel_call(house)
            self.asked(line, "1#")
            self.assertEqual(line.code, code)
            if code is None:
                self.asked(line, "2#")
                self.assertEqual(len(house.llm.asked), 2)

    def test_transfer_apology(self) -> None:
        """The owner's words when a transfer is not possible; without any, the agent just listens again."""
        for words, said in (("They are at lunch.", ["They are at lunch."]), ("", [])):
            document = {"transfers": {"sales": "+14155550100"}, "transfer_apology": words}
            line = House(self, document, [TextDelta("Sales then."), Transfer("sales")]).dial()
            self.asked(line, "1#")
            self.assertEqual((line.said, line.code), (["Sales then.", *said], None))

    def test_the_local_model(self) -> None:
        """A fact of the scenario transfers to a name of the key; another name is refused at the start."""
        path = Path(self.mktemp()).absolute()
        fact = {"id": "person", "words": ["person"], "answer": "To the desk.", "transfer": "desk"}
        path.write_text(json.dumps({"business": "B", "facts": [fact]}), encoding="utf-8")
        document = {"scenario_file": str(path), "llm_provider": "local", "transfer_apology": "Nobody."}
        line = House(self, {**document, "transfers": {"desk": "sip:d@h"}}, real=("llm",)).dial()
        line.tone(0.8)
        line.silence(1.0)
        line.answer("A person please.")
        line.silence(1.0)
        self.assertEqual((line.said, line.code), (["To the desk.", "Nobody."], None))
        self.assertRaises(ConfigError, House, self, document, real=("llm",))


class LanguageTests(SynchronousTestCase):
    def over_speech(self, words: str, **document: object) -> Line:
        """The caller says `words` while the agent speaks, in a way that only words can decide on."""
        house = House(
            self,
            {"interruption_strategy": "min_words", **document},
            [TextDelta("word " * 40)],
            [TextDelta("Yes.")],
        )
        line = house.dial()
        line.silence(0.5)
        line.press("1#")
        line.tone(0.6)
        line.silence(1.0)
        line.answer(words)
        return line

    def test_language(self) -> None:
        """ "Genau" is a nod in German and keeps the agent talking; in English it is a word like another."""
        self.assertNotIn("clear", self.over_speech("Genau.", language="de").kinds())
        self.assertIn("clear", self.over_speech("Genau.", language="en").kinds())
        self.assertNotIn("clear", self.over_speech("Genau.", stt_language="de-DE").kinds())
