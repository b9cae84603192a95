"""The worker threads: the reactor is never blocked, the queue is bounded, cancelling abandons."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.dangers import shows
from voxray.errors import ErrorKind, ProviderError
from voxray.worker import ThreadWorker


class HeldReactor(Clock):
    """A clock that keeps what threads hand over until the test lets it through."""

    def __init__(self) -> None:
        super().__init__()
        self.handed_over: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.arrived = threading.Semaphore(0)

    def callFromThread(self, callable: Callable[..., Any], *args: Any) -> None:
        self.handed_over.append((callable, args))
        self.arrived.release()

    def let_through(self, results: int) -> None:
        """Waits for so many results, then delivers them on this thread."""
        for _ in range(results):
            assert self.arrived.acquire(timeout=10), "the thread never finished"
            function, args = self.handed_over.pop(0)
            function(*args)


class WorkerTests(SynchronousTestCase):
    """`run` and `stop`, with the reactor's side in the test's hand."""

    def setUp(self) -> None:
        self.reactor = HeldReactor()
        self.release = threading.Event()
        self.addCleanup(self.release.set)

    def worker(self, threads: int = 1, max_waiting: int = 64) -> ThreadWorker:
        return ThreadWorker(self.reactor, self._testMethodName, threads, max_waiting)

    def threads(self) -> list[threading.Thread]:
        return [t for t in threading.enumerate() if f"PoolThread-{self._testMethodName}-" in t.name]

    def start(self, worker: ThreadWorker, work: Callable[[], Any]) -> Deferred[Any]:
        return Deferred.fromCoroutine(worker.run(work))

    def test_result_of_a_named_thread(self) -> None:
        """Work runs in a thread of the pool's name, and its result is delivered by the reactor."""
        result = self.start(self.worker(), lambda: threading.current_thread().name)
        self.assertNoResult(result)
        self.reactor.let_through(1)
        self.assertIn(self._testMethodName, self.successResultOf(result))

    def test_failure_is_the_callers(self) -> None:
        """An exception of the work is raised to whoever awaits it."""
        result = self.start(self.worker(), lambda: 1 // 0)
        self.reactor.let_through(1)
        self.failureResultOf(result, ZeroDivisionError)

    @shows("F59")
    def test_slow_work_does_not_block(self) -> None:
        """`run` returns while the work is still going on."""
        result = self.start(self.worker(), self.release.wait)
        self.assertNoResult(result)
        self.release.set()
        self.reactor.let_through(1)
        self.assertTrue(self.successResultOf(result))

    @shows("F59")
    def test_full_queue_refuses(self) -> None:
        """Over `max_waiting` jobs are refused at once as OVERLOADED; the accepted ones are done."""
        worker = self.worker(threads=1, max_waiting=2)
        accepted = [self.start(worker, self.release.wait) for _ in range(3)]
        refusal = self.failureResultOf(self.start(worker, lambda: None), ProviderError).value
        self.assertIs(refusal.kind, ErrorKind.OVERLOADED)
        self.assertTrue(refusal.retry)
        self.release.set()
        self.reactor.let_through(3)
        for job in accepted:
            self.assertTrue(self.successResultOf(job))
        self.start(worker, lambda: None).addErrback(self.fail)
        self.reactor.let_through(1)

    def test_cancelled_before_it_began(self) -> None:
        """A waiting job that is cancelled is never run, and frees its place."""
        worker, ran = self.worker(), []
        first = self.start(worker, self.release.wait)
        second = self.start(worker, lambda: ran.append("second"))
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.release.set()
        self.reactor.let_through(2)
        self.successResultOf(first)
        self.assertEqual((ran, worker.waiting), ([], 0))

    def test_cancelled_while_running(self) -> None:
        """A running job that is cancelled fails at once; its late result (or error) goes nowhere."""
        result = self.start(self.worker(), lambda: [self.release.wait(), 1 // 0])
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.release.set()
        self.reactor.let_through(1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stop_waits_for_running_work(self) -> None:
        """Stopping abandons jobs, waits for the running one, joins the thread, and refuses new work."""
        worker = self.worker()
        running = self.start(worker, self.release.wait)
        stopped = Deferred.fromCoroutine(worker.stop())
        self.failureResultOf(running, CancelledError)
        self.assertNoResult(stopped)
        self.release.set()
        self.reactor.let_through(1)
        self.successResultOf(stopped)
        self.assertEqual(self.threads(), [])
        refusal = self.failureResultOf(self.start(worker, lambda: 1), ProviderError).value
        self.assertIs(refusal.kind, ErrorKind.UNAVAILABLE)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    @shows("F59")
    def test_stop_gives_up_on_hung_work(self) -> None:
        """Work that never ends holds up stopping for the timeout only; its thread is a daemon."""
        worker = self.worker()
        self.start(worker, self.release.wait).addErrback(lambda failure: failure.trap(CancelledError))
        stopped = Deferred.fromCoroutine(worker.stop(timeout_secs=3.0))
        self.reactor.advance(2.9)
        self.assertNoResult(stopped)
        self.reactor.advance(0.2)
        self.successResultOf(stopped)
        hung = self.threads()
        self.assertEqual([t.daemon for t in hung], [True])
        self.release.set()
        self.reactor.let_through(1)
        hung[0].join(0)

    def test_unused_worker_has_no_thread(self) -> None:
        """A worker that was never used starts no thread and stops at once."""
        worker = self.worker()
        self.successResultOf(Deferred.fromCoroutine(worker.stop()))


class RealReactorTests(TestCase):
    """The same over the reactor trial runs."""

    async def test_round_trip(self) -> None:
        """Two threads serve three jobs, each with its own result."""
        worker = ThreadWorker(reactor, "real", 2)
        jobs = [Deferred.fromCoroutine(worker.run(lambda n=n: n * n)) for n in range(3)]
        self.assertEqual([await job for job in jobs], [0, 1, 4])
        await worker.stop()
