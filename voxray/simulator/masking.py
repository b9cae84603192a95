"""What must not be printed: the token in a media socket's path, and credentials in a URL."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"(/telephony/\w+/)[^\s\"'<>?#&):]+")
_USERINFO = re.compile(r"(wss?://)[^/@\s\"'<>]+@")


def masked(text: str) -> str:
    """The text with every token and password in it as dots."""
    return _USERINFO.sub(r"\1...@", _TOKEN.sub(r"\1...", text))
