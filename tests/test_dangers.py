"""The table of dangers: what the marks say, what trial's log says, and nothing made better than it is."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests import dangers
from tests.test_contracts import load_script

script = load_script("dangers")

LOG = """\
Running 4 tests.
tests.test_a
  OneTests
    test_x ...                                                             [OK]
tests.test_b
  OneTests
    test_x ...                                                           [FAIL]
tests.test_a
  OneTests
    test_a_name_that_is_longer_than_trial_has_room_for_on_one_line_of_its ... [ERROR]
  OtherTests
    test_y ...
something that somebody prints
                                                                           [OK]
    test_z ...                                                        [SKIPPED]

===============================================================================
[FAIL]
Traceback (most recent call last):
tests.test_b.OneTests.test_x
-------------------------------------------------------------------------------
FAILED (successes=1)
"""


class MarkTests(SynchronousTestCase):
    """`@shows`."""

    def test_marks(self) -> None:
        """A test has its own numbers and its class's; one without marks has none."""

        @dangers.shows("F21")
        class Case(SynchronousTestCase):
            @dangers.shows("T1", "T2")
            def test_one(self) -> None: ...

            def test_two(self) -> None: ...

        class Plain(SynchronousTestCase):
            def test_one(self) -> None: ...

        self.assertEqual(dangers.shown_by(Case, "test_one"), {"F21", "T1", "T2"})
        self.assertEqual(dangers.shown_by(Case, "test_two"), {"F21"})
        self.assertEqual(dangers.shown_by(Plain, "test_one"), frozenset())

    def test_unknown(self) -> None:
        """A misspelt number is an error where it is written."""
        self.assertRaises(ValueError, dangers.shows, "F99")

    def test_open(self) -> None:
        """What is declared open is a danger, and has a reason. `make lint` sees to the others."""
        self.assertEqual(set(dangers.OPEN) - set(dangers.DANGERS), set())
        self.assertTrue(all(dangers.OPEN.values()))


class TableTests(SynchronousTestCase):
    """Marks and a log."""

    def test_results(self) -> None:
        """Each test has the word at the end of its line, under its module and class, in any order."""
        self.assertEqual(
            script.results(LOG),
            {
                "tests.test_a.OneTests.test_x": "OK",
                "tests.test_b.OneTests.test_x": "FAIL",
                "tests.test_a.OneTests."
                "test_a_name_that_is_longer_than_trial_has_room_for_on_one_line_of_its": "ERROR",
                "tests.test_a.OtherTests.test_y": "OK",
                "tests.test_a.OtherTests.test_z": "SKIPPED",
            },
        )

    def test_rows(self) -> None:
        """What failed, or did not run, or has no test and no excuse, is not well; what is skipped is told."""
        ran = {"a": "OK", "b": "FAIL", "c": "SKIPPED", "d": "OK"}
        for names, reason, said, well in (
            (["a", "d"], "", "2 passed", True),
            (["a", "b"], "", "1 passed, 1 FAILED", False),
            (["a", "c"], "", "1 passed, 1 skipped", True),
            (["a", "e"], "", "1 passed, 1 NOT RUN", False),
            ([], "", "NO TEST", False),
            ([], "not built", "open: not built", True),
            (["a"], "not whole", "1 passed; open: not whole", True),
        ):
            self.assertEqual(script.row(names, ran, reason), (said, well))

    def test_table(self) -> None:
        """A line for each danger, whatever became of it."""
        shown = {number: ["a"] for number in dangers.DANGERS} | {"T20": []}
        lines, well = script.table(shown, {"a": "OK"})
        self.assertEqual(len(lines), 1 + len(dangers.DANGERS))
        self.assertFalse(well)
        [line] = [line for line in lines if line.startswith("T20 ")]
        self.assertTrue(line.endswith("NO TEST"), line)
