"""The daemon whole, as `tap` builds it, on an imaginary reactor: only providers and time are fake.

Between the configuration document and a message on the wire everything is the real thing, so a key that is
not wired to its effect fails the test that looks for the effect.
"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from itertools import groupby
from types import SimpleNamespace
from typing import Any, TypeVar
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.configs import loaded
from tests.fakes import FakeModel, FakeTranscriber, Stage
from tests.test_call_call import QUIET, TONE
from tests.test_media_socket import start
from tests.test_web_http import Answer
from tests.wsframes import PING, ServerFrame, close_code, frame, handshake, server_frames
from voxray import catalog, collector, groundwork, inference, logs, tap, worker
from voxray.call.expected import Expected
from voxray.config import Loaded
from voxray.frames import ULAW_8K, CallInfo, Speech
from voxray.interfaces import CallControl, Providers
from voxray.worker import ThreadWorker

T = TypeVar("T")
BASE: dict[str, object] = {
    "provider": "scripted",
    "runner_transport": "twilio",
    "host": "127.0.0.1",
    "vad_type": "energy",
    "eager_transcription": False,
    "greeting": "",
    "goodbye": "",
    "max_lag_ms": 0,  # imaginary time leaps
}
WORD_SECS = 0.1
WORD = 800  # bytes
BEGAN_AT = 1_795_428_000.0
"""The wall clock when the daemon starts: 2026-11-23T10:00:00Z."""


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


class Teller(Stage):
    """100 ms of audio a word; each text has a byte of its own, so that the wire tells what was said."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.error: Exception | None = None
        self.gate: Deferred[None] | None = None  # waited for before each word
        self.running = 0

    async def synthesize(self, text: str, call: CallInfo) -> AsyncGenerator[Speech, None]:
        if self.error is not None:
            raise self.error
        if text not in self.texts:
            self.texts.append(text)
        self.running += 1
        try:
            for _ in text.split():
                if self.gate is not None:
                    await self.gate
                yield Speech(bytes([self.texts.index(text) + 1]) * WORD, ULAW_8K)
        finally:
            self.running -= 1


class InlineThread:
    """A JobThread without a thread."""

    def __init__(self, reactor: object) -> None: ...

    def submit(self, job: Any, done: Any) -> None:
        done(job())

    def stop(self) -> None: ...


class InlineWorker(ThreadWorker):
    """A ThreadWorker without a thread."""

    async def run(self, work: Callable[[], T]) -> T:
        return work()


class Reactor(MemoryReactorClock):
    """Has threads call back at once."""

    def callFromThread(self, function: Any, *args: Any) -> None:
        function(*args)


class Transport(StringTransport):
    """A TCP transport over a socket that is connected to nothing."""

    protocol: Any = None
    aborted = False
    bufferSize = 65_536

    def __init__(self, peer: object = None) -> None:
        super().__init__(peerAddress=peer)
        self.handle = socket.socket()

    def getHandle(self) -> socket.socket:
        return self.handle

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def unregisterProducer(self) -> None:
        self.producer = None

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()


class House:
    """A running daemon. `real` names the stages whose provider is the configured one."""

    def __init__(
        self,
        case: SynchronousTestCase,
        document: Mapping[str, object] | None = None,
        *replies: Iterable[object],
        real: Collection[str] = (),
        **environ: str,
    ) -> None:
        self.reactor = Reactor()
        self.reactor.advance(100)
        self.peer: object = None
        """The address that lines come from; None: some."""
        self.stt, self.llm, self.tts = FakeTranscriber(), FakeModel(*map(list, replies)), Teller()
        self.lines: list[Line] = []
        self.logged: list[dict[str, Any]] = []
        self._case, self._real = case, real
        self._make_providers = catalog.build_providers
        case.patch(catalog, "build_providers", self._providers)
        case.patch(inference, "InferenceThread", InlineThread)
        still = SimpleNamespace(collect=lambda: None, freeze=lambda: None, set_threshold=lambda *_: None)
        case.patch(collector, "gc", still)
        case.patch(worker, "ThreadWorker", InlineWorker)
        dates = SimpleNamespace(time=lambda: BEGAN_AT + self.reactor.seconds() - 100)
        for module in (tap, groundwork):
            case.patch(module, "time", dates)
        made = loaded({**BASE, "port": free_port(), **(document or {})}, **environ)
        self.settings = made.settings
        self._document, self._environ = (
            {**BASE, "port": made.settings.server.port, **(document or {})},
            environ,
        )
        self.reading: Callable[[], Loaded] = lambda: made
        """What reading the configuration again gives."""
        self.daemon: Any = tap._build(made.settings, made.warnings, self.reactor, load=lambda: self.reading())
        self.listener: socket.socket = self.daemon._parts.listener
        self.address = self.listener.getsockname()
        globalLogPublisher.addObserver(self.logged.append)
        case.addCleanup(self._close)
        self.daemon.startService()
        (_, _, self.site), *self.ports_beside = self.reactor.adoptedPorts

    def _providers(self, *args: Any) -> Providers:
        made = self._make_providers(*args)
        self.configured = made
        return Providers(*(getattr(made if s in self._real else self, s) for s in ("stt", "llm", "tts")))

    def _close(self) -> None:
        stopping = self.daemon.stopService()
        for line in self.lines:
            line.lose()
        self.reactor.advance(1)  # the metronomes notice that nobody is left
        self._case.successResultOf(stopping)
        globalLogPublisher.removeObserver(self.logged.append)
        self._case.assertEqual(self.reactor.getDelayedCalls(), [])

    def reload(self, **changes: object) -> None:
        """SIGHUP, with these keys changed in the file."""
        self._case.addCleanup(logs.choose, logs._chosen)
        self._document |= changes
        self.reading = lambda: loaded(self._document, **self._environ)
        self.daemon._signals._reload()

    def terminate(self) -> None:
        """SIGTERM."""
        self.daemon._signals._on_term()

    @property
    def records(self) -> list[dict[str, Any]]:
        """The journal's call records, as events."""
        return [event for event in self.logged if event.get("event") == "cdr"]

    def controlled(self, control: CallControl | None) -> None:
        """The carrier's REST API is this, and the next call's webhook was signed."""
        if control is None:
            return
        exchange, registry = self.daemon._parts.exchange, self.daemon._parts.registry
        exchange.controls["twilio"] = control
        sid: str = start(len(self.lines) + 1)["start"]["callSid"]
        expected = Expected(uuid4().hex, "twilio", sid, verified=True)
        registry._expectations.add(expected, self.reactor.seconds())

    # -- HTTP ------------------------------------------------------------------
    def ask(self, method: str, path: str, body: bytes = b"", *, host: str = "h.example") -> Answer:
        """One request on a connection of its own."""
        line = Line(self)
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
        line.raw(head.encode() + body)
        line.lose()
        return Answer(line.transport.value())

    # -- calls -----------------------------------------------------------------
    def socket(self) -> Line:
        """A media socket, not yet a call."""
        line = Line(self)
        line.raw(handshake())
        self._case.assertIn(b" 101 ", line.transport.value()[:20])
        line.transport.clear()
        return line

    def dial(self) -> Line:
        """A call that is up."""
        line = self.socket()
        line.send(start(len(self.lines)))
        return line

    def pass_time(self, secs: float, step: float = 0.02) -> None:
        """Nobody sends anything."""
        for _ in range(round(secs / step)):
            self.reactor.advance(step)
            for line in self.lines:
                line.settle()


class Line:
    """The carrier's end of one connection."""

    def __init__(self, house: House) -> None:
        self._house = house
        house.lines.append(self)
        self.over = False
        self.transport = Transport(house.peer)
        self.transport.protocol = house.site.buildProtocol(self.transport.getPeer())
        self.transport.protocol.makeConnection(self.transport)
        self._quiet = 0

    def raw(self, data: bytes) -> None:
        if not self.over:
            self.transport.protocol.dataReceived(data)
        self.settle()

    def send(self, message: dict[str, Any]) -> None:
        self.raw(frame(json.dumps(message).encode()))

    def settle(self) -> None:
        if self.transport.disconnecting:
            self.lose()

    def lose(self, reason: Exception | None = None) -> None:
        if not self.over:
            self.over = True
            self.transport.protocol.connectionLost(Failure(reason or ConnectionLost()))
            self.transport.handle.close()

    # -- what the caller does --------------------------------------------------
    def hear(self, packets: Iterable[bytes]) -> None:
        """The caller's packets in real time."""
        for packet in packets:
            self._house.reactor.advance(0.02)
            self.send({"event": "media", "media": {"payload": base64.b64encode(packet).decode()}})

    def silence(self, secs: float) -> None:
        for _ in range(round(secs / 0.02)):
            self._quiet += 1
            self.hear([QUIET[self._quiet % len(QUIET)]])

    def tone(self, secs: float, packet: bytes = TONE) -> None:
        """A loud tone: speech, to the energy detector, for two seconds."""
        self.hear([packet] * round(secs / 0.02))

    def press(self, keys: str) -> None:
        for digit in keys:
            self.send({"event": "dtmf", "dtmf": {"digit": digit}})
        self.settle_stages()

    def settle_stages(self) -> None:
        """The stages of an answer hand over in reactor turns of their own."""
        for _ in range(5):
            self._house.reactor.advance(0)

    def answer(self, text: str) -> None:
        """The transcriber's oldest open question is answered."""
        self._house.stt.answer(text)
        self.settle_stages()

    # -- what reached the caller -----------------------------------------------
    @property
    def frames(self) -> list[ServerFrame]:
        return server_frames(self.transport.value())

    @property
    def code(self) -> int | None:
        return close_code(self.frames)

    @property
    def pings(self) -> int:
        return sum(1 for f in self.frames if f.opcode == PING)

    def messages(self) -> list[Any]:
        return [json.loads(f.payload) for f in self.frames if f.opcode == 1]

    def kinds(self) -> list[str]:
        return [m["event"] for m in self.messages()]

    @property
    def audio(self) -> bytes:
        """All of it."""
        payloads = (m["media"]["payload"] for m in self.messages() if m["event"] == "media")
        return b"".join(base64.b64decode(payload) for payload in payloads)

    @property
    def said(self) -> list[str]:
        """The texts whose audio came, in order."""
        texts = self._house.tts.texts
        return [texts[code - 1] for code, _ in groupby(self.audio) if code <= len(texts)]
