"""The one answer at a time: a reply or a fixed phrase being made, spoken and heard; and its end.

An answer ends in exactly one of three ways: heard to its end (`said`), cut short (`cut`), or failed
(`failed`); what there was of it by then is heard first. Cutting it cancels the stages, drops the queue, sends
`clear` and bumps the generation, all in one reactor turn.
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
from voxray.frames import Sequel


@dataclass(frozen=True, slots=True)
class Cut:
    """What was cut off, kept until we know whether the caller meant it."""

    heard: str
    unheard: str
    then: Sequel | None
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
        said: Callable[[str, Sequel | None], None],
        failed: Callable[[str, Sequel | None], None],
    ) -> None:
        """`said(words, then)`: heard to its end. `failed(words, then)`: only these were heard."""
        self._pipeline, self._mouth, self._conversation = pipeline, mouth, conversation
        self._phrases, self._clock = phrases, clock
        self._on_said, self._on_failed = said, failed
        self._running: Deferred[None] | None = None
        self._feed = SentenceFeed(clock)  # of what is being said
        self._apologising = False

    @property
    def busy(self) -> bool:
        return self._running is not None

    @property
    def pressing(self) -> bool:
        """Keys are being pressed in the midst of it, pauses and all."""
        return self.busy and self._feed.pressing

    def reply(self, times: TurnTimes) -> None:
        """The model answers the conversation as it stands."""
        feed = self._feed = SentenceFeed(self._clock)
        self._apologising = False
        self._start(self._reply(feed, times))

    def say(self, text: str, then: Sequel | None) -> None:
        """A phrase of our own, from the book if it is there."""
        feed = self._feed = SentenceFeed(self._clock, then)
        self._apologising = False
        self._start(self._say(text, feed))

    def apologise(self, text: str, then: Sequel | None) -> None:
        """Something failed: says so without asking any vendor."""
        feed = self._feed = SentenceFeed(self._clock, then)
        self._apologising = True
        payload = self._phrases.get_or_beep(text) if text else b""
        self._start(self._say_payload(text, payload, feed))

    def give_up(self) -> None:
        """It has taken too long."""
        text = "call {call_id}: a reply failed: it was not there in time"
        self.log.warn(text, call_id=self._pipeline.call_id)
        cut = self.cut()
        self._on_failed(cut.heard, cut.then)

    def cut(self) -> Cut:
        """Stops at once, whatever it was doing; the conversation gets what was heard."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        heard, unheard = self._mouth.silence()
        self._remember(heard)
        return Cut(heard, unheard, self._feed.then, self._clock.seconds())

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
            await self._spoken(speak, reply)
        finally:
            abandon(reply)
            abandon(speak)
        await self._heard_out(feed)

    async def _spoken(self, speak: Deferred[None], reply: Deferred[None] | None = None) -> None:
        """Raises what `speak` fails with, once what there is was heard."""
        try:
            await speak
        except ProviderError:
            if reply is not None:
                abandon(reply)
            self._mouth.finish()
            await self._mouth.played()
            raise

    async def _say(self, text: str, feed: SentenceFeed) -> None:
        if (payload := self._phrases.get(text)) is not None:
            await self._say_payload(text, payload, feed)
            return
        if text:
            feed.put(text)
            feed.end()
            await self._spoken(self._pipeline.speak(feed, TurnTimes()))
        await self._heard_out(feed)

    async def _say_payload(self, text: str, payload: bytes, feed: SentenceFeed) -> None:
        self._mouth.say(text, payload)
        await self._heard_out(feed)

    async def _heard_out(self, feed: SentenceFeed) -> None:
        await self._mouth.played()
        self._running = None
        said = self._mouth.close_reply()
        self._remember(said)
        self._on_said(said, feed.then)

    def _remember(self, said: str) -> None:
        """The model shall know what it said and did."""
        self._conversation.agent_said(said)
        pressed, self._feed.pressed = self._feed.pressed, []
        for digits in pressed:
            self._conversation.agent_pressed(digits)

    def _failed(self, failure: Failure, running: Deferred[None]) -> None:
        if isinstance(failure.value, CancelledError) or running is not self._running:
            return
        if isinstance(failure.value, ProviderError):
            text, error = "call {call_id}: a reply failed: {error}", failure.getErrorMessage()
            self.log.warn(text, call_id=self._pipeline.call_id, error=error)
            self._running = None
            self._remember(heard := self._mouth.leave_off())
        else:
            self.log.failure("call {call_id}: a reply failed", failure, call_id=self._pipeline.call_id)
            heard = self.cut().heard
        if self._apologising:  # to apologise for that would fail in the same way
            self._on_said(heard, self._feed.then)
        else:
            self._on_failed(heard, self._feed.then)


def abandon(stage: Deferred[Any]) -> None:
    """Cancels a stage whose outcome nobody will look at; what went wrong in it was told elsewhere."""
    stage.addErrback(lambda failure: None)
    stage.cancel()
