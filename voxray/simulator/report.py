"""What a user reads: a line for each turn as it happens, a table at the end, JSON, and the call as a stereo
WAV.
"""

from __future__ import annotations

import json
import sys
import wave
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from voxray.simulator import g711
from voxray.simulator.masking import masked
from voxray.simulator.measure import Turn
from voxray.simulator.result import CallResult
from voxray.simulator.script import Do

ENDINGS = {
    "agent": "the agent hung up",
    "agent-socket": "the agent closed the media socket",
    "caller": "the caller hung up",
    "lost": "the media socket was lost",
    "transferred": "the agent had the caller transferred",
    "limit": "the carrier ended it: out of the time the agent had asked for",
    "timeout": "cut off: out of time",
    "refused": "refused",
    "failed": "the simulator failed",
}


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def turn_line(turn: Turn) -> str:
    """One turn in one line, once it is over."""
    if turn.step is None:
        return f"greeting     {', '.join(outcome(turn))}"
    who = {Do.BARGE_IN: "barged in", Do.BACKCHANNEL: "back-channel", Do.DTMF: "pressed"}
    said = f"{who.get(turn.step.do, 'said'):12} {turn.said!r}"
    return f"{said}: {', '.join(outcome(turn))}"


def outcome(turn: Turn) -> list[str]:
    """What came of a turn, as short phrases."""
    parts: list[str] = []
    if turn.clear_ms is not None:
        parts.append(f"cleared after {_ms(turn.clear_ms)}")
    if turn.stale_secs:
        parts.append(f"{turn.stale_secs * 1000:.0f} ms of stale audio after the clear")
    if turn.cut_off:
        parts.append("CUT OFF: answered too early")
    elif turn.latency_ms is not None:
        verb = "greeted" if turn.step is None else "answered"
        parts.append(f"{verb} after {_ms(turn.latency_ms)}")
    if turn.reply_began is not None and (turn.answers or turn.step is None):
        parts.append(_length(turn))
    if turn.gaps:
        parts.append(f"{len(turn.gaps)} gaps ({turn.gap_ms:.0f} ms)")
    parts += [f"PROBLEM: {each}" for each in turn.problems]
    return parts or ["no greeting" if turn.step is None else "no answer"]


def _length(turn: Turn) -> str:
    return f"spoke {(turn.reply_ended or 0.0) - (turn.reply_began or 0.0):.1f} s"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, the first row a heading; numbers to the right."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(cell == "-" or cell[:1].isdigit() for cell in column[1:]) for column in columns]
    lines = []
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths))
    return "\n".join(lines)


def turn_table(result: CallResult) -> str:
    """One call's turns."""
    rows = [["turn", "caller", "latency", "clear", "gaps", "agent"]]
    for turn in result.turns:
        latency = "cut off" if turn.cut_off else _ms(turn.latency_ms)
        caller = turn.said[:40] or "(greeting)"
        gaps = str(len(turn.gaps))
        rows.append([str(turn.number), caller, latency, _ms(turn.clear_ms), gaps, turn.heard or ""])
    return table(rows)


def summary_lines(results: Sequence[CallResult]) -> list[str]:
    """All calls in a few lines."""
    figures = summary(results)
    lines = [f"{figures['calls']} call(s), {figures['turns']} answered turn(s)"]
    for name, key in (
        ("latency", "latency_ms"),
        ("greeting", "greeting_ms"),
        ("barge-in to clear", "clear_ms"),
    ):
        spread = figures[key]
        if spread:
            lines.append(
                f"{name}: p50 {spread['p50']:.0f} ms, p95 {spread['p95']:.0f}, worst {spread['max']:.0f}"
            )
    lines.append(
        f"cut off: {figures['cut_off']}; gaps inside replies: {figures['gaps']}; "
        f"audio after a clear: {figures['stale_ms']:.0f} ms"
    )
    lines.append(f"our own clock was at worst {figures['worst_tick_ms']:.0f} ms late")
    return lines


def summary(results: Sequence[CallResult]) -> dict[str, Any]:
    """The figures over all calls."""
    turns = [turn for result in results for turn in result.turns]
    answered = [turn.latency_ms for turn in turns if turn.answers and turn.latency_ms is not None]
    clears = [
        turn.clear_ms
        for turn in turns
        if turn.step is not None and turn.step.do is Do.BARGE_IN and turn.clear_ms is not None
    ]
    greetings = [turn.latency_ms for turn in turns if turn.step is None and turn.latency_ms is not None]
    return {
        "calls": len(results),
        "turns": len(answered),
        "latency_ms": quantiles(answered),
        "greeting_ms": quantiles(greetings),
        "clear_ms": quantiles(clears),
        "cut_off": sum(turn.cut_off for turn in turns),
        "gaps": sum(len(turn.gaps) for turn in turns),
        "stale_ms": round(sum(turn.stale_secs for turn in turns) * 1000.0, 1),
        "worst_tick_ms": round(max((result.worst_tick_ms for result in results), default=0.0), 1),
    }


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and the worst; empty without values."""
    if not values:
        return {}
    ordered = np.array(sorted(values))
    found = {"p50": float(np.percentile(ordered, 50)), "p95": float(np.percentile(ordered, 95))}
    return {name: round(value, 1) for name, value in (found | {"max": float(ordered[-1])}).items()}


def call_json(result: CallResult, failures: Sequence[str]) -> dict[str, Any]:
    """One call, for programs."""
    return {
        "call_sid": result.ids.call_sid,
        "stream_sid": result.ids.stream_sid,
        "ok": not failures,
        "failures": list(failures),
        "ended_by": result.ended_by,
        "close_code": result.close_code,
        "close_codes": result.close_codes,
        "redials": result.redials,
        "duplicate": None if result.duplicate is None else asdict(result.duplicate),
        "transferred_to": result.transferred_to,
        "duration_secs": round(result.duration_secs, 2),
        "setup_ms": round(result.setup_ms, 1),
        "packets_sent": result.packets_sent,
        "media_received": result.media_received,
        "clears": result.clears,
        "marks_set": result.marks_set,
        "marks_echoed": result.marks_echoed,
        "agent_keys": result.agent_keys,
        "worst_tick_ms": round(result.worst_tick_ms, 1),
        "faults": result.faults,
        "warnings": result.warnings,
        "turns": [turn_json(turn) for turn in result.turns],
    }


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


def turn_json(turn: Turn) -> dict[str, Any]:
    """One turn, for programs; times in seconds since the stream began."""
    return {
        "turn": turn.number,
        "kind": turn.kind,
        "said": turn.said,
        "agent_said": turn.heard,
        "latency_ms": _rounded(turn.latency_ms),
        "first_media_secs": _rounded(turn.first_media, 3),
        "speech_began_secs": _rounded(turn.speech_began, 3),
        "speech_ended_secs": _rounded(turn.speech_ended, 3),
        "reply_began_secs": _rounded(turn.reply_began, 3),
        "reply_ended_secs": _rounded(turn.reply_ended, 3),
        "cut_off": turn.cut_off,
        "clear_ms": _rounded(turn.clear_ms),
        "agent_stopped_secs": _rounded(turn.stopped_at, 3),
        "heard_ms": round(turn.heard_ms, 1),
        "dropped_ms": round(turn.dropped_ms, 1),
        "stale_ms": round(turn.stale_secs * 1000.0, 1),
        "gaps": len(turn.gaps),
        "gap_ms": round(turn.gap_ms, 1),
        "marks": turn.marks,
        "problems": turn.problems,
    }


def document(url: str, calls: Sequence[tuple[CallResult | None, Sequence[str]]]) -> dict[str, Any]:
    """The whole run, for programs. A call that never came about has only its failures."""
    results = [result for result, _ in calls if result is not None]
    return {
        "version": 1,
        "url": url,
        "ok": not any(failures for _, failures in calls),
        "summary": summary(results),
        "calls": [
            {"ok": False, "failures": list(failures)} if result is None else call_json(result, failures)
            for result, failures in calls
        ],
    }


def write_json(path: Path | None, document: Mapping[str, Any]) -> None:
    """To a file, or to standard output."""
    text = masked(json.dumps(document, indent=1)) + "\n"
    if path is None:
        sys.stdout.write(text)
    else:
        path.write_text(text, encoding="utf-8")


def write_wav(path: Path, result: CallResult) -> None:
    """Left what the caller said, right what the caller heard; one clock, 8 kHz."""
    left, right = g711.decode(result.caller_audio), g711.decode(result.agent_audio)
    length = max(left.size, right.size)
    frames = np.zeros((length, 2), dtype="<i2")
    frames[: left.size, 0] = left
    frames[: right.size, 1] = right
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(g711.RATE_HZ)
        writer.writeframes(frames.tobytes())
