"""Silences while a vendor takes its time, turns that fail: what the caller hears, what the model is told."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.fakes import FakeControl
from tests.test_call_call import Line, make_settings
from tests.test_call_dialogue import DOWN, DialogueTestCase, Rig, utterance, words
from tests.test_call_transfer import SALES, SID
from voxray.call.floor import FloorState
from voxray.call.patience import FailedTurns, Idle
from voxray.errors import CarrierError
from voxray.frames import ULAW_8K, EndCall, Message, PressKeys, StreamStopped, TextDelta, Transfer
from voxray.settings import AgentSettings

ALL = ("Hold it.", "Goodbye now.", "Over to them.")


class Waiting(Rig):
    """Its phrases are there; `heard` tells the phrases and the sentences apart by their bytes."""

    def __init__(self, *replies: object, **agent: object) -> None:
        given = {"hold_phrase": "Hold it.", "failure_goodbye": "Goodbye now.", **agent}
        super().__init__(*replies, **given)
        Deferred.fromCoroutine(self.phrases.prepare(ALL))
        self.tts.said.clear()

    @property
    def silences(self) -> int:
        """Sounds that broke one."""
        value = self.metrics.registry.get_sample_value
        return sum(int(value("voxray_holds_total", {"what": what}) or 0) for what in ("phrase", "beep"))

    def to_first_sound(self, most: float = 20.0) -> float:
        """Seconds from the caller's last word (0.6 before the turn's end) to the first packet."""
        began = self.clock.seconds()
        while not self.sink.audio and self.clock.seconds() - began < most:
            self.run(0.5)
        return self.clock.seconds() - began + 0.6


class HoldTests(DialogueTestCase):
    def test_each_stage(self) -> None:
        """Whichever stage hangs, the caller hears something within four seconds of the last word."""
        for stage in ("stt", "llm", "tts"):
            never = Deferred[None]()
            rig = Waiting([never] if stage == "llm" else words("Nine."))
            if stage == "tts":
                rig.tts.gate = Deferred()
            rig.dialogue.turn_ended(utterance(), rig.clock.seconds() - 0.6)
            if stage != "stt":
                rig.stt.answer("When do you open?")
                rig.settle()
            self.assertLessEqual(rig.to_first_sound(), 4.0, stage)
            self.assertEqual(rig.silences, 1)
            self.assertIsNot(rig.dialogue.state, FloorState.SPEAKING)

    def test_never_four_seconds_of_nothing(self) -> None:
        """The phrase once, then a beep each time, until there is an answer."""
        rig = Waiting([Deferred[None]()], answer_timeout_secs=60.0)
        rig.caller("When do you open?")
        last, seen = rig.clock.seconds() - 0.6, 0
        for _ in range(40):
            rig.run(0.5)
            if len(rig.sink.audio) > seen:
                seen = len(rig.sink.audio)
                self.assertLessEqual(rig.clock.seconds() - last, 4.0)
                last = rig.clock.seconds()
        value = rig.metrics.registry.get_sample_value
        self.assertEqual(value("voxray_holds_total", {"what": "phrase"}), 1.0)
        self.assertGreaterEqual(value("voxray_holds_total", {"what": "beep"}) or 0, 4)

    def test_the_model_is_not_told(self) -> None:
        """The reply follows the phrase, whole; the conversation and the report have the reply alone."""
        slow = Deferred[None]()
        rig = Waiting([slow, *words("We open at nine.")])
        rig.caller("When do you open?")
        rig.run(3.2)
        self.assertEqual(rig.silences, 1)
        slow.callback(None)
        rig.settle()
        rig.run(3.0)
        self.assertEqual(rig.messages, [("user", "When do you open?"), ("assistant", "We open at nine.")])
        self.assertEqual(rig.sink.audio[: 2 * 800], bytes([4]) * 800 + bytes([3]) * 800)  # "Hold", "it."
        self.assertTrue(
            rig.sink.audio.endswith(b"\x02" * 800 + b"\x04" * 800 + b"\x02" * 800 + b"\x05" * 800)
        )
        [report] = rig.reports
        self.assertEqual(report.replied, "We open at nine.")
        self.assertGreater(report.parts_ms["total"], 3000, "the reply's time, not the phrase's")

    def test_an_answer_in_the_midst_of_it(self) -> None:
        """It waits for the phrase to end, has the floor from its own first packet, and can be interrupted."""
        slow = Deferred[None]()
        rig = Waiting([slow, *words("one two three four five six seven eight")])
        rig.caller("Count.")
        rig.run(2.5)
        self.assertEqual(rig.silences, 1)
        self.assertIs(rig.dialogue.state, FloorState.THINKING)
        slow.callback(None)
        rig.settle()
        self.assertIs(rig.dialogue.state, FloorState.THINKING)
        rig.run(0.7)
        self.assertIs(rig.dialogue.state, FloorState.SPEAKING)
        rig.dialogue.barge_in(0.1)
        self.assertIn("clear", rig.sink.kinds())
        heard = rig.messages[-1][1].split()
        self.assertIn(len(heard), range(2, 7))
        self.assertEqual(heard[0], "one")

    def test_speaking_into_it(self) -> None:
        """The caller thinks aloud: the phrase stops at once, and both turns make one answer."""
        rig = Waiting([Deferred[None]()], words("Yes to both."))
        rig.caller("Are you open?")
        rig.run(2.5)
        sent = len(rig.sink.audio)
        rig.dialogue.speech_started()
        rig.run(0.5)
        self.assertEqual(len(rig.sink.audio), sent)
        rig.caller("On Sundays too?", 2000.0, 3000.0)
        rig.run(1.5)
        self.assertEqual(
            rig.messages, [("user", "Are you open? On Sundays too?"), ("assistant", "Yes to both.")]
        )

    def test_a_cough_into_it(self) -> None:
        """A noise changes nothing: the answer that is being made comes."""
        slow = Deferred[None]()
        rig = Waiting([slow, *words("We open at nine.")])
        rig.caller("When do you open?")
        rig.run(2.5)
        rig.dialogue.speech_started()
        rig.run(0.3)
        rig.caller("", 2000.0, 2100.0)
        slow.callback(None)
        rig.settle()
        rig.run(2.0)
        self.assertEqual(rig.messages[-1], ("assistant", "We open at nine."))

    def test_speaking_into_it_while_the_transcriber_is_slow(self) -> None:
        """The phrase stops there as well, and nothing stays muted."""
        rig = Waiting(words("Yes."), words("Yes to both."))
        rig.dialogue.turn_ended(utterance(), rig.clock.seconds() - 0.6)
        rig.run(2.5)
        self.assertEqual(rig.silences, 1)
        rig.dialogue.speech_started()
        sent = len(rig.sink.audio)
        rig.run(0.5)
        self.assertEqual(len(rig.sink.audio), sent)
        rig.stt.answer("Are you open?")
        rig.settle()
        rig.run(1.0)
        self.assertEqual(rig.messages[-1], ("assistant", "Yes."))

    def test_between_two_sentences(self) -> None:
        """A reply that runs dry is a silence too; what was heard of it is right, and the rest follows."""
        more = Deferred[None]()
        rig = Waiting([*words("We open at nine. "), *words("And "), more, *words("close at five.")])
        rig.caller("When do you open?")
        rig.run(3.5)
        self.assertEqual(rig.silences, 1)
        more.callback(None)
        rig.settle()
        rig.run(2.0)
        self.assertEqual(rig.messages[-1], ("assistant", "We open at nine. And close at five."))

    def test_between_two_sentences_cut(self) -> None:
        """Interrupted in the second: the phrase between them was nobody's words."""
        more = Deferred[None]()
        rig = Waiting([*words("We open at nine. "), *words("And "), more, *words("close at five or six.")])
        rig.caller("When do you open?")
        rig.run(3.5)
        more.callback(None)
        rig.settle()
        rig.run(0.02)
        rig.dialogue.barge_in(0.1)
        heard = rig.messages[-1][1]
        self.assertTrue(heard.startswith("We open at nine."))
        self.assertNotIn("five", heard)

    def test_before_a_slow_voice(self) -> None:
        """A sentence that was asked for begins after the phrase: what was heard of it is right."""
        rig = Waiting(words("one two three four five six seven eight nine ten"), hold_phrase="w " * 20)
        Deferred.fromCoroutine(rig.phrases.prepare(["w " * 20]))
        rig.tts.gate = gate = Deferred[None]()
        rig.caller("Count.")
        rig.run(2.5)
        self.assertEqual(rig.silences, 1)
        gate.callback(None)
        rig.run(2.3)
        self.assertIs(rig.dialogue.state, FloorState.SPEAKING)
        rig.dialogue.barge_in(0.1)
        self.assertIn(rig.messages[-1], [("assistant", text) for text in ("one two", "one two three", "one")])

    def test_in_the_midst_of_a_sentence(self) -> None:
        """Nothing is put between two words: a voice that stalls has failed soon enough."""
        rig = Waiting(words("one two three four"))
        rig.caller("Count.")
        rig.run(0.02)
        pushed = rig.pacer.pushed_ms
        self.assertGreater(pushed, 0)
        rig.dialogue._mouth.begin("five six")
        rig.dialogue._mouth._push(b"\x01" * 800)
        self.assertFalse(rig.dialogue._mouth.aside(b"\x7f" * 800))
        self.assertEqual(rig.pacer.pushed_ms, pushed + 100)

    def test_keys(self) -> None:
        """Waits between keys are no silence: whom we have dialled is a machine."""
        rig = Waiting([PressKeys("w" * 20 + "1"), EndCall("agent")])
        rig.caller("Press one.")
        rig.run(16.0)
        self.assertEqual(rig.silences, 0)
        self.assertEqual(rig.finished, ["agent"])

    def test_off(self) -> None:
        """With 0 seconds nothing is said."""
        rig = Waiting([Deferred[None]()], hold_after_secs=0.0)
        rig.caller("When do you open?")
        rig.run(11.0)
        self.assertEqual(rig.sink.audio, b"")

    def test_a_reply_that_never_comes(self) -> None:
        """A model that says nothing for ever has failed after twelve seconds; the next turn is answered."""
        rig = Waiting([Deferred[None]()], words("Nine."))
        rig.caller("When do you open?")
        rig.run(15.0)
        self.assertEqual(rig.llm.closed, 1)
        self.assertEqual(rig.messages[-1], ("assistant", "Sorry about that."))
        rig.caller("When?")
        rig.run(1.0)
        self.assertEqual(rig.messages[-1], ("assistant", "Nine."))

    def test_a_transcript_that_never_comes(self) -> None:
        """Nor is a transcriber waited for without end."""
        rig = Waiting(words("Nine."))
        rig.dialogue.turn_ended(utterance(), rig.clock.seconds() - 0.6)
        rig.run(15.0)
        self.assertEqual(rig.stt.cancelled, 1)
        self.assertEqual(rig.messages, [("assistant", "Sorry about that.")])
        rig.stt.asked.clear()
        rig.caller("When?")
        rig.run(1.0)
        self.assertEqual(rig.messages[-1], ("assistant", "Nine."))


class WhatThereIsTests(DialogueTestCase):
    @shows("F5")
    def test_llm(self) -> None:
        """F5: whole sentences of a reply that breaks off are heard, then the apology; half a one is not."""
        rig = Waiting([*words("We open at nine. But only on"), DOWN])
        rig.caller("When do you open?")
        rig.run(4.0)
        self.assertEqual(rig.messages[-1], ("assistant", "We open at nine. Sorry about that."))
        self.assertEqual(rig.reports[0].replied, "We open at nine.")
        self.assertNotIn("clear", rig.sink.kinds())

    @shows("F11")
    def test_tts(self) -> None:
        """F11: a voice that fails in mid-word: what was made is played, once, and no more is believed."""
        rig = Waiting(words("one two three four five six seven eight nine ten."))
        rig.tts.gate = gate = Deferred[None]()
        rig.caller("Count.")
        rig.tts.gate = more = Deferred[None]()
        gate.callback(None)
        rig.settle()
        more.addErrback(lambda failure: None)
        rig.run(0.06)
        more.errback(DOWN)
        rig.run(3.0)
        said = rig.messages[-1][1]
        self.assertTrue(said.endswith("Sorry about that."))
        self.assertNotIn("four", said)
        self.assertEqual(rig.tts.said, ["one two three four five six seven eight nine ten."])

    def test_barge_in_before_the_apology(self) -> None:
        """What there is can be interrupted like any other words; then nobody apologises."""
        rig = Waiting([*words("We open at nine in the morning every day. "), DOWN], words("Five."))
        rig.caller("When do you open?")
        rig.run(0.3)
        rig.dialogue.barge_in(0.1)
        rig.caller("And when do you close?")
        rig.run(2.0)
        self.assertNotIn("Sorry", str(rig.messages))
        self.assertEqual(rig.messages[-1], ("assistant", "Five."))


class FailedTurnsTests(SynchronousTestCase):
    AGENT: ClassVar[AgentSettings] = AgentSettings(
        apology="a", failure_goodbye="g", failure_handover="h", failure_transfer="desk"
    )

    def of(self, kind: str, most: int = 3) -> FailedTurns:
        return FailedTurns(replace(self.AGENT, on_provider_failure=kind, failed_turns_max=most))

    def test_in_a_row(self) -> None:
        """Only those in a row count."""
        turns = self.of("hangup")
        self.assertEqual([turns.failed().text for _ in range(2)], ["a", "a"])
        turns.answered()
        self.assertEqual([turns.failed().text for _ in range(3)], ["a", "a", "g"])

    def test_kinds(self) -> None:
        """Hang up, transfer (and hang up where that was refused), or apologise for ever."""
        self.assertEqual([self.of("apologise").failed().text for _ in range(9)], ["a"] * 9)
        done = self.of("transfer", 1)
        first, second = done.failed(), done.failed()
        self.assertEqual((first.text, first.then), ("h", Transfer("desk")))
        self.assertEqual((second.text, second.then), ("g", EndCall("provider_failure")))


class IdleTests(SynchronousTestCase):
    def test_prompts(self) -> None:
        """Prompts, then the end; a word begins it all again."""
        idle = Idle(AgentSettings(user_idle_timeout_secs=3.0, idle_prompts_max=1), 0.0)
        self.assertIsNone(idle.due(2.9))
        self.assertEqual(idle.due(3.0), ("Are you still there?", None))
        idle.quiet(4.0)
        self.assertIsNone(idle.due(6.9))
        idle.spoke(5.0)
        self.assertEqual(idle.due(8.0), ("Are you still there?", None))
        self.assertEqual(idle.due(9.0), ("Thank you for calling. Goodbye.", EndCall("idle")))


class GivingUpTests(SynchronousTestCase):
    """Whole calls whose model is dead."""

    def begin(self, control: FakeControl | None, **agent: object) -> Line:
        told = {
            "greeting": "",
            "apology": "Sorry.",
            "failure_goodbye": "Goodbye now.",
            "failure_handover": "Over to them.",
            "transfers": {"sales": SALES},
            **agent,
        }
        line = Line(*[[DOWN]] * 9, control=control, settings=make_settings(**told))
        self.addCleanup(line.registry.abort_all, 1001, "test over")
        Deferred.fromCoroutine(line.exchange.phrases.prepare(["Sorry.", *ALL]))
        self.call, self.sink = line.dial(SID)
        return line

    def fail(self, line: Line, times: int) -> None:  # type: ignore[override]
        for _ in range(times):
            line.press(self.call, "1#")
            line.silence(self.call, 1.0)

    def test_hang_up(self) -> None:
        """After three failed turns: goodbye, the hang-up, a reason of its own; no vendor is needed for it."""
        control = FakeControl()
        line = self.begin(control)
        self.fail(line, 2)
        self.assertEqual(control.hung_up, [])
        self.fail(line, 1)
        self.assertEqual(control.hung_up, [SID])
        self.assertTrue(self.sink.audio.rstrip(b"\xff").endswith(bytes([7]) * 800 + bytes([4]) * 800))
        self.call.receive(StreamStopped())
        self.assertEqual(line.count("voxray_calls_ended_total", reason="provider_failure"), 1)
        self.assertEqual(line.count("voxray_failed_turns_total", outcome="apology"), 2)
        self.assertEqual(line.count("voxray_failed_turns_total", outcome="hangup"), 1)
        self.assertEqual(len(line.llm.asked), 3)

    def test_keys_do_not_stop_the_goodbye(self) -> None:
        """Nor does a voice: a noisy line must not make an endless loop of goodbyes."""
        control = FakeControl()
        line = self.begin(control)
        self.fail(line, 2)
        line.press(self.call, "1#")
        line.silence(self.call, 0.04)
        line.press(self.call, "2")
        self.call._dialogue.barge_in(0.1)
        line.silence(self.call, 1.0)
        self.assertNotIn("clear", self.sink.kinds())
        self.assertEqual(control.hung_up, [SID])

    def test_transfer(self) -> None:
        """To the name that is configured, after its own words; the call ends as transferred."""
        control = FakeControl()
        line = self.begin(control, on_provider_failure="transfer", failure_transfer="sales")
        self.fail(line, 3)
        [(sid, number, _)] = control.transferred
        self.assertEqual((sid, number, control.hung_up), (SID, SALES, []))
        self.call.receive(StreamStopped())
        self.assertEqual(line.count("voxray_calls_ended_total", reason="transferred"), 1)

    def test_transfer_refused(self) -> None:
        """The carrier will not: then it is goodbye, at once."""
        control = FakeControl(CarrierError("twilio", "500"))
        line = self.begin(control, on_provider_failure="transfer", failure_transfer="sales")
        self.fail(line, 4)
        self.assertEqual((len(control.transferred), control.hung_up), (1, [SID]))

    def test_apologise(self) -> None:
        """As long as the caller likes."""
        control = FakeControl()
        line = self.begin(control, on_provider_failure="apologise")
        self.fail(line, 8)
        self.assertEqual((len(line.llm.asked), control.hung_up), (8, []))

    def test_a_good_turn_between(self) -> None:
        """One answer, and the caller has three more."""
        control = FakeControl()
        line = self.begin(control)
        line.llm.replies[2:2] = [[TextDelta("Yes.")]]
        self.fail(line, 5)
        self.assertEqual(control.hung_up, [])
        self.fail(line, 1)
        self.assertEqual(control.hung_up, [SID])

    def test_without_phrases(self) -> None:
        """The voice was dead from the start: beeps, and the same end."""
        control = FakeControl()
        line = self.begin(control)
        line.exchange.phrases._made.clear()
        line.exchange.phrases.on(ULAW_8K)._payloads.clear()
        self.fail(line, 3)
        self.assertEqual(control.hung_up, [SID])
        self.assertEqual(line.tts.said, ["Sorry.", *ALL], "nothing was asked of it meanwhile")

    def test_prompt_of_the_model(self) -> None:
        """What the model reads afterwards has the apologies that were heard, and no phrase in between."""
        line = self.begin(FakeControl())
        self.fail(line, 2)
        line.llm.replies[:] = [[TextDelta("Yes.")]]
        self.fail(line, 1)
        self.assertEqual(
            line.llm.asked[-1][-3:],
            [Message("user", "DTMF: 1"), Message("assistant", "Sorry."), Message("user", "DTMF: 1")],
        )
