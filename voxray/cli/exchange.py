"""One HTTP request as bytes, for looking at what answers: whatever it is, and however wrong its certificate.

`voxray.http` would not talk to a server it cannot trust; here that is a finding, and what the server says is
one too. Nothing secret is ever sent this way. HTTP/1.1, one request a connection.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult

from OpenSSL import SSL
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionDone, DNSLookupError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from voxray import __version__
from voxray.cli.looking import Looking, Shown

MAX_BYTES = 65_536
PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
TLS_SCHEMES = ("https", "wss")
_HEAD = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: ([^\r\n]*))?\r\n", re.ASCII)


class NoAnswer(Exception):
    """Nothing that is HTTP came back; `kind` is dns, refused, timeout, tls, closed or nonsense."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. Header names in lower case. `secs`: from the request to the end of the head."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    secs: float = 0.0
    shown: Shown | None = None

    @property
    def is_page(self) -> bool:
        """HTML: for a person with a browser, never from us."""
        kind = self.headers.get("content-type", "").lower()
        return "html" in kind or self.body.lstrip()[:1] == b"<"


async def ask(
    reactor: Any, url: SplitResult, target: str, headers: Mapping[str, str], timeout_secs: float
) -> Reply:
    """GET `target` at the host of `url`. Raises NoAnswer."""
    host, port = url.hostname or "", url.port or PORTS[url.scheme]
    creator = Looking(host) if url.scheme in TLS_SCHEMES else None
    endpoint: Any = HostnameEndpoint(reactor, host, port, timeout=timeout_secs)
    if creator is not None:
        endpoint = wrapClientTLS(creator, endpoint)
    lines = [f"GET {target} HTTP/1.1", f"Host: {url.netloc.rpartition('@')[2]}"]
    lines += [f"User-Agent: voxray-doctor/{__version__}", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    asking = _Asking("\r\n".join([*lines, "", ""]).encode("ascii"), reactor.seconds)
    factory = Factory.forProtocol(lambda: asking)
    factory.noisy = False
    try:
        await Deferred.fromCoroutine(_exchanged(endpoint, factory, asking)).addTimeout(timeout_secs, reactor)
    except Exception as error:  # noqa: BLE001 - each way of failing is one of a few kinds
        asking.abort()
        raise _no_answer(error, f"{host} port {port}", timeout_secs) from None
    return asking.reply(creator.shown() if creator is not None else None)


async def _exchanged(endpoint: Any, factory: Any, asking: _Asking) -> None:
    await endpoint.connect(factory)
    await asking.done


def _no_answer(error: Exception, where: str, timeout_secs: float) -> NoAnswer:
    if isinstance(error, NoAnswer):
        return error
    if isinstance(error, DNSLookupError):
        return NoAnswer("dns", f"no address is known for {where.partition(' ')[0]}")
    if isinstance(error, TimeoutError):
        return NoAnswer("timeout", f"{where} does not answer within {timeout_secs:g} s")
    if isinstance(error, SSL.Error | ssl.SSLError):
        return NoAnswer("tls", f"{where} does not speak TLS as it should ({_reason(error)})")
    if isinstance(error, ConnectError):
        if "time" in type(error).__name__.lower():
            return NoAnswer("timeout", f"{where} does not answer within {timeout_secs:g} s")
        return NoAnswer("refused", f"no connection to {where} ({type(error).__name__})")
    return NoAnswer("closed", f"{where} closed the connection without an answer ({type(error).__name__})")


def _reason(error: Exception) -> str:
    found = error.args[0] if error.args else ""
    return str(found[-1][-1]) if isinstance(found, list) and found else type(error).__name__


class _Asking(Protocol):
    """Writes the request, gathers the answer until it is whole, switched, closed or long enough."""

    def __init__(self, request: bytes, clock: Any) -> None:
        self._request, self._clock = request, clock
        self.done: Deferred[None] = Deferred()
        self._data = b""
        self._asked_at = self._head_at = 0.0

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._asked_at = self._clock()
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        head, mark, body = self._data.partition(b"\r\n\r\n")
        if not mark and len(self._data) < MAX_BYTES:
            return
        self._head_at = self._head_at or self._clock()
        found = _HEAD.match(head + b"\r\n")
        if found is None or len(body) >= MAX_BYTES or _whole(int(found[1]), _headers(head), body):
            self._end()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if self._data:
            self._end()
        else:
            self.done.errback(reason if not reason.check(ConnectionDone) else Failure(_CLOSED))

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def _end(self) -> None:
        if not self.done.called:
            self.done.callback(None)
        if self.transport is not None:
            if _SWITCHED.match(self._data):
                self.transport.write(_GOODBYE)
            self.transport.loseConnection()

    def reply(self, shown: Shown | None) -> Reply:
        """Raises NoAnswer for what is no HTTP."""
        head, mark, body = self._data.partition(b"\r\n\r\n")
        found = _HEAD.match(head + b"\r\n")
        if found is None or not mark:
            raise NoAnswer("nonsense", "what answers does not speak HTTP/1.1")
        secs = self._head_at - self._asked_at
        return Reply(int(found[1]), _headers(head), body[:MAX_BYTES], secs, shown)


_SWITCHED = re.compile(rb"HTTP/1\.1 101 ")
_GOODBYE = b"\x88\x82\0\0\0\0\x03\xe8"
"""The end of a WebSocket that was opened: close code 1000, masked as a client's must be."""

_CLOSED = NoAnswer("closed", "the connection was closed without an answer")


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _whole(status: int, headers: Mapping[str, str], body: bytes) -> bool:
    if status == 101 or status in (204, 304):
        return True
    length = headers.get("content-length", "")
    if length.isascii() and length.isdecimal():
        return len(body) >= int(length)
    return body.endswith(b"0\r\n\r\n") and "chunked" in headers.get("transfer-encoding", "").lower()
