"""Host names: look-ups that fail or hang, and the calls that want them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.dangers import shows
from tests.vendor import VendorTestCase, answer
from voxray.errors import ErrorKind, ProviderError
from voxray.http import HttpClient, HttpRequest
from voxray.resolving import (
    KNOWN_SECS,
    KNOWN_TIMEOUT_SECS,
    MAX_NAMES,
    MAX_WAITING,
    THREADS,
    TIMEOUT_SECS,
    Resolver,
)
from voxray.retries import NEVER
from voxray.worker import ThreadWorker

T = TypeVar("T")
THE_REACTOR: Any = reactor
HERE = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))
THERE = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0))


class Waiter:
    """An IResolutionReceiver."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.done = 0

    def resolutionBegan(self, resolution: object) -> None: ...

    def addressResolved(self, address: object) -> None:
        self.found.append(address)

    def resolutionComplete(self) -> None:
        self.done += 1


class FakeWorker:
    """Has work done when told to; `refuse` it, as when too much is waiting."""

    def __init__(self) -> None:
        self.open: list[Deferred[Any]] = []
        self.begun = 0
        self.refuse = False

    def run(self, work: Callable[[], T]) -> Coroutine[Any, Any, T]:
        async def job() -> T:
            if self.refuse:
                raise ProviderError("names", ErrorKind.OVERLOADED, "jobs are waiting")
            self.begun += 1
            waiting = Deferred[None]()
            self.open.append(waiting)
            await waiting
            return work()

        return job()

    def finish(self) -> None:
        self.open.pop(0).callback(None)


class ResolverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.worker = Clock(), FakeWorker()
        self.answers: Any = [HERE, THERE]
        self.resolver = Resolver(self.clock, self.worker, self.getaddrinfo)

    def getaddrinfo(self, host: str, port: int, family: int, kind: int, /) -> Any:
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers

    def ask(self, name: str = "api.acme.example", **how: Any) -> Waiter:
        waiter = Waiter()
        self.resolver.resolveHostName(waiter, name, 443, **how)
        return waiter

    def known(self) -> None:
        """The name was found once."""
        self.ask()
        self.worker.finish()

    def test_found(self) -> None:
        """Both families' addresses, with the port that was asked for; no timer is left."""
        waiter = self.ask()
        self.worker.finish()
        v4, v6 = IPv4Address("TCP", "192.0.2.1", 443), IPv6Address("TCP", "2001:db8::1", 443)
        self.assertEqual((waiter.found, waiter.done), ([v4, v6], 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_addresses(self) -> None:
        """What is an address already takes no thread."""
        for name, made in (("127.0.0.1", IPv4Address), ("::1", IPv6Address)):
            waiter = self.ask(name)
            self.assertEqual((waiter.found, waiter.done), ([made("TCP", name, 443)], 1))
        self.assertEqual(self.ask("127.0.0.1", addressTypes=[IPv4Address]).done, 1)
        self.assertEqual(self.worker.begun, 0)

    @shows("F14")
    def test_unknown(self) -> None:
        """F14: a name that is not found, and never was, has no address."""
        for problem in (socket.gaierror(-2, "no"), UnicodeError("label too long"), ()):
            self.answers = problem
            waiter = self.ask()
            self.worker.finish()
            self.assertEqual((waiter.found, waiter.done), ([], 1))

    @shows("F14")
    def test_the_last_good_address(self) -> None:
        """F14: a name server that fails does not take away an address that was good within the hour."""
        self.known()
        self.answers = socket.gaierror(-3, "try again")
        self.clock.advance(KNOWN_SECS - 1)
        waiter = self.ask()
        self.worker.finish()
        self.assertEqual(len(waiter.found), 2)
        self.clock.advance(2)
        waiter = self.ask()
        self.worker.finish()
        self.assertEqual((waiter.found, waiter.done), ([], 1))

    @shows("F14")
    def test_slow(self) -> None:
        """F14: fifty calls wait 2.5 s at most for a look-up that takes 30, of which there is one."""
        waiters = [self.ask() for _ in range(50)]
        self.assertEqual(self.worker.begun, 1)
        self.clock.advance(TIMEOUT_SECS - 0.1)
        self.assertEqual(sum(waiter.done for waiter in waiters), 0)
        self.clock.advance(0.1)
        self.assertEqual([waiter.done for waiter in waiters], [1] * 50)
        late = self.ask()
        self.assertEqual(self.worker.begun, 1, "the first one is still asking")
        self.clock.advance(1)
        self.worker.finish()
        self.assertEqual((len(late.found), [waiter.done for waiter in waiters]), (2, [1] * 50))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @shows("F14")
    def test_slow_and_known(self) -> None:
        """F14: an address that is known is used after half a second; the look-up's result serves the next."""
        self.known()
        self.clock.advance(60)
        waiter = self.ask()
        self.clock.advance(KNOWN_TIMEOUT_SECS)
        self.assertEqual((len(waiter.found), waiter.done), (2, 1))
        self.answers = [HERE]
        self.worker.finish()
        waiter = self.ask()
        self.worker.finish()
        self.assertEqual(len(waiter.found), 1)

    @shows("F14")
    def test_too_many(self) -> None:
        """F14: where too many names are asked for, the rest fail at once, or use what is known."""
        self.known()
        self.worker.refuse = True
        self.assertEqual(len(self.ask().found), 2)
        self.assertEqual((self.ask("other.example").found, self.ask("other.example").done), ([], 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """One that is given up is told of nothing more."""
        waiter = Waiter()
        asked = self.resolver.resolveHostName(waiter, "api.acme.example", 443)
        asked.cancel()
        self.worker.finish()
        self.assertEqual((waiter.found, waiter.done), ([], 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bounded(self) -> None:
        """Names are forgotten when there are too many: whoever names hosts must not fill our memory."""
        for i in range(MAX_NAMES + 50):
            self.ask(f"h{i}.example")
            self.worker.finish()
        self.assertEqual(len(self.resolver._names), MAX_NAMES)


class HangingTests(TestCase):
    timeout = 10

    @shows("F14")
    def test_others_are_not_starved(self) -> None:
        """F14: while a name hangs in its thread, others are found, and the process can end."""
        gate = threading.Event()

        def getaddrinfo(host: str, port: int, family: int, kind: int, /) -> Any:
            if host == "hangs.example":
                gate.wait(8)
            return [HERE]

        worker = ThreadWorker(THE_REACTOR, "names", THREADS, MAX_WAITING, stop_secs=0.05)
        resolver = Resolver(THE_REACTOR, worker, getaddrinfo)

        class Done(Waiter):
            def __init__(self) -> None:
                super().__init__()
                self.over = Deferred[None]()

            def resolutionComplete(self) -> None:
                self.over.callback(None)

        async def test() -> None:
            hung = [Done() for _ in range(50)]
            asked = [resolver.resolveHostName(each, "hangs.example", 1) for each in hung]
            for i in range(20):
                other = Done()
                resolver.resolveHostName(other, f"h{i}.example", 1)
                await other.over
                self.assertEqual(len(other.found), 1)
            for each in asked:
                each.cancel()
            await worker.stop()
            gate.set()

        return Deferred.fromCoroutine(test())  # type: ignore[return-value]


class NamedVendorTests(VendorTestCase):
    """Through the HTTP client, by a reactor that asks our resolver."""

    @shows("F14")
    async def test_a_vendor_by_name(self) -> None:
        """F14: found once, a vendor is reached while the name server fails; unknown, the log says so."""
        worker = FakeWorker()
        found: list[Any] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

        def getaddrinfo(host: str, port: int, family: int, kind: int, /) -> Any:
            if host != "vendor.invalid" or not found:
                raise socket.gaierror(-3, "no")
            return found

        before = THE_REACTOR.installNameResolver(Resolver(self.clock, worker, getaddrinfo))
        self.addCleanup(THE_REACTOR.installNameResolver, before)
        self.script([answer(b"{}", Connection="close")])
        self.http = HttpClient(reactor, clock=self.clock)

        async def ask(name: str) -> bytes:
            url = f"http://{name}:{self.port.getHost().port}/"
            work = Deferred.fromCoroutine(self.http.request(HttpRequest("GET", url, "acme", retries=NEVER)))
            await self.until(lambda: worker.open)
            worker.finish()
            return (await work).body

        self.assertEqual(await ask("vendor.invalid"), b"{}")
        found.clear()
        self.assertEqual(await ask("vendor.invalid"), b"{}")
        with self.assertRaises(ProviderError) as caught:
            await ask("other.invalid")
        self.assertIn("name is not known", str(caught.exception))
