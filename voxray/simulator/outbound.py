"""The calls the agent places: somebody's telephone rings, and is answered, is busy, or is left to ring.

A carrier fetches the agent's document once the call is answered, signed as its webhooks are (Exotel opens
the stream at once), and tells the status URL how it ended. An `Answerer` is whose telephone it is.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxray.simulator.answers import applet_url
from voxray.simulator.caller import SimulatedCall
from voxray.simulator.client import connect
from voxray.simulator.progress import answered_fields, status_fields
from voxray.simulator.rest.switchboard import Order, Switchboard
from voxray.simulator.result import CallResult
from voxray.simulator.signing import BadKey, Outgoing, outgoing
from voxray.simulator.target import DialFailed, Target
from voxray.simulator.twiml import BadAnswer, StreamAnswer
from voxray.simulator.webhook import WebhookFailed, ask

RINGING_SECS = 1.0


@dataclass(frozen=True, slots=True)
class Pickup:
    """What becomes of a call that rings. With a `call` it is answered; that is made with the order's ids."""

    call: SimulatedCall | None = None
    status: str = "no-answer"  # without: busy, no-answer or failed
    ring_secs: float = RINGING_SECS  # no-answer: not before the order's own patience is over


Answerer: TypeAlias = Callable[[Order], Pickup]


@dataclass(slots=True)
class Placed:
    """One order and what became of it. `result` is None for a call that was not answered, or not streamed."""

    order: Order
    status: str = ""  # the carrier's last word; empty while it rings
    result: CallResult | None = None
    problem: str = ""  # why there was no stream, or nobody was told of the end


class Exchange:
    """Answers what the agent of a switchboard places."""

    _log = Logger()

    def __init__(self, reactor: Any, target: Target, board: Switchboard, answerer: Answerer) -> None:
        """`target` says where the agent is and what the carrier signs with."""
        self._reactor, self._target, self._board, self._answerer = reactor, target, board, answerer
        self.placed: list[Placed] = []
        self._over: list[Placed] = []
        self._waiting: list[Deferred[Placed]] = []
        self._running: list[Deferred[None]] = []
        board.on_order = self._ordered

    def next(self, begins_within_secs: float = 0.0) -> Deferred[Placed]:
        """The next that is over, in the order in which they end. With a limit, fails with Twisted's
        TimeoutError when none was ordered by then.
        """
        waiting: Deferred[Placed] = Deferred()
        if begins_within_secs:
            late = self._reactor.callLater(begins_within_secs, self._nobody_called, waiting)
            waiting.addBoth(_cancelling, late)
        if self._over:
            waiting.callback(self._over.pop(0))
        else:
            self._waiting.append(waiting)
        return waiting

    def _nobody_called(self, waiting: Deferred[Placed]) -> None:
        if not self.placed and waiting in self._waiting:
            self._waiting.remove(waiting)
            waiting.errback(TookTooLong())

    def stop(self) -> None:
        """Gives up whatever rings or is up."""
        self._board.on_order = lambda order: None
        for each in list(self._running):
            each.cancel()

    def _ordered(self, order: Order) -> None:
        placed = Placed(order)
        self.placed.append(placed)
        running = Deferred.fromCoroutine(self._run(placed))
        self._running.append(running)
        running.addErrback(self._broken)
        running.addBoth(lambda _: self._running.remove(running))

    def _broken(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("an outbound call failed", failure=failure)

    async def _run(self, placed: Placed) -> None:
        order, pickup = placed.order, self._answerer(placed.order)
        placed.status = await self._ring(order, pickup)
        if not placed.status and pickup.call is not None:
            await self._tell(placed, "answered", "in-progress")
            placed.status = await self._up(placed, pickup.call)
        secs = placed.result.duration_secs if placed.result is not None else 0.0
        await self._tell(placed, "completed", placed.status, secs)
        if self._waiting:
            self._waiting.pop(0).callback(placed)
        else:
            self._over.append(placed)

    async def _ring(self, order: Order, pickup: Pickup) -> str:
        """Empty: it is answered. Else how it ended."""
        unanswered = pickup.call is None and pickup.status == "no-answer"
        secs = order.ring_secs if unanswered else pickup.ring_secs
        outcome = "" if pickup.call is not None else pickup.status
        if secs > order.ring_secs:
            secs, outcome = order.ring_secs, "no-answer"
        settled: Deferred[str] = Deferred()
        timer = self._reactor.callLater(secs, settled.callback, outcome)

        def given_up() -> None:
            timer.cancel()
            settled.callback("canceled")

        self._board.rings(order, given_up)
        try:
            return await settled
        finally:
            if timer.active():
                timer.cancel()
            self._board.settled(order)

    async def _up(self, placed: Placed, call: SimulatedCall) -> str:
        """The call, answered. How it ended."""
        order = placed.order
        target = replace(self._target, from_number=order.from_number, to_number=order.to)
        limit = self._reactor.callLater(order.max_secs, call.hang_up, "limit") if order.max_secs else None
        try:
            answer = await self._answer(target, order)
            placed.result = await connect(self._reactor, target, call, answer, self._board)
        except (DialFailed, WebhookFailed, BadAnswer, BadKey) as error:
            placed.problem = str(error)
            call.hang_up("refused")
        finally:
            if limit is not None and limit.active():
                limit.cancel()
        return "completed"

    async def _answer(self, target: Target, order: Order) -> StreamAnswer:
        if order.stream_url:
            return applet_url(order.stream_url)
        fields = answered_fields(target.carrier, order)
        request = outgoing(order.answer_method.upper(), order.answer_url, fields)
        return target.side.parse_answer(await ask(self._reactor, target, request))

    async def _tell(self, placed: Placed, event: str, status: str, secs: float = 0.0) -> None:
        """The status URL. A carrier does not mind when nobody is there; a test may."""
        order = placed.order
        wanted = event == "completed" or event in order.events
        if not (order.status_url and wanted):
            return
        fields = status_fields(self._target.carrier, order, status, secs)
        try:
            await ask(self._reactor, self._target, _status_request(order, fields))
        except (WebhookFailed, DialFailed, BadKey) as error:
            placed.problem = placed.problem or f"the status URL: {error}"


def _cancelling(result: Any, late: Any) -> Any:
    if late.active():
        late.cancel()
    return result


def _status_request(order: Order, fields: Mapping[str, str]) -> Outgoing:
    """A form, unless the order says otherwise."""
    if order.status_type == "application/json":
        return Outgoing(
            "POST", order.status_url, body=json.dumps(fields).encode(), content_type=order.status_type
        )
    if order.status_type == "multipart/form-data":
        boundary = secrets.token_hex(12)
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        body = f"{''.join(parts)}--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        return Outgoing("POST", order.status_url, body=body, content_type=kind)
    return outgoing(order.status_method.upper(), order.status_url, fields)
