"""Log lines never wait for their reader, and signals never surprise."""

from __future__ import annotations

import io
import os

from twisted.logger import LogEvent, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.logsink import MAX_WAITING, PatientLines


def worded(event: LogEvent) -> str:
    return formatEvent(event)


@shows("F60")
class PipeTests(SynchronousTestCase):
    """A pipe whose reader reads when it likes."""

    def setUp(self) -> None:
        self.reader, writer = os.pipe()
        self.stream = os.fdopen(writer, "w")
        os.set_blocking(self.reader, False)
        self.lines = PatientLines(self.stream, worded)
        self.closed = False
        self.addCleanup(self.close)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self.reader)
            self.addCleanup(self.stream.close)

    def read(self) -> str:
        text = b""
        try:
            while data := os.read(self.reader, 1 << 20):
                text += data
        except BlockingIOError:
            pass
        return text.decode()

    def test_at_once(self) -> None:
        """With a reader, a line is there when `write` returns."""
        self.lines.write("one\n")
        self.assertEqual(self.read(), "one\n")

    def test_nobody_reads(self) -> None:
        """Writing goes on without waiting; the reader later gets whole lines, and the loss as a number."""
        written = [f"line {i} {'x' * 200}" for i in range(5_000)]
        for line in written:
            self.lines.write(line + "\n")  # a blocking pipe would hang here after 64 KiB
        got = self.read()
        for _ in range(20):
            self.lines.write("now\n")
            got += self.read()
        lines = [line for line in got.splitlines() if line != "now"]
        kept = lines[:-1]
        self.assertGreaterEqual(len(kept), MAX_WAITING)
        self.assertEqual(kept, written[: len(kept)])
        self.assertEqual(lines[-1].partition(" log lines were lost")[0], str(5_000 - len(kept)))

    def test_long_line(self) -> None:
        """A traceback larger than the pipe arrives whole, as the reader makes room."""
        long = "y" * 300_000 + "\n"
        self.lines.write(long)
        got = self.read()
        for _ in range(10):
            self.lines.write("z\n")
            got += self.read()
        self.assertEqual(got, long + "z\n" * 10)

    def test_the_reader_is_gone(self) -> None:
        """Lines for nobody are dropped; nothing is raised, nothing piles up."""
        self.close()
        for _ in range(10):
            self.lines.write("one\n")
        self.assertEqual(len(self.lines._waiting), 0)


class StreamTests(SynchronousTestCase):
    def test_without_a_descriptor(self) -> None:
        """A test's stream is written to; a process without standard output logs nowhere."""
        stream = io.StringIO()
        PatientLines(stream, worded).write("one\n")
        self.assertEqual(stream.getvalue(), "one\n")
        PatientLines(None, worded).write("one\n")
