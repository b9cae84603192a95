"""The stores in Redis, shared by all instances. Every key begins with `voxray:`.

| key | holds |
|---|---|
| `voxray:session:<uuid>` | a session, as the Go project writes it |
| `voxray:replay:<digest>` | the answer to an Idempotency-Key |
| `voxray:token:<nonce>` | a stream token that is spent |
| `voxray:expected:<digest>` | a call that was announced |
| `voxray:{calls}:until`, `voxray:{calls}:about` | the board: when each call lapses, and what it is |
| `voxray:{calls}:over:<digest>` | a call that is over |

What is read may be anybody's writing: it is measured before it is fetched, and what is not ours is
"not found", and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from voxray.call.expected import Expected
from voxray.stores import scripts
from voxray.stores.forms import (
    MAX_BYTES,
    Poisoned,
    digest,
    expected_of,
    expected_text,
    live_of,
    live_text,
    session_of,
    session_text,
)
from voxray.stores.link import Script
from voxray.stores.memory import key_of
from voxray.stores.ports import OVER_SECS, TTL_SECS, LiveCall, Renewed, Reserved, Session, Verdict
from voxray.stores.replies import Refusal, Reply, Word

T = TypeVar("T")
_BOARD = ("voxray:{calls}:until", "voxray:{calls}:about")


class Asker(Protocol):
    """The part of `link.RedisLink` used here."""

    def ask(self, *words: Word) -> Coroutine[Any, Any, Reply]: ...

    def run(self, script: Script, keys: Sequence[str], *words: Word) -> Coroutine[Any, Any, Reply]: ...


OnPoison = Callable[[str], None]
"""Told what kind of value was not ours; a bounded label."""


class _Reading:
    """Fetches values and reads them with distrust."""

    def __init__(self, link: Asker, poisoned: OnPoison) -> None:
        self._link, self._poisoned = link, poisoned

    async def text(self, what: str, key: str, script: Script | None = None) -> bytes | None:
        """At most a byte more than may be there: a reader then sees that it is too long. None: nothing."""
        try:
            if script is None:
                reply = await self._link.ask("GETRANGE", key, 0, MAX_BYTES)
            else:
                reply = await self._link.run(script, [key], MAX_BYTES)
        except Refusal:  # a list, a set, ...
            self._poisoned(what)
            return None
        return reply if isinstance(reply, bytes) and reply else None

    def read(self, what: str, text: bytes | None, reader: Callable[[bytes], T]) -> T | None:
        try:
            return None if text is None else reader(text)
        except Poisoned:
            self._poisoned(what)
            return None


class RedisSessions:
    """`ports.SessionStore`."""

    def __init__(self, link: Asker, poisoned: OnPoison) -> None:
        self._link, self._reading = link, _Reading(link, poisoned)

    async def put(self, session_id: str, session: Session, ttl_secs: float) -> None:
        await self._link.ask("SET", _session(session_id), session_text(session), "PX", _ms(ttl_secs))

    async def get(self, session_id: str) -> Session | None:
        text = await self._reading.text("session", _session(session_id))
        return self._reading.read("session", text, session_of)

    async def delete(self, session_id: str) -> None:
        await self._link.ask("DEL", _session(session_id))


class RedisReplays:
    """`ports.Replays`."""

    def __init__(self, link: Asker, poisoned: OnPoison) -> None:
        self._link, self._reading = link, _Reading(link, poisoned)

    async def once(self, key: str, answer: bytes, ttl_secs: float) -> bytes:
        reply = await self._link.run(scripts.ONCE, [_replay(key)], answer, _ms(ttl_secs), MAX_BYTES)
        return reply if isinstance(reply, bytes) else answer

    async def before(self, key: str) -> bytes | None:
        return await self._reading.text("replay", _replay(key))


class RedisTokens:
    """`ports.TokenLedger`."""

    def __init__(self, link: Asker) -> None:
        self._link = link

    async def spend(self, nonce: str, ttl_secs: float) -> bool:
        reply = await self._link.ask("SET", f"voxray:token:{nonce}", "1", "NX", "PX", _ms(ttl_secs))
        return reply == "OK"


class RedisHandOver:
    """`ports.HandOver`."""

    def __init__(self, link: Asker, poisoned: OnPoison) -> None:
        self._link, self._reading = link, _Reading(link, poisoned)

    async def put(self, expected: Expected, ttl_secs: float, *, dial_id: str = "") -> None:
        key = _dialed(dial_id) if dial_id else _announced(expected.carrier, expected.call_sid)
        await self._link.ask("SET", key, expected_text(expected), "PX", _ms(ttl_secs))

    async def get(self, carrier: str, call_sid: str) -> Expected | None:
        return self._read(await self._reading.text("expected", _announced(carrier, call_sid)))

    async def get_dialed(self, dial_id: str) -> Expected | None:
        return self._read(await self._reading.text("expected", _dialed(dial_id)))

    async def take(self, carrier: str, call_sid: str) -> Expected | None:
        return self._read(await self._reading.text("expected", _announced(carrier, call_sid), scripts.TAKE))

    async def take_dialed(self, dial_id: str) -> Expected | None:
        return self._read(await self._reading.text("expected", _dialed(dial_id), scripts.TAKE))

    def _read(self, text: bytes | None) -> Expected | None:
        return self._reading.read("expected", text, expected_of)


class RedisBoard:
    """`ports.CallBoard`. Time is Redis's own: the instances' clocks need not agree."""

    def __init__(self, link: Asker, poisoned: OnPoison, ttl_secs: float = TTL_SECS) -> None:
        self._link, self._reading = link, _Reading(link, poisoned)
        self._ttl = _ms(ttl_secs)

    async def reserve(self, call: LiveCall, limit: int, *, take_over: bool) -> Reserved:
        words = (self._ttl, _member(call), call.lease, live_text(call), limit, int(take_over))
        reply = await self._link.run(scripts.RESERVE, _BOARD, *words)
        match reply:
            case [int(verdict), int(count)] if verdict in _VERDICTS:
                return Reserved(_VERDICTS[verdict], count)
        return Reserved(Verdict.FULL, 0)  # not an answer of the script's

    async def renew(self, calls: Sequence[LiveCall]) -> Renewed:
        words = [word for call in calls for word in (_member(call), call.lease, live_text(call))]
        reply = await self._link.run(scripts.RENEW, _BOARD, self._ttl, *words)
        match reply:
            case [int(count), *leases]:
                lost = tuple(lease.decode("ascii") for lease in leases if isinstance(lease, bytes))
                return Renewed(count, lost)
        return Renewed(len(calls))  # not an answer of the script's

    async def release(self, call: LiveCall, *, over: bool = True) -> None:
        member = _member(call)
        keys = (*_BOARD, _over(member))
        await self._link.run(
            scripts.RELEASE, keys, self._ttl, member, call.lease, _ms(OVER_SECS) if over else 0
        )

    async def calls(self) -> list[LiveCall]:
        reply = await self._link.run(scripts.LIST, _BOARD, self._ttl)
        texts = reply if isinstance(reply, list) else []
        read = [self._reading.read("live", text, live_of) for text in texts if isinstance(text, bytes)]
        return [call for call in read if call is not None]

    async def count(self) -> int:
        reply = await self._link.run(scripts.COUNT, _BOARD, self._ttl)
        return reply if isinstance(reply, int) else 0

    async def live(self, carrier: str, call_sid: str) -> bool:
        reply = await self._link.run(scripts.LIVE, _BOARD, self._ttl, digest(carrier, call_sid))
        return reply == 1

    async def seen(self, carrier: str, call_sid: str) -> bool:
        member = digest(carrier, call_sid)
        return await self._link.run(scripts.SEEN, (*_BOARD, _over(member)), self._ttl, member) == 1


_VERDICTS = {0: Verdict.ADMITTED, 1: Verdict.FULL, 2: Verdict.LIVE}


def _ms(secs: float) -> int:
    return max(1, round(secs * 1000))


def _member(call: LiveCall) -> str:
    return digest(*key_of(call))


def _over(member: str) -> str:
    return f"voxray:{{calls}}:over:{member}"


def _session(session_id: str) -> str:
    return f"voxray:session:{session_id}"


def _replay(key: str) -> str:
    return f"voxray:replay:{digest(key)}"


def _announced(carrier: str, call_sid: str) -> str:
    return f"voxray:expected:{digest(carrier, call_sid)}"


def _dialed(dial_id: str) -> str:
    return f"voxray:expected:{digest('', dial_id)}"
