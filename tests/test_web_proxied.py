"""The PROXY protocol: the parser by itself, then connections that begin with it."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.test_web_http import Answer, HttpTestCase
from voxray.web.forwarded import networks
from voxray.web.proxied import COMPLAIN_EVERY_SECS, ProxiedFactory
from voxray.web.proxyline import LONGEST_1, LONGEST_2, SIGNATURE_2, BadProxyHeader, Source, parse
from voxray.web.site import access_line

V1 = b"PROXY TCP4 198.51.100.1 203.0.113.5 56324 443\r\n"
V1_6 = b"PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 56324 443\r\n"


def v2(family: int = 0x11, body: bytes = b"", command: int = 0x21) -> bytes:
    return SIGNATURE_2 + struct.pack("!BBH", command, family, len(body)) + body


V2_BODY = bytes([198, 51, 100, 1, 203, 0, 113, 5]) + struct.pack("!HH", 56_324, 443)
V2_BODY_6 = bytes.fromhex("20010db8000000000000000000000001") * 2 + struct.pack("!HH", 56_324, 443)


class ParserTests(SynchronousTestCase):
    """One header, and what follows it."""

    def test_good(self) -> None:
        """Both versions, both families; what follows is given back."""
        for header, source in (
            (V1, Source("198.51.100.1", 56_324)),
            (V1_6, Source("2001:db8::1", 56_324)),
            (v2(0x11, V2_BODY), Source("198.51.100.1", 56_324)),
            (v2(0x21, V2_BODY_6), Source("2001:db8::1", 56_324)),
            (v2(0x11, V2_BODY + b"\x04\x00\x01x"), Source("198.51.100.1", 56_324)),  # with a TLV
        ):
            self.assertEqual(parse(header), (source, b""))
            self.assertEqual(parse(header + b"GET \r\n"), (source, b"GET \r\n"))

    def test_nobody(self) -> None:
        """The proxy's own probe, and what it cannot say."""
        for header in (
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN 1.2.3.4 5.6.7.8 1 2\r\n",
            v2(0, b"", 0x20),
            v2(0x11, V2_BODY, 0x20),
            v2(0x00, b"anything"),
            v2(0x31, b"/a/socket".ljust(216, b"\0")),
            v2(0x12, V2_BODY),
        ):
            self.assertEqual(parse(header + b"rest"), (Source(), b"rest"), header)

    def test_in_pieces(self) -> None:
        """However it is cut, it is the same header."""
        for header in (V1, V1_6, v2(0x11, V2_BODY), v2(0x21, V2_BODY_6)):
            for size in range(len(header)):
                self.assertIsNone(parse(header[:size]), header[:size])

    def test_bad(self) -> None:
        """Anything else is refused, as soon as it shows."""
        for data in (
            b"G",
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01",
            b"PROXIED",
            b"proxy TCP4",
            b"PROXY TCP4 198.51.100.1 203.0.113.5 56324\r\n",
            b"PROXY TCP4 198.51.100.1 203.0.113.5 56324 http\r\n",
            b"PROXY TCP4 198.51.100.1 203.0.113.5 56324 65536\r\n",
            b"PROXY TCP4 198.51.100.256 203.0.113.5 1 2\r\n",
            b"PROXY TCP4 198.51.100.1 203.0.113.256 1 2\r\n",
            b"PROXY TCP4 2001:db8::1 203.0.113.5 1 2\r\n",
            b"PROXY TCP6 198.51.100.1 203.0.113.5 1 2\r\n",
            b"PROXY TCP4 evil\nline 203.0.113.5 1 2\r\n",
            b"PROXY TCP5 198.51.100.1 203.0.113.5 1 2\r\n",
            b"PROXY  TCP4 198.51.100.1 203.0.113.5 1 2\r\n",
            b"PROXY \r\n",
            b"PROXY TCP4 " + b"1" * LONGEST_1,
            SIGNATURE_2[:-1] + b"x",
            v2(0x11, V2_BODY, 0x11),
            v2(0x11, V2_BODY, 0x22),
            v2(0x11, V2_BODY[:-1]),
            v2(0x21, V2_BODY),
            SIGNATURE_2 + struct.pack("!BBH", 0x21, 0x11, 65_535),
        ):
            self.assertRaises(BadProxyHeader, parse, data)

    @given(
        st.binary(max_size=300),
        st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE_2, SIGNATURE_2 + b"\x21\x11"]),
    )
    def test_anything(self, data: bytes, begin: bytes) -> None:
        """Never another exception, never more wanted than a header may have."""
        try:
            parsed = parse(begin + data)
        except BadProxyHeader:
            return
        if parsed is None:
            self.assertLess(len(begin + data), LONGEST_2)


@shows("T8")
class ConnectionTests(HttpTestCase):
    """The site behind `ProxiedFactory`."""

    def setUp(self) -> None:
        super().setUp()
        self.lines: list[str] = []
        self.site.log = lambda request: self.lines.append(access_line("[now]", request))  # type: ignore[method-assign,misc]
        self.factory = ProxiedFactory(self.site, networks(["10.0.0.0/8"]), self.clock.seconds)
        self.logged: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def begin(self, host: str = "10.0.0.1") -> tuple[Any, StringTransport]:
        address = IPv4Address("TCP", host, 40_000)
        transport = StringTransport(peerAddress=address)
        protocol = self.factory.buildProtocol(address)
        if protocol is not None:
            protocol.makeConnection(transport)
        return protocol, transport

    def ask_raw(self, data: bytes, pieces: int = 10_000) -> bytes:
        protocol, transport = self.begin()
        for at in range(0, len(data), pieces):
            if not transport.disconnecting:
                protocol.dataReceived(data[at : at + pieces])
        protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return transport.value()

    REQUEST = b"GET /health HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"

    def test_client(self) -> None:
        """The header's address is the client; its own X-Forwarded-For is hearsay."""
        for header in (V1, v2(0x11, V2_BODY)):
            for pieces in (10_000, 1):
                self.assertEqual(Answer(self.ask_raw(header + self.REQUEST, pieces)).status, 200)
        self.assertEqual({line.split()[0] for line in self.lines}, {"198.51.100.1"})
        self.assertEqual(len(self.lines), 4)

    def test_a_proxy_behind_the_proxy(self) -> None:
        """A trusted proxy named in the header is believed as if it had come by itself."""
        self.site.trusted = networks(["10.0.0.0/8"])
        self.ask_raw(b"PROXY TCP4 10.0.0.7 10.0.0.1 1 2\r\n" + self.REQUEST)
        self.assertEqual(self.lines[0].split()[0], "6.6.6.6")

    def test_nobody(self) -> None:
        """What the proxy does not explain is not the proxy: nothing that it says of others is believed."""
        self.site.trusted = networks(["10.0.0.0/8"])
        self.assertEqual(Answer(self.ask_raw(v2(0, b"", 0x20) + self.REQUEST)).status, 200)
        self.assertEqual(self.lines[0].split()[0], "-")

    def test_without_header(self) -> None:
        """Dropped, unanswered."""
        protocol, transport = self.begin()
        protocol.dataReceived(self.REQUEST)
        self.assertTrue(transport.disconnecting)
        protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.ask_raw(self.REQUEST), b"")

    def test_strangers(self) -> None:
        """A connection that is not a trusted proxy's is not even begun, whatever it would say."""
        self.assertIsNone(self.begin("198.51.100.9")[0])
        self.assertIsNone(self.factory.buildProtocol(IPv6Address("TCP", "::1", 1)))
        self.assertIsNotNone(self.factory.buildProtocol(IPv6Address("TCP", "::ffff:10.0.0.1", 1)))

    @shows("T16")
    def test_silence(self) -> None:
        """A connection without a header ends at the deadline of headers."""
        _, transport = self.begin()
        self.clock.advance(9.9)
        self.assertFalse(transport.disconnecting)
        self.clock.advance(0.2)
        self.assertTrue(transport.disconnecting)

    def test_complaints(self) -> None:
        """One line a minute, whoever it is."""
        for _ in range(3):
            self.begin("198.51.100.9")
            self.ask_raw(b"GET / HTTP/1.1\r\n\r\n")
        told = [
            formatEvent(event) for event in self.logged if "proxy_protocol" in str(event.get("log_format"))
        ]
        text = "proxy_protocol: a connection from 198.51.100.9 is dropped: not one of trusted_proxies"
        self.assertEqual(told, [text])
        self.clock.advance(COMPLAIN_EVERY_SECS)
        self.ask_raw(b"GET / HTTP/1.1\r\n\r\n")
        self.assertIn("10.0.0.1 is dropped: no PROXY header", str(formatEvent(self.logged[-1])))
