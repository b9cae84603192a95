"""The probes: /health, /ready and /metrics, with their /api/v1 twins, as the contract has them.

Klein installs the reactor when imported, so only makeService imports this.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from klein import Klein
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from twisted.logger import Logger
from werkzeug.exceptions import HTTPException

from voxray.web.envelope import failure, success

log = Logger()
Exposition = Callable[[], Coroutine[Any, Any, bytes | None]]
"""None: it cannot be had now."""


def problems(app: Any) -> None:
    """Makes a Klein app answer its own 404 and 405, and our failures, in the envelope."""
    app.handle_errors(HTTPException)(_http_problem)
    app.handle_errors(Exception)(_our_problem)


def _http_problem(instance: object, request: Any, problem: Any) -> bytes:
    status = problem.value.code
    message = {404: "Not found", 405: "Method not allowed"}.get(status)
    return failure(request, status, message) if message else failure(request, 400, "Bad request")


def _our_problem(instance: object, request: Any, problem: Any) -> bytes:
    log.failure("answering {route} failed", failure=problem, route=request.route)
    return failure(request, 500, "Internal server error")


class Api:
    """Klein routes. `ready` is asked at every probe; `registry` is what /metrics shows, None when off."""

    app = Klein()

    def __init__(
        self,
        ready: Callable[[], bool],
        registry: CollectorRegistry | None,
        exposition: Exposition | None = None,
    ) -> None:
        """`exposition`: where several processes share the port, the metrics of all."""
        self._ready = ready
        self._registry = registry
        self._exposition = exposition

    def resource(self) -> Any:
        return self.app.resource()

    @app.route("/health", methods=["GET"])
    @app.route("/api/v1/health", methods=["GET"])
    def health(self, request: Any) -> bytes:
        return success(request, {"status": "ok"})

    @app.route("/ready", methods=["GET"])
    @app.route("/api/v1/ready", methods=["GET"])
    def ready(self, request: Any) -> bytes:
        if not self._ready():
            return failure(request, 503, "Service unavailable")
        return success(request, {"status": "ok"})

    @app.route("/metrics", methods=["GET"])
    async def metrics(self, request: Any) -> bytes:
        if self._registry is None:
            request.setResponseCode(204)
            return b""
        told = generate_latest(self._registry) if self._exposition is None else await self._exposition()
        if told is None:  # one process's numbers alone would look like a restart
            return failure(request, 503, "Service unavailable")
        request.setHeader(b"Content-Type", CONTENT_TYPE_LATEST.encode("ascii"))
        return told


problems(Api.app)
