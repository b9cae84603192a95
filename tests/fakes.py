"""Small stand-ins for the tests of `voxray.call`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from voxray.frames import ULAW_8K, CallInfo, Message, ReplyEvent, Speech, Transcript, Utterance
from voxray.interfaces import Ability, Dialed, DialOrder

EVERYTHING = (Ability.HANG_UP, Ability.TRANSFER, Ability.PRESS_KEYS)


@dataclass
class RecordingSink:
    """A `MediaSink` that remembers what went out, in order, and how much of it was audio."""

    sent: list[tuple[str, object]] = field(default_factory=list)
    closed: tuple[int, str] | None = None
    presses_keys: bool = False
    """This carrier's wire has a message for keys."""

    def send_audio(self, payload: bytes) -> None:
        self.sent.append(("audio", payload))

    def send_mark(self, name: str) -> None:
        self.sent.append(("mark", name))

    def send_clear(self) -> None:
        self.sent.append(("clear", None))

    def send_keys(self, digits: str) -> bool:
        if self.presses_keys:
            self.sent.append(("keys", digits))
        return self.presses_keys

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


class FakeControl:
    """A carrier's REST API: remembers what it was asked, fails with `error`, waits for `gate`."""

    def __init__(self, error: Exception | None = None, abilities: Iterable[Ability] = EVERYTHING) -> None:
        self.abilities = frozenset(abilities)
        self.hung_up: list[str] = []
        self.transferred: list[tuple[str, str, str]] = []
        self.pressed: list[tuple[str, str]] = []
        self.error = error
        self.gate: Deferred[None] | None = None

    async def hang_up(self, call_sid: str) -> None:
        self.hung_up.append(call_sid)
        await self._answer()

    async def transfer(self, call_sid: str, to: str, document_url: str) -> None:
        self.transferred.append((call_sid, to, document_url))
        await self._answer()

    async def press_keys(self, call_sid: str, digits: str) -> None:
        self.pressed.append((call_sid, digits))
        await self._answer()

    async def dial(self, order: DialOrder) -> Dialed:
        raise NotImplementedError

    async def cancel(self, reference: str) -> None:
        raise NotImplementedError

    async def _answer(self) -> None:
        if self.gate is not None:
            await self.gate
        if self.error is not None:
            raise self.error


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
                    assert isinstance(step, ReplyEvent)
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
