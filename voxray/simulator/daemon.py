"""Runs the daemon as a child process for the demo: starts it, waits until it answers, reads its log, stops
it.

Its log is JSON lines on standard output (`VOXRAY_JSON_LOGS`); the events in them (one a turn, with the
words when `VOXRAY_LOG_TRANSCRIPTS` is set) are handed on as they come. Only this one process is ever
signalled.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import ConnectError, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseFailed

START_SECS = 60.0
STOP_SECS = 10.0
_POLL_SECS = 0.25
_LAST_LINES = 12

PUBLIC_HOST = "voice.example.com"
"""What carriers are told to dial, and so what they sign; nobody really does."""

_NOT_INHERITED = ("VOXRAY_", "TWILIO_", "TELNYX_", "PLIVO_", "EXOTEL_")

Event = Mapping[str, Any]


class DaemonFailed(Exception):
    """The daemon did not start, or ended on its own; with the last lines it wrote."""


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(port: int) -> dict[str, str]:
    """The child's environment: ours without Voxray's settings and carriers' secrets, then what is needed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    return inherited | {
        "VOXRAY_HOST": "127.0.0.1",
        "VOXRAY_PORT": str(port),
        "VOXRAY_JSON_LOGS": "true",
        "VOXRAY_LOG_TRANSCRIPTS": "true",
        "VOXRAY_DRAIN_TIMEOUT_SECS": "0",
        "VOXRAY_MAX_LAG_MS": "0",  # a demonstration on a busy machine is one, too
        "PYTHONUNBUFFERED": "1",
    }


def twilio_account(account_sid: str, auth_token: str, rest_port: int) -> dict[str, str]:
    """An account with Twilio, whose REST API a stand-in plays, and the public name that it dials."""
    return {
        "VOXRAY_PROXY_HOST": PUBLIC_HOST,
        "TWILIO_ACCOUNT_SID": account_sid,
        "TWILIO_AUTH_TOKEN": auth_token,
        "TWILIO_BASE_URL": f"http://127.0.0.1:{rest_port}",
    }


class _Child(ProcessProtocol):
    """Cuts both outputs into lines."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = {1: b"", 2: b""}
        self.ended: Deferred[str] = Deferred()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, self._rest[childFD] = (self._rest[childFD] + data).split(b"\n")
        for line in lines:
            self._on_line(line.decode("utf-8", "replace"))

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(_how(reason.value))


def _how(reason: BaseException | None) -> str:
    """How a process ended, in three words."""
    if isinstance(reason, ProcessTerminated) and reason.signal:
        return signal.Signals(reason.signal).name
    if isinstance(reason, ProcessTerminated):
        return f"exit status {reason.exitCode}"
    return "exit status 0"


class Daemon:
    """One `twistd -n voxray`. `died` fires with a DaemonFailed (as its result) if it ends before `stop`."""

    def __init__(self, reactor: Any, on_event: Callable[[Event], None]) -> None:
        self._reactor = reactor
        self._on_event = on_event
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._child = _Child(self._line)
        self._transport: Any = None
        self._over = ""
        self.died: Deferred[DaemonFailed] = Deferred()
        self._stopping = False

    def start(self, config: Path, environment: Mapping[str, str], directory: Path) -> None:
        """Starts the process; in `directory`, where twistd finds the plugin of a source tree."""
        twistd = str(Path(sys.executable).parent / "twistd")
        command = [twistd, "-n", "--pidfile=", "voxray", "--config", str(config.resolve())]
        self._child.ended.addCallback(self._ended)
        self._transport = self._reactor.spawnProcess(
            self._child, twistd, command, env=dict(environment), path=str(directory)
        )

    async def ready(self, url: str, progress: Callable[[float], None]) -> None:
        """Waits until `url` answers 200. Raises DaemonFailed."""
        began = self._reactor.seconds()
        agent = Agent(self._reactor, connectTimeout=2)
        while not await self._answers(agent, url):
            waited = self._reactor.seconds() - began
            if self._over:
                raise self._failed(f"the daemon ended: {self._over}")
            if waited > START_SECS:
                raise self._failed(f"the daemon was not ready within {START_SECS:g} s")
            progress(waited)
            await deferLater(self._reactor, _POLL_SECS)

    async def _answers(self, agent: Any, url: str) -> bool:
        try:
            response = await agent.request(b"GET", url.encode("ascii")).addTimeout(2, self._reactor)
        except (ConnectError, ResponseFailed, TookTooLong):
            return False
        return bool(response.code == 200)

    def terminate(self) -> None:
        """SIGTERM, and no more."""
        self._stopping = True
        if not self._over:
            self._transport.signalProcess("TERM")

    async def ended(self) -> str:
        """Waits for the end of the process. How it ended."""
        if not self._over:
            await self._child.ended
        return self._over

    async def stop(self) -> str:
        """SIGTERM, and SIGKILL for one that does not listen. How it ended."""
        self._stopping = True
        if not self._over and self._transport is not None:
            self._transport.signalProcess("TERM")
            kill = self._reactor.callLater(STOP_SECS, self._kill)
            await self._child.ended
            if kill.active():
                kill.cancel()
        return self._over

    def last_lines(self) -> str:
        """The end of its log, for people."""
        return "\n".join(f"  | {line[:300]}" for line in self._lines)

    def _kill(self) -> None:
        if not self._over:
            self._transport.signalProcess("KILL")

    def _ended(self, how: str) -> None:
        self._over = how
        if not self._stopping:
            self.died.callback(self._failed(f"the daemon ended: {how}"))

    def _failed(self, what: str) -> DaemonFailed:
        lines = self.last_lines()
        return DaemonFailed(f"{what}\n{lines}" if lines else what)

    def _line(self, line: str) -> None:
        try:
            event = json.loads(line) if line.startswith("{") else None
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self._lines.append(line)
            return
        self._lines.append(f"{event.get('level', '')}: {event.get('traceback') or event.get('msg', '')}")
        if "event" in event:
            self._on_event(event)
