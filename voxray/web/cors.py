"""Which pages of other sites may use the API from a browser: `cors_allowed_origins`. Pure.

Absent: any. Empty: none. Else an origin must be in the list to the letter: scheme, host and port.
"""

from __future__ import annotations

from typing import Any

ALLOWED_HEADERS = b"Content-Type, Authorization, X-API-Key"


class Origins:
    """The origins that are welcome; None: all."""

    def __init__(self, allowed: tuple[str, ...] | None) -> None:
        self._any = allowed is None or "*" in allowed
        self._allowed = frozenset(allowed or ())

    def answer(self, request: Any, methods: str) -> None:
        """Puts the headers of CORS on an answer; `methods` is what its path takes."""
        request.setHeader(b"Access-Control-Allow-Methods", methods.encode("ascii"))
        request.setHeader(b"Access-Control-Allow-Headers", ALLOWED_HEADERS)
        if self._any:
            request.setHeader(b"Access-Control-Allow-Origin", b"*")
            return
        request.setHeader(b"Vary", b"Origin")
        if (origin := request.getHeader("Origin") or "") in self._allowed:
            request.setHeader(b"Access-Control-Allow-Origin", origin.encode("ascii"))

    def admit_socket(self, request: Any, *, keyed: bool) -> bool:
        """A WebSocket, which CORS does not hold back; but browsers tell whose page opens it.

        `keyed`: the client had a key, and so need not be a browser. "null" is anybody's, such as a file's.
        """
        origin = request.getHeader("Origin")
        if self._any:
            return bool(origin != "null")
        return keyed if origin is None else origin in self._allowed
