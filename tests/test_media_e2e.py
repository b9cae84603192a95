"""Real sockets on loopback: an Autobahn client against the whole site, plain and over TLS."""

from __future__ import annotations

import datetime
import json
import socket
import struct
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource

from tests.dangers import shows
from tests.doors import OpenFactory
from tests.test_media_socket import Call, Recorder, media, start
from tests.test_web_http import Recorder as HttpRecorder
from tests.wsframes import frame, handshake
from voxray.frames import Audio, StreamStarted
from voxray.interfaces import MediaSink
from voxray.serializers.twilio import TwilioSerializer
from voxray.settings import MediaSettings
from voxray.web.media import MediaResource
from voxray.web.site import Root, VoxraySite

THE_REACTOR: Any = reactor


class Caller(WebSocketClientProtocol):
    """A carrier that sends a script and writes down what it gets."""

    script: list[tuple[bytes, bool]]

    def onOpen(self) -> None:
        self.factory.sockets.append(self)
        for payload, binary in self.script:
            self.sendMessage(payload, binary)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.got.append(json.loads(payload))

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.closed.callback((wasClean, code))


class Echo(Call):
    """Sends back what it hears."""

    def receive(self, frame: Any) -> None:
        super().receive(frame)
        if isinstance(frame, Audio):
            self.sink.send_audio(frame.payload)


def dumps(*messages: object) -> list[tuple[bytes, bool]]:
    return [(json.dumps(message).encode(), False) for message in messages]


class LoopbackTests(TestCase):
    """One listening port a test."""

    timeout = 20

    def setUp(self) -> None:
        self.calls: list[Call] = []
        self.recorder = Recorder()
        self.factory = OpenFactory(
            THE_REACTOR,
            MediaSettings(start_timeout_secs=1.0),
            TwilioSerializer,
            self.open_call,
            self.recorder,
        )
        root = Root(Resource(), Resource(), MediaResource(self.factory, lambda request: self.factory.guest()))
        self.http = HttpRecorder()
        self.site = VoxraySite(root, THE_REACTOR, lambda: 0.0, self.http, max_body_bytes=1000)
        self.site.startFactory = lambda: None  # no access log
        self.site.stopFactory = lambda: None
        port = THE_REACTOR.listenTCP(0, self.site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port

    def open_call(self, started: StreamStarted, sink: MediaSink) -> Call:
        self.calls.append(Echo(started, sink))
        return self.calls[-1]

    def dial(self, script: list[tuple[bytes, bool]], context: Any = None) -> WebSocketClientFactory:
        scheme = "ws" if context is None else "wss"
        caller = WebSocketClientFactory(f"{scheme}://127.0.0.1:{self.port}/telephony/ws", reactor=THE_REACTOR)
        caller.protocol = type("Scripted", (Caller,), {"script": script})
        caller.got, caller.sockets, caller.closed = [], [], Deferred()
        if context is None:
            THE_REACTOR.connectTCP("127.0.0.1", self.port, caller)
        else:
            THE_REACTOR.connectSSL("127.0.0.1", self.port, caller, context)
        return caller

    async def conversation(self, context: Any = None) -> None:
        """A call of fifty packets, echoed, ended by `stop`."""
        script = dumps({"event": "connected"}, start(), *[media("/////w==")] * 50, {"event": "stop"})
        caller = self.dial(script, context)
        self.assertEqual(await caller.closed, (True, 1000))
        self.assertEqual([m["media"]["payload"] for m in caller.got], ["/////w=="] * 50)
        await deferLater(THE_REACTOR, 0.05)
        self.assertEqual(self.calls[0].ends, ["stop"])
        self.assertEqual(self.factory.sockets, set())
        self.assertEqual(self.http.active, 0)

    async def test_call(self) -> None:
        """Audio goes both ways through the whole site, and nothing is left behind."""
        await self.conversation()

    async def test_call_over_tls(self) -> None:
        """The same under TLS."""
        port = THE_REACTOR.listenSSL(0, self.site, certificate().options(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port
        await self.conversation(ssl.CertificateOptions(verify=False))

    @shows("T13")
    async def test_too_big(self) -> None:
        """A message over 64 KiB is closed with 1009."""
        caller = self.dial([*dumps(start()), (b" " * 65_537, False)])
        self.assertEqual((await caller.closed)[1], 1009)

    async def test_misconduct(self) -> None:
        """Twenty bad messages are closed with 1008."""
        caller = self.dial([*dumps(start()), *[(b"\x00", True)] * 20])
        self.assertEqual((await caller.closed)[1], 1008)

    @shows("T17")
    async def test_no_start(self) -> None:
        """A silent socket is closed with 1008 when its time is up."""
        caller = self.dial(dumps({"event": "connected"}))
        self.assertEqual((await caller.closed)[1], 1008)
        self.assertEqual(self.calls, [])

    @shows("F42")
    async def test_connection_ends(self) -> None:
        """A FIN, though the carrier would still read, or an RST: the call hears of it at once, as lost."""
        for rst in (False, True):
            with socket.create_connection(("127.0.0.1", self.port)) as peer:
                peer.sendall(handshake())
                while not self.factory.sockets:
                    await deferLater(THE_REACTOR, 0.01)
                peer.sendall(frame(json.dumps(start()).encode()))
                while not self.calls:
                    await deferLater(THE_REACTOR, 0.01)
                if rst:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    peer.close()
                else:
                    peer.shutdown(socket.SHUT_WR)
                call = self.calls.pop()
                while not call.ends:
                    await deferLater(THE_REACTOR, 0.01)
                self.assertEqual((call.ends, self.factory.sockets), (["lost"], set()))

    @shows("F41")
    async def test_send_buffer(self) -> None:
        """The kernel's buffer is the one asked for (Linux doubles it), so it cannot hide minutes of audio."""
        caller = self.dial(dumps(start()))
        while not self.calls:
            await deferLater(THE_REACTOR, 0.01)
        (served,) = self.factory.sockets
        size = served.transport.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        self.assertIn(size, (32_768, 65_536))
        self.calls[0].sink.close()
        self.assertEqual((await caller.closed)[1], 1000)

    @shows("F41")
    async def test_peer_that_does_not_read(self) -> None:
        """A minute of audio for a peer that reads nothing: memory stays bounded, the rest is dropped."""
        caller = self.dial(dumps(start()))
        while not self.calls:
            await deferLater(THE_REACTOR, 0.01)
        (served,) = self.factory.sockets
        peer = caller.sockets[0].transport
        peer.pauseProducing()
        worst = 0
        for _ in range(300):
            for _ in range(200):
                self.calls[0].sink.send_audio(b"\xff" * 160)
            await deferLater(THE_REACTOR, 0)
            worst = max(worst, len(served.transport.dataBuffer) + served.transport._tempDataLen)
            if self.recorder.counts.get("dropped", 0) > 20_000:
                break
        self.assertGreater(self.recorder.counts.get("dropped", 0), 20_000)
        self.assertLess(worst, 100_000)  # the last burst and the limit, not the minutes
        peer.resumeProducing()
        self.calls[0].sink.close()
        self.assertEqual((await caller.closed)[1], 1000)

    async def test_not_a_websocket(self) -> None:
        """A plain GET on the media path is refused before anything is asked of it: some proxy has dropped the
        upgrade, which is not the door's word on who comes. The answer does not tell the software.
        """
        reader: Deferred[bytes] = Deferred()

        class Get(Protocol):
            """Writes one request, reads to the end."""

            data = b""

            def connectionMade(self) -> None:
                self.transport.write(b"GET /telephony/ws HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

            def dataReceived(self, data: bytes) -> None:
                self.data += data

            def connectionLost(self, reason: Any = None) -> None:
                reader.callback(self.data)

        THE_REACTOR.connectTCP("127.0.0.1", self.port, ClientFactory.forProtocol(Get))
        answer = await reader
        self.assertRegex(answer, rb"^HTTP/1\.1 426 ")
        self.assertIn(b"\r\nUpgrade: websocket\r\n", answer)
        self.assertNotIn(b"utobahn", answer)


def certificate() -> ssl.PrivateCertificate:
    """A self-signed certificate for a test."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return ssl.PrivateCertificate.loadPEM(pem)
