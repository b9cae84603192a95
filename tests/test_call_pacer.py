"""The pacer: real time out, a bounded lead, and what was heard."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.fakes import RecordingSink
from voxray.call.pacer import MAX_PENDING_MARKS, PACKET_MS, Pacer
from voxray.frames import ULAW_8K
from voxray.interfaces import Pacing

SILENCE = b"\xff"
PACKET = PACKET_MS * 8


def make(sink: RecordingSink, **options: object) -> Pacer:
    return Pacer(sink, ULAW_8K, SILENCE, **options)  # type: ignore[arg-type]


class PacerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sink = RecordingSink()
        self.pacer = make(self.sink)

    @shows("F12")
    def test_sends_no_more_than_the_lead(self) -> None:
        """A minute of audio pushed at once leaves as 200 ms, the rest waits."""
        self.pacer.push(b"a" * 8 * 60_000, now=10.0)
        self.assertEqual(len(self.sink.audio), 200 * 8)
        self.assertEqual(self.pacer.queued_ms, 59_800)

    def test_goes_on_in_real_time(self) -> None:
        """One second later, one second more has been sent."""
        self.pacer.push(b"a" * 8 * 5_000, now=0.0)
        for tick in range(1, 51):
            self.pacer.tick(tick * 0.02)
        self.assertEqual(len(self.sink.audio), 1_200 * 8)

    def test_a_late_tick_catches_up(self) -> None:
        """After a stall what is due goes out, bounded by the lead."""
        self.pacer.push(b"a" * 8 * 5_000, now=0.0)
        self.pacer.tick(0.16)
        self.assertEqual(len(self.sink.audio), 360 * 8)

    def test_running_dry_is_counted(self) -> None:
        """A tick that comes 300 ms after the buffer ran out is one underrun of 300 ms."""
        self.pacer.push(b"a" * 8 * 1_000, now=0.0)
        self.pacer.tick(0.5)
        self.assertEqual(self.pacer.counts.underruns, 1)
        self.assertAlmostEqual(self.pacer.counts.underrun_ms, 300.0)

    def test_silence_between_replies_is_no_underrun(self) -> None:
        """Two replies ten seconds apart ran dry never."""
        self.pacer.push(b"a" * 8 * 100, now=0.0)
        self.pacer.finish(now=0.0)
        self.pacer.push(b"b" * 8 * 100, now=10.0)
        self.assertEqual(self.pacer.counts.underruns, 0)

    def test_an_aside(self) -> None:
        """It is heard and is nobody's turn: what follows begins one, and the gap is no underrun."""
        began: list[float] = []
        for gap in (0.0, 1.0):
            began.clear()
            sink = RecordingSink()
            pacer = Pacer(sink, ULAW_8K, b"\xff", audible=began.append)
            now = 10.0
            self.assertEqual(pacer.silent_since(now), 0.0)
            pacer.aside(b"a" * 800, now)
            self.assertIsNone(pacer.silent_since(now))
            while now < 10.0 + gap:
                now += 0.02
                pacer.tick(now)
            self.assertEqual(began, [])
            pacer.push(b"r" * 1600, now)
            pacer.finish(now)
            for _ in range(50):
                now += 0.02
                pacer.tick(now)
            self.assertEqual(len(began), 1)
            self.assertEqual(sink.audio.rstrip(b"\xff"), b"a" * 800 + b"r" * 1600)
            self.assertEqual(pacer.counts.underruns, 0)
            self.assertLessEqual(pacer.silent_since(now) or 0.0, now)

    def test_the_tail_is_padded_to_a_packet(self) -> None:
        """The carrier gets whole packets; the mark follows them."""
        self.pacer.push(b"a" * 100, now=0.0)
        self.assertEqual(self.sink.sent, [])
        self.pacer.finish(now=0.0)
        self.assertEqual(self.sink.kinds(), ["audio", "mark"])
        self.assertEqual(self.sink.audio, b"a" * 100 + SILENCE * 60)

    def test_the_mark_waits_for_its_audio(self) -> None:
        """A mark is sent behind the last audio, not before."""
        self.pacer.push(b"a" * 8 * 400, now=0.0)
        self.pacer.finish(now=0.0)
        self.assertEqual(self.sink.marks, [])
        self.pacer.tick(0.2)
        self.assertEqual(self.sink.kinds()[-1], "mark")

    @shows("F44")
    def test_heard_by_the_clock(self) -> None:
        """With no mark ever returned, what was heard follows the clock and stops at what was sent."""
        self.pacer.push(b"a" * 8 * 100, now=5.0)
        self.pacer.finish(now=5.0)
        self.assertAlmostEqual(self.pacer.heard_ms(5.04), 40.0)
        self.assertAlmostEqual(self.pacer.heard_ms(60.0), 100.0)
        self.assertTrue(self.pacer.drained(5.11))

    @shows("F44")
    def test_a_late_mark_corrects_the_clock(self) -> None:
        """A mark 80 ms late says that the caller hears 80 ms later than we thought."""
        self.pacer.push(b"a" * 8 * 100, now=0.0)
        self.pacer.mark(now=0.0)
        self.pacer.push(b"a" * 8 * 1_000, now=0.0)
        self.pacer.tick(0.1)
        self.pacer.mark_returned(self.sink.marks[0], now=0.18)
        self.assertAlmostEqual(self.pacer.heard_ms(0.2), 120.0)

    def test_clear_drops_everything_at_once(self) -> None:
        """After a barge-in nothing of the old reply leaves, and its marks mean nothing."""
        self.pacer.push(b"a" * 8 * 3_000, now=0.0)
        self.pacer.mark(now=0.0)
        self.pacer.tick(3.0)
        old = self.sink.marks
        heard = self.pacer.clear(now=3.0)
        self.assertAlmostEqual(heard, 200.0)  # the ticks between were missed: only the lead was sent
        self.assertEqual(self.sink.kinds()[-1], "clear")
        count = len(self.sink.sent)
        self.pacer.tick(3.1)
        self.assertEqual(len(self.sink.sent), count)
        for name in old:
            self.pacer.mark_returned(name, now=3.1)
        self.assertEqual(self.pacer.counts.marks_returned, 0)
        self.assertEqual(self.pacer.counts.marks_unknown, 0)
        self.assertEqual(self.pacer.generation, 1)

    def test_nothing_sent_needs_no_clear(self) -> None:
        """Dropping a reply that had not begun tells the carrier nothing."""
        self.pacer.hold()
        self.pacer.push(b"a" * 8 * 100, now=0.0)
        self.pacer.clear(now=0.0)
        self.assertEqual(self.sink.sent, [])

    def test_hold_and_release(self) -> None:
        """Held audio waits, then goes out as ever."""
        self.pacer.hold()
        self.pacer.push(b"a" * 8 * 100, now=0.0)
        self.pacer.tick(0.02)
        self.assertEqual(self.sink.audio, b"")
        self.pacer.release(now=0.5)
        self.assertEqual(len(self.sink.audio), 800)

    def test_rests_when_there_is_nothing_to_do(self) -> None:
        """The beat is joined for audio and left when it was played."""
        calls: list[str] = []
        pacer = make(self.sink, wake=lambda: calls.append("wake"), rest=lambda: calls.append("rest"))
        pacer.push(b"a" * 160, now=0.0)
        pacer.finish(now=0.0)
        pacer.tick(0.01)
        self.assertNotIn("rest", calls)
        pacer.tick(0.03)
        self.assertEqual(calls[-1], "rest")

    def test_a_mark_in_the_middle_of_a_message(self) -> None:
        """It comes back when that message was played: the ear is not behind for that."""
        pacer = make(self.sink, lead_ms=150.0, pacing=Pacing(message_ms=100))
        pacer.push(b"a" * 8 * 30, now=0.0)
        pacer.mark(now=0.0)
        pacer.push(b"b" * 8 * 570, now=0.0)
        pacer.tick(0.05)
        [name] = self.sink.marks
        pacer.mark_returned(name, now=0.1)
        self.assertAlmostEqual(pacer.heard_ms(0.11), 110.0)

    def test_a_clear_that_spares_messages(self) -> None:
        """Where the message that is being played ends all the same, it was heard."""
        for pacing, heard in ((Pacing(message_ms=100), 130.0), (Pacing(100, clear_spares=True), 200.0)):
            pacer = make(RecordingSink(), lead_ms=150.0, pacing=pacing)
            pacer.push(b"a" * 8 * 1000, now=0.0)
            for tick in range(1, 7):
                pacer.tick(tick * 0.02)
            self.assertAlmostEqual(pacer.clear(0.13), heard)

    @shows("F44")
    def test_an_unknown_mark_is_counted(self) -> None:
        """A carrier that echoes what was never sent changes nothing."""
        self.pacer.mark_returned("nobody", now=0.0)
        self.assertEqual(self.pacer.counts.marks_unknown, 1)

    @shows("F44")
    def test_a_mark_that_comes_twice(self) -> None:
        """The first says what was heard, the second nothing: not even that it was later."""
        self.pacer.push(b"a" * 8 * 100, now=0.0)
        self.pacer.finish(now=0.0)
        name = next(mark for kind, mark in self.sink.sent if kind == "mark")
        self.pacer.mark_returned(name, now=0.1)
        heard = self.pacer.heard_ms(0.2)
        self.pacer.mark_returned(name, now=5.0)
        self.assertEqual(self.pacer.heard_ms(0.2), heard)
        self.assertEqual((self.pacer.counts.marks_returned, self.pacer.counts.marks_unknown), (1, 1))

    @shows("F44", "F56")
    def test_marks_that_never_come_back(self) -> None:
        """A thousand of them cost the memory of some, and the clock tells what was heard."""
        for number in range(1_000):
            now = number * 0.1
            self.pacer.push(b"a" * 800, now)
            self.pacer.finish(now)
            self.pacer.tick(now + 0.05)
        self.assertEqual(self.pacer.counts.marks_sent, 1_000)
        self.assertLessEqual(len(self.pacer._pending), MAX_PENDING_MARKS)
        self.assertAlmostEqual(self.pacer.heard_ms(200.0), 100_000.0)

    @settings(deadline=None, max_examples=200)
    @given(
        sizes=st.lists(st.integers(1, 4_000), min_size=1, max_size=20),
        lead=st.sampled_from([40.0, 100.0, 200.0, 400.0]),
    )
    def test_all_audio_arrives_once_in_order(self, sizes: list[int], lead: float) -> None:
        """Whatever the pieces: the same bytes, in order, padded at the end, within the lead."""
        sink = RecordingSink()
        pacer = make(sink, lead_ms=lead)
        sent = b"".join(bytes([i % 251]) * size for i, size in enumerate(sizes))
        for i, size in enumerate(sizes):
            pacer.push(bytes([i % 251]) * size, now=0.0)
        pacer.finish(now=0.0)
        now = 0.0
        while not pacer.drained(now):
            ahead = len(sink.audio) / 8 - now * 1000
            self.assertLessEqual(ahead, lead + 1e-6)
            now += 0.02
            pacer.tick(now)
        self.assertEqual(sink.audio[: len(sent)], sent)
        self.assertEqual(len(sink.audio) % PACKET, 0)
        self.assertLess(len(sink.audio) - len(sent), PACKET)
        self.assertEqual(len(sink.marks), 1)
        self.assertEqual(pacer.counts.underruns, 0)
