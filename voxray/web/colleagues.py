"""The calls API where several processes share one port: who is asked about calls asks the others.

They are asked through the parent process, half a second at most, but for orders: an order with an
Idempotency-Key that came before is answered by the process that had it first, however long the carrier takes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from voxray.errors import StoreUnavailable
from voxray.web.envelope import Details

OTHERS_SECS = 1.5
ORDER_SECS = 35.0
"""Longer than the parent waits for them."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer before it is HTTP. With a `message` it is a failure."""

    status: int
    data: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    details: Details = ()


LATE = Reply(503, message="Service unavailable")


class Ask(Protocol):
    """The line to the parent."""

    def __call__(
        self, what: str, said: Mapping[str, object] | None = None, secs: float = ..., /
    ) -> Coroutine[Any, Any, Any]:
        """Raises StoreUnavailable."""


class Board(Protocol):
    """The part of `calls.Calls` used here."""

    def here(self) -> list[dict[str, object]]: ...

    def show_here(self, call_id: str) -> Reply | None: ...

    async def end_here(self, call_id: str) -> Reply | None: ...

    async def place_here(self, key: str, body: bytes) -> Reply: ...


class Colleagues:
    """The other processes, as one of them sees them."""

    def __init__(self, ask: Ask, number: int) -> None:
        """`number`: which one this is."""
        self._ask, self._number = ask, number

    async def calls(self) -> tuple[list[dict[str, object]], int]:
        """Their calls, and how many of them did not answer (-1: nobody could be asked)."""
        try:
            answers = await self._others("calls", {})
        except StoreUnavailable:
            return [], -1
        return [call for answer in answers if answer for call in answer["calls"]], answers.count(None)

    async def show(self, call_id: str) -> Reply | None:
        """None: no such call."""
        return await self._found("show", call_id)

    async def end(self, call_id: str) -> Reply | None:
        """None: no such call."""
        return await self._found("end", call_id)

    async def place(self, key: str, body: bytes) -> Reply | None:
        """What became of the order with that key elsewhere. None: it is this process's."""
        try:
            owner = await self._ask("claim", {"key": key})
            if owner == self._number:
                return None
            said = {"key": key, "body": body.decode("latin-1")}
            what = {"number": owner, "what": "place", "said": said}
            answer = await self._ask("other", what, ORDER_SECS)
        except StoreUnavailable:
            return LATE
        return LATE if answer is None else Reply(**answer["reply"])

    async def _found(self, what: str, call_id: str) -> Reply | None:
        try:
            answers = await self._others(what, {"call_id": call_id})
        except StoreUnavailable:
            return LATE
        found = [answer["reply"] for answer in answers if answer and answer["reply"]]
        if found:
            return Reply(**found[0])
        return LATE if None in answers else None

    async def _others(self, what: str, said: Mapping[str, object]) -> list[Any]:
        answers: list[Any] = await self._ask("others", {"what": what, "said": said}, OTHERS_SECS)
        return answers


def answers(board: Callable[[], Board | None]) -> Mapping[str, Callable[..., Coroutine[Any, Any, Any]]]:
    """What this process tells the others. `board()` is None where no carrier is in service."""

    async def calls() -> dict[str, object]:
        there = board()
        return {"calls": [] if there is None else there.here()}

    async def show(call_id: str) -> dict[str, object]:
        there = board()
        return _told(None if there is None else there.show_here(call_id))

    async def end(call_id: str) -> dict[str, object]:
        there = board()
        return _told(None if there is None else await there.end_here(call_id))

    async def place(key: str, body: str) -> dict[str, object]:
        there = board()
        return _told(LATE if there is None else await there.place_here(key, body.encode("latin-1")))

    return {"calls": calls, "show": show, "end": end, "place": place}


def _told(reply: Reply | None) -> dict[str, object]:
    return {"reply": None if reply is None else asdict(reply)}
