"""Who speaks when: the dialogue with its real pipeline, mouth and pacer, fake providers and a fake clock."""

from __future__ import annotations

from typing import ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.fakes import FakeModel, FakeSynthesizer, FakeTranscriber, RecordingSink
from voxray.call.conversation import Conversation
from voxray.call.dialogue import RESUME_AFTER_SECS, Dialogue
from voxray.call.floor import FloorState
from voxray.call.keypress import KeyPress
from voxray.call.mouth import Mouth
from voxray.call.pacer import Pacer
from voxray.call.phrases import PhraseBook
from voxray.call.pipeline import Pipeline
from voxray.call.times import TurnReport
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import ULAW_8K, CallInfo, EndCall, Message, TextDelta, Utterance
from voxray.interfaces import Providers
from voxray.metrics import Metrics
from voxray.settings import AgentSettings, TurnSettings

DOWN = ProviderError("fake", ErrorKind.OVERLOADED, "down")


class Rig:
    """One dialogue, its clock and its ears."""

    live: ClassVar[list[Rig]] = []

    def __init__(self, *replies: object, turns: TurnSettings | None = None, **agent: object) -> None:
        self.live.append(self)
        self.clock = Clock()
        self.clock.advance(100)
        self.sink = RecordingSink()
        self.stt, self.llm, self.tts = FakeTranscriber(), FakeModel(*replies), FakeSynthesizer()  # type: ignore[arg-type]
        self.metrics = Metrics()
        self.reports: list[TurnReport] = []
        self.finished: list[str] = []
        self.transferred: list[str] = []
        self.hints: list[str] = []
        self.pacer = Pacer(self.sink, ULAW_8K, b"\xff", audible=lambda now: self.dialogue.audible(now))
        mouth = Mouth(self.pacer, ULAW_8K, self.clock)
        info = CallInfo("call-1")
        keys = KeyPress(call=info, mouth=mouth, sink=self.sink, control=None, clock=self.clock)
        self.settings = AgentSettings(system_prompt="Be brief.", apology="Sorry about that.", **agent)  # type: ignore[arg-type]
        self.phrases = PhraseBook(self.tts)
        Deferred.fromCoroutine(self.phrases.prepare([self.settings.greeting, self.settings.apology]))
        self.tts.said.clear()
        self.talk = Conversation(self.settings.system_prompt)
        self.dialogue = Dialogue(
            pipeline=Pipeline(
                Providers(self.stt, self.llm, self.tts), mouth, info, self.clock, self.metrics, keys.press
            ),
            mouth=mouth,
            conversation=self.talk,
            phrases=self.phrases.on(ULAW_8K),
            agent=self.settings,
            turns=turns or TurnSettings(eager_transcription=False),
            clock=self.clock,
            metrics=self.metrics,
            finish=self.finished.append,
            transfer=self.transferred.append,
            report=self.reports.append,
            hint=self.hints.append,
        )

    def run(self, secs: float) -> None:
        """Time passes, 20 ms at a time, with the pacer's beat and the call's slow check."""
        for step in range(round(secs / 0.02)):
            self.clock.advance(0.02)
            self.pacer.tick(self.clock.seconds())
            if step % 25 == 24:
                self.dialogue.elapsed(self.clock.seconds())

    def caller(self, text: str, start: float = 0.0, end: float = 1000.0) -> None:
        """A whole turn of the caller's, understood at once."""
        self.dialogue.turn_ended(utterance(start, end), self.clock.seconds() - 0.6)
        self.stt.answer(text)
        self.settle()

    def settle(self) -> None:
        """The stages hand over in reactor turns of their own."""
        for _ in range(5):
            self.clock.advance(0)

    @property
    def messages(self) -> list[tuple[str, str]]:
        return [(m.role, m.text) for m in self.talk.messages()][1:]


def utterance(start: float = 0.0, end: float = 1000.0) -> Utterance:
    return Utterance(b"\xff" * 8000, ULAW_8K, start, end)


def words(text: str) -> list[TextDelta]:
    return [TextDelta(text)]


class DialogueTestCase(SynchronousTestCase):
    def tearDown(self) -> None:
        """A call always ends: so do the ones of these tests."""
        while Rig.live:
            Rig.live.pop().dialogue.stop()


class TurnTests(DialogueTestCase):
    def test_the_greeting_needs_no_synthesis(self) -> None:
        """It was made before the call: its first packet leaves in the same reactor turn."""
        rig = Rig(greeting="Hello, this is the office.")
        rig.dialogue.say(rig.settings.greeting)
        self.assertEqual(len(rig.sink.audio), 200 * 8)
        self.assertEqual(rig.tts.said, [])
        self.assertIs(rig.dialogue.state, FloorState.SPEAKING)
        rig.run(1.0)
        self.assertIs(rig.dialogue.state, FloorState.LISTENING)
        self.assertEqual(rig.messages, [("assistant", "Hello, this is the office.")])

    def test_a_turn(self) -> None:
        """What was said goes to the model; the reply is spoken and, once heard, remembered."""
        rig = Rig(words("We open at nine."))
        rig.caller("When do you open?")
        self.assertEqual(
            rig.llm.asked, [[Message("system", "Be brief."), Message("user", "When do you open?")]]
        )
        self.assertEqual(rig.messages, [("user", "When do you open?")])
        rig.run(1.0)
        self.assertEqual(rig.messages[-1], ("assistant", "We open at nine."))
        self.assertEqual(len(rig.sink.audio), 4 * 800)
        [report] = rig.reports
        self.assertEqual((report.heard, report.replied), ("When do you open?", "We open at nine."))
        self.assertEqual(report.parts_ms["total"], 600.0)
        self.assertEqual(report.parts_ms["own"], 0.0)

    def test_sentences_are_spoken_while_the_model_talks(self) -> None:
        """The first sentence is audible though the second has not been written."""
        more = Deferred[None]()
        rig = Rig([TextDelta("We open at nine. "), more, TextDelta("And close at five.")])
        rig.caller("When?")
        self.assertEqual(rig.tts.said, ["We open at nine."])
        self.assertGreater(len(rig.sink.audio), 0)
        more.callback(None)
        rig.run(2.0)
        self.assertEqual(rig.tts.said, ["We open at nine.", "And close at five."])

    def test_nothing_understood_is_no_turn(self) -> None:
        """Noise in the silence asks nobody anything."""
        rig = Rig()
        rig.caller("")
        self.assertEqual(rig.llm.asked, [])
        self.assertIs(rig.dialogue.state, FloorState.LISTENING)

    def test_the_agent_ends_the_call(self) -> None:
        """Only when its last words were heard."""
        rig = Rig([TextDelta("Goodbye."), EndCall("agent")])
        rig.caller("That is all.")
        self.assertEqual(rig.finished, [])
        rig.run(0.5)
        self.assertEqual(rig.finished, ["agent"])

    def test_keys_are_a_turn(self) -> None:
        """The model is told the digits."""
        rig = Rig(words("Thank you."))
        rig.dialogue.keys("42")
        self.assertEqual(rig.messages, [("user", "DTMF: 42")])


class InterruptionTests(DialogueTestCase):
    LONG = "one two three four five six seven eight nine ten"

    def speaking(self, secs: float = 0.5, **options: object) -> Rig:
        rig = Rig(words(self.LONG), words("Yes."), **options)
        rig.caller("Count to ten.")
        rig.run(secs)
        return rig

    def test_all_in_one_reactor_turn(self) -> None:
        """Stages cancelled, queue dropped, clear sent, nothing of the old reply afterwards."""
        rig = Rig([TextDelta("one two three. "), Deferred()])
        rig.tts.gate = Deferred()
        rig.tts.gate.callback(None)
        rig.caller("Count.")
        rig.tts.gate = Deferred()
        rig.run(0.2)
        rig.dialogue.barge_in(0.25)
        self.assertEqual(rig.sink.kinds()[-1], "clear")
        self.assertEqual(rig.llm.closed, 1)
        self.assertEqual(rig.tts.closed, 2)  # the apology, made in advance, and the reply
        self.assertEqual(rig.pacer.generation, 1)
        sent = len(rig.sink.sent)
        rig.run(1.0)
        self.assertEqual(len(rig.sink.sent), sent)

    def test_the_model_knows_what_was_heard(self) -> None:
        """Half a second of a word each 100 ms is five words; no more are remembered."""
        rig = self.speaking(0.5)
        rig.dialogue.barge_in(0.25)
        heard = rig.messages[-1][1].split()
        self.assertEqual(rig.messages[-1][0], "assistant")
        self.assertTrue(4 <= len(heard) <= 6, heard)
        self.assertTrue(rig.reports[-1].interrupted)

    def test_what_the_caller_said_is_answered(self) -> None:
        """A real interruption is a turn."""
        rig = self.speaking()
        rig.dialogue.speech_started()
        rig.dialogue.barge_in(0.25)
        rig.run(0.5)
        rig.caller("Stop please, I need something else.", 1000, 2000)
        rig.run(1.0)
        self.assertEqual(rig.messages[-1], ("assistant", "Yes."))

    def test_a_false_interruption_is_resumed(self) -> None:
        """No words in it: the agent says the rest, and in the end has said everything once."""
        rig = self.speaking()
        rig.dialogue.speech_started()
        rig.dialogue.barge_in(0.25)
        rig.caller("mhm", 1000, 1500)
        rig.run(2.0)
        self.assertEqual(rig.messages[-1][1].split(), self.LONG.split())
        self.assertEqual(len(rig.llm.asked), 1)

    def test_a_cough_that_never_becomes_a_turn_is_resumed(self) -> None:
        """The detector fired, no speech came of it: the agent goes on by itself."""
        rig = self.speaking()
        rig.dialogue.barge_in(0.25)
        rig.run(RESUME_AFTER_SECS + 2.0)
        self.assertEqual(rig.messages[-1][1].split(), self.LONG.split())

    def test_resume_can_be_switched_off(self) -> None:
        """Then the agent stays silent."""
        turns = TurnSettings(eager_transcription=False, resume_false_interruption=False)
        rig = self.speaking(turns=turns)
        rig.dialogue.speech_started()
        rig.dialogue.barge_in(0.25)
        rig.caller("", 1000, 1500)
        rig.run(3.0)
        self.assertNotIn("ten", rig.messages[-1][1])

    def test_mhm_does_not_stop_the_agent(self) -> None:
        """A back-channel heard while the agent speaks changes nothing."""
        rig = self.speaking()
        rig.dialogue.speech_started()
        rig.caller("uh-huh", 500, 900)
        rig.run(2.0)
        self.assertNotIn("clear", rig.sink.kinds())
        self.assertEqual(rig.messages[-1], ("assistant", self.LONG))

    def test_words_stop_the_agent_even_if_their_sound_did_not(self) -> None:
        """The second stage: what the acoustic detector let pass is decided by its words."""
        rig = self.speaking()
        rig.caller("Wait, I meant tomorrow morning.", 500, 900)
        self.assertIn("clear", rig.sink.kinds())
        rig.run(1.0)
        self.assertEqual(rig.messages[-1], ("assistant", "Yes."))

    def test_an_agent_that_must_not_be_interrupted(self) -> None:
        """It finishes, then answers what was said meanwhile."""
        rig = self.speaking(turns=TurnSettings(eager_transcription=False, allow_interruptions=False))
        rig.caller("I need something else.", 500, 900)
        self.assertNotIn("clear", rig.sink.kinds())
        rig.run(2.0)
        self.assertEqual(
            rig.messages[-3:],
            [("assistant", self.LONG), ("user", "I need something else."), ("assistant", "Yes.")],
        )

    def test_twenty_interruptions(self) -> None:
        """Barge-in works the twentieth time as the first."""
        rig = Rig(*[words(self.LONG) for _ in range(21)])
        rig.caller("Go.")
        for i in range(20):
            rig.run(0.4)
            self.assertIs(rig.dialogue.state, FloorState.SPEAKING, i)
            rig.dialogue.speech_started()
            rig.dialogue.barge_in(0.2)
            rig.caller(f"No, number {i} please.", i, i + 1)
        self.assertEqual(rig.sink.kinds().count("clear"), 20)
        self.assertEqual(rig.dialogue.turns, 21)


class SecondThoughtTests(DialogueTestCase):
    def test_speech_while_thinking_holds_the_reply(self) -> None:
        """The caller goes on: nothing is said into it, and both halves are answered together."""
        gate = Deferred[None]()
        rig = Rig([gate, TextDelta("Noted.")], words("At ten then."))
        rig.caller("I would like")
        rig.dialogue.speech_started()
        gate.callback(None)
        rig.run(0.5)
        self.assertEqual(rig.sink.audio, b"")
        rig.caller("an appointment at ten.", 1200, 2000)
        rig.run(1.0)
        self.assertEqual(
            rig.messages, [("user", "I would like an appointment at ten."), ("assistant", "At ten then.")]
        )
        self.assertNotIn("clear", rig.sink.kinds())

    def test_noise_while_thinking_only_delays(self) -> None:
        """A cough before the reply does not silence the agent."""
        gate = Deferred[None]()
        rig = Rig([gate, TextDelta("Noted.")])
        rig.caller("I would like an appointment.")
        rig.dialogue.speech_started()
        gate.callback(None)
        rig.caller("", 1200, 1500)
        rig.run(0.5)
        self.assertEqual(rig.messages[-1], ("assistant", "Noted."))


class EarlyTests(DialogueTestCase):
    def test_one_transcription_for_pause_and_end(self) -> None:
        """What was begun at the pause serves the turn; the endpointer gets the words as a hint."""
        rig = Rig(words("Nine."), turns=TurnSettings())
        rig.dialogue.speech_paused(utterance())
        rig.stt.answer("When do you open?")
        self.assertEqual(rig.hints, ["When do you open?"])
        self.assertEqual(rig.llm.asked, [])
        rig.dialogue.turn_ended(utterance(), rig.clock.seconds())
        rig.run(1.0)
        self.assertEqual(len(rig.stt.asked), 1)
        self.assertEqual(len(rig.llm.asked), 1)

    def test_what_an_early_transcript_saves(self) -> None:
        """Its time is its own: none of it is in our share, nor in the wait after the turn."""
        rig = Rig(words("Nine."), turns=TurnSettings())
        rig.dialogue.speech_paused(utterance())
        rig.clock.advance(0.3)
        rig.stt.answer("When do you open?")
        rig.clock.advance(0.1)
        rig.dialogue.turn_ended(utterance(), rig.clock.seconds() - 0.6)
        rig.run(1.0)
        [report] = rig.reports
        self.assertEqual(report.parts_ms["stt"], 300.0)
        self.assertEqual(report.parts_ms["own"], 0.0)
        self.assertEqual(report.parts_ms["total"], 600.0)

    def test_speech_goes_on(self) -> None:
        """The early transcription is cancelled and the whole is transcribed."""
        rig = Rig(words("Nine."), turns=TurnSettings())
        rig.dialogue.speech_paused(utterance(0, 1000))
        rig.dialogue.speech_started()
        self.assertEqual(rig.stt.cancelled, 1)
        rig.dialogue.speech_paused(utterance(0, 2000))
        rig.dialogue.turn_ended(utterance(0, 2000), rig.clock.seconds())
        self.assertEqual(len(rig.stt.asked), 2)
        rig.stt.answer("When do you open on Sundays?")
        self.assertEqual(len(rig.llm.asked), 1)


class SilenceTests(DialogueTestCase):
    def test_an_idle_caller(self) -> None:
        """Asked twice, then goodbye and the end."""
        rig = Rig(
            greeting="Hi.", user_idle_timeout_secs=5.0, idle_prompt="Are you there?", goodbye="Bye now."
        )
        rig.dialogue.say("Hi.")
        rig.run(25.0)
        self.assertEqual(rig.tts.said, ["Are you there?", "Are you there?", "Bye now."])
        self.assertEqual(rig.finished, ["idle"])

    def test_a_caller_who_speaks_is_not_idle(self) -> None:
        """Words set the prompts back."""
        rig = Rig(words("Fine."), user_idle_timeout_secs=5.0, idle_prompt="Are you there?")
        rig.run(4.0)
        rig.caller("Just a moment.")
        rig.run(4.0)
        self.assertEqual(rig.tts.said, ["Fine."])


@shows("F5")
class FaultTests(DialogueTestCase):
    def test_the_model_fails(self) -> None:
        """The caller hears an apology that needs no vendor, and can try again."""
        rig = Rig([DOWN], words("Nine."))
        rig.caller("When?")
        self.assertGreater(len(rig.sink.audio), 0)
        rig.run(1.0)
        self.assertEqual(rig.tts.said, [])
        rig.caller("When?", 2000, 3000)
        rig.run(1.0)
        self.assertEqual(rig.messages[-1], ("assistant", "Nine."))

    def test_the_model_fails_half_way(self) -> None:
        """What was heard stays in the conversation."""
        rig = Rig([TextDelta("We open at nine. "), Deferred()])
        rig.caller("When?")
        rig.run(0.2)
        self.assertIs(rig.dialogue.state, FloorState.SPEAKING)

    def test_the_synthesizer_fails(self) -> None:
        """The apology is there all the same."""
        rig = Rig(words("We open at nine."))
        rig.tts.error = DOWN
        rig.caller("When?")
        self.assertEqual(len(rig.sink.audio), 200 * 8)

    def test_the_transcriber_fails(self) -> None:
        """The caller is asked to say it again."""
        rig = Rig()
        rig.dialogue.turn_ended(utterance(), 0.0)
        rig.stt.fail(DOWN)
        rig.settle()
        self.assertEqual(len(rig.sink.audio), 200 * 8)
        self.assertEqual(rig.llm.asked, [])

    def test_a_fault_of_ours_is_logged_and_survived(self) -> None:
        """An exception nobody expected ends the reply, not the call."""
        rig = Rig([ValueError("bug")], words("Nine."))
        rig.caller("When?")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        rig.run(1.0)
        rig.caller("When?", 2000, 3000)
        rig.run(1.0)
        self.assertEqual(rig.messages[-1], ("assistant", "Nine."))

    @shows("F17")
    def test_stop_leaves_nothing(self) -> None:
        """The end of a call cancels all stages; no timer stays."""
        rig = Rig([TextDelta("We open at nine. "), Deferred()])
        rig.caller("When?")
        rig.dialogue.turn_ended(utterance(3000, 4000), 0.0)
        rig.dialogue.stop()
        self.assertEqual(rig.llm.closed, 1)
        self.assertEqual(rig.stt.cancelled, 1)
        rig.settle()
        self.assertEqual(rig.clock.getDelayedCalls(), [])
