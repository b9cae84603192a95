"""HTTP towards vendors and carriers: one pool, deadlines, retries; here HTTP errors become ours.

A bare Agent rather than treq: treq adds cookies, follows redirects (with our key in the headers) and asks
for gzip, in whose window a streamed answer can sit. Speaks HTTP/1.1; nothing is asked for compressed.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    HostnameCachingHTTPSPolicy,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IPolicyForHTTPS
from zope.interface import implementer

from voxray import __version__
from voxray.circuits import Circuit, Circuits, Recorder
from voxray.errors import ErrorKind, ProviderError
from voxray.httppool import CountingPool
from voxray.httpstream import Deadlines, HttpStream
from voxray.interfaces import Clock
from voxray.retries import (
    NEVER,
    ON_A_CALL,
    Failure,
    RetryPolicy,
    delay_before_retry,
    kind_of_status,
    retry_after,
    should_retry,
)
from voxray.vouching import Vouching

MAX_IDLE_PER_HOST = 200
IDLE_SECS = 50.0  # load balancers drop idle connections at 60 s, and a POST on a dead one costs a retry
MAX_ANSWER_BYTES = 4 << 20
_MAX_ERROR_BYTES = 16_384
DEADLINES = Deadlines()
SUCCESS = range(200, 300)

Explain = Callable[[int, bytes], tuple[ErrorKind, str]]
"""What a refusal means: status and body to a kind and a few words fit for a log."""


def explain_status(status: int, body: bytes) -> tuple[ErrorKind, str]:
    """What the status alone says."""
    note = ": redirects are not followed" if 300 <= status < 400 else ""
    return kind_of_status(status), f"HTTP {status}{note}"


class HttpAnswer(NamedTuple):
    """A whole answer. Header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What to ask, of whom, and how patiently. `headers` may hold a key, so they are not shown."""

    method: str
    url: str
    provider: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    deadlines: Deadlines = DEADLINES
    retries: RetryPolicy = ON_A_CALL
    model: str = ""  # a language model that is asked; for the metrics
    explain: Explain = explain_status
    expect: Collection[int] = SUCCESS  # statuses that are not errors
    circuit: Circuit | None = field(
        default=None, repr=False
    )  # asked before each try; the asker tells the end


@implementer(IBodyProducer)
class _Body:
    """A request's body, written in one piece: it is in memory anyhow."""

    def __init__(self, body: bytes) -> None:
        self._bytes = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._bytes)
        return succeed(None)

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


class HttpClient:
    """All requests of the process go through one of these.

    `clock` is what deadlines and waits are counted by (the reactor unless a test says otherwise),
    `now` the wall clock, for dates in Retry-After.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        clock: Clock | None = None,
        tls_policy: IPolicyForHTTPS | None = None,
        dice: Callable[[], float] = random.random,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        recorder: Recorder | None = None,
    ) -> None:
        """`recorder` is told of endpoints that come and go."""
        self._reactor = reactor
        self._clock: Clock = clock if clock is not None else reactor
        self.circuits = Circuits(self._clock.seconds, recorder)
        self._dice = dice
        self._now = now
        # Twisted gives these no types.
        self._policy = tls_policy or HostnameCachingHTTPSPolicy(BrowserLikePolicyForHTTPS())
        self._pool = CountingPool(reactor)
        self._pool.maxPersistentPerHost = MAX_IDLE_PER_HOST
        self._pool.cachedConnectionTimeout = int(IDLE_SECS)
        self._pool.retryAutomatically = False  # that is our own decision
        self.retried: Callable[[HttpRequest], None] = lambda request: None
        """Told of each request that is tried again."""

    @property
    def connections(self) -> int:
        """That are open, idle or not."""
        return self._pool.open

    async def request(self, request: HttpRequest, *, max_bytes: int = MAX_ANSWER_BYTES) -> HttpAnswer:
        """The whole answer. Raises ProviderError, also for a status that is not expected."""
        stream = await self.open(request)
        with closing(stream):
            body = await self._body(stream, request, max_bytes)
            return HttpAnswer(stream.status, stream.headers, body)

    async def stream(self, request: HttpRequest) -> AsyncGenerator[bytes, None]:
        """The body as it comes; `aclose` drops the connection at once."""
        stream = await self.open(request)
        with closing(stream):
            while data := await stream.read():
                yield data

    async def open(self, request: HttpRequest) -> HttpStream:
        """An answer with an expected status, its body still to be read, after retries if need be.

        The caller closes it. Raises ProviderError. Nothing is tried again once this has returned.
        """
        begun = self._clock.seconds()
        tries = 0
        while True:
            if request.circuit is not None:
                request.circuit.check()
            tries += 1
            stream = HttpStream(self._clock, self._pool, request.provider, request.deadlines)
            try:
                failure = await self._try(stream, request)
            except BaseException:
                stream.close()
                raise
            if failure is None:
                return stream
            elapsed = self._clock.seconds() - begun
            delay = delay_before_retry(request.retries, failure, tries, elapsed, self._dice())
            if delay is None or not _may_ask_again(request.circuit, failure):
                raise failure.error
            self._log.info(
                "{provider}: {kind}, trying again in {delay:.1f} s",
                provider=request.provider,
                kind=failure.error.kind.value,
                delay=delay,
            )
            self.retried(request)
            if delay > 0:
                await deferLater(cast(Any, self._clock), delay)

    async def warm_up(self, url: str, *, provider: str, headers: Mapping[str, str] | None = None) -> None:
        """A cheap GET, so that a connection is open when it is needed. Never raises (cancelling apart).

        Not of a vendor that fails: it has to be asked often enough.
        """
        circuit = self.circuits.of(provider, "", "", url)
        if self.circuits.doubtful(provider, circuit):
            return
        request = HttpRequest(
            "GET", url, provider, headers or {}, retries=NEVER, expect=range(100, 600), circuit=circuit
        )
        try:
            with circuit.watch():
                (await self.open(request)).release()
        except ProviderError as e:
            self._log.info("{provider}: warm-up: {error}", provider=provider, error=str(e))

    async def close(self) -> None:
        """Closes idle connections. Requests under way belong to who made them."""
        await self._pool.closeCachedConnections()  # type: ignore[no-untyped-call]

    async def _try(self, stream: HttpStream, request: HttpRequest) -> Failure | None:
        """One try; None when the answer is a welcome one."""
        try:
            await stream.opened(lambda: self._ask(stream, request))
        except ProviderError as e:
            return Failure(e, answered=stream.answered)
        if stream.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            stream.close()
            detail = "the answer is compressed, which was not asked for"
            return Failure(
                ProviderError(request.provider, ErrorKind.BAD_ANSWER, detail, status=stream.status), True
            )
        if stream.status in request.expect:
            return None
        return Failure(await self._refusal(stream, request), True, should_retry(stream.headers))

    def _ask(self, stream: HttpStream, request: HttpRequest) -> Deferred[Any]:
        headers = Headers({"Accept-Encoding": ["identity"], "User-Agent": [f"voxray/{__version__}"]})
        for name, value in request.headers.items():
            headers.setRawHeaders(name, [value])
        # The stream stands for the pool: it is told which connection is its own.
        agent = Agent(self._reactor, Vouching(self._policy, stream.secured), pool=stream)
        body = None if request.body is None else _Body(request.body)
        return agent.request(request.method.encode("ascii"), request.url.encode("ascii"), headers, body)

    async def _refusal(self, stream: HttpStream, request: HttpRequest) -> ProviderError:
        body = b""
        with closing(stream), suppress(ProviderError):  # then the status says enough
            body = await self._body(stream, request, _MAX_ERROR_BYTES)
        kind, detail = request.explain(stream.status, body)
        wait = retry_after(stream.headers, self._now())
        return ProviderError(request.provider, kind, detail, status=stream.status, retry_after_secs=wait)

    async def _body(self, stream: HttpStream, request: HttpRequest, max_bytes: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while data := await stream.read():
            pieces.append(data)
            size += len(data)
            if size > max_bytes:
                raise ProviderError(
                    request.provider, ErrorKind.BAD_ANSWER, f"an answer of over {max_bytes} bytes"
                )
        return b"".join(pieces)


def _may_ask_again(circuit: Circuit | None, failure: Failure) -> bool:
    """A try that is to be followed by another counts as well."""
    return circuit is None or circuit.failed(failure.error)
