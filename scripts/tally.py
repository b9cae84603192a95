"""Turns trial's last words into one plain line: `123 passed, 0 failed, 2 skipped`.

    python -m twisted.trial tests | tee trial.log; python scripts/tally.py trial.log STATUS

STATUS is trial's exit status. The exit status is 0 only when trial ended well, said so, and ran
something; a test that was expected to fail and did counts as skipped, one that should have
failed and passed counts as failed.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

SUMMARY = re.compile(r"^(?P<verdict>PASSED|FAILED)(?: \((?P<counts>[^)]*)\))?\s*$", re.MULTILINE)
COUNT = re.compile(r"(\w+)=(\d+)")


@dataclass(frozen=True, slots=True)
class Tally:
    passed: int
    failed: int
    skipped: int

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def tally(log: str, status: int) -> Tally:
    """Counts of trial's summary; a run without one, or at odds with its status, has one failure more."""
    summaries = list(SUMMARY.finditer(log))
    if not summaries:
        return Tally(0, 1, 0)
    last = summaries[-1]
    counts = {name: int(number) for name, number in COUNT.findall(last["counts"] or "")}
    failed = counts.get("failures", 0) + counts.get("errors", 0) + counts.get("unexpectedSuccesses", 0)
    if failed == 0 and (status != 0 or last["verdict"] == "FAILED"):
        failed = 1
    return Tally(
        passed=counts.get("successes", 0),
        failed=failed,
        skipped=counts.get("skips", 0) + counts.get("expectedFailures", 0),
    )


def main(arguments: list[str]) -> int:
    log, status = arguments
    result = tally(Path(log).read_text("utf-8", errors="replace"), int(status))
    print(result)
    return 0 if result.failed == 0 and result.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
