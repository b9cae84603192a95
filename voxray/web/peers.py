"""The other instances, as the door sees them: what they know of a call, and whether there is a place for it.

A webhook may be answered by one instance and the stream come to another. What one learns of a call goes to
Redis; who meets a call that it does not know asks there, for half a second at most, and goes on without.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Protocol
from uuid import uuid4

from voxray.call.dials import Dials
from voxray.call.expected import Expectations, Expected, Welcome
from voxray.frames import CallInfo, StreamStarted
from voxray.stores.ports import LiveCall, Verdict

DIAL_SECS = 300.0
"""How long a call that is dialled may take to come: longer than it may ring."""
MAX_FAR = 1_000
_DIAL_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


class Shared(Protocol):
    """The part of `stores.shared.Shared` used here."""

    @property
    def node(self) -> str: ...

    def announce(self, expected: Expected, ttl_secs: float) -> None: ...

    def announce_dial(self, expected: Expected, ttl_secs: float) -> None: ...

    def announced(self, carrier: str, call_sid: str) -> Coroutine[Any, Any, Expected | None]: ...

    def came(self, carrier: str, call_sid: str) -> None: ...

    def dialed(self, dial_id: str) -> Coroutine[Any, Any, Expected | None]: ...

    def dial_came(self, dial_id: str) -> None: ...

    def rings_still(self, dial_id: str) -> Coroutine[Any, Any, bool]: ...

    def seen(self, carrier: str, call_sid: str) -> Coroutine[Any, Any, bool]: ...

    def up(self, carrier: str, call_sid: str) -> Coroutine[Any, Any, bool]: ...

    def note(self, key: str, text: str) -> None: ...

    def noted(self, key: str) -> Coroutine[Any, Any, str | None]: ...

    def spend(self, nonce: str, ttl_secs: float) -> Coroutine[Any, Any, bool]: ...

    def enter(self, call: LiveCall, *, take_over: bool) -> Coroutine[Any, Any, Verdict]: ...

    def leave(self, lease: str) -> None: ...

    def room(self, own: int) -> bool: ...


class Peers:
    """One process's memory of calls, with the others' behind it."""

    def __init__(
        self,
        shared: Shared,
        dials: Dials,
        expectations: Expectations,
        *,
        token_secs: float,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._shared, self._dials, self._expectations = shared, dials, expectations
        self.token_secs, self._clock, self._wall_clock = token_secs, clock, wall_clock
        self._far: OrderedDict[str, Expected] = OrderedDict()

    # -- calls that are dialled --------------------------------------------------
    def must_ask(self, dial_id: str) -> bool:
        """The request is about a call of ours that this process does not know."""
        known = self._dials.get(dial_id) is not None or dial_id in self._far
        return not known and _DIAL_ID.fullmatch(dial_id) is not None

    async def learn_dial(self, dial_id: str) -> None:
        """Asks, so that `dialed` knows."""
        if (found := await self._shared.dialed(dial_id)) is not None:
            self._far[dial_id] = found
            if len(self._far) > MAX_FAR:
                self._far.popitem(last=False)

    def dialed(self, dial_id: str) -> Expected | None:
        """For the doorkeeper: a call that we placed, this process or another."""
        return self._dials.expected(dial_id) or self._far.get(dial_id)

    def dial_begins(self, expected: Expected) -> None:
        """This process places a call."""
        self._shared.announce_dial(expected, DIAL_SECS)

    async def rings_still(self, dial_id: str) -> bool:
        """For sure: no other instance has its stream."""
        return await self._shared.rings_still(dial_id)

    # -- calls that are announced ------------------------------------------------
    async def seen(self, carrier: str, call_sid: str) -> bool:
        """The call has a stream somewhere, or had one."""
        return bool(call_sid) and await self._shared.seen(carrier, call_sid)

    async def up(self, carrier: str, call_sid: str) -> bool:
        """The call has a stream somewhere now, as far as is known."""
        return await self._shared.up(carrier, call_sid)

    def announce(self, expected: Expected) -> None:
        """The answer asks for its stream, which may come to any instance."""
        self._shared.announce(expected, self.token_secs)

    async def learn_call(self, carrier: str, call_sid: str, dial_id: str) -> None:
        """Before its `start` is judged: what the others know, where this process knows nothing."""
        if dial_id:
            if self.must_ask(dial_id):
                await self.learn_dial(dial_id)
            return
        if not call_sid or self._expectations.get(carrier, call_sid, self._clock()) is not None:
            return
        if (found := await self._shared.announced(carrier, call_sid)) is not None:
            self._expectations.add(found, self._clock())

    # -- places ------------------------------------------------------------------
    def room(self, own: int) -> bool:
        return self._shared.room(own)

    async def admit(self, welcome: Welcome, started: StreamStarted) -> Welcome | Verdict | None:
        """The welcome with its lease. None: another instance had the token; else why there is no place."""
        if welcome.nonce and not await self._shared.spend(welcome.nonce, welcome.nonce_secs):
            return None
        expected, lease = welcome.expected, uuid4().hex
        call = LiveCall(
            lease=lease,
            carrier=welcome.carrier,
            call_sid=started.call_sid,
            call_id=expected.call_id if expected else lease,
            node=self._shared.node,
            outbound=bool(expected and expected.outbound),
            began_at=self._wall_clock(),
        )
        verdict = await self._shared.enter(call, take_over=bool(welcome.nonce))
        if verdict is not Verdict.ADMITTED:
            return verdict
        self._came(expected, call)
        return replace(welcome, lease=lease)

    def _came(self, expected: Expected | None, call: LiveCall) -> None:
        """Nobody needs to wait for this stream any more."""
        self._shared.came(call.carrier, call.call_sid)
        if expected is not None and self._far.pop(expected.call_id, None) is not None:
            self._shared.dial_came(expected.call_id)

    def leave(self, lease: str) -> None:
        self._shared.leave(lease)

    # -- transfers ---------------------------------------------------------------
    def note_transfer(self, token: str, number: str) -> None:
        """The carrier will ask for this number, perhaps of another instance."""
        self._shared.note(f"transfer {token}", number)

    async def transfer(self, token: str) -> str | None:
        return await self._shared.noted(f"transfer {token}")

    # -- the registry ------------------------------------------------------------
    def began(self, info: CallInfo) -> None:
        """It has its place already."""

    def ended(self, info: CallInfo, reason: str) -> None:
        if info.lease:
            self._shared.leave(info.lease)
