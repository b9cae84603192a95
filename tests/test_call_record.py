"""What a call's record holds, and how it is written: pure parts."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.call.reasons import EndReason, reason_of
from voxray.call.record import FIELDS, MAX_TEXT_CHARS, MAX_TURNS_KEPT, CallRecord, Latencies, as_line, masked
from voxray.frames import CallInfo, Encoding, MediaFormat, Wire
from voxray.logs import text_line
from voxray.web.media import END_REASONS

PAGE = Path(__file__).parent.parent / "docs" / "cdr.md"
NUMBERS = ("from", "to")


def record(**info: str) -> CallRecord:
    return CallRecord(CallInfo("call-1", **info), EndReason.AGENT, 0.0, 1.0)  # type: ignore[arg-type]


class FieldTests(SynchronousTestCase):
    def test_all(self) -> None:
        """Every figure is where it belongs, dates are UTC, and nothing of the caller's words is there."""
        info = CallInfo(
            "call-1",
            call_sid="CA1",
            stream_sid="MZ1",
            account_sid="AC1",
            from_number="+4930123456",
            to_number="+4930999",
            carrier="plivo",
            parameters={"secret": "word"},
            outbound=True,
        )
        wire = Wire(MediaFormat(Encoding.L16, 16_000), MediaFormat(Encoding.ULAW, 8000))
        made = CallRecord(
            info=info,
            reason=EndReason.IDLE,
            started_at=1_795_428_000.25,
            ended_at=1_795_428_061.75,
            duration_secs=61.4996,
            wire=wire,
            turns=3,
            interruptions=1,
            keys=4,
            latency_ms={"p50": 700.0},
            heard_secs=61.4,
            spoken_secs=20.126,
            underruns=2,
        )
        self.assertEqual(
            made.fields(),
            {
                "call_id": "call-1",
                "carrier": "plivo",
                "direction": "outbound",
                "call_sid": "CA1",
                "stream_sid": "MZ1",
                "account_sid": "AC1",
                "from": "+4930123456",
                "to": "+4930999",
                "started_at": "2026-11-23T10:00:00.250Z",
                "ended_at": "2026-11-23T10:01:01.750Z",
                "duration_secs": 61.5,
                "reason": "idle",
                "turns": 3,
                "interruptions": 1,
                "dtmf": 4,
                "latency_ms": {"p50": 700.0},
                "heard_codec": "l16",
                "heard_rate_hz": 16_000,
                "heard_secs": 61.4,
                "spoken_codec": "mulaw",
                "spoken_rate_hz": 8000,
                "spoken_secs": 20.13,
                "underruns": 2,
            },
        )

    def test_bounded(self) -> None:
        """A stranger's ids and numbers of any length make a short line."""
        long = "9" * 60_000
        fields = record(call_sid=long, stream_sid=long, account_sid=long, from_number=long, to_number=long)
        self.assertLess(len(as_line(fields.fields())), 8 * MAX_TEXT_CHARS)

    @shows("T11")
    def test_masked(self) -> None:
        """Four digits are left of a number, none of a name, and only of the two numbers."""
        for number, shown in (
            ("+4930123456", "***3456"),
            ("sip:+4930123456@pbx.example:5060", "***3456"),
            ("(030) 12-34 5", "***2345"),
            ("1234", "***"),
            ("anonymous", "***"),
            ("client:alice", "***"),
            ("\u0661\u0662\u0663\u0664\u0665\u0666", "***"),
            ("", ""),
        ):
            fields = record(from_number=number, to_number=number, call_sid=number).fields()
            shown_fields = masked(fields)
            self.assertEqual((shown_fields["from"], shown_fields["to"]), (shown, shown))
            self.assertEqual({**shown_fields, "from": number, "to": number}, fields)

    @given(st.text(st.characters(), max_size=40), st.text(st.characters(), max_size=40))
    def test_line(self, number: str, sid: str) -> None:
        """Whatever the carrier sent: one printable line, and JSON that says the same, in the text log too."""
        fields = record(from_number=number, call_sid=sid).fields()
        line = as_line(fields)
        self.assertTrue(line.isascii() and line.isprintable())
        self.assertEqual(json.loads(line), fields)
        logged = text_line({"log_format": "call ended: {line}", "line": line, "log_namespace": "voxray.cdr"})
        self.assertEqual(json.loads(logged[logged.index("{") :]), fields)


class LatencyTests(SynchronousTestCase):
    def test_summary(self) -> None:
        """Quantiles are values that occurred; means are over the turns that had the part."""
        latencies = Latencies()
        for ms in range(20, 0, -1):
            latencies.add({"total": ms * 100.0, "endpoint": ms * 10.0})
        latencies.add({"total": 2100.0, "endpoint": 210.0, "stt": 30.0})
        self.assertEqual(
            latencies.summary(), {"p50": 1100.0, "p95": 2000.0, "max": 2100.0, "endpoint": 110.0, "stt": 30.0}
        )

    def test_one_and_none(self) -> None:
        """One turn is all three quantiles; no turn, none. What was said unasked is no turn."""
        latencies = Latencies()
        latencies.add({"tts": 40.0})
        self.assertEqual(latencies.summary(), {})
        latencies.add({"total": 700.0})
        self.assertEqual(latencies.summary(), {"p50": 700.0, "p95": 700.0, "max": 700.0})

    def test_bounded(self) -> None:
        """A call of any length costs no more."""
        latencies = Latencies()
        for ms in range(3 * MAX_TURNS_KEPT):
            latencies.add({"total": float(ms)})
        self.assertEqual(len(latencies._totals), MAX_TURNS_KEPT)
        self.assertEqual(latencies.summary()["max"], 3.0 * MAX_TURNS_KEPT - 1)


class ReasonTests(SynchronousTestCase):
    def test_bounded(self) -> None:
        """A name of the list is that reason; free text is what the caller of it says."""
        self.assertIs(reason_of("idle", EndReason.AGENT), EndReason.IDLE)
        self.assertIs(reason_of("the customer was rude", EndReason.AGENT), EndReason.AGENT)
        self.assertEqual(f"{EndReason.IDLE}", "idle")

    def test_sockets(self) -> None:
        """What a media socket says of its end is a reason, but where the call has given its own before."""
        ours = {"stop", "hung_up", "refused", "untrusted"}
        self.assertEqual([r for r in END_REASONS if r not in ours and r not in list(EndReason)], [])


class PageTests(SynchronousTestCase):
    """docs/cdr.md"""

    def rows(self, title: str) -> list[str]:
        _, _, section = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")
        section, _, _ = section.partition("\n## ")
        names: list[str] = []
        for cell in re.findall(r"^\| ((?:`[a-z_0-9]+`(?:, )?)+) \|", section, re.M):
            names += re.findall(r"`([a-z_0-9]+)`", cell)
        return names

    def test_fields(self) -> None:
        """Every field is explained, in order, and no other."""
        self.assertEqual(self.rows("Fields"), list(FIELDS))

    def test_reasons(self) -> None:
        """So is every reason."""
        self.assertEqual(sorted(self.rows("Reasons")), sorted(EndReason))

    def test_example(self) -> None:
        """The example is a record."""
        [example] = [
            line
            for line in PAGE.read_text(encoding="utf-8").splitlines()
            if line.startswith('    {"call_id"')
        ]
        fields = json.loads(example)
        self.assertEqual(list(fields), list(FIELDS))
        self.assertIn(fields["reason"], list(EndReason))
