"""A whole call on linear PCM at 8, 16 and 24 kHz, as Exotel has it: spoken, understood, interrupted."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.fakes import RecordingSink
from tests.test_call_call import TONE, Line, Loudness, human, on_wire
from voxray.audio.codec import codec_for
from voxray.audio.resample import Resampler, resampled
from voxray.call.call import Call
from voxray.call.ear import HEARING_HZ
from voxray.call.pacer import Pacer
from voxray.call.voicing import Voicing
from voxray.catalog_carriers import build_carrier
from voxray.frames import (
    ULAW_8K,
    Audio,
    Encoding,
    EndCall,
    MediaFormat,
    Speech,
    StreamStopped,
    TextDelta,
    Utterance,
)
from voxray.interfaces import SpeechDetector, SpeechWindow
from voxray.providers.stt_openai import SILENCE_MS, _wav

PACING = build_carrier("exotel").pacing
WIRES = [MediaFormat(Encoding.L16, rate) for rate in (8000, 16000, 24000)]
ALL = [*WIRES, ULAW_8K]
WORDS = "one two six net red cat dog sun sky sea hut oak elm ash fir yew box bay fig tea".replace(
    "ten", "net"
)

DICE = np.random.default_rng(5)


class Ear(RecordingSink):
    """The caller's ear, in arithmetic of its own: plays what came, in order, in real time.

    A clear lets the message end that is being played, as Exotel's does.
    """

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line
        self.at: list[tuple[float, int]] = []
        self.heard_ms = 0.0  # at the last clear

    def send_audio(self, payload: bytes) -> None:
        super().send_audio(payload)
        self.at.append((self._line.clock.seconds(), len(payload)))

    def send_clear(self) -> None:
        super().send_clear()
        self.heard_ms = self.played_ms(self.at, whole=True)

    def played_ms(self, arrivals: Iterable[tuple[float, int]], *, whole: bool = False) -> float:
        """`whole`: with the rest of the message that is being played."""
        now, end, played = self._line.clock.seconds(), 0.0, 0.0
        for at, size in arrivals:
            begin = max(at, end)
            end = begin + size / self._line.wire.bytes_per_ms / 1000
            played += max(0.0, (end if whole and begin < now else min(now, end)) - begin)
        return played * 1000


class LinearCallTests(SynchronousTestCase):
    def dial(self, wire: MediaFormat, *replies: list[object], **options: object) -> tuple[Line, Call, Ear]:
        line = Line(*replies, wire=wire, pacing=PACING, **options)  # type: ignore[arg-type]
        self.addCleanup(line.registry.abort_all, 1001, "test over")
        call, sink = line.dial()
        ear = Ear(line)
        ear.sent = sink.sent
        call._pacer._sink = ear
        return line, call, ear

    def test_greeting_turn_and_hang_up(self) -> None:
        """Greeted in the wire's own audio, understood, answered; without REST the socket is closed."""
        for wire in ALL:
            line, call, ear = self.dial(wire, [TextDelta("Goodbye then."), EndCall("agent")])
            line.silence(call, 1.0)
            self.assertEqual(line.tts.said, ["Hello there."])
            expected = b"".join(bytes([len(word)]) * 800 for word in ("Hello", "there."))
            spoken = codec_for(wire).decode(ear.audio)
            wanted = resampled(codec_for(ULAW_8K).decode(expected), 8000, wire.rate_hz)
            delay = 16 * wire.rate_hz // 8000 if wire.rate_hz != 8000 else 0  # the filter's 2 ms
            self.assertLess(np.abs(spoken[delay : delay + len(wanted)] - wanted.astype(int)).max(), 2)
            line.hear(call, human("dickens-wisdom", wire))
            line.silence(call, 0.8)
            [(utterance, _)] = line.stt.asked
            self.assertEqual(utterance.media_format, wire)
            self.assertTrue(1_200 < utterance.end_ms - utterance.start_ms < 1_670, utterance.end_ms)
            line.stt.answer("That is all, thank you.")
            line.silence(call, 0.5)
            self.assertEqual(ear.closed or call._sink.closed, (1000, "hang-up"))  # type: ignore[attr-defined]
            call.receive(StreamStopped())

    def test_messages(self) -> None:
        """Whole multiples of 320 bytes, at most 100 ms, never two at once, never more than the lead."""
        for wire in ALL:
            line, call, ear = self.dial(wire, [TextDelta(WORDS + ".")])
            line.silence(call, 1.0)
            ear.at.clear()
            call._dialogue.keys("1")
            begun = line.clock.seconds()
            for _ in range(150):
                line.silence(call, 0.02)
                sent_ms = sum(size for _, size in ear.at) / wire.bytes_per_ms
                self.assertLess(sent_ms, (line.clock.seconds() - begun) * 1000 + PACING.max_lead_ms + 1)
            self.assertEqual({size % 320 for _, size in ear.at}, {0}, wire)
            self.assertLessEqual(max(size for _, size in ear.at), 100 * wire.bytes_per_ms)
            times = [at for at, _ in ear.at]
            self.assertEqual(len(set(times)), len(times), wire)
            self.assertGreater(ear.played_ms(ear.at), 1999)
            self.assertEqual(call._pacer.counts.underruns, 0, wire)

    def test_barge_in_and_what_was_heard(self) -> None:
        """The caller speaks over an answer: cleared in 300 ms, and the words kept are those heard.

        (No stop at the end: words are laid out by their length, and a stop counts as a pause.)
        """
        for wire in ALL:
            for wait in DICE.uniform(0.25, 1.2, 20):
                line, call, ear = self.dial(wire, [TextDelta(WORDS)], [TextDelta("Yes.")])
                line.silence(call, 1.0)
                ear.at.clear()
                call._dialogue.keys("1")
                line.silence(call, wait)
                line.hear(call, human("dickens-wisdom", wire)[8:23])
                self.assertEqual(ear.kinds()[-1], "clear", (wire, wait))
                line.hear(call, human("dickens-wisdom", wire)[23:])
                line.silence(call, 0.8)
                line.stt.answer("Stop, what is that?")
                line.clock.pump([0] * 5)
                heard = line.llm.asked[-1][-2]
                self.assertEqual(heard.role, "assistant")
                count = len(heard.text.split())
                self.assertGreater(count, 2)
                self.assertLessEqual(abs(count - ear.heard_ms / 100), 0.51, (wire, wait, heard.text))

    @shows("F35")
    def test_packets_of_any_size(self) -> None:
        """100 ms, or a third of a sample more: the same utterance to the byte."""
        for wire in WIRES:
            said = []
            for size in (20 * wire.bytes_per_ms, 100 * wire.bytes_per_ms, 1601, 7):
                line, call, _ = self.dial(wire, activity=Loudness())
                stream = [on_wire(TONE, wire)] * 50 + [bytes(20 * wire.bytes_per_ms)] * 60
                stream = [bytes(20 * wire.bytes_per_ms)] * 50 + stream
                audio = b"".join(stream)
                for first in range(0, len(audio), size):
                    packet = audio[first : first + size]
                    line.clock.advance(len(packet) / wire.bytes_per_ms / 1000)
                    call.receive(Audio(packet))
                [(utterance, _)] = line.stt.asked
                said.append((utterance.start_ms, utterance.end_ms))
                self.assertEqual(len(utterance.payload) % 2, 0)
                self.assertIn(on_wire(TONE, wire) * 40, utterance.payload)
            self.assertEqual(len(set(said)), 1)


class TailTests(SynchronousTestCase):
    def test_the_tail_is_whole(self) -> None:
        """Replies of any length end in a whole multiple of 320 bytes, and in silence."""
        for wire in ALL:
            for samples in (1, 159, 160, 161, 799, 1600, 12_345):
                sink = RecordingSink()
                codec = codec_for(wire)
                pacer = Pacer(sink, wire, codec.silence, pacing=PACING)
                payload = codec.encode(np.full(samples, 5000, np.int16))
                pacer.push(payload, 0.0)
                pacer.finish(0.0)
                for tick in range(1, 200):
                    pacer.tick(tick * 0.02)
                sizes = [len(p) for kind, p in sink.sent if isinstance(p, bytes)]
                self.assertEqual({size % 320 for size in sizes}, {0}, (wire, samples))
                self.assertLess(len(sink.audio) - len(payload), 960)
                padding = sink.audio[len(payload) :]
                self.assertEqual(set(padding), set(codec.silence) if padding else set())
                self.assertEqual(sink.kinds()[-1], "mark")

    @shows("F35")
    def test_half_a_sample(self) -> None:
        """A voice cut off inside a sample does not turn the next piece into noise."""
        wire = WIRES[2]
        voicing = Voicing(wire)
        self.assertEqual(voicing.feed(Speech(b"\1\2\3", wire)), b"\1\2")
        self.assertEqual(voicing.feed(Speech(b"\4\5", wire)), b"\3\4")
        voicing.flush()
        self.assertEqual(voicing.feed(Speech(b"\1\2", wire)), b"\1\2")


class CleanTests(SynchronousTestCase):
    """Decode, resample, encode."""

    def test_the_ear_hears_what_was_sent(self) -> None:
        """Windows at 8 kHz are the stream resampled as a whole: no seam, no sample lost or doubled."""
        rng = np.random.default_rng(3)
        for wire in WIRES:
            windows: list[NDArray[np.float32]] = []

            class Windows(Loudness):
                def open(self, rate_hz: int, on_window: SpeechWindow, into=windows) -> SpeechDetector:  # type: ignore[no-untyped-def]
                    detector = super().open(rate_hz, on_window)
                    feed = detector.feed
                    detector.feed = lambda samples: (into.append(samples), feed(samples))  # type: ignore[method-assign,assignment]
                    return detector

            line = Line(wire=wire, activity=Windows())
            call, _ = line.dial()
            pcm = (rng.standard_normal(wire.rate_hz * 3) * 3000).astype(np.int16)
            line.hear(call, [pcm[i : i + 1777].tobytes() for i in range(0, len(pcm), 1777)])
            heard = np.concatenate(windows)
            self.assertEqual({len(w) for w in windows}, {256})
            whole = Resampler(wire.rate_hz, HEARING_HZ).feed(pcm)[: len(heard)]
            self.assertTrue(np.array_equal(heard, whole.astype(np.float32) / 32_768))
            self.assertGreater(len(heard), 3 * HEARING_HZ - 256)
            line.registry.abort_all(1001, "test over")

    def test_a_sine_through_the_mouth(self) -> None:
        """A 24 kHz voice on each wire: 60 dB over everything that is not the tone, in any pieces."""
        source = MediaFormat(Encoding.L16, 24000)
        t = np.arange(24000 * 2) / 24000
        tone = np.rint(12_000 * np.sin(2 * np.pi * 1000 * t)).astype("<i2").tobytes()
        for wire in WIRES:
            voicing = Voicing(wire)
            out = b"".join(
                voicing.feed(Speech(tone[i : i + 4801], source)) for i in range(0, len(tone), 4801)
            )
            heard = codec_for(wire).decode(out).astype(float)[wire.rate_hz // 2 : wire.rate_hz * 3 // 2]
            clock = 2 * np.pi * 1000 * np.arange(len(heard)) / wire.rate_hz
            basis = np.column_stack((np.sin(clock), np.cos(clock)))
            weights, *_ = np.linalg.lstsq(basis, heard, rcond=None)
            rest = heard - basis @ weights
            snr = 10 * np.log10((basis @ weights).var() / rest.var())
            self.assertGreater(snr, 60, wire)
            self.assertLess(abs(float(np.hypot(*weights)) / 12_000 - 1), 0.01)
            self.assertLess(np.abs(rest).max(), 30)  # a click would stand out


class TranscriberTests(SynchronousTestCase):
    def test_wav(self) -> None:
        """An utterance of any wire is a WAV file of its rate, with the speech untouched in the middle."""
        for wire in ALL:
            pcm = (8000 * np.sin(np.arange(wire.rate_hz) / 7)).astype(np.int16)
            payload = codec_for(wire).encode(pcm)
            with wave.open(io.BytesIO(_wav(Utterance(payload, wire, 0.0, 1000.0)))) as read:
                self.assertEqual((read.getframerate(), read.getsampwidth()), (wire.rate_hz, 2))
                frames = np.frombuffer(read.readframes(read.getnframes()), "<i2")
            margin = wire.rate_hz * SILENCE_MS // 1000
            self.assertEqual(len(frames), wire.rate_hz + 2 * margin)
            middle = frames[margin:-margin]
            self.assertTrue(np.array_equal(middle, codec_for(wire).decode(payload)))
