"""One turn's stages: transcribe, reply, speak. Each returns a Deferred made from a coroutine, and cancels.

`reply` puts sentences, and keys to be pressed between them, into a feed while the model still talks; `speak`
takes them out and hands their audio to the mouth. Cancelling a stage closes the vendor's stream at once:
generators are consumed under `aclosing`, because Twisted installs no hooks that would do it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxray.call.mouth import Mouth
from voxray.call.times import TurnTimes
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import (
    MAX_KEYS,
    CallInfo,
    EndCall,
    Message,
    PressKeys,
    Sequel,
    Speech,
    TextDelta,
    Transcript,
    Transfer,
    Utterance,
    keys_of,
)
from voxray.interfaces import Providers
from voxray.metrics import Metrics
from voxray.turns.sentences import SentenceSplitter


class SentenceFeed:
    """Sentences on their way from the model to the mouth; ends with None or a failure.

    Hands over in a reactor turn of its own, so that neither stage ever runs (or cancels the other) inside
    the other.
    """

    def __init__(self, clock: IReactorTime, then: Sequel | None = None) -> None:
        self._clock = clock
        self._items: deque[str | PressKeys | BaseException | None] = deque()
        self._waiting: Deferred[None] | None = None
        self.then = then
        """What is done once all of it was heard."""
        self.pressed: list[str] = []
        """The keys that were pressed on the way."""
        self.pressing = False

    def put(self, item: str | PressKeys) -> None:
        self._add(item)

    def follow(self, then: Sequel) -> None:
        """What the model wants done afterwards: nobody is hung up on who was promised a transfer."""
        if not isinstance(self.then, Transfer):
            self.then = then

    def end(self) -> None:
        self._add(None)

    def fail(self, error: BaseException) -> None:
        self._add(error)

    async def get(self) -> str | PressKeys | None:
        """The next sentence, or the keys between two; None after the last. Raises what `fail` was told."""
        if not self._items:
            self._waiting = Deferred(self._given_up)
            await self._waiting
        item = self._items.popleft()
        if isinstance(item, BaseException):
            raise item
        return item

    def _add(self, item: str | PressKeys | BaseException | None) -> None:
        self._items.append(item)
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._clock.callLater(0, self._hand_over, waiting)

    def _hand_over(self, waiting: Deferred[None]) -> None:
        if not waiting.called:  # it may have been cancelled meanwhile
            waiting.callback(None)

    def _given_up(self, waiting: Deferred[None]) -> None:
        self._waiting = None


class Pipeline:
    """The stages of one call."""

    log = Logger()

    def __init__(
        self,
        providers: Providers,
        mouth: Mouth,
        call: CallInfo,
        clock: IReactorTime,
        metrics: Metrics,
        press: Callable[[str], Awaitable[bool]],
    ) -> None:
        """`press(digits)` presses keys once what was said was heard, and says whether that went well."""
        self._providers = providers
        self._press = press
        self._mouth = mouth
        self._call = call
        self._clock = clock
        self._metrics = metrics

    @property
    def call_id(self) -> str:
        return self._call.call_id

    def transcribe(self, utterance: Utterance, times: TurnTimes) -> Deferred[Transcript]:
        """What was said. Fails with ProviderError."""
        return Deferred.fromCoroutine(self._transcribe(utterance, times))

    def reply(self, messages: list[Message], feed: SentenceFeed, times: TurnTimes) -> Deferred[None]:
        """Fills the feed with sentences; a failure goes into the feed too, so that `speak` sees it."""
        return Deferred.fromCoroutine(self._reply(messages, feed, times))

    def speak(self, feed: SentenceFeed, times: TurnTimes) -> Deferred[None]:
        """Speaks what the feed brings; done when all audio is with the pacer. Fails as `reply` did."""
        return Deferred.fromCoroutine(self._speak(feed, times))

    def transcribed(self, times: TurnTimes) -> None:
        """All of a turn's words are there: how long after the last of them was spoken is measured."""
        if times.speech_end and times.stt_done:
            lag = self._metrics.stt_lag.labels("ingress", self._providers.stt.model)
            lag.observe(max(0.0, times.stt_done - times.speech_end))

    # -- the coroutines ------------------------------------------------------
    async def _transcribe(self, utterance: Utterance, times: TurnTimes) -> Transcript:
        stt, m = self._providers.stt, self._metrics
        times.stt_asked = begun = self._clock.seconds()
        try:
            transcript = await stt.transcribe(utterance, self._call)
        except ProviderError as error:
            m.stt_errors.labels(error.kind.value, "stt", stt.model).inc()
            m.stt_latency.labels("stt", "error", stt.model).observe(self._clock.seconds() - begun)
            raise
        times.stt_done = now = self._clock.seconds()
        m.stt_first.labels("stt", "success", stt.model).observe(now - begun)  # batch: first is last
        m.stt_latency.labels("stt", "success", stt.model).observe(now - begun)
        return transcript

    async def _reply(self, messages: list[Message], feed: SentenceFeed, times: TurnTimes) -> None:
        llm, m = self._providers.llm, self._metrics
        times.llm_asked = begun = self._clock.seconds()
        try:
            await self._stream_reply(messages, feed, times)
        except ProviderError as error:
            m.llm_errors.labels(error.kind.value, "llm", llm.model).inc()
            m.llm_latency.labels("llm", "error", llm.model).observe(self._clock.seconds() - begun)
            feed.fail(error)
            return
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - `speak` raises it again, where somebody looks
            feed.fail(error)
            return
        m.llm_latency.labels("llm", "success", llm.model).observe(self._clock.seconds() - begun)
        feed.end()

    async def _stream_reply(self, messages: list[Message], feed: SentenceFeed, times: TurnTimes) -> None:
        llm = self._providers.llm
        splitter = SentenceSplitter()
        gaps = self._metrics.llm_gap.labels("llm", llm.model)
        last, keys_left = 0.0, MAX_KEYS
        async with aclosing(llm.reply(messages, self._call)) as events:
            async for event in events:
                if isinstance(event, PressKeys):
                    self._put_all(splitter.flush(), feed, times)
                    keys_left -= self._put_keys(event.digits, keys_left, feed)
                    continue
                if not isinstance(event, TextDelta):
                    # what a model calls its reason is no reason of ours
                    feed.follow(EndCall() if isinstance(event, EndCall) else event)
                    continue
                now = self._clock.seconds()
                if not last:
                    times.llm_first = now
                    self._metrics.llm_first.labels("llm", "success", llm.model).observe(now - times.llm_asked)
                else:
                    gaps.observe(now - last)
                last = now
                self._put_all(splitter.feed(event.text), feed, times)
        self._put_all(splitter.flush(), feed, times)

    def _put_keys(self, digits: str, most: int, feed: SentenceFeed) -> int:
        """How many were taken: none of an order that is no keys, or too many."""
        keys = keys_of(digits)
        if keys and len(keys) <= most:
            feed.put(PressKeys(keys))
            return len(keys)
        text = "call {call_id}: the model wants {count} keys pressed that are none, or too many; ignored"
        self.log.warn(text, call_id=self._call.call_id, count=len(digits))
        return 0

    def _put_all(self, sentences: list[str], feed: SentenceFeed, times: TurnTimes) -> None:
        for sentence in sentences:
            if not times.sentence:
                times.sentence = self._clock.seconds()
            feed.put(sentence)

    async def _speak(self, feed: SentenceFeed, times: TurnTimes) -> None:
        while (item := await feed.get()) is not None:
            if isinstance(item, str):
                await self._speak_sentence(item, times)
            else:
                feed.pressing = True
                if await self._press(item.digits):
                    feed.pressed.append(item.digits)
                feed.pressing = False
        self._mouth.finish()

    async def _speak_sentence(self, sentence: str, times: TurnTimes) -> None:
        tts, m, mouth = self._providers.tts, self._metrics, self._mouth
        took = _Synthesis(begun := self._clock.seconds())
        times.tts_asked = times.tts_asked or begun
        mouth.begin(sentence)
        try:
            async with aclosing(tts.synthesize(sentence, self._call)) as pieces:
                async for speech in pieces:
                    now = self._clock.seconds()
                    if took.first is None:
                        times.tts_first = times.tts_first or now
                        m.tts_first.labels("tts", "success", tts.model).observe(now - begun)
                    took.piece(speech, now)
                    mouth.add(speech)
                    await mouth.room()
                    took.unread_secs += self._clock.seconds() - now
            if took.first is None:
                raise ProviderError(tts.name, ErrorKind.BAD_ANSWER, "no audio for a sentence")
        except ProviderError as error:
            m.tts_errors.labels(error.kind.value, "tts", tts.model).inc()
            m.tts_latency.labels("tts", "error", tts.model).observe(took.secs(self._clock.seconds()))
            mouth.break_off()
            raise
        mouth.end()
        m.tts_latency.labels("tts", "success", tts.model).observe(took.secs(self._clock.seconds()))
        m.tts_lag.labels("egress", tts.model).observe(took.lag_secs)


@dataclass(slots=True)
class _Synthesis:
    """One sentence's audio as it comes, against the clock."""

    begun: float
    first: float | None = None  # when the first piece was there
    audio_secs: float = 0.0
    lag_secs: float = 0.0  # the worst that the audio was behind being spoken without a break
    unread_secs: float = 0.0  # in which there was no room for more

    def piece(self, speech: Speech, now: float) -> None:
        if self.first is None:
            self.first = now
        self.lag_secs = max(self.lag_secs, now - self.first - self.audio_secs)
        self.audio_secs += len(speech.payload) / speech.media_format.bytes_per_ms / 1000

    def secs(self, now: float) -> float:
        """What the vendor took of the time until `now`."""
        return now - self.begun - self.unread_secs
