"""Keys in both directions: those the agent presses, by wire, by REST or as tones, and those of the caller."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.fakes import FakeControl, RecordingSink
from tests.keys import keys_heard
from tests.test_call_call import Line, human, make_settings
from voxray.audio.codec import codec_for
from voxray.call.call import Call
from voxray.call.expected import Expected
from voxray.call.keypad import PAUSE_SECS, masked, note
from voxray.errors import CarrierError
from voxray.frames import (
    MAX_KEYS,
    ULAW_8K,
    Encoding,
    EndCall,
    MediaFormat,
    PressKeys,
    ReplyEvent,
    TextDelta,
    keys_of,
)
from voxray.interfaces import Ability
from voxray.settings import LogSettings, TurnSettings

SID = "CA" + "1" * 32
PIN = "4711"
LONG = "one two three four five six seven eight nine ten."
WIRES = [
    MediaFormat(encoding, rate_hz)
    for encoding, rates in (
        (Encoding.ULAW, (8_000, 16_000)),
        (Encoding.ALAW, (8_000, 16_000)),
        (Encoding.L16, (8_000, 16_000, 24_000)),
    )
    for rate_hz in rates
]


def keys(*parts: str | ReplyEvent) -> list[object]:
    """A reply: text, and what the model does between."""
    return [TextDelta(part) if isinstance(part, str) else part for part in parts]


class KeysTestCase(SynchronousTestCase):
    def begin(
        self,
        *replies: list[object],
        control: FakeControl | None = None,
        verified: bool = True,
        wire: MediaFormat = ULAW_8K,
        on_wire: bool = False,
        turns: TurnSettings | None = None,
    ) -> tuple[Line, Call, RecordingSink]:
        settings = make_settings(greeting="")
        object.__setattr__(settings, "logs", LogSettings(transcripts=True))
        if turns is not None:
            object.__setattr__(settings, "turns", turns)
        line = Line(*replies, control=control, settings=settings, wire=wire)
        self.addCleanup(line.registry.abort_all, 1001, "test over")
        call, sink = line.dial(SID, Expected("ours", "twilio", SID, verified=verified))
        sink.presses_keys = on_wire
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        return line, call, sink

    def asked(self, line: Line, call: Call, secs: float = 1.0) -> None:
        """The caller presses #0#, as nothing that is looked for, and what the model then does is done."""
        line.press(call, "0#")
        line.silence(call, secs)

    def logged(self) -> str:
        return "\n".join(f"{event} {formatEvent(event)}" for event in self.events)

    def tones(self, sink: RecordingSink, wire: MediaFormat) -> list[tuple[str, float, float]]:
        return keys_heard(codec_for(wire).to_float(sink.audio).astype(float), wire.rate_hz)


class WayTests(KeysTestCase):
    """Which of three ways keys take."""

    def test_by_wire(self) -> None:
        """A wire with a message for it is used first; a pause in the number is ours to keep."""
        control = FakeControl()
        line, call, sink = self.begin(keys(PressKeys("w12ww3#")), control=control, on_wire=True)
        self.asked(line, call, 0.4)
        self.assertEqual(sink.sent, [])
        line.silence(call, 0.2)
        self.assertEqual(sink.sent, [("keys", "12")])
        line.silence(call, 0.8)
        self.assertEqual(sink.sent, [("keys", "12")])
        line.silence(call, 0.2)
        self.assertEqual(sink.sent, [("keys", "12"), ("keys", "3#")])
        self.assertEqual(control.pressed, [])

    def test_by_rest(self) -> None:
        """Else the carrier's API, of a verified call: with the pauses, which it knows."""
        control = FakeControl()
        line, call, sink = self.begin(keys(PressKeys("12w3")), control=control)
        self.asked(line, call)
        self.assertEqual((control.pressed, sink.audio), ([(SID, "12w3")], b""))

    def test_by_tones(self) -> None:
        """Else tones: not verified, without credentials, or where the API has no such request."""
        for control, verified in (
            (FakeControl(), False),
            (None, True),
            (FakeControl(abilities=[Ability.HANG_UP]), True),
        ):
            line, call, sink = self.begin(keys(PressKeys("42")), control=control, verified=verified)
            self.asked(line, call)
            self.assertEqual([key for key, _, _ in self.tones(sink, ULAW_8K)], ["4", "2"])
            self.assertEqual(control.pressed if control else [], [])

    def test_on_any_wire(self) -> None:
        """Those keys, 100 ms each and 100 apart, in every codec and at every rate; w is 500 ms more."""
        for wire in WIRES:
            line, call, sink = self.begin(keys(PressKeys("159D*0#w8")), wire=wire)
            self.asked(line, call, 4.0)
            heard = self.tones(sink, wire)
            self.assertEqual("".join(key for key, _, _ in heard), "159D*0#8", wire)
            gaps = [after[1] - before[2] for before, after in itertools.pairwise(heard)]
            self.assertTrue(all(90 <= end - begin <= 110 for _, begin, end in heard), heard)
            self.assertTrue(all(90 <= gap <= 110 for gap in gaps[:-1]), gaps)
            self.assertTrue(590 <= gaps[-1] <= 610, gaps)

    def test_refused(self) -> None:
        """A failure is a line in the log, without the digits, and the call goes on."""
        control = FakeControl(CarrierError("twilio", "500"))
        line, call, _ = self.begin(keys(PressKeys(PIN), "There."), keys("Yes."), control=control)
        self.asked(line, call)
        self.asked(line, call)
        self.assertEqual(line.tts.said, ["There.", "Yes."])
        self.assertIn("4 keys were not pressed", self.logged())
        self.assertNotIn(PIN, self.logged())
        self.assertNotIn("system", [m.role for m in line.llm.asked[1]])


class OrderTests(KeysTestCase):
    """Keys among the words of a reply."""

    def test_after_what_was_said(self) -> None:
        """What was said before them has been heard; what is said after them comes after them."""
        for on_wire in (True, False):
            line, call, sink = self.begin(
                keys("One moment", PressKeys("5"), "I am back."), on_wire=on_wire, control=None
            )
            self.asked(line, call, 0.15)
            self.assertEqual(line.tts.said, ["One moment"])
            line.silence(call, 1.5)
            self.assertEqual(line.tts.said, ["One moment", "I am back."])
            if on_wire:
                at = sink.kinds().index("keys")
                before = RecordingSink(sink.sent[:at]).audio
                self.assertEqual((len(before), len(sink.audio)), (2 * 800, 5 * 800))
                continue
            said = sink.audio
            tones = slice(2 * 800, 2 * 800 + 200 * 8)
            self.assertEqual(said[: 2 * 800], b"\x03" * 800 + b"\x06" * 800)
            self.assertEqual(said[tones.stop :][:2400], b"\x01" * 800 + b"\x02" * 800 + b"\x05" * 800)
            samples = codec_for(ULAW_8K).to_float(said[tones]).astype(float)
            self.assertEqual([key for key, _, _ in keys_heard(samples, 8000)], ["5"])

    def test_the_tail_of_what_was_said(self) -> None:
        """Less than a packet of it is left over: it is sent, and waited for, like the rest."""
        wire = MediaFormat(Encoding.L16, 16_000)
        line, call, sink = self.begin(keys("One moment", PressKeys("5")), wire=wire, on_wire=True)
        self.asked(line, call)
        self.assertIn(("keys", "5"), sink.sent)

    def test_the_turns_times(self) -> None:
        """Keys in the middle are no second beginning of the reply."""
        line, call, _ = self.begin(keys("One.", PressKeys("5"), "Two."))
        line.silence(call, 0.5)
        line.hear(call, human("dickens-wisdom"))
        line.silence(call, 0.8)
        line.stt.answer("Go.")
        line.silence(call, 2.0)
        [turn] = [event for event in self.events if event.get("event") == "turn"]
        self.assertLess(turn["parts_ms"]["own"], 50)
        self.assertEqual(turn["replied"], "One. Two.")

    def test_keys_alone(self) -> None:
        """A reply of nothing but keys is one: nobody apologises, and the caller is listened to again."""
        control = FakeControl()
        line, call, _ = self.begin(keys(PressKeys("1")), keys("Yes."), control=control)
        self.asked(line, call)
        self.asked(line, call)
        self.assertEqual(line.tts.said, ["Yes."])

    def test_then_the_end(self) -> None:
        """A hang-up waits for the tones too."""
        line, call, sink = self.begin(keys(PressKeys("12345"), EndCall()))
        self.asked(line, call, 0.9)
        self.assertIsNone(sink.closed)
        line.silence(call, 0.4)
        self.assertEqual(sink.closed, (1000, "hang-up"))

    def test_the_model_is_told(self) -> None:
        """It does not see its own function calls: what was pressed is noted, behind what it said."""
        line, call, _ = self.begin(keys("Dialling.", PressKeys(PIN)), keys("Yes."), control=FakeControl())
        self.asked(line, call)
        self.asked(line, call)
        self.assertEqual(
            [(m.role, m.text) for m in line.llm.asked[1]],
            [
                ("user", "DTMF: 0"),
                ("assistant", "Dialling."),
                ("system", f"You pressed {PIN} on the keypad."),
                ("user", "DTMF: 0"),
            ],
        )

    def test_interrupted_before(self) -> None:
        """Who speaks into what was said before them keeps them from being pressed."""
        control = FakeControl()
        line, call, _ = self.begin(keys(LONG, PressKeys("1")), keys("Yes."), control=control)
        line.silence(call, 0.5)
        self.asked(line, call, 0.3)
        line.hear(call, human("dickens-wisdom")[8:])
        line.silence(call, 1.0)
        line.stt.answer("Wait, something else.")
        line.silence(call, 2.0)
        self.assertEqual((line.tts.said[-1], control.pressed), ("Yes.", []))

    def test_half_a_number(self) -> None:
        """A menu that talks on does not cut the tones short; words in them are still heard."""
        line, call, sink = self.begin(keys(PressKeys("123456789")), keys("Yes."))
        line.silence(call, 0.5)
        self.asked(line, call, 0.2)
        line.hear(call, human("dickens-wisdom")[8:50])
        self.assertNotIn("clear", sink.kinds())
        line.silence(call, 1.5)
        self.assertEqual("".join(key for key, _, _ in self.tones(sink, ULAW_8K)), "123456789")
        line.stt.answer("This is the sales department.")
        line.silence(call, 1.0)
        self.assertEqual(line.tts.said, ["Yes."])

    def test_not_into_a_second_thought(self) -> None:
        """The other end goes on speaking before the reply has begun: keys wait."""
        control, gate = FakeControl(), Deferred[None]()
        line, call, _ = self.begin([gate, PressKeys("1")], control=control)
        line.silence(call, 0.5)
        self.asked(line, call, 0.1)
        line.hear(call, human("dickens-wisdom")[8:30])
        gate.callback(None)
        line.hear(call, human("dickens-wisdom")[30:40])
        self.assertEqual(control.pressed, [])
        line.silence(call, 1.0)
        line.stt.answer("")
        line.silence(call, 0.5)
        self.assertEqual(control.pressed, [(SID, "1")])


@shows("T27")
class RefusedTests(KeysTestCase):
    """What a model may not press."""

    def test_no_keys(self) -> None:
        """What is no key, or too many, is left out, and what was said is said."""
        for digits in (
            "",
            "abx",
            "1" * (MAX_KEYS + 1),
            "\uff11\uff12",
            "1;2",
            "+1 555",
            "w" * 65,
            "1" * 100_000,
        ):
            control = FakeControl()
            line, call, _ = self.begin(keys("Well.", PressKeys(digits)), control=control)
            self.asked(line, call)
            self.assertEqual((line.tts.said, control.pressed), (["Well."], []), digits[:80])
            self.assertIn("ignored", self.logged())

    def test_in_one_reply(self) -> None:
        """No more than 64 in all of a reply: a model in a loop presses no thousands."""
        control = FakeControl()
        line, call, _ = self.begin(keys(*[PressKeys("1" * 30)] * 50, PressKeys("2" * 4)), control=control)
        self.asked(line, call)
        self.assertEqual([digits for _, digits in control.pressed], ["1" * 30, "1" * 30, "2" * 4])

    def test_as_models_write_them(self) -> None:
        """Spaces, hyphens and brackets are no keys; a comma waits; letters in either case."""
        for text, digits in (("(1) 2-3.4", "1234"), ("a,W#", "Aww#"), ("", ""), ("*", "*"), ("1 x", "")):
            self.assertEqual(keys_of(text), digits)

    @given(st.text(max_size=200))
    def test_any_text(self, text: str) -> None:
        """Whatever is written, only keys come out of it, and few enough."""
        digits = keys_of(text)
        self.assertLessEqual(len(digits), MAX_KEYS)
        self.assertLessEqual(set(digits), set("0123456789*#ABCDw"))
        self.assertEqual(keys_of(digits), digits)


@shows("T11")
class SecretTests(KeysTestCase):
    """A number typed may be a secret."""

    def test_pressed_by_the_agent(self) -> None:
        """How many keys were pressed is logged, and by which way; which ones is not, even with the words."""
        for way, options in (
            ("the stream", {"on_wire": True}),
            ("API", {"control": FakeControl()}),
            ("tones", {}),
        ):
            line, call, _ = self.begin(keys("Here.", PressKeys(PIN)), **options)  # type: ignore[arg-type]
            self.asked(line, call, 2.0)
            self.assertIn("4 keys pressed, by", self.logged())
            self.assertIn(way, self.logged())
            self.assertNotIn(PIN, self.logged())

    def test_pressed_by_the_caller(self) -> None:
        """The model gets the digits; a log of all the words has stars, alone or with what was said."""
        line, call, _ = self.begin(keys("Thank you."), keys("Yes."))
        line.press(call, f"{PIN}#")
        line.silence(call, 1.0)
        line.press(call, PIN)
        line.hear(call, human("dickens-wisdom"))
        line.silence(call, 0.8)
        line.stt.answer("That is it.")
        line.silence(call, 1.0)
        heard = [event["heard"] for event in self.events if event.get("event") == "turn"]
        self.assertEqual(heard, ["DTMF: ****", "DTMF: ****. That is it."])
        self.assertNotIn(PIN, self.logged())
        asked = [m.text for m in line.llm.asked[-1] if m.role == "user"]
        self.assertEqual(asked, [f"DTMF: {PIN}", f"DTMF: {PIN}. That is it."])

    @given(st.text("0123456789*#ABCD", min_size=1, max_size=32), st.text(max_size=40))
    def test_masked(self, digits: str, words: str) -> None:
        """Stars in place of the digits, one each, and nothing else is changed."""
        said = f". {words.replace('DTMF', '')}" if words else ""
        self.assertEqual(masked(note(digits) + said), f"DTMF: {'*' * len(digits)}{said}")


class CallersKeysTests(KeysTestCase):
    """Entries and their pauses."""

    def entries(self, line: Line) -> list[str]:
        return [asked[-1].text for asked in line.llm.asked]

    def test_the_first_key_stops_the_agent(self) -> None:
        """At once, and for good: it does not go on while the rest of the entry is typed."""
        line, call, sink = self.begin(keys(LONG), keys("Thanks."))
        self.asked(line, call, 0.3)
        line.press(call, "1")
        self.assertEqual(sink.kinds()[-1], "clear")
        sent = len(sink.sent)
        line.silence(call, 1.6)
        line.press(call, "2")
        line.silence(call, PAUSE_SECS - 0.6)
        self.assertEqual((len(sink.sent), len(line.llm.asked)), (sent, 1))
        line.silence(call, 2.0)
        self.assertEqual(line.llm.asked[1][-1].text.split("DTMF: ")[-1], "12")
        self.assertEqual(line.tts.said[-1], "Thanks.")

    def test_hash_alone(self) -> None:
        """It enters nothing, and stops nobody."""
        line, call, sink = self.begin(keys(LONG))
        self.asked(line, call, 0.3)
        line.press(call, "#")
        line.silence(call, 2.0)
        self.assertNotIn("clear", sink.kinds())
        self.assertEqual(len(line.llm.asked), 1)

    def test_an_agent_that_must_not_be_interrupted(self) -> None:
        """It is not stopped by the first key; the whole entry is heard."""
        turns = TurnSettings(eager_transcription=False, allow_interruptions=False)
        line, call, sink = self.begin(keys(LONG), keys("Thanks."), turns=turns)
        self.asked(line, call, 0.3)
        line.press(call, "12")
        line.silence(call, 0.4)
        self.assertNotIn("clear", sink.kinds())
        line.silence(call, 4.0)
        self.assertIn("DTMF: 12", self.entries(line)[-1])

    def test_who_types_is_there(self) -> None:
        """A caller who answers with keys is not asked time and again, and not hung up on."""
        replies: Sequence[list[object]] = [keys("Yes.") for _ in range(20)]
        line, call, sink = self.begin(*replies)
        object.__setattr__(line.settings.agent, "user_idle_timeout_secs", 3.0)
        for _ in range(6):
            line.silence(call, 4.0)
            line.press(call, "1#")
        line.silence(call, 1.0)
        self.assertIsNone(sink.closed)


class FactsTests(KeysTestCase):
    def test_what_the_call_is_about(self) -> None:
        """What was given with an outbound call reaches the model as a system message behind the prompt."""
        for prompt in ("Be brief.", ""):
            line = Line(keys("Yes."), settings=make_settings(greeting="", system_prompt=prompt))
            self.addCleanup(line.registry.abort_all, 1001, "test over")
            body = {"name": "Zoë", "order": [{"id": 7}]}
            call, _ = line.dial(SID, Expected("ours", "twilio", SID, outbound=True, body=body))
            line.press(call, "0#")
            line.silence(call, 0.5)
            facts = 'Facts about this call: {"name": "Zoë", "order": [{"id": 7}]}'
            system = [m.text for m in line.llm.asked[0] if m.role == "system"]
            self.assertEqual(system, [*([prompt] if prompt else []), facts])
