"""/metrics: what Prometheus reads, openly or with a key, on the calls' port or on one of its own.

Klein installs the reactor when imported, so only makeService imports this.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from klein import Klein
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from voxray.errors import StoreUnavailable
from voxray.web.api import problems
from voxray.web.envelope import failure
from voxray.web.keys import Keys

Exposition = Callable[[], Coroutine[Any, Any, bytes]]
"""The text of several processes, however it is gathered. Raises StoreUnavailable."""


class MetricsPage:
    """The answer to `GET /metrics`. One for the process."""

    def __init__(self, registry: CollectorRegistry, exposition: Exposition | None = None) -> None:
        """`exposition`: where several processes share the port, the metrics of all."""
        self._registry, self._exposition = registry, exposition
        self._enabled, self._keys = True, Keys(())

    def use(self, *, enabled: bool, keys: Keys) -> None:
        """Holds from now on. Without keys everybody may read."""
        self._enabled, self._keys = enabled, keys

    async def answer(self, request: Any) -> bytes:
        if self._keys and not self._keys.admit(request):
            request.setHeader(b"WWW-Authenticate", b"Bearer")
            return failure(request, 401, "Unauthorized")
        if not self._enabled:
            request.setResponseCode(204)
            return b""
        try:
            told = generate_latest(self._registry) if self._exposition is None else await self._exposition()
        except StoreUnavailable:  # one process's numbers alone would look like a restart
            return failure(request, 503, "Service unavailable")
        request.setHeader(b"Content-Type", CONTENT_TYPE_LATEST.encode("ascii"))
        return told


class MetricsAlone:
    """Klein routes of a port that serves nothing else."""

    app = Klein()

    def __init__(self, page: MetricsPage) -> None:
        self._page = page

    def resource(self) -> Any:
        return self.app.resource()

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: Any) -> Any:
        return self._page.answer(request)


problems(MetricsAlone.app)
