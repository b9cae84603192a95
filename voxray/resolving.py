"""Host names -> addresses, apart from everything else that threads do.

getaddrinfo blocks, for half a minute where a name server is silent. It has threads of its own here, few and
bounded; a name is looked up once at a time however many calls want it; nobody waits longer than a connection
may take; and an address that was good within the hour serves while the name server does not.
Installed at the reactor, so that carriers' APIs and Redis have it too.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
)
from twisted.logger import Logger
from zope.interface import implementer

from voxray import worker
from voxray.errors import ProviderError
from voxray.interfaces import Clock, Worker

TIMEOUT_SECS = 2.5
"""Less than the 3 s that a connection may take: the log then tells which of the two it was."""

KNOWN_TIMEOUT_SECS = 0.5
"""Where an address is known already: a stale one now is better than a fresh one too late."""

KNOWN_SECS = 3600.0
MAX_NAMES = 1000
THREADS, MAX_WAITING = 4, 64
STOP_SECS = 0.5
"""A look-up that hangs holds up no exit."""


Found = tuple[tuple[Any, ...], ...]
"""What getaddrinfo gives: (family, kind, protocol, name, (host, port, ...)), each."""

_FAMILIES = {
    frozenset({IPv4Address}): socket.AF_INET,
    frozenset({IPv6Address}): socket.AF_INET6,
}
_KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}


class GetAddrInfo(Protocol):
    def __call__(self, host: str, port: int, family: int, kind: int, /) -> Sequence[tuple[Any, ...]]: ...


@implementer(IHostResolution)
class _Asked:
    """One that waits."""

    def __init__(self, name: str, port: int, receiver: Any) -> None:
        self.name = name
        self.timer: Any = None
        self._port, self._receiver = port, receiver
        self._over = False

    def cancel(self) -> None:
        """IHostResolution."""
        self.answer(())

    def answer(self, found: Found) -> None:
        if self._over:
            return
        self._over = True
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        for family, kind, _, _, address in found:
            transport: Literal["TCP", "UDP"] = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
            made: Any = IPv6Address if family == socket.AF_INET6 else IPv4Address
            self._receiver.addressResolved(made(transport, address[0], self._port, *address[2:]))
        self._receiver.resolutionComplete()


@dataclass(slots=True)
class _Name:
    """What is known of a name, and who waits to know more."""

    found: Found = ()
    found_at: float = 0.0
    asking: bool = False
    told: bool = False
    """That it is stale; once is enough."""
    waiting: list[_Asked] = field(default_factory=list)

    def known(self, now: float) -> Found:
        return self.found if self.found and now - self.found_at <= KNOWN_SECS else ()


@implementer(IHostnameResolver)
class Resolver:
    """One for the process."""

    log = Logger()

    def __init__(self, clock: Clock, threads: Worker, getaddrinfo: GetAddrInfo = socket.getaddrinfo) -> None:
        """`threads` run nothing else."""
        self._clock, self._worker, self._getaddrinfo = clock, threads, getaddrinfo
        self._names: dict[tuple[str, int, int], _Name] = {}

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type] | None = None,
        transportSemantics: str = "TCP",
    ) -> _Asked:
        """IHostnameResolver."""
        family = _FAMILIES.get(frozenset(addressTypes or ()), socket.AF_UNSPEC)
        kind = _KINDS[transportSemantics]
        asked = _Asked(hostName, portNumber, resolutionReceiver)
        resolutionReceiver.resolutionBegan(asked)
        if literal := _literal(hostName, family, kind):
            asked.answer(literal)
            return asked
        name = self._name(hostName, family, kind)
        patience = KNOWN_TIMEOUT_SECS if name.known(self._clock.seconds()) else TIMEOUT_SECS
        asked.timer = self._clock.callLater(patience, self._too_late, name, asked)
        name.waiting.append(asked)
        if not name.asking:
            name.asking = True
            asking = Deferred.fromCoroutine(self._ask(name, hostName, family, kind))
            asking.addErrback(lambda failure: self.log.failure("a look-up failed", failure))
        return asked

    def _name(self, *key: Any) -> _Name:
        """The one that was wanted last is kept longest."""
        name = self._names.pop(key, None) or _Name()
        self._names[key] = name
        if len(self._names) > MAX_NAMES:
            idle = next((old for old, each in self._names.items() if not each.asking), None)
            if idle is not None:
                del self._names[idle]
        return name

    async def _ask(self, name: _Name, host: str, family: int, kind: int) -> None:
        found: Found = ()
        try:
            found = tuple(await self._worker.run(lambda: self._getaddrinfo(host, 0, family, kind)))
        except (OSError, UnicodeError, ProviderError, CancelledError):  # unknown, or too many are asked for
            pass
        finally:
            name.asking = False
        if found:
            name.found, name.found_at, name.told = found, self._clock.seconds(), False
        waiting, name.waiting = name.waiting, []
        for asked in waiting:
            asked.answer(self._best(name, host))

    def _too_late(self, name: _Name, asked: _Asked) -> None:
        name.waiting = [each for each in name.waiting if each is not asked]
        asked.answer(self._best(name, asked.name))

    def _best(self, name: _Name, host: str) -> Found:
        now = self._clock.seconds()
        known = name.known(now)
        if known and not name.told and name.found_at < now:
            name.told = True
            age = now - name.found_at
            self.log.warn("{host} is not found now: its address of {age:.0f} s ago", host=host, age=age)
        return known


def install(reactor: Any) -> worker.ThreadWorker:
    """Gives the reactor a resolver, where it takes one. Its threads, to be stopped."""
    threads = worker.ThreadWorker(reactor, "names", THREADS, MAX_WAITING, stop_secs=STOP_SECS)
    if IReactorPluggableNameResolver.providedBy(reactor):
        clock: Any = reactor
        reactor.installNameResolver(Resolver(clock, threads))
    return threads


def _literal(host: str, family: int, kind: int) -> Found:
    """An address that is one already needs no thread."""
    for each, length in ((socket.AF_INET, 2), (socket.AF_INET6, 4)):
        if family in (each, socket.AF_UNSPEC):
            try:
                socket.inet_pton(each, host)
            except (OSError, ValueError, UnicodeError):
                continue
            return ((each, kind, 0, "", (host, 0, 0, 0)[:length]),)
    return ()
