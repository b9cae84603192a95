"""Documents for carriers that fetch what to do with a call that is being transferred: kept until they do.

The address is unguessable, good once and for a minute; what it leads to is a number of the configuration.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable

KEPT_SECS = 60.0
MAX_KEPT = 1_000
PATH = "/telephony/transfer"


class Handovers:
    """Numbers by token."""

    def __init__(self, proxy_host: str, clock: Callable[[], float], ours: Callable[[str], bool]) -> None:
        """`ours(call_id)`: we placed that call; its webhooks then name it, so that its carrier is known."""
        self.proxy_host, self._clock, self._ours = proxy_host, clock, ours
        self._numbers: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self.note: Callable[[str, str], None] = lambda token, number: None
        """Told of each, for the carrier may ask another instance."""

    def url(self, call_id: str, number: str) -> str:
        """Where the carrier finds the document; empty when we do not know our public host."""
        if not self.proxy_host:
            return ""
        token = secrets.token_urlsafe(24)
        self._numbers[token] = (number, self._clock() + KEPT_SECS)
        if len(self._numbers) > MAX_KEPT:
            self._numbers.popitem(last=False)
        self.note(token, number)
        query = f"?call={call_id}" if self._ours(call_id) else ""
        return f"https://{self.proxy_host}{PATH}/{token}{query}"

    def take(self, token: str) -> str | None:
        """The number, once."""
        number, until = self._numbers.pop(token, ("", 0.0))
        return number if number and self._clock() < until else None
