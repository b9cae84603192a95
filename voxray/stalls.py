"""What the reactor does when it does one thing for far too long: a line in the log with the function's name.

While it is blocked it can say nothing of itself, so a thread looks at its stack. That thread needs the
interpreter's lock for it: a C function that keeps the lock is named when it gives it back, which Python does
right after the call, in the frame that made it. (`faulthandler.dump_traceback_later` needs no lock, but reads
the frames of running threads without one, in a process that is full of calls.)

A process that was stopped, or a machine that slept, has not stalled: the thread was late as well, and no
processor time went by.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

from twisted.logger import Logger

LOOK_SECS = 0.1
FRAMES = 6


class StallCounter(Protocol):
    """A Prometheus counter."""

    def inc(self) -> None: ...


class Suspicion:
    """Whether a stall is to be reported, once each. Pure: `look` is called every `LOOK_SECS` or so."""

    def __init__(self, limit_secs: float) -> None:
        self.limit_secs = limit_secs
        self._beat = -1
        self._blocked_secs = 0.0
        self._looked_at: float | None = None
        self._spent_secs = 0.0
        self._told = False

    def look(self, beat: int, now: float, processor_secs: float) -> float:
        """How long the reactor has been blocked by now; 0 unless that is news.

        `beat`: changes whenever the reactor lives. `processor_secs`: what the process has used up.
        """
        passed = 0.0 if self._looked_at is None else now - self._looked_at
        worked, self._spent_secs = processor_secs - self._spent_secs, processor_secs
        self._looked_at = now
        if beat != self._beat:
            self._beat, self._blocked_secs, self._told = beat, 0.0, False
            return 0.0
        self._blocked_secs += min(passed, max(2 * LOOK_SECS, worked))
        if self._told or not 0.0 < self.limit_secs <= self._blocked_secs:
            return 0.0
        self._told = True
        return self._blocked_secs


class StallWatch:
    """The thread. `beat` is for the reactor to call, some ten times a second, from `start` on."""

    _log = Logger()

    def __init__(self, limit_secs: float, counter: StallCounter, clock: Callable[[], float]) -> None:
        """`clock` is monotonic."""
        self._suspicion = Suspicion(limit_secs)
        self._counter, self._clock = counter, clock
        self._beats = 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._watched = 0

    def use(self, limit_secs: float) -> None:
        self._suspicion.limit_secs = limit_secs

    def beat(self) -> None:
        self._beats += 1

    def start(self) -> None:
        """To be called by the thread that is to be watched."""
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="stalls", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECS):
            blocked_secs = self._suspicion.look(self._beats, self._clock(), time.process_time())
            if blocked_secs:
                self._tell(blocked_secs)

    def _tell(self, blocked_secs: float) -> None:
        self._counter.inc()
        stack = " < ".join(frames(sys._current_frames().get(self._watched)))
        self._log.error(
            "the reactor has done nothing else for {secs:.1f} s: {stack}", secs=blocked_secs, stack=stack
        )


def frames(innermost: FrameType | None) -> Iterator[str]:
    """`function (module:line)`, the innermost first. No values: those may be anybody's."""
    frame = innermost
    for _ in range(FRAMES):
        if frame is None:
            return
        module = frame.f_globals.get("__name__", "?")
        yield f"{frame.f_code.co_qualname} ({module}:{frame.f_lineno})"
        frame = frame.f_back
