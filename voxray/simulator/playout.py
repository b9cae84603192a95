"""The carrier's playback buffer: queues the agent's audio, plays it in real time, answers marks, clears.

Pure; time is an argument, in seconds on the caller's clock. Audio is mu-law at 8 kHz, so a byte is a sample
is 125 us. What is heard is continuous: where the buffer is empty, silence is heard. At every moment `queued
== played + dropped + pending`, which the tests hold it to.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from voxray.simulator.g711 import RATE_HZ, SILENCE_BYTE

MAX_BUFFER_SECS = 600.0


@dataclass(frozen=True, slots=True)
class Gap:
    """The buffer ran dry at `start_secs` and more audio came `length_secs` later (no clear between)."""

    start_secs: float
    length_secs: float


@dataclass(slots=True)
class Spoken:
    """What became of one reply's audio, in samples."""

    queued: int = 0
    played: int = 0
    dropped: int = 0


@dataclass(slots=True)
class _Message:
    """One message's audio in the buffer: what is left of it, and whether it has begun to play."""

    left: int
    spoken: Spoken
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """What came out since the last `take`: audio, and the marks that fell due, in order."""

    audio: bytes
    marks: tuple[str, ...]
    gaps: tuple[Gap, ...]


class Playout:
    """One call's buffer. `started` is sample 0's moment; `marks_survive` a clear on some carriers, and some
    may spare the message that is being played.
    """

    def __init__(self, started: float, *, marks_survive: bool = True, spares_message: bool = False) -> None:
        self._started = started
        self._marks_survive, self._spares_message = marks_survive, spares_message
        self._messages: deque[_Message] = deque()
        self._buffer = bytearray()
        self._position = 0  # samples heard since the start, silence included
        self._dry_since: int | None = None
        self._marks: deque[tuple[int, str]] = deque()
        self._audio = bytearray()
        self._due: list[str] = []
        self._gaps: list[Gap] = []
        self.queued = 0
        self.played = 0
        self.dropped = 0
        self.overflowed = 0
        self.marks_set = 0

    @property
    def pending(self) -> int:
        """Samples not yet played."""
        return len(self._buffer)

    @property
    def pending_secs(self) -> float:
        return len(self._buffer) / RATE_HZ

    def media(self, payload: bytes, now: float, spoken: Spoken | None = None) -> None:
        """Queues a message's audio, which is part of `spoken`. Beyond ten minutes it is counted and thrown
        away: no reply is that long.
        """
        self.advance(now)
        if len(self._buffer) + len(payload) > MAX_BUFFER_SECS * RATE_HZ:
            self.overflowed += len(payload)
            return
        if payload and self._dry_since is not None:
            dry = self._position - self._dry_since
            if dry > 0:
                self._gaps.append(Gap(self._dry_since / RATE_HZ, dry / RATE_HZ))
            self._dry_since = None
        self._buffer += payload
        self.queued += len(payload)
        if payload:
            spoken = spoken or Spoken()
            spoken.queued += len(payload)
            self._messages.append(_Message(len(payload), spoken))

    def mark(self, name: str, now: float) -> None:
        """Due when what is queued now has been played; at once when nothing is."""
        self.advance(now)
        self.marks_set += 1
        self._marks.append((self.queued, name))
        self._collect_marks()

    def clear(self, now: float) -> float:
        """Drops what has not been played; every pending mark falls due, or is lost. Returns the seconds
        dropped.
        """
        self.advance(now)
        spared = self._messages.popleft() if self._spares() else None
        for message in self._messages:
            message.spoken.dropped += message.left
        self._messages = deque([spared] if spared else ())
        kept = spared.left if spared else 0
        dropped = len(self._buffer) - kept
        self.dropped += dropped
        del self._buffer[kept:]
        self._dry_since = None
        if not self._marks_survive:
            self._marks.clear()
        self._collect_marks()
        return dropped / RATE_HZ

    def _spares(self) -> bool:
        return self._spares_message and bool(self._messages) and self._messages[0].begun

    def advance(self, now: float) -> None:
        """Plays up to `now`. An earlier `now` than the last changes nothing."""
        due = int((now - self._started) * RATE_HZ + 1e-3) - self._position
        if due <= 0:
            return
        audible = min(due, len(self._buffer))
        if audible:
            self._audio += self._buffer[:audible]
            del self._buffer[:audible]
            self.played += audible
            self._account(audible)
            if not self._buffer:
                self._dry_since = self._position + audible
        self._audio += bytes([SILENCE_BYTE]) * (due - audible)
        self._position += due
        self._collect_marks()

    def _account(self, played: int) -> None:
        while played:
            message = self._messages[0]
            part = min(played, message.left)
            message.spoken.played += part
            message.left -= part
            message.begun = True
            played -= part
            if not message.left:
                self._messages.popleft()

    def take(self) -> Heard:
        """What was heard since the last take."""
        heard = Heard(bytes(self._audio), tuple(self._due), tuple(self._gaps))
        self._audio.clear()
        self._due.clear()
        self._gaps.clear()
        return heard

    def _collect_marks(self) -> None:
        consumed = self.played + self.dropped
        while self._marks and self._marks[0][0] <= consumed:
            self._due.append(self._marks.popleft()[1])
