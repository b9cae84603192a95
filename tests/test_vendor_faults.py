"""The faults of speech and language vendors, by the numbers of the reliability reference (F1 to F17).

Here are those that need a socket or a whole call; others are beside what they are about (`test_circuits`,
`test_call_patience`, `test_resolving`, `test_http_tls`, `test_attack_vendors`). Transcribers take whole
turns: there is no streaming recogniser yet, so F8 to F10 are tested on what takes its place, uploads and kept
connections.
"""

from __future__ import annotations

import random
import socket
import zlib
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.fakes import RecordingSink
from tests.house import House
from tests.provider_contract import CALL, MESSAGES, collect, utterance
from tests.test_attack_vendors import GOOD, KINDS, MIDWAY, FaultTestCase, event
from tests.test_call_call import QUIET, TONE
from tests.test_http import HttpTestCase
from tests.test_provider_openai import HEARD, KEY
from tests.test_provider_openai_pure import delta, sse
from tests.vendor import CLOSE, END, HANG, RESET, Step, answer, chunk, chunked, head
from voxray.audio.g711 import ulaw_to_linear
from voxray.audio.tones import sine
from voxray.call.call import Call
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import Audio, CallInfo, Dtmf, PressKeys, Sequel, StreamStopped, TextDelta
from voxray.http import HttpRequest
from voxray.httpstream import Deadlines
from voxray.providers.chat_delta import MAX_TOOL_CALLS, ReplyReader
from voxray.providers.llm_openai import MAX_REPLY_CHARS, OpenAIChat
from voxray.providers.openai_api import Host
from voxray.providers.stt_openai import OpenAITranscriber
from voxray.retries import NEVER

MS_200 = sine(440, 200.0, 24_000).astype("<i2").tobytes()
HANG_UPS = 500
DEADLINES = Deadlines()


class RequestTests(HttpTestCase):
    """One request at a time."""

    def models(self) -> tuple[OpenAITranscriber, OpenAIChat]:
        host = Host("openai", self.base, KEY)
        return OpenAITranscriber(self.http, host), OpenAIChat(self.http, host)

    @shows("F1")
    async def test_refused_key_and_readiness(self) -> None:
        """F1: a refused key is on the gauge, not in the log; `/ready` stays 200, for calls are answered."""
        house = House(
            self,  # type: ignore[arg-type]
            {"llm_provider": "openai", "model": "m", "api_keys": {"openai": KEY}},
            real=("llm",),
        )
        llm: Any = house.daemon._parts.exchange.providers.llm
        up = {"stage": "llm", "model": "m"}
        gauge = house.daemon._metrics.registry.get_sample_value
        self.assertEqual(gauge("voxray_provider_up", up), 1.0)
        llm._circuit.failed(ProviderError("openai", ErrorKind.AUTH, "HTTP 401", status=401))
        self.assertEqual(gauge("voxray_provider_up", up), 0.0)
        self.assertEqual(house.ask("GET", "/ready").status, 200)
        self.assertNotIn("SECRET", str(house.logged))

    @shows("F2")
    async def test_retry_after(self) -> None:
        """F2: a wait that a vendor asks for is kept, spread a little, if two seconds allow it."""
        for asked, waits in (("1", True), ("60", False), ("3", False)):
            for dice in (0.0, 1.0):
                self.http._dice = lambda dice=dice: dice
                self.vendor.requests.clear()
                self.script([answer(b"{}", status=429, Retry_After=asked)], [answer(b"{}")])
                work = Deferred.fromCoroutine(self.http.request(self.ask()))
                await self.until(lambda work=work: work.called or self.pausing())
                if waits:
                    [timer] = self.clock.getDelayedCalls()
                    self.assertAlmostEqual(timer.getTime() - self.clock.seconds(), 1.0 + 0.25 * dice)
                    self.clock.advance(1.25)
                    self.assertEqual((await work).status, 200)
                else:
                    with self.assertRaises(ProviderError) as caught:
                        await work
                    self.assertEqual(caught.exception.kind, ErrorKind.RATE)
                    self.assertEqual(len(self.vendor.requests), 1)

    @shows("F3")
    async def test_server_errors(self) -> None:
        """F3: at most two retries before the first word, and none after it."""
        stt, llm = self.models()
        self.script([answer(b"", status=502)], [answer(b"", status=500)], [answer(HEARD)])
        work = Deferred.fromCoroutine(stt.transcribe(utterance(), CALL))
        while not work.called:
            if self.pausing():
                self.clock.advance(0.5)
            await self.turns(1)
        self.assertEqual(((await work).text, len(self.vendor.requests)), ("Hello there.", 3))
        self.vendor.requests.clear()
        self.script([head(), chunk(sse(delta(content="One"), end="")), RESET])
        said: list[object] = []
        with self.assertRaises(ProviderError):
            async for each in llm.reply(MESSAGES, CALL):
                said.append(each)  # noqa: PERF401 - the loop ends by an exception
        self.assertEqual((said, len(self.vendor.requests)), ([TextDelta("One")], 1))

    @shows("F4")
    async def test_no_connection(self) -> None:
        """F4: a port that is closed is known at once, one that swallows connections after three seconds."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            refused = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        with self.assertRaises(ProviderError) as caught:
            await self.http.request(HttpRequest("GET", refused, "acme"))
        self.assertIn("connection refused", str(caught.exception))
        with socket.socket() as full, socket.socket() as first:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            first.connect(full.getsockname())  # the backlog is full: the next connection hangs
            url = f"http://127.0.0.1:{full.getsockname()[1]}/"
            work = Deferred.fromCoroutine(self.http.request(HttpRequest("GET", url, "acme", retries=NEVER)))
            await self.turns(5)
            self.clock.advance(DEADLINES.connect - 0.1)
            self.assertFalse(work.called)
            self.clock.advance(0.2)
            with self.assertRaises(ProviderError) as caught:
                await work
        self.assertEqual(caught.exception.kind, ErrorKind.TIMEOUT)
        self.assertIn("no connection in time", str(caught.exception))

    @shows("F7")
    async def test_lies_about_the_length(self) -> None:
        """F7: more than was promised is not read as the next answer; less, or no number, is an error."""
        body = b'{"text": "Hello there."}'
        said = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        stt, _ = self.models()
        self.script([said.encode() + body + answer(b'{"text": "Not mine."}')], [answer(HEARD)])
        for _ in range(2):
            self.assertEqual((await stt.transcribe(utterance(), CALL)).text, "Hello there.")
            await self.turns(3)
        for length in ("99", "-1", "x", "24, 25", "9" * 400):
            lie = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            self.script([lie.encode() + body, CLOSE])
            with self.assertRaises(ProviderError) as caught:
                await stt.transcribe(utterance(), CALL)
            self.assertIn(caught.exception.kind, (ErrorKind.TRANSPORT, ErrorKind.BAD_ANSWER), length)
            await self.vendor_sees_the_end()

    @shows("F7")
    async def test_compressed(self) -> None:
        """F7: a gzip bomb is never unpacked: nothing was asked for compressed, and nothing so is read."""
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        bomb = packer.compress(bytes(20 << 20)) + packer.flush()
        stt, _ = self.models()
        for coding in ("gzip", "x-gzip", "deflate", "br"):
            self.script([answer(bomb, Content_Encoding=coding)])
            with self.assertRaises(ProviderError) as caught:
                await stt.transcribe(utterance(), CALL)
            self.assertEqual(caught.exception.kind, ErrorKind.BAD_ANSWER)
            self.assertIn("compressed", str(caught.exception))
        await self.turns(5)

    @shows("F7")
    async def test_too_long(self) -> None:
        """F7: an answer without an end is read up to four megabytes."""
        stt, _ = self.models()
        self.script([head("application/json"), *[chunk(b" " * (1 << 20))] * 8])
        with self.assertRaises(ProviderError) as caught:
            await stt.transcribe(utterance(), CALL)
        self.assertEqual(caught.exception.kind, ErrorKind.BAD_ANSWER)
        await self.vendor_sees_the_end()

    @shows("F8")
    async def test_lost_in_mid_utterance(self) -> None:
        """F8: (no streaming recogniser yet) an upload whose connection is cut is sent again, 20 of 20."""
        stt, _ = self.models()
        for _ in range(20):
            self.script([RESET], [answer(HEARD)])
            self.assertEqual((await stt.transcribe(utterance(), CALL)).text, "Hello there.")

    @shows("F9")
    async def test_a_connection_that_died_silently(self) -> None:
        """F9: (no streaming recogniser yet) a kept connection that swallows all is given up for a new one."""
        stt, _ = self.models()
        self.script([answer(HEARD)], [HANG], [answer(HEARD)])
        await stt.transcribe(utterance(), CALL)
        work = Deferred.fromCoroutine(stt.transcribe(utterance(), CALL))
        await self.until(lambda: len(self.vendor.requests) == 2)
        self.assertEqual(self.vendor.connections, 1)
        self.clock.advance(DEADLINES.first_byte + 0.1)
        with self.assertRaises(ProviderError):
            await work
        self.assertEqual((await stt.transcribe(utterance(), CALL)).text, "Hello there.")
        self.assertEqual(self.vendor.connections, 2)

    @shows("F10")
    async def test_idle_connections(self) -> None:
        """F10: (no streaming recogniser yet) a host that closes idle connections costs no turn anything."""
        stt, _ = self.models()
        for seen in range(1, 4):
            self.script([answer(HEARD)])
            self.assertEqual((await stt.transcribe(utterance(), CALL)).text, "Hello there.")
            for connection in list(self.vendor.open):
                connection.transport.loseConnection()
                await connection.gone
            self.assertEqual((len(self.vendor.requests), self.vendor.connections), (seen, seen))

    @shows("F16")
    async def test_endless_reply(self) -> None:
        """F16: a model that repeats itself is cut off after 8,000 characters, and its socket with it."""
        _, llm = self.models()
        self.script([head(), *[chunk(sse(delta(content="la " * 300), end=""))] * 200])
        said = await collect(llm.reply(MESSAGES, CALL))
        self.assertEqual(sum(len(each.text) for each in said if isinstance(each, TextDelta)), MAX_REPLY_CHARS)
        self.clock.advance(1.1)
        await self.vendor_sees_the_end()

    @shows("F16")
    async def test_endless_functions(self) -> None:
        """F16: of ten thousand function calls 32 are looked at, and one of them at most ends our part."""
        calls = [
            {"index": i, "id": f"c{i}", "function": {"name": "press_keys", "arguments": '{"digits": "1"}'}}
            if i % 2
            else {"index": i, "id": f"c{i}", "function": {"name": "end_call", "arguments": "{}"}}
            for i in range(10_000)
        ]
        body = sse(*(delta(tool_calls=calls[i : i + 100]) for i in range(0, len(calls), 100)), delta("stop"))
        self.script(chunked(body, size=65_536))
        _, llm = self.models()
        events = await collect(llm.reply(MESSAGES, CallInfo("c", outbound=True)))
        self.assertEqual(sum(isinstance(each, PressKeys) for each in events), MAX_TOOL_CALLS // 2)
        self.assertEqual(sum(isinstance(each, Sequel) for each in events), 1)
        self.assertEqual(len(self.vendor.requests), 1, "what a function gave is never sent back: no loop")
        await self.until(lambda: not self.clock.getDelayedCalls())


TOKENS = st.one_of(
    st.text(max_size=6).map(lambda text: sse(delta(content=text), end="")),
    st.sampled_from([sse(delta(content="ä\u20ac\U0001f600 "), end=""), sse(delta("stop"), end="")]),
    st.sampled_from(
        [
            b"data: [DONE]\n\n",
            b"data: {oops\n\n",
            b'data: {"error": {"message": "x", "code": "server_error"}}\n\n',
            b'data: {"choices": [{"delta": {"content": "\xff\xfe"}}]}\r\n\r\n',
            b": keep-alive\r\r",
            b"event: error\ndata: {}\n\n",
            b"<html><body>502</body></html>\n",
            b"data: 5\n\ndata: null\n\ndata:\n\n",
            b"\n\r\n\r",
            b"data: " + b"x" * 3000 + b"\n\n",
            b'data: {"choices":\ndata: [{"delta": {"content": "two lines"}}]}\n\n',
        ]
    ),
    st.binary(max_size=20),
)


class StreamTests(SynchronousTestCase):
    @settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(TOKENS, max_size=8), st.lists(st.integers(0, 2000), max_size=6), st.booleans())
    @shows("F6")
    def test_malformed_streams(self, tokens: list[bytes], cuts: list[int], every_byte: bool) -> None:
        """F6: 2,000 streams of any sort, cut anywhere: the same words as uncut, and never an exception."""
        body = b"".join(tokens)
        edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
        if every_byte and len(body) < 400:
            edges = list(range(len(body) + 1)) or [0]
        self.assertEqual(self.read([body[a:b] for a, b in pairwise(edges)]), self.read([body]))

    def read(self, pieces: list[bytes]) -> tuple[object, ...]:
        reader = ReplyReader(200)
        said = "".join([*(reader.feed(piece) for piece in pieces if piece), reader.finish()])
        self.assertLessEqual(len(said), 200)
        return said, reader.failure, reader.reason, reader.finished, reader.skipped, len(reader.calls)


class CallTests(FaultTestCase):
    """Whole calls, on a fake clock."""

    async def begin(self, fault: list[Step], prepared: bool = True) -> tuple[Call, RecordingSink]:
        """A call whose voice has this fault, and whose caller asks something."""
        self.office()
        self.vendor.faulty = ""
        if prepared:
            preparing = Deferred.fromCoroutine(self.phrases.prepare(["Sorry.", "One moment, please."]))
            while not preparing.called:
                await self.turn()
        self.vendor.faulty, self.vendor.fault = "tts", fault
        sink = RecordingSink()
        call = self.open(sink)
        assert call is not None
        for digit in "1#":
            call.receive(Dtmf(digit))
        return call, sink

    def heard_ms(self, sink: RecordingSink) -> float:
        return len(sink.audio) / 8

    @property
    def spoken(self) -> int:
        """How often the voice was asked."""
        return sum(KINDS.get(each.path.rpartition("/")[2]) == "tts" for each in self.vendor.requests)

    @shows("F11")
    def test_a_voice_that_stalls(self) -> None:
        """F11: what there is is played; after three seconds the turn fails; nothing is said twice."""

        async def test() -> None:
            call, sink = await self.begin([head("audio/pcm"), chunk(MS_200), HANG])
            asked = self.spoken
            await self.hear(call, b"", 40)
            self.assertAlmostEqual(self.heard_ms(sink), 200, delta=40)
            await self.hear(call, b"", 60)
            self.assertAlmostEqual(self.heard_ms(sink), 200, delta=40)
            began = self.clock.seconds()
            while self.heard_ms(sink) < 300:
                await self.hear(call, b"", 2)
                self.assertLess(self.clock.seconds() - began, 1.7, "no apology")
            await self.hear(call, b"", 60)
            said = call._dialogue._conversation.messages()[-1].text
            self.assertNotIn("nine", said)
            self.assertTrue(said.endswith("Sorry."))
            self.assertEqual(self.spoken, asked + 1, "the sentence was asked for again")
            self.assertNotIn("clear", sink.kinds())
            await self.leave(call, "tts", "stalls")

        return Deferred.fromCoroutine(test())  # type: ignore[return-value]

    def unsent(self) -> int:
        """Bytes that the vendor could not get rid of."""
        transports: list[Any] = [connection.transport for connection in self.vendor.open]
        return sum(len(t.dataBuffer) - t.offset + t._tempDataLen for t in transports)

    @shows("F12")
    def test_a_voice_faster_than_speech(self) -> None:
        """F12: ten minutes at once: half a minute is taken, the vendor waits; an interruption ends it."""
        minutes = sine(440, 60_000.0, 24_000).astype("<i2").tobytes() * 10

        async def test() -> None:
            call, sink = await self.begin([answer(minutes, "audio/pcm")])
            for _ in range(60):
                await self.hear(call, b"", 2)
            self.assertGreater(call._pacer.queued_ms, 15_000)
            self.assertLessEqual(call._pacer.queued_ms, 30_000)
            held_back = self.unsent()
            self.assertGreater(held_back, 5 << 20, "the vendor was not made to wait")
            await self.hear(call, b"", 50)
            self.assertLessEqual(call._pacer.queued_ms, 30_000)
            before = self.heard_ms(sink)
            call._dialogue.barge_in(0.1)
            self.assertEqual(sink.kinds()[-1], "clear", "in the same turn of the reactor")
            self.assertEqual(call._pacer.queued_ms, 0)
            await self.hear(call, b"", 50)
            self.assertEqual(self.heard_ms(sink), before)
            await self.leave(call, "tts", "is fast")

        return Deferred.fromCoroutine(test())  # type: ignore[return-value]

    @shows("F13")
    def test_odd_bytes_on_the_way(self) -> None:
        """F13: samples cut in two by the network are put together: the tone stays a tone."""

        async def test() -> None:
            tone = sine(440, 600.0, 24_000).astype("<i2").tobytes()
            pieces = [chunk(tone[i : i + 961]) for i in range(0, len(tone), 961)]
            call, sink = await self.begin([head("audio/pcm"), *pieces, chunk(b"x"), END])
            await self.hear(call, b"", 100)
            heard = ulaw_to_linear(sink.audio[800:4000]).astype(float)
            spectrum = np.abs(np.fft.rfft(heard * np.hanning(heard.size)))
            self.assertAlmostEqual(float(np.argmax(spectrum)) * 8000 / heard.size, 440, delta=5)
            near = spectrum[170:183].sum() / spectrum.sum()
            self.assertGreater(float(near), 0.8, "noise")
            await self.leave(call, "tts", "odd")

        return Deferred.fromCoroutine(test())  # type: ignore[return-value]

    @shows("F17")
    def test_hang_up_anywhere(self) -> None:
        """F17: 500 callers hang up at random points of random faults: no socket, no timer, no call stays."""
        dice = random.Random(17)
        faults: list[tuple[str, list[Step]]] = [("", [])]
        for stage, good in GOOD.items():
            midway = MIDWAY[stage]
            faults += [(stage, [HANG]), (stage, [*midway, HANG]), (stage, [*midway, CLOSE]), (stage, [RESET])]
            faults += [(stage, [answer(b"{}", status=429, Retry_After="1")]), (stage, good)]
        faults += [("llm", [head(), *[event("One sentence. ")] * 50])]

        async def test() -> None:
            done = 0
            while done < HANG_UPS:
                self.office(max_calls=25)
                self.vendor.faulty, self.vendor.fault = dice.choice(faults)
                calls = [self.open(RecordingSink(), number) for number in range(25)]
                await self.hang_up_at_random([call for call in calls if call is not None], dice)
                done += len(calls)
                await self.nothing_left()

        return Deferred.fromCoroutine(test())  # type: ignore[return-value]

    async def hang_up_at_random(self, calls: list[Call], dice: random.Random) -> None:
        """Some speak, some press keys; each goes at a moment of its own."""
        ends = {call: dice.randrange(4, 160) for call in calls}
        speaks = {call: dice.random() < 0.5 for call in calls}
        for tick in range(160):
            self.clock.advance(0.02)
            for call in [call for call, end in ends.items() if end == tick]:
                call.receive(StreamStopped())
                del ends[call]
            for call in ends:
                self.says(call, tick, speaks[call])
            await self.turn()
            if not ends:
                return

    def says(self, call: Call, tick: int, speaks: bool) -> None:
        if speaks:
            call.receive(Audio(TONE if 5 <= tick < 30 else QUIET[tick % len(QUIET)]))
        elif tick in (5, 6):
            call.receive(Dtmf("1#"[tick - 5]))

    async def nothing_left(self) -> None:
        for _ in range(8):
            self.clock.advance(0.3)
            await self.turn()
        self.assertEqual(len(self.registry), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [], self.vendor.faulty)
        await self.http.close()
        for _ in range(300):
            if not self.vendor.open:
                return
            await self.turn()
        self.fail(f"{len(self.vendor.open)} of the vendor's sockets stay open: {self.vendor.faulty}")
