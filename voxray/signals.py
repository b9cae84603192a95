"""What signals do to the daemon beyond Twisted's SIGTERM and SIGINT: none may kill calls by surprise."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from twisted.logger import Logger


class Signals:
    """SIGHUP's default is to kill the process, and a second SIGTERM would be a traceback in Twisted."""

    log = Logger()

    def __init__(
        self, call_from_thread: Callable[..., Any], on_hangup: Sequence[Callable[[], None]] = ()
    ) -> None:
        """`call_from_thread` is the reactor's: the only way from a signal handler into it.

        `on_hangup`: what is to be done on SIGHUP, in this order, on the reactor's thread.
        """
        self._call_from_thread = call_from_thread
        self._on_hangup = on_hangup
        self._before: dict[int, Any] = {}

    def running(self) -> None:
        """The daemon begins. Under nohup SIGHUP is ignored already, and stays so."""
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._set(signal.SIGHUP, self._hung_up)

    def stopping(self) -> None:
        """The end has begun and is bounded: asking again changes nothing."""
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._set(number, self._asked_again)

    def restore(self) -> None:
        """As it was before `running`; for a process that goes on, such as a test's."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _set(self, number: int, handler: Callable[[int, FrameType | None], None]) -> None:
        self._before.setdefault(number, signal.signal(number, handler))

    def _hung_up(self, number: int, frame: FrameType | None) -> None:
        self._call_from_thread(self._reload)

    def _reload(self) -> None:
        """One part's failure must not keep the others from their turn."""
        self.log.info("SIGHUP: certificates are read again; to change the configuration, restart")
        for reload in self._on_hangup:
            try:
                reload()
            except Exception:  # noqa: BLE001
                self.log.failure("SIGHUP: reading again failed")

    def _asked_again(self, number: int, frame: FrameType | None) -> None:
        self._call_from_thread(self.log.info, "already stopping")
