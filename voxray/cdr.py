"""Where call records go: a line in the journal, always, and one in `cdr_file`, if there is one.

The file is opened for each line, so that it may be moved away at any time (logrotate needs no signal), and a
line is one write at its end, so that several processes may share it. That is a thread's work: a disk may
take its time. What cannot be written is lost to the file, counted, and complained of once a minute.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

from prometheus_client import Counter
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxray.call.record import CallRecord, as_line, masked
from voxray.errors import ProviderError
from voxray.worker import ThreadWorker

MAX_WAITING = 1_000
"""Lines that wait for the disk."""

COMPLAIN_EVERY_SECS = 60.0
STOP_SECS = 5.0

_HOW = (
    os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
)  # a pipe must not hold the thread


class LineFile:
    """Appends lines to a file. Blocks; for one thread."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._torn = False

    def append(self, line: str) -> None:
        """One line, without its end; "" only makes sure of the file. Raises OSError, and it is not there."""
        data = f"{line}\n".encode("ascii") if line else b""
        if data and self._torn:
            data = b"\n" + data  # the half line that a full disk left is to spoil no other
        descriptor = os.open(self.path, _HOW, 0o600)
        try:
            written = os.write(descriptor, data)
        finally:
            os.close(descriptor)
        if written:
            self._torn = not data[:written].endswith(b"\n")
        if written < len(data):
            raise OSError(f"{written} of {len(data)} bytes were written")


class CallRecords:
    """`call.record.Records` for the daemon, which starts and stops it."""

    log = Logger()

    def __init__(
        self,
        path: str,
        worker: ThreadWorker,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
        lost: Counter,
    ) -> None:
        """`path` may be empty. `worker` has one thread, which keeps the order, and is stopped here."""
        self._wall_clock = wall_clock
        self._path, self._worker, self._clock, self._counter = path, worker, clock, lost
        self._file = LineFile(path)
        self._lost = 0  # and not yet complained of
        self._why: Exception | None = None
        self._complained = -math.inf
        self._waiting = 0
        self._written_out: Deferred[None] | None = None

    def use(self, path: str) -> None:
        """Holds for records from now on."""
        if path != self._path:
            self._path, self._file = path, LineFile(path)
            self._look()

    def date(self) -> float:
        return self._wall_clock()

    def keep(self, record: CallRecord) -> None:
        fields = record.fields()
        shown = masked(fields)
        self.log.info(
            "call {call_id} ended, {reason}: {line}",
            event="cdr",
            line=as_line({"event": "cdr", **shown}),
            **shown,
        )
        if self._path:
            Deferred.fromCoroutine(self._write(self._file, as_line(fields)))

    async def start(self) -> None:
        """Tries the file, and waits for nothing: calls are answered without it."""
        self._look()

    async def stop(self) -> None:
        """Writes what is waiting, for so long."""
        if self._waiting:
            self._written_out = Deferred()
            expiry = self._clock.callLater(STOP_SECS, self._written_out.callback, None)
            await self._written_out
            if expiry.active():
                expiry.cancel()
        await self._worker.stop(0.0)
        self._complain()

    # -- inside --------------------------------------------------------------
    def _look(self) -> None:
        if self._path:
            Deferred.fromCoroutine(self._try(self._file))

    async def _try(self, file: LineFile) -> None:
        try:
            await self._worker.run(lambda: file.append(""))
        except OSError as problem:
            text = "cdr_file {path} cannot be written: {why}"
            self.log.error(text, path=file.path, why=_words(problem))
        except (ProviderError, CancelledError):
            return  # stopped already

    async def _write(self, file: LineFile, line: str) -> None:
        self._waiting += 1
        try:
            await self._worker.run(lambda: file.append(line))
        except (OSError, ProviderError, CancelledError) as problem:
            self._counter.inc()
            self._lost, self._why = self._lost + 1, problem
        finally:
            self._waiting -= 1
        if self._clock.seconds() - self._complained >= COMPLAIN_EVERY_SECS:
            self._complain()
        if not self._waiting and self._written_out is not None and not self._written_out.called:
            self._written_out.callback(None)

    def _complain(self) -> None:
        if not self._lost:
            return
        text = "{lost} call records are missing in {path}: {why}"
        self.log.error(text, lost=self._lost, path=self._path, why=_words(self._why))
        self._lost, self._complained = 0, self._clock.seconds()


def _words(problem: Exception | None) -> str:
    if isinstance(problem, CancelledError):
        return "the daemon stopped before they were written"
    return getattr(problem, "strerror", None) or str(problem)
