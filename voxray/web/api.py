"""The probes: /health, /ready and /metrics, with their /api/v1 twins, and what is served, described.

Klein installs the reactor when imported, so only makeService imports this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from klein import Klein
from twisted.logger import Logger
from werkzeug.exceptions import HTTPException

from voxray.web import openapi
from voxray.web.envelope import failure, success

log = Logger()


def problems(app: Any) -> None:
    """Makes a Klein app answer its own 404 and 405, and our failures, in the envelope."""
    app.handle_errors(HTTPException)(_http_problem)
    app.handle_errors(Exception)(_our_problem)


def _http_problem(instance: object, request: Any, problem: Any) -> bytes:
    status = problem.value.code
    if allowed := getattr(problem.value, "valid_methods", None):
        request.setHeader(b"Allow", ", ".join(sorted(allowed)).encode("ascii"))
    message = {404: "Not found", 405: "Method not allowed"}.get(status)
    return failure(request, status, message) if message else failure(request, 400, "Bad request")


def _our_problem(instance: object, request: Any, problem: Any) -> bytes:
    log.failure("answering {route} failed", failure=problem, route=request.route)
    return failure(request, 500, "Internal server error")


class Page(Protocol):
    """The part of `exposition.MetricsPage` used here."""

    def answer(self, request: Any) -> Any: ...


class Api:
    """Klein routes. `ready` is asked at every probe; `metrics` is None where another port has them."""

    app = Klein()

    def __init__(self, ready: Callable[[], bool], metrics: Page | None) -> None:
        self._ready = ready
        self._metrics = metrics

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

    @app.route("/openapi.json", methods=["GET"])
    @app.route("/swagger/doc.json", methods=["GET"])
    def described(self, request: Any) -> bytes:
        request.setHeader(b"Content-Type", b"application/json")
        return openapi.encoded()

    @app.route("/swagger/", methods=["GET"])
    @app.route("/swagger/index.html", methods=["GET"])
    def described_for_people(self, request: Any) -> bytes:
        request.setHeader(b"Content-Type", b"text/html; charset=utf-8")
        return openapi.page().encode("utf-8")

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: Any) -> Any:
        if self._metrics is None:
            return failure(request, 404, "Not found")
        return self._metrics.answer(request)


problems(Api.app)
