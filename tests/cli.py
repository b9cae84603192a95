"""The command `voxray` in this process: what it prints, and the status it ends with."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from voxray.cli.main import main

LOCAL: dict[str, object] = {
    "provider": "local",
    "runner_transport": "twilio",
    "host": "127.0.0.1",
    "vad_type": "energy",
}


class Screen(io.StringIO):
    """Output, to a terminal or not."""

    def __init__(self, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


class CommandCase(SynchronousTestCase):
    """With a directory, a configuration in it, and no variables of the machine's."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self.path = self.directory / "voxray.json"
        self.patch(os, "environ", {"PATH": os.environ["PATH"]})

    def configured(self, document: dict[str, object] | None = None, **environ: str) -> None:
        """Over `LOCAL`."""
        self.path.write_text(json.dumps({**LOCAL, **(document or {})}), encoding="utf-8")
        os.environ.update(environ)

    def typed(self, *words: str, terminal: bool = False) -> tuple[int, str, str]:
        """Status, output, errors."""
        out, err = Screen(terminal), Screen(terminal)
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        end = self.assertRaises(SystemExit, main, words)
        return int(end.code or 0), out.getvalue(), err.getvalue()

    def command(self, name: str, *words: str) -> tuple[int, str]:
        """Of our configuration; nothing may be said beside the output."""
        status, out, err = self.typed(name, "--config", str(self.path), *words)
        self.assertEqual(err, "")
        return status, out

    def document(self, name: str, *words: str) -> tuple[int, Any]:
        """The same as JSON."""
        status, out, _ = self.typed(name, "--config", str(self.path), "--json", *words)
        self.assertEqual(out.count("\n"), 1)
        return status, json.loads(out)
