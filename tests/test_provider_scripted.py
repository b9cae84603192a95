"""The scripted providers: they keep the contract, and do what they are told."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.provider_contract import (
    CALL,
    MESSAGES,
    ChatModelContract,
    SynthesizerContract,
    TranscriberContract,
    collect,
    utterance,
)
from voxray.frames import EndCall, Message, PressKeys, TextDelta, Transfer
from voxray.providers.scripted import (
    REMEMBERED,
    ScriptedChat,
    ScriptedTranscriber,
    ToneSynthesizer,
    tone_hz,
)
from voxray.testing import CannedModel

T = TypeVar("T")


class ScriptedTestCase(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    async def finish(self, work: Deferred[T]) -> T:
        for _ in range(1000):
            if work.called:
                break
            self.clock.advance(0.01)
        return await work

    async def nothing_left(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])


class TranscriberTests(ScriptedTestCase, TranscriberContract):
    def make(self) -> ScriptedTranscriber:
        return ScriptedTranscriber(self.clock, ["one", "two"])

    async def test_answers(self) -> None:
        """In turn, the last again and again; silence is nothing and uses up none; the delay is kept."""
        stt = self.make()
        said = []
        for level in (0.2, 0.0005, 0.2, 0.2):
            work = ensureDeferred(stt.transcribe(utterance(level=level), CALL))
            self.clock.advance(0.19)
            self.assertFalse(work.called)
            said.append((await self.finish(work)).text)
        self.assertEqual(said, ["one", "", "two", "two"])
        self.assertEqual(len(stt.heard), 4)

    async def test_no_answers(self) -> None:
        """Without answers it says how long the caller spoke."""
        stt = ScriptedTranscriber(self.clock, delay_secs=0)
        self.assertEqual((await stt.transcribe(utterance(1500), CALL)).text, "spoke for 1.5 seconds")


class ChatTests(ScriptedTestCase, ChatModelContract):
    def make(self) -> ScriptedChat:
        return ScriptedChat(self.clock, ["Good day to you."])

    async def test_pace(self) -> None:
        """The first token after its delay, the others after theirs."""
        work = ensureDeferred(collect(self.make().reply(MESSAGES, CALL)))
        times = 0.2 + 3 * 0.01
        self.clock.pump([0.2, 0.01, 0.01])
        self.assertFalse(work.called)
        self.clock.advance(0.01)
        self.assertEqual(
            [e.text for e in await work if isinstance(e, TextDelta)], ["Good", " day", " to", " you."]
        )
        self.assertAlmostEqual(self.clock.seconds(), times)

    async def test_end_call_and_echo(self) -> None:
        """A reply may do what a model may; without replies the caller is repeated; what was asked is kept."""
        llm = CannedModel(self.clock, [["Bye.", EndCall()]], first_token_secs=0, token_secs=0)
        self.assertEqual(await collect(llm.reply(MESSAGES, CALL)), [TextDelta("Bye."), EndCall()])
        self.assertEqual(llm.asked, [list(MESSAGES)])
        parts = ["One ", PressKeys("1"), Transfer("sales")]
        llm = CannedModel(self.clock, [parts], first_token_secs=0, token_secs=0)
        events = await collect(llm.reply(MESSAGES, CALL))
        self.assertEqual(events[-2:], [PressKeys("1"), Transfer("sales")])
        echo = CannedModel(self.clock, first_token_secs=0, token_secs=0)
        events = await collect(echo.reply(MESSAGES, CALL))
        self.assertEqual("".join(e.text for e in events if isinstance(e, TextDelta)), "You said: Hello?.")


class SynthesizerTests(ScriptedTestCase, SynthesizerContract):
    def make(self) -> ToneSynthesizer:
        return ToneSynthesizer(self.clock)

    async def test_tone(self) -> None:
        """A word is its own tone, of a length that follows from its letters, without a click."""
        tts = ToneSynthesizer(self.clock, rate_hz=8000, delay_secs=0)
        speech = await collect(tts.synthesize("hello", CALL))
        samples = np.frombuffer(b"".join(s.payload for s in speech), "<i2").astype(float)
        self.assertEqual(len(samples), 8 * (5 * 60 + 40))
        tone = samples[: 8 * 300]
        peak = np.argmax(np.abs(np.fft.rfft(tone))) * 8000 / len(tone)
        self.assertLess(abs(peak - tone_hz("hello")), 5)
        self.assertLess(abs(tone[0]) + abs(tone[-1]), 100)
        self.assertEqual(tts.said, ["hello"])

    async def test_speed(self) -> None:
        """At a speed, blocks of 100 ms come that many times faster than real time."""
        tts = ToneSynthesizer(self.clock, delay_secs=0.1, speed=5.0)
        work = ensureDeferred(collect(tts.synthesize("abcde", CALL)))  # 340 ms: four blocks
        self.clock.pump([0.1, 0.02, 0.02])
        self.assertFalse(work.called)
        self.clock.advance(0.02)
        self.assertEqual(len(await work), 4)


class MemoryTests(SynchronousTestCase):
    def test_they_do_not_remember_for_ever(self) -> None:
        """A daemon on scripted providers keeps the last of what it was asked, not all of it."""
        clock = Clock()
        chat = ScriptedChat(clock, ["Yes."])
        for i in range(3 * REMEMBERED):
            Deferred.fromCoroutine(collect(chat.reply([Message("user", str(i))], CALL)))
            clock.pump([0.2] * 3)
        self.assertEqual([asked[0].text for asked in chat.asked][:: REMEMBERED - 1], ["200", "299"])
