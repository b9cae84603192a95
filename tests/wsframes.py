"""RFC 6455 as a client's bytes, written for the tests: independent of Autobahn and of the fast path."""

from __future__ import annotations

import struct
from typing import NamedTuple

HANDSHAKE = (
    b"GET /telephony/ws HTTP/1.1\r\nHost: voice.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%b\r\n"
)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class ServerFrame(NamedTuple):
    opcode: int
    payload: bytes


def handshake(*headers: bytes) -> bytes:
    return HANDSHAKE % b"".join(header + b"\r\n" for header in headers)


def frame(
    payload: bytes,
    opcode: int = TEXT,
    *,
    fin: bool = True,
    mask: bytes | None = b"\x12\x34\x56\x78",
    rsv: int = 0,
    declared: int | None = None,
    length_bits: int = 0,
) -> bytes:
    """One client frame; `declared` lies about its length; no mask or odd `length_bits` break rules."""
    size = len(payload) if declared is None else declared
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    masked = 0 if mask is None else 0x80
    if size < 126 and not length_bits:
        head = struct.pack("!BB", first, masked | size)
    elif size < 65_536 and length_bits < 64:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if mask is None:
        return head + payload
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    masked_payload = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return head + mask + masked_payload.to_bytes(len(payload), "big")


def server_frames(data: bytes) -> list[ServerFrame]:
    """What a server sent after its handshake: unmasked frames, every one whole."""
    frames = []
    while data:
        opcode, size, start = data[0] & 15, data[1], 2
        if size == 126:
            size, start = struct.unpack_from("!H", data, 2)[0], 4
        elif size == 127:
            size, start = struct.unpack_from("!Q", data, 2)[0], 10
        frames.append(ServerFrame(opcode, data[start : start + size]))
        data = data[start + size :]
    return frames


def close_code(frames: list[ServerFrame]) -> int | None:
    """The code of the close frame, if one was sent."""
    codes = [struct.unpack("!H", f.payload[:2])[0] for f in frames if f.opcode == CLOSE and f.payload]
    return codes[0] if codes else None
