"""Keys about proxies, from the document to what a client of the daemon sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from twisted.internet.address import IPv4Address
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import write_pair
from tests.configs import loaded
from tests.dangers import shows
from tests.house import House, Line
from tests.test_media_socket import start
from tests.test_settings_effect_server import TlsClient
from tests.test_web_http import FORM, Answer
from tests.wsframes import handshake
from voxray.errors import ConfigError
from voxray.web.site import VoxraySite, access_line

PROXY = IPv4Address("TCP", "10.0.0.5", 40_000)
STRANGER = IPv4Address("TCP", "198.51.100.9", 40_000)
HEADERS = b"X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\nX-Forwarded-Host: voice.example.com\r\n"
LINE = b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n"


def access_log(house: House) -> list[str]:
    """The lines, as they come."""
    site: Any = house.site
    while not isinstance(site, VoxraySite):
        site = site.wrappedFactory
    lines: list[str] = []
    site.log = lambda request: lines.append(access_line("[now]", request))  # type: ignore[method-assign]
    return lines


def logged(house: House) -> str:
    return "\n".join(str(formatEvent(event)) for event in house.logged)


@shows("T8")
class HeaderTests(SynchronousTestCase):
    def stream(self, house: House) -> str | None:
        line = Line(house)
        head = b"POST / HTTP/1.1\r\nHost: h.example\r\n%bContent-Length: %d\r\n\r\n" % (HEADERS, len(FORM))
        line.raw(head + FORM)
        element = ET.fromstring(Answer(line.transport.value()).body).find("./Connect/Stream")
        assert element is not None
        return element.get("url")

    def test_trusted_proxies(self) -> None:
        """A listed proxy's word counts, for the address that is handed out and in the logs; no other's."""
        for peer, host, client in (
            (PROXY, "voice.example.com", "203.0.113.7"),
            (STRANGER, "h.example", "198.51.100.9"),
        ):
            house = House(self, {"trusted_proxies": ["10.0.0.0/24"]})
            house.peer = peer
            lines = access_log(house)
            self.assertEqual(self.stream(house), f"wss://{host}/telephony/ws")
            self.assertEqual([line.split()[0] for line in lines], [client])

    def test_none(self) -> None:
        """Without the key nobody is believed."""
        house = House(self)
        house.peer = IPv4Address("TCP", "127.0.0.1", 1)
        self.assertEqual(self.stream(house), "wss://h.example/telephony/ws")


class LineTests(SynchronousTestCase):
    def settings(self, **more: object) -> dict[str, object]:
        return {"proxy_protocol": True, "trusted_proxies": ["10.0.0.5"], "greeting": "Hello.", **more}

    def test_proxy_protocol(self) -> None:
        """A call over a connection with a PROXY header; without one, or from elsewhere, nothing is said."""
        house = House(self, self.settings())
        house.peer = PROXY
        line = Line(house)
        line.raw(LINE[:10])
        line.raw(LINE[10:] + handshake())
        self.assertIn(b" 101 ", line.transport.value()[:20])
        line.transport.clear()
        line.send(start())
        house.pass_time(1.0)
        self.assertEqual(line.said, ["Hello."])
        line.send({"event": "stop"})
        self.assertEqual(line.code, 1000)
        bare = Line(house)
        bare.raw(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual((bare.transport.value(), bare.over), (b"", True))
        self.assertIsNone(house.site.buildProtocol(STRANGER))
        self.assertIn("a connection from 10.0.0.5 is dropped: no PROXY header", logged(house))

    def test_before_tls(self) -> None:
        """The header comes first, in the clear, and then TLS."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        certificate, key = write_pair(directory)
        files = {"tls_enable": True, "tls_cert_file": certificate, "tls_key_file": key}
        house = House(self, self.settings(**files))
        lines = access_log(house)
        house.peer = PROXY
        client = TlsClient(house, certificate)
        client._line.raw(LINE)
        client.handshake()
        answer = Answer(client.ask(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        self.assertEqual(answer.status, 200)
        self.assertEqual([line.split()[0] for line in lines], ["203.0.113.7"])

    def test_nobody_could_connect(self) -> None:
        """Without trusted proxies the key makes no sense."""
        document: dict[str, Any] = {"proxy_protocol": True}
        self.assertRaisesRegex(ConfigError, "trusted_proxies is not set", loaded, document)
