"""The listening socket: bound before the reactor runs, so that its failure is one line.

twistd may fork or drop privileges after the service was made; a bound socket survives both. A socket that
systemd has opened for us (a socket unit: port 443 without a privilege) is taken instead; sd_listen_fds(3).
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from voxray.config.hosts import split_host
from voxray.errors import ConfigError

BACKLOG = 511
FIRST_PASSED = 3  # descriptors from here on are systemd's
SYSTEMD = "systemd:"
WORDED = "--listen must be systemd:, systemd:index=NUMBER or systemd:name=NAME"

Passed = Sequence[tuple[str, int]]
"""(name, descriptor)"""


def inherited(listen: str, passed: Passed) -> socket.socket | None:
    """systemd's socket, where it passed one or `--listen` asks for one. Raises ConfigError."""
    descriptor = chosen(listen, passed)
    return None if descriptor is None else adopt(descriptor)


def passed(environ: Mapping[str, str]) -> Passed:
    """What systemd opened for this very process; a parent's is not ours.

    To be asked early: twisted.internet.endpoints removes the variables when it is imported.
    """
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not (count.isascii() and count.isdecimal()):
        return ()
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    named = [*names, *[""] * int(count)][: int(count)]
    return [(name, FIRST_PASSED + number) for number, name in enumerate(named)]


def chosen(listen: str, passed: Passed) -> int | None:
    """The descriptor that `--listen` means; without the option the one there is. Raises ConfigError.

    Twisted's own spelling with its `domain=` is understood: the socket knows its family.
    """
    if not listen and not passed:
        return None
    wanted = _wanted(listen)
    if not passed:
        raise ConfigError("--listen systemd: but systemd passed no socket: start the socket unit")
    names = ", ".join(name or "unnamed" for name, _ in passed)
    if "name" in wanted:
        found = [descriptor for name, descriptor in passed if name == wanted["name"]]
    elif "index" in wanted:
        number = wanted["index"]
        found = [descriptor for _, descriptor in passed[int(number) :][:1]] if number.isdecimal() else []
    elif len(passed) > 1:
        raise ConfigError(f"systemd passed {len(passed)} sockets ({names}): {WORDED}")
    else:
        found = [passed[0][1]]
    if not found:
        raise ConfigError(f"--listen {listen}: systemd passed no such socket, but: {names}")
    return found[0]


def _wanted(listen: str) -> dict[str, str]:
    if listen and not listen.startswith(SYSTEMD):
        raise ConfigError(f"{WORDED}; for another address set host and port")
    pairs = dict(part.partition("=")[::2] for part in listen.removeprefix(SYSTEMD).split(":") if part)
    if not pairs.keys() <= {"domain", "index", "name"}:
        raise ConfigError(WORDED)
    return pairs


def adopt(descriptor: int) -> socket.socket:
    """The socket behind the descriptor, which then belongs to it. Raises ConfigError."""
    try:
        adopted = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigError(f"the socket that systemd passed cannot be used: {error.strerror}") from error
    listens = adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if adopted.family not in (socket.AF_INET, socket.AF_INET6) or not listens:
        adopted.detach()
        raise ConfigError("the socket that systemd passed is no listening TCP socket: see ListenStream=")
    adopted.setblocking(False)
    adopted.set_inheritable(False)
    return adopted


def one_at_a_time(port: Any) -> None:
    """Has a Twisted port accept one connection in each turn of the reactor.

    Several processes share the queue, and whoever is busy leaves it to the others. By itself Twisted takes up
    to a hundred at once: of 200 connections in bursts one of two processes had 137, and 106 this way.
    """
    read = port.doRead

    def read_one() -> None:
        port.numberAccepts = 1
        read()

    port.doRead = read_one


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


def bind_address(key: str, address: str) -> socket.socket | None:
    """The same for a key of the form host:port; None where it is empty. Raises ConfigError."""
    host, port = split_host(address, with_port=True) or ("", None)
    if port is None:
        return None
    try:
        return bind(host, port)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error


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
