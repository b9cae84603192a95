"""The command `voxray`: its commands, its statuses, and what it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cli import CommandCase
from voxray import __version__
from voxray.cli import main as module
from voxray.cli.arguments import parser
from voxray.simulator import cli as simulator

ROOT = Path(__file__).parents[1]
HEAVY = ("numpy", "twisted", "OpenSSL", "orjson", "prometheus_client", "opuslib")


class MainTests(CommandCase):
    def test_help(self) -> None:
        """--help names every command, and each has a help of its own; the status is 0."""
        status, out, _ = self.typed("--help")
        self.assertEqual(status, 0)
        for name in (*module.COMMANDS, "dial", "version"):
            self.assertIn(f"\n    {name}", out)
        for name in (*module.COMMANDS, "version"):
            status, out, _ = self.typed(name, "--help")
            self.assertEqual(status, 0)
            self.assertIn(f"usage: voxray {name}", out)

    def test_version(self) -> None:
        """By word and by option."""
        for word in ("version", "--version"):
            self.assertEqual(self.typed(word), (0, f"voxray {__version__}\n", ""))

    def test_mistakes(self) -> None:
        """A wrong command line is status 2 and said on the error stream."""
        wrong = (
            (),
            ("bogus",),
            ("check", "extra"),
            ("doctor", "--timeout", "nan"),
            ("init", "--carrier", "x"),
        )
        for words in wrong:
            status, out, err = self.typed(*words)
            self.assertEqual((status, out), (2, ""), words)
            self.assertIn("usage: voxray", err)

    def test_no_abbreviations(self) -> None:
        """A later option must not change what an old script's abbreviation means."""
        self.configured()
        self.assertEqual(self.typed("check", "--str", "--config", str(self.path))[0], 2)

    def test_go_flags(self) -> None:
        """Whoever types the Go daemon's flags is told how the daemon is started here, in one line."""
        for words in (("-config", "x.json"), ("--port=9",), ("-proxy", "a.b"), ("-dialin",)):
            status, out, err = self.typed(*words)
            self.assertEqual((status, out, err.count("\n")), (2, "", 1))
            self.assertIn("twistd -n voxray", err)
        self.assertIn("voxray init PATH", self.typed("-init")[2])

    def test_dial(self) -> None:
        """`voxray dial` is voxray-dial: every word goes there as it is."""
        seen: list[list[str]] = []
        self.patch(simulator, "main", seen.append)
        module.main(["dial", "--say", "Hello", "--help"])
        self.assertEqual(seen, [["--say", "Hello", "--help"]])

    def test_interrupted(self) -> None:
        """Ctrl-C is no traceback."""
        self.patch(module, "_run", _interrupt)
        self.assertEqual(self.typed("check"), (130, "", ""))

    def test_commands_exist(self) -> None:
        """What the parser takes is what can be run."""
        known = {*module.COMMANDS, "dial", "version"}
        choices: Any = next(action.choices for action in parser()._actions if action.dest == "command")
        self.assertEqual(set(choices), known)


def _interrupt(words: object) -> int:
    raise KeyboardInterrupt


class ProcessTests(CommandCase):
    """As a process, which is where imports and pipes are."""

    def python(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.directory, env=environ, capture_output=True, text=True, timeout=60, check=False, **more,
        )  # fmt: skip

    def test_light(self) -> None:
        """Help, check, print-config and init load no numpy, no Twisted, no OpenSSL: they answer at once."""
        self.configured()
        config = str(self.path)
        code = (
            "import sys\nfrom voxray.cli.main import main\n"
            "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
            f"print([m for m in {HEAVY!r} if m in sys.modules])"
        )
        for words in (
            ("--help",),
            ("check", "--config", config),
            ("print-config", "--config", config),
            ("init", "new.json"),
            ("check", "--config", "/nowhere"),
        ):
            done = self.python("-c", code, *words)
            self.assertEqual(done.stdout.splitlines()[-1], "[]", (words, done.stderr))

    def test_each_carrier_is_light(self) -> None:
        """Whatever carrier is configured: formats are read from tables."""
        code = (
            "import sys\nfrom voxray.cli.main import main\n"
            "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
            f"print([m for m in {HEAVY!r} if m in sys.modules])"
        )
        self.configured()
        for carrier in ("telnyx", "plivo", "exotel", "auto"):
            done = self.python("-c", code, "check", "--config", str(self.path), "--transport", carrier)
            self.assertEqual(done.stdout.splitlines()[-1], "[]", (carrier, done.stderr))

    def test_broken_pipe(self) -> None:
        """A reader that has gone ends it without a traceback."""
        self.configured()
        read, write = os.pipe()
        os.close(read)
        code = "from voxray.cli.main import main\nmain()"
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        try:
            done = subprocess.run(
                [sys.executable, "-c", code, "check", "--config", str(self.path)],
                env=environ, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
            )  # fmt: skip
        finally:
            os.close(write)
        self.assertEqual((done.returncode, done.stderr), (1, ""))

    def test_poor_terminal(self) -> None:
        """Text that the output's encoding lacks is escaped; the command does not die of it."""
        self.configured({"cdr_file": str(self.directory / "anr\u00fcfe.jsonl")})
        code = "from voxray.cli.main import main\nmain()"
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
        done = subprocess.run(
            [sys.executable, "-c", code, "print-config", "--config", str(self.path)],
            env=environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("anr\\xfcfe.jsonl", done.stdout)
