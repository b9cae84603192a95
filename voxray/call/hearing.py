"""From utterances to words: one transcription at a time, in order, begun early where that saves a wait.

When speech pauses, the turn is probably over: transcribing at once hides the vendor's delay behind the
endpointer's wait, and tells the endpointer whether the words sound finished. If the caller goes on, the early
transcription is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxray.call.answering import abandon
from voxray.call.inlet import Uploads
from voxray.call.pipeline import Pipeline
from voxray.call.times import TurnTimes
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import Transcript, Utterance


@dataclass(slots=True)
class _Early:
    end_ms: float
    times: TurnTimes
    transcript: Deferred[Transcript]


class Hearing:
    """One call's transcriptions."""

    log = Logger()

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        uploads: Uploads,
        eager: bool,
        understood: Callable[[str, TurnTimes], None],
        not_understood: Callable[[], None],
        hint: Callable[[str], None],
    ) -> None:
        """`understood(text, times)` for every turn ("": no words); `hint(text)` for early ones."""
        self._pipeline, self._uploads, self._eager = pipeline, uploads, eager
        self._understood, self._not_understood, self._hint = understood, not_understood, hint
        self._running: set[Deferred[Any]] = set()
        self._lock = DeferredLock()
        self._early: _Early | None = None
        self._pieces: list[Deferred[Transcript]] = []

    @property
    def busy(self) -> bool:
        """A turn is being transcribed."""
        return bool(self._running)

    def paused(self, utterance: Utterance) -> None:
        """Speech stopped for a moment: find out what was said so far."""
        self.resumed()
        if not self._eager:
            return
        times = TurnTimes()
        early = self._early = _Early(utterance.end_ms, times, self._transcribe(utterance, times))

        def known(result: Transcript | Failure) -> Transcript | Failure:
            if isinstance(result, Transcript) and self._early is early:
                self._hint(result.text)
            return result

        early.transcript.addBoth(known)

    def resumed(self) -> None:
        """Speech goes on: what was begun early is of no use."""
        early, self._early = self._early, None
        if early is not None:
            abandon(early.transcript)

    def piece(self, utterance: Utterance) -> None:
        """A long turn goes on; this much of it is complete."""
        self.resumed()
        self._pieces.append(self._transcribe(utterance, TurnTimes()))

    def turn_over(self, utterance: Utterance, times: TurnTimes) -> None:
        """The turn's audio is complete; `utterance` is what no piece had."""
        early, self._early = self._early, None
        transcript: Deferred[Transcript] | None = None
        if early is not None and early.end_ms == utterance.end_ms:
            transcript = early.transcript
            early.times.speech_end, early.times.turn_end = times.speech_end, times.turn_end
            times = early.times
        elif early is not None:
            abandon(early.transcript)
        pieces, self._pieces = self._pieces, []
        if transcript is None and not (pieces and utterance.start_ms == utterance.end_ms):
            transcript = self._transcribe(utterance, times)
        parts = pieces if transcript is None else [*pieces, transcript]
        self._keep(Deferred.fromCoroutine(self._hear(parts, times)))

    def stop(self) -> None:
        """What was said and is not understood yet never will be."""
        self.resumed()
        pieces, self._pieces = self._pieces, []
        for waiting in pieces:
            abandon(waiting)
        for running in tuple(self._running):
            running.cancel()

    def _transcribe(self, utterance: Utterance, times: TurnTimes) -> Deferred[Transcript]:
        """Unless too much waits already."""
        waiting_ms = self._uploads.begin(utterance)
        if waiting_ms is None:
            return fail(
                ProviderError("transcriber", ErrorKind.OVERLOADED, "too much of the call waits for it")
            )

        def done(result: Transcript | Failure) -> Transcript | Failure:
            self._uploads.end(waiting_ms)
            return result

        return self._pipeline.transcribe(utterance, times).addBoth(done)

    async def _hear(self, parts: list[Deferred[Transcript]], times: TurnTimes) -> None:
        """Turns are understood in the order in which they were spoken, whichever transcript comes first."""
        try:
            await self._lock.acquire()
            try:
                await self._understand(parts, times)
            finally:
                self._lock.release()  # the next turn is understood in here
        finally:
            for part in parts:
                abandon(part)

    async def _understand(self, parts: list[Deferred[Transcript]], times: TurnTimes) -> None:
        try:
            words = [(await part).text.strip() for part in parts]
        except ProviderError as error:
            text = "call {call_id}: a turn was not understood: {error}"
            self.log.warn(text, call_id=self._pipeline.call_id, error=str(error))
            self._not_understood()
        else:
            self._pipeline.transcribed(times)
            self._understood(" ".join(word for word in words if word), times)

    def _keep(self, running: Deferred[None]) -> None:
        self._running.add(running)

        def done(result: object) -> None:
            self._running.discard(running)
            if isinstance(result, Failure) and not isinstance(result.value, CancelledError):
                self.log.failure("call {call_id}: a turn failed", result, call_id=self._pipeline.call_id)

        running.addBoth(done)
