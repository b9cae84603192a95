"""Placing calls: an order is checked for what we lack, given to the carrier, watched until it is answered.

The carrier fetches our webhook once the other end picks up, or opens the stream at once; both name the call
by our own id. A call that is not answered in time is given up.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from voxray.call.dials import Dial, Dials, DialState
from voxray.call.expected import Expected
from voxray.errors import CarrierError
from voxray.frames import CallInfo
from voxray.interfaces import Ability, CallControl, DialOrder
from voxray.web.hosts import stream_url

T = TypeVar("T")
STOP_SECS = 2.0
RING_SECS = 60.0
GRACE_SECS = 30.0
"""After the ringing: the webhook and the stream of a call answered in the last moment."""


OUTCOMES: Mapping[str, str] = MappingProxyType(
    {
        "completed": "failed",  # over, and no stream ever came
        "busy": "busy",
        "no-answer": "no_answer",
        "timeout": "no_answer",
        "failed": "failed",
        "rejected": "busy",
        "cancel": "canceled",
        "canceled": "canceled",
    }
)
"""What carriers call the end of a call -> why it has no stream. Anything else is not its end."""


class CannotDial(Exception):
    """Why not, for the client; `status` is HTTP's. `unsure`: the carrier may have placed it all the same."""

    def __init__(self, status: int, message: str, unsure: bool = False) -> None:
        super().__init__(message)
        self.status, self.unsure = status, unsure


@dataclass(frozen=True, slots=True)
class Order:
    """What a client asks for; numbers are the carrier's to judge."""

    to: str
    from_number: str
    carrier: str = ""
    body: Mapping[str, object] | None = None
    max_secs: float = 0.0


class Tokens(Protocol):
    """The part of `office.Office` used here."""

    def dial_token(self, dial_id: str, carrier: str, ring_secs: float) -> str: ...


class Peers(Protocol):
    """The part of `peers.Peers` used here: other instances may get the call's webhook and stream."""

    def dial_begins(self, expected: Expected) -> None: ...

    def rings_still(self, dial_id: str) -> Coroutine[Any, Any, bool]: ...


class Dialer:
    """Places calls and gives them up."""

    log = Logger()

    def __init__(
        self,
        controls: Mapping[str, CallControl],
        default_carrier: str,
        proxy_host: str,
        dials: Dials,
        tokens: Tokens,
        clock: IReactorTime,
        *,
        room: Callable[[], bool],
        longest_secs: float,
        over: Callable[[Dial], None] = lambda dial: None,
        peers: Peers | None = None,
    ) -> None:
        """`over(dial)` is told of calls that will never have a stream; with its reason.

        `longest_secs` is what the carrier is told of a call whose order names no limit.
        """
        self._dials, self._clock, self._over, self._peers = dials, clock, over, peers
        self._timers: dict[str, IDelayedCall] = {}
        self.asking = 0
        """What the carriers have not answered yet."""
        self._tokens = tokens
        self.use(controls, default_carrier, proxy_host, room=room, longest_secs=longest_secs)

    def use(
        self,
        controls: Mapping[str, CallControl],
        default_carrier: str,
        proxy_host: str,
        *,
        room: Callable[[], bool],
        longest_secs: float,
    ) -> None:
        """Holds for calls from now on; those that ring go on."""
        self._controls, self._default, self._proxy_host = controls, default_carrier, proxy_host
        self._room, self._longest_secs = room, longest_secs

    async def dial(self, order: Order) -> Dial:
        """Places the call. Raises CannotDial. Not to be cancelled: the phone must not ring unwatched."""
        carrier = order.carrier or self._default
        control = self._able(carrier)
        if not self._room():
            raise CannotDial(503, "No room for another call")
        dial_id = uuid4().hex
        dial = Dial(dial_id, carrier, order.to, order.from_number, order.body or {}, order.max_secs)
        self._dials.begin(dial, self._clock.seconds())
        self._timers[dial_id] = self._clock.callLater(RING_SECS + GRACE_SECS, self._not_answered, dial_id)
        return await self._place(dial, control)

    async def _place(self, dial: Dial, control: CallControl) -> Dial:
        dial_id = dial.dial_id
        if self._peers is not None:
            self._peers.dial_begins(dial.expected())
        try:
            dialed = await self._asked(control.dial(self._worded(dial)))
        except CarrierError as error:
            if self._failed(dial_id, "failed") is None and (up := self._dials.get(dial_id)) is not None:
                return up  # its stream was faster than the answer, which was lost
            self.log.warn(
                "call {call_id}: the carrier would not dial: {error}", call_id=dial_id, error=str(error)
            )
            raise CannotDial(*_refusal(error), unsure=error.sent and error.status == 0) from None
        except BaseException:
            self._failed(dial_id, "failed")
            raise
        placed = self._dials.placed(dial_id, dialed.reference, dialed.call_sid)
        self.log.info("call {call_id}: dialing by {carrier}", call_id=dial_id, carrier=dial.carrier)
        if placed.state is DialState.FAILED:  # given up, or told over, before the carrier's answer came
            self._cancel(placed)
        return placed

    async def give_up(self, dial_id: str) -> None:
        """The client does not want it any more. Raises CannotDial."""
        dial = self._failed(dial_id, "canceled")
        if dial is not None and dial.reference:
            await self._ask_carrier(dial)

    async def _ask_carrier(self, dial: Dial) -> None:
        control = self._controls.get(dial.carrier)
        if control is None:  # its credentials are gone from the configuration
            raise CannotDial(503, "The carrier cannot be asked; the call may still ring")
        try:
            await self._asked(control.cancel(dial.reference))
        except CarrierError as error:
            text = "call {call_id}: the carrier would not give up: {error}"
            self.log.warn(text, call_id=dial.dial_id, error=str(error))
            raise CannotDial(503, "The carrier did not take it; the call may still ring") from None

    def give_up_all(self, reason: str, but: Callable[[str], bool]) -> None:
        """What rings is told to stop ringing, but those calls for whose id `but` says so."""
        for dial in self._dials.dialing:
            if not but(dial.dial_id):
                self._unwatched(dial.dial_id, reason)

    def told(self, dial_id: str, form: Mapping[str, str]) -> None:
        """A carrier's status report. That a call is over whose stream was here is no news."""
        status = (form.get("CallStatus") or form.get("Status") or "").lower()
        if (reason := OUTCOMES.get(status)) is not None:
            self._failed(dial_id, reason)

    async def turned_away(self, info: CallInfo) -> None:
        """Its stream came and there was no room: whoever picked up must not be left on a silent line."""
        self._failed(info.call_id, "failed")
        control = self._controls.get(info.carrier)
        if control is not None and Ability.HANG_UP in control.abilities:
            try:
                await self._asked(control.hang_up(info.call_sid))
            except CarrierError as error:
                text = "call {call_id}: the carrier would not hang up: {error}"
                self.log.warn(text, call_id=info.call_id, error=str(error))

    # -- the registry ----------------------------------------------------------
    def began(self, info: CallInfo) -> None:
        """A call is up; perhaps one of ours."""
        self._stop_timer(info.call_id)
        self._dials.answered(info.call_id, info.call_sid)

    def ended(self, info: CallInfo, reason: str) -> None:
        """It is over."""
        self._dials.ended(info.call_id, reason)

    # -- the service -----------------------------------------------------------
    async def start(self) -> None:
        """Nothing to load."""

    async def stop(self) -> None:
        """The daemon ends: what rings is given up, at most so long."""
        ringing = [self._failed(dial.dial_id, "shutdown") for dial in self._dials.dialing]
        asking = [
            Deferred.fromCoroutine(self._ask_carrier(dial)).addTimeout(STOP_SECS, self._clock)
            for dial in ringing
            if dial is not None and dial.reference
        ]
        await DeferredList(asking, consumeErrors=True)
        for dial_id in tuple(self._timers):
            self._stop_timer(dial_id)

    # -- inside ----------------------------------------------------------------
    def _able(self, carrier: str) -> CallControl:
        control = self._controls.get(carrier)
        if control is None or Ability.DIAL not in control.abilities:
            raise CannotDial(422, f"carrier: no credentials to dial by {carrier!a:.20}")
        if not self._proxy_host:
            raise CannotDial(503, "proxy_host is not set: the carrier could not reach us")
        return control

    def _worded(self, dial: Dial) -> DialOrder:
        host, dial_id = self._proxy_host, dial.dial_id
        token = self._tokens.dial_token(dial_id, dial.carrier, RING_SECS)
        return DialOrder(
            to=dial.to,
            from_number=dial.from_number,
            answer_url=f"https://{host}/?call={dial_id}",
            stream_url=stream_url(host, token),
            status_url=f"https://{host}/telephony/status?call={dial_id}",
            max_call_secs=dial.max_secs or self._longest_secs,
            ring_secs=RING_SECS,
        )

    async def _asked(self, asking: Coroutine[Any, Any, T]) -> T:
        self.asking += 1
        try:
            return await asking
        finally:
            self.asking -= 1

    def _not_answered(self, dial_id: str) -> None:
        self._unwatched(dial_id, "no_answer")

    def _unwatched(self, dial_id: str, reason: str) -> None:
        """Nobody here waits for its stream any more."""
        if self._peers is None:
            self._rings_in_vain(dial_id, reason)
        else:
            ringing = self._asked(self._peers.rings_still(dial_id))
            self._quietly(self._unless_elsewhere(dial_id, reason, ringing))

    async def _unless_elsewhere(self, dial_id: str, reason: str, ringing: Coroutine[Any, Any, bool]) -> None:
        """Its stream may be at another instance: then it is up, and not ours to end."""
        if await ringing:
            self._rings_in_vain(dial_id, reason)
        elif (dial := self._dials.get(dial_id)) is not None:
            self._dials.answered(dial_id, dial.call_sid)

    def _rings_in_vain(self, dial_id: str, reason: str) -> None:
        dial = self._failed(dial_id, reason)
        if dial is not None and dial.reference:
            self._cancel(dial)

    def _cancel(self, dial: Dial) -> None:
        self._quietly(self._ask_carrier(dial))

    def _quietly(self, doing: Coroutine[Any, Any, None]) -> None:
        """Nobody waits for the outcome."""
        cancelling: Deferred[Any] = Deferred.fromCoroutine(doing)
        cancelling.addErrback(lambda failure: failure.trap(CannotDial))
        cancelling.addErrback(lambda failure: self.log.failure("giving up a call failed", failure))

    def _failed(self, dial_id: str, reason: str) -> Dial | None:
        self._stop_timer(dial_id)
        dial = self._dials.fail(dial_id, reason)
        if dial is not None:
            self._over(dial)
        return dial

    def _stop_timer(self, dial_id: str) -> None:
        timer = self._timers.pop(dial_id, None)
        if timer is not None and timer.active():
            timer.cancel()


def _refusal(error: CarrierError) -> tuple[int, str]:
    """What the carrier will not do is the client's to change; an API that is down is nobody's here."""
    if not error.sent:
        return 422, "to, from: not numbers that the carrier takes"
    if error.status == 0:
        return 503, "The carrier did not answer: the call may ring, and will find nobody"
    if 400 <= error.status < 500 and error.status not in (401, 403, 408, 429):
        return 422, f"The carrier refused the call (status {error.status})"
    return 503, "The carrier did not take the call"
