"""An agent on loopback, for the simulator's own tests: webhook, status URL, media socket, all remembered."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Site

PUBLIC = "voice.example.com"
TOKEN_PATH = "/telephony/ws/3q9fTokenThatNobodyMaySee"
STREAM = f"wss://{PUBLIC}{TOKEN_PATH}"
ANSWERS = {
    "twilio": (
        f'<Response><Connect><Stream url="{STREAM}"><Parameter name="a" value="1"/></Stream></Connect>'
        "</Response>"
    ),
    "telnyx": (
        f'<Response><Connect><Stream url="{STREAM}" bidirectionalMode="rtp" enableReconnect="false">'
        '<Parameter name="a" value="1"/></Stream></Connect></Response>'
    ),
    "plivo": (
        '<Response><Stream bidirectional="true" keepCallAlive="true" contentType="audio/x-mulaw;rate=8000" '
        f'extraHeaders="a=1">{STREAM}</Stream></Response>'
    ),
    "exotel": json.dumps({"url": f"{STREAM}?a=1"}),
}


@dataclass
class Got:
    """A request as it arrived."""

    method: str
    uri: str
    headers: dict[str, str]
    body: bytes
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def public_url(self) -> str:
        return f"https://{self.headers['host']}{self.uri}"


class Endpoint(Resource):
    """Remembers what it is asked and answers the same each time."""

    isLeaf = True

    def __init__(self, answer: str = "", status: int = 200) -> None:
        super().__init__()
        self.answer, self.status = answer, status
        self.got: list[Got] = []
        self.waiting: list[Deferred[Got]] = []

    def render(self, request: Any) -> bytes:
        request.content.seek(0)
        headers = {
            name.decode().lower(): values[0].decode()
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        fields = {name.decode(): values[0].decode() for name, values in request.args.items()}
        got = Got(request.method.decode(), request.uri.decode(), headers, request.content.read(), fields)
        self.got.append(got)
        if self.waiting:
            self.waiting.pop(0).callback(got)
        request.setResponseCode(self.status)
        return self.answer.encode()

    def next(self) -> Deferred[Got]:
        waiting: Deferred[Got] = Deferred()
        self.waiting.append(waiting)
        return waiting


class Socket(WebSocketServerProtocol):
    """Remembers everything; does what the test's `on` has for an event."""

    def onConnect(self, request: Any) -> None:
        self.factory.opened.append(self)
        self.path, self.got, self.code = request.path, [], None

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        text = payload.decode()
        try:
            message = json.loads(text)
        except ValueError:
            message = text
        self.got.append(message)
        event = message.get("event") if isinstance(message, dict) else None
        if event in self.factory.on:
            self.factory.on[event](self)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.code = code

    def events(self) -> list[str]:
        return [each["event"] if isinstance(each, dict) and "event" in each else "junk" for each in self.got]


class AgentSite:
    """Listens until the test's end."""

    def __init__(self, test: Any, carrier: str) -> None:
        self.webhook, self.status = Endpoint(ANSWERS[carrier]), Endpoint()
        self.transfer = Endpoint("<Response><Dial><Number>15559990000</Number></Dial></Response>")
        self.factory: Any = WebSocketServerFactory(reactor=reactor)
        self.factory.protocol = Socket
        self.factory.opened, self.factory.on = [], {}
        root, telephony = Resource(), Resource()
        root.putChild(b"", self.webhook)
        root.putChild(b"answer", self.webhook)
        root.putChild(b"status", self.status)
        root.putChild(b"transfer", self.transfer)
        root.putChild(b"telephony", telephony)
        telephony.putChild(b"ws", WebSocketResource(self.factory))
        port: Any = reactor.listenTCP(0, Site(root, reactor=reactor), interface="127.0.0.1")  # type: ignore[attr-defined]
        test.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}/"

    @property
    def sockets(self) -> list[Any]:
        return list(self.factory.opened)


def public(path: str) -> str:
    return f"https://{PUBLIC}{path}"


def path_of(url: str) -> str:
    return urlsplit(url).path
