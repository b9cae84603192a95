"""The tools under scripts/: state diagrams, and the counting of tests."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from automat import TypeMachineBuilder
from twisted.trial import unittest

from tests.test_contracts import load_script

ROOT = Path(__file__).resolve().parent.parent
diagrams = load_script("diagrams")
tally = load_script("tally")


class Door(Protocol):
    def push(self) -> None: ...
    def lock(self) -> None: ...


class Nobody(Protocol):
    pass


def door_machine() -> object:
    builder = TypeMachineBuilder(Door, Nobody)
    shut = builder.state("shut")
    wide_open = builder.state("wide_open")
    locked = builder.state("locked")

    @shut.upon(Door.push).to(wide_open)
    def _creak(door: Door, core: Nobody) -> None: ...

    @shut.upon(Door.lock).to(locked)
    def lock(door: Door, core: Nobody) -> None: ...

    wide_open.upon(Door.push).loop().returns(None)
    return builder.build()


class DiagramTests(unittest.SynchronousTestCase):
    """scripts/diagrams.py reads Automat's machines."""

    def test_drawing(self) -> None:
        """Initial and final states, labels with what is done, and the ignored inputs in words."""
        self.assertEqual(
            diagrams.mermaid(door_machine()),
            "```mermaid\n"
            "stateDiagram-v2\n"
            "    [*] --> shut\n"
            "    shut --> locked: lock\n"
            "    shut --> wide_open: push / creak\n"
            "    locked --> [*]\n"
            "    wide_open --> [*]\n"
            "```\n"
            "\n"
            "*wide open* ignores push.\n",
        )

    def test_the_committed_diagrams_are_current(self) -> None:
        """docs/design.md has every machine, drawn as it is now."""
        document = (ROOT / "docs" / "design.md").read_text("utf-8")
        self.assertEqual(diagrams.redraw(document), document, "run `make docs`")
        self.assertEqual(
            {block["name"] for block in diagrams.BLOCK.finditer(document)}, set(diagrams.MACHINES)
        )

    def test_an_unknown_diagram_is_an_error(self) -> None:
        """A misspelt marker does not silently keep an old picture."""
        with self.assertRaises(KeyError):
            diagrams.redraw("<!-- diagram: flor -->\nold\n<!-- end diagram -->\n")


class TallyTests(unittest.SynchronousTestCase):
    """scripts/tally.py never makes a run look better than it was."""

    def line(self, log: str, status: int) -> str:
        return str(tally.tally(log, status))

    def test_counts(self) -> None:
        """Trial's summary in plain words; expected failures are skips, unexpected successes failures."""
        self.assertEqual(self.line("x\nPASSED (successes=12)\n", 0), "12 passed, 0 failed, 0 skipped")
        self.assertEqual(self.line("PASSED (skips=2, successes=12)\n", 0), "12 passed, 0 failed, 2 skipped")
        self.assertEqual(
            self.line("FAILED (skips=1, failures=2, errors=3, successes=4)\nmake: *** Error 1\n", 2),
            "4 passed, 5 failed, 1 skipped",
        )
        self.assertEqual(
            self.line("PASSED (expectedFailures=1, unexpectedSuccesses=1, successes=4)\n", 0),
            "4 passed, 1 failed, 1 skipped",
        )

    def test_no_summary_is_a_failure(self) -> None:
        """A crash of trial itself, whatever status it left."""
        self.assertEqual(self.line("Traceback ...\n", 1), "0 passed, 1 failed, 0 skipped")
        self.assertEqual(self.line("", 0), "0 passed, 1 failed, 0 skipped")

    def test_a_status_that_contradicts_the_summary_is_a_failure(self) -> None:
        """PASSED in the log of a test's own trial run does not hide the real status."""
        self.assertEqual(self.line("PASSED (successes=3)\n", 1), "3 passed, 1 failed, 0 skipped")

    def test_the_last_summary_counts(self) -> None:
        """Earlier ones come from tests that run trial."""
        log = "FAILED (failures=1)\n...\nPASSED (successes=3)\n"
        self.assertEqual(self.line(log, 0), "3 passed, 0 failed, 0 skipped")

    def test_several_runs_are_added(self) -> None:
        """Each has its line before it; one that crashed is not hidden by the others."""
        log = "=== a\nPASSED (successes=3)\n=== b\nFAILED (failures=1)\nPASSED (skips=1, successes=2)\n"
        self.assertEqual(self.line(log, 0), "5 passed, 0 failed, 1 skipped")
        log = "=== a\nPASSED (successes=3)\n=== b\nFAILED (errors=2, successes=2)\n"
        self.assertEqual(self.line(log, 1), "5 passed, 2 failed, 0 skipped")
        log = "=== a\nTraceback ...\n=== b\nPASSED (successes=2)\n"
        self.assertEqual(self.line(log, 1), "2 passed, 1 failed, 0 skipped")

    def test_nothing_ran_is_not_success(self) -> None:
        """An empty suite exits with status 1."""
        log = Path(self.mktemp())
        log.write_text("PASSED\n")
        self.assertEqual(tally.main([str(log), "0"]), 1)
        log.write_text("PASSED (successes=1)\n")
        self.assertEqual(tally.main([str(log), "0"]), 0)
