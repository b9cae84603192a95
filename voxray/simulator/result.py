"""Everything one simulated call left behind; what the checks judge and the report shows."""

from __future__ import annotations

from dataclasses import dataclass, field

from voxray.simulator.measure import Turn
from voxray.simulator.wires.vocabulary import CallIds


@dataclass(slots=True)
class Duplicate:
    """What became of a second socket for a call that has one."""

    refused: str = ""  # why there was no socket
    close_code: int | None = None  # the agent's; None: it was open until the call's end
    messages: int = 0  # what the agent said on it


@dataclass(slots=True)
class CallResult:
    """Everything one call left behind.

    `ended_by`: agent (by REST), agent-socket (it closed with 1000), lost (any other close), caller,
    timeout, refused (no stream), transferred (by REST, to somebody else), failed (a defect of ours).
    """

    ids: CallIds
    turns: list[Turn]
    ended_by: str = ""
    close_codes: list[int | None] = field(default_factory=list)  # of every socket; None: none was sent
    redials: int = 0  # how often the carrier dialled again after a loss
    reattached: list[float] = field(default_factory=list)  # each time, after how many seconds
    duplicate: Duplicate | None = None
    transferred_to: str = ""
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

    @property
    def close_code(self) -> int | None:
        """The last socket's."""
        return self.close_codes[-1] if self.close_codes else None
