"""The stores in this process's memory: for one instance alone, and for when Redis is away.

Bounded; what is too old or too much goes, the oldest first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from voxray.call.expected import Expected
from voxray.stores.forms import expected_of, expected_text, session_of, session_text
from voxray.stores.ports import MAX_SHOWN, OVER_SECS, TTL_SECS, LiveCall, Renewed, Reserved, Session, Verdict

MAX_SPENT = 100_000
MAX_TEXT_BYTES = 64 << 20
ENTRY_BYTES = 500
"""What one entry takes besides its text, about."""
V = TypeVar("V")


class Fading(Generic[V]):
    """Values that are gone after their time, and together weigh no more than `most`."""

    def __init__(
        self, clock: Callable[[], float], most: int, weigh: Callable[[V], int] = lambda _: 1
    ) -> None:
        self._clock, self._most, self._weigh = clock, most, weigh
        self._values: OrderedDict[str, tuple[V, float]] = OrderedDict()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._values)

    def put(self, key: str, value: V, ttl_secs: float) -> None:
        self.pop(key)
        now = self._clock()
        self._values[key] = (value, now + ttl_secs)
        self._weight += self._weigh(value)
        while self._values:
            oldest, (_, until) = next(iter(self._values.items()))
            if now < until and self._weight <= self._most:
                return
            self.pop(oldest)

    def get(self, key: str) -> V | None:
        found = self._values.get(key)
        return found[0] if found is not None and self._clock() < found[1] else None

    def pop(self, key: str) -> V | None:
        value = self.get(key)
        found = self._values.pop(key, None)
        if found is not None:
            self._weight -= self._weigh(found[0])
        return value


def _texts(clock: Callable[[], float]) -> Fading[bytes]:
    return Fading(clock, MAX_TEXT_BYTES, lambda text: len(text) + ENTRY_BYTES)


class MemorySessions:
    """`ports.SessionStore`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._texts = _texts(clock)

    async def put(self, session_id: str, session: Session, ttl_secs: float) -> None:
        self._texts.put(session_id, session_text(session), ttl_secs)

    async def get(self, session_id: str) -> Session | None:
        text = self._texts.get(session_id)
        return None if text is None else session_of(text)

    async def delete(self, session_id: str) -> None:
        self._texts.pop(session_id)


class MemoryReplays:
    """`ports.Replays`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._texts = _texts(clock)

    async def once(self, key: str, answer: bytes, ttl_secs: float) -> bytes:
        before = self._texts.get(key)
        if before is None:
            self._texts.put(key, answer, ttl_secs)
        return answer if before is None else before

    async def before(self, key: str) -> bytes | None:
        return self._texts.get(key)


class MemoryTokens:
    """`ports.TokenLedger`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._spent: Fading[bool] = Fading(clock, MAX_SPENT)

    async def spend(self, nonce: str, ttl_secs: float) -> bool:
        if self._spent.get(nonce):
            return False
        self._spent.put(nonce, True, ttl_secs)
        return True


class MemoryHandOver:
    """`ports.HandOver`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._texts = _texts(clock)

    async def put(self, expected: Expected, ttl_secs: float, *, dial_id: str = "") -> None:
        key = f"dial {dial_id}" if dial_id else f"{expected.carrier} {expected.call_sid}"
        self._texts.put(key, expected_text(expected), ttl_secs)

    async def get(self, carrier: str, call_sid: str) -> Expected | None:
        return self._read(self._texts.get(f"{carrier} {call_sid}"))

    async def get_dialed(self, dial_id: str) -> Expected | None:
        return self._read(self._texts.get(f"dial {dial_id}"))

    async def take(self, carrier: str, call_sid: str) -> Expected | None:
        return self._read(self._texts.pop(f"{carrier} {call_sid}"))

    async def take_dialed(self, dial_id: str) -> Expected | None:
        return self._read(self._texts.pop(f"dial {dial_id}"))

    def _read(self, text: bytes | None) -> Expected | None:
        return None if text is None else expected_of(text)


class MemoryBoard:
    """`ports.CallBoard`, of one instance or of several in one process."""

    def __init__(self, clock: Callable[[], float], ttl_secs: float = TTL_SECS) -> None:
        self._clock, self._ttl_secs = clock, ttl_secs
        self._calls: dict[tuple[str, str], tuple[LiveCall, float]] = {}
        self._over: Fading[bool] = Fading(clock, MAX_SPENT)

    async def reserve(self, call: LiveCall, limit: int, *, take_over: bool) -> Reserved:
        self._lapse()
        held = self._calls.get(key_of(call))
        if held is not None and held[0].lease != call.lease and not take_over:
            return Reserved(Verdict.LIVE, len(self._calls))
        if held is None and len(self._calls) >= limit:
            return Reserved(Verdict.FULL, len(self._calls))
        self._hold(call)
        return Reserved(Verdict.ADMITTED, len(self._calls))

    async def renew(self, calls: Sequence[LiveCall]) -> Renewed:
        self._lapse()
        lost: list[str] = []
        for call in calls:
            held = self._calls.get(key_of(call))
            if held is not None and held[0].lease != call.lease:
                lost.append(call.lease)
            else:
                self._hold(call)
        return Renewed(len(self._calls), tuple(lost))

    async def release(self, call: LiveCall, *, over: bool = True) -> None:
        self._lapse()
        key = key_of(call)
        held = self._calls.get(key)
        if held is None or held[0].lease == call.lease:
            self._calls.pop(key, None)
            if over:
                self._over.put(repr(key), True, OVER_SECS)

    async def calls(self) -> list[LiveCall]:
        self._lapse()
        return [call for call, _ in self._calls.values()][:MAX_SHOWN]

    async def count(self) -> int:
        self._lapse()
        return len(self._calls)

    async def live(self, carrier: str, call_sid: str) -> bool:
        self._lapse()
        return (carrier, call_sid) in self._calls

    async def seen(self, carrier: str, call_sid: str) -> bool:
        return await self.live(carrier, call_sid) or bool(self._over.get(repr((carrier, call_sid))))

    def holder(self, call: LiveCall) -> LiveCall | None:
        """Which stream of that call has the place."""
        held = self._calls.get(key_of(call))
        return None if held is None else held[0]

    def _hold(self, call: LiveCall) -> None:
        self._calls[key_of(call)] = (call, self._clock() + self._ttl_secs)

    def _lapse(self) -> None:
        now = self._clock()
        self._calls = {key: held for key, held in self._calls.items() if now < held[1]}


def key_of(call: LiveCall) -> tuple[str, str]:
    """What tells calls apart: the carrier's id, or ours where it has none."""
    return call.carrier, call.call_sid or call.call_id
