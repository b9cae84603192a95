"""Writing log lines without ever waiting for who reads them.

Standard output is often a pipe, and a pipe whose reader has stopped makes a write wait for ever: every call
of the process would fall silent for the sake of a log line. So a line is written only when the descriptor
takes it at once. Others wait their turn behind it, up to a bound; beyond it they are counted, and the count
is logged when the reader is back. What waits goes out with the next line: there is no timer, no thread.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from io import UnsupportedOperation
from typing import IO

from twisted.logger import LogEvent, LogLevel

ATOM_BYTES = 4096  # PIPE_BUF on Linux: what a pipe that polls writable takes without waiting
MAX_WAITING = 2000  # lines


class PatientLines:
    """Lines to a stream. One without a descriptor (a test's) is written to directly; None takes nothing."""

    def __init__(self, stream: IO[str] | None, to_line: Callable[[LogEvent], str]) -> None:
        """`to_line` words the line about lines that were lost."""
        self._stream, self._to_line = stream, to_line
        self._waiting: deque[bytes] = deque()
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
        if len(self._waiting) >= MAX_WAITING:
            self._drain()
        if len(self._waiting) >= MAX_WAITING:
            self._lost += 1
            return
        if self._lost:
            self._waiting.append(self._loss().encode())
            self._lost = 0
        self._waiting.append(line.encode("utf-8", "backslashreplace"))
        self._drain()

    def _drain(self) -> None:
        waiting = self._waiting
        try:
            while waiting and self._poll.poll(0):
                piece = waiting[0][:ATOM_BYTES]
                written = os.write(self._fd, piece)
                if written < len(waiting[0]):
                    waiting[0] = waiting[0][written:]
                else:
                    waiting.popleft()
        except BlockingIOError:
            return  # somebody made the descriptor non-blocking, and it takes less than it said
        except OSError:
            waiting.clear()  # nobody will ever read it

    def _loss(self) -> str:
        event = {
            "log_format": "{lost} log lines were lost: standard output was not read",
            "lost": self._lost,
            "log_level": LogLevel.warn,
            "log_time": time.time(),
            "log_namespace": __name__,
        }
        return self._to_line(event) + "\n"
