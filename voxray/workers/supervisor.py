"""The parent of several workers, as Twisted's application framework sees it. It runs no calls.

Signals and the service manager are its own; what they ask for is passed on over the lines. It is ready when
every worker listens, and over when the last of them is.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from voxray.drain import CUT_SECS, GOODBYE_SECS, SLACK_SECS
from voxray.ending import end_with_failure
from voxray.settings import Settings
from voxray.signals import Signals
from voxray.systemd import Notify
from voxray.worker import ThreadWorker
from voxray.workers.crew import Crew
from voxray.workers.hand import Hand, Spawn, State
from voxray.workers.line import Answers
from voxray.workers.orders import Orders
from voxray.workers.refresh import Refresh

STOP_SECS = 5.0
"""For workers to end when the parent is told to end at once."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the supervisor holds; `tap.makeService` makes it."""

    settings: Settings
    warnings: Sequence[str]
    orders: Orders
    listeners: Sequence[socket.socket]
    """The calls' port first."""
    spawn: Spawn
    notify: Notify
    files: ThreadWorker


class Supervisor(Service):
    """One for the process."""

    log = Logger()

    def __init__(self, parts: Parts, reactor: Any) -> None:
        self._parts, self._reactor, self._notify = parts, reactor, parts.notify
        self._signals = Signals(reactor.callFromThread, (self.reload,), self.asked)
        self.crew = Crew(
            parts.settings.server.workers, parts.spawn, reactor, self, parts.notify.watchdog_secs
        )
        self._refresh = Refresh(parts.orders, parts.settings, self.crew, parts.files, parts.notify)
        self._gates: list[Deferred[None]] = []
        self.ready = False
        """All have listened at once; from then on one that dies is started again."""
        self._stopping = False
        self._failed = False
        self._over = False
        """The reactor stops."""
        self._all_gone: Deferred[None] | None = None
        self._too_long: Any = None

    # -- the service -----------------------------------------------------------
    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._signals.running()
        self._reactor.callWhenRunning(self._signals.reactor_runs)
        for warning in self._parts.warnings:
            self.log.warn("configuration: {text}", text=warning)
        self._reactor.callWhenRunning(self.crew.start)  # to fail is to stop the reactor

    def stopService(self) -> Deferred[None]:
        """The reactor stops. Workers that are left are told to end now, and killed if they do not."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._end()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._notify.stopping()
        for hand in self.crew:
            hand.tell("stop") if hand.serving else hand.kill()
        if len(self.crew):
            self._all_gone = Deferred()
            killing = self._reactor.callLater(STOP_SECS, self._kill)
            await self._all_gone
            if killing.active():
                killing.cancel()
        self.crew.close()
        await self._parts.files.stop()
        for listener in self._parts.listeners:
            listener.close()
        self._notify.unwatch()

    def _end(self) -> None:
        """From now on nobody is started."""
        self._stopping = self._over = True
        self.crew.stop()
        self._refresh.stop()
        if self._too_long is not None and self._too_long.active():
            self._too_long.cancel()

    def _kill(self) -> None:
        for hand in self.crew:
            self.log.error("worker {number} does not end: it is killed", number=hand.number)
            hand.kill()

    # -- signals ---------------------------------------------------------------
    def reload(self) -> None:
        """SIGHUP."""
        if self.ready and not self._stopping:
            self._refresh.reload()
        else:
            self.log.info("SIGHUP: the configuration is not read again: the daemon is not serving")

    def asked(self) -> None:
        """SIGTERM or SIGINT: each worker drains; told again, each is told again."""
        first, self._stopping = not self._stopping, True
        self.crew.stop()
        if first:
            longest = self._refresh.settings.calls.drain_timeout_secs
            longest += GOODBYE_SECS + CUT_SECS + SLACK_SECS
            self._notify.stopping()
            self._notify.extend(longest)
            self._too_long = self._reactor.callLater(longest, self._kill)
            self.log.info("stopping: {count} workers let their calls finish", count=len(self.crew))
        for hand in self.crew:
            hand.tell("drain") if hand.serving else hand.kill()
        self._if_all_gone()

    # -- what workers say: crew.Chief --------------------------------------------
    def answers(self, hand: Hand) -> Answers:
        async def hello() -> object:
            orders = self._refresh.orders_of(hand)
            return orders.said()

        async def prepared() -> None:
            """It may open the port when all can: else callers would reach a daemon that cannot start."""
            hand.state = State.PREPARED
            if not self.ready:
                await self._gate()

        async def opened() -> None:
            hand.opened()
            self._opened(hand)

        async def failed(text: str) -> None:
            hand.trouble = text

        return {"hello": hello, "prepared": prepared, "opened": opened, "failed": failed}

    async def _gate(self) -> None:
        waiting: Deferred[None] = Deferred()
        self._gates.append(waiting)
        if sum(hand.state is State.PREPARED for hand in self.crew) == self.crew.count:
            gates, self._gates = self._gates, []
            for gate in gates:
                gate.callback(None)
        await waiting

    def _opened(self, hand: Hand) -> None:
        if self._stopping:
            hand.tell("drain")
        elif self.ready:
            self.log.info("worker {number} serves again", number=hand.number)
            self._refresh.caught_up(hand)
        elif self.crew.complete:
            self.ready = True
            host, port = self._parts.listeners[0].getsockname()[:2]
            text = "answering on {host} port {port}, {count} workers"
            self.log.info(text, host=host, port=port, count=self.crew.count)
            self._notify.watch(self.status, lambda: self.crew.alive)
            self._notify.ready()

    def lost(self, hand: Hand, calls: int) -> None:
        """One process is no more."""
        if self._all_gone is not None and not len(self.crew):
            self._all_gone.callback(None)
        if self._failed:
            return
        if self._stopping:
            if hand.served and hand.how != "status 0":
                self.log.error("worker {number} ended: {how}", number=hand.number, how=hand.how)
            self._if_all_gone()
        elif not self.ready:
            self._cannot_start(hand)
        else:
            text = "worker {number} ended ({how}) with {calls} calls; another is started in {secs:.1f} s"
            why, secs = hand.trouble or hand.how, self.crew.replace(hand)
            self.log.error(text, number=hand.number, how=why, calls=calls, secs=secs)

    def _if_all_gone(self) -> None:
        if self._stopping and not len(self.crew) and not self._over:
            self._over = True
            self.log.info("stopping: all workers have ended")
            self._reactor.stop()

    def _cannot_start(self, hand: Hand) -> None:
        """One line, and exit status 1."""
        self._failed = True
        reason = hand.trouble or f"worker {hand.number} ended as it started: {hand.how}"
        self.log.critical("cannot start: {reason}", reason=reason)
        end_with_failure(self._reactor)

    # -- for `systemctl status` --------------------------------------------------
    def status(self) -> str:
        calls, there, wanted = self.crew.calls, len(self.crew.serving), self.crew.count
        doing = "draining" if self._stopping else "answering"
        workers = f"{there} workers" if there == wanted else f"{there} of {wanted} workers"
        return f"{doing}, {calls} call{'' if calls == 1 else 's'}, {workers}"
