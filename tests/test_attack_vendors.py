"""Vendors that fail, hang, refuse and cut, through a whole call over real sockets.

The call is made on a fake clock, so hours of waiting cost nothing; the vendor's sockets are real.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from twisted.internet import defer, reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from tests.dangers import shows
from tests.fakes import RecordingSink
from tests.test_call_call import QUIET, TONE, Loudness, make_settings
from tests.vendor import CLOSE, END, HANG, RESET, Connection, Request, Step, Vendor, answer, chunk, head
from voxray.audio.tones import sine
from voxray.call.call import Call
from voxray.call.exchange import Exchange
from voxray.call.expected import Welcome
from voxray.call.metronome import Metronome
from voxray.call.phrases import PhraseBook
from voxray.call.registry import Registry
from voxray.circuits import Limits
from voxray.frames import ULAW_8K, Audio, StreamStarted, StreamStopped
from voxray.http import HttpClient
from voxray.interfaces import Providers
from voxray.metrics import Metrics
from voxray.providers.llm_openai import OpenAIChat
from voxray.providers.openai_api import Host
from voxray.providers.stt_openai import OpenAITranscriber
from voxray.providers.tts_openai import OpenAISpeech

THE_REACTOR: Any = reactor
KINDS = {"transcriptions": "stt", "completions": "llm", "speech": "tts"}
PATIENCE_SECS = 6.0


def event(text: str) -> bytes:
    delta = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return chunk(b"data: " + json.dumps(delta).encode() + b"\n\n")


PCM = sine(440, 600.0, 24_000).astype(np.int16).tobytes()
GOOD: dict[str, list[Step]] = {
    "stt": [answer(b'{"text": "When do you open?"}')],
    "llm": [head(), event("We open "), event("at nine."), chunk(b"data: [DONE]\n\n"), END],
    "tts": [head("audio/pcm"), chunk(PCM), END],
}
MIDWAY: dict[str, list[Step]] = {
    "stt": [b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"text"'],
    "llm": [head(), event("We open ")],
    "tts": [head("audio/pcm"), chunk(PCM[:4801])],
}


def faults(stage: str) -> dict[str, list[Step]]:
    error = b'{"error": {"message": "canary-in-an-error"}}'
    return {
        "hangs before its headers": [HANG],
        "hangs midway": [*MIDWAY[stage], HANG],
        "is reset midway": [*MIDWAY[stage], RESET],
        "is truncated": [*MIDWAY[stage], CLOSE],
        "answers 500": [answer(error, status=500)],
        "answers 401": [answer(error, status=401)],
        "answers 429 for ever": [answer(error, status=429, Retry_After="1")],
        "resets": [RESET],
        "closes": [CLOSE],
        "speaks no HTTP": [b"SSH-2.0-OpenSSH_9.2\r\n", CLOSE],
        "answers another type": [answer(b"<html>hello</html>", "text/html")],
        "answers nothing": [answer(b"", "application/json" if stage == "stt" else "text/plain")],
    }


class FaultyConnection(Connection):
    """Plays by the path asked for."""

    vendor: FaultyVendor

    def dataReceived(self, data: bytes) -> None:
        before = len(self.vendor.requests)
        self.vendor.scripts = [[]]
        super().dataReceived(data)
        for request in self.vendor.requests[before:]:
            self.play(self.vendor.script_for(request))


class FaultyVendor(Vendor):
    """Good at everything but one stage."""

    faulty = ""
    fault: list[Step] = []  # noqa: RUF012

    def buildProtocol(self, addr: object) -> Connection:
        self.connections += 1
        return FaultyConnection(self)

    def script_for(self, request: Request) -> list[Step]:
        stage = KINDS.get(request.path.rpartition("/")[2], "")
        if not stage:
            return [answer(b'{"data": []}')]
        return self.fault if stage == self.faulty else GOOD[stage]


class FaultTestCase(TestCase):
    """Calls whose providers are one vendor's, on a fake clock."""

    timeout = 60

    def setUp(self) -> None:
        self.vendor = FaultyVendor()
        self.port = THE_REACTOR.listenTCP(0, self.vendor, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    def office(self, max_calls: int = 10) -> None:
        """A registry whose providers are the vendor's, all on one fake clock."""
        self.clock = Clock()
        self.clock.advance(100)
        self.http = HttpClient(reactor, clock=self.clock, dice=lambda: 0.5)
        self.http.circuits.limits = Limits(failures=0)  # the turn after a fault is to be answered at once
        host = Host("openai", f"http://127.0.0.1:{self.port.getHost().port}/v1", "sk-canary")
        self.llm, tts = OpenAIChat(self.http, host), OpenAISpeech(self.http, host)
        self.phrases = PhraseBook(tts)
        self.metrics = Metrics()
        exchange = Exchange(
            settings=make_settings(greeting="", apology="Sorry."),
            providers=Providers(OpenAITranscriber(self.http, host), self.llm, tts),
            phrases=self.phrases,
            activity=Loudness(),
            controls={},
            clock=self.clock,
            beat=Metronome(self.clock, 0.02),
            metrics=self.metrics,
        )
        self.registry = Registry(
            max_calls=max_calls,
            make_call=lambda info, wire, sink, ended: Call(info, wire, sink, exchange, ended),
            clock=self.clock,
            metrics=self.metrics,
        )

    def open(self, sink: RecordingSink, number: int = 1) -> Call | None:
        started = StreamStarted(f"MZ{number}", f"CA{number}", "AC1", ULAW_8K)
        return self.registry.open(started, sink, Welcome("twilio"))

    async def turn(self) -> None:
        """Lets the real sockets move."""
        pause: defer.Deferred[None] = defer.Deferred()
        THE_REACTOR.callLater(0.001, pause.callback, None)
        await pause

    async def hear(self, call: Call, packet: bytes, count: int) -> None:
        for i in range(count):
            self.clock.advance(0.02)
            call.receive(Audio(packet if packet is TONE else QUIET[i % len(QUIET)]))
            if i % 2:
                await self.turn()

    async def seconds_to_audio(self, call: Call, sink: RecordingSink) -> float:
        """From the end of the turn to the first audio of an answer or of an apology."""
        before, began = len(sink.sent), self.clock.seconds()
        while not any(kind == "audio" for kind, _ in sink.sent[before:]):
            await self.hear(call, b"", 2)
            if self.clock.seconds() - began > 60:
                self.fail("the caller hears nothing")
        return self.clock.seconds() - began

    async def through(self, stage: str, name: str, fault: list[Step], prepared: bool) -> None:
        """A turn with the fault, a turn without, and the end."""
        self.office()
        self.vendor.faulty = ""
        if prepared:
            preparing = defer.Deferred.fromCoroutine(self.phrases.prepare(["Sorry."]))
            while not preparing.called:
                await self.turn()
        sink = RecordingSink()
        call = self.open(sink)
        assert call is not None
        for faulty in (stage, ""):
            self.vendor.faulty, self.vendor.fault = faulty, fault
            await self.hear(call, b"", 25)
            await self.hear(call, TONE, 50)
            await self.hear(call, b"", 30)  # the turn's end, 0.6 s
            waited = await self.seconds_to_audio(call, sink)
            self.worst = max(self.worst, (waited, f"{stage} {name}"))
            self.assertLess(waited, PATIENCE_SECS, f"{stage} {name}")
            await self.hear(call, b"", 100)
        self.assertIsNone(sink.closed, f"{stage} {name}")
        labels = {"stage": "llm", "status": "success", "model": self.llm.model}
        replies = self.metrics.registry.get_sample_value("llm_generation_latency_seconds_count", labels)
        self.assertGreaterEqual(replies or 0, 1, f"the next turn was not answered: {stage} {name}")
        await self.leave(call, stage, name)

    async def leave(self, call: Call, stage: str, name: str) -> None:
        """After the hang-up: no timer, no vendor's socket but idle ones of the pool."""
        call.receive(StreamStopped())
        for _ in range(20):
            self.clock.advance(0.3)
            await self.turn()
        self.assertEqual(len(self.registry), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [], f"{stage} {name}")
        await self.http.close()
        for _ in range(200):
            if not self.vendor.open:
                break
            await self.turn()
        self.assertEqual(len(self.vendor.open), 0, f"a vendor's socket stays open: {stage} {name}")


class FaultTests(FaultTestCase):
    """One call for each fault."""

    async def every_fault(self, stage: str) -> None:
        self.worst = (0.0, "")
        for i, (name, fault) in enumerate(faults(stage).items()):
            await self.through(stage, name, fault, prepared=i % 2 == 0)

    @shows("F1", "F2", "F3", "F5", "F7")
    def test_stt(self) -> defer.Deferred[None]:
        """F5: a transcriber's faults: an apology or a beep in time, and the next turn is answered."""
        return defer.Deferred.fromCoroutine(self.every_fault("stt"))

    @shows("F1", "F2", "F3", "F5", "F6", "F7")
    def test_llm(self) -> defer.Deferred[None]:
        """F5: a model's."""
        return defer.Deferred.fromCoroutine(self.every_fault("llm"))

    @shows("F1", "F2", "F3", "F5", "F7", "F11")
    def test_tts(self) -> defer.Deferred[None]:
        """F5: a voice's, the apology's included when it was not made before."""
        return defer.Deferred.fromCoroutine(self.every_fault("tts"))

    @shows("F17")
    def test_hang_up_in_the_middle(self) -> defer.Deferred[None]:
        """F17: the caller hangs up while a vendor hangs: its socket goes at once."""

        async def test() -> None:
            for stage in GOOD:
                for fault in ([HANG], [*MIDWAY[stage], HANG]):
                    self.office()
                    self.vendor.faulty, self.vendor.fault = stage, fault
                    call = self.open(RecordingSink())
                    assert call is not None
                    await self.hear(call, b"", 25)
                    await self.hear(call, TONE, 50)
                    await self.hear(call, b"", 60)
                    await self.leave(call, stage, "hang-up")

        return defer.Deferred.fromCoroutine(test())
