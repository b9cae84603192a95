"""How a worker comes to be: the same interpreter, a few descriptors, and an environment without the parent's.

The configuration and the secret go over the line, for command lines and environments can be read by others.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import Factory, ProcessProtocol

import voxray
from voxray.workers.line import Line

LINE_FD, LISTENER_FD, METRICS_FD = 3, 4, 5
"""In the worker."""
MEANT_FOR_THE_PARENT = frozenset(
    {
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "LISTEN_PID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "LISTEN_PIDFDID",
    }
)


class Spawner:
    """Starts workers on one listening socket, and another one for `/metrics` where there is one.

    `captured`: their output is logged by the parent.
    """

    def __init__(
        self, reactor: Any, listener: socket.socket, metrics: socket.socket | None = None, *, captured: bool
    ) -> None:
        self._reactor, self._captured = reactor, captured
        self._shared = {LISTENER_FD: listener} | ({} if metrics is None else {METRICS_FD: metrics})

    def __call__(self, protocol: ProcessProtocol, line: Line) -> IProcessTransport:
        """A process, whose end `protocol` hears of, with `line` to it. Raises OSError."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            command = words()
            process: IProcessTransport = self._reactor.spawnProcess(
                protocol,
                command[0],
                command,
                env=environment(os.environ),
                childFDs={
                    0: 0,
                    1: "r" if self._captured else 1,
                    2: "r" if self._captured else 2,
                    LINE_FD: theirs.fileno(),
                    **{number: shared.fileno() for number, shared in self._shared.items()},
                },
            )
            adopt_line(self._reactor, ours, line)
        return process


def adopt_line(reactor: Any, ours: socket.socket, line: Line) -> None:
    """The line speaks over that socket, of which the reactor takes a copy."""
    factory = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda addr: line  # type: ignore[method-assign]
    reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)


def words() -> list[str]:
    """The command; with the interpreter's own flags, and never with modules of the working directory."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    apart = [] if {"-I", "-P"} & set(flags) else ["-P"]
    return [sys.executable, *flags, *apart, "-m", "voxray.workers"]


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The parent's, less what is meant for it alone; and the way to this very package."""
    kept = {name: value for name, value in environ.items() if name not in MEANT_FOR_THE_PARENT}
    home = str(Path(voxray.__file__).parent.parent)
    paths = [path for path in kept.get("PYTHONPATH", "").split(os.pathsep) if path]
    if home not in paths and home not in sys.path[1:]:
        paths.insert(0, home)
    return kept | ({"PYTHONPATH": os.pathsep.join(paths)} if paths else {})
