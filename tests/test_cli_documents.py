"""What is made from the command's parser: completion and manual page are current, and bash understands."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.test_contracts import ROOT, load_script
from voxray.cli.arguments import parser

command = load_script("command")


class DocumentTests(SynchronousTestCase):
    def test_current(self) -> None:
        """`make docs` would change neither."""
        self.assertEqual(command.COMPLETION.read_text("utf-8"), command.completion())
        self.assertEqual(command.MANUAL.read_text("utf-8"), command.manual())

    def test_stale(self) -> None:
        """One that is not is named, and left as it is under --check; without it is written."""
        self.patch(sys, "stdout", io.StringIO())
        stale = Path(self.mktemp()).absolute()
        stale.write_text("old", encoding="utf-8")
        self.patch(command, "ROOT", stale.parent)
        self.patch(command, "COMPLETION", stale)
        self.patch(command, "MANUAL", stale.parent / "new.1")
        self.assertEqual(command.main(["--check"]), 1)
        self.assertEqual(stale.read_text("utf-8"), "old")
        self.assertEqual(command.main([]), 0)
        self.assertEqual(command.main(["--check"]), 0)

    def test_every_option(self) -> None:
        """In both, each option of each command."""
        manual = command.MANUAL.read_text("utf-8").replace("\\-", "-")
        completion = command.COMPLETION.read_text("utf-8")
        for name, made in command.subparsers(parser()).items():
            self.assertIn(f".SS voxray {name}", manual)
            for action in command.options_of(made):
                if action.dest != "help":
                    self.assertIn(f"\\fB{action.option_strings[-1]}\\fR", manual)
                    self.assertIn(action.option_strings[-1], completion)

    def test_roff(self) -> None:
        """A dash is one to be typed, and no line of text begins like a request."""
        self.assertEqual(command._escaped("--json \\ `x`"), "\\-\\-json \\e x")
        self.assertEqual(command._escaped(".x"), "\\&.x")


class BashTests(SynchronousTestCase):
    """In a bash of its own, without the machine's completions."""

    def complete(self, *words: str) -> list[str]:
        script = (
            f"source '{ROOT}/contrib/completion/voxray.bash'\n"
            'COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))\n'
            '_voxray_command 2>/dev/null\nprintf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", script, "bash", *words],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_words(self) -> None:
        """Commands, then their options, then the choices of an option; names of files are left to bash."""
        for words, expected in (
            (("voxray", "d"), ["doctor", "dial"]),
            (("voxray", "check", "--o"), ["--online"]),
            (("voxray", "doctor", "--url", ""), []),
            (("voxray", "check", "--config", ""), []),
            (("voxray", "init", "--carrier", "t"), ["twilio", "telnyx"]),
            (("voxray", "init", ""), []),
            (("voxray", "init", "--f"), ["--force"]),
            (("voxray", "dial", "--leg-codec", ""), ["PCMU", "PCMA"]),
            (("voxray", "bogus", ""), []),
        ):
            self.assertEqual(self.complete(*words), expected, words)
