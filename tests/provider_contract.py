"""What every provider must keep, whoever made it: mix in, say how to build one, get the tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

import numpy as np
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from voxray.audio.codec import codec_for
from voxray.frames import (
    ULAW_8K,
    CallInfo,
    Encoding,
    MediaFormat,
    Message,
    Sequel,
    Speech,
    TextDelta,
    Transcript,
    Utterance,
)
from voxray.interfaces import ChatModel, Provider, Synthesizer, Transcriber

T = TypeVar("T")
CALL = CallInfo("call-1")
MESSAGES = (Message("system", "Be kind."), Message("user", "Hello?"))


def utterance(ms: int = 1500, level: float = 0.2, media_format: MediaFormat = ULAW_8K) -> Utterance:
    """A tone, or nearly silence, as a caller's turn."""
    samples = level * 32_767 * np.sin(np.arange(media_format.rate_hz * ms // 1000) * 0.3)
    payload = codec_for(media_format).encode(samples.astype(np.int16))
    return Utterance(payload, media_format, 0.0, float(ms))


async def collect(generator: AsyncGenerator[T, None]) -> list[T]:
    async with aclosing(generator) as items:
        return [item async for item in items]


class ProviderContract:
    """Mixed in after a TestCase that knows how to `make`, `finish` and look for what is left."""

    def make(self) -> Any:
        raise NotImplementedError

    async def finish(self, work: Deferred[T]) -> T:
        """Lets time pass until `work` is done."""
        raise NotImplementedError

    async def begun(self) -> None:
        """Awaited until what was started waits for the other side."""

    async def nothing_left(self) -> None:
        """Fails when a connection or a timer of the provider's is left."""

    def start(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        return ensureDeferred(work)

    async def test_life(self) -> None:
        """It has a name and a model for metrics; start, warm_up and stop work in that order."""
        provider: Provider = self.make()
        self.assertTrue(provider.name and provider.model)
        for step in (provider.start, provider.warm_up, provider.stop):
            await self.finish(self.start(step()))
        await self.nothing_left()

    async def cancelled(self, work: Deferred[object]) -> None:
        """Cancels `work` once it waits."""
        await self.begun()
        work.cancel()
        await self.assertFailure(work, CancelledError)
        await self.nothing_left()


class TranscriberContract(ProviderContract):
    async def test_words(self) -> None:
        """Speech in each of the line's formats gives a final transcript."""
        for media_format in (ULAW_8K, MediaFormat(Encoding.ALAW, 8000), MediaFormat(Encoding.L16, 16_000)):
            stt: Transcriber = self.make()
            said = await self.finish(self.start(stt.transcribe(utterance(media_format=media_format), CALL)))
            self.assertIsInstance(said, Transcript)
            self.assertTrue(said.final and said.text == said.text.strip() and said.text)

    async def test_empty_payload(self) -> None:
        """No audio at all does not raise."""
        stt: Transcriber = self.make()
        await self.finish(self.start(stt.transcribe(Utterance(b"", ULAW_8K, 0.0, 0.0), CALL)))

    async def test_cancel(self) -> None:
        """Cancelling leaves nothing behind."""
        stt: Transcriber = self.make()
        await self.cancelled(self.start(stt.transcribe(utterance(), CALL)))


class ChatModelContract(ProviderContract):
    async def test_reply(self) -> None:
        """Text comes in pieces that are not empty; what ends our part, if anything, comes last and once."""
        llm: ChatModel = self.make()
        events = await self.finish(self.start(collect(llm.reply(MESSAGES, CALL))))
        texts = [event.text for event in events if isinstance(event, TextDelta)]
        self.assertTrue(texts and all(texts))
        self.assertFalse([event for event in events[:-1] if isinstance(event, Sequel)])

    async def test_two_at_once(self) -> None:
        """Two calls do not disturb each other."""
        llm: ChatModel = self.make()
        works = [self.start(collect(llm.reply(MESSAGES, CALL))) for _ in range(2)]
        first, second = [await self.finish(work) for work in works]
        self.assertEqual(
            "".join(e.text for e in first if isinstance(e, TextDelta)),
            "".join(e.text for e in second if isinstance(e, TextDelta)),
        )

    async def test_cancel(self) -> None:
        """Cancelling leaves nothing behind."""
        llm: ChatModel = self.make()
        await self.cancelled(self.start(collect(llm.reply(MESSAGES, CALL))))

    async def test_close_unread(self) -> None:
        """A generator closed before its first event never asked."""
        llm: ChatModel = self.make()
        await llm.reply(MESSAGES, CALL).aclose()
        await self.nothing_left()

    async def test_close_early(self) -> None:
        """Closed after the first event, it leaves nothing behind."""
        llm: ChatModel = self.make()

        async def one() -> object:
            async with aclosing(llm.reply(MESSAGES, CALL)) as events:
                return await anext(events)

        self.assertIsInstance(await self.finish(self.start(one())), TextDelta)
        await self.nothing_left()


class SynthesizerContract(ProviderContract):
    async def test_speech(self) -> None:
        """Whole samples, one format that we speak, and enough of it to be words."""
        tts: Synthesizer = self.make()
        speech = await self.finish(self.start(collect(tts.synthesize("Hello there.", CALL))))
        self.assertEqual(len({piece.media_format for piece in speech}), 1)
        codec = codec_for(speech[0].media_format)
        self.assertTrue(
            all(len(piece.payload) % codec.sample_width == 0 and piece.payload for piece in speech)
        )
        self.assertGreater(codec.duration_ms(b"".join(piece.payload for piece in speech)), 100)

    async def test_nothing_to_say(self) -> None:
        """No words, no audio, no request."""
        tts: Synthesizer = self.make()
        for text in ("", "  \n"):
            self.assertEqual(await self.finish(self.start(collect(tts.synthesize(text, CALL)))), [])
        await self.nothing_left()

    async def test_cancel(self) -> None:
        """Cancelling leaves nothing behind."""
        tts: Synthesizer = self.make()
        await self.cancelled(self.start(collect(tts.synthesize("Hello there.", CALL))))

    async def test_close_early(self) -> None:
        """Closed after the first piece, it leaves nothing behind."""
        tts: Synthesizer = self.make()

        async def one() -> object:
            async with aclosing(tts.synthesize("Hello there, this is a longer sentence.", CALL)) as speech:
                return await anext(speech)

        self.assertIsInstance(await self.finish(self.start(one())), Speech)
        await self.nothing_left()
