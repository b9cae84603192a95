"""Whether the process is too late to take another call. Pure: lateness in, a verdict out.

A call more on a process that cannot keep up spoils all the others, so new ones are refused while the 99th
percentile of a 100 ms timer's lateness, over ten seconds, is above the limit; and taken again when three
seconds went by below half of it. One late tick alone is no overload: a garbage collection, a slow disk.
"""

from __future__ import annotations

from collections import deque

from voxray.lag import PERIOD_SECS

WINDOW_TICKS = 100
HOLD_TICKS = 30
OVERLOAD = "overload"
"""The reason, for counters."""


class Overload:
    """One process's. `limit_secs` may be changed at any time; 0: it is never too late."""

    def __init__(self, limit_secs: float = 0.0) -> None:
        self.limit_secs = limit_secs
        self._over = False
        self._recent = deque([0.0] * WINDOW_TICKS, WINDOW_TICKS)

    @property
    def over(self) -> bool:
        """No new calls now."""
        return self._over and self.limit_secs > 0.0

    @property
    def p99_secs(self) -> float:
        return sorted(self._recent)[WINDOW_TICKS - 2]

    def observe(self, lateness_secs: float) -> None:
        """One tick of `LagProbe`. The ticks that a long stall swallowed would have been late, too."""
        missed = min(WINDOW_TICKS - 1, int(lateness_secs / PERIOD_SECS))
        self._recent.extend(lateness_secs - n * PERIOD_SECS for n in range(missed + 1))
        if not self._over:
            self._over = 0.0 < self.limit_secs < self.p99_secs
        elif max(list(self._recent)[-HOLD_TICKS:]) < self.limit_secs / 2:
            self._over = False
            self._recent.extend([0.0] * WINDOW_TICKS)  # what was is over: it must not trip the gate again
