"""The daemon as Twisted's application framework sees it: what is started, in which order, and stopped."""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxray.call.exchange import Exchange
from voxray.call.registry import Registry
from voxray.collector import Collector
from voxray.drain import Drain
from voxray.editions import Editions
from voxray.ending import end_with_failure
from voxray.errors import ConfigError, ProviderError
from voxray.http import HttpClient
from voxray.listening import one_at_a_time
from voxray.reloading import Reloader
from voxray.signals import Signals
from voxray.systemd import Notify
from voxray.vigil import Vigil
from voxray.web.calls import Calls
from voxray.web.colleagues import answers
from voxray.worker import ThreadWorker


class Startable(Protocol):
    """What has a life of its own."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Parent(Protocol):
    """Who started this process as one of several. Signals are its own, and so is the service manager."""

    async def prepared(self) -> None:
        """Until the port may be opened."""

    def opened(self) -> None: ...

    async def failed(self, text: str) -> None:
        """Why this process cannot start."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service holds; `tap.makeService` makes it."""

    editions: Editions
    registry: Registry
    site: Any
    close_sockets: Callable[[int, str], Deferred[None]]
    listener: socket.socket
    startables: Sequence[Startable]
    workers: Sequence[ThreadWorker]
    http: HttpClient
    warnings: Sequence[str]
    drain: Drain
    reloader: Reloader
    notify: Notify
    vigil: Vigil
    beside: Sequence[tuple[socket.socket, Any]] = ()
    """Other ports, and what is served there."""
    parent: Parent | None = None
    on_hangup: Sequence[Callable[[], None]] = ()
    """What is read again on SIGHUP beside the configuration."""

    @property
    def exchange(self) -> Exchange:
        """What new calls share."""
        return self.editions.current.exchange


class Daemon(Service):
    """Engines first, then the door; the door first, then the calls, then the engines."""

    log = Logger()

    def __init__(self, parts: Parts, reactor: Any) -> None:
        self._parts = parts
        self._reactor = reactor
        self._port: IListeningPort | None = None
        self._beside: list[IListeningPort] = []
        self._metrics = parts.exchange.metrics
        self._signals = Signals(
            reactor.callFromThread, (*parts.on_hangup, parts.reloader.reload), parts.drain.asked
        )
        self._collector = Collector(reactor, lambda: parts.registry.ended)
        self._starting: Deferred[None] | None = None

    @property
    def calls(self) -> int:
        """That are up."""
        return len(self._parts.registry)

    @property
    def registry(self) -> CollectorRegistry:
        """Of the metrics."""
        return self._metrics.registry

    @property
    def errands(self) -> Mapping[str, Callable[..., Coroutine[Any, Any, Any]]]:
        """What other processes on the same port may ask of this one's calls."""
        return {**answers(self._board), "lost": self._lost}

    async def _lost(self, lease: str) -> None:
        """That call has a newer stream elsewhere."""
        self._parts.registry.lost(lease)

    def _board(self) -> Calls | None:
        front = self._parts.editions.current.front
        return None if front is None else front.board

    def drain(self) -> None:
        """SIGTERM, as a parent passes it on."""
        self._parts.drain.asked()

    @property
    def listening(self) -> bool:
        return self._port is not None

    @property
    def ready(self) -> bool:
        """Whether a call would be answered now."""
        return self.listening and self._parts.drain.serving

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        if self._parts.parent is None:
            self._signals.running()
            self._reactor.callWhenRunning(self._signals.reactor_runs)
        for warning in self._parts.warnings:
            self.log.warn("configuration: {text}", text=warning)  # "warning" is for Python's own
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._cannot_start)

    async def _start(self) -> None:
        parts = self._parts
        for startable in parts.startables:
            await startable.start()
        if parts.parent is not None:
            await parts.parent.prepared()
        self._port = self._adopt(parts.listener, parts.site)
        self._beside = [self._adopt(listener, site) for listener, site in parts.beside]
        if parts.parent is not None:
            for port in (self._port, *self._beside):
                one_at_a_time(port)
        self._metrics.up.set(1)
        parts.vigil.start()
        self._collector.start()
        host, port = parts.listener.getsockname()[:2]
        for listener in (parts.listener, *(listener for listener, _ in parts.beside)):
            listener.close()  # the reactor has its own copy
        self.log.info("answering on {host} port {port}", host=host, port=port)
        parts.notify.watch(self._status)
        parts.notify.ready()
        if parts.parent is not None:
            parts.parent.opened()

    def _adopt(self, listener: socket.socket, site: Any) -> IListeningPort:
        port: IListeningPort = self._reactor.adoptStreamPort(listener.fileno(), listener.family, site)
        return port

    def _status(self) -> str:
        """For `systemctl status`."""
        calls = len(self._parts.registry)
        doing = "answering" if self.ready else "draining" if self._parts.drain.admitting else "stopping"
        return f"{doing}, {calls} call{'' if calls == 1 else 's'}"

    def _cannot_start(self, failure: Failure) -> None:
        """One line, and exit status 1."""
        if failure.check(CancelledError):
            return  # stopped while starting
        ours = bool(failure.check(ProviderError, ConfigError))
        if not ours:
            self.log.failure("the daemon cannot start", failure)
        if (parent := self._parts.parent) is not None:
            telling = Deferred.fromCoroutine(parent.failed(failure.getErrorMessage()))
            telling.addBoth(lambda _: end_with_failure(self._reactor))
            return
        if ours:
            self.log.critical("cannot start: {reason}", reason=failure.getErrorMessage())
        end_with_failure(self._reactor)

    async def read_again(self, fresh: bool) -> str:
        """SIGHUP, as a parent passes it on; what came of it. `fresh`: there is another configuration."""
        for reload in self._parts.on_hangup:
            try:
                reload()
            except Exception:  # noqa: BLE001
                self.log.failure("SIGHUP: reading again failed")
        return await self._parts.reloader.read_again(fresh)

    async def abandoned(self) -> None:
        """The parent is no more. Nobody new is let in, for a successor wants the port; calls finish."""
        await self._shut()
        if self._parts.drain.serving:
            self._parts.drain.asked()

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        self._parts.drain.close()
        self._parts.reloader.stop()
        self._parts.notify.stopping()
        return Deferred.fromCoroutine(self._stop())

    async def _shut(self) -> None:
        """The ports."""
        ports = [*self._beside, *([] if self._port is None else [self._port])]
        self._port, self._beside = None, []
        for port in ports:
            await _maybe(port.stopListening())

    async def _stop(self) -> None:
        parts = self._parts
        if self._starting is not None:
            self._starting.cancel()
        self._metrics.up.set(0)
        parts.vigil.stop()
        self._collector.stop()
        await self._shut()
        parts.registry.abort_all(1001, "shutdown")
        await parts.close_sockets(1001, "shutdown")  # a peer that does not answer is dropped after a second
        await parts.http.close()
        for startable in reversed(parts.startables):
            await startable.stop()
        for worker in parts.workers:
            await worker.stop()
        parts.notify.unwatch()


async def _maybe(result: object) -> None:
    if isinstance(result, Deferred):
        await result
