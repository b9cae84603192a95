"""The table of dangers: each threat and fault by number, the tests that show it, and what became of them.

    python scripts/dangers.py                what shows what; fails for a number that nothing shows
    python scripts/dangers.py trial.log      the same with the results of a run of the whole suite
    python scripts/dangers.py --check        only what is missing
    python scripts/dangers.py --tests F21    the names of its tests, for `make test TESTS="..."`

The numbers are tests/dangers.py's. The log is what trial prints, with any number of jobs: each test under its
module and class. The exit status is 0 only when every number has tests that all passed, or is declared open.
A skipped test shows nothing: a number whose tests were all skipped is reported, and only tolerated.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from unittest import TestCase

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.dangers import DANGERS, OPEN, shown_by  # noqa: E402 - a script's path is its own directory

MODULE, CLASS, TEST = (
    re.compile(r"([\w.]+)"),
    re.compile(r"  (\w+)"),
    re.compile(r"    (test_\w+) \.\.\..*?(?:\[([A-Z]+)\])?"),
)
LATE = re.compile(r" +\[([A-Z]+)\]")  # the test has printed something
FINE, SKIPPED = ("OK",), ("SKIPPED", "TODO")

Shown = Mapping[str, list[str]]
"""Names of tests by number."""


def tests_by_number() -> dict[str, list[str]]:
    """What the marks in the tests say."""
    found: dict[str, list[str]] = {number: [] for number in DANGERS}
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        module = importlib.import_module(f"tests.{path.stem}")
        for case in _cases(module):
            for method in sorted(name for name in dir(case) if name.startswith("test_")):
                for number in shown_by(case, method):
                    found[number].append(f"{module.__name__}.{case.__name__}.{method}")
    return found


def _cases(module: ModuleType) -> Iterator[type[TestCase]]:
    """Those that are the module's own."""
    for thing in vars(module).values():
        if isinstance(thing, type) and issubclass(thing, TestCase) and thing.__module__ == module.__name__:
            yield thing


def results(log: str) -> dict[str, str]:
    """trial's word for each test: OK, FAIL, ERROR, SKIPPED. The last one counts."""
    found: dict[str, str] = {}
    module = case = test = ""
    for line in log.splitlines():
        if match := TEST.fullmatch(line.rstrip()):
            test = match[1]
            if match[2]:
                found[f"{module}.{case}.{test}"] = match[2]
        elif (match := LATE.fullmatch(line)) and test:
            found.setdefault(f"{module}.{case}.{test}", match[1])
        elif (match := CLASS.fullmatch(line.rstrip())) and module:
            case = match[1]
        elif match := MODULE.fullmatch(line.rstrip()):
            module = match[1]
    return found


def row(names: list[str], ran: Mapping[str, str] | None, reason: str) -> tuple[str, bool]:
    """What is said of a number, and whether that is well."""
    more = f"open: {reason}" if reason else ""
    if not names:
        return more or "NO TEST", bool(reason)
    if ran is None:
        return more, True
    words = Counter(_word(ran.get(name)) for name in names)
    said = ", ".join(
        f"{words[word]} {word}" for word in ("passed", "FAILED", "skipped", "NOT RUN") if words[word]
    )
    return f"{said}; {more}" if more else said, not (words["FAILED"] or words["NOT RUN"])


def _word(result: str | None) -> str:
    if result is None:
        return "NOT RUN"
    return "passed" if result in FINE else "skipped" if result in SKIPPED else "FAILED"


def table(shown: Shown, ran: Mapping[str, str] | None) -> tuple[list[str], bool]:
    """Its lines, and whether all is well."""
    lines, well = [f"{'':4} {'danger':72} {'tests':>5}  {'result' if ran is not None else ''}".rstrip()], True
    for number, what in DANGERS.items():
        said, fine = row(shown[number], ran, OPEN.get(number, ""))
        lines.append(f"{number:4} {what:72} {len(shown[number]) or '-':>5}  {said}".rstrip())
        well &= fine
    return lines, well


def main(arguments: list[str]) -> int:
    shown = tests_by_number()
    if arguments[:1] == ["--tests"]:
        print(" ".join(name for number in arguments[1:] for name in shown[number]))
        return 0
    if arguments == ["--check"]:
        missing = [number for number, names in shown.items() if not row(names, None, OPEN.get(number, ""))[1]]
        print(
            f"no test shows {', '.join(missing)}" if missing else f"{len(shown)} dangers, each with its tests"
        )
        return 1 if missing else 0
    ran = results(Path(arguments[0]).read_text("utf-8", errors="replace")) if arguments else None
    lines, well = table(shown, ran)
    print("\n".join(lines))
    print("all of them are shown" if well else "NOT ALL OF THEM ARE SHOWN")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
