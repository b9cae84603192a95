"""A whole call: socket frames in, packets out, with the energy detector, fake providers and a fake clock."""

from __future__ import annotations

import dataclasses
import itertools
import wave
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

import voxray
from tests.dangers import shows
from tests.fakes import FakeControl, FakeModel, FakeSynthesizer, FakeTranscriber, RecordingSink
from voxray.audio.codec import codec_for
from voxray.audio.g711 import linear_to_ulaw, ulaw_to_linear
from voxray.audio.resample import resampled
from voxray.call.call import Call
from voxray.call.ending import PLAY_OUT_MAX_SECS, STOP_AFTER_HANGUP_SECS
from voxray.call.exchange import Exchange
from voxray.call.expected import Expected, Welcome
from voxray.call.limits import GOODBYE_GRACE_SECS
from voxray.call.metronome import Metronome
from voxray.call.phrases import PhraseBook
from voxray.call.record import NoRecords, Records
from voxray.call.registry import Registry
from voxray.errors import CarrierError, ErrorKind, ProviderError
from voxray.frames import (
    ULAW_8K,
    Audio,
    Dtmf,
    EndCall,
    Mark,
    MediaFormat,
    StreamStarted,
    StreamStopped,
    TextDelta,
)
from voxray.interfaces import (
    ORDINARY_PACING,
    CallControl,
    Pacing,
    Providers,
    SpeechDetector,
    SpeechWindow,
    VoiceActivity,
)
from voxray.metrics import Metrics
from voxray.settings import (
    AgentSettings,
    CallSettings,
    LogSettings,
    MediaSettings,
    ProviderSettings,
    ServerSettings,
    Settings,
    StageSettings,
    TurnSettings,
)
from voxray.turns.vad import EnergyVoiceActivity

RNG = np.random.default_rng(1)
QUIET = [linear_to_ulaw((RNG.standard_normal(160) * 20).astype(np.int16)) for _ in range(50)]


TONE = linear_to_ulaw((8000 * np.sin(np.arange(160) * 2 * np.pi / 8)).astype(np.int16))
CALLERS = Path(voxray.__file__).parent / "data" / "callers"


def human(name: str, wire: MediaFormat = ULAW_8K, *, loudness: float = 1.0) -> list[bytes]:
    """A recorded caller, as 20 ms packets."""
    with wave.open(str(CALLERS / f"{name}.wav")) as recording:
        pcm = np.frombuffer(recording.readframes(recording.getnframes()), np.int16)
        linear = resampled(pcm, recording.getframerate(), wire.rate_hz)
    payload = codec_for(wire).encode((linear * loudness).clip(-32_768, 32_767).astype(np.int16))
    size = 20 * wire.bytes_per_ms
    return [payload[i : i + size] for i in range(0, len(payload) - size + 1, size)]


def on_wire(packet: bytes, wire: MediaFormat) -> bytes:
    """20 ms of u-law at 8 kHz as 20 ms of another wire's audio."""
    if wire == ULAW_8K:
        return packet
    return codec_for(wire).encode(resampled(ulaw_to_linear(packet), 8000, wire.rate_hz))


class Loudness(EnergyVoiceActivity):
    """What is loud is speech: for audio whose length must be known to the window."""

    def open(self, rate_hz: int, on_window: SpeechWindow) -> SpeechDetector:
        def judged(probability: float, level: float, samples: NDArray[np.float32]) -> None:
            on_window(1.0 if level > 0.05 else 0.0, level, samples)

        return super().open(rate_hz, judged)


def make_settings(**agent: object) -> Settings:
    stage = StageSettings("scripted")
    return Settings(
        server=ServerSettings(),
        providers=ProviderSettings(stage, stage, stage),
        turns=TurnSettings(eager_transcription=False),
        agent=AgentSettings(**{"greeting": "Hello there.", "goodbye": "Bye.", **agent}),  # type: ignore[arg-type]
        media=MediaSettings(),
        calls=CallSettings(carrier="twilio"),
        logs=LogSettings(),
    )


class Line:
    """A registry with one telephone line to it."""

    def __init__(
        self,
        *replies: list[object],
        control: CallControl | None = None,
        max_calls: int = 10,
        settings: Settings | None = None,
        activity: VoiceActivity | None = None,
        wire: MediaFormat = ULAW_8K,
        pacing: Pacing = ORDINARY_PACING,
        records: Records | None = None,
        **shared: Any,
    ) -> None:
        """`shared` are other fields of the Exchange."""
        self.wire = wire
        self._noise = [on_wire(packet, wire) for packet in QUIET]
        self.clock = Clock()
        self.clock.advance(100)
        self.settings = settings or make_settings()
        self.stt, self.llm, self.tts = FakeTranscriber(), FakeModel(*replies), FakeSynthesizer()
        self.metrics = Metrics()
        phrases = PhraseBook(self.tts)
        shared = {"controls": {} if control is None else {"twilio": control}, **shared}
        self.exchange = exchange = Exchange(
            settings=self.settings,
            providers=Providers(self.stt, self.llm, self.tts),
            phrases=phrases,
            activity=activity or EnergyVoiceActivity(),
            clock=self.clock,
            beat=Metronome(self.clock, 0.02),
            metrics=self.metrics,
            pacings={"twilio": pacing},
            records=records or NoRecords(),
            **shared,
        )
        self.registry = Registry(
            max_calls=max_calls,
            make_call=lambda info, wire, sink, ended: Call(info, wire, sink, exchange, ended),
            clock=self.clock,
            metrics=self.metrics,
        )
        self._quiet = 0

    def dial(
        self, call_sid: str = "CA" + "1" * 32, expected: Expected | None = None
    ) -> tuple[Call, RecordingSink]:
        """A stream begins; the webhook before it was signed unless `expected` says otherwise."""
        sink = RecordingSink()
        started = StreamStarted("MZ1", call_sid, "AC1", self.wire, {"from": "+15550001"})
        expected = expected or Expected(uuid4().hex, "twilio", call_sid, verified=True)
        call = self.registry.open(started, sink, Welcome("twilio", expected))
        assert call is not None
        return call, sink

    def hear(self, call: Call, packets: list[bytes]) -> None:
        """Packets in real time."""
        for packet in packets:
            self.clock.advance(0.02)
            call.receive(Audio(packet))

    def silence(self, call: Call, secs: float) -> None:
        for _ in range(round(secs / 0.02)):
            self._quiet += 1
            self.hear(call, [self._noise[self._quiet % len(QUIET)]])

    def press(self, call: Call, keys: str) -> None:
        for digit in keys:
            call.receive(Dtmf(digit))

    def count(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


class CallTests(SynchronousTestCase):
    def line(self, *replies: list[object], **options: object) -> Line:
        line = Line(*replies, **options)  # type: ignore[arg-type]
        self.addCleanup(line.registry.abort_all, 1001, "test over")
        return line

    def test_greeting_turn_and_hang_up(self) -> None:
        """Greeted, understood, answered, ended by the agent through the carrier's REST API."""
        control = FakeControl()
        line = self.line([TextDelta("Goodbye then."), EndCall("agent")], control=control)
        call, sink = line.dial()
        line.silence(call, 1.0)
        self.assertEqual(line.tts.said, ["Hello there."])
        line.hear(call, human("dickens-wisdom"))
        line.silence(call, 0.8)
        [(utterance, _)] = line.stt.asked
        self.assertTrue(1_200 < utterance.end_ms - utterance.start_ms < 1_670)
        line.stt.answer("That is all, thank you.")
        line.silence(call, 0.5)
        self.assertEqual(control.hung_up, ["CA" + "1" * 32])
        self.assertIsNone(sink.closed)
        call.receive(StreamStopped())
        self.assertEqual(len(line.registry), 0)
        ended = line.metrics.registry.get_sample_value("voxray_calls_ended_total", {"reason": "agent"})
        self.assertEqual(ended, 1)

    def test_the_socket_is_closed_if_no_stop_follows(self) -> None:
        """A hang-up that the carrier accepted, and then nothing: we close after five seconds."""
        line = self.line([TextDelta("Bye."), EndCall()], control=FakeControl())
        call, sink = line.dial()
        call.receive(Dtmf("1"))
        call.receive(Dtmf("#"))
        line.silence(call, 1.0)
        self.assertIsNone(sink.closed)
        line.clock.advance(STOP_AFTER_HANGUP_SECS)
        self.assertEqual(sink.closed, (1000, "hang-up"))

    def test_without_credentials_the_socket_is_closed(self) -> None:
        """Nothing follows `<Connect>`, so that ends the call too."""
        line = self.line([TextDelta("Bye."), EndCall()])
        call, sink = line.dial()
        call.receive(Dtmf("1"))
        call.receive(Dtmf("#"))
        line.silence(call, 1.0)
        self.assertEqual(sink.closed, (1000, "hang-up"))

    def test_the_carrier_refuses_to_hang_up(self) -> None:
        """Then too."""
        line = self.line([TextDelta("Bye."), EndCall()], control=FakeControl(CarrierError("twilio", "500")))
        call, sink = line.dial()
        call.receive(Dtmf("1"))
        call.receive(Dtmf("#"))
        line.silence(call, 1.0)
        self.assertEqual(sink.closed, (1000, "hang-up"))

    def test_the_longest_call(self) -> None:
        """Goodbye, then the hang-up, whatever the caller does."""
        line = self.line(settings=make_settings(max_call_secs=3.0), control=(control := FakeControl()))
        call, _ = line.dial()
        line.silence(call, 5.0)
        self.assertEqual(line.tts.said[-1], "Bye.")
        self.assertEqual(len(control.hung_up), 1)

    def test_the_longest_call_and_a_caller_who_will_not_go(self) -> None:
        """Somebody who talks into every goodbye is hung up on a little later."""
        control = FakeControl()
        replies = [[TextDelta("one two three four five six seven eight nine ten.")] for _ in range(20)]
        line = self.line(*replies, settings=make_settings(max_call_secs=3.0), control=control)
        call, _ = line.dial()
        for _ in range(20):
            line.silence(call, 1.0)
            call.receive(Dtmf("1"))
            call.receive(Dtmf("#"))
        line.silence(call, GOODBYE_GRACE_SECS + PLAY_OUT_MAX_SECS - 15.0)
        self.assertEqual(len(control.hung_up), 1)

    def test_the_goodbye_fails(self) -> None:
        """A voice that is down does not keep a call alive."""
        control = FakeControl()
        line = self.line(settings=make_settings(max_call_secs=3.0), control=control)
        call, _ = line.dial()
        line.silence(call, 1.0)
        line.tts.error = ProviderError("fake", ErrorKind.OVERLOADED, "down")
        line.silence(call, 3.0)
        self.assertEqual(len(control.hung_up), 1)

    def test_the_caller_hangs_up_in_the_middle(self) -> None:
        """Everything is cancelled at once; no timer is left; a second end changes nothing."""
        line = self.line([TextDelta("One two three four five six seven.")])
        call, sink = line.dial()
        call.receive(Dtmf("1"))
        call.receive(Dtmf("#"))
        line.silence(call, 0.2)
        call.receive(StreamStopped())
        call.disconnected("caller_hangup")
        sent = len(sink.sent)
        line.clock.pump([0.02] * 100)
        self.assertEqual(len(sink.sent), sent)
        self.assertEqual(line.clock.getDelayedCalls(), [])
        self.assertEqual(len(line.registry), 0)

    def test_a_barge_in(self) -> None:
        """The caller speaks over a long answer: clear goes out within 300 ms of their first packet."""
        line = self.line([TextDelta("one two three four five six seven eight nine ten eleven twelve.")])
        call, sink = line.dial()
        line.silence(call, 1.0)
        call.receive(Dtmf("1"))
        call.receive(Dtmf("#"))
        line.silence(call, 0.4)
        before = len(sink.sent)
        line.hear(call, human("dickens-wisdom")[8:25])  # from the first sound on: the file has a margin
        self.assertIn("clear", sink.kinds()[before:])
        self.assertEqual(sink.kinds()[-1], "clear")

    def test_keys_before_words(self) -> None:
        """Digits without a # go with what is said after them, and do not cut in later."""
        line = self.line(
            [TextDelta("Thank you. Goodbye."), EndCall("agent")], control=(control := FakeControl())
        )
        call, _ = line.dial()
        line.silence(call, 1.0)
        for digit in "555":
            call.receive(Dtmf(digit))
        line.hear(call, human("dickens-wisdom"))
        line.silence(call, 0.8)
        line.stt.answer("That is all.")
        line.silence(call, 3.0)
        self.assertEqual(line.llm.asked[0][-1].text, "DTMF: 555. That is all.")
        self.assertEqual(len(control.hung_up), 1)

    def test_somebody_in_the_room(self) -> None:
        """A voice that would stop the agent does not, once the caller is known to be much louder."""
        for known, stopped in ((False, True), (True, False)):
            line = self.line([TextDelta("Noted.")], [TextDelta("one two three four five six seven eight.")])
            call, sink = line.dial()
            line.silence(call, 1.0)
            if known:
                line.hear(call, human("dickens-period", loudness=4.0))
                line.silence(call, 0.8)
                line.stt.answer("It was so far like the present period.")
                line.silence(call, 1.0)
            else:
                line.llm.replies.pop(0)
            call.receive(Dtmf("1"))
            call.receive(Dtmf("#"))
            line.silence(call, 0.2)
            before = len(sink.sent)
            line.hear(call, human("dickens-wisdom", loudness=0.125)[8:30])
            self.assertEqual("clear" in sink.kinds()[before:], stopped, f"known: {known}")

    def test_a_stalled_stream_ends_the_turn(self) -> None:
        """Audio stops in the middle of a word: after five seconds what there is gets transcribed."""
        line = self.line()
        call, _ = line.dial()
        line.silence(call, 1.0)
        line.hear(call, human("dickens-wisdom")[:50])
        self.assertEqual(line.stt.asked, [])
        line.clock.pump([0.1] * 60)
        self.assertEqual(len(line.stt.asked), 1)

    def test_a_long_monologue_is_transcribed_in_pieces(self) -> None:
        """Twenty seconds without a pause: pieces of at most eight, one turn, every word once and in order."""
        line = self.line([TextDelta("I see.")], activity=Loudness())
        call, _ = line.dial()
        line.silence(call, 1.0)
        line.hear(call, [TONE] * 1000)
        line.silence(call, 1.0)
        pieces = [u for u, _ in line.stt.asked]
        self.assertGreaterEqual(len(pieces), 3)
        self.assertTrue(all(u.end_ms - u.start_ms <= 8_100 for u in pieces))
        for before, after in itertools.pairwise(pieces):
            self.assertEqual(before.end_ms, after.start_ms)
        self.assertTrue(all(len(u.payload) <= 8 * 10_000 for u in pieces))
        for i in range(len(pieces)):
            line.stt.answer(f"part {i}")
        line.clock.pump([0] * 5)
        self.assertEqual(line.llm.asked[0][-1].text, " ".join(f"part {i}" for i in range(len(pieces))))

    @shows("F56")
    def test_audio_is_not_kept_for_ever(self) -> None:
        """Five minutes of silence leave seconds of audio in memory."""
        line = self.line()
        call, _ = line.dial()
        line.silence(call, 300.0)
        self.assertLess(len(call._ear._memory), 8 * 4000)

    def test_marks_reach_the_pacer(self) -> None:
        """An echoed mark is counted as returned."""
        line = self.line()
        call, sink = line.dial()
        line.silence(call, 1.0)
        call.receive(Mark(sink.marks[0]))
        self.assertEqual(call._pacer.counts.marks_returned, 1)


class RegistryTests(SynchronousTestCase):
    @shows("F58")
    def test_admission_is_exact(self) -> None:
        """Two lines, two calls; the third is refused and counted, and fits once one has ended."""
        line = Line(max_calls=2)
        first, _ = line.dial("CA1")
        line.dial("CA2")
        self.assertFalse(line.registry.admits())
        started = StreamStarted("MZ3", "CA3", "AC1", ULAW_8K)
        self.assertIsNone(line.registry.open(started, RecordingSink(), Welcome("twilio")))
        refused = line.metrics.registry.get_sample_value(
            "voxray_calls_refused_total", {"reason": "max_calls"}
        )
        self.assertEqual(refused, 1)
        first.receive(StreamStopped())
        self.assertTrue(line.registry.admits())
        line.registry.abort_all(1001, "test over")

    def test_the_webhook_knows_who_calls(self) -> None:
        """Numbers of the webhook beat those of the stream, which anybody may have written."""
        line = Line()
        call, _ = line.dial("CA9", Expected("id", "twilio", "CA9", "+4930123", "+4930999"))
        self.assertEqual((call.info.from_number, call.info.to_number), ("+4930123", "+4930999"))
        other, _ = line.dial("CA8")
        self.assertEqual(other.info.from_number, "+15550001")
        line.registry.abort_all(1001, "test over")

    @shows("T5", "F38")
    def test_one_stream_a_call(self) -> None:
        """A call is live until it ends; a stream that owns it takes the place of the one before."""
        line = Line()
        call, sink = line.dial("CA1")
        self.assertTrue(line.registry.live("twilio", "CA1"))
        self.assertFalse(line.registry.live("plivo", "CA1"))
        started = StreamStarted("MZ2", "CA1", "AC1", ULAW_8K)
        newer = line.registry.open(started, RecordingSink(), Welcome("twilio", replaces=True))
        assert newer is not None
        self.assertEqual((sink.closed, len(line.registry)), ((1000, "replaced"), 1))
        self.assertTrue(line.registry.live("twilio", "CA1"))
        call.disconnected("closed")
        self.assertTrue(line.registry.live("twilio", "CA1"))
        newer.receive(StreamStopped())
        self.assertFalse(line.registry.live("twilio", "CA1"))

    def test_abort_all(self) -> None:
        """The daemon goes: every socket is closed with 1001 and nothing is left."""
        line = Line()
        lines = [line.dial(f"CA{i}") for i in range(3)]
        line.registry.abort_all(1001, "shutdown")
        self.assertEqual([sink.closed for _, sink in lines], [(1001, "shutdown")] * 3)
        self.assertEqual(len(line.registry), 0)
        line.clock.advance(1)
        self.assertEqual(line.clock.getDelayedCalls(), [])


class MetronomeTests(SynchronousTestCase):
    @shows("F42")
    def test_one_faulty_member_does_not_stop_the_others(self) -> None:
        """It is logged and dropped."""
        clock = Clock()
        beats: list[float] = []
        metronome = Metronome(clock, 0.02)

        def faulty(now: float) -> None:
            raise ValueError("bug")

        metronome.join(faulty)
        metronome.join(beats.append)
        clock.pump([0.02] * 5)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(len(beats), 5)

    def test_silent_without_members(self) -> None:
        """Nobody joined: no timer."""
        clock = Clock()
        metronome = Metronome(clock, 0.02)
        beat: list[float] = []
        metronome.join(beat.append)
        metronome.leave(beat.append)
        clock.pump([0.02] * 3)
        self.assertEqual(clock.getDelayedCalls(), [])


class SettingsTests(SynchronousTestCase):
    def test_settings_are_frozen(self) -> None:
        """Nobody changes them under a running call."""
        with self.assertRaises(dataclasses.FrozenInstanceError):
            make_settings().logs.level = "debug"  # type: ignore[misc]
