"""The playback buffer: no sample is lost or made up, marks come in order and in time."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxray.simulator.playout import MAX_BUFFER_SECS, Playout

VOICE = b"\x10"


@dataclass(frozen=True)
class Event:
    kind: str
    value: int
    after: float


events = st.lists(
    st.builds(
        Event,
        st.sampled_from(["media", "media", "media", "mark", "clear", "tick"]),
        st.integers(0, 2000),
        st.floats(0.0, 0.3, allow_nan=False),
    ),
    max_size=40,
)


class PlayoutProperties(SynchronousTestCase):
    @given(events)
    def test_audio_time_is_conserved(self, happened: list[Event]) -> None:
        """At every moment queued = played + dropped + pending, and as much is heard as time has passed."""
        playout, now, heard = Playout(5.0), 5.0, bytearray()
        for event in happened:
            now += event.after
            if event.kind == "media":
                playout.media(VOICE * event.value, now)
            elif event.kind == "clear":
                playout.clear(now)
                self.assertEqual(playout.pending, 0)
            elif event.kind == "mark":
                playout.mark("m", now)
            playout.advance(now)
            heard += playout.take().audio
            self.assertEqual(playout.queued, playout.played + playout.dropped + playout.pending)
            self.assertEqual(heard.count(VOICE), playout.played)
            self.assertLess(abs(len(heard) / 8000 - (now - 5.0)), 0.0002)

    @given(events)
    def test_every_mark_comes_back_once_in_order(self, happened: list[Event]) -> None:
        """Marks return in the order they were set, each once, the last when all has been played."""
        playout, now, back, placed = Playout(0.0), 0.0, [], []
        for event in happened:
            now += event.after
            if event.kind == "media":
                playout.media(VOICE * event.value, now)
            elif event.kind == "clear":
                playout.clear(now)
            elif event.kind == "mark":
                placed.append(str(len(placed)))
                playout.mark(placed[-1], now)
            back += playout.take().marks
        playout.advance(now + 20)
        back += playout.take().marks
        self.assertEqual(back, placed)


class PlayoutTests(SynchronousTestCase):
    def test_a_mark_waits_for_what_is_before_it(self) -> None:
        """A mark after 100 ms of audio is due 100 ms later, not with audio that came after it."""
        playout = Playout(0.0)
        playout.media(VOICE * 800, 0.0)
        playout.mark("mid", 0.0)
        playout.media(VOICE * 800, 0.0)
        playout.advance(0.0998)
        self.assertEqual(playout.take().marks, ())
        playout.advance(0.1)
        self.assertEqual(playout.take().marks, ("mid",))

    def test_a_mark_on_an_empty_buffer_is_due_at_once(self) -> None:
        """Nothing before it: it comes straight back."""
        playout = Playout(0.0)
        playout.mark("now", 0.5)
        self.assertEqual(playout.take().marks, ("now",))

    def test_clear_returns_pending_marks_and_silences(self) -> None:
        """After a clear nothing of the old audio is heard and no mark is outstanding."""
        playout = Playout(0.0)
        playout.media(VOICE * 1600, 0.0)
        playout.mark("cut", 0.0)
        self.assertAlmostEqual(playout.clear(0.05), 0.15)
        taken = playout.take()
        self.assertEqual(taken.marks, ("cut",))
        self.assertEqual(len(taken.audio), 400)
        playout.advance(0.1)
        self.assertEqual(playout.take().audio, b"\xff" * 400)

    def test_a_dry_buffer_is_a_gap(self) -> None:
        """Audio that comes 30 ms after the buffer ran dry leaves a gap of 30 ms."""
        playout = Playout(0.0)
        playout.media(VOICE * 160, 0.0)
        playout.media(VOICE * 160, 0.05)
        (gap,) = playout.take().gaps
        self.assertAlmostEqual(gap.start_secs, 0.02)
        self.assertAlmostEqual(gap.length_secs, 0.03)

    def test_audio_just_in_time_is_no_gap(self) -> None:
        """Packets that arrive as the last one ends leave no gap, nor does the first after a clear."""
        playout = Playout(0.0)
        for number in range(5):
            playout.media(VOICE * 160, number * 0.02)
        playout.clear(0.09)
        playout.media(VOICE * 160, 0.4)
        self.assertEqual(playout.take().gaps, ())

    def test_the_buffer_is_bounded(self) -> None:
        """Past ten minutes audio is counted and dropped, so an agent gone mad costs no memory."""
        playout = Playout(0.0)
        minute = VOICE * 8000 * 60
        for _ in range(12):
            playout.media(minute, 0.0)
        self.assertEqual(playout.pending_secs, MAX_BUFFER_SECS)
        self.assertEqual(playout.overflowed, 2 * len(minute))
