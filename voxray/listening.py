"""The listening socket: bound before the reactor runs, so that its failure is one line.

twistd may fork or drop privileges after the service was made; a bound socket survives both.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from voxray.errors import ConfigError

BACKLOG = 511


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket; an empty host is every interface, IPv6 and IPv4. Raises ConfigError."""
    family, address = _address(host)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(host)))
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(_worded(host, port, error)) from error
    return listener


def _address(host: str) -> tuple[socket.AddressFamily, str]:
    if not host:
        return (socket.AF_INET6, "::") if socket.has_dualstack_ipv6() else (socket.AF_INET, "0.0.0.0")
    resolve: Callable[..., list[tuple[object, ...]]] = socket.getaddrinfo  # type: ignore[assignment]
    try:
        found = resolve(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f'host: "{host}" is not an address of this machine') from error
    family, address = found[0][0], found[0][4]
    assert isinstance(family, socket.AddressFamily) and isinstance(address, tuple)
    return family, str(address[0])


def _worded(host: str, port: int, error: OSError) -> str:
    where = f"port {port}" + (f" of {host}" if host else "")
    if error.errno == errno.EADDRINUSE:
        return f'{where} is in use by another program; stop it, or set "port"'
    if error.errno == errno.EACCES:
        return f'{where} may not be opened by this user; set "port" to 1024 or more, or use a proxy'
    if error.errno == errno.EADDRNOTAVAIL:
        return f'host: "{host}" is not an address of this machine'
    return f"{where} cannot be opened: {error.strerror}"
