"""How a call leaves us: its last words are heard, and the carrier hangs up or connects the caller elsewhere.

Without the carrier's REST API, or where the call's id was not vouched for, a hang-up closes the socket, and a
transfer is not possible (but where closing is how one transfers). Each is asked for once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxray.call.asking import able, why_not
from voxray.call.mouth import Mouth
from voxray.call.reasons import EndReason
from voxray.errors import CarrierError
from voxray.frames import CallInfo
from voxray.interfaces import Ability, CallControl, MediaSink
from voxray.metrics import Metrics

NORMAL, GOING_AWAY = 1000, 1001
"""Close codes: the call is over; the daemon is."""

PLAY_OUT_MAX_SECS = 15.0
"""Last words longer than this are cut off by the hang-up."""

STOP_AFTER_HANGUP_SECS = 5.0
"""The carrier's `stop` follows a REST hang-up; if it does not, we close the socket."""

STOP_AFTER_TRANSFER_SECS = 30.0
"""It follows a transfer too, when the carrier has fetched what to do instead."""

_BY_CARRIER = (EndReason.CALLER_HANGUP, EndReason.CLOSED)
"""How a stream that the carrier ends is told to us."""


class Outcome(Enum):
    """What became of a transfer; the values are metric labels."""

    REST = "rest"
    CLOSED = "closed"
    FAILED = "failed"  # the carrier refused, or did not answer
    IMPOSSIBLE = "impossible"  # it could not be asked
    UNKNOWN = "unknown"  # nobody of that name is in `transfers`


@dataclass(frozen=True, slots=True)
class Transfers:
    """Whom callers may be connected to."""

    numbers: Mapping[str, str]
    """By name."""
    url: Callable[[str, str], str]
    """(call_id, number) -> of the document that connects the one to the other."""


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
        transfers: Transfers,
        clock: IReactorTime,
        metrics: Metrics,
    ) -> None:
        self._call, self._mouth, self._sink = call, mouth, sink
        self._control, self._clock, self._metrics = control, clock, metrics
        self._transfers = transfers
        self._working: list[Deferred[Any]] = []
        self._timers: list[IDelayedCall] = []
        self.transferring = False
        """A transfer is asked for, or done: nobody ends the call but the carrier."""

    def play_out(self, then: Callable[[], None]) -> None:
        """`then` is called when the last words were heard, or have taken too long (perhaps twice)."""
        self._later(PLAY_OUT_MAX_SECS, then)
        self._start(Deferred.fromCoroutine(self._mouth.heard_out())).addCallback(lambda _: then())

    def hang_up(self, reason: str = "") -> None:
        """Through the carrier's REST API where it may be asked; else the socket is closed."""
        code = GOING_AWAY if reason == EndReason.DRAIN_FORCED else NORMAL
        self._start(Deferred.fromCoroutine(self._hang_up(code)))

    def transfer(self, to: str, transferred: Callable[[], None], refused: Callable[[], None]) -> None:
        """Connects the caller to the name `to`. One of the two is called, perhaps at once."""
        self.transferring = True
        self._start(Deferred.fromCoroutine(self._transfer(to, transferred, refused)))

    def why(self, reason: EndReason) -> EndReason:
        """Why the call ended, if its socket says `reason`: a stream may stop before we have our answer."""
        return EndReason.TRANSFERRED if self.transferring and reason in _BY_CARRIER else reason

    def stop(self) -> None:
        """The call is over."""
        for working in self._working:
            working.cancel()
        for timer in self._timers:
            if timer.active():
                timer.cancel()

    # -- hanging up ----------------------------------------------------------
    async def _hang_up(self, code: int) -> None:
        outcome = await self._ask_hang_up()
        self._metrics.hangups.labels(outcome).inc()
        if outcome == "rest":  # the carrier's `stop` ends the call; make sure of it
            self._later(STOP_AFTER_HANGUP_SECS, self._sink.close, code, "hang-up")
        else:
            self._sink.close(code, "hang-up")

    async def _ask_hang_up(self) -> str:
        control = self._control
        if control is None or why_not(control, self._call, Ability.HANG_UP):
            return "closed"
        try:
            await control.hang_up(self._call.call_sid)
        except CarrierError as error:
            text = "call {call_id}: the carrier would not hang up: {error}"
            self.log.warn(text, call_id=self._call.call_id, error=str(error))
            return "failed"
        return "rest"

    # -- transferring --------------------------------------------------------
    async def _transfer(self, to: str, transferred: Callable[[], None], refused: Callable[[], None]) -> None:
        outcome = await self._ask_transfer(to)
        self._metrics.transfers.labels(outcome.value).inc()
        if outcome in (Outcome.REST, Outcome.CLOSED):
            text = "call {call_id}: transferred to {to}"
            self.log.info(text, call_id=self._call.call_id, to=to)
            transferred()
        else:
            self.transferring = False
            refused()
        if outcome is Outcome.REST:  # the carrier's `stop` ends the call; make sure of it
            self._later(STOP_AFTER_TRANSFER_SECS, self._sink.close, 1000, EndReason.TRANSFERRED)
        elif outcome is Outcome.CLOSED:
            self._sink.close(1000, EndReason.TRANSFERRED)

    async def _ask_transfer(self, to: str) -> Outcome:
        number = self._transfers.numbers.get(to)
        if number is None:  # the name is the model's invention, or the caller's words: it is not logged
            self._warn("the model named nobody of `transfers`")
            return Outcome.UNKNOWN
        if able(self._control, Ability.CLOSING_TRANSFERS):
            return Outcome.CLOSED
        control, reason = self._control, why_not(self._control, self._call, Ability.TRANSFER)
        if control is None or reason:
            self._warn(f"no transfer: {reason}")
            return Outcome.IMPOSSIBLE
        url = self._transfers.url(self._call.call_id, number)
        try:
            await control.transfer(self._call.call_sid, number, url)
        except CarrierError as error:
            self._warn(f"no transfer: {error}")
            return Outcome.FAILED
        return Outcome.REST

    def _warn(self, problem: str) -> None:
        self.log.warn("call {call_id}: {problem}", call_id=self._call.call_id, problem=problem)

    # -- inside --------------------------------------------------------------
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
