"""T8: who asks, when proxies stand in between; what strangers say of themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from tests.dangers import shows
from tests.doors import AnyGuest, twilio_trunk
from tests.test_media_socket import Recorder as MediaCounts
from tests.test_media_socket import Transport, start
from tests.test_web_http import FORM, HttpTestCase
from tests.wsframes import frame, handshake
from voxray.interfaces import Declined, Proof, SignedRequest
from voxray.serializers.twilio import TwilioSerializer
from voxray.settings import MediaSettings
from voxray.web.forwarded import HOPS_MAX, Origin, networks, origin, parse_address
from voxray.web.media import MediaFactory, MediaResource
from voxray.web.rules import Rules
from voxray.web.site import access_line

TRUSTED = networks(["10.0.0.0/8", "127.0.0.1", "2001:db8::/64", "192.0.2.7/24"])


def asked(peer: str, **headers: bytes | Sequence[bytes]) -> Origin:
    """`xff`, `xfp`, `xfh`: the headers, one line each or several."""
    names = {"xff": b"x-forwarded-for", "xfp": b"x-forwarded-proto", "xfh": b"x-forwarded-host"}
    lines = {names[k]: [v] if isinstance(v, bytes) else list(v) for k, v in headers.items()}
    return origin(peer, lambda name: lines.get(name, []), TRUSTED)


@shows("T8")
class ClientTests(SynchronousTestCase):
    """X-Forwarded-For."""

    def test_strangers(self) -> None:
        """From a peer that is not trusted nothing is believed."""
        for peer in ("198.51.100.1", "11.0.0.1", "::1", "2001:db8:0:1::1", "::ffff:198.51.100.1"):
            seen = asked(peer, xff=b"1.2.3.4", xfp=b"https", xfh=b"evil.example")
            self.assertEqual(seen, Origin(str(parse_address(peer))))

    def test_right_most(self) -> None:
        """The client is the right-most address that is no trusted proxy's; what is left of it is hearsay."""
        for line, client in (
            (b"198.51.100.1", "198.51.100.1"),
            (b"6.6.6.6, 198.51.100.1", "198.51.100.1"),
            (b"6.6.6.6, 198.51.100.1, 10.1.2.3", "198.51.100.1"),
            (b"6.6.6.6,198.51.100.1,10.1.2.3 , 192.0.2.200", "198.51.100.1"),
            (b"10.0.0.1, 198.51.100.1", "198.51.100.1"),
            (b"10.9.9.9, 10.1.2.3", "10.9.9.9"),
            (b"2001:db8::5, 10.1.2.3", "2001:db8::5"),
            (b"10.0.0.1, 2001:db8:1::5", "2001:db8:1::5"),
            (b"::ffff:198.51.100.1", "198.51.100.1"),
        ):
            self.assertEqual(asked("10.0.0.1", xff=line).client, client, line)

    def test_several_lines(self) -> None:
        """A proxy may append a line of its own instead of an item."""
        self.assertEqual(
            asked("10.0.0.1", xff=(b"6.6.6.6", b"198.51.100.1", b"10.1.1.1")).client, "198.51.100.1"
        )

    def test_ports_and_brackets(self) -> None:
        """Some proxies write the port too."""
        for line, client in (
            (b"198.51.100.1:4711", "198.51.100.1"),
            (b"[2001:db8:1::5]:4711", "2001:db8:1::5"),
            (b"[2001:db8:1::5]", "2001:db8:1::5"),
        ):
            self.assertEqual(asked("10.0.0.1", xff=line).client, client)

    def test_unreadable(self) -> None:
        """What is no address ends the search at the last proxy that is known."""
        for line in (
            b"unknown",
            b"",
            b",",
            b"198.51.100.1, _hidden",
            b"198.51.100.1,\xff\xfe",
            b"1.2.3",
            b'"><x',
        ):
            self.assertEqual(asked("10.0.0.1", xff=line).client, "10.0.0.1", line)
        self.assertEqual(asked("10.0.0.1", xff=b"198.51.100.1, junk, 10.2.2.2").client, "10.2.2.2")
        self.assertEqual(asked("10.0.0.1").client, "10.0.0.1")

    def test_long(self) -> None:
        """A list is not followed for ever."""
        line = b"198.51.100.1" + b", 10.0.0.2" * HOPS_MAX
        self.assertEqual(asked("10.0.0.1", xff=line).client, "10.0.0.2")

    @shows("T28")
    def test_peers(self) -> None:
        """IPv4 in IPv6 clothes, a zone, an IPv6 proxy, no address at all."""
        for peer in ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1%eth0", "127.0.0.1"):
            self.assertEqual(asked(peer, xff=b"198.51.100.1").client, "198.51.100.1", peer)
        self.assertEqual(asked("fe80::1%eth0").client, "fe80::1")
        self.assertEqual(asked("", xff=b"198.51.100.1"), Origin())

    @given(st.lists(st.binary(max_size=60), max_size=4), st.sampled_from(["10.0.0.1", "9.9.9.9"]))
    def test_anything(self, lines: list[bytes], peer: str) -> None:
        """Whatever is sent, the client is an IP address, and the peer's own unless that is trusted."""
        seen = asked(peer, xff=lines, xfp=lines, xfh=lines)
        self.assertIsNotNone(parse_address(seen.client))
        self.assertIn(seen.scheme, ("", "http", "https"))
        if peer == "9.9.9.9":
            self.assertEqual(seen, Origin(peer))


@shows("T8")
class SchemeAndHostTests(SynchronousTestCase):
    """X-Forwarded-Proto and -Host, from a trusted peer."""

    def test_scheme(self) -> None:
        """http and https, by their WebSocket names too; nothing else."""
        for line, scheme in (
            (b"https", "https"),
            (b"HTTPS", "https"),
            (b"wss", "https"),
            (b"http", "http"),
            (b"ws", "http"),
            (b"http, https", "https"),
            (b'wss"><', ""),
            (b"https\x00", ""),
            (b"javascript", ""),
            (b"", ""),
        ):
            self.assertEqual(asked("10.0.0.1", xfp=line).scheme, scheme, line)

    def test_host(self) -> None:
        """A host is as strictly read as Host itself."""
        for line, host in (
            (b"voice.example.com", "voice.example.com"),
            (b"voice.example.com:8443", "voice.example.com:8443"),
            (b"evil.example, voice.example.com", "voice.example.com"),
            (b'a"/><x', ""),
            (b"user@host", ""),
            (b"a\xc3\xbc.example", ""),
            (b"", ""),
        ):
            self.assertEqual(asked("10.0.0.1", xfh=line).host, host, line)


@shows("T8")
class SiteTests(HttpTestCase):
    """Through the site: the answer's URL, the signed URL, the access log."""

    proxy_host = ""

    def setUp(self) -> None:
        super().setUp()
        self.peer: object = IPv4Address("TCP", "10.0.0.1", 40_000)
        self.site.trusted = TRUSTED
        self.lines: list[str] = []
        self.signed: list[str] = []
        self.site.log = lambda request: self.lines.append(access_line("[now]", request))  # type: ignore[method-assign,misc]

    def connect(self) -> tuple[object, Transport]:  # type: ignore[override]
        transport = Transport(peerAddress=self.peer)
        channel = self.site.buildProtocol(None)
        channel.makeConnection(transport)
        return channel, transport

    def stream(self, *headers: str) -> str | None:
        answer = self.ask("POST", "/", FORM, *headers)
        element = ET.fromstring(answer.body).find("./Connect/Stream")
        assert element is not None
        return element.get("url")

    def test_host(self) -> None:
        """A trusted proxy's X-Forwarded-Host stands in for Host; a stranger's does not."""
        header = "X-Forwarded-Host: voice.example.com"
        self.assertEqual(self.stream(header), "wss://voice.example.com/telephony/ws")
        self.peer = IPv4Address("TCP", "198.51.100.9", 40_000)
        self.assertEqual(self.stream(header), "wss://h.example/telephony/ws")

    def test_configured_host(self) -> None:
        """With `proxy_host` nobody else has a say."""
        self.proxy_host = "configured.example"
        self.site = self.make_site(None)
        self.site.trusted = TRUSTED
        self.assertEqual(
            self.stream("X-Forwarded-Host: voice.example.com"), "wss://configured.example/telephony/ws"
        )

    def test_hostile_proto(self) -> None:
        """The stream's URL is wss whatever is claimed."""
        for value in ('wss"><', "http", "javascript"):
            self.assertEqual(self.stream(f"X-Forwarded-Proto: {value}"), "wss://h.example/telephony/ws")

    @shows("T3")
    def test_signed_url(self) -> None:
        """A signature is checked over what a trusted proxy says was dialled; by default over https."""
        self.trunk = twilio_trunk(Rules(signature=True), self)  # type: ignore[arg-type]
        self.site = self.make_site(None)
        self.site.trusted = TRUSTED
        headers = ("X-Forwarded-Proto: http", "X-Forwarded-Host: voice.example.com:81")
        self.ask("POST", "/?a=b", FORM, *headers)
        self.ask("POST", "/", FORM)
        self.peer = IPv4Address("TCP", "198.51.100.9", 1)
        self.ask("POST", "/", FORM, *headers)
        self.assertEqual(
            self.signed, ["http://voice.example.com:81/?a=b", "https://h.example/", "https://h.example/"]
        )

    # -- an `Authenticity`, for the test above
    signs_urls = signs_upgrades = True
    advice = ""

    def webhook(self, request: SignedRequest, now: float) -> Proof:
        self.signed.append(request.url)
        return Proof.GENUINE

    def test_media_socket(self) -> None:
        """A refused stream's line in the log has the client's address, not the proxy's."""
        logged: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        guest = AnyGuest(TwilioSerializer(), lambda started, sink: None)
        guest.open = lambda started, sink: Declined("token_missing")  # type: ignore[method-assign]
        factory = MediaFactory(self.clock, MediaSettings(), MediaCounts())
        telephony = Resource()
        telephony.putChild(b"ws", MediaResource(factory, lambda request: guest))
        self.site.resource.putChild(b"telephony", telephony)
        channel, transport = self.connect()
        channel.dataReceived(handshake(b"X-Forwarded-For: 6.6.6.6, 198.51.100.1"))
        self.assertIn(b" 101 ", transport.value())
        transport.protocol.dataReceived(frame(json.dumps(start()).encode()))
        told = [formatEvent(event) for event in logged if "is refused" in str(event.get("log_format"))]
        self.assertEqual(told, ["a stream from 198.51.100.1 is refused: token_missing"])

    def test_access_log(self) -> None:
        """The client that a trusted proxy vouches for; the peer itself where nobody does."""
        header = "X-Forwarded-For: 6.6.6.6, 198.51.100.1"
        self.ask("GET", "/health", b"", header)
        for self.peer in (
            IPv4Address("TCP", "198.51.100.9", 1),
            IPv6Address("TCP", "::ffff:198.51.100.9", 1),
            IPv6Address("TCP", "2001:db8:1::9", 1),
            UNIXAddress(None),
        ):
            self.ask("GET", "/health", b"", header)
        clients = ["198.51.100.1", "198.51.100.9", "198.51.100.9", "2001:db8:1::9", "-"]
        expected = [f'{client} - - [now] "GET /health" 200' for client in clients]
        self.assertEqual([line.rsplit(" ", 2)[0] for line in self.lines], expected)
