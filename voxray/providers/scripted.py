"""Providers without a vendor: canned words, a tone for a voice. For tests and dry runs.

Everything is decided by what they are given; delays are the injected clock's.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from twisted.internet.task import deferLater

from voxray.audio.codec import codec_for
from voxray.frames import (
    CallInfo,
    Encoding,
    MediaFormat,
    Message,
    ReplyEvent,
    Speech,
    TextDelta,
    Transcript,
    Utterance,
)
from voxray.interfaces import Clock
from voxray.providers.offers import SCRIPTED_MODEL, TONES

T = TypeVar("T")
SILENT_LEVEL = 0.003  # linear RMS; a quiet telephone line is below
REMEMBERED = 100
_MS_PER_LETTER = 60
_MS_BETWEEN_WORDS = 40
_BLOCK_MS = 100
_FADE_MS = 4


class _Scripted:
    """Starts at once and holds nothing."""

    name = "scripted"
    model = SCRIPTED_MODEL

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def start(self) -> None:
        """Nothing to load."""

    async def warm_up(self) -> None:
        """Nothing to open."""

    async def stop(self) -> None:
        """Nothing to release."""

    async def _wait(self, secs: float) -> None:
        if secs > 0:
            await deferLater(cast(Any, self._clock), secs)


class ScriptedTranscriber(_Scripted):
    """Hears what it is told to: `answers` in turn, the last one again and again.

    Without answers it says how long the caller spoke ("spoke for 1.5 seconds"); silence is an empty
    transcript either way and uses up no answer.
    """

    def __init__(self, clock: Clock, answers: Sequence[str] = (), *, delay_secs: float = 0.2) -> None:
        super().__init__(clock)
        self._answers = list(answers)
        self._delay_secs = delay_secs
        self.heard: list[Utterance] = []

    async def transcribe(self, utterance: Utterance, call: CallInfo) -> Transcript:
        await self._wait(self._delay_secs)
        _remember(self.heard, utterance)
        samples = codec_for(utterance.media_format).to_float(utterance.payload)
        if not samples.size or float(np.sqrt(np.mean(samples**2))) < SILENT_LEVEL:
            return Transcript("")
        if not self._answers:
            return Transcript(f"spoke for {(utterance.end_ms - utterance.start_ms) / 1000:.1f} seconds")
        return Transcript(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])


class ScriptedChat(_Scripted):
    """Replies from a list, a word at a time, the last one again and again.

    A reply is text, or pieces of text and other events. Without replies it repeats the caller.
    """

    def __init__(
        self,
        clock: Clock,
        replies: Sequence[str | Sequence[str | ReplyEvent]] = (),
        *,
        first_token_secs: float = 0.2,
        token_secs: float = 0.01,
    ) -> None:
        super().__init__(clock)
        self._replies = list(replies)
        self._first_token_secs = first_token_secs
        self._token_secs = token_secs
        self.asked: list[list[Message]] = []

    async def reply(self, messages: Sequence[Message], call: CallInfo) -> AsyncGenerator[ReplyEvent, None]:
        _remember(self.asked, list(messages))
        reply = self._next(messages)
        pause = self._first_token_secs
        for part in [reply] if isinstance(reply, str) else reply:
            if not isinstance(part, str):
                yield part
                continue
            for token in tokens_of(part):
                await self._wait(pause)
                pause = self._token_secs
                yield TextDelta(token)

    def _next(self, messages: Sequence[Message]) -> str | Sequence[str | ReplyEvent]:
        if not self._replies:
            said = next((m.text for m in reversed(messages) if m.role == "user"), "nothing")
            return f"You said: {said}."
        return self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]


class ToneSynthesizer(_Scripted):
    """A tone for every word: its pitch from the word's letters, its length from their number."""

    def __init__(
        self, clock: Clock, *, rate_hz: int = TONES.rate_hz, delay_secs: float = 0.1, speed: float = 0.0
    ) -> None:
        """`speed` times real time is how fast audio comes after the first block; 0: all at once."""
        super().__init__(clock)
        self._format = MediaFormat(Encoding.L16, rate_hz)
        self._delay_secs = delay_secs
        self._block_secs = _BLOCK_MS / 1000 / speed if speed else 0.0
        self.said: list[str] = []

    async def synthesize(self, text: str, call: CallInfo) -> AsyncGenerator[Speech, None]:
        _remember(self.said, text)
        rate_hz = self._format.rate_hz
        words = [tone_of(word, rate_hz) for word in text.split()]
        if not words:
            return
        audio = codec_for(self._format).encode(np.concatenate(words))
        await self._wait(self._delay_secs)
        step = codec_for(self._format).bytes_in(_BLOCK_MS)
        for at in range(0, len(audio), step):
            if at:
                await self._wait(self._block_secs)
            yield Speech(audio[at : at + step], self._format)


def _remember(kept: list[T], item: T) -> None:
    """For tests to look at; bounded, because a daemon may run on these for days."""
    kept.append(item)
    del kept[:-REMEMBERED]


def tokens_of(text: str) -> list[str]:
    """Words as a model streams them: each but the first with the space before it."""
    words = text.split(" ")
    return [word if i == 0 else f" {word}" for i, word in enumerate(words)]


def tone_hz(word: str) -> float:
    """300 to 1,500 Hz, the same for the same word."""
    return 300.0 + zlib.crc32(word.lower().encode()) % 1201


def tone_of(word: str, rate_hz: int) -> NDArray[np.int16]:
    """One word's tone and the pause after it, without clicks."""
    count = rate_hz * _MS_PER_LETTER * len(word) // 1000
    wave = 8000.0 * np.sin(2 * np.pi * tone_hz(word) / rate_hz * np.arange(count))
    fade = np.minimum(1.0, np.arange(count) / (rate_hz * _FADE_MS / 1000))
    pause = np.zeros(rate_hz * _MS_BETWEEN_WORDS // 1000, np.int16)
    return np.concatenate(((wave * fade * fade[::-1]).astype(np.int16), pause))
