"""Between a call's packets and what has to think about them: a bounded wait, the oldest sound given up first.

The contract has `pipeline_input_queue_cap` block the reader when so much waits. A carrier must not be kept
waiting: Twilio throws away what is not read (its error 31930), and the keys, the marks and the `stop` behind
the audio would be late too. So the socket is always read, and what has waited longest is dropped in favour of
what the caller says now. What was dropped is cut out, as if it had never been said: media time knows no gap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from voxray.frames import Utterance
from voxray.metrics import Metrics
from voxray.settings import TurnSettings

AT_ONCE = 4
"""Windows that the detector may have of one call: enough for a batch to follow a batch without a pause."""

AT_WORK = 3
"""Longest turns that the transcriber may have at once: half a minute, which is a vendor's deadline."""

PACKET_MS = 20.0
"""The unit of `pipeline_input_queue_cap`, whatever a carrier sends at a time."""


class Inlet:
    """One call's windows on their way to its detector, which answers them in order."""

    def __init__(
        self, feed: Callable[[bytes], None], window_ms: float, cap_packets: int, metrics: Metrics
    ) -> None:
        self._feed, self._window_ms = feed, window_ms
        self._most = max(1, int(cap_packets * PACKET_MS / window_ms))
        self._backlog = metrics.backlog
        self._dropped = metrics.input_dropped.labels("vad")
        self._waiting: deque[bytes] = deque()
        self._feeding = False
        self.asked = 0
        """Windows that the detector has, and has not answered."""

    def put(self, window: bytes) -> bool:
        """One more window; True: for its sake the oldest of those that wait, after `asked`, is dropped."""
        self._waiting.append(window)
        self._backlog.vad_ms += self._window_ms
        self._pump()
        if len(self._waiting) <= self._most:
            return False
        self._next()
        self._dropped.inc(self._window_ms / PACKET_MS)
        return True

    def answered(self) -> None:
        """The detector is done with the oldest that it had."""
        self.asked -= 1
        self._pump()

    def close(self) -> None:
        while self._waiting:
            self._next()

    def _pump(self) -> None:
        """A detector that answers at once does so in here."""
        if self._feeding:
            return
        self._feeding = True
        try:
            while self._waiting and self.asked < AT_ONCE:
                self.asked += 1
                self._feed(self._next())
        finally:
            self._feeding = False

    def _next(self) -> bytes:
        self._backlog.vad_ms -= self._window_ms
        return self._waiting.popleft()


class Uploads:
    """One call's audio that the transcriber has not answered: beside what it works on, what may wait.

    Vendors have deadlines; this is for a transcriber that is slower than speech and has none. What would be
    too much is refused: to give up the oldest, which is nearest to its end, might mean that none ever ends.
    """

    def __init__(self, settings: TurnSettings, metrics: Metrics) -> None:
        longest_ms = settings.max_duration_secs * 1000 + settings.pre_speech_ms
        self._most_ms = AT_WORK * longest_ms + settings.input_queue_cap * PACKET_MS
        self._backlog, self._dropped = metrics.backlog, metrics.input_dropped.labels("stt")
        self._ms = 0.0

    def begin(self, utterance: Utterance) -> float | None:
        """What to give to `end`; None: refused, the caller will have to say it again."""
        ms = len(utterance.payload) / utterance.media_format.bytes_per_ms
        if self._ms and self._ms + ms > self._most_ms:
            self._dropped.inc(ms / PACKET_MS)
            return None
        self._add(ms)
        return ms

    def end(self, ms: float) -> None:
        self._add(-ms)

    def _add(self, ms: float) -> None:
        self._ms += ms
        self._backlog.stt_ms += ms
