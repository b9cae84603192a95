"""What the instances know together, and what one does when Redis is away: its own best.

Tokens, announced calls and places are asked of Redis. While it does not answer, no call is touched and none
waits: tokens are spent in this process alone (its doorkeeper has looked already), `max_calls` counts this
process's calls alone, and a call that another instance announced is as good as its token. When Redis is back
the live calls are put on its board again.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxray.call.expected import Expected
from voxray.errors import StoreUnavailable
from voxray.stores.ports import (
    RENEW_SECS,
    RENEWED_AT_ONCE,
    CallBoard,
    HandOver,
    LiveCall,
    Replays,
    TokenLedger,
    Unstorable,
    Verdict,
)

NOTE_SECS = 60.0
T = TypeVar("T")


@dataclass(slots=True)
class Standing:
    """How Redis stands with us, and how full all instances are by its last word. Pure."""

    limit: int
    degraded: bool = True
    others: int = 0

    def counted(self, count: int, own: int) -> None:
        """Redis told how many calls there are, `own` of them ours."""
        self.degraded = False
        self.others = max(0, count - own)

    def failed(self) -> None:
        self.degraded = True
        self.others = 0

    def room(self, own: int) -> bool:
        """One more than `own` would fit. Of other instances it is a guess: the board decides."""
        return self.others + own < self.limit


@dataclass(frozen=True, slots=True)
class Common:
    """The stores that all instances share."""

    tokens: TokenLedger
    handover: HandOver
    board: CallBoard
    notes: Replays


class Shared:
    """One instance's view of all. Nothing here raises StoreUnavailable."""

    log = Logger()

    def __init__(
        self,
        common: Common,
        *,
        node: str,
        limit: int,
        clock: IReactorTime,
        degraded: Callable[[bool], None],
        lost: Callable[[str], None] = lambda lease: None,
        keeper: str = "Redis",
        there: bool = False,
    ) -> None:
        """`node`: our name, the same at each start. `lost(lease)`: that call has a newer stream elsewhere.

        `keeper` is who keeps the stores, for the log; `there`: nobody will say that it came, it is there.
        """
        self._keeper, self._there = keeper, there
        self._common, self.node, self._clock = common, node, clock
        self._degraded, self.lost = degraded, lost
        self.standing = Standing(limit)
        self._mine: dict[str, LiveCall] = {}
        self._telling: set[Deferred[None]] = set()
        self._fresh = True
        self._beats = LoopingCall(self._beat)
        self._beats.clock = clock
        degraded(True)

    # -- the service ---------------------------------------------------------
    async def start(self) -> None:
        self._beats.start(RENEW_SECS, now=self._there)

    async def stop(self) -> None:
        """What was told last still goes out."""
        if self._beats.running:
            self._beats.stop()
        while self._telling:
            await self._telling.pop()

    def link_changed(self, up: bool) -> None:
        """Redis came or went."""
        if up:
            self._beat()
        else:
            self._failed()

    # -- tokens --------------------------------------------------------------
    async def spend(self, nonce: str, ttl_secs: float) -> bool:
        """False: another instance had it."""
        return await self._or(True, self._common.tokens.spend(nonce, ttl_secs))

    # -- announced calls -----------------------------------------------------
    def announce(self, expected: Expected, ttl_secs: float) -> None:
        """Its stream may come to another instance. Nobody waits for it."""
        if expected.call_sid:
            self._quietly(self._common.handover.put(expected, ttl_secs))

    def announce_dial(self, expected: Expected, ttl_secs: float) -> None:
        """A call that we place: webhook and stream may come to another instance."""
        self._quietly(self._common.handover.put(expected, ttl_secs, dial_id=expected.call_id))

    async def announced(self, carrier: str, call_sid: str) -> Expected | None:
        """What another instance knows of the call whose stream came here."""
        return await self._or(None, self._common.handover.get(carrier, call_sid))

    def came(self, carrier: str, call_sid: str) -> None:
        """Its stream is here: nobody is to find it announced again."""
        self._quietly(self._common.handover.take(carrier, call_sid))

    async def dialed(self, dial_id: str) -> Expected | None:
        """A call that another instance places."""
        return await self._or(None, self._common.handover.get_dialed(dial_id))

    def dial_came(self, dial_id: str) -> None:
        """Its stream is here."""
        self._quietly(self._common.handover.take_dialed(dial_id))

    async def rings_still(self, dial_id: str) -> bool:
        """No instance has its stream, for sure."""
        return await self._or(None, self._common.handover.get_dialed(dial_id)) is not None

    async def seen(self, carrier: str, call_sid: str) -> bool:
        """The call has a stream somewhere, or had one."""
        return await self._or(False, self._common.board.seen(carrier, call_sid))

    async def up(self, carrier: str, call_sid: str) -> bool:
        """The call has a stream somewhere now, as far as the board knows."""
        return await self._or(False, self._common.board.live(carrier, call_sid))

    # -- notes ---------------------------------------------------------------
    def note(self, key: str, text: str) -> None:
        """A word that another instance may be asked for within a minute."""
        self._quietly(self._common.notes.once(key, text.encode("utf-8"), NOTE_SECS))

    async def noted(self, key: str) -> str | None:
        text = await self._or(None, self._common.notes.before(key))
        return None if text is None else text.decode("utf-8", "replace")

    # -- places --------------------------------------------------------------
    def room(self, own: int) -> bool:
        """There seems to be room for one more call than our `own`."""
        return self.standing.room(own)

    async def enter(self, call: LiveCall, *, take_over: bool) -> Verdict:
        """A place for this call; whoever got one gives it back by `leave`."""
        try:
            reserved = await self._common.board.reserve(call, self.standing.limit, take_over=take_over)
        except StoreUnavailable:
            self._failed()
            verdict = Verdict.ADMITTED if len(self._mine) < self.standing.limit else Verdict.FULL
        else:
            verdict = reserved.verdict
            self._counted(reserved.count, len(self._mine) + (verdict is Verdict.ADMITTED))
        if verdict is Verdict.ADMITTED:
            self._mine[call.lease] = call
        return verdict

    def leave(self, lease: str) -> None:
        """It is over."""
        call = self._mine.pop(lease, None)
        if call is not None:
            self._quietly(self._common.board.release(call))

    # -- staying on the board ------------------------------------------------
    def _beat(self) -> None:
        self._quietly(self._renew())

    async def _renew(self) -> None:
        """Raises StoreUnavailable."""
        if self._fresh:
            await self._forget_before()
            self._fresh = False
        calls = list(self._mine.values())
        for first in range(0, max(1, len(calls)), RENEWED_AT_ONCE):
            some = [call for call in calls[first : first + RENEWED_AT_ONCE] if call.lease in self._mine]
            renewed = await self._common.board.renew(some)
            for lease in renewed.lost:
                if self._mine.pop(lease, None) is not None:
                    self.lost(lease)
            self._counted(renewed.count, len(self._mine))

    async def _forget_before(self) -> None:
        """Calls of this instance before it crashed: their carriers may be asking for a new stream."""
        for call in await self._common.board.calls():
            if call.node == self.node and call.lease not in self._mine:
                await self._common.board.release(call, over=False)

    def _counted(self, count: int, own: int) -> None:
        if self.standing.degraded:
            self._degraded(False)
            self.log.info("tokens and places are shared with the other instances")
        self.standing.counted(count, own)

    def _failed(self) -> None:
        if not self.standing.degraded:
            self._degraded(True)
            text = "without {keeper} tokens and max_calls are this process's own"
            self.log.warn(text, keeper=self._keeper)
        self.standing.failed()

    # -- inside --------------------------------------------------------------
    async def _or(self, otherwise: T, asking: Coroutine[Any, Any, T]) -> T:
        try:
            return await asking
        except StoreUnavailable:
            self._failed()
            return otherwise

    def _quietly(self, doing: Coroutine[Any, Any, Any]) -> None:
        telling: Deferred[None] = Deferred.fromCoroutine(doing)
        telling.addErrback(self._not_done)
        if not telling.called:
            self._telling.add(telling)
            telling.addBoth(lambda _: self._telling.discard(telling))

    def _not_done(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable):
            self._failed()
        elif failure.check(Unstorable):
            why = failure.getErrorMessage()
            self.log.warn("a call is not announced to the other instances: {why}", why=why)
        else:
            self.log.failure("telling the other instances failed", failure)
