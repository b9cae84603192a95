"""How long a call may last. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

GOODBYE_GRACE_SECS = 15.0
"""Beyond the limit: time for the goodbye, and no more, whatever the caller says to it."""


class Due(Enum):
    """What a call's age asks for."""

    NOTHING = "nothing"
    GOODBYE = "goodbye"
    END = "end"


@dataclass(frozen=True, slots=True)
class Longest:
    """The limit of one call, in seconds; 0: none."""

    secs: float

    @classmethod
    def of(cls, *limits: float) -> Longest:
        """The shortest of them that is one."""
        return cls(min((secs for secs in limits if secs > 0), default=0.0))

    def due(self, age_secs: float) -> Due:
        """What is to be done with a call so old."""
        if self.secs <= 0 or age_secs < self.secs:
            return Due.NOTHING
        return Due.GOODBYE if age_secs < self.secs + GOODBYE_GRACE_SECS else Due.END
