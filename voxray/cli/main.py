"""The console script `voxray`: chooses the command, and turns what comes of it into an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from voxray import __version__
from voxray.cli.arguments import parser

PROBLEMS, USAGE, INTERRUPTED = 1, 2, 130
COMMANDS = {"check": "check", "print-config": "show", "doctor": "doctor", "init": "scaffold"}
"""Each is a module here with a `run(options)` that gives the status; imported when it is asked for."""

GO_FLAGS = ("config", "transport", "port", "proxy", "dialin", "init")
"""Of the Go project's binary, which was the daemon itself."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Always ends in SystemExit, `dial` in its own way."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if words[:1] == ["dial"]:
        from voxray.simulator.cli import main as dial

        dial(words[1:])
        return
    try:
        status = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:  # `voxray check | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = PROBLEMS
    except KeyboardInterrupt:
        status = INTERRUPTED
    raise SystemExit(status)


def _run(words: Sequence[str]) -> int:
    _refuse_go_flags(words)
    options = parser().parse_args(words)
    if options.command == "version":
        sys.stdout.write(f"voxray {__version__}\n")
        return 0
    status: int = import_module(f"voxray.cli.{COMMANDS[options.command]}").run(options)
    return status


def _refuse_go_flags(words: Sequence[str]) -> None:
    """Whoever types them wants the daemon, which is not started by this command."""
    word = words[0].partition("=")[0] if words else ""
    flag = word.lstrip("-")
    if not word.startswith("-") or flag not in GO_FLAGS:
        return
    daemon = "the daemon is started with `twistd -n voxray --config FILE`, which takes the option"
    hint = "`voxray init PATH` writes a configuration" if flag == "init" else daemon
    sys.stderr.write(f"voxray: {word}: {hint}; see voxray --help\n")
    raise SystemExit(USAGE)


if __name__ == "__main__":
    main()
