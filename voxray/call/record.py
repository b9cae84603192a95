"""What is kept of a call: its record, a CDR. Pure; where it goes is `voxray.cdr`'s part.

No words of either side, no keys pressed, and nothing else a caller might have said: only how many.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from voxray.call.reasons import EndReason
from voxray.frames import ULAW_8K, CallInfo, Wire

MAX_TEXT_CHARS = 256
"""Of an id or a number: some of them are a stranger's."""

MAX_TURNS_KEPT = 2_000
"""Quantiles are of the last so many turns; a call may be as long as its owner allows."""

_SHOWN_DIGITS = 4
_PERSONAL = ("from", "to")
_PARTS = ("endpoint", "stt", "llm", "sentence", "tts", "own")


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One ended call. Dates are seconds since the epoch; the duration is no difference of them.

    A call that never came up has no more than its dates and its reason.
    """

    info: CallInfo
    reason: EndReason
    started_at: float
    ended_at: float
    duration_secs: float = 0.0
    wire: Wire = field(default_factory=lambda: Wire(ULAW_8K, ULAW_8K))
    turns: int = 0
    interruptions: int = 0
    keys: int = 0
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    heard_secs: float = 0.0
    spoken_secs: float = 0.0
    underruns: int = 0

    def fields(self) -> dict[str, object]:
        """As it is written, in order, numbers whole."""
        info, heard, spoken = self.info, self.wire.heard, self.wire.spoken
        return {
            "call_id": info.call_id,
            "carrier": info.carrier,
            "direction": "outbound" if info.outbound else "inbound",
            "call_sid": info.call_sid[:MAX_TEXT_CHARS],
            "stream_sid": info.stream_sid[:MAX_TEXT_CHARS],
            "account_sid": info.account_sid[:MAX_TEXT_CHARS],
            "from": info.from_number[:MAX_TEXT_CHARS],
            "to": info.to_number[:MAX_TEXT_CHARS],
            "started_at": _date(self.started_at),
            "ended_at": _date(self.ended_at),
            "duration_secs": round(self.duration_secs, 3),
            "reason": str(self.reason),
            "turns": self.turns,
            "interruptions": self.interruptions,
            "dtmf": self.keys,
            "latency_ms": dict(self.latency_ms),
            "heard_codec": heard.encoding.value,
            "heard_rate_hz": heard.rate_hz,
            "heard_secs": round(self.heard_secs, 2),
            "spoken_codec": spoken.encoding.value,
            "spoken_rate_hz": spoken.rate_hz,
            "spoken_secs": round(self.spoken_secs, 2),
            "underruns": self.underruns,
        }


class Records(Protocol):
    """Where the records of ended calls go. It also knows the date, which a call's own clock does not."""

    def date(self) -> float:
        """Seconds since the epoch, by the wall clock."""

    def keep(self, record: CallRecord) -> None:
        """Never waits."""


class NoRecords:
    """Keeps none."""

    def date(self) -> float:
        return 0.0

    def keep(self, record: CallRecord) -> None: ...


class Latencies:
    """What the turns of one call took: `add` each, then `summary`."""

    def __init__(self) -> None:
        self._totals: deque[float] = deque(maxlen=MAX_TURNS_KEPT)
        self._parts = dict.fromkeys(_PARTS, (0.0, 0))  # sum, times

    def add(self, parts_ms: Mapping[str, float]) -> None:
        """The parts of one turn, as `TurnTimes.parts_ms` gives them; what was said unasked has no total."""
        if (total := parts_ms.get("total")) is None:
            return
        self._totals.append(total)
        for part, (ms, times) in self._parts.items():
            if part in parts_ms:
                self._parts[part] = ms + parts_ms[part], times + 1

    def summary(self) -> dict[str, float]:
        """p50, p95 and max of the totals, the mean of each part; empty when nothing was answered."""
        if not self._totals:
            return {}
        ordered = sorted(self._totals)
        quantiles = {"p50": _rank(ordered, 0.5), "p95": _rank(ordered, 0.95), "max": ordered[-1]}
        return quantiles | {part: round(ms / times, 1) for part, (ms, times) in self._parts.items() if times}


def masked(fields: Mapping[str, object]) -> dict[str, object]:
    """Without the numbers but for their last four digits: for journals, which many may read."""
    return {name: _mask(str(value)) if name in _PERSONAL else value for name, value in fields.items()}


def as_line(fields: Mapping[str, object]) -> str:
    """One line of JSON, without its end; printable ASCII only, whatever the carrier sent."""
    return json.dumps(fields, separators=(",", ":")).replace("\x7f", "\\u007f")


def _mask(number: str) -> str:
    """`+4930123456` -> `***3456`; of a SIP address its user's part. Four digits or less are all hidden."""
    if not number:
        return ""
    digits = [c for c in number.partition("@")[0] if c in "0123456789"]
    return "***" + ("".join(digits[-_SHOWN_DIGITS:]) if len(digits) > _SHOWN_DIGITS else "")


def _date(seconds: float) -> str:
    """ISO 8601, UTC, to the millisecond: `2026-11-23T10:00:00.000Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _rank(ordered: list[float], share: float) -> float:
    """The nearest rank: a value that occurred."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


FIELDS = tuple(CallRecord(CallInfo(""), EndReason.ERROR, 0.0, 0.0).fields())
"""Their names, in order."""
