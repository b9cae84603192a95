"""The stores as a worker has them: kept by its parent process, which is asked over a socket.

What is asked is a word and a few values that are JSON; `answering` is the other end. No connection to the
parent, or no answer in time, is StoreUnavailable, which `ask` raises.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from voxray.call.expected import Expected
from voxray.stores.forms import expected_of, expected_text, session_of, session_text
from voxray.stores.ports import LiveCall, Renewed, Reserved, Session, Verdict

Ask = Callable[[str, Mapping[str, object]], Coroutine[Any, Any, Any]]


class AskedSessions:
    """`ports.SessionStore`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def put(self, session_id: str, session: Session, ttl_secs: float) -> None:
        text = session_text(session).decode("utf-8")
        await self._ask("session.put", {"session_id": session_id, "text": text, "secs": ttl_secs})

    async def get(self, session_id: str) -> Session | None:
        text = await self._ask("session.get", {"session_id": session_id})
        return None if text is None else session_of(text.encode("utf-8"))

    async def delete(self, session_id: str) -> None:
        await self._ask("session.delete", {"session_id": session_id})


class AskedReplays:
    """`ports.Replays`. An answer is any bytes: Latin-1 makes text of them and back."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def once(self, key: str, answer: bytes, ttl_secs: float) -> bytes:
        said = {"key": key, "answer": answer.decode("latin-1"), "secs": ttl_secs}
        text: str = await self._ask("replay.once", said)
        return text.encode("latin-1")

    async def before(self, key: str) -> bytes | None:
        text: str | None = await self._ask("replay.before", {"key": key})
        return None if text is None else text.encode("latin-1")


class AskedTokens:
    """`ports.TokenLedger`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def spend(self, nonce: str, ttl_secs: float) -> bool:
        return bool(await self._ask("token.spend", {"nonce": nonce, "secs": ttl_secs}))


class AskedHandOver:
    """`ports.HandOver`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def put(self, expected: Expected, ttl_secs: float, *, dial_id: str = "") -> None:
        text = expected_text(expected).decode("utf-8")
        await self._ask("call.put", {"text": text, "secs": ttl_secs, "dial_id": dial_id})

    async def get(self, carrier: str, call_sid: str) -> Expected | None:
        return await self._found("call.get", {"carrier": carrier, "call_sid": call_sid})

    async def get_dialed(self, dial_id: str) -> Expected | None:
        return await self._found("dial.get", {"dial_id": dial_id})

    async def take_dialed(self, dial_id: str) -> Expected | None:
        return await self._found("dial.take", {"dial_id": dial_id})

    async def take(self, carrier: str, call_sid: str) -> Expected | None:
        return await self._found("call.take", {"carrier": carrier, "call_sid": call_sid})

    async def _found(self, what: str, said: Mapping[str, object]) -> Expected | None:
        text = await self._ask(what, said)
        return None if text is None else expected_of(text.encode("utf-8"))


class AskedBoard:
    """`ports.CallBoard`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def reserve(self, call: LiveCall, limit: int, *, take_over: bool) -> Reserved:
        said = {"call": asdict(call), "limit": limit, "take_over": take_over}
        verdict, count = await self._ask("board.reserve", said)
        return Reserved(Verdict(verdict), count)

    async def renew(self, calls: Sequence[LiveCall]) -> Renewed:
        count, lost = await self._ask("board.renew", {"calls": [asdict(call) for call in calls]})
        return Renewed(count, tuple(lost))

    async def release(self, call: LiveCall, *, over: bool = True) -> None:
        await self._ask("board.release", {"call": asdict(call), "over": over})

    async def calls(self) -> list[LiveCall]:
        return [LiveCall(**fields) for fields in await self._ask("board.calls", {})]

    async def count(self) -> int:
        return int(await self._ask("board.count", {}))

    async def live(self, carrier: str, call_sid: str) -> bool:
        return bool(await self._ask("board.live", {"carrier": carrier, "call_sid": call_sid}))

    async def seen(self, carrier: str, call_sid: str) -> bool:
        return bool(await self._ask("board.seen", {"carrier": carrier, "call_sid": call_sid}))
