"""The one answer at a time: a reply or a fixed phrase being made, spoken and heard; and its end.

An answer ends in exactly one of three ways: heard to its end (`said`), cut short (`cut`), or failed
(`failed`). Cutting it cancels the stages, drops the queue, sends `clear` and bumps the generation, all in
one reactor turn.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxray.call.conversation import Conversation
from voxray.call.mouth import Mouth
from voxray.call.phrases import Phrases
from voxray.call.pipeline import Pipeline, SentenceFeed
from voxray.call.times import TurnTimes
from voxray.errors import ProviderError
from voxray.frames import EndCall


@dataclass(frozen=True, slots=True)
class Cut:
    """What was cut off, kept until we know whether the caller meant it."""

    heard: str
    unheard: str
    end_call: EndCall | None
    at: float


class Answering:
    """What the agent is saying now, if anything."""

    log = Logger()

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        mouth: Mouth,
        conversation: Conversation,
        phrases: Phrases,
        clock: IReactorTime,
        said: Callable[[str, EndCall | None], None],
        failed: Callable[[EndCall | None], None],
    ) -> None:
        """`said(words, end_call)`: heard to its end. `failed(end_call)`: what was heard is kept."""
        self._pipeline, self._mouth, self._conversation = pipeline, mouth, conversation
        self._phrases, self._clock = phrases, clock
        self._on_said, self._on_failed = said, failed
        self._running: Deferred[None] | None = None
        self._end_call: Callable[[], EndCall | None] = lambda: None
        self._apologising = False

    @property
    def busy(self) -> bool:
        return self._running is not None

    def reply(self, times: TurnTimes) -> None:
        """The model answers the conversation as it stands."""
        feed = SentenceFeed(self._clock)
        self._end_call = lambda: feed.end_call
        self._apologising = False
        self._start(self._reply(feed, times))

    def say(self, text: str, then: EndCall | None) -> None:
        """A phrase of our own, from the book if it is there."""
        self._end_call = lambda: then
        self._apologising = False
        self._start(self._say(text, then))

    def apologise(self, text: str) -> None:
        """Something failed: says so without asking any vendor."""
        self._end_call = lambda: None
        self._apologising = True
        self._start(self._say_payload(text, self._phrases.get_or_beep(text), None))

    def cut(self) -> Cut:
        """Stops at once, whatever it was doing; the conversation gets what was heard."""
        end_call = self._end_call()
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        heard, unheard = self._mouth.silence()
        self._conversation.agent_said(heard)
        return Cut(heard, unheard, end_call, self._clock.seconds())

    # -- inside --------------------------------------------------------------
    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        # The coroutine runs at once, as far as it can: through to its end, for an empty phrase.
        self._running = placeholder = Deferred[None]()
        running = Deferred.fromCoroutine(work)
        if self._running is placeholder:
            self._running = running
        running.addErrback(self._failed, running)

    async def _reply(self, feed: SentenceFeed, times: TurnTimes) -> None:
        reply = self._pipeline.reply(list(self._conversation.messages()), feed, times)
        speak = self._pipeline.speak(feed, times)
        try:
            await speak
        finally:
            abandon(reply)
            abandon(speak)
        await self._heard_out(feed.end_call)

    async def _say(self, text: str, then: EndCall | None) -> None:
        if (payload := self._phrases.get(text)) is not None:
            await self._say_payload(text, payload, then)
            return
        if text:
            feed = SentenceFeed(self._clock)
            feed.put(text)
            feed.end()
            await self._pipeline.speak(feed, TurnTimes())
        await self._heard_out(then)

    async def _say_payload(self, text: str, payload: bytes, then: EndCall | None) -> None:
        self._mouth.say(text, payload)
        await self._heard_out(then)

    async def _heard_out(self, end_call: EndCall | None) -> None:
        await self._mouth.played()
        self._running = None
        said = self._mouth.close_reply()
        self._conversation.agent_said(said)
        self._on_said(said, end_call)

    def _failed(self, failure: Failure, running: Deferred[None]) -> None:
        if isinstance(failure.value, CancelledError) or running is not self._running:
            return
        if isinstance(failure.value, ProviderError):
            self.log.warn("a reply failed: {error}", error=failure.getErrorMessage())
        else:
            self.log.failure("a reply failed", failure)
        cut = self.cut()
        if self._apologising:  # to apologise for that would fail in the same way
            self._on_said(cut.heard, None)
        else:
            self._on_failed(cut.end_call)


def abandon(stage: Deferred[Any]) -> None:
    """Cancels a stage whose outcome nobody will look at; what went wrong in it was told elsewhere."""
    stage.addErrback(lambda failure: None)
    stage.cancel()
