"""A reactor for one errand: it runs until the answer is there, and cannot be run again."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import react

T = TypeVar("T")
INTERRUPTED = 130


def with_reactor(errand: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    """What the errand returns. SystemExit when it was interrupted, or failed by a fault of ours."""
    answer: list[T] = []

    async def kept(reactor: Any) -> None:
        reactor.seconds = time.monotonic
        answer.append(await errand(reactor))

    try:
        react(lambda reactor: Deferred.fromCoroutine(kept(reactor)))
    except SystemExit as end:
        if not answer:
            raise SystemExit(end.code or INTERRUPTED) from None
    return answer[0]
