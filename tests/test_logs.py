"""Log lines: one an event, of bounded length, and JSON that any parser takes, whatever a stranger wrote."""

from __future__ import annotations

import io
import json
import math
import warnings
from datetime import datetime
from typing import Any

from autobahn.twisted import websocket
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, Logger, LogLevel, LogPublisher, globalLogPublisher
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray import logs
from voxray.logs import MAX_CHARS, MAX_TRACEBACK_CHARS, json_line, make_observer, text_line
from voxray.masking import HIDDEN, Masking
from voxray.settings import LogSettings

HOSTILE = (
    "x\n2026-11-23T10:00:00+0000 [voxray#info] admin login",
    "x\r\x1b[2J\x1b]0;owned\x07",
    "".join(map(chr, range(32))) + "\x7f" + "".join(map(chr, range(128, 160))),
    "one\u2028two\u2029three\u0085four",
    "\ud800 half \udfff",
    "{brace} {0} %s %(x)s",
    "y" * 1_000_000,
    "\u202eright to left",
)
STABLE = ["time", "level", "msg", "source"]


def failed(text: str) -> Failure:
    try:
        raise ValueError(text)
    except ValueError:
        return Failure()


def event(**fields: Any) -> LogEvent:
    return {
        "log_time": 1_795_428_000.5,
        "log_level": LogLevel.info,
        "log_namespace": "voxray.test",
        "log_format": "heard {what}",
        **fields,
    }


@shows("T10")
class SecretTests(SynchronousTestCase):
    """A library that is told a key may say it, and an exception may have it in its words."""

    def setUp(self) -> None:
        self.patch(logs, "_secrets", set())
        self.patch(logs, "_masking", Masking())

    def written(self, json_lines: bool, **fields: Any) -> str:
        stream = io.StringIO()
        make_observer(stream, lambda: LogSettings(json=json_lines))(event(**fields))
        return stream.getvalue()

    def test_by_value(self) -> None:
        """In text, in JSON with its escapes, and in tracebacks; an old secret is one still."""
        logs.conceal(['key "one" 1', "key-two-2"])
        logs.conceal(["key-three-3"])
        for json_lines in (False, True):
            for secret in ('key "one" 1', "key-two-2", "key-three-3"):
                line = self.written(json_lines, what=f"<{secret}>", log_failure=failed(f"no: {secret}"))
                self.assertEqual(line.count(HIDDEN), 2, line)
                self.assertNotIn(secret, line)
                self.assertNotIn(json.dumps(secret)[1:-1], line)
                if json_lines:
                    self.assertEqual(json.loads(line)["msg"], f"heard <{HIDDEN}>")

    def test_by_look(self) -> None:
        """What looks like a key, and whoever stands before an @ in a URL."""
        line = self.written(False, what="sk-abcdefghijklmnop redis://user:word@host/0")
        self.assertTrue(line.endswith(f"heard {HIDDEN} redis://{HIDDEN}@host/0\n"), line)

    def test_the_rest_is_left(self) -> None:
        """A short secret would be found in innocent words."""
        logs.conceal(["he"])
        self.assertIn("heard the word", self.written(True, what="the word"))


@shows("T12")
class LineTests(SynchronousTestCase):
    def assert_one_line(self, line: str) -> None:
        self.assertEqual(len((line + "\n").splitlines()), 1)
        bad = [c for c in line if not (c.isprintable() or c == " ")]
        self.assertEqual(bad, [])
        line.encode("utf-8")

    @shows("T12")
    def test_hostile_text(self) -> None:
        """In either form a line has no line end and no control character, and bounded length."""
        for text in HOSTILE:
            for write in (text_line, json_line):
                line = write(event(what=text, call_id=text))
                self.assert_one_line(line)
                self.assertLess(len(line), 14 * MAX_CHARS)
            parsed = json.loads(json_line(event(what=text)))
            self.assertEqual(list(parsed), STABLE)
            self.assertTrue(parsed["msg"].startswith("heard "))

    @shows("T12")
    @given(st.text(st.characters(codec=None)), st.text())
    def test_any_text(self, what: str, call_id: str) -> None:
        """Whatever it is."""
        for write in (text_line, json_line):
            self.assert_one_line(write(event(what=what, call_id=call_id, log_failure=failed(what))))
        self.assertEqual(json.loads(json_line(event(what="", call_id=call_id)))["call_id"], call_id)

    def test_time(self) -> None:
        """RFC 3339 in UTC, to the millisecond, of the wall clock."""
        line = json.loads(json_line(event(what="", log_time=1_795_428_000.0)))
        self.assertEqual(line["time"], "2026-11-23T10:00:00.000+00:00")
        self.assertEqual(datetime.fromisoformat(line["time"]).timestamp(), 1_795_428_000.0)

    def test_tracebacks(self) -> None:
        """A traceback is in its event's line; one without end keeps the end."""
        for text in ("plain", "two\nlines\x1b[0m", "z" * 1_000_000):
            made = event(what="it", log_failure=failed(text))
            line = text_line(made)
            self.assert_one_line(line)
            self.assertIn("Traceback (most recent call last):\\n" if len(text) < 99 else "zzz", line)
            parsed = json.loads(json_line(made))
            self.assertEqual(list(parsed), [*STABLE, "traceback"])
            self.assertLessEqual(len(parsed["traceback"]), MAX_TRACEBACK_CHARS)
            self.assertEqual(parsed["traceback"][-5:], text.strip()[-5:])

    def test_fields(self) -> None:
        """Fields keep their JSON types; what JSON has no form for is text or null, and nothing raises."""

        class Unspeakable:
            def __str__(self) -> str:
                raise RuntimeError("no words")

        line = json.loads(
            json_line(
                event(
                    what=Unspeakable(),
                    turn=3,
                    interrupted=True,
                    parts_ms={"stt": 1.5, "llm": math.nan, 7: math.inf},
                    heard=b"\xff\n",
                    replied=Unspeakable(),
                )
            )
        )
        self.assertEqual((line["turn"], line["interrupted"]), (3, True))
        self.assertEqual(line["parts_ms"], {"stt": 1.5, "llm": None, "7": None})
        self.assertEqual(line["heard"], "b'\\xff\\n'")
        self.assertEqual(line["replied"], "(Unspeakable: RuntimeError)")


class SourceTests(SynchronousTestCase):
    """Who else writes: Twisted, Autobahn, Python, and what is printed."""

    def lines(self, **settings: Any) -> tuple[io.StringIO, Any]:
        stream = io.StringIO()
        chosen = LogSettings(**{"level": "debug", "json": True, **settings})
        return stream, make_observer(stream, lambda: chosen)

    @shows("T12")
    def test_others(self) -> None:
        """An object a line for each: legacy messages and errors, Autobahn's logger, hostile formats."""
        stream, observer = self.lines()
        globalLogPublisher.addObserver(observer)
        try:
            legacy.msg("from the old days\nsecond line", system="old\nsystem")
            legacy.err(failed("old error"), "why\nnot")
            websocket.WebSocketServerFactory.log.warn("Autobahn says {what}", what="a\nb")
            Logger("ours").info("broken {format", what=1)
        finally:
            globalLogPublisher.removeObserver(observer)
        self.flushLoggedErrors(ValueError)
        written = [json.loads(line) for line in stream.getvalue().splitlines()]
        self.assertEqual(len(written), 4)
        self.assertEqual([line["level"] for line in written], ["info", "critical", "warn", "info"])
        self.assertIn("second line", written[0]["msg"])
        self.assertEqual(written[0]["source"], "old\nsystem")
        self.assertIn("ValueError: old error", written[1]["msg"])
        self.assertEqual(written[2]["msg"], "Autobahn says a\nb")

    def test_warnings(self) -> None:
        """Python's own, as twistd sends them to the log."""
        stream, observer = self.lines()
        publisher = LogPublisher(observer)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            theirs = legacy.LogPublisher(publisher, publisher)  # type: ignore[no-untyped-call,arg-type]
            theirs.showwarning("old\nways", DeprecationWarning, "file.py", 7)  # type: ignore[no-untyped-call]
        [line] = [json.loads(each) for each in stream.getvalue().splitlines()]
        self.assertIn("old", line["msg"])
        self.assertIn("DeprecationWarning", line["msg"])
