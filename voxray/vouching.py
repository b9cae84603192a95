"""Why a vendor's certificate was refused: the error only says that it was.

A policy for Twisted's Agent that wraps another and shows its connections. What is verified, and how, is none
of its business: Twisted checks the name in the very callback that one would listen with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

_WHY = {  # X509_V_ERR_*, openssl/x509_vfy.h
    2: "nobody we trust has issued it",
    9: "it is not valid yet (is a clock wrong?)",
    10: "it has expired",
    18: "it is self-signed",
    19: "it is self-signed",
    20: "nobody we trust has issued it",
    21: "nobody we trust has issued it",
    23: "it was revoked",
}


def why_refused(connection: Any) -> str:
    """What OpenSSL thought of the other end's certificate; "" where that is not known, or it was good."""
    try:
        code = SSL._lib.SSL_get_verify_result(connection._ssl)  # type: ignore[attr-defined]
    except AttributeError:  # pyOpenSSL has no public name for it
        return ""
    return _WHY.get(code, f"OpenSSL's code {code}") if code else ""


@implementer(IPolicyForHTTPS)
class Vouching:
    """`seen(connection)` is told of each."""

    def __init__(self, policy: Any, seen: Callable[[Any], None]) -> None:
        self._policy, self._seen = policy, seen

    def creatorForNetloc(self, hostname: bytes, port: int) -> _Creator:
        return _Creator(self._policy.creatorForNetloc(hostname, port), self._seen)


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    def __init__(self, creator: Any, seen: Callable[[Any], None]) -> None:
        self._creator, self._seen = creator, seen

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:
        connection = self._creator.clientConnectionForTLS(tlsProtocol)
        self._seen(connection)
        return connection
