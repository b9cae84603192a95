"""What workers ask of their parent: the stores, and what the other workers know."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from voxray.errors import StoreUnavailable
from voxray.metrics import CrewMetrics
from voxray.stores.answering import Answering
from voxray.stores.ports import LiveCall
from voxray.workers.hand import Hand
from voxray.workers.line import ASK_SECS, Answers
from voxray.workers.merging import Exposition, merged, read, written

MAX_CLAIMS = 10_000
ORDER_SECS = 30.0
"""A carrier may take its time to dial."""


class Desk:
    """One for the parent. `hands()`: the workers that serve."""

    log = Logger()

    def __init__(self, clock: Callable[[], float], hands: Callable[[], Sequence[Hand]]) -> None:
        self._hands = hands
        self._answering = Answering(clock)
        self._answering.replaced = self._replaced
        self._claims: OrderedDict[str, int] = OrderedDict()
        self._last: dict[int, Exposition] = {}
        self._gone: Exposition = {}
        disable_created_metrics()  # type: ignore[no-untyped-call]  # as in `metrics`
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.metrics = CrewMetrics(registry)

    def answers(self, hand: Hand) -> Answers:
        """What that worker may ask."""
        return {
            **self._answering.table,
            "exposition": self._exposition,
            "claim": lambda key: self._claim(hand, key),
            "others": lambda what, said: self._others(hand, what, said),
            "other": self._other,
        }

    async def forget(self, hand: Hand) -> int:
        """It is gone. How many calls went with it."""
        number = hand.number
        self._claims = OrderedDict((k, owner) for k, owner in self._claims.items() if owner != number)
        if (last := self._last.pop(number, None)) is not None:
            self._gone = merged([], [self._gone, last])
        return await self._answering.forget(hand.node)

    # -- metrics -----------------------------------------------------------------
    async def _exposition(self) -> str:
        """All workers' metrics as one; who is late is missing, but for what it had counted."""
        hands = self._hands()
        texts = await _all([self._asked(hand, "metrics", {}) for hand in hands])
        living: list[Exposition] = []
        for hand, text in zip(hands, texts, strict=True):
            if text is None:
                self.metrics.missed.inc()
            else:
                self._last[hand.number] = read(text)
                living.append(self._last[hand.number])
        told = {hand.number for hand, text in zip(hands, texts, strict=True) if text is not None}
        silent = [last for number, last in self._last.items() if number not in told]
        self.metrics.workers.set(len(hands))
        own = read(generate_latest(self._registry).decode("utf-8"))
        return written(merged([*living, own], [self._gone, *silent])).decode("utf-8")

    # -- calls -------------------------------------------------------------------
    def _replaced(self, call: LiveCall) -> None:
        for hand in self._hands():
            if hand.node == call.node:
                hand.tell("lost", {"lease": call.lease})

    async def _claim(self, hand: Hand, key: str) -> int:
        """Who answers orders with that key: whoever had the first of them."""
        owner = self._claims.setdefault(key, hand.number)
        self._claims.move_to_end(key)
        if len(self._claims) > MAX_CLAIMS:
            self._claims.popitem(last=False)
        return owner

    async def _others(self, hand: Hand, what: str, said: Mapping[str, object]) -> list[Any]:
        """What the other workers answer; None for one who is late."""
        others = [other for other in self._hands() if other is not hand]
        return await _all([self._asked(other, what, said) for other in others])

    async def _other(self, number: int, what: str, said: Mapping[str, object]) -> Any:
        """What that worker answers; None when it does not."""
        found = [hand for hand in self._hands() if hand.number == number]
        return await self._asked(found[0], what, said, ORDER_SECS) if found else None

    async def _asked(self, hand: Hand, what: str, said: Mapping[str, object], secs: float = ASK_SECS) -> Any:
        try:
            return await hand.line.ask(what, said, secs)
        except StoreUnavailable:
            return None


async def _all(asking: Sequence[Any]) -> list[Any]:
    """Each one's answer, in their order."""
    made: Any = gatherResults([Deferred.fromCoroutine(each) for each in asking], consumeErrors=True)
    return list(await made)
