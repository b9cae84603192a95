"""One HTTP request on one connection: its deadlines, its body piece by piece, its end.

`voxray.http` decides what to ask and whether to ask again; this module only sees to it that an answer
arrives in time, that a slow reader slows the sender, and that closing drops the connection at once
(that is the only way to make a vendor stop generating, and billing).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import HTTPConnectionPool, ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

from voxray.errors import ErrorKind, ProviderError
from voxray.interfaces import Clock
from voxray.vouching import why_refused

HIGH_WATER_BYTES = 65_536  # more than this unread: the sender is paused
RELEASE_SECS = 1.0
_RELEASE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds the vendor has. Time in which we do not read (the caller is still listening) is free."""

    connect: float = 3.0
    first_byte: float = 5.0  # from the connection to the first byte of the body
    gap: float = 3.0  # between two pieces of the body
    total: float = 30.0


class Watchdog:
    """One timer for one exchange. Moving the deadline is free; it is looked at when the timer fires."""

    def __init__(self, clock: Clock, total_secs: float, expire: Callable[[str], None]) -> None:
        self._clock = clock
        self._left = total_secs
        self._expire = expire
        self._since = 0.0
        self._due: float | None = None
        self._what = ""
        self._timer: Any = None

    def expect(self, secs: float, what: str) -> None:
        """We wait for the vendor from now on; `what` must come within `secs`."""
        self.relax()
        now = self._clock.seconds()
        self._since = now
        self._due = now + min(secs, self._left)
        self._what = what
        if self._timer is None:
            self._timer = self._clock.callLater(self._due - now, self._look)
        elif self._due < self._timer.getTime():
            self._timer.reset(self._due - now)

    def relax(self) -> None:
        """We do not wait for the vendor at present."""
        if self._due is not None:
            self._left -= self._clock.seconds() - self._since
            self._due = None

    def stop(self) -> None:
        self._due = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._due is None:
            return
        left = self._due - self._clock.seconds()
        if left > 0.001:
            self._timer = self._clock.callLater(left, self._look)
        else:
            self._due = None
            self._expire(self._what)


class HttpStream(Protocol):
    """An answer being read: `read` until it returns nothing, then or earlier `close`."""

    def __init__(self, clock: Clock, pool: HTTPConnectionPool, provider: str, deadlines: Deadlines) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        """Names in lower case."""
        self.complete = False
        """The body ended where its framing (length, chunks) said it would."""
        self.answered = False
        """At least one byte came back."""
        self._pool = pool
        self.persistent = pool.persistent  # Agent asks its pool
        self._provider = provider
        self._deadlines = deadlines
        self._watchdog = Watchdog(clock, deadlines.total, self._expired)
        self._opening: Deferred[IResponse] | None = None
        self._connection: Any = None
        self._begun = False  # the body has
        self._pieces: list[bytes] = []
        self._unread = 0
        self._paused = False
        self._discarding = False
        self._reader: Deferred[None] | None = None
        self._over = False
        self._cancelled = False
        self._error: ProviderError | None = None
        self._tls: Any = None

    # -- opening -------------------------------------------------------------
    async def opened(self, ask: Callable[[], Deferred[IResponse]]) -> None:
        """Calls `ask`, awaits status and headers, starts the body. Raises ProviderError."""
        self._watchdog.expect(self._deadlines.connect, "connection")
        # Our own Deferred, because what Twisted makes of a cancelled request does not tell: during the
        # name's look-up it is a DNSLookupError, while connecting a ConnectingCancelledError, then others.
        done: Deferred[IResponse] = Deferred(lambda _: self._cancel())
        self._opening = ask()
        self._opening.addBoth(lambda result: None if done.called else done.callback(result))
        try:
            response = await done
        except Exception as e:  # noqa: BLE001 - every failure of a request ends here and gets our name
            self.close()
            if self._cancelled and self._error is None:
                raise CancelledError() from None
            self.answered = isinstance(e, ResponseFailed) and not isinstance(e, ResponseNeverReceived)
            raise self._error or self._broken(e) from None
        finally:
            self._opening = None
        self.answered = True
        self.status = response.code
        for name, values in response.headers.getAllRawHeaders():
            self.headers[name.decode("latin-1").lower()] = values[-1].decode("latin-1")
        response.deliverBody(self)

    def getConnection(self, key: Any, endpoint: Any) -> Deferred[Any]:
        """Stands for the pool towards Agent: that is how we learn which connection is ours, and when."""
        return self._pool.getConnection(key, endpoint).addCallback(self._connected)

    def secured(self, tls: Any) -> None:
        """The connection is to be inside this."""
        self._tls = tls

    def _connected(self, connection: Any) -> Any:
        self._connection = connection
        if self._over:
            self._abort()  # it came too late
        else:
            self._watchdog.expect(self._deadlines.first_byte, "answer")
        return connection

    # -- the body ------------------------------------------------------------
    async def read(self) -> bytes:
        """What has arrived, all of it; waits for something. Nothing: the end. Raises ProviderError."""
        while not self._pieces:
            if self._over:
                if self._error is not None:
                    raise self._error
                return b""
            await self._more()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces, self._unread = [], 0
        if self._paused:
            self._paused = False
            self._producer().resumeProducing()
        return data

    def close(self) -> None:
        """Drops the connection unless the answer is complete (or released). Leaves no timer behind."""
        if not self._discarding:
            self._drop()

    def release(self) -> None:
        """The rest of the body is of no interest: let it pass (briefly), so that the connection is kept."""
        self._pieces, self._unread = [], 0
        if self._over:
            self._watchdog.stop()
            return
        self._discarding = True
        self._watchdog.expect(RELEASE_SECS, "end")
        if self._paused:
            self._paused = False
            self._producer().resumeProducing()

    async def _more(self) -> None:
        if self._begun:
            self._watchdog.expect(self._deadlines.gap, "next piece")
        self._reader = Deferred()
        try:
            await self._reader
        finally:
            self._reader = None

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        self._begun = True
        self._unread += len(data)
        if self._discarding:
            if self._unread > _RELEASE_BYTES:
                self._drop()
            return
        self._watchdog.relax()
        self._pieces.append(data)
        if self._unread > HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            self._producer().pauseProducing()
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._watchdog.stop()
        if self._over:
            return
        self._over = True
        if isinstance(reason.value, ResponseDone):
            self.complete = True
        elif not isinstance(reason.value, PotentialDataLoss):
            self._error = self._broken(reason.value)
        self._wake()

    def _cancel(self) -> None:
        self._cancelled = True
        if self._opening is not None:
            self._opening.cancel()

    # -- ends ----------------------------------------------------------------
    def _expired(self, what: str) -> None:
        self._error = ProviderError(self._provider, ErrorKind.TIMEOUT, f"no {what} in time")
        if self._opening is not None:
            self._opening.cancel()
        elif not self._over:
            self._over = True
            self._abort()
            self._wake()

    def _drop(self) -> None:
        self._watchdog.stop()
        if not self._over:
            self._over = True
            self._pieces = []
            self._abort()

    def _abort(self) -> None:
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.abortConnection()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.called:
            self._reader.callback(None)

    def _producer(self) -> Any:
        return self.transport

    def _broken(self, e: BaseException | None) -> ProviderError:
        cut = _has(e, error.ConnectionDone, error.ConnectionLost, error.ConnectionAborted)
        if self.answered and not cut:
            return ProviderError(self._provider, ErrorKind.BAD_ANSWER, "the answer is not proper HTTP")
        return ProviderError(self._provider, ErrorKind.TRANSPORT, _describe(e, self._tls))


def _reasons(e: BaseException | None) -> list[BaseException]:
    """The failures inside Twisted's wrappers, innermost last."""
    if e is None:
        return []
    inner = [r.value for r in getattr(e, "reasons", None) or [] if isinstance(r, Failure)]
    return [e, *(deep for one in inner for deep in _reasons(one))]


def _has(e: BaseException | None, *kinds: type[BaseException]) -> bool:
    return any(isinstance(one, kinds) for one in _reasons(e))


def _describe(e: BaseException | None, tls: Any) -> str:
    """A few words for the log: the kind of failure, never what was sent or received."""
    for one in reversed(_reasons(e)):
        if isinstance(one, error.DNSLookupError):
            return "the host's name is not known, or was not found in time"
        if isinstance(one, error.ConnectionRefusedError):
            return "connection refused"
        if isinstance(one, (error.ConnectionDone, error.ConnectionLost, error.ConnectionAborted)):
            return "the connection was cut"
        package = type(one).__module__.partition(".")[0]
        if package == "service_identity":
            return "TLS failed: the certificate was refused, it is for another name"
        if package == "OpenSSL":
            why = why_refused(tls)
            return f"TLS failed: the certificate was refused, {why}" if why else "TLS failed"
    return f"no answer ({type(_reasons(e)[-1]).__name__})"
