"""The threads for blocking work: speech models, C libraries, slow files.

A `ThreadWorker` is one named pool with a bounded queue. Too much work is refused at once, as
`ProviderError(OVERLOADED)`: a transcript that comes ten seconds late is worth nothing to a caller. A
cancelled job that has not begun is never run; one that has begun finishes on its own, unheard.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from voxray.errors import ErrorKind, ProviderError

T = TypeVar("T")
STOP_SECS = 5.0


class WorkerReactor(Protocol):
    """The part of the reactor a worker uses."""

    def callFromThread(self, callable: Callable[..., Any], *args: Any) -> None: ...

    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any) -> Any: ...


class _DaemonThread(Thread):
    """A thread that does not keep the process alive: a C library may never return."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.daemon = True


class ThreadWorker:
    """Implements `interfaces.Worker` with its own `ThreadPool`.

    `max_waiting` bounds the jobs that have been accepted and have not begun. Everything but the work
    itself happens on the reactor thread.
    """

    def __init__(
        self,
        reactor: WorkerReactor,
        name: str,
        threads: int,
        max_waiting: int = 64,
        stop_secs: float = STOP_SECS,
    ) -> None:
        """`stop_secs`: how long `stop` waits for what has begun, unless told otherwise."""
        self.name = name
        self._stop_secs = stop_secs
        self._reactor = reactor
        self._threads = threads
        self._max_waiting = max_waiting
        self._pool: ThreadPool | None = None
        self._stopped = False
        self._jobs: set[Deferred[Any]] = set()
        self._busy = 0  # jobs given to the pool that have not come back
        self._idle: Deferred[None] | None = None

    @property
    def waiting(self) -> int:
        """Jobs accepted and not begun."""
        return max(0, self._busy - self._threads)

    async def run(self, work: Callable[[], T]) -> T:
        """Awaits `work()` done in a thread. Raises what it raises, or ProviderError(OVERLOADED)."""
        if self._stopped:
            raise ProviderError(self.name, ErrorKind.UNAVAILABLE, "stopped")
        if self.waiting >= self._max_waiting:
            raise ProviderError(self.name, ErrorKind.OVERLOADED, f"{self.waiting} jobs are waiting")
        return await self._submit(work)

    def _submit(self, work: Callable[[], T]) -> Deferred[T]:
        # A cancelled Deferred swallows the one result that comes later, so abandoning needs no more.
        result: Deferred[T] = Deferred()
        self._jobs.add(result)
        self._busy += 1

        def unless_abandoned() -> T | None:
            return None if result.called else work()

        self._started_pool().callInThreadWithCallback(
            lambda success, value: self._hand_back(result, success, value), unless_abandoned
        )
        return result

    def _started_pool(self) -> ThreadPool:
        if self._pool is None:
            self._pool = ThreadPool(0, self._threads, self.name)
            self._pool.threadFactory = _DaemonThread
            self._pool.start()
        return self._pool

    def _hand_back(self, result: Deferred[T], success: bool, value: Any) -> None:
        """In the thread: the reactor is to take it from here. After its end nobody listens."""
        try:
            self._reactor.callFromThread(self._finished, result, success, value)
        except ReactorNotRunning:
            return

    def _finished(self, result: Deferred[T], success: bool, value: T | Failure) -> None:
        self._busy -= 1
        self._jobs.discard(result)
        if isinstance(value, Failure) and not success:
            result.errback(value)
        elif not isinstance(value, Failure):
            result.callback(value)
        if self._busy == 0 and self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)

    async def stop(self, timeout_secs: float | None = None) -> None:
        """Takes no more work, abandons what was not begun, and waits for what has (at most so long).

        The pool is joined only once it is idle: joining a busy thread would block the reactor.
        """
        self._stopped = True
        for job in list(self._jobs):
            job.cancel()
        if self._busy and not await self._all_idle(self._stop_secs if timeout_secs is None else timeout_secs):
            return  # daemon threads: they end with the process
        if self._pool is not None:
            self._pool.stop()
            self._pool = None

    async def _all_idle(self, timeout_secs: float) -> bool:
        idle: Deferred[None] = Deferred()
        self._idle = idle
        expiry = self._reactor.callLater(timeout_secs, self._give_up)
        await idle
        if expiry.active():
            expiry.cancel()
        return self._busy == 0

    def _give_up(self) -> None:
        if self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)
