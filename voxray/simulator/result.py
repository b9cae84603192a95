"""Everything one simulated call left behind; what the checks judge and the report shows."""

from __future__ import annotations

from dataclasses import dataclass, field

from voxray.simulator.measure import Turn
from voxray.simulator.wires.vocabulary import CallIds


@dataclass(slots=True)
class CallResult:
    """Everything one call left behind.

    `ended_by`: agent (by REST), agent-socket (it closed with 1000), lost (any other close), caller,
    timeout, refused (no stream), failed (a defect of ours).
    """

    ids: CallIds
    turns: list[Turn]
    ended_by: str = ""
    close_code: int | None = None
    duration_secs: float = 0.0
    setup_ms: float = 0.0  # webhook sent to socket open
    faults: list[str] = field(default_factory=list)  # messages the carrier would have refused
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)  # about the webhook's answer
    undone: list[str] = field(default_factory=list)  # steps the call ended before
    packets_sent: int = 0
    media_received: int = 0
    clears: int = 0
    marks_set: int = 0
    marks_echoed: int = 0
    agent_keys: str = ""  # keys the agent pressed towards the caller
    worst_tick_ms: float = 0.0  # how late our own clock ran: a bad machine makes bad measurements
    caller_audio: bytes = b""  # mu-law, what was sent
    agent_audio: bytes = b""  # mu-law, what was heard; same clock
