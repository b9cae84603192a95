"""Audio messages put back in order by the number the carrier gave them. Pure.

Telnyx: "the order of media messages is not guaranteed"; each has a `chunk`, counted from 1. What comes in
order goes through at once. What comes early waits, but not for long: once `window` messages wait, the
missing one is given up, so that a lost message costs `window` packets of delay (60 ms) and no more.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

WINDOW = 3
"""Messages that may wait for one that is missing."""

RESTARTED = 8
"""So many late ones in a row are no stragglers: the carrier counts from somewhere else now."""


class Reorder(Generic[T]):
    """One stream's window."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._next: int | None = None  # the number to go out next
        self._waiting: dict[int, T] = {}
        self._late_in_a_row = 0

    @property
    def due(self) -> int:
        """The number to go out next; those it has passed over are given up."""
        return self._next or 0

    def feed(self, number: int, item: T) -> list[T] | None:
        """What can go out now, in order; perhaps nothing yet. None: too late, or a duplicate."""
        if number == self._next and not self._waiting:  # nearly always
            self._next = number + 1
            self._late_in_a_row = 0
            return [item]
        if self._next is None:
            self._next = min(number, 1)
        if number < self._next:
            return self._late(number, item)
        if number in self._waiting:
            return None
        self._late_in_a_row = 0
        self._waiting[number] = item
        if self._next not in self._waiting and len(self._waiting) > self._window:
            self._next = min(self._waiting)
        return self._ready()

    def _late(self, number: int, item: T) -> list[T] | None:
        self._late_in_a_row += 1
        if self._late_in_a_row < RESTARTED:
            return None
        self._late_in_a_row = 0
        self._waiting.clear()
        self._next = number + 1
        return [item]

    def _ready(self) -> list[T]:
        ready: list[T] = []
        while self._next in self._waiting:
            ready.append(self._waiting.pop(self._next))
            self._next += 1
        return ready
