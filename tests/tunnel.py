"""A tunnel such as ngrok, on loopback: TLS in under a public name, plain TCP out to the daemon.

It reads the head of each connection's first request (clients here make one a connection), keeps its Host,
adds what proxies add, and from then on passes bytes both ways, WebSockets too. And it can be a bad one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Visit site</title></head><body>You are about to ...</body></html>"
)
_FORWARDED = b"X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n"


@dataclass
class Seen:
    """A line of the tunnel's list of requests; `status` is 0 until there is an answer."""

    method: str
    path: str
    host: str
    status: int = 0


class Tunnel(Factory):
    """Listens with TLS in front of it; `port` is the daemon's."""

    noisy = False

    def __init__(self, reactor: IReactorTCP, port: int) -> None:
        self.reactor, self.port = reactor, port
        self.seen: list[Seen] = []
        self.interstitial = False  # a page before every request
        self.websockets = True  # or plain HTTP alone: it keeps hop-by-hop headers to itself

    def buildProtocol(self, addr: object) -> Protocol:
        return _Outside(self)

    def head(self, lines: list[bytes]) -> bytes:
        """The request's head as the daemon gets it."""
        if not self.websockets:
            lines = [line for line in lines if not line.lower().startswith((b"upgrade:", b"connection:"))]
        return lines[0] + b"\r\n" + _FORWARDED + b"\r\n".join(lines[1:]) + b"\r\n\r\n"


class _Outside(Protocol):
    """A connection from the carrier."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._held = b""
        self._inside: Any = None
        self.seen: Seen | None = None

    def dataReceived(self, data: bytes) -> None:
        if self._inside is not None:
            self._inside.transport.write(data)
            return
        self._held += data
        if self.seen is None and b"\r\n\r\n" in self._held:
            self._asked()

    def _asked(self) -> None:
        head, _, body = self._held.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        method, path, _ = lines[0].decode("ascii").split(" ")
        [host] = [line for line in lines if line.lower().startswith(b"host:")]
        self.seen = Seen(method, path, host.decode("ascii").partition(":")[2].strip())
        self._tunnel.seen.append(self.seen)
        if self._tunnel.interstitial:
            self._page(200, b"OK")
            return
        self._held = self._tunnel.head(lines) + body
        endpoint = TCP4ClientEndpoint(self._tunnel.reactor, "127.0.0.1", self._tunnel.port)
        connecting = endpoint.connect(Factory.forProtocol(lambda: _Inside(self)))
        connecting.addCallbacks(self._connected, lambda failure: self._page(502, b"Bad Gateway"))

    def _connected(self, inside: Any) -> None:
        self._inside = inside
        inside.transport.write(self._held)

    def _page(self, status: int, reason: bytes) -> None:
        assert self.seen is not None and self.transport is not None
        self.seen.status = status
        head = b"HTTP/1.1 %d %b\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % (status, reason, len(_PAGE)) + _PAGE)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._inside is not None:
            self._inside.transport.loseConnection()


class _Inside(Protocol):
    """The connection to the daemon, for one from outside."""

    def __init__(self, outside: _Outside) -> None:
        self._outside = outside

    def dataReceived(self, data: bytes) -> None:
        seen = self._outside.seen
        assert seen is not None and self._outside.transport is not None
        if not seen.status:
            seen.status = int(data.split(b" ", 2)[1])
        self._outside.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self._outside.transport is not None
        self._outside.transport.loseConnection()
