"""The media socket of a simulated call, as it is at the moment: none, opened but not begun, begun, gone.

It says the carrier's first and last messages; in between it passes on what the call says, and drops what is
said while there is no socket. The clock is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from voxray.simulator.wires.vocabulary import Quirks, Wire

JUNK = ("not json", "[1]", '{"event":"telemetry","telemetry":null}')


class Clock(Protocol):
    """The reactor's or a test's; `seconds` must be monotonic."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> Any: ...


class Channel:
    """One call's. `begun` is told when `start` has been sent, on each socket."""

    def __init__(self, clock: Clock, wire: Wire, quirks: Quirks, begun: Callable[[], None]) -> None:
        self._clock, self._wire, self._quirks, self._begun = clock, wire, quirks, begun
        self._send: Callable[[str], None] | None = None
        self._close: Callable[[int], None] | None = None
        self._starting: Any = None
        self.up = False  # `start` was sent on the socket there is
        self.sockets = 0

    def opened(
        self, send: Callable[[str], None], close: Callable[[int], None], parameters: Mapping[str, str]
    ) -> None:
        """There is a socket. Everything but `start` is said at once."""
        self._send, self._close = send, close
        if self.sockets:
            self._wire.reopened()
        self.sockets += 1
        *first, start = self._wire.opening(parameters)
        for text in (*first, *(JUNK if self._quirks.junk else ())):
            send(text)
        if self._quirks.start_delay_secs > 0:
            self._starting = self._clock.callLater(self._quirks.start_delay_secs, self._start, start)
        else:
            self._start(start)

    def _start(self, start: str) -> None:
        self._starting = None
        self.up = True
        self.send(start)
        self._begun()

    def send(self, text: str) -> None:
        """Nothing when there is no socket."""
        if self._send is not None:
            self._send(text)

    def lost(self) -> None:
        """The socket is gone."""
        if self._starting is not None:
            self._starting.cancel()
        self._send = self._close = self._starting = None
        self.up = False

    def end(self) -> None:
        """The call is over: the last messages, and the close, as this carrier has them."""
        if self._send is None or self._close is None:
            return
        if self.up:
            for text in self._wire.ended(self._quirks.stop):
                self.send(text)
        close = self._close
        leaves_open = not self._quirks.close_after_stop and self.up
        self.lost()
        if not leaves_open:
            close(1000)
