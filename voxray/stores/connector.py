"""Opens a connection to Redis: finds the master, speaks TLS, introduces us, and sees whom it met."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from OpenSSL.crypto import Error as PemError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.ssl import Certificate, optionsForClientTLS, platformTrust, trustRootFromCertificates
from twisted.logger import Logger

from voxray.errors import ConfigError
from voxray.stores.address import Host, RedisAddress
from voxray.stores.link import HELLO_SECS, Wire
from voxray.stores.replies import Lost, Meaning, Refusal, Reply

CONNECT_SECS = 1.0
SENTINEL_SECS = 0.5
"""For the connection to one sentinel, and again for its answer: then the next one is asked."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
T = TypeVar("T")


class Connector:
    """`link.Connect`. One attempt at a time: a name server that hangs costs one thread, no more."""

    log = Logger()

    def __init__(self, address: RedisAddress, reactor: Any, factory: Any) -> None:
        """`factory` makes a `Wire` for each connection. Raises ConfigError."""
        self._address, self._reactor, self._factory = address, reactor, factory
        self._trust = _trust(address.ca_file) if address.tls else None
        self._sentinels = list(address.hosts)

    async def __call__(self) -> Wire:
        """Raises Refusal, Lost, and whatever a connection may fail by."""
        address = self._address
        if address.path:
            wire = await self._opened(
                UNIXClientEndpoint(self._reactor, address.path, timeout=int(CONNECT_SECS))
            )
        else:
            host = await self._master() if address.master else address.hosts[0]
            wire = await self._opened(self._endpoint(host, CONNECT_SECS))
        try:
            await self._within(HELLO_SECS, self._hello(wire))
        except BaseException:
            wire.abort()
            raise
        return wire

    async def _hello(self, wire: Wire) -> None:
        address = self._address
        if address.password:
            name = (address.username,) if address.username else ()
            await _authenticated(wire.ask("AUTH", *name, address.password))
        if address.db:
            await wire.ask("SELECT", address.db)
        if not await _is_master(wire):
            raise Lost("it is a replica")
        await wire.ask("PING")  # refused while it still loads

    # -- the sentinels -------------------------------------------------------
    async def _master(self) -> Host:
        """Where the first sentinel that answers says it is."""
        for sentinel in tuple(self._sentinels):
            try:
                found = await self._asked(sentinel)
            except CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - the next one may know
                self.log.debug(
                    "sentinel {host} does not tell: {why}", host=sentinel[0], why=type(error).__name__
                )
                found = None
            if found is not None:
                return found
            self._sentinels.append(self._sentinels.pop(0))
        raise Lost("no sentinel knows the master")

    async def _asked(self, sentinel: Host) -> Host | None:
        wire = await self._opened(self._endpoint(sentinel, SENTINEL_SECS))
        try:
            asking = wire.ask("SENTINEL", "get-master-addr-by-name", self._address.master)
            return host_of(await self._within(SENTINEL_SECS, asking))
        finally:
            wire.abort()

    # -- connections ---------------------------------------------------------
    def _endpoint(self, host: Host, secs: float) -> Any:
        name, port = host
        endpoint: Any = HostnameEndpoint(self._reactor, name, port, timeout=secs)
        if self._trust is None:
            return endpoint
        return wrapClientTLS(optionsForClientTLS(name, trustRoot=self._trust), endpoint)

    async def _opened(self, endpoint: Any) -> Wire:
        wire: Wire = await endpoint.connect(self._factory)
        return wire

    def _within(self, secs: float, doing: Coroutine[Any, Any, T]) -> Deferred[T]:
        return Deferred.fromCoroutine(doing).addTimeout(secs, self._reactor)


def host_of(reply: Reply) -> Host | None:
    """A sentinel's answer; None when it knows no such master."""
    match reply:
        case [bytes(name), bytes(port)] if port.isdigit():
            return name.decode("ascii", "replace"), int(port)
    return None


async def _authenticated(asking: Coroutine[Any, Any, Reply]) -> None:
    """Whatever words it is refused with: a server without users has none for it."""
    try:
        await asking
    except Refusal as refusal:
        raise refusal if refusal.meaning is not Meaning.OTHER else Refusal("WRONGPASS") from None


async def _is_master(wire: Wire) -> bool:
    """A user may not be allowed to ask; then a write will tell."""
    try:
        reply = await wire.ask("ROLE")
    except Refusal as refusal:
        if refusal.meaning in (Meaning.AUTH, Meaning.OTHER) and refusal.code != "NOAUTH":
            return True
        raise
    return not (isinstance(reply, list) and reply and reply[0] in (b"slave", b"sentinel"))


def _trust(ca_file: str) -> Any:
    """Whose signature a server's certificate must have."""
    if not ca_file:
        return platformTrust()
    try:
        found = [Certificate.loadPEM(pem) for pem in _PEM.findall(Path(ca_file).read_bytes())]
    except (OSError, ValueError, PemError) as error:
        raise ConfigError(f"redis_url: ssl_ca_certs cannot be used: {type(error).__name__}") from None
    if not found:
        raise ConfigError("redis_url: ssl_ca_certs names a file without certificates")
    return trustRootFromCertificates(found)
