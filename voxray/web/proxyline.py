"""The PROXY protocol, versions 1 and 2: one header before everything else, in which a TCP proxy says whose
connection it passes on (https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt). Pure.

Twisted has parsers of it, which take any text for an address, raise ValueError at a port, and want the header
in one piece.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass

SIGNATURE_2 = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST_1 = 107  # its newline included
_START_1 = b"PROXY "
_HEAD_2 = struct.Struct("!12sBBH")
LONGEST_2 = _HEAD_2.size + 4_096  # addresses and TLVs; nobody sends a tenth of it
_LINE = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f.:]{2,39}) ([0-9A-Fa-f.:]{2,39}) (\d{1,5}) (\d{1,5})")
_LOCAL, _PROXY = 0x20, 0x21
_INET, _INET6 = 0x11, 0x21  # over TCP


class BadProxyHeader(Exception):
    """Not the PROXY protocol; the text says why, and repeats nothing of what was sent."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the connection comes from. No host: the proxy does not say, or it is the proxy's own probe."""

    host: str = ""
    port: int = 0


def parse(data: bytes) -> tuple[Source, bytes] | None:
    """The header at the head of `data`, and what follows it; None: more has to come.

    Raises BadProxyHeader.
    """
    if SIGNATURE_2.startswith(data[: len(SIGNATURE_2)]):
        return _parse_2(data)
    if _START_1.startswith(data[: len(_START_1)]):
        return _parse_1(data)
    raise BadProxyHeader("no PROXY header")


def _parse_1(data: bytes) -> tuple[Source, bytes] | None:
    line, newline, rest = data[:LONGEST_1].partition(b"\r\n")
    if not newline:
        if len(data) >= LONGEST_1:
            raise BadProxyHeader("a PROXY line without an end")
        return None
    rest = data[len(line) + 2 :]
    if line.split(b" ")[1:2] == [b"UNKNOWN"]:
        return Source(), rest
    found = _LINE.fullmatch(line)
    if found is None:
        raise BadProxyHeader("a PROXY line that is none")
    version, source, target, *ports = found.groups()
    host = _address(version, source)
    _address(version, target)
    if any(int(port) > 65_535 for port in ports):
        raise BadProxyHeader("a port over 65535")
    return Source(host, int(ports[0])), rest


def _address(version: bytes, text: bytes) -> str:
    kind = ipaddress.IPv4Address if version == b"4" else ipaddress.IPv6Address
    try:
        return str(kind(text.decode("ascii")))
    except ValueError:
        raise BadProxyHeader("no IP address") from None


def _parse_2(data: bytes) -> tuple[Source, bytes] | None:
    if len(data) < _HEAD_2.size:
        return None
    _, command, family, length = _HEAD_2.unpack_from(data)
    size = _HEAD_2.size + length
    if command not in (_LOCAL, _PROXY):
        raise BadProxyHeader("an unknown version or command")
    if size > LONGEST_2:
        raise BadProxyHeader("a header too long")
    if len(data) < size:
        return None
    source = _source_2(family, data[_HEAD_2.size : size]) if command == _PROXY else Source()
    return source, data[size:]


def _source_2(family: int, body: bytes) -> Source:
    """Families other than TCP's say nothing that could be used."""
    if family not in (_INET, _INET6):
        return Source()
    width = 4 if family == _INET else 16
    if len(body) < 2 * width + 4:
        raise BadProxyHeader("addresses cut short")
    host = ipaddress.ip_address(body[:width])
    return Source(str(host), int.from_bytes(body[2 * width : 2 * width + 2], "big"))
