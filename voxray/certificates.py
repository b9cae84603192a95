"""The certificate that new connections get: read at the start, and again whenever its files change.

A renewed pair is taken on SIGHUP at once, and without it within seconds: the files are looked at every few
seconds, by a thread, for a disk may hang. Connections that are up keep the certificate they began with. A
pair that is broken, half written or out of date does not replace one that serves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from voxray.errors import ConfigError, ProviderError
from voxray.interfaces import Worker
from voxray.tls import Pair, load

LOOK_SECS = 5.0
WARN_DAYS = 14
DAY_SECS = 86_400.0

Stamp = tuple[tuple[int, ...] | None, ...]
"""Of each file what changes when it is written or replaced; None: it is not there."""


class CertificateRecorder(Protocol):
    """What the metrics want to know; `outcome` is "loaded" or "kept"."""

    def reloaded(self, outcome: str) -> None: ...

    def serving_until(self, timestamp: float) -> None: ...


def notice(pair: Pair, now: float) -> str | None:
    """What the owner should be told of the pair that serves; None while all is well. Pure."""
    if now < pair.not_before:
        return f"is not valid before {_date(pair.not_before)}: is this machine's clock right?"
    days = pair.days_left(now)
    if days < 0:
        return f"expired on {_date(pair.not_after)}: carriers refuse to connect"
    if days < WARN_DAYS:
        return f"expires on {_date(pair.not_after)}, in {days} day{'s' * (days != 1)}: renew it"
    return None


def objection(new: Pair, old: Pair, now: float) -> str | None:
    """Why `new` must not replace `old`; None if it may. Pure."""
    if new.valid_at(now) or not old.valid_at(now):
        return None
    return f"the new certificate {notice(new, now)}"


def _date(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """Hands the current certificate to every new connection. A service's startable."""

    log = Logger()

    def __init__(
        self,
        cert_file: str,
        key_file: str,
        worker: Worker,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
        recorder: CertificateRecorder,
    ) -> None:
        """Reads the files, and so blocks: before the reactor runs. Raises ConfigError."""
        self._files = cert_file, key_file
        self._worker, self._clock, self._wall_clock = worker, clock, wall_clock
        self._recorder = recorder
        self._stamp: Stamp = self._look()
        self._pair = load(cert_file, key_file)
        self._seen = self._stamp
        self._asked = self._busy = False
        self._noticed: float | None = None
        self._looking = LoopingCall(self._look_again)
        self._looking.clock = clock

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return SSL.Connection(self._pair.context, None)

    # -- a service's life ------------------------------------------------------
    async def start(self) -> None:
        self._recorder.serving_until(self._pair.not_after)
        self._introduce()
        self._looking.start(LOOK_SECS, now=False)

    async def stop(self) -> None:
        if self._looking.running:
            self._looking.stop()

    def use(self, cert_file: str, key_file: str) -> None:
        """The pair is in other files from now on."""
        if cert_file and key_file and (cert_file, key_file) != self._files:
            self._files = cert_file, key_file
            self.reload()

    # -- reading again ---------------------------------------------------------
    def reload(self) -> None:
        """Somebody says that there is something new: SIGHUP. Never raises, never blocks."""
        self._asked = True
        if self._busy:
            self.log.info("TLS: the files are being read, and will be once more")
        else:
            self._begin(self._read_again())

    def _look_again(self) -> None:
        self._mind_expiry()
        if not self._busy:  # else the disk has not answered yet
            self._begin(self._read_if_changed())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._busy = True
        Deferred.fromCoroutine(work).addErrback(self._failed).addBoth(self._over)

    def _over(self, result: None) -> None:
        self._busy = False
        if self._asked:  # while a look was on its way
            self._begin(self._read_again())

    def _failed(self, failure: Failure) -> None:
        self._asked = False
        if not failure.check(CancelledError, ProviderError):  # those are the worker's, when it stops
            self.log.failure("TLS: looking after the certificate failed", failure)

    async def _read_again(self) -> None:
        while self._asked:
            self._asked = False
            self._take(*await self._worker.run(self._read))

    async def _read_if_changed(self) -> None:
        """Two looks must agree: certificate and key are not replaced in one go."""
        before, self._seen = self._seen, await self._worker.run(self._look)
        if self._seen == before and self._seen != self._stamp:
            self._take(*await self._worker.run(self._read))

    def _look(self) -> Stamp:
        """In the worker's thread."""
        return tuple(_stamp(path) for path in self._files)

    def _read(self) -> tuple[Stamp, Pair | ConfigError]:
        """In the worker's thread. The stamp first: what is written meanwhile is seen by the next look."""
        stamp = self._look()
        try:
            return stamp, load(*self._files)
        except ConfigError as error:
            return stamp, error

    # -- deciding --------------------------------------------------------------
    def _take(self, stamp: Stamp, read: Pair | ConfigError) -> None:
        self._stamp = self._seen = stamp  # broken or not: one line for each change
        if isinstance(read, ConfigError):
            self._keep(str(read))
        elif (reason := objection(read, self._pair, self._wall_clock())) is not None:
            self._keep(reason)
        else:
            self._pair = read
            self._recorder.reloaded("loaded")
            self._recorder.serving_until(read.not_after)
            self._introduce()

    def _keep(self, reason: str) -> None:
        self._recorder.reloaded("kept")
        self.log.error("TLS: the certificate stays the old one: {reason}", reason=reason)

    # -- what the owner is told ------------------------------------------------
    def _introduce(self) -> None:
        pair, self._noticed = self._pair, None
        names = ", ".join(pair.names[:8]) or "no host"
        text = "TLS: serving with the certificate of {names}, valid until {date}"
        self.log.info(text, names=names, date=_date(pair.not_after))
        if pair.incomplete:
            self.log.warn(
                "TLS: tls_cert_file holds one certificate, and not its issuer's: carriers may refuse it; "
                "give the whole chain (fullchain.pem)"
            )
        self._mind_expiry()

    def _mind_expiry(self) -> None:
        """Once a day, until it is renewed."""
        text, now = notice(self._pair, self._wall_clock()), self._clock.seconds()
        if text is not None and (self._noticed is None or now - self._noticed >= DAY_SECS):
            self._noticed = now
            self.log.warn("TLS: the certificate {text}", text=text)


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
