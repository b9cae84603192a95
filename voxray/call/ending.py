"""How a call that we end is ended: its last words are heard, the carrier hangs up, or we close the socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxray.call.mouth import Mouth
from voxray.errors import CarrierError
from voxray.frames import CallInfo
from voxray.interfaces import CallControl, MediaSink
from voxray.metrics import Metrics

PLAY_OUT_MAX_SECS = 15.0
"""Last words longer than this are cut off by the hang-up."""

STOP_AFTER_HANGUP_SECS = 5.0
"""The carrier's `stop` follows a REST hang-up; if it does not, we close the socket."""


class Ending:
    """One call's end. Nothing of it outlives `stop`."""

    log = Logger()

    def __init__(
        self,
        *,
        call: CallInfo,
        mouth: Mouth,
        sink: MediaSink,
        control: CallControl | None,
        clock: IReactorTime,
        metrics: Metrics,
    ) -> None:
        self._call, self._mouth, self._sink = call, mouth, sink
        self._control, self._clock, self._metrics = control, clock, metrics
        self._working: list[Deferred[Any]] = []
        self._timers: list[IDelayedCall] = []

    def play_out(self, then: Callable[[], None]) -> None:
        """`then` is called when the last words were heard, or have taken too long (perhaps twice)."""
        self._later(PLAY_OUT_MAX_SECS, then)
        self._start(Deferred.fromCoroutine(self._mouth.heard_out())).addCallback(lambda _: then())

    def hang_up(self) -> None:
        """Through the carrier's REST API where we have its credentials; else the socket is closed."""
        self._start(Deferred.fromCoroutine(self._hang_up()))

    def stop(self) -> None:
        """The call is over."""
        for working in self._working:
            working.cancel()
        for timer in self._timers:
            if timer.active():
                timer.cancel()

    async def _hang_up(self) -> None:
        outcome = await self._ask_carrier() if self._control is not None else "closed"
        self._metrics.hangups.labels(outcome).inc()
        if outcome == "rest":  # the carrier's `stop` ends the call; make sure of it
            self._later(STOP_AFTER_HANGUP_SECS, self._sink.close, 1000, "hang-up")
        else:
            self._sink.close(1000, "hang-up")

    async def _ask_carrier(self) -> str:
        assert self._control is not None
        try:
            await self._control.hang_up(self._call.call_sid)
        except CarrierError as error:
            text = "call {call_id}: the carrier would not hang up: {error}"
            self.log.warn(text, call_id=self._call.call_id, error=str(error))
            return "failed"
        return "rest"

    def _later(self, secs: float, action: Callable[..., None], *arguments: object) -> None:
        self._timers.append(self._clock.callLater(secs, action, *arguments))

    def _start(self, work: Deferred[None]) -> Deferred[None]:
        """Runs one step; a fault of ours in it closes the socket rather than keep the caller waiting."""

        def failed(failure: Failure) -> None:
            if not isinstance(failure.value, CancelledError):
                text = "call {call_id}: ending it failed"
                self.log.failure(text, failure, call_id=self._call.call_id)
                self._sink.close(1011, "internal error")

        step = Deferred[None](lambda _: work.cancel())
        self._working.append(step)
        work.chainDeferred(step)
        step.addErrback(failed)
        return step
