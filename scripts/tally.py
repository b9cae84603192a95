"""Turns trial's last words into one plain line: `123 passed, 0 failed, 2 skipped`. Of several runs, the sum.

    python -m twisted.trial tests | tee trial.log; python scripts/tally.py trial.log STATUS

STATUS is trial's exit status. The exit status is 0 only when trial ended well, said so, and ran
something; a test that was expected to fail and did counts as skipped, one that should have
failed and passed counts as failed.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

SUMMARY = re.compile(r"^(?P<verdict>PASSED|FAILED)(?: \((?P<counts>[^)]*)\))?\s*$", re.MULTILINE)
RUN = re.compile(r"^=== .*$", re.MULTILINE)
"""`make test` writes one before each run of trial."""
BAD = ("failures", "errors", "unexpectedSuccesses")
COUNT = re.compile(r"(\w+)=(\d+)")


@dataclass(frozen=True, slots=True)
class Tally:
    passed: int
    failed: int
    skipped: int

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def tally(log: str, status: int) -> Tally:
    """Counts of each run's last summary: earlier ones are of tests that run trial themselves.

    A run without one, or one at odds with the status, has one failure more.
    """
    counts: Counter[str] = Counter()
    for run in RUN.split(log)[1:] or [log]:
        summaries = list(SUMMARY.finditer(run))
        if not summaries:
            counts["errors"] += 1
            continue
        last = summaries[-1]
        found = Counter({name: int(number) for name, number in COUNT.findall(last["counts"] or "")})
        if last["verdict"] == "FAILED" and not any(found[name] for name in BAD):
            found["errors"] = 1
        counts += found
    failed = sum(counts[name] for name in BAD) or int(status != 0)
    return Tally(counts["successes"], failed, counts["skips"] + counts["expectedFailures"])


def main(arguments: list[str]) -> int:
    log, status = arguments
    result = tally(Path(log).read_text("utf-8", errors="replace"), int(status))
    print(result)
    return 0 if result.failed == 0 and result.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
