"""A second socket for a call that has one: a thief's of the stream's address, or the carrier's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from voxray.simulator.result import CallResult, Duplicate
from voxray.simulator.wires.vocabulary import Wire


class DuplicateSocket:
    """Says a `start` of its own, with another stream id, and listens. `result` says what became of it."""

    def __init__(self, wire: Wire, parameters: Mapping[str, str]) -> None:
        self._wire, self._parameters = wire, parameters
        self._close: Callable[[int], None] | None = None
        self.result = Duplicate()

    def start(
        self, send: Callable[[str], None], close: Callable[[int], None], abort: Callable[[], None]
    ) -> None:
        self._close = close
        for text in self._wire.opening(self._parameters):
            send(text)

    def message(self, payload: bytes, is_binary: bool = False) -> None:
        self.result.messages += 1

    def closed(self, code: int | None) -> None:
        """By the agent; not when the call is over."""
        if self._close is not None:
            self.result.close_code = code
        self._close = None

    def refused(self, reason: str) -> None:
        self.result.refused = reason

    def call_over(self, result: CallResult) -> CallResult:
        """A callback of the call's."""
        self.hang_up()
        return result

    def hang_up(self, ended_by: str = "") -> None:
        """The call is over."""
        close, self._close = self._close, None
        if close is not None:
            close(1000)
