"""The API's two envelopes, as `docs/api` and the contract of the original have them.

{"data": ..., "meta": {"requestId": "..."}}
{"error": {"code": "...", "message": "...", "requestId": "..."}}, where it helps with
    "details": [{"field": "...", "message": "..."}]
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import uuid4

# HTTP status -> the contract's code. 405, 413 and 415 have none of their own there.
CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "BAD_REQUEST",
    409: "CONFLICT",
    413: "BAD_REQUEST",
    415: "BAD_REQUEST",
    422: "VALIDATION_ERROR",
    429: "RATE_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "SERVICE_UNAVAILABLE",
}

Details = Sequence[Mapping[str, str]]
"""What is wrong with a request, field by field: `field` and `message`."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class _Request(Protocol):
    """The part of twisted.web's Request used here."""

    def getHeader(self, key: str) -> str | None: ...

    def setHeader(self, name: bytes, value: bytes) -> None: ...

    def setResponseCode(self, code: int) -> None: ...


def request_id(sent: str | None) -> str:
    """The caller's X-Request-ID when it is sane, else a new UUID: it is echoed and logged."""
    if sent is not None and _REQUEST_ID.fullmatch(sent):
        return sent
    return str(uuid4())


def success_body(data: object, request_id: str) -> bytes:
    return _dump({"data": data, "meta": {"requestId": request_id}})


def bare_success_body(data: object) -> bytes:
    """As the contract has it of `/start`: without `meta`."""
    return _dump({"data": data})


def error_body(status: int, message: str, request_id: str, details: Details = (), *, code: str = "") -> bytes:
    error: dict[str, object] = {"code": code or CODES[status], "message": message, "requestId": request_id}
    return _dump({"error": error | ({"details": list(details)} if details else {})})


def success(request: _Request, data: object, status: int = 200) -> bytes:
    """Sets status and headers; the result is the body."""
    return success_body(data, prepare(request, status))


def failure(request: _Request, status: int, message: str, details: Details = (), *, code: str = "") -> bytes:
    """Sets status and headers; the result is the body. The code follows from the status, if not given."""
    return error_body(status, message, prepare(request, status), details, code=code)


def prepare(request: _Request, status: int) -> str:
    """Sets status and headers; the result is the request's id."""
    identity: str = getattr(request, "request_id", "") or request_id(request.getHeader("X-Request-ID"))
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"X-Request-ID", identity.encode("ascii"))
    return identity


def _dump(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
