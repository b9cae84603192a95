"""Who really asks, when a proxy of ours stands in between. Pure.

A proxy appends the address it was called from to X-Forwarded-For, so the list is read from its right end:
each address that is a trusted proxy's vouches for the one before it, and the first that is not is the client.
What stands left of it the client may have written itself. X-Forwarded-Proto and -Host are believed from a
trusted peer alone. Everybody else's headers are nobody's (threat T8).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from voxray.web.hosts import valid_host

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
RawHeaders = Callable[[bytes], Sequence[bytes]]
"""The values of a header by its name in small letters, one for each line of it."""

HOPS_MAX = 32
_SCHEMES = {"https": "https", "wss": "https", "http": "http", "ws": "http"}


@dataclass(frozen=True, slots=True)
class Origin:
    """One request's, as the outermost trusted proxy saw it; as we see it, where there is none."""

    client: str = ""
    """An IP address; empty when even the peer has none (a UNIX socket)."""
    scheme: str = ""
    """"http" or "https", as a trusted proxy says; empty: none does."""
    host: str = ""
    """The host that was asked for, with its port if any, as a trusted proxy says; empty: none does."""


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """`trusted_proxies`: addresses and CIDR blocks. Raises ValueError."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def origin(peer: str, headers: RawHeaders, trusted: Sequence[Network]) -> Origin:
    """`peer` is the address at the other end of the connection."""
    address = parse_address(peer)
    if address is None or not is_trusted(address, trusted):
        return Origin(peer if address is None else str(address))
    client = _client(address, _items(headers(b"x-forwarded-for")), trusted)
    host = _last(headers(b"x-forwarded-host"))
    return Origin(
        str(client),
        _SCHEMES.get(_last(headers(b"x-forwarded-proto")).lower(), ""),
        host if valid_host(host) else "",
    )


def parse_address(text: str) -> Address | None:
    """An IP address, without its zone; an IPv4 address in IPv6 clothes, as a dual-stack socket shows it, is
    the IPv4 address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _client(peer: Address, hops: Sequence[str], trusted: Sequence[Network]) -> Address:
    """What cannot be read ends the search: the last address that was vouched for is as far as we see."""
    client = peer
    for hop in reversed(hops[-HOPS_MAX:]):
        address = parse_address(_without_port(hop))
        if address is None:
            break
        client = address
        if not is_trusted(address, trusted):
            break
    return client


def _without_port(hop: str) -> str:
    """`1.2.3.4:5`, `[::1]:5` and `[::1]` occur; a bare IPv6 address has colons of its own."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _items(lines: Sequence[bytes]) -> list[str]:
    return [item.strip() for line in lines for item in line.decode("latin-1").split(",")]


def _last(lines: Sequence[bytes]) -> str:
    """What the peer itself wrote, if it appended to what it got."""
    return _items(lines)[-1] if lines else ""
