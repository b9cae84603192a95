"""Hosts, addresses and URLs: kinds of value, and what the owner meant by a wrong one. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from voxray.config.kinds import BadValue, plain_text

HOST = re.compile(r"(?=.{1,253}(?::|$))[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_-]+)*\.?")
SCHEME = re.compile(r"(?i:https?|wss?|tcp|sips?)(?::/*|/+)|[A-Za-z][A-Za-z0-9+.-]*://+|/+")


@dataclass(frozen=True, slots=True)
class Host:
    """A bare host name or address: `with_port` tolerates `:port`; a scheme or a slash is refused."""

    with_port: bool = False
    word: str = "host"

    def from_json(self, value: object) -> object:
        text = plain_text(value)
        if not text:
            return ""
        if split_host(text, self.with_port) is not None:
            return text
        remedy = bare_host(text, self.with_port)
        instead = f'write "{remedy}"' if remedy else 'such as "bot.example.com"'
        raise BadValue(f"a bare host name, without scheme, slash or spaces: {instead}")

    def from_env(self, text: str) -> object:
        return self.from_json(text.strip())


@dataclass(frozen=True, slots=True)
class Address:
    """`host:port` to listen on, or nothing."""

    word: str = "host:port"

    def from_json(self, value: object) -> object:
        text = plain_text(value)
        if text and (split_host(text, with_port=True) or ("", None))[1] is None:
            raise BadValue('host:port, such as "127.0.0.1:9100"')
        return text

    def from_env(self, text: str) -> object:
        return self.from_json(text.strip())


def split_host(text: str, with_port: bool) -> tuple[str, int | None] | None:
    """(host, port) of `host`, `host:port`, `1.2.3.4`, `[::1]:port` or a bare `::1`; None otherwise."""
    if is_ip6(text):
        return text, None
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text, re.DOTALL)
    host, port = bracketed.groups() if bracketed else (text.partition(":")[0], text.partition(":")[2] or None)
    right = is_ip6(host) if bracketed else HOST.fullmatch(host) is not None and not text.endswith(":")
    if not right:
        return None
    if port is None:
        return host, None
    if not with_port or re.fullmatch(r"[0-9]{1,5}", port) is None or not 1 <= int(port) <= 65535:
        return None
    return host, int(port)


def is_ip6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def bare_host(text: str, with_port: bool) -> str:
    """What the owner probably meant; empty when there is no telling."""
    host = (
        SCHEME.sub("", text.strip(), count=1).partition("/")[0].partition("?")[0].rpartition("@")[2].strip()
    )
    if not with_port and not is_ip6(host):
        host = host.partition(":")[0]
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return ""
    return host if split_host(host, with_port) is not None else ""


def base_url(value: object) -> str:
    """An http(s) or ws(s) URL without its last slash. Raises BadValue."""
    text = plain_text(value).strip()
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https", "ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise BadValue('a URL such as "https://api.example.com/v1"')
    return text.rstrip("/")
