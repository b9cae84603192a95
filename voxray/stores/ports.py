"""The ports of what is stored: sessions, answers given before, spent tokens, announced calls, live calls.

Each has an implementation in this process's memory and one in Redis, held to one suite of tests. Every
method is a coroutine, never blocks, and raises `StoreUnavailable` when the store is not there in time.
They are not in `voxray.interfaces` because they speak of `Expected`, which belongs to the call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from voxray.call.expected import Expected


class Unstorable(ValueError):
    """A value of ours that is too large, or not JSON; the text says which."""


@dataclass(frozen=True, slots=True)
class Session:
    """What `POST /start` was given, for the offer that follows."""

    body: Mapping[str, object] = field(default_factory=dict, repr=False)
    enable_default_ice_servers: bool = False


class SessionStore(Protocol):
    """Sessions by id; an id is a canonical UUID, which callers check with `forms.is_session_id`."""

    async def put(self, session_id: str, session: Session, ttl_secs: float) -> None:
        """Raises Unstorable for one that is too large."""

    async def get(self, session_id: str) -> Session | None:
        """None also for what is stored there and is no session."""

    async def delete(self, session_id: str) -> None: ...


class Replays(Protocol):
    """Answers to requests that may come again."""

    async def once(self, key: str, answer: bytes, ttl_secs: float) -> bytes:
        """The answer that this key was given first: this one, or the one before."""

    async def before(self, key: str) -> bytes | None:
        """The answer it was given."""


class TokenLedger(Protocol):
    """Stream tokens that are used up."""

    async def spend(self, nonce: str, ttl_secs: float) -> bool:
        """True for exactly one of all who ask, within the ttl."""


class HandOver(Protocol):
    """Calls announced to one instance whose stream may come to another."""

    async def put(self, expected: Expected, ttl_secs: float, *, dial_id: str = "") -> None:
        """By carrier and the carrier's id; a call that we dialled by our own id, its `call_sid` yet unknown.

        Told again, the newer word holds. Raises Unstorable.
        """

    async def get(self, carrier: str, call_sid: str) -> Expected | None: ...

    async def get_dialed(self, dial_id: str) -> Expected | None: ...

    async def take_dialed(self, dial_id: str) -> Expected | None:
        """As `take`. Who dialled it then finds that it was answered elsewhere."""

    async def take(self, carrier: str, call_sid: str) -> Expected | None:
        """As `get`, and nobody finds it again: its stream is here."""


@dataclass(frozen=True, slots=True)
class LiveCall:
    """One call that has a stream. `lease` is of this stream alone, not of an older one of the call."""

    lease: str
    carrier: str
    call_sid: str
    call_id: str
    node: str
    outbound: bool = False
    began_at: float = 0.0  # wall clock


class Verdict(Enum):
    """What came of asking for a place; all but the first are metric labels."""

    ADMITTED = "admitted"
    FULL = "full"
    LIVE = "live"  # the call has a stream already


@dataclass(frozen=True, slots=True)
class Reserved:
    """The verdict, and how many calls there are now."""

    verdict: Verdict
    count: int


@dataclass(frozen=True, slots=True)
class Renewed:
    """`lost`: leases whose call has a newer stream elsewhere; they are no longer on the board."""

    count: int
    lost: tuple[str, ...] = ()


class CallBoard(Protocol):
    """All instances' live calls. What is not renewed within `TTL_SECS` lapses: its instance is gone."""

    async def reserve(self, call: LiveCall, limit: int, *, take_over: bool) -> Reserved:
        """A place, if there are fewer than `limit`; exact among all who ask.

        `take_over`: this stream proved to own the call; where the call has another, it takes its place.
        """

    async def renew(self, calls: Sequence[LiveCall]) -> Renewed:
        """They are still up. One that the board has lost is put back, whatever the limit."""

    async def release(self, call: LiveCall, *, over: bool = True) -> None:
        """Gives the place back; nothing where a newer stream has it.

        `over`: so is the call, which is remembered for `OVER_SECS`.
        """

    async def calls(self) -> list[LiveCall]:
        """At most `MAX_SHOWN` of them."""

    async def count(self) -> int: ...

    async def live(self, carrier: str, call_sid: str) -> bool: ...

    async def seen(self, carrier: str, call_sid: str) -> bool:
        """It is live, or was: who announces it again may be replaying an old request."""


TTL_SECS = 15.0
"""A crashed instance's calls stand on the board for so long at most."""
RENEW_SECS = 4.0
RENEWED_AT_ONCE = 200
"""Calls in one command: Redis does nothing else meanwhile."""
OVER_SECS = 3_600.0
MAX_SHOWN = 1_000
