"""The stores that a parent process keeps for its workers: those of one process's memory, asked by name.

`asked` is the other end. What is asked comes from a process of ours, so its shape is not distrusted; what
strangers put into it (bodies, ids) is text here, and is read by who asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from voxray.stores.forms import expected_of, expected_text, session_of, session_text
from voxray.stores.memory import MemoryBoard, MemoryHandOver, MemoryReplays, MemorySessions, MemoryTokens
from voxray.stores.ports import LiveCall, Verdict

Handler = Callable[..., Coroutine[Any, Any, Any]]
Fields = Mapping[str, Any]


class Answering:
    """All of them. `table`: what may be asked."""

    def __init__(self, clock: Callable[[], float], board: MemoryBoard | None = None) -> None:
        self._sessions, self._replays, self._tokens = (
            MemorySessions(clock),
            MemoryReplays(clock),
            MemoryTokens(clock),
        )
        self._handover, self._board = MemoryHandOver(clock), board or MemoryBoard(clock)
        self.replaced: Callable[[LiveCall], None] = lambda call: None
        """Told of a stream whose call has a newer one, before its beat would tell it so."""
        self.table: Mapping[str, Handler] = {
            "session.put": self._put_session,
            "session.get": self._get_session,
            "session.delete": self._sessions.delete,
            "replay.once": self._once,
            "replay.before": self._before,
            "token.spend": self._spend,
            "call.put": self._put_call,
            "call.get": self._get_call,
            "call.take": self._take_call,
            "dial.get": self._get_dialed,
            "dial.take": self._take_dialed,
            "board.reserve": self._reserve,
            "board.renew": self._renew,
            "board.release": self._release,
            "board.calls": self._calls,
            "board.count": self._board.count,
            "board.live": self._board.live,
            "board.seen": self._board.seen,
        }

    async def forget(self, node: str) -> int:
        """That instance is gone, and its calls with it: their places are free. How many they were."""
        gone = 0
        while mine := [call for call in await self._board.calls() if call.node == node]:
            for call in mine:
                await self._board.release(call, over=False)
            gone += len(mine)
        return gone

    # -- sessions and replays ----------------------------------------------------
    async def _put_session(self, session_id: str, text: str, secs: float) -> None:
        await self._sessions.put(session_id, session_of(text.encode("utf-8")), secs)

    async def _get_session(self, session_id: str) -> str | None:
        session = await self._sessions.get(session_id)
        return None if session is None else session_text(session).decode("utf-8")

    async def _once(self, key: str, answer: str, secs: float) -> str:
        return (await self._replays.once(key, answer.encode("latin-1"), secs)).decode("latin-1")

    async def _before(self, key: str) -> str | None:
        answer = await self._replays.before(key)
        return None if answer is None else answer.decode("latin-1")

    # -- tokens and announced calls ----------------------------------------------
    async def _spend(self, nonce: str, secs: float) -> bool:
        return await self._tokens.spend(nonce, secs)

    async def _put_call(self, text: str, secs: float, dial_id: str) -> None:
        await self._handover.put(expected_of(text.encode("utf-8")), secs, dial_id=dial_id)

    async def _get_call(self, carrier: str, call_sid: str) -> str | None:
        return _worded(await self._handover.get(carrier, call_sid))

    async def _take_call(self, carrier: str, call_sid: str) -> str | None:
        return _worded(await self._handover.take(carrier, call_sid))

    async def _get_dialed(self, dial_id: str) -> str | None:
        return _worded(await self._handover.get_dialed(dial_id))

    async def _take_dialed(self, dial_id: str) -> str | None:
        return _worded(await self._handover.take_dialed(dial_id))

    # -- the board -----------------------------------------------------------------
    async def _reserve(self, call: Fields, limit: int, take_over: bool) -> list[object]:
        wanted = LiveCall(**call)
        before = self._board.holder(wanted)
        reserved = await self._board.reserve(wanted, limit, take_over=take_over)
        if reserved.verdict is Verdict.ADMITTED and before is not None and before.lease != wanted.lease:
            self.replaced(before)
        return [reserved.verdict.value, reserved.count]

    async def _renew(self, calls: Sequence[Fields]) -> list[object]:
        renewed = await self._board.renew([LiveCall(**call) for call in calls])
        return [renewed.count, list(renewed.lost)]

    async def _release(self, call: Fields, over: bool) -> None:
        await self._board.release(LiveCall(**call), over=over)

    async def _calls(self) -> list[dict[str, Any]]:
        return [asdict(call) for call in await self._board.calls()]


def _worded(expected: Any) -> str | None:
    return None if expected is None else expected_text(expected).decode("utf-8")
