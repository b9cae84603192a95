"""Scripts, the command line, voices, the demo's story: what is decided before and after a call."""

from __future__ import annotations

import json
import os
import wave
from pathlib import Path
from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.test_simulator_caller import tone
from voxray.frames import CallInfo, Encoding, MediaFormat, Speech, Transcript, Utterance
from voxray.simulator import g711, listen, story, voice
from voxray.simulator.arguments import plan_of
from voxray.simulator.measure import Turn, audible_span
from voxray.simulator.options import parser
from voxray.simulator.script import BadScript, Do, Step, parse_script
from voxray.simulator.session import Plan
from voxray.simulator.target import DialFailed


def run(coroutine):
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


class ScriptTests(SynchronousTestCase):
    def refused(self, document: object) -> str:
        return str(self.assertRaises(BadScript, parse_script, document))

    def test_every_kind_of_step(self) -> None:
        """A script file's verbs become steps, in order, with their expectations."""
        found = parse_script(
            {
                "expect_greeting": "hello",
                "expect_hangup": True,
                "steps": [
                    {"say": "What are your hours?", "expect_reply": "nine|ten", "max_latency_ms": 1500},
                    {"play": "book.wav", "text": "Monday"},
                    {"barge_in": "stop", "after": 2},
                    {"backchannel": "mhm.wav", "text": "mhm"},
                    {"wait": 1.5},
                    {"dtmf": "12 #"},
                    {"hang_up": True},
                ],
            }
        )
        self.assertEqual(
            [step.do for step in found.steps],
            [Do.SAY, Do.SAY, Do.BARGE_IN, Do.BACKCHANNEL, Do.WAIT, Do.DTMF, Do.HANG_UP],
        )
        self.assertEqual(found.steps[0].expect_reply, "nine|ten")
        self.assertEqual(found.steps[0].max_latency_ms, 1500)
        self.assertEqual((found.steps[1].file, found.steps[1].text), ("book.wav", "Monday"))
        self.assertEqual(found.steps[2].secs, 2)
        self.assertEqual((found.steps[3].file, found.steps[3].text), ("mhm.wav", "mhm"))
        self.assertEqual(found.steps[5].digits, "12#")
        self.assertTrue(found.expect_hang_up)

    def test_mistakes_name_the_step(self) -> None:
        """What makes no sense is refused with the number of the step."""
        cases = [
            ([], "object"),
            ({"step": []}, "unknown key 'step'"),
            ({"steps": {}}, "list"),
            ({"steps": [{"say": "a"}, {"shout": "b"}]}, "step 2: exactly one of"),
            ({"steps": [{"say": "a", "wait": 1}]}, "exactly one of"),
            ({"steps": [{"say": ""}]}, "needs words"),
            ({"steps": [{"say": "a", "afterwards": 1}]}, "unknown key 'afterwards'"),
            ({"steps": [{"wait": -1}]}, "'wait' is a number"),
            ({"steps": [{"wait": True}]}, "'wait' is a number"),
            ({"steps": [{"dtmf": "12E"}]}, "keys are"),
            ({"steps": [{"say": "a", "expect_reply": "("}]}, "expect_reply"),
            ({"steps": ["say"]}, "a step is an object"),
        ]
        for document, reason in cases:
            self.assertIn(reason, self.refused(document))

    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["steps", "say", "wait", "dtmf", "after", "barge_in", "text"]), inner
                )
            ),
        )
    )
    def test_any_json_is_a_script_or_refused(self, document: object) -> None:
        """No other exception, whatever the file holds."""
        try:
            parse_script(document)
        except BadScript:
            return


class CommandLineTests(SynchronousTestCase):
    def plan(self, *words: str) -> Plan:
        with patch.dict(os.environ, {"TWILIO_ACCOUNT_SID": "", "TWILIO_AUTH_TOKEN": ""}):
            return plan_of(parser().parse_args(words))

    def test_steps_keep_their_order(self) -> None:
        """Steps are done in the order typed; --after and --expect-reply belong to the step before."""
        plan = self.plan(
            *("--expect-reply", "hello", "--say", "a", "--wait", "2", "--barge-in", "b.wav", "--after", "3"),
            *("--expect-reply", "c", "--dtmf", "1", "--hang-up", "--expect-hangup"),
        )
        steps = plan.script.steps
        self.assertEqual([step.do for step in steps], [Do.SAY, Do.WAIT, Do.BARGE_IN, Do.DTMF, Do.HANG_UP])
        self.assertEqual(plan.script.expect_greeting, "hello")
        self.assertEqual((steps[2].file, steps[2].secs, steps[2].expect_reply), ("b.wav", 3, "c"))
        self.assertTrue(plan.script.expect_hang_up)

    def test_keys_may_expect_a_reply(self) -> None:
        """An expectation is kept for keys too; where nothing is answered it is refused, not forgotten."""
        (step,) = self.plan("--dtmf", "1#", "--expect-reply", "main menu").script.steps
        self.assertEqual((step.digits, step.expect_reply), ("1#", "main menu"))
        for words in (("--wait", "2"), ("--hang-up",)):
            self.assertRaises(BadScript, self.plan, *words, "--expect-reply", "x")

    def test_a_script_file_and_its_recordings(self) -> None:
        """Recordings named in a script file are found beside it; typed steps follow."""
        path = Path(self.mktemp())
        path.write_text(json.dumps({"steps": [{"play": "x.wav"}]}))
        steps = self.plan("--script", str(path), "--play", "y.wav").script.steps
        self.assertEqual([step.file for step in steps], [str(path.parent / "x.wav"), "y.wav"])

    def test_calls_stay_on_this_machine(self) -> None:
        """A webhook elsewhere needs --allow-remote."""
        self.assertRaises(DialFailed, self.plan, "--url", "https://example.com/")
        self.assertEqual(
            self.plan("--url", "https://example.com", "--allow-remote").target.url, "https://example.com/"
        )

    def test_mistakes(self) -> None:
        """Mistakes are refused before anything is dialled."""
        self.assertRaises(BadScript, self.plan, "--after", "2")
        self.assertRaises(BadScript, self.plan, "--say", "a", "--after", "2")
        self.assertRaises(BadScript, self.plan, "--calls", "0")
        self.assertRaises(BadScript, self.plan, "--script", "/nonexistent/file")
        self.assertRaises(DialFailed, self.plan, "--url", "localhost:8080")

    def test_help_names_every_option(self) -> None:
        """The help is grouped and has examples."""
        text = parser().format_help()
        for words in ("whom to call", "in this order", "examples:", "--barge-in", "--expect-hangup", "--wav"):
            self.assertIn(words, text)


class VoiceTests(SynchronousTestCase):
    def wav(self, rate: int, channels: int, samples: np.ndarray, width: int = 2) -> Path:
        path = Path(self.mktemp())
        with wave.open(str(path), "wb") as writer:
            writer.setnchannels(channels)
            writer.setsampwidth(width)
            writer.setframerate(rate)
            writer.writeframes(samples.tobytes())
        return path

    def test_any_rate_and_stereo(self) -> None:
        """A tone keeps its pitch and level from 44.1 kHz stereo and from 8 kHz mono."""
        for rate, channels in ((8000, 1), (16000, 1), (44100, 2), (22050, 1)):
            t = np.arange(rate) / rate
            one = (8000 * np.sin(2 * np.pi * 440 * t)).astype("<i2")
            path = self.wav(rate, channels, np.repeat(one, channels))
            heard = g711.decode(voice.load_wav(path)).astype(np.float64)
            self.assertLess(abs(heard.size - 8000), 3)
            spectrum = np.abs(np.fft.rfft(heard[:8000]))
            self.assertEqual(int(spectrum.argmax()), 440)
            self.assertLess(
                abs(float(np.sqrt((heard[500:-500] ** 2).mean())) / (8000 / np.sqrt(2)) - 1), 0.03
            )

    def test_what_is_no_recording(self) -> None:
        """Missing, empty, eight bit, not a WAV: refused by name."""
        nothing = self.wav(8000, 1, np.zeros(0, "<i2"))
        eight = self.wav(8000, 1, np.zeros(80, np.uint8), width=1)
        text = Path(self.mktemp())
        text.write_text("hello")
        for path in (nothing, eight, text, Path("/nonexistent.wav")):
            self.assertIn(str(path), str(self.assertRaises(BadScript, voice.load_wav, path)))

    def test_lines_are_synthesized_in_one_piece(self) -> None:
        """Pieces of a voice are joined before they are resampled; a silent voice is a mistake."""

        class Voice:
            def __init__(self, *pieces: bytes) -> None:
                self.pieces = pieces

            async def synthesize(self, text: str, call: CallInfo):
                for piece in self.pieces:
                    yield Speech(piece, MediaFormat(Encoding.L16, 16000))

        whole = (6000 * np.sin(np.arange(16000) * 0.2)).astype("<i2").tobytes()
        step = Step(Do.SAY, text="hello")
        (one,) = run(voice.prepare([step], Voice(whole)))
        (several,) = run(voice.prepare([step], Voice(whole[:9000], whole[9000:20000], whole[20000:])))
        self.assertEqual(one.audio, several.audio)
        self.assertEqual(len(one.audio), 8000)
        self.assertRaises(BadScript, run, voice.prepare([step], Voice()))
        self.assertRaises(BadScript, run, voice.prepare([step], None))

    def test_a_nod_is_hummed(self) -> None:
        """A back-channel no voice can say is a recording; the same word said plainly is the voice's."""
        nod = Step(Do.BACKCHANNEL, text="Mhm.")
        (made,) = run(voice.prepare([nod], None))
        self.assertEqual(made.audio, voice.load_wav(voice.CALLERS / "mm-hmm.wav"))
        self.assertRaises(BadScript, run, voice.prepare([Step(Do.SAY, text="mhm")], None))

    def test_where_speech_begins_and_ends(self) -> None:
        """Silence and a breath far below the voice are not speech."""
        quiet = g711.encode((40 * np.sin(np.arange(1600) * 0.4)).astype(np.int16))
        first, last = audible_span(b"\xff" * 1600 + tone(0.5) + quiet)
        self.assertEqual((round(first, 2), round(last, 2)), (0.2, 0.7))
        self.assertEqual(audible_span(b"\xff" * 800), (0.0, 0.0))

    def test_line_noise_is_quiet_and_the_same_each_time(self) -> None:
        """Noise at -65 dBFS is heard, is below what counts as speech, and does not change between runs."""
        noise = voice.line_noise(-65.0)
        self.assertEqual(noise, voice.line_noise(-65.0))
        samples = g711.decode(noise).astype(np.float64)
        self.assertTrue(5 < np.sqrt((samples**2).mean()) < 40)
        self.assertEqual(audible_span(noise), (0.0, 0.0))


class ListenTests(SynchronousTestCase):
    def test_long_replies_are_cut_at_a_quiet_place(self) -> None:
        """No piece is over twelve seconds, nothing is lost, the cut falls into the pause."""
        audio = tone(9.0) + b"\xff" * 2400 + tone(9.0)
        found = listen.pieces(audio)
        self.assertEqual(b"".join(found), audio)
        self.assertEqual(len(found), 2)
        self.assertTrue(9.0 <= len(found[0]) / 8000 <= 9.3)

    def test_each_reply_is_transcribed(self) -> None:
        """Turns with speech get words; those without stay None; only the turn's own audio is heard."""
        lengths: list[float] = []

        class Ears:
            async def transcribe(self, utterance: Utterance, call: CallInfo) -> Transcript:
                lengths.append(len(utterance.payload) / 8000)
                return Transcript(f"words {len(lengths)}")

        turns = [Turn(0, "greeting", "", 0.0, reply_began=0.5, reply_ended=1.5), Turn(1, "say", "x", 3.0)]
        heard = b"\xff" * 4000 + tone(1.0) + b"\xff" * 8000
        self.assertEqual(run(listen.transcribe_turns(turns, heard, Ears())), [])
        self.assertEqual([turn.heard for turn in turns], ["words 1", None])
        self.assertEqual([round(each, 2) for each in lengths], [1.6])


class StoryTests(SynchronousTestCase):
    """The demo's judgement."""

    def say(self, told: story.Story, text: str, do: Do = Do.SAY) -> None:
        told.line(Step(do, text=text))

    def event(self, told: story.Story, heard: str, interrupted: bool = False, **more: object) -> None:
        told.event({"event": "turn", "heard": heard, "replied": "r", "interrupted": interrupted} | more)

    def test_words_are_compared_kindly(self) -> None:
        """Spelling, case and numerals do not matter; other words do."""
        self.assertEqual(story.overlap("Monday at ten o'clock.", "monday at 10 o'clock"), 1.0)
        self.assertEqual(story.overlap("Tomorrow at nine A.M.", "Tomorrow at 9:00 am"), 1.0)
        self.assertGreaterEqual(story.overlap("Juliet.", "Juliette"), 1.0)
        self.assertEqual(story.overlap("Your location?", ""), 0.0)
        self.assertLess(story.overlap("Monday at ten o'clock.", "Thank you. Goodbye."), story.LEAST_OVERLAP)

    def test_a_silent_or_swapped_recording_is_noticed(self) -> None:
        """Heard as nothing, or as another line: the demo has failed."""
        told = story.Story()
        self.say(told, "Monday at ten o'clock.")
        self.event(told, "Thank you, goodbye")
        self.say(told, "Juliet.")
        self.assertEqual(len(told.misheard()), 2)
        self.assertIn("nothing was heard", told.misheard()[0])

    def test_one_line_may_be_misheard(self) -> None:
        """Recognisers err: one line of nonsense is let pass, two are not; another recording's words never."""
        told = story.Story(known=["They have been carried away by monkeys.", "Charlie."])
        self.say(told, "If this is correct.")
        self.event(told, "If Mrs. Carrad.")
        self.assertEqual(told.misheard(), [])
        self.say(told, "Victor.")
        self.event(told, "Really, add.")
        self.assertEqual(len(told.misheard()), 2)
        swapped = story.Story(known=["They have been carried away by monkeys.", "Charlie."])
        self.say(swapped, "Victor.")
        self.event(swapped, "Charlie!")
        self.assertEqual(len(swapped.misheard()), 1)

    def test_every_pair_of_demo_lines_differs(self) -> None:
        """Swapping any two lines of the demo is noticed."""
        for index, (_, _, said) in enumerate(story.LINES):
            for other, (_, _, heard) in enumerate(story.LINES):
                if index != other:
                    self.assertLess(story.overlap(said, heard), story.LEAST_OVERLAP, (said, heard))

    def test_an_interrupted_turn_belongs_to_the_line_before(self) -> None:
        """The event of a cut reply comes while the caller interrupts; it tells of the turn before."""
        told = story.Story()
        self.say(told, "this is correct")
        self.say(told, "your location", Do.BARGE_IN)
        self.event(told, "this is correct", interrupted=True, parts_ms={"total": 900})
        self.event(told, "your location", parts_ms={"total": 800.5, "odd": "x"})
        self.assertEqual([each.heard for each in told.chapters], ["", "this is correct", "your location"])
        self.assertEqual(told.chapters[1].parts_ms, {"total": 900.0})
        self.assertEqual(told.chapters[2].parts_ms, {"total": 800.5})
        self.assertEqual(told.misheard(), [])

    def test_a_line_heard_in_two_pieces(self) -> None:
        """Two turns of the daemon's inside one line of the caller's are read together."""
        told = story.Story()
        self.say(told, "one two three four")
        self.event(told, "one two")
        self.event(told, "three four")
        self.assertEqual(told.chapters[1].heard, "one two three four")
        self.assertIsNone(told.event({"event": "something else"}))

    def test_the_script_with_and_without_recordings(self) -> None:
        """Recordings are used where they are, with their own words; the local voice says the rest."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "victor.wav").write_bytes(b"")
        (folder / "callers.json").write_text(
            json.dumps({"recordings": [{"id": "victor", "text": "Victor, please."}]})
        )
        steps = story.script(folder).steps
        self.assertEqual(sum(bool(step.file) for step in steps), 1)
        self.assertEqual(steps[2].text, "Victor, please.")
        self.assertEqual(steps[4].do, Do.BARGE_IN)
        self.assertTrue(story.script(folder).expect_hang_up)
