"""A TLS client that notes what is wrong with a certificate, and goes on."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from OpenSSL import SSL
from OpenSSL._util import ffi, lib  # for OpenSSL's own words, which pyOpenSSL does not offer
from OpenSSL.crypto import X509
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

UNTRUSTED = frozenset({18, 19, 20, 21})
"""OpenSSL's codes for a chain that leads to nobody known (X509_V_ERR_...: self-signed, no issuer)."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The certificate that a server showed. Times are seconds since the epoch."""

    not_before: float
    not_after: float
    chain: int  # certificates sent
    self_signed: bool
    untrusted: bool = False
    other_name: bool = False
    faults: tuple[str, ...] = ()  # in OpenSSL's words

    def days_left(self, now: float) -> float:
        return (self.not_after - now) / 86_400


@implementer(IOpenSSLClientConnectionCreator)
class Looking:
    """For one connection to `host`."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._codes: dict[int, str] = {}
        self._connection: SSL.Connection | None = None

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_default_verify_paths()
        context.set_verify(SSL.VERIFY_PEER, self._verified)
        self._connection = SSL.Connection(context, None)
        if not _is_address(self._host):
            self._connection.set_tlsext_host_name(self._host.encode("idna"))
        return self._connection

    def _verified(self, connection: SSL.Connection, shown: X509, code: int, depth: int, good: int) -> bool:
        if not good:
            self._codes[code] = ffi.string(lib.X509_verify_cert_error_string(code)).decode("ascii", "replace")
        return True

    def shown(self) -> Shown | None:
        """After the handshake."""
        assert self._connection is not None
        leaf = self._connection.get_peer_certificate(as_cryptography=True)
        if leaf is None:
            return None
        return Shown(
            not_before=leaf.not_valid_before_utc.timestamp(),
            not_after=leaf.not_valid_after_utc.timestamp(),
            chain=len(self._connection.get_peer_cert_chain() or ()),
            self_signed=leaf.issuer == leaf.subject,
            untrusted=bool(UNTRUSTED & self._codes.keys()),
            other_name=not self._right_name(),
            faults=tuple(self._codes.values()),
        )

    def _right_name(self) -> bool:
        assert self._connection is not None
        check = verify_ip_address if _is_address(self._host) else verify_hostname
        try:
            check(self._connection, self._host)
        except (VerificationError, CertificateError):
            return False
        return True


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
