"""The connections to vendors, counted: one that outlives its call may be billed silence."""
# mypy: disable-error-code="no-untyped-call"
# (twisted.web is mostly unannotated)

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.client import HTTPConnectionPool


class _QuietFactory(HTTPConnectionPool._factory):  # type: ignore[misc,valid-type]
    noisy = False  # a line at info for each connection, and one for its end


class CountingPool(HTTPConnectionPool):
    """Twisted's pool; it knows how many connections there are, idle or not."""

    _factory = _QuietFactory

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor, persistent=True)
        self.open = 0

    def _newConnection(self, key: Any, endpoint: Any) -> Deferred[Any]:
        return super()._newConnection(key, endpoint).addCallback(self._opened)

    def _opened(self, protocol: Any) -> Any:
        """From here until the transport says that it is over."""
        lost, self.open = protocol.connectionLost, self.open + 1

        def gone(reason: Any) -> None:
            self.open -= 1
            protocol.connectionLost = lost
            lost(reason)

        protocol.connectionLost = gone
        return protocol
