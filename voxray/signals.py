"""What signals do to the daemon: none may kill calls by surprise.

A handler does nothing but hand over to the reactor's thread: one that raised, or touched a call, would do so
in the middle of whatever was running.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from twisted.logger import Logger


class Signals:
    """SIGHUP's default is to kill the process, and SIGTERM's in Twisted is to stop the reactor at once."""

    log = Logger()

    def __init__(
        self,
        call_from_thread: Callable[..., Any],
        on_hangup: Sequence[Callable[[], None]] = (),
        on_term: Callable[[], None] = lambda: None,
    ) -> None:
        """`call_from_thread` is the reactor's: the only way from a signal handler into it.

        `on_hangup`: what is to be done on SIGHUP, in this order, `on_term` on SIGTERM and SIGINT, each time
        one comes; on the reactor's thread.
        """
        self._call_from_thread = call_from_thread
        self._on_hangup, self._on_term = on_hangup, on_term
        self._before: dict[int, Any] = {}

    def running(self) -> None:
        """The daemon begins. Under nohup SIGHUP is ignored already, and stays so."""
        self._set(signal.SIGHUP, self._hung_up)

    def reactor_runs(self) -> None:
        """The reactor has set handlers of its own; these take their place."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._set(number, self._terminated)

    def restore(self) -> None:
        """As it was before `running`; for a process that goes on, such as a test's."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _set(self, number: int, handler: Callable[[int, FrameType | None], None]) -> None:
        if signal.getsignal(number) is not signal.SIG_IGN:
            self._before.setdefault(number, signal.signal(number, handler))

    def _hung_up(self, number: int, frame: FrameType | None) -> None:
        self._call_from_thread(self._reload)

    def _reload(self) -> None:
        """One part's failure must not keep the others from their turn."""
        self.log.info("SIGHUP: configuration and certificates are read again")
        for reload in self._on_hangup:
            try:
                reload()
            except Exception:  # noqa: BLE001
                self.log.failure("SIGHUP: reading again failed")

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        self._call_from_thread(self._on_term)
