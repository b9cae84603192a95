"""One worker, as its parent sees it: a process, the line to it, and what was heard of it last."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessTransport, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxray.errors import StoreUnavailable
from voxray.workers.line import Line
from voxray.workers.orders import node_of

BEAT_SECS = 1.0
KILL_SECS = 2.0
"""After SIGABRT, which a process that was stopped cannot act on."""


class State(Enum):
    """How far it is."""

    STARTING = "starting"
    PREPARED = "prepared"  # its engines run; it may not open the port yet
    SERVING = "serving"
    GONE = "gone"


class Boss(Protocol):
    """Who is told."""

    def gone(self, hand: Hand) -> None:
        """The process is no more."""

    def said(self, hand: Hand, text: str) -> None:
        """A line that it wrote, where the parent takes those."""


Spawn = Callable[[ProcessProtocol, Line], IProcessTransport]


class Hand(ProcessProtocol):
    """One process: the worker of the same number that comes after it is another `Hand`."""

    log = Logger()

    def __init__(self, number: int, clock: IReactorTime, boss: Boss) -> None:
        self.number, self.node = number, node_of(number)
        self._clock, self._boss = clock, boss
        self.state = State.STARTING
        self.born_at = self.heard_at = clock.seconds()
        self.calls = 0
        self.text = b""
        """The configuration that it was given."""
        self.trouble = ""
        """Why it cannot serve, in its own words."""
        self.served = False
        self.how = ""
        """How it ended."""
        self.line: Line
        self._process: IProcessTransport | None = None
        self._beating = False
        self._killing: Any = None
        self._rest = {1: b"", 2: b""}

    def spawn(self, spawn: Spawn, line: Line) -> None:
        """Raises OSError."""
        self.line = line
        self._process = spawn(self, line)

    @property
    def serving(self) -> bool:
        return self.state is State.SERVING

    @property
    def pid(self) -> int:
        return getattr(self._process, "pid", None) or 0

    def opened(self) -> None:
        """It listens."""
        self.state, self.served, self.heard_at = State.SERVING, True, self._clock.seconds()

    # -- how it is -------------------------------------------------------------
    def beat(self) -> None:
        """Asks it whether it is there, unless it still owes an answer."""
        if self.serving and not self._beating:
            self._beating = True
            Deferred.fromCoroutine(self._beat()).addErrback(self._stumbled)

    async def _beat(self) -> None:
        try:
            answer: Mapping[str, int] = await self.line.ask("beat", secs=3600.0)
        except StoreUnavailable:
            return  # its end comes by another way
        finally:
            self._beating = False
        self.heard_at, self.calls = self._clock.seconds(), answer["calls"]

    def silent_secs(self) -> float:
        """How long it has not answered; 0 while it starts."""
        return self._clock.seconds() - self.heard_at if self.serving else 0.0

    # -- what is done to it ------------------------------------------------------
    def tell(self, what: str, said: Mapping[str, object] | None = None) -> None:
        if self.state is not State.GONE and self.line.up:
            self.line.tell(what, said)

    def abort(self) -> bool:
        """SIGABRT, at which Python tells where it is; SIGKILL if that does not help. False: it was told."""
        if self._killing is not None or self.state is State.GONE:
            return False
        self.signal(signal.SIGABRT)
        self._killing = self._clock.callLater(KILL_SECS, self.kill)
        return True

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        if self._process is not None:
            with suppress(ProcessExitedAlready):
                self._process.signalProcess(number)  # names are for a few alone

    # -- the process -------------------------------------------------------------
    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, self._rest[childFD] = (self._rest[childFD] + data).split(b"\n")
        for line in lines:
            self._boss.said(self, line.decode("utf-8", "replace"))

    def processEnded(self, reason: Failure) -> None:
        self.ended(how(reason.value))

    def ended(self, how: str) -> None:
        """It is no more, or never came about."""
        self.how, self.state = how, State.GONE
        if self._killing is not None and self._killing.active():
            self._killing.cancel()
        if self.line.transport is not None:
            self.line.transport.abortConnection()  # type: ignore[attr-defined]  # what it said is not heard
        self._boss.gone(self)

    def _stumbled(self, failure: Failure) -> None:
        self.log.failure("a beat failed", failure)


def how(reason: BaseException | None) -> str:
    """How a process ended, for a log."""
    if isinstance(reason, ProcessTerminated) and reason.signal:
        return f"signal {reason.signal}"
    if isinstance(reason, ProcessTerminated):
        return f"status {reason.exitCode}"
    return "status 0"
