"""Writing log lines without ever waiting for who reads them.

Standard output is often a pipe, and a pipe whose reader has stopped makes a write wait for ever: every call
of the process would fall silent for the sake of a log line. So a line is written only when the descriptor
takes it at once. Others wait their turn behind it, up to a bound; beyond it they are counted, for the metrics
and for a line of its own when the reader is back. What waits goes out with the next line: there is no timer,
no thread.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import UnsupportedOperation
from typing import IO

from twisted.logger import LogEvent, LogLevel

ATOM_BYTES = 4096  # PIPE_BUF on Linux: what a pipe that polls writable takes without waiting
MAX_WAITING = 2000  # lines
MAX_WAITING_BYTES = 4 << 20


@dataclass(slots=True)
class Losses:
    """What was never written, since the start of the process."""

    lines: int = 0


LOSSES = Losses()


class PatientLines:
    """Lines to a stream. One without a descriptor (a test's) is written to directly; None takes nothing."""

    def __init__(self, stream: IO[str] | None, to_line: Callable[[LogEvent], str]) -> None:
        """`to_line` words the line about lines that were lost."""
        self._stream, self._to_line = stream, to_line
        self._waiting: deque[bytes] = deque()
        self._bytes = 0  # of what is waiting
        self._lost = 0
        self._poll = select.poll()
        self._fd = -1
        if stream is not None:
            with suppress(UnsupportedOperation):
                self._fd = stream.fileno()
        if self._fd >= 0:
            self._poll.register(self._fd, select.POLLOUT)

    def write(self, line: str) -> None:
        """`line` with its end. Never waits, never raises for want of a reader."""
        if self._stream is None:
            return
        if self._fd < 0:
            self._stream.write(line)
            self._stream.flush()
            return
        if self._full:
            self._drain()
        if self._full:
            self._lost += 1
            LOSSES.lines += 1
            return
        if self._lost:
            self._add(self._loss())
            self._lost = 0
        self._add(line)
        self._drain()

    @property
    def _full(self) -> bool:
        return len(self._waiting) >= MAX_WAITING or self._bytes >= MAX_WAITING_BYTES

    def _add(self, line: str) -> None:
        data = line.encode("utf-8", "backslashreplace")
        self._bytes += len(data)
        self._waiting.append(data)

    def _drain(self) -> None:
        waiting = self._waiting
        try:
            while waiting and self._poll.poll(0):
                piece = waiting[0][:ATOM_BYTES]
                written = os.write(self._fd, piece)
                self._bytes -= written
                if written < len(waiting[0]):
                    waiting[0] = waiting[0][written:]
                else:
                    waiting.popleft()
        except BlockingIOError:
            return  # somebody made the descriptor non-blocking, and it takes less than it said
        except OSError:
            LOSSES.lines += len(waiting)
            waiting.clear()  # nobody will ever read it
            self._bytes = 0

    def _loss(self) -> str:
        event = {
            "log_format": "{lost} log lines were lost: standard output was not read",
            "lost": self._lost,
            "log_level": LogLevel.warn,
            "log_time": time.time(),
            "log_namespace": __name__,
        }
        return self._to_line(event) + "\n"
