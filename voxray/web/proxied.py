"""Connections that a TCP proxy passes on: their first bytes say where from, and then begins the protocol.

With this in front of a factory every connection has to come from a trusted proxy and to begin with a PROXY
header: whoever could leave it out could also make one up. There is no timer for it here: the protocol behind
exists from the first moment and has its own deadline.
"""
# mypy: disable-error-code="no-untyped-call"
# (twisted.protocols.policies is mostly unannotated)

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from voxray.web.forwarded import Network, is_trusted, parse_address
from voxray.web.proxyline import BadProxyHeader, Source, parse

COMPLAIN_EVERY_SECS = 60.0


class ProxiedProtocol(ProtocolWrapper):
    """One connection; `getPeer` is the client, once the header is in."""

    factory: ProxiedFactory
    transport: Any
    _begun = b""
    _source: Source | None = None

    def dataReceived(self, data: bytes) -> None:
        if self._source is not None:
            self.wrappedProtocol.dataReceived(data)
            return
        self._begun += data
        try:
            parsed = parse(self._begun)
        except BadProxyHeader as error:
            self.factory.complain(str(error), self.transport.getPeer())
            self._begun = b""
            self.transport.abortConnection()
            return
        if parsed is not None:
            self._begun = b""
            self._source, rest = parsed
            site = getattr(self.wrappedProtocol, "wrappedProtocol", self.wrappedProtocol)  # beyond TLS
            if (known := getattr(site, "peer_known", None)) is not None:
                known()
            if rest:
                self.wrappedProtocol.dataReceived(rest)

    def getPeer(self) -> Any:
        """Of a connection that the proxy does not explain nobody knows the peer; it is not the proxy's."""
        if self._source is None:
            return self.transport.getPeer()
        if not self._source.host:
            return UNIXAddress(None)
        kind = IPv6Address if ":" in self._source.host else IPv4Address
        return kind("TCP", self._source.host, self._source.port)


class ProxiedFactory(WrappingFactory[ProxiedProtocol]):
    """Takes connections from trusted proxies alone."""

    protocol = ProxiedProtocol
    noisy = False
    log = Logger()

    def __init__(self, wrapped: Any, trusted: Sequence[Network], clock: Callable[[], float]) -> None:
        super().__init__(wrapped)
        self.trusted, self._clock = trusted, clock
        self._complained: float | None = None

    def buildProtocol(self, addr: Any) -> Any:
        """None, which closes the connection, for everybody else."""
        address = parse_address(getattr(addr, "host", ""))
        if address is None or not is_trusted(address, self.trusted):
            self.complain("not one of trusted_proxies", addr)
            return None
        return super().buildProtocol(addr)

    def complain(self, reason: str, peer: Any) -> None:
        """Once a minute: anybody can cause it."""
        now = self._clock()
        if self._complained is None or now - self._complained >= COMPLAIN_EVERY_SECS:
            self._complained = now
            host = getattr(peer, "host", "-")
            self.log.warn(
                "proxy_protocol: a connection from {host} is dropped: {reason}", host=host, reason=reason
            )
