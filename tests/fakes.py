"""Small stand-ins for the tests of `voxray.call`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from voxray.frames import (
    ULAW_8K,
    CallInfo,
    EndCall,
    Message,
    ReplyEvent,
    Speech,
    TextDelta,
    Transcript,
    Utterance,
)


@dataclass
class RecordingSink:
    """A `MediaSink` that remembers what went out, in order, and how much of it was audio."""

    sent: list[tuple[str, object]] = field(default_factory=list)
    closed: tuple[int, str] | None = None

    def send_audio(self, payload: bytes) -> None:
        self.sent.append(("audio", payload))

    def send_mark(self, name: str) -> None:
        self.sent.append(("mark", name))

    def send_clear(self) -> None:
        self.sent.append(("clear", None))

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = self.closed or (code, reason)

    @property
    def audio(self) -> bytes:
        return b"".join(p for kind, p in self.sent if kind == "audio" and isinstance(p, bytes))

    @property
    def marks(self) -> list[str]:
        return [str(name) for kind, name in self.sent if kind == "mark"]

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.sent]


class Stage:
    """What the three fake providers share."""

    name = "fake"
    model = "fake-1"

    async def start(self) -> None: ...

    async def warm_up(self) -> None: ...

    async def stop(self) -> None: ...


class FakeTranscriber(Stage):
    """Answers when told to: `asked` holds a Deferred for each utterance."""

    def __init__(self) -> None:
        self.asked: list[tuple[Utterance, Deferred[Transcript]]] = []
        self.cancelled = 0

    async def transcribe(self, utterance: Utterance, call: CallInfo) -> Transcript:
        def cancelled(_: Deferred[Transcript]) -> None:
            self.cancelled += 1

        waiting = Deferred[Transcript](cancelled)
        self.asked.append((utterance, waiting))
        return await waiting

    def answer(self, text: str) -> None:
        """The oldest open question."""
        waiting = next(d for _, d in self.asked if not d.called)
        waiting.callback(Transcript(text))

    def fail(self, error: Exception) -> None:
        next(d for _, d in self.asked if not d.called).errback(error)


class FakeModel(Stage):
    """Replies from a list; a reply is events, exceptions to raise, or Deferreds to wait for."""

    def __init__(self, *replies: Sequence[object]) -> None:
        self.replies = list(replies)
        self.asked: list[list[Message]] = []
        self.closed = 0

    async def reply(self, messages: Sequence[Message], call: CallInfo) -> AsyncGenerator[ReplyEvent, None]:
        self.asked.append(list(messages))
        try:
            for step in self.replies.pop(0) if self.replies else []:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, Deferred):
                    await step
                else:
                    assert isinstance(step, TextDelta | EndCall)
                    yield step
        finally:
            self.closed += 1


class FakeSynthesizer(Stage):
    """100 ms of audio a word, in the wire's own codec, one piece a word; the bytes tell the words apart."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.closed = 0
        self.gate: Deferred[None] | None = None
        self.error: Exception | None = None

    async def synthesize(self, text: str, call: CallInfo) -> AsyncGenerator[Speech, None]:
        self.said.append(text)
        try:
            if self.error is not None:
                raise self.error
            for word in text.split():
                if self.gate is not None:
                    await self.gate
                yield Speech(bytes([len(word)]) * 800, ULAW_8K)
        finally:
            self.closed += 1
