"""The owner's API keys: asked for by `Authorization: Bearer` or `X-API-Key`."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Protocol


class _Request(Protocol):
    """The part of twisted.web's Request used here."""

    def getHeader(self, key: str) -> str | None: ...


class Keys:
    """The keys that are good; none: nobody has one."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [_digest(key) for key in keys if key]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def admit(self, request: _Request) -> bool:
        """Whether the request has one. All are compared, so that the time does not tell which."""
        scheme, _, bearer = (request.getHeader("Authorization") or "").partition(" ")
        sent = bearer.strip() if scheme.lower() == "bearer" else request.getHeader("X-API-Key") or ""
        given, good = _digest(sent), False
        for digest in self._digests:
            good |= hmac.compare_digest(digest, given)
        return good and bool(sent)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
