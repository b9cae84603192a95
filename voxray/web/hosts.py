"""Which host the carrier is told to dial. Pure.

The Host header is a stranger's text that ends up in an answer document: a name, an IPv4 address or a
bracketed IPv6 address, with an optional port, or it is refused. Nothing is unquoted or repaired.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.?", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\]", re.ASCII)
MEDIA_PATH = "/telephony/ws"


def valid_host(text: str) -> bool:
    """True for `name`, `name:port`, `[v6]` and `[v6]:port`. `fullmatch`: a trailing newline is no match."""
    host, port = _split(text)
    if port is not None and not (_PORT.fullmatch(port) and 0 < int(port) < 65536):
        return False
    bracketed = _BRACKETED.fullmatch(host)
    if bracketed is None:
        return _NAME.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(bracketed[1])
    except ValueError:
        return False
    return True


def _split(text: str) -> tuple[str, str | None]:
    """Host and port; a colon inside brackets is the address's own."""
    head, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        return text, None
    return head, port


def sent_host(headers: Sequence[bytes]) -> str | None:
    """The request's one valid Host header; None when it is absent, repeated or malformed."""
    if len(headers) != 1:
        return None
    try:
        text = headers[0].decode("ascii")
    except UnicodeDecodeError:
        return None
    return text if valid_host(text) else None


def acceptable(headers: Sequence[bytes]) -> bool:
    """False for a request to refuse outright. No Host at all is HTTP/1.0 and health checks: let in."""
    return not headers or sent_host(headers) is not None


def public_host(proxy_host: str, headers: Sequence[bytes]) -> str | None:
    """The host to hand out: the configured one always wins, else the request's own."""
    return proxy_host or sent_host(headers)


def stream_url(host: str, token: str = "") -> str:
    """Where the carrier opens the media socket; `token` is for this one call.

    Always `wss`: carriers accept nothing else, and TLS may end at a proxy. No query: Twilio drops it.
    """
    return f"wss://{host}{MEDIA_PATH}" + (f"/{token}" if token else "")


def is_media_path(path: str) -> bool:
    """The media socket's path, with a token below it or without."""
    return path == MEDIA_PATH or path.startswith(f"{MEDIA_PATH}/")


def loggable(path: str) -> str:
    """The path without a token that may be in it."""
    for secret in (f"{MEDIA_PATH}/", "/telephony/transfer/"):
        if path.startswith(secret):
            return f"{secret}-"
    return path
