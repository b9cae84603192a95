"""The pacer: releases the agent's audio in real time, and knows what the caller has heard of it.

A carrier buffers all it is sent and plays it in order. Sending everything at once makes a barge-in throw
away seconds of audio and hides how much was heard; sending in exact real time makes every stall audible.
So a bounded *lead* is kept queued at the carrier and the rest waits here (protocol reference, section 6).

Pure but for the sink: time is an argument (`now`, monotonic seconds). Positions are milliseconds of audio
since the last `clear`; a *generation* is what lies between two clears.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from voxray.frames import MediaFormat
from voxray.interfaces import ORDINARY_PACING, MediaSink, Pacing

PACKET_MS = 20
"""Audio goes out in whole packets of this length; the tail of a reply is padded with silence."""

_EPSILON_SECS = 1e-4

MAX_PLAYOUT_LAG_MS = 1000.0
"""A mark that comes back later than this says more about the network than about the loudspeaker."""

MAX_PENDING_MARKS = 64
"""A carrier that never echoes marks costs no more memory than this."""


@dataclass(slots=True)
class PacerCounts:
    """What one call's pacer saw; read by the metrics at the end of the call."""

    messages: int = 0
    sent_ms: float = 0.0
    underruns: int = 0
    underrun_ms: float = 0.0
    marks_sent: int = 0
    marks_returned: int = 0
    marks_unknown: int = 0


class Pacer:
    """One call's outbound audio.

    `wake` is called when there is something to pace, `rest` when there is not, `audible(now)` when the first
    packet of a reply is about to leave.
    """

    def __init__(
        self,
        sink: MediaSink,
        media_format: MediaFormat,
        silence: bytes,
        *,
        lead_ms: float = 200.0,
        pacing: Pacing = ORDINARY_PACING,
        wake: Callable[[], None] = lambda: None,
        rest: Callable[[], None] = lambda: None,
        audible: Callable[[float], None] = lambda now: None,
        underran: Callable[[], None] = lambda: None,
    ) -> None:
        """`silence` is one silent sample in the wire's codec. `underran`: a reply ran dry at the carrier."""
        self._sink = sink
        self._bytes_per_ms = media_format.bytes_per_ms
        self._packet = math.lcm(PACKET_MS * media_format.bytes_per_ms, pacing.unit_bytes)
        packets = pacing.message_ms * media_format.bytes_per_ms // self._packet
        self._message = max(1, packets) * self._packet
        self._silence = silence
        self._message_secs = self._message / media_format.bytes_per_ms / 1000
        self._lead = max(min(lead_ms, pacing.max_lead_ms) / 1000, self._message_secs)
        self._clear_spares = pacing.clear_spares
        self._wake, self._rest, self._audible, self._underran = wake, rest, audible, underran
        self.generation = 0
        self.counts = PacerCounts()
        self._held = False
        self._mark_serial = 0
        self._ignored_marks: deque[str] = deque(maxlen=MAX_PENDING_MARKS)
        self._reset()

    def _reset(self) -> None:
        self._unsent = bytearray()
        self._pushed_ms = 0.0
        self._sent_ms = 0.0
        self._buffer_end = 0.0  # when the carrier will have played all it has
        self._playout_lag_ms = 0.0
        self._message_ends: deque[float] = deque(maxlen=64)  # positions, where a clear spares messages
        self._mark_at: deque[float] = deque()  # positions whose mark is still to be sent
        self._pending: dict[str, float] = {}  # name -> what was sent before it, in ms
        self._open = False  # more audio of the same reply is expected
        self._reply_begun = False  # some of this reply was sent: running dry now is an underrun
        self._aside_end_ms = 0.0  # what is sent before that position belongs to no reply
        self._acknowledged = False  # the carrier says that it has played all there was

    # -- what the mouth does -------------------------------------------------
    def push(self, payload: bytes, now: float) -> None:
        """More audio of the current reply, in the wire's codec."""
        if not self._open and not self._unsent:
            self._reply_begun = False
        self._acknowledged = False
        self._unsent += payload
        self._pushed_ms += len(payload) / self._bytes_per_ms
        self._open = True
        self._release(now)
        self._wake()

    def finish(self, now: float) -> None:
        """No more audio for now: pads the tail to a packet and asks for a mark behind it."""
        if short := len(self._unsent) % self._packet:
            missing = self._packet - short
            self._unsent += (self._silence * (missing // len(self._silence)))[:missing]
            self._pushed_ms += missing / self._bytes_per_ms
        self._open = False
        self.mark(now)

    def aside(self, payload: bytes, now: float) -> None:
        """A sound that belongs to no reply: it takes nobody's floor, and silence after it is no underrun."""
        if self._open and self._reply_begun:
            self._count_underrun(now)
        self._reply_begun = False
        self._aside_end_ms = self._pushed_ms + len(payload) / self._bytes_per_ms
        self.push(payload, now)
        self.finish(now)
        self._reply_begun = False

    def mark(self, now: float) -> None:
        """Asks the carrier to say when everything pushed so far was played."""
        if not self._pushed_ms or (self._mark_at and self._mark_at[-1] == self._pushed_ms):
            return
        self._mark_at.append(self._pushed_ms)
        self._release(now)
        self._wake()

    def hold(self) -> None:
        """Audio waits here until `release`: the caller is speaking."""
        self._held = True

    def release(self, now: float) -> None:
        if self._held:
            self._held = False
            self._release(now)
            self._wake()

    def clear(self, now: float) -> float:
        """Drops everything, here and at the carrier. Returns the position the caller had heard, in ms."""
        heard, sent_any = self._heard_at_clear(now), self._sent_ms > 0
        self._ignored_marks.extend(self._pending)
        self._reset()
        self._held = False
        self.generation += 1
        if sent_any:  # even if all was played by our clock: the carrier's may be behind
            self._sink.send_clear()
        self._rest()
        return heard

    # -- what the clock and the carrier do -----------------------------------
    def tick(self, now: float) -> None:
        """Called about every packet time while awake."""
        self._release(now)
        if not self._unsent and not self._mark_at and now >= self._buffer_end:
            self._rest()

    def mark_returned(self, name: str, now: float) -> None:
        """The carrier echoed a mark: either what precedes it was played, or it belongs to a cleared reply."""
        if name in self._ignored_marks:
            self._ignored_marks.remove(name)
            return
        position_ms = self._pending.pop(name, None)
        if position_ms is None:
            self.counts.marks_unknown += 1
            return
        self.counts.marks_returned += 1
        unplayed = self._sent_ms - position_ms
        expected = self._buffer_end - unplayed / 1000
        self._playout_lag_ms = min(max(0.0, (now - expected) * 1000), MAX_PLAYOUT_LAG_MS)
        if unplayed <= 0 and not self._unsent and not self._open:
            self._acknowledged = True

    # -- what it knows -------------------------------------------------------
    @property
    def held(self) -> bool:
        """Audio waits for the caller to stop speaking."""
        return self._held

    @property
    def queued_ms(self) -> float:
        """Audio that has not left this process."""
        return len(self._unsent) / self._bytes_per_ms

    def silent_since(self, now: float) -> float | None:
        """When the last sound ended, by the clock; None: there is one, or it waits for the caller."""
        if self._held or self.queued_ms >= PACKET_MS or now < self._buffer_end:
            return None
        return self._buffer_end

    @property
    def pushed_ms(self) -> float:
        """Audio given to `push` in this generation, sent or not."""
        return self._pushed_ms

    def heard_ms(self, now: float) -> float:
        """How much of this generation has come out of the caller's earpiece, by clock and marks."""
        if self._acknowledged:
            return self._sent_ms
        unplayed = max(0.0, (self._buffer_end - now) * 1000)
        return max(0.0, self._sent_ms - unplayed - (self._playout_lag_ms if unplayed else 0.0))

    def _heard_at_clear(self, now: float) -> float:
        """What will have been heard once a clear sent now has had its effect."""
        heard = self.heard_ms(now)
        if not self._clear_spares:
            return heard
        return next((end for end in self._message_ends if end >= heard), heard)

    def drained(self, now: float) -> bool:
        """Everything was played, by the clock or by the mark behind it. No mark is needed for this."""
        return self._acknowledged or (not self._unsent and now >= self._buffer_end)

    def remaining_secs(self, now: float) -> float:
        """Until `drained`, if nothing more is pushed and no mark comes."""
        return self.queued_ms / 1000 + max(0.0, self._buffer_end - now)

    @property
    def lag_secs(self) -> float:
        """How far the caller's ear is behind the clock, by the last mark; 0 once the last word was marked."""
        return 0.0 if self._acknowledged else self._playout_lag_ms / 1000

    # -- inside --------------------------------------------------------------
    def _release(self, now: float) -> None:
        """Sends what is due: up to the lead, never a burst of everything."""
        if self._held:
            return
        packet = self._packet
        latest = now + self._lead - self._message_secs + _EPSILON_SECS
        while self._unsent and self._buffer_end <= latest:
            take = min(self._message, len(self._unsent) // packet * packet)
            if not take:
                if self._open:
                    break  # less than a packet, and more is coming
                take = len(self._unsent)
            self._send(bytes(self._unsent[:take]), now)
            del self._unsent[:take]
        self._send_marks(now)

    def _send(self, payload: bytes, now: float) -> None:
        duration_ms = len(payload) / self._bytes_per_ms
        if self._buffer_end < now:
            if self._reply_begun and now - self._buffer_end > _EPSILON_SECS:
                self._count_underrun(now)
            self._buffer_end = now
        if not self._reply_begun and self._sent_ms >= self._aside_end_ms:
            self._reply_begun = True
            self._audible(now)
        self._buffer_end += duration_ms / 1000
        self._sent_ms += duration_ms
        if self._clear_spares:
            self._message_ends.append(self._sent_ms)
        self.counts.messages += 1
        self.counts.sent_ms += duration_ms
        self._sink.send_audio(payload)

    def _count_underrun(self, now: float) -> None:
        self.counts.underruns += 1
        self._underran()
        self.counts.underrun_ms += max(0.0, now - self._buffer_end) * 1000

    def _send_marks(self, now: float) -> None:
        while self._mark_at and self._mark_at[0] <= self._sent_ms + 1e-6:
            self._mark_at.popleft()
            self._mark_serial += 1
            name = f"v{self.generation}-{self._mark_serial}"
            self._pending[name] = self._sent_ms  # it comes back when the message that holds its place is over
            if len(self._pending) > MAX_PENDING_MARKS:
                self._pending.pop(next(iter(self._pending)))
            self.counts.marks_sent += 1
            self._sink.send_mark(name)
