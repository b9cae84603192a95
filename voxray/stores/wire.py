"""One connection that speaks Redis's protocol: txredisapi's parser without its pools and conversions.

Importing txredisapi installs a reactor, so only makeService, late, imports this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import txredisapi
from OpenSSL.SSL import Error as SslError
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory

from voxray.stores.replies import Lost, Refusal, Reply, Word


class RedisWire(txredisapi.BaseRedisProtocol):  # type: ignore[misc]  # it has no types
    """`link.Wire`: bulk replies are bytes, statuses text, whatever they look like."""

    MAX_LENGTH = 65_536  # of a status line

    def __init__(self, call_later: Callable[..., Any]) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self.callLater = call_later  # the class has the global reactor's
        self.lost: Deferred[None] = Deferred()
        self._gone = False
        self._why = "the connection was lost"

    async def ask(self, *words: Word) -> Reply:
        """Raises Refusal for an error reply, Lost when the connection went. May be cancelled."""
        try:
            reply: Reply = await self.execute_command(*words)
        except txredisapi.ResponseError as error:
            raise Refusal(str(error)) from None
        except txredisapi.RedisError:
            raise Lost(self._why) from None
        return reply

    def abort(self) -> None:
        """Now; what was asked and not answered is Lost."""
        if self.transport is not None and not self._gone:
            self.transport.abortConnection()

    # -- Twisted calls -------------------------------------------------------
    def connectionLost(self, why: Any) -> None:
        self._gone = True
        if (trouble := tls_trouble(why.value)) is not None:
            self._why = trouble
        super().connectionLost(why)
        self.lost.callback(None)


def tls_trouble(error: BaseException) -> str | None:
    """What a certificate or a handshake failed by; None for any other end of a connection."""
    if isinstance(error, VerificationError):
        return "its certificate is not for this name"
    if not isinstance(error, SslError):
        return None
    reasons = error.args[0] if error.args else ()
    return f"TLS: {reasons[0][-1]}" if reasons else "TLS: cut off"


class WireFactory(Factory):
    """For an endpoint."""

    noisy = False

    def __init__(self, call_later: Callable[..., Any]) -> None:
        self._call_later = call_later

    def buildProtocol(self, addr: Any) -> RedisWire:
        wire = RedisWire(self._call_later)
        wire.factory = self
        return wire
