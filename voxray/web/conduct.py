"""How much a peer may misbehave on a media socket. Pure: counts in, a verdict out.

A call is 50 messages a second (Exotel 10), so 100 sustained with bursts of 500, which the settings have,
never touch an honest one; 20 bad messages in a row or 100 in all are no accident.
"""

from __future__ import annotations

from dataclasses import dataclass, field

BAD_IN_A_ROW = 20
BAD_IN_ALL = 100


@dataclass(slots=True)
class Conduct:
    """One socket's record. `spent` is raised by the media path itself, one integer a message."""

    per_sec: float = 100.0  # messages, sustained
    burst: float = 500.0
    spent: int = 0  # messages of any kind, pings and pongs too, since the last tick
    partial_secs: float = 0.0  # that one and the same message has been unfinished
    messages: int = 0  # whole ones, at the last tick
    allowance: float = field(init=False)
    quiet_secs: float = 0.0
    bad_in_a_row: int = 0
    bad_in_all: int = 0
    before_start: int = 0
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.allowance = self.burst

    @property
    def flooding(self) -> bool:
        return self.spent > self.allowance

    def tick(self, elapsed_secs: float) -> None:
        """Time has passed: the allowance grows, and silence is noticed."""
        self.quiet_secs = 0.0 if self.spent else self.quiet_secs + elapsed_secs
        self.allowance = min(self.burst, self.allowance - self.spent + self.per_sec * elapsed_secs)
        self.spent = 0

    def reads(self, unfinished: bool, messages: int, elapsed_secs: float) -> None:
        """At a tick: whether a message is half here, and how many whole ones came in all."""
        same = unfinished and messages == self.messages
        self.partial_secs = self.partial_secs + elapsed_secs if same else 0.0
        self.messages = messages

    def bad(self) -> bool:
        """One more bad message; True when it was one too many."""
        self.bad_in_a_row += 1
        self.bad_in_all += 1
        return self.bad_in_a_row >= BAD_IN_A_ROW or self.bad_in_all >= BAD_IN_ALL

    def first(self, reason: str) -> bool:
        """Whether this reason was not seen before on this socket: then it is worth a log line."""
        if reason in self.seen:
            return False
        self.seen.add(reason)
        return True
