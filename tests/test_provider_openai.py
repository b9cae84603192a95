"""The OpenAI dialect's adapters against a vendor on loopback: the contract, the requests, the faults."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, ClassVar, TypeVar

import numpy as np
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.provider_contract import (
    CALL,
    MESSAGES,
    ChatModelContract,
    SynthesizerContract,
    TranscriberContract,
    collect,
    utterance,
)
from tests.test_provider_openai_pure import delta, sse
from tests.vendor import CLOSE, FIXTURES, HANG, RESET, Step, VendorTestCase, answer, chunk, chunked, head
from voxray.audio.wav import read_wav, wav_bytes, wav_header
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import CallInfo, EndCall, PressKeys, Speech, TextDelta, Transfer
from voxray.providers.llm_openai import OpenAIChat
from voxray.providers.openai_api import Host
from voxray.providers.stt_openai import OpenAITranscriber
from voxray.providers.tts_openai import OpenAISpeech

T = TypeVar("T")
KEY = "sk-test-SECRET"
HELLO = sse(
    delta(role="assistant", content=""), delta(content="Hello"), delta(content=" there."), delta("stop")
)
PCM = (8000 * np.sin(np.arange(24_000) * 0.05)).astype("<i2").tobytes()  # a second
RAW = "application/octet-stream"
HEARD = b'{"text": " Hello there. "}'


class OpenAITestCase(VendorTestCase):
    """The vendor answers well unless a test says otherwise."""

    good: ClassVar[list[Step]]

    def setUp(self) -> None:
        super().setUp()
        self.script(self.good)

    def host(self, name: str = "openai") -> Host:
        return Host(name, self.base + "/", KEY)

    async def finish(self, work: Deferred[T]) -> T:
        return await work

    async def begun(self) -> None:
        self.script([HANG])
        await self.until(lambda: self.vendor.requests)

    async def nothing_left(self) -> None:
        self.clock.advance(1.1)  # what was released has a second to end
        self.assertEqual(self.clock.getDelayedCalls(), [])
        await self.http.close()
        await self.vendor_sees_the_end()

    async def error_of(self, work: Coroutine[Any, Any, object]) -> ProviderError:
        """The error of `work`; waits between tries are skipped."""
        deferred = ensureDeferred(work)
        while not deferred.called:
            if self.pausing():
                self.clock.advance(2)
            await self.turns(1)
        try:
            await deferred
        except ProviderError as e:
            self.assertNotIn("SECRET", str(e))
            return e
        raise AssertionError("no error")

    async def faults(self, ask: Callable[[], Coroutine[Any, Any, object]], body: bytes) -> None:
        """F1 to F7: every fault ends in a ProviderError of the right kind, and frees the socket."""
        error = b'{"error": {"message": "no", "code": "x"}}'
        whole = answer(body, RAW)
        for script, kind, requests in (
            ([answer(error, status=401)], ErrorKind.AUTH, 1),
            ([answer(error, status=403)], ErrorKind.AUTH, 1),
            ([answer(error, status=400)], ErrorKind.BAD_REQUEST, 1),
            ([answer(error, status=429, Retry_After="60")], ErrorKind.RATE, 1),
            ([answer(b'{"error": {"type": "insufficient_quota"}}', status=429)], ErrorKind.QUOTA, 1),
            ([answer(error, status=500)], ErrorKind.OVERLOADED, 2),
            ([answer(b"<html>", "text/html", status=502)], ErrorKind.OVERLOADED, 2),
            ([answer(b"", status=302, Location="http://127.0.0.1:1/")], ErrorKind.BAD_ANSWER, 1),
            ([answer(b"<html>hello</html>", "text/html")], ErrorKind.BAD_ANSWER, 1),
            ([CLOSE], ErrorKind.TRANSPORT, 2),
            ([RESET], ErrorKind.TRANSPORT, 2),
            ([whole[: -len(body) // 2], CLOSE], ErrorKind.TRANSPORT, 1),
            ([head(RAW), b"fff\r\n" + body[:20], CLOSE], ErrorKind.TRANSPORT, 1),
            ([head(RAW), b"xyz\r\n"], ErrorKind.BAD_ANSWER, 1),
            ([answer(b"", RAW)], ErrorKind.BAD_ANSWER, 1),
        ):
            self.script(script)
            self.vendor.requests.clear()
            failure = await self.error_of(ask())
            self.assertEqual((failure.kind, len(self.vendor.requests)), (kind, requests), script)
            self.assertEqual(self.clock.getDelayedCalls(), [], script)

    async def hangs(self, ask: Callable[[], Coroutine[Any, Any, object]], body: bytes) -> None:
        """F5: silence at any place ends in a timeout, and the connection is dropped."""
        for script, secs in (
            ([HANG], 5.0),
            ([head(RAW)], 5.0),
            ([head(RAW), chunk(body[:10])], 3.0),
            ([answer(body, RAW)[:-2]], 3.0),
        ):
            self.script(script)
            self.vendor.requests.clear()
            work = ensureDeferred(ask())
            await self.until(lambda: self.vendor.requests)
            await self.turns(4)
            self.clock.advance(secs - 0.1)
            self.assertFalse(work.called)
            for _ in range(20):  # on a busy machine the last byte may come only now
                if not work.called:
                    self.clock.advance(0.2)
                    await self.turns(1)
            with self.assertRaises(ProviderError) as caught:
                await work
            self.assertEqual(caught.exception.kind, ErrorKind.TIMEOUT)
            self.assertEqual(self.clock.getDelayedCalls(), [])
            await self.vendor_sees_the_end()


class TranscriberTests(OpenAITestCase, TranscriberContract):
    good: ClassVar[list[Step]] = [answer(HEARD)]

    def make(self, name: str = "openai", **options: str) -> OpenAITranscriber:
        return OpenAITranscriber(self.http, self.host(name), **options)

    async def test_request(self) -> None:
        """The upload: where, with which key, and the very audio, between two silences."""
        stt = self.make(language="en-US", prompt="Voxray")
        spoken = utterance(1000)
        self.assertEqual((await stt.transcribe(spoken, CALL)).text, "Hello there.")
        (sent,) = self.vendor.requests
        self.assertEqual((sent.method, sent.path), ("POST", "/v1/audio/transcriptions"))
        self.assertEqual(sent.headers["authorization"], f"Bearer {KEY}")
        for field in (
            b'"model"\r\n\r\ngpt-4o-transcribe\r\n',
            b'"language"\r\n\r\nen\r\n',
            b'"prompt"\r\n\r\nVoxray\r\n',
            b'"response_format"\r\n\r\njson\r\n',
            b'filename="audio.wav"',
        ):
            self.assertIn(field, sent.body)
        samples, form = read_wav(sent.body[sent.body.index(b"RIFF") : sent.body.rindex(b"\r\n--")])
        self.assertEqual((form.rate_hz, len(samples)), (8000, 8 * 1400))
        self.assertFalse(samples[:1600].any() or samples[-1600:].any())
        self.assertTrue(samples[1600:-1600].any())

    async def test_whisper(self) -> None:
        """Whisper's models are asked how sure they are, and believed; Groq's default is one."""
        silent = {"text": " Thank you.", "no_speech_prob": 0.95, "avg_logprob": -1.5}
        self.script(
            [answer(json.dumps({"text": " Thank you.", "segments": [silent], "language": "en"}).encode())]
        )
        stt = self.make("groq")
        said = await stt.transcribe(utterance(), CALL)
        self.assertEqual((said.text, said.language), ("", "en"))
        self.assertIn(b"verbose_json", self.vendor.requests[0].body)
        self.assertEqual(stt.model, "whisper-large-v3-turbo")

    async def test_not_text(self) -> None:
        """An answer of another shape is a bad answer."""
        for body in (b"[]", b'{"text": 5}', b"{}", b"hello"):
            self.script([answer(body)])
            error = await self.error_of(self.make().transcribe(utterance(), CALL))
            self.assertEqual(error.kind, ErrorKind.BAD_ANSWER)

    @shows("F1", "F2", "F3", "F4", "F7")
    async def test_faults(self) -> None:
        """F7: what is refused, cut off or no HTTP is an error of its kind, and frees the socket."""
        await self.faults(lambda: self.make().transcribe(utterance(), CALL), HEARD)

    @shows("F5")
    async def test_hangs(self) -> None:
        """F5: silence at any place ends in a timeout, and the socket is gone."""
        await self.hangs(lambda: self.make().transcribe(utterance(), CALL), HEARD)


class ChatTests(OpenAITestCase, ChatModelContract):
    good: ClassVar[list[Step]] = chunked(HELLO, size=50)

    def make(self, name: str = "openai", **options: Any) -> OpenAIChat:
        return OpenAIChat(self.http, self.host(name), **options)

    def reply(self) -> AsyncGenerator[Any, None]:
        return self.make().reply(MESSAGES, CALL)

    async def said(self) -> str:
        return "".join([e.text for e in await collect(self.reply()) if isinstance(e, TextDelta)])

    async def test_request(self) -> None:
        """Path, key, messages."""
        self.assertEqual(await self.said(), "Hello there.")
        (sent,) = self.vendor.requests
        self.assertEqual(
            (sent.path, sent.headers["authorization"]), ("/v1/chat/completions", f"Bearer {KEY}")
        )
        self.assertEqual(sent.headers["content-type"], "application/json")
        self.assertEqual([m["content"] for m in sent.json["messages"]], ["Be kind.", "Hello?"])

    async def test_connection_is_kept(self) -> None:
        """Although the reply ends at its finish reason, its connection serves the next turn."""
        self.script(chunked((FIXTURES / "openai_chat_text.sse").read_bytes(), size=100))
        for _ in range(3):
            self.assertEqual(await self.said(), "Hello, how can I help?")
            await self.until(lambda: not self.clock.getDelayedCalls())
        self.assertEqual(self.vendor.connections, 1)

    async def test_does_not_wait_for_the_end(self) -> None:
        """A host that forgets to end its stream does not keep the caller waiting."""
        self.script([head(), chunk(HELLO)])
        self.assertEqual(await self.said(), "Hello there.")
        await self.nothing_left()

    async def test_tokens_come_as_they_are_made(self) -> None:
        """The first token is there before the second was sent."""
        self.script([head(), chunk(sse(delta(content="One"), end=""))])
        async with aclosing(self.reply()) as events:
            self.assertEqual(await anext(events), TextDelta("One"))
            (connection,) = self.vendor.open
            connection.transport.write(chunk(sse(delta("stop", content=" two."))) + b"0\r\n\r\n")
            self.assertEqual([event async for event in events], [TextDelta(" two.")])
        await self.until(lambda: not self.clock.getDelayedCalls())

    async def test_end_call(self) -> None:
        """Goodbye first, then the end; alone it is a reply too."""
        call = delta(
            tool_calls=[{"index": 0, "id": "a", "function": {"name": "end_call", "arguments": "{}"}}]
        )
        for chunks, events in (
            ([delta(content="Bye."), call, delta("tool_calls")], [TextDelta("Bye."), EndCall()]),
            ([call, delta("tool_calls")], [EndCall()]),
        ):
            self.script(chunked(sse(*chunks)))
            self.assertEqual(await collect(self.reply()), events)
            await self.until(lambda: not self.clock.getDelayedCalls())

    async def test_functions(self) -> None:
        """Whom it may transfer to is in the request; keys are for outbound calls; both are made sense of."""
        to = [{"index": 0, "id": "a", "function": {"name": "transfer_call", "arguments": '{"to": "sales"}'}}]
        keys = [{"index": 1, "id": "b", "function": {"name": "press_keys", "arguments": '{"digits": "1#"}'}}]
        self.script(
            chunked(sse(delta(content="Yes."), delta(tool_calls=to), delta(tool_calls=keys), delta("stop")))
        )
        for outbound, names, events in (
            (False, ["end_call", "transfer_call"], [Transfer("sales")]),
            (True, ["end_call", "transfer_call", "press_keys"], [PressKeys("1#"), Transfer("sales")]),
        ):
            llm = self.make(transfers=["sales"])
            said = await collect(llm.reply(MESSAGES, CallInfo("c", outbound=outbound)))
            self.assertEqual(said, [TextDelta("Yes."), *events])
            self.assertEqual([t["function"]["name"] for t in self.vendor.requests[-1].json["tools"]], names)
            await self.until(lambda: not self.clock.getDelayedCalls())

    @shows("T27")
    async def test_senseless_functions(self) -> None:
        """They are left out, with a line that says how many and nothing of what was in them."""
        odd = [{"index": 0, "id": "a", "function": {"name": "transfer_call", "arguments": '{"to": SECRET'}}]
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.script(chunked(sse(delta(content="Yes."), delta(tool_calls=odd), delta("stop"))))
        said = await collect(self.make(transfers=["sales"]).reply(MESSAGES, CALL))
        self.assertEqual(said, [TextDelta("Yes.")])
        [line] = [formatEvent(event) for event in events if "function calls" in formatEvent(event)]
        self.assertIn("1 function calls", line)
        self.assertNotIn("SECRET", str(events))
        await self.until(lambda: not self.clock.getDelayedCalls())
        self.script(chunked(sse(delta(tool_calls=odd), delta("stop"))))
        error = await self.error_of(collect(self.make(transfers=["sales"]).reply(MESSAGES, CALL)))
        self.assertEqual(error.kind, ErrorKind.BAD_ANSWER)

    async def test_text_before_an_error(self) -> None:
        """What was said before an error in the stream, or a cut, is passed on; then the error is raised."""
        half = sse(delta(content="One"), end="")
        for script, kind in (
            (chunked((FIXTURES / "cerebras_error_midstream.sse").read_bytes()), ErrorKind.OVERLOADED),
            ([head(), chunk(half), CLOSE], ErrorKind.TRANSPORT),
            ([b"HTTP/1.1 200 OK\r\n\r\n" + half, CLOSE], ErrorKind.TRANSPORT),
        ):
            self.script(script)
            self.vendor.requests.clear()
            events: list[object] = []
            with self.assertRaises(ProviderError) as caught:
                async with aclosing(self.reply()) as reply:
                    async for event in reply:
                        events.append(event)  # noqa: PERF401 - the loop ends by an exception
            self.assertEqual((events, caught.exception.kind), ([TextDelta("One")], kind))
            self.assertEqual(len(self.vendor.requests), 1, "tried again after a token was passed on")

    async def test_missing_end(self) -> None:
        """No finish reason and no [DONE], but a proper end: the reply stands."""
        self.script(chunked(sse(delta(content="One"), end="")))
        self.assertEqual(await self.said(), "One")

    async def test_whole_json(self) -> None:
        """Status 200 with JSON: a reply that was not streamed, or an error."""
        whole = {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}
        self.script([answer(json.dumps(whole).encode())])
        self.assertEqual(await self.said(), "Yes.")
        self.script([answer(b'{"error": {"message": "x", "code": "invalid_api_key"}}')])
        self.assertEqual((await self.error_of(collect(self.reply()))).kind, ErrorKind.AUTH)

    async def test_empty_reply(self) -> None:
        """A reply of nothing would be dead air: it is an error that says why."""
        self.script(chunked(sse(delta("content_filter"))))
        error = await self.error_of(collect(self.reply()))
        self.assertEqual(error.kind, ErrorKind.BAD_ANSWER)
        self.assertIn("content_filter", str(error))

    @shows("F1", "F2", "F3", "F4", "F6", "F7")
    async def test_faults(self) -> None:
        """F7: what is refused, cut off or no HTTP is an error of its kind, and frees the socket."""
        await self.faults(lambda: collect(self.reply()), HELLO[:100])

    @shows("F5")
    async def test_hangs(self) -> None:
        """F5: silence at any place ends in a timeout, and the socket is gone."""
        await self.hangs(lambda: collect(self.reply()), sse(delta(content="Hello"), end=""))

    @shows("F17")
    async def test_hang_up_anywhere(self) -> None:
        """F17: hung up at any point, the vendor's socket is gone and nothing is left."""
        self.script([head(), *[chunk(piece) for piece in HELLO.splitlines(keepends=True)[:-4]]])
        for turns in range(12):
            work = ensureDeferred(collect(self.reply()))
            await self.turns(turns % 4)
            work.cancel()
            await self.assertFailure(work, CancelledError)
            self.assertEqual(self.clock.getDelayedCalls(), [])
            await self.vendor_sees_the_end()


class SpeechTests(OpenAITestCase, SynthesizerContract):
    good: ClassVar[list[Step]] = chunked(PCM, "audio/pcm", 9601)

    def make(self, name: str = "openai", **options: str) -> OpenAISpeech:
        return OpenAISpeech(self.http, self.host(name), **options)

    async def spoken(self, tts: OpenAISpeech, text: str = "Hello.") -> list[Speech]:
        return await collect(tts.synthesize(text, CALL))

    async def test_request(self) -> None:
        """PCM is asked for by name (the default is MP3), and comes out whole."""
        speech = await self.spoken(self.make(voice="sage"))
        self.assertEqual(b"".join(s.payload for s in speech), PCM)
        (sent,) = self.vendor.requests
        self.assertEqual(sent.path, "/v1/audio/speech")
        self.assertEqual(
            sent.json,
            {"model": "gpt-4o-mini-tts", "voice": "sage", "input": "Hello.", "response_format": "pcm"},
        )

    async def test_connection_is_kept(self) -> None:
        """One connection for sentence after sentence."""
        for _ in range(3):
            await self.spoken(self.make())
        self.assertEqual(self.vendor.connections, 1)

    @shows("F13")
    async def test_groq(self) -> None:
        """WAV, its rate from the header, and no more than 200 characters at a time."""
        self.script(chunked(wav_header(48_000, 1, 0xFFFFFFFF) + PCM, "audio/wav", 1001))
        speech = await self.spoken(self.make("groq"), "A sentence of some length. " * 12)
        self.assertEqual({s.media_format.rate_hz for s in speech}, {48_000})
        self.assertEqual(b"".join(s.payload for s in speech), PCM * 2)
        inputs = [sent.json["input"] for sent in self.vendor.requests]
        self.assertEqual(len(inputs), 2)
        self.assertTrue(all(len(text) <= 200 for text in inputs))
        self.assertEqual(self.vendor.requests[0].json["response_format"], "wav")

    @shows("F13")
    async def test_small_pieces(self) -> None:
        """Crumbs are gathered into pieces of at least 20 ms."""
        self.script(chunked(PCM, "audio/pcm", 7))
        speech = await self.spoken(self.make())
        self.assertEqual(b"".join(s.payload for s in speech), PCM)
        self.assertTrue(all(len(s.payload) >= 960 for s in speech[:-1]))

    @shows("F13")
    async def test_never_noise(self) -> None:
        """F13: what cannot be played is an error, whatever the status says."""
        for body, kind in (
            (b"ID3\x04" + PCM, "audio/mpeg"),
            (b"\xff\xf3\x40\xc4" + PCM, "audio/mpeg"),
            (wav_bytes(np.zeros((100, 2), np.int16), 24_000), "audio/wav"),
            (b'{"detail": "x"}', "application/json"),
            (b"hello", "text/plain"),
            (b"", "audio/pcm"),
            (PCM, "audio/pcm;rate=NaN"),
            (PCM, "audio/pcm; rate=12345"),
            (PCM, "audio/pcm;rate=" + "9" * 5000),
            (wav_header(0, 1, 100) + PCM, "audio/wav"),
            (wav_header(7, 1, 100) + PCM, "audio/wav"),
        ):
            self.script([answer(body, kind)])
            error = await self.error_of(self.spoken(self.make()))
            self.assertEqual(error.kind, ErrorKind.BAD_ANSWER, kind)
        self.script([answer(b'{"error": {"message": "x", "code": "rate_limit_exceeded"}}')])
        self.assertEqual((await self.error_of(self.spoken(self.make()))).kind, ErrorKind.RATE)

    @shows("F13")
    async def test_another_rate(self) -> None:
        """F13: a host that says which rate its samples have is believed, odd pieces and all."""
        for kind, rate in (
            ("audio/pcm;rate=16000", 16_000),
            ("audio/L16; Rate=8000", 8000),
            ("audio/pcm", 24_000),
        ):
            self.script(chunked(PCM + b"x", kind, 1001))
            speech = await self.spoken(self.make())
            self.assertEqual({each.media_format.rate_hz for each in speech}, {rate})
            self.assertEqual(b"".join(each.payload for each in speech), PCM)

    @shows("F1", "F2", "F3", "F4", "F7")
    async def test_faults(self) -> None:
        """F7: what is refused, cut off or no HTTP is an error of its kind, and frees the socket."""
        await self.faults(lambda: self.spoken(self.make()), PCM[:5000])

    @shows("F5", "F11")
    async def test_hangs(self) -> None:
        """F5: silence at any place, in the midst of audio too, ends in a timeout, and the socket is gone."""
        await self.hangs(lambda: self.spoken(self.make()), PCM[:5000])


class HostTests(SynchronousTestCase):
    @shows("T10")
    def test_key_is_not_shown(self) -> None:
        """A host's repr has no key."""
        self.assertNotIn("SECRET", repr(Host("openai", "http://x", KEY)))

    def test_no_key(self) -> None:
        """Without a key no Authorization is sent."""
        self.assertNotIn("Authorization", Host("openai", "http://x").post("/y", b"", "a/b").headers)
