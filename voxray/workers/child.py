"""A worker's side of the line: it asks for its orders, becomes a daemon, and does what it is told.

Signals are the parent's. A terminal, or a service manager that does not know better, sends them to all
processes at once, so a worker ignores them: it is told over the line, and once. When the parent is gone it
lets its calls finish, takes no new ones, and shuts the port, for a successor wants it.
"""

from __future__ import annotations

import faulthandler
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from twisted.internet.defer import Deferred
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure

from voxray import logs
from voxray.config import Loaded
from voxray.ending import end_with_failure
from voxray.errors import ConfigError, StoreUnavailable
from voxray.listening import adopt
from voxray.masking import secrets_in
from voxray.workers.line import ASK_SECS, Answers, Line
from voxray.workers.orders import Orders
from voxray.workers.spawning import LINE_FD, LISTENER_FD, METRICS_FD, adopt_line

START_SECS = 3_600.0
"""The parent answers at once, or when all are prepared."""
METRICS_SECS = 1.5
"""Longer than the parent waits for the slowest."""


class Daemon(Protocol):
    """What the tap builds."""

    @property
    def calls(self) -> int: ...

    @property
    def registry(self) -> CollectorRegistry: ...

    @property
    def errands(self) -> Answers:
        """What the other workers may ask, through the parent."""

    def startService(self) -> None: ...

    def stopService(self) -> Deferred[None]: ...

    def drain(self) -> None: ...

    def abandoned(self) -> Coroutine[Any, Any, None]: ...

    def read_again(self, fresh: bool) -> Coroutine[Any, Any, str]: ...


class Child:
    """One for the process: `storing.Parent`, `service.Parent`, and who runs the parent's errands."""

    log = Logger()

    def __init__(self, reactor: Any, build: Callable[[Child, socket.socket], Daemon]) -> None:
        """`build(child, listener)` may raise ConfigError."""
        self._reactor, self._build = reactor, build
        self._daemon: Daemon | None = None
        self._text = b""
        self.orders: Orders
        self.line = Line(
            reactor,
            {
                "beat": self._beat,
                "drain": self._drain,
                "stop": self._stop,
                "reload": self._reload,
                "metrics": self._metrics,
                **{what: self._errand(what) for what in ("calls", "show", "end", "place", "lost")},
            },
            self._orphaned,
        )

    def begin(self) -> None:
        """Before the reactor runs."""
        faulthandler.enable()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        with socket.socket(fileno=LINE_FD) as line:
            line.set_inheritable(False)
            line.setblocking(False)
            adopt_line(self._reactor, line, self.line)
        starting = Deferred.fromCoroutine(self._begin())
        starting.addErrback(self._cannot_begin)

    async def _begin(self) -> None:
        self.orders = Orders.heard(await self.line.ask("hello", secs=START_SECS))
        self._text = self.orders.text
        settings = self.orders.before().settings
        logs.choose(settings.logs)
        logs.conceal(secrets_in(settings))
        logs.be_called(self.node)
        globalLogBeginner.beginLoggingTo([logs.observer()])
        daemon = self._build(self, adopt(LISTENER_FD))
        self._daemon = daemon
        self._reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
        daemon.startService()

    def _cannot_begin(self, failure: Failure) -> None:
        if failure.check(ConfigError, StoreUnavailable) is None:
            failure.printTraceback(sys.stderr)
        telling = Deferred.fromCoroutine(self.failed(failure.getErrorMessage()))
        telling.addBoth(lambda _: end_with_failure(self._reactor))

    # -- the configuration -------------------------------------------------------
    def load(self) -> Loaded:
        """What the parent has read. Blocks. Raises ConfigError. What there is to warn of it has said."""
        loaded = self.orders.source.load(self._text)
        return Loaded(loaded.settings, (), loaded.origins, loaded.given)

    # -- storing.Parent ----------------------------------------------------------
    @property
    def up(self) -> bool:
        return self.line.up

    @property
    def node(self) -> str:
        return self.orders.node

    async def ask(self, what: str, said: Mapping[str, object] | None = None, secs: float = ASK_SECS) -> Any:
        return await self.line.ask(what, said, secs)

    async def exposition(self) -> bytes:
        """The metrics of all. Raises StoreUnavailable."""
        text: str = await self.line.ask("exposition", secs=METRICS_SECS)
        return text.encode("utf-8")

    @property
    def metrics_listener(self) -> socket.socket | None:
        """The port of `metrics_bind`, which the parent has opened."""
        return adopt(METRICS_FD) if self.orders.before().settings.server.metrics_bind else None

    # -- service.Parent ----------------------------------------------------------
    async def prepared(self) -> None:
        await self.line.ask("prepared", secs=START_SECS)

    def opened(self) -> None:
        self.line.tell("opened")

    async def failed(self, text: str) -> None:
        await self.line.ask("failed", {"text": text})

    # -- errands -----------------------------------------------------------------
    async def _beat(self) -> dict[str, int]:
        return {"calls": 0 if self._daemon is None else self._daemon.calls}

    async def _drain(self) -> None:
        if self._daemon is not None:
            self._daemon.drain()

    async def _stop(self) -> None:
        self._reactor.callLater(0, self._reactor.stop)

    async def _reload(self, text: str | None) -> str:
        if self._daemon is None:
            return "kept"
        if text is not None:
            self._text = text.encode("latin-1")
        return await self._daemon.read_again(text is not None)

    async def _metrics(self) -> str:
        return "" if self._daemon is None else generate_latest(self._daemon.registry).decode("utf-8")

    def _errand(self, what: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def done(**said: Any) -> Any:
            return None if self._daemon is None else await self._daemon.errands[what](**said)

        return done

    # -- the end -----------------------------------------------------------------
    def _orphaned(self) -> None:
        if self._daemon is None or not self._reactor.running:  # what was asked fails, and ends it
            return
        self.log.critical("the parent process is gone: no new calls, and the end when those there are end")
        leaving = Deferred.fromCoroutine(self._daemon.abandoned())
        leaving.addErrback(lambda failure: self.log.failure("leaving failed", failure))
