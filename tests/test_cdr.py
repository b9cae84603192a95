"""Where call records go: never in a caller's way, never two in one line, and what is lost is told."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.test_worker import HeldReactor
from voxray import cdr
from voxray.call.reasons import EndReason
from voxray.call.record import CallRecord
from voxray.cdr import COMPLAIN_EVERY_SECS, MAX_WAITING, STOP_SECS, CallRecords, LineFile
from voxray.frames import CallInfo
from voxray.logs import json_line, text_line
from voxray.worker import ThreadWorker

WRITE = os.write


def record(number: int = 1) -> CallRecord:
    info = CallInfo(f"call-{number}", from_number="+4930123456", to_number="+4930654321")
    return CallRecord(info, EndReason.CALLER_HANGUP, 0.0, 1.0, 1.0)


class LineFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.file = LineFile(str(self.path))

    def write(self, how_much: Callable[[int], int]) -> None:
        """The disk takes so much of what it is given."""
        self.patch(cdr.os, "write", lambda fd, data: WRITE(fd, data[: how_much(len(data))]))

    @shows("T11")
    def test_private(self) -> None:
        """The file is its owner's alone, whatever the umask; one that is there keeps its mode and lines."""
        self.addCleanup(os.umask, os.umask(0))
        self.file.append("one")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.path.chmod(0o640)
        self.file.append("two")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o640)
        self.assertEqual(self.path.read_text(), "one\ntwo\n")

    def test_made_sure_of(self) -> None:
        """Trying the file adds nothing to it."""
        self.file.append("")
        self.assertEqual(self.path.read_text(), "")

    def test_moved_away(self) -> None:
        """The line after a rotation is in a new file."""
        self.file.append("one")
        self.path.rename(self.path.with_suffix(".1"))
        self.file.append("two")
        self.assertEqual(self.path.read_text(), "two\n")

    def test_one_write_at_the_end(self) -> None:
        """A line is one write, after whatever another process has added meanwhile."""
        written: list[bytes] = []

        def recording(fd: int, data: bytes) -> int:
            written.append(data)
            with self.path.open("ab") as other:  # between our opening the file and our write
                other.write(b"theirs\n")
            return WRITE(fd, data)

        self.patch(cdr.os, "write", recording)
        self.file.append("x" * 20_000)
        self.assertEqual(written, [b"x" * 20_000 + b"\n"])
        self.assertEqual(self.path.read_text().split(), ["theirs", "x" * 20_000])

    @shows("F54")
    def test_half_a_line(self) -> None:
        """A full disk may cut a line short: it is an error, and the next line is whole all the same."""
        self.write(lambda size: size // 2)
        self.assertRaises(OSError, self.file.append, "one.")
        self.write(lambda size: 0)
        self.assertRaises(OSError, self.file.append, "two.")
        self.write(lambda size: size)
        self.file.append("three")
        self.file.append("four")
        self.assertEqual(self.path.read_text(), "on\nthree\nfour\n")

    def test_a_pipe(self) -> None:
        """One that nobody reads does not hold the thread for ever."""
        os.mkfifo(self.path)
        with self.assertRaises(OSError) as caught:
            self.file.append("one")
        self.assertEqual(caught.exception.errno, errno.ENXIO)


class RecordsTestCase(SynchronousTestCase):
    """Records with a real thread, whose results the test lets through."""

    def setUp(self) -> None:
        self.reactor = HeldReactor()
        self.path = Path(self.mktemp()).absolute()
        self.logged: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)
        self.lost = Counter("lost", "", registry=CollectorRegistry())
        self.release = threading.Event()
        self.addCleanup(self.release.set)

    def records(self, path: Path | str | None = None) -> CallRecords:
        where = self.path if path is None else path
        worker = ThreadWorker(self.reactor, "files", 1, MAX_WAITING)
        return CallRecords(str(where), worker, self.reactor, lambda: 1_795_428_000.0, self.lost)

    def stop(self, records: CallRecords) -> None:
        """With nothing waiting."""
        stopping = Deferred.fromCoroutine(records.stop())
        self.reactor.advance(0)
        self.successResultOf(stopping)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def hold(self) -> None:
        """The disk takes its time, until `release`."""
        append = LineFile.append

        def waiting(file: LineFile, line: str) -> None:
            assert self.release.wait(10)
            append(file, line)

        self.patch(LineFile, "append", waiting)

    def written(self) -> list[str]:
        return [json.loads(line)["call_id"] for line in self.path.read_text(encoding="ascii").splitlines()]

    def events(self) -> list[dict[str, Any]]:
        return [event for event in self.logged if event.get("event") == "cdr"]

    def complaints(self) -> list[dict[str, Any]]:
        return [event for event in self.logged if event["log_level"] is LogLevel.error]


class JournalTests(RecordsTestCase):
    @shows("T11")
    def test_text(self) -> None:
        """One line for people that ends in JSON, with four digits of each number and no more."""
        records = self.records("")
        records.keep(record())
        [event] = self.events()
        line = text_line(event)
        self.assertNotIn("\n", line)
        self.assertIn("[voxray.cdr.CallRecords#info] call call-1 ended, caller_hangup: {", line)
        fields = json.loads(line[line.index("{") :])
        self.assertEqual(
            (fields["event"], fields["from"], fields["to"], fields["reason"]),
            ("cdr", "***3456", "***4321", "caller_hangup"),
        )
        self.assertNotIn("4930123456", str(event))

    def test_json(self) -> None:
        """With json_logs the fields are the line's own."""
        self.records("").keep(record())
        [event] = self.events()
        line = json.loads(json_line(event))
        self.assertEqual((line["event"], line["call_id"], line["from"]), ("cdr", "call-1", "***3456"))
        self.assertEqual((line["duration_secs"], line["latency_ms"], line["dtmf"]), (1.0, {}, 0))

    def test_no_file(self) -> None:
        """Without `cdr_file` there is no thread and no file."""
        records = self.records("")
        self.successResultOf(Deferred.fromCoroutine(records.start()))
        records.keep(record())
        self.assertIsNone(records._worker._pool)
        self.successResultOf(Deferred.fromCoroutine(records.stop()))


@shows("F54")
class FileTests(RecordsTestCase):
    def test_whole_and_in_order(self) -> None:
        """The lines are in the order of the calls' ends, with whole numbers, written in a thread."""
        names: list[str] = []
        append = LineFile.append

        def watched(file: LineFile, line: str) -> None:
            names.append(threading.current_thread().name)
            append(file, line)

        self.patch(LineFile, "append", watched)
        records = self.records()
        for number in range(100):
            records.keep(record(number))
        self.reactor.let_through(100)
        self.assertEqual(self.written(), [f"call-{number}" for number in range(100)])
        fields = json.loads(self.path.read_text(encoding="ascii").splitlines()[0])
        self.assertEqual((fields["from"], fields["to"]), ("+4930123456", "+4930654321"))
        self.assertEqual(len([name for name in names if name.startswith("PoolThread-files-")]), 100)
        self.stop(records)

    def test_tried_at_the_start(self) -> None:
        """A file that cannot be written is said before the first call; the start does not wait for it."""
        for path in (self.path / "gone" / "cdr.jsonl", "/"):
            records = self.records(path)
            self.successResultOf(Deferred.fromCoroutine(records.start()))
            self.assertEqual(self.complaints(), [])
            self.reactor.let_through(1)
            [complaint] = self.complaints()
            self.assertIn("cannot be written: ", text_line(complaint))
            self.assertEqual(self.lost._value.get(), 0)
            self.stop(records)
            self.logged.clear()

    def test_lost(self) -> None:
        """Each line not written is counted; the log says how many, once a minute; the journal has all."""
        records = self.records("/dev/full")
        for _ in range(3):
            records.keep(record())
            self.reactor.let_through(1)
        self.assertEqual(self.lost._value.get(), 3)
        [first] = self.complaints()
        self.assertIn("1 call records are missing in /dev/full: No space left on device", text_line(first))
        self.reactor.advance(COMPLAIN_EVERY_SECS)
        records.keep(record())
        self.reactor.let_through(1)
        self.assertEqual([event["lost"] for event in self.complaints()], [1, 3])
        records.keep(record())
        self.reactor.let_through(1)
        self.stop(records)
        self.assertEqual([event["lost"] for event in self.complaints()], [1, 3, 1])
        self.assertEqual((len(self.events()), self.lost._value.get()), (5, 5))

    def test_the_directory_comes_back(self) -> None:
        """Nothing has to be restarted."""
        records = self.records(self.path / "cdr.jsonl")
        records.keep(record(1))
        self.reactor.let_through(1)
        self.path.mkdir()
        records.keep(record(2))
        self.reactor.let_through(1)
        self.path = self.path / "cdr.jsonl"
        self.assertEqual(self.written(), ["call-2"])
        self.stop(records)

    def test_a_slow_disk(self) -> None:
        """Nobody waits for it, and no more than 1,000 lines do; the rest is lost and counted."""
        self.hold()
        records = self.records()
        for number in range(MAX_WAITING + 11):
            records.keep(record(number))
        self.assertEqual(self.lost._value.get(), 10)  # one is being written
        self.release.set()
        self.reactor.let_through(MAX_WAITING + 1)
        self.assertEqual(self.written(), [f"call-{number}" for number in range(MAX_WAITING + 1)])
        self.assertEqual(len(self.events()), MAX_WAITING + 11)
        self.stop(records)

    def test_a_stop_writes_what_waits(self) -> None:
        """The daemon ends when all is written."""
        self.hold()
        records = self.records()
        for number in range(20):
            records.keep(record(number))
        stopping = Deferred.fromCoroutine(records.stop())
        self.assertNoResult(stopping)
        self.release.set()
        self.reactor.let_through(20)
        self.successResultOf(stopping)
        self.assertEqual(self.written(), [f"call-{number}" for number in range(20)])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.complaints(), [])

    def test_a_stop_is_bounded(self) -> None:
        """A disk that answers nothing holds it for five seconds, and what is lost is said."""
        self.hold()
        records = self.records()
        for number in range(20):
            records.keep(record(number))
        stopping = Deferred.fromCoroutine(records.stop())
        self.reactor.advance(STOP_SECS - 0.1)
        self.assertNoResult(stopping)
        self.reactor.advance(0.1)
        self.reactor.advance(0)
        self.successResultOf(stopping)
        self.assertEqual(sum(event["lost"] for event in self.complaints()), 20)
        self.assertEqual(self.lost._value.get(), 20)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_after_the_stop(self) -> None:
        """A call that ends even later is in the journal, and counted."""
        records = self.records()
        self.stop(records)
        records.keep(record())
        self.assertEqual((len(self.events()), self.lost._value.get()), (1, 1))
