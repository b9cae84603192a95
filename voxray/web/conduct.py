"""How much a peer may misbehave on a media socket. Pure: counts in, a verdict out.

Figures from the reliability notes: a call is 50 messages a second (Exotel 10), so 100 sustained with
bursts of 500 never touches an honest one; 20 bad messages in a row or 100 in all are no accident.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MESSAGES_PER_SEC = 100.0
MESSAGES_BURST = 500.0
BAD_IN_A_ROW = 20
BAD_IN_ALL = 100


@dataclass(slots=True)
class Conduct:
    """One socket's record. `spent` is raised by the media path itself, one integer a message."""

    spent: int = 0  # messages of any kind, pings and pongs too, since the last tick
    allowance: float = MESSAGES_BURST
    quiet_secs: float = 0.0
    bad_in_a_row: int = 0
    bad_in_all: int = 0
    before_start: int = 0
    seen: set[str] = field(default_factory=set)

    @property
    def flooding(self) -> bool:
        return self.spent > self.allowance

    def tick(self, elapsed_secs: float) -> None:
        """Time has passed: the allowance grows, and silence is noticed."""
        self.quiet_secs = 0.0 if self.spent else self.quiet_secs + elapsed_secs
        self.allowance = min(MESSAGES_BURST, self.allowance - self.spent + MESSAGES_PER_SEC * elapsed_secs)
        self.spent = 0

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
