"""What was expected of a call and did not happen, as a list of sentences. Empty: the call was as it should
be.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from voxray.simulator.measure import Turn
from voxray.simulator.result import CallResult
from voxray.simulator.script import Do, Script


@dataclass(frozen=True, slots=True)
class Expectations:
    """What a user asked to be checked of every call."""

    max_latency_ms: float = 0.0  # 0: not checked
    transcribed: bool = True  # the agent's words are known


def failures(result: CallResult, script: Script, expected: Expectations) -> list[str]:
    """Everything that was wrong with this call."""
    found = list(result.problems)
    found += [f"protocol: {fault}" for fault in result.faults]
    for turn in result.turns:
        found += [f"turn {turn.number} ({turn.said or turn.kind}): {each}" for each in _turn(turn, expected)]
    if result.turns and script.expect_greeting and expected.transcribed:
        found += [f"greeting: {each}" for each in _words(result.turns[0], script.expect_greeting)]
    found += [f"the call ended before: {label}" for label in result.undone]
    found += _ending(result, script)
    return found


def _turn(turn: Turn, expected: Expectations) -> list[str]:
    found = list(turn.problems)
    step = turn.step
    if step is None:
        return found
    if step.do is Do.BARGE_IN and turn.clear_at is None:
        found.append("the agent sent no clear when it was interrupted")
    if step.do is Do.BACKCHANNEL and turn.clear_at is not None:
        went_on = "and went on" if turn.reply_began is not None else "and did not go on"
        found.append(f"the agent stopped for a back-channel {went_on}")
    if turn.answers:
        found += _latency(turn, step.max_latency_ms or expected.max_latency_ms)
    if step.expect_reply and expected.transcribed:
        found += _words(turn, step.expect_reply)
    return found


def _latency(turn: Turn, limit_ms: float) -> list[str]:
    if limit_ms <= 0:
        return []
    if turn.cut_off:
        return ["the agent answered before the caller had finished"]
    if turn.latency_ms is None:
        return [] if turn.problems else ["no reply to measure"]
    if turn.latency_ms > limit_ms:
        return [f"answered after {turn.latency_ms:.0f} ms; at most {limit_ms:.0f} ms was expected"]
    return []


def _words(turn: Turn, pattern: str) -> list[str]:
    if turn.heard is None:
        return [f"no reply to match /{pattern}/ against"]
    if re.search(pattern, turn.heard, re.IGNORECASE) is None:
        return [f"the reply {turn.heard!r} does not match /{pattern}/"]
    return []


def _ending(result: CallResult, script: Script) -> list[str]:
    if result.ended_by == "lost":
        return [f"the media socket was lost (close code {result.close_code})"]
    if script.expect_hang_up and result.ended_by not in ("agent", "agent-socket", "transferred"):
        return ["the agent did not hang up"]
    return []
