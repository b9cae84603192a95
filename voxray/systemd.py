"""What systemd is told over its socket: started, alive, reloading, stopping. See sd_notify(3).

Without $NOTIFY_SOCKET, as in a terminal, nothing is sent. Nothing here raises or blocks: a service manager
that does not listen must not cost a call. The watchdog is fed from the reactor, so that a loop that hangs is
a process that systemd restarts; half of the period leaves room for one late beat.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

BEAT_SECS = 5.0  # how old the status may be where there is no watchdog
USEC = 1_000_000


class Notify:
    """The sender. The socket is kept open: with no descriptor left the watchdog must still be fed."""

    log = Logger()

    def __init__(self, address: str, clock: IReactorTime, watchdog_secs: float = 0.0) -> None:
        """`address` is a path, or @ and an abstract name; empty: nobody listens.

        `clock` is monotonic: systemd compares MONOTONIC_USEC with its own.
        """
        self._clock = clock
        self._failed = False
        self._address = _address(address)
        self._socket = self._opened() if self._address else None
        self._watchdog_secs = watchdog_secs if self._socket else 0.0
        self._describe: Callable[[], str] | None = None
        self._alive: Callable[[], bool] = lambda: True
        self._status = ""
        self._beats = LoopingCall(self._beat)
        self._beats.clock = clock

    @classmethod
    def of(cls, environ: Mapping[str, str], clock: IReactorTime) -> Notify:
        """As systemd's variables ask for it, if they are meant for this process."""
        watchdog = 0.0
        if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            with suppress(ValueError):
                watchdog = max(0, int(environ.get("WATCHDOG_USEC", "0"))) / USEC
        return cls(environ.get("NOTIFY_SOCKET", ""), clock, watchdog)

    # -- the daemon's life -----------------------------------------------------
    def ready(self) -> None:
        """Calls are answered; also after a reload."""
        self._send("READY=1", *self._current_status())

    def reloading(self) -> None:
        """The configuration is being read again; `ready` says that it was, well or not."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.seconds() * USEC)}")

    def stopping(self) -> None:
        """The end has begun, for whatever reason; saying it twice does no harm."""
        self._send("STOPPING=1")

    def extend(self, secs: float) -> None:
        """From now on starting or stopping may take so long. To be repeated before it is over."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(secs * USEC)}")

    # -- while it lives --------------------------------------------------------
    @property
    def watchdog_secs(self) -> float:
        """Without a beat for so long systemd kills us; 0: it does not watch."""
        return self._watchdog_secs

    def watch(self, describe: Callable[[], str], alive: Callable[[], bool] = lambda: True) -> None:
        """Feeds the watchdog, if there is one, while `alive()`; shows `describe()` in `systemctl status`."""
        self._describe, self._alive = describe, alive
        if self._socket and not self._beats.running:
            self._beats.start(min(self._watchdog_secs / 2 or BEAT_SECS, BEAT_SECS))

    def unwatch(self) -> None:
        """The last thing before the process ends: a stop takes time, and the watchdog may still count."""
        if self._beats.running:
            self._beats.stop()
        if self._socket:
            self._socket.close()
            self._socket = None

    def _beat(self) -> None:
        status = self._current_status()
        words = (*(("WATCHDOG=1",) if self._watchdog_secs and self._alive() else ()), *status)
        if words:
            self._send(*words)

    def _current_status(self) -> tuple[str, ...]:
        """STATUS= if it is another than systemd knows."""
        status = self._describe() if self._describe else ""
        if status == self._status:
            return ()
        self._status = status
        return (f"STATUS={' '.join(status.split())}",)

    # -- the socket ------------------------------------------------------------
    def _opened(self) -> socket.socket | None:
        try:
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        except OSError as error:
            self._cannot(error)
            return None
        opened.setblocking(False)
        return opened

    def _send(self, *words: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(words).encode(), self._address)
        except (OSError, ValueError) as error:
            self._cannot(error)
        else:
            self._failed = False

    def _cannot(self, error: Exception) -> None:
        """Said once, not at every beat."""
        if not self._failed:
            self.log.warn("systemd cannot be told how we are: {reason}", reason=str(error))
        self._failed = True


def _address(text: str) -> bytes:
    """For sendto; empty for what is no UNIX address, such as vsock:..."""
    if text.startswith("@"):
        return b"\0" + os.fsencode(text[1:])
    return os.fsencode(text) if text.startswith("/") else b""
