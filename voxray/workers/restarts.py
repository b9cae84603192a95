"""When a worker that died is started again: soon, but not in a crash loop that burns the CPU. Pure."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_PAUSE_SECS = 0.1
LONGEST_PAUSE_SECS = 30.0
STEADY_SECS = 60.0
"""Who lived so long was a good one: after it the pauses begin anew."""


@dataclass(slots=True)
class Restarts:
    """Of one worker."""

    deaths: int = 0
    """In a row."""

    def pause_secs(self, lived_secs: float) -> float:
        """It died, after so long a life; how long to wait now."""
        if lived_secs >= STEADY_SECS:
            self.deaths = 0
        self.deaths += 1
        return min(LONGEST_PAUSE_SECS, FIRST_PAUSE_SECS * 2.0 ** min(self.deaths - 1, 20))
