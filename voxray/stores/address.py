"""`redis_url`: where Redis is and who we are there. Pure.

    redis://[user:password@]host[:port][/db]
    rediss://...                                          the same over TLS
    unix://[user:password@]/run/redis/redis.sock[?db=0]
    redis+sentinel://[user:password@]host[:port],host[:port]/master[/db]
    rediss+sentinel://...                                 over TLS, the sentinels too

`?ssl_ca_certs=FILE` names the authority that signed the server's certificate, where the system does not know
it. Percent-encoding holds in user, password and path. User and password are Redis's, not the sentinels'.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, unquote

from voxray.errors import ConfigError

REDIS_PORT, SENTINEL_PORT = 6379, 26379
SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_NUMBER = re.compile(r"[0-9]{1,5}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}", re.ASCII)
_SIX = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\]", re.ASCII)
_TUNING = re.compile(r"client_name|protocol|(dial|read|write|max|min|pool|conn)_\w+|skip_verify")
"""Parameters of the Go project's client. What they tune is fixed here; certificates are always checked."""

Host = tuple[str, int]


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """`str()` is fit for a log: without user and password."""

    hosts: tuple[Host, ...] = ()  # Redis's; with `master`, the sentinels'
    path: str = ""  # a Unix socket's
    master: str = ""  # what the sentinels call it
    tls: bool = False
    username: str = ""
    password: str = field(default="", repr=False)
    db: int = 0
    ca_file: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        hosts = ",".join(f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name, port in self.hosts)
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}+sentinel://{hosts}/{self.master}" if self.master else f"{scheme}://{hosts}"


def parse(url: str) -> RedisAddress:
    """Raises ConfigError, whose text shows nothing of the URL but its scheme."""
    scheme, found, rest = url.strip().partition("://")
    scheme = scheme.lower()
    if not found or scheme not in SCHEMES:
        raise ConfigError(f"redis_url must begin with one of {', '.join(f'{each}://' for each in SCHEMES)}")
    rest, _, query = rest.partition("?")
    userinfo, at, rest = rest.rpartition("@")
    username, _, password = userinfo.partition(":")
    if at and not password:
        raise ConfigError("redis_url has an @ but no password before it: write user:password@ or :password@")
    asked = _parameters(query)
    netloc, _, path = rest.partition("/")
    made = RedisAddress(
        tls=scheme.startswith("rediss"),
        username=unquote(username),
        password=unquote(password),
        ca_file=asked.get("ssl_ca_certs", ""),
    )
    if scheme == "unix":
        return _unix(made, netloc, path, asked)
    if scheme.endswith("+sentinel"):
        return _sentinels(made, netloc, path, asked)
    return _plain(made, netloc, path, asked)


def _parameters(query: str) -> dict[str, str]:
    asked = dict(parse_qsl(query, keep_blank_values=True))
    for name in asked:
        if name not in ("db", "ssl_ca_certs") and not _TUNING.fullmatch(name):
            raise ConfigError("redis_url: its parameters may be db and ssl_ca_certs, and no others")
    return asked


def _plain(made: RedisAddress, netloc: str, path: str, asked: dict[str, str]) -> RedisAddress:
    return replace(made, hosts=(_host(netloc, REDIS_PORT),), db=_db(path.strip("/") or asked.get("db", "")))


def _sentinels(made: RedisAddress, netloc: str, path: str, asked: dict[str, str]) -> RedisAddress:
    master, _, db = path.strip("/").partition("/")
    master = unquote(master)
    if not _NAME.fullmatch(master):
        raise ConfigError(
            "redis_url: after the sentinels comes the master's name: .../mymaster or .../mymaster/0"
        )
    hosts = tuple(_host(each, SENTINEL_PORT) for each in netloc.split(","))
    return replace(made, hosts=hosts, master=master, db=_db(db or asked.get("db", "")))


def _unix(made: RedisAddress, netloc: str, path: str, asked: dict[str, str]) -> RedisAddress:
    if netloc or not path or "\0" in path:
        raise ConfigError("redis_url: a socket is named by an absolute path, unix:///run/redis/redis.sock")
    return replace(made, path=f"/{unquote(path)}", db=_db(asked.get("db", "")))


def _host(text: str, default_port: int) -> Host:
    text = text.strip()
    name, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = text, ""
    six = _SIX.fullmatch(name)
    name = six[1] if six else name or "localhost"
    if not six and not _NAME.fullmatch(name):
        raise ConfigError("redis_url: the host must be a name, an address or [an IPv6 address]")
    number = int(port) if _NUMBER.fullmatch(port) else 0 if port else default_port
    if not 0 < number < 65536:
        raise ConfigError("redis_url: the port must be a number from 1 to 65535")
    return name, number


def _db(text: str) -> int:
    if text and not _NUMBER.fullmatch(text):
        raise ConfigError("redis_url: the database must be a number, such as redis://host:6379/0")
    return int(text or "0")
