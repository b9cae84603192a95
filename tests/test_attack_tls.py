"""T16 and T28 at the port: handshakes that stop after ClientHello. Real sockets, imaginary time."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase
from twisted.web.resource import Resource

from tests.certificates import write_pair
from tests.dangers import shows
from tests.test_web_http import Recorder
from voxray.entrance import entrance
from voxray.metrics import Metrics
from voxray.settings import ServerSettings, TlsSettings
from voxray.web.site import VoxraySite

ATTACKERS = 200


class Health(Resource):
    isLeaf = True

    def render_GET(self, request: object) -> bytes:
        return b"well"


def client_hello() -> bytes:
    """As OpenSSL says it."""
    out = ssl.MemoryBIO()
    context = ssl.create_default_context()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return out.read()
    raise AssertionError("nobody was asked")


def ended(sock: socket.socket) -> bool:
    """Whether the server has hung up, after whatever it said."""
    sock.setblocking(False)
    try:
        while sock.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return True


@shows("T16")
class HandshakeTests(TestCase):
    """The deadline of headers begins with the connection, not with the first byte that TLS lets through."""

    timeout = 60

    def listen(self, address: str, **server: Any) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        self.certificate, key = write_pair(directory)
        self.clock = Clock()
        site = VoxraySite(Health(), self.clock, lambda: 0.0, Recorder(), max_body_bytes=10)  # type: ignore[arg-type]
        site.log = lambda request: None  # type: ignore[method-assign]
        tls = TlsSettings(True, self.certificate, key)
        door = entrance(ServerSettings(tls=tls, **server), site, reactor, lambda: 0.0, Metrics())
        try:
            port: Any = reactor.listenTCP(0, door.factory, interface=address)  # type: ignore[attr-defined]
        except OSError as error:
            raise SkipTest(f"no {address} here: {error}") from None
        self.addCleanup(port.stopListening)
        self.address, self.port = address, port.getHost().port
        self.sockets: list[socket.socket] = []
        self.addCleanup(lambda: [sock.close() for sock in self.sockets])

    def attack(self, hello: bytes) -> None:
        for _ in range(ATTACKERS):
            sock = socket.create_connection((self.address, self.port), 10)
            self.sockets.append(sock)
            sock.sendall(hello)

    def health(self) -> bytes:
        context = ssl.create_default_context(cafile=self.certificate)
        raw = socket.create_connection((self.address, self.port), 10)
        with context.wrap_socket(raw, server_hostname=self.address) as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            got = b""
            while more := sock.recv(4096):
                got += more
            return got

    def over(self) -> int:
        """How many were hung up on."""
        return sum(map(ended, self.sockets))

    async def judge(self, hello: bytes) -> None:
        await deferToThread(self.attack, hello)
        self.assertIn(b"200 OK", await deferToThread(self.health))  # so the others are accepted too
        self.clock.advance(9.9)
        self.assertIn(b"200 OK", await deferToThread(self.health))
        self.assertEqual(self.over(), 0)
        self.clock.advance(0.2)
        self.assertIn(b"200 OK", await deferToThread(self.health))
        self.assertEqual(self.over(), ATTACKERS)

    async def test_after_client_hello(self) -> None:
        """200 of them are all closed ten seconds after they came, and others are served meanwhile."""
        self.listen("127.0.0.1")
        await self.judge(client_hello())

    @shows("T28")
    async def test_six(self) -> None:
        """The same over IPv6."""
        self.listen("::1")
        await self.judge(client_hello())

    async def test_half_a_hello(self) -> None:
        """Also when not even ClientHello is whole, or there is nothing at all."""
        self.listen("127.0.0.1")
        await self.judge(client_hello()[:50])
