"""T9: no request, no answer, no word of a caller or a model makes us connect to an address of its choice."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.fakes import FakeControl
from tests.house import House, Line
from tests.test_media_socket import start
from tests.vendor import VendorTestCase, answer
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import CallInfo, Message, TextDelta, Transfer
from voxray.providers.llm_openai import OpenAIChat
from voxray.providers.openai_api import Host

PLACES = (
    "http://127.0.0.1:9/",
    "https://metadata.example/latest",
    "http://169.254.169.254/latest/meta-data/",
    "wss://evil.example/",
    "redis://evil.example",
    "file:///etc/passwd",
)
KEYS = (
    "webhook_url", "base_url", "base_urls", "recording_url", "status_url", "answer_url", "url", "callback",
    "iceServers", "external_chain", "proxy_host", "redis_url", "StatusCallback", "RecordingUrl", "VoiceUrl",
)  # fmt: skip


@shows("T9")
class RequestTests(SynchronousTestCase):
    """The whole daemon, on a reactor that only writes down where it was to connect to."""

    def nowhere(self, house: House) -> None:
        reactor = house.reactor
        self.assertEqual((reactor.tcpClients, reactor.sslClients, reactor.unixClients), ([], [], []))

    def ask(self, house: House, path: str, body: bytes, kind: str = "application/json") -> int:
        line = Line(house)
        head = f"POST {path} HTTP/1.1\r\nHost: h.example\r\nX-API-Key: key\r\nContent-Type: {kind}\r\n"
        line.raw(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        status = int(line.transport.value().split()[1])
        line.lose()
        return status

    def test_bodies(self) -> None:
        """Sessions, offers, orders and webhooks whose every field is an address: never dialled."""
        house = House(self, {"server_api_key": "key", "caller_id": "+1555"})
        for place in PLACES:
            fields = dict.fromkeys(KEYS, place)
            nested = {**fields, "body": {**fields, "deep": [fields]}, "to": place, "sdp": place}
            body = json.dumps(nested).encode()
            for path in ("/start", "/webrtc/offer", "/api/v1/calls", "/sessions/x/api/offer"):
                self.assertNotEqual(self.ask(house, path, body), 500, path)
            form = "&".join(f"{key}={place}" for key in (*KEYS, "From", "To", "CallSid")).encode()
            self.assertEqual(self.ask(house, "/", form, "application/x-www-form-urlencoded"), 200)
            self.nowhere(house)

    def test_streams(self) -> None:
        """A stream's ids and parameters, and a peer's headers."""
        house = House(self)
        line = house.socket()
        begun = start(1)
        begun["start"]["customParameters"] = dict.fromkeys(KEYS, PLACES[0])
        line.send(begun)
        house.pass_time(1)
        self.nowhere(house)
        self.assertIsNone(line.code)

    def test_words(self) -> None:
        """What is said is data: by the caller, and by a model that takes it for an order."""
        words = [TextDelta(f"Fetching {place} now. ") for place in PLACES]
        control = FakeControl()
        house = House(self, {"transfers": {"desk": "+15551230000"}}, [*words, Transfer(PLACES[0])])
        house.controlled(control)
        line = house.dial()
        line.silence(0.5)
        line.tone(0.8)
        line.silence(1.0)
        line.answer(f"Please open {PLACES[1]}")
        line.silence(2.0)
        self.nowhere(house)
        self.assertEqual((control.transferred, control.hung_up), ([], []))
        self.assertIsNone(line.code)


@shows("T9")
class RedirectTests(VendorTestCase):
    """A vendor that sends us elsewhere."""

    async def test_redirects(self) -> None:
        """It is an error of the vendor's, whatever the status; the place that it names hears nothing."""
        heard: list[object] = []

        class Canary(Factory):
            def buildProtocol(self, addr: object) -> None:
                heard.append(addr)

        canary = Canary()
        port: Any = reactor.listenTCP(0, canary, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        elsewhere = f"http://127.0.0.1:{port.getHost().port}/"
        llm = OpenAIChat(self.http, Host("openai", self.base, "sk-SECRET"))
        for status in (301, 302, 303, 307, 308):
            self.vendor.scripts = [[answer(b"", status=status, Location=elsewhere)]]
            with self.assertRaises(ProviderError) as caught:
                async for _ in llm.reply([Message("user", "Hello")], CallInfo("c")):
                    pass
            self.assertEqual(caught.exception.kind, ErrorKind.BAD_ANSWER)
        self.assertEqual((heard, len(self.vendor.requests)), ([], 5))
