"""What only the kernel knows of a connection."""

from __future__ import annotations

import fcntl
import struct
import termios
from contextlib import suppress
from typing import Any


def descriptor_of(transport: Any) -> Any:
    """The TCP transport under TLS and a PROXY header, if there are any."""
    while (inner := getattr(transport, "transport", None)) is not None:
        transport = inner
    return transport


def unread_bytes(transport: Any) -> int:
    """What was written, has left the process, and was not received yet by the other end: SIOCOUTQ, tcp(7)."""
    with suppress(AttributeError, OSError):  # not a TCP socket, or gone
        found = fcntl.ioctl(descriptor_of(transport).getHandle(), termios.TIOCOUTQ, struct.pack("i", 0))
        return int(struct.unpack("i", found)[0])
    return 0
