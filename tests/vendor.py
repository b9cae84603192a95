"""A vendor on loopback that answers exactly what a test says, byte by byte, faults included."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet import defer, reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from voxray.circuits import Limits
from voxray.http import HttpClient

FIXTURES = Path(__file__).parent / "data" / "providers"

HANG, CLOSE, RESET = object(), object(), object()
Step = bytes | object


def answer(body: bytes, kind: str = "application/json", status: int = 200, **headers: str) -> bytes:
    """A whole answer with a length."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def head(kind: str = "text/event-stream", status: int = 200) -> bytes:
    """The head of a chunked answer."""
    return (
        f"HTTP/1.1 {status} Whatever\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


END = b"0\r\n\r\n"


def chunked(data: bytes, kind: str = "text/event-stream", size: int = 1 << 20) -> list[Step]:
    """An answer in chunks of `size`, each written on its own."""
    return [head(kind), *(chunk(data[i : i + size]) for i in range(0, len(data), size)), END]


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(eq=False, repr=False)
class Vendor(Factory):
    """Plays the next script for each request; the last one again and again."""

    noisy = False  # its scripts may be megabytes long, and a log line names the factory

    scripts: list[list[Step]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    open: set[Connection] = field(default_factory=set)
    connections: int = 0

    def buildProtocol(self, addr: object) -> Connection:
        self.connections += 1
        return Connection(self)

    def next_script(self) -> list[Step]:
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]


class Connection(Protocol):
    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.buffer = b""
        self.gone: defer.Deferred[None] = defer.Deferred()

    def connectionMade(self) -> None:
        self.vendor.open.add(self)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.vendor.open.discard(self)
        self.gone.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        begin, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        first, *lines = begin.decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        method, path, _ = first.split(" ")
        self.vendor.requests.append(Request(method, path, headers, rest[:length]))
        self.play(self.vendor.next_script())

    def play(self, steps: Iterable[Step]) -> None:
        for step in steps:
            if isinstance(step, bytes):
                self.transport.write(step)
            elif step is CLOSE:
                self.transport.loseConnection()
            elif step is RESET:
                # SO_LINGER 0: the kernel sends RST instead of FIN.
                linger = struct.pack("ii", 1, 0)
                self.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                reactor.callLater(0.02, self.transport.abortConnection)


class VendorTestCase(TestCase):
    """A vendor, a client whose deadlines are counted by `self.clock`, and a check that nothing stays."""

    timeout = 10

    def setUp(self) -> None:
        self.vendor = Vendor()
        self.port = reactor.listenTCP(0, self.vendor, interface="127.0.0.1")
        self.base = f"http://127.0.0.1:{self.port.getHost().port}/v1"
        self.clock = Clock()
        self.http = HttpClient(reactor, clock=self.clock, dice=lambda: 0.0)
        self.http.circuits.limits = Limits(failures=0)  # one vendor plays many that fail
        self.addCleanup(self._stop)

    async def _stop_all(self) -> None:
        try:
            await self._quiet()
        finally:
            await self._close()

    async def _close(self) -> None:
        await self.http.close()
        for connection in list(self.vendor.open):
            connection.transport.abortConnection()
            await connection.gone
        await self.until(lambda: not self.http.connections)
        await defer.maybeDeferred(self.port.stopListening)

    def _stop(self) -> defer.Deferred[None]:
        return defer.Deferred.fromCoroutine(self._stop_all())

    async def _quiet(self) -> None:
        """What was released may have a few turns to end; then no timer may be left."""
        for _ in range(500):
            if self.clock.getDelayedCalls():
                await self.turns(1)
        self.assertEqual(self.clock.getDelayedCalls(), [], "a timer was left behind")

    def script(self, *scripts: list[Step]) -> None:
        self.vendor.scripts = list(scripts)

    async def until(self, condition: Callable[[], object], turns: int = 500) -> None:
        """Lets the reactor turn until the condition holds."""
        for _ in range(turns):
            if condition():
                return
            await self.turns(1)
        self.fail("it did not happen")

    async def turns(self, count: int) -> None:
        """Lets the reactor turn some times."""
        for _ in range(count):
            pause: defer.Deferred[None] = defer.Deferred()
            reactor.callLater(0.002, pause.callback, None)
            await pause

    def pausing(self) -> bool:
        """Between two tries of a request."""
        return any(getattr(call.func, "__name__", "") == "callback" for call in self.clock.getDelayedCalls())

    async def vendor_sees_the_end(self) -> None:
        """The connection is gone on the vendor's side too."""
        await self.until(lambda: not self.vendor.open)
