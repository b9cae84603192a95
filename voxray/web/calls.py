"""/api/v1/calls: the calls there are, placing one, ending one. For those who have a `server_api_key`.

Without any key configured nobody may: a call costs its owner money, and its numbers are somebody's.
Klein installs the reactor when imported, so only makeService imports this.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Protocol

from klein import Klein
from twisted.internet.defer import Deferred

from voxray.call.dials import Dial, Dials, DialState
from voxray.frames import CallInfo
from voxray.stores.forms import digest
from voxray.web.api import problems
from voxray.web.colleagues import LATE, Colleagues, Reply
from voxray.web.dialing import CannotDial, Dialer, Order
from voxray.web.envelope import failure, success
from voxray.web.keys import Keys
from voxray.web.orders import BadOrder, order_of
from voxray.web.routes import CALLS_PATH as PATH

_RETRY_AFTER_SECS = b"5"
_MAX_REPLAYS = 1_000


class LiveCall(Protocol):
    """The part of `call.Call` used here."""

    @property
    def info(self) -> CallInfo: ...

    @property
    def started_at(self) -> float: ...

    def end_now(self, reason: str) -> None: ...


list_of = list  # a route of that name hides it
NO_SUCH_CALL = Reply(404, message="No such call")
Handler = Callable[..., Any]
Outcome = Dial | CannotDial
Replays = OrderedDict[str, tuple[bytes, Deferred[Outcome]]]
"""Digest of an Idempotency-Key -> the order as it came, and what becomes of it; the oldest first."""


def with_key(handler: Handler) -> Handler:
    """A route for those who have a key."""

    @wraps(handler)
    def checked(self: Calls, request: Any, **matched: str) -> Any:
        if not self.keys:
            return failure(request, 403, "Set server_api_key to use this")
        if not self.keys.admit(request):
            request.setHeader(b"WWW-Authenticate", b"Bearer")
            return failure(request, 401, "Unauthorized")
        return handler(self, request, **matched)

    return checked


class Calls:
    """Klein routes on /api/v1/calls."""

    app = Klein()

    def __init__(
        self,
        keys: Keys,
        live: Callable[[], Iterable[LiveCall]],
        dials: Dials,
        dialer: Dialer,
        *,
        caller_id: str,
        longest_secs: float,
        draining: Callable[[], bool],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        replays: Replays | None = None,
        colleagues: Colleagues | None = None,
    ) -> None:
        """`replays`: orders that came with an Idempotency-Key; `colleagues`: processes on the same port."""
        self.keys = keys
        self._live, self._dials, self._dialer = live, dials, dialer
        self._caller_id, self._longest_secs = caller_id, longest_secs
        self._draining, self._clock, self._wall_clock = draining, clock, wall_clock
        self._colleagues = colleagues
        self._replays: Replays = OrderedDict() if replays is None else replays

    def resource(self) -> Any:
        return self.app.resource()

    # -- the routes ------------------------------------------------------------
    @app.route(PATH, methods=["GET"])
    @with_key
    async def list(self, request: Any) -> bytes:
        """Those that are up and those that ring."""
        view: dict[str, object] = {"calls": self.here(), "draining": self._draining()}
        if self._colleagues is not None:
            others, missing = await self._colleagues.calls()
            view["calls"] = self.here() + others
            if missing:
                view["incomplete"] = True  # a process did not answer
        return success(request, view)

    @app.route(PATH, methods=["POST"])
    @with_key
    async def place(self, request: Any) -> bytes:
        """201 once the carrier has taken the order; an Idempotency-Key asked again is answered again."""
        body, sent, reply = request.content.read(), request.getHeader("Idempotency-Key"), None
        key = digest(sent) if sent else ""
        if key and self._colleagues is not None:
            reply = await self._colleagues.place(key, body)
        return _rendered(request, reply or await self.place_here(key, body))

    @app.route(f"{PATH}/<call_id>", methods=["GET"])
    @with_key
    async def show(self, request: Any, call_id: str) -> bytes:
        """One of them; one that we placed for an hour after its end too."""
        reply = self.show_here(call_id)
        if reply is None and self._colleagues is not None:
            reply = await self._colleagues.show(call_id)
        return _rendered(request, reply or NO_SUCH_CALL)

    @app.route(f"{PATH}/<call_id>", methods=["DELETE"])
    @with_key
    async def end(self, request: Any, call_id: str) -> bytes:
        """Hangs up, or gives up what rings."""
        reply = await self.end_here(call_id)
        if reply is None and self._colleagues is not None:
            reply = await self._colleagues.end(call_id)
        return _rendered(request, reply or NO_SUCH_CALL)

    # -- this process's: colleagues.Board ------------------------------------------
    def here(self) -> list_of[dict[str, object]]:
        """Its calls, up or ringing."""
        return [*map(self._of_call, self._live()), *map(self._of_dial, self._dials.dialing)]

    def show_here(self, call_id: str) -> Reply | None:
        if (call := self._call(call_id)) is not None:
            return Reply(200, self._of_call(call))
        if (dial := self._dials.get(call_id)) is not None:
            return Reply(200, self._of_dial(dial))
        return None

    async def end_here(self, call_id: str) -> Reply | None:
        if (call := self._call(call_id)) is not None:
            call.end_now("operator")
            return Reply(200, {"id": call_id, "status": "ending"})
        dial = self._dials.get(call_id)
        if dial is None or dial.state is not DialState.DIALING:
            return None
        try:
            await self._dialer.give_up(call_id)
        except CannotDial as problem:
            return Reply(problem.status, message=str(problem))
        return Reply(200, {"id": call_id, "status": "ended"})

    async def place_here(self, key: str, body: bytes) -> Reply:
        """`key` may be empty."""
        if self._draining():
            return LATE
        if key and (before := self._replays.get(key)) is not None:
            if before[0] != body:
                return Reply(409, message="This Idempotency-Key came with another order")
            return await self._placed(before[1])
        try:
            order = order_of(body, self._caller_id, self._longest_secs)
        except BadOrder as bad:
            if not bad.details:
                return Reply(400, message="Invalid JSON body")
            return Reply(422, message="Invalid order", details=bad.details)
        placing = Deferred.fromCoroutine(self._outcome(order, key))
        if key:
            self._replays[key] = (body, placing)
            if len(self._replays) > _MAX_REPLAYS:
                self._replays.popitem(last=False)
        return await self._placed(placing)

    async def _outcome(self, order: Order, key: str) -> Outcome:
        """Whether it was placed. Where it surely was not, the same key may try again."""
        try:
            return await self._dialer.dial(order)
        except CannotDial as problem:
            if not problem.unsure:
                self._replays.pop(key, None)
            return problem

    async def _placed(self, placing: Deferred[Outcome]) -> Reply:
        """The answer to an order, perhaps not the first to ask for it; whoever goes away leaves it be."""
        waiting: Deferred[Outcome] = Deferred()

        def settled(outcome: Outcome) -> Outcome:
            waiting.callback(outcome)
            return outcome

        placing.addCallbacks(settled, waiting.errback)
        outcome = await waiting
        if isinstance(outcome, CannotDial):
            return Reply(outcome.status, message=str(outcome))
        return Reply(201, self._of_dial(outcome))

    # -- views -----------------------------------------------------------------
    def _call(self, call_id: str) -> LiveCall | None:
        return next((call for call in self._live() if call.info.call_id == call_id), None)

    def _of_call(self, call: LiveCall) -> dict[str, object]:
        info, secs = call.info, self._clock() - call.started_at
        return {
            "id": info.call_id,
            "status": "up",
            "direction": "outbound" if info.outbound else "inbound",
            "carrier": info.carrier,
            "call_sid": info.call_sid,
            "from": info.from_number,
            "to": info.to_number,
            "started_at": self._date(secs),
            "duration_secs": round(secs, 1),
        }

    def _of_dial(self, dial: Dial) -> dict[str, object]:
        view: dict[str, object] = {
            "id": dial.dial_id,
            "status": dial.state.value,
            "direction": "outbound",
            "carrier": dial.carrier,
            "call_sid": dial.call_sid,
            "from": dial.from_number,
            "to": dial.to,
            "dialed_at": self._date(self._clock() - dial.began),
        }
        return view | ({"reason": dial.reason} if dial.reason else {})

    def _date(self, secs_ago: float) -> str:
        return datetime.fromtimestamp(self._wall_clock() - secs_ago, UTC).isoformat(timespec="seconds")


def _rendered(request: Any, reply: Reply) -> bytes:
    if reply.status == 503:
        request.setHeader(b"Retry-After", _RETRY_AFTER_SECS)
    if reply.message:
        return failure(request, reply.status, reply.message, reply.details)
    if reply.status == 201:
        request.setHeader(b"Location", f"{PATH}/{reply.data['id']}".encode("ascii"))
    return success(request, reply.data, reply.status)


problems(Calls.app)
