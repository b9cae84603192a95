"""The connections that are no calls: so many, and so many from one address. Pure.

Anybody may open a connection and leave it at that. Such connections are a pool of their own, so that however
many there are, calls that are up keep theirs, and who brings a new call finds one: a newcomer to a full pool
takes the place of the oldest of whoever has most, unless that one is being answered. A connection leaves the
pool when it ends or becomes a call.

A trusted proxy's connections count for nobody, but each request on them for its client until it is answered.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Protocol

from voxray.settings import LimitSettings
from voxray.web.forwarded import Network, is_trusted, networks, parse_address

PER_IP, PENDING, DISPLACED = "per_ip", "pending", "displaced"
REASONS = (PER_IP, PENDING, DISPLACED)
NET_BITS = 64  # what one customer has of IPv6 at least

Key = int
"""An address; of IPv6 its network."""


class CrowdRecorder(Protocol):
    """What the metrics want to know; `reason` is one of `REASONS`."""

    def crowd(self, size: int) -> None: ...

    def turned_away(self, reason: str) -> None: ...


class Nobody:
    """A recorder that records nothing."""

    def crowd(self, size: int) -> None: ...

    def turned_away(self, reason: str) -> None: ...


class Place:
    """One connection's."""

    __slots__ = ("_crowd", "_drop", "busy", "key")

    def __init__(self, crowd: Crowd, key: Key | None, drop: Callable[[], None]) -> None:
        """`drop` ends the connection."""
        self._crowd, self.key, self._drop = crowd, key, drop
        self.busy = False
        """It is being answered, or about to be a call: nobody else gets its place."""

    def belongs_to(self, host: str) -> str:
        """The client's address is known by now. The reason why it may not stay, or nothing."""
        return self._crowd.move(self, host)

    def leave(self) -> None:
        """It is gone, or a call. Doing so twice does no harm."""
        self._crowd.leave(self)

    def drop(self) -> None:
        self._drop()


class Crowd:
    """The pool of a process."""

    def __init__(self, recorder: CrowdRecorder | None = None) -> None:
        """Without limits until `use`."""
        self._recorder = recorder or Nobody()
        self._by_key: dict[Key, dict[Place, None]] = {}
        self._size = 0
        self._max_size = self._max_per_ip = 0
        self._exempt: tuple[Network, ...] = ()

    def __len__(self) -> int:
        return self._size

    def use(self, limits: LimitSettings, trusted: Sequence[Network]) -> None:
        """Holds for connections from now on. `trusted`: proxies."""
        self._max_size, self._max_per_ip = limits.max_pending_connections, limits.max_connections_per_ip
        self._exempt = (*networks(limits.connection_exempt), *trusted)

    # -- a connection's life -----------------------------------------------------
    def refuses(self, host: str) -> str:
        """At the door: the reason why a connection from there may not be, or nothing."""
        key = self._key(host)
        return "" if key is None else self._refuses(key)

    def enter(self, host: str, drop: Callable[[], None]) -> Place:
        """It is there; whether it may be has been asked."""
        place = Place(self, None, drop)
        self._add(place, self._key(host))
        return place

    def move(self, place: Place, host: str) -> str:
        key = self._key(host)
        if key == place.key:
            return ""
        self._remove(place)
        reason = "" if key is None else self._refuses(key)
        if not reason:
            self._add(place, key)
        return reason

    def leave(self, place: Place) -> None:
        self._remove(place)

    # -- inside ------------------------------------------------------------------
    def _refuses(self, key: Key) -> str:
        reason = ""
        if self._max_per_ip and len(self._by_key.get(key, ())) >= self._max_per_ip:
            reason = PER_IP
        elif self._max_size and self._size >= self._max_size and not self._displace():
            reason = PENDING
        if reason:
            self._recorder.turned_away(reason)
        return reason

    def _displace(self) -> bool:
        """Makes room for one."""
        for places in sorted(self._by_key.values(), key=len, reverse=True):
            for place in places:
                if not place.busy:
                    self._remove(place)
                    self._recorder.turned_away(DISPLACED)
                    place.drop()
                    return True
        return False

    def _add(self, place: Place, key: Key | None) -> None:
        place.key = key
        if key is not None:
            self._by_key.setdefault(key, {})[place] = None
            self._size += 1
            self._recorder.crowd(self._size)

    def _remove(self, place: Place) -> None:
        key, place.key = place.key, None
        if key is not None:
            places = self._by_key[key]
            del places[place]
            if not places:
                del self._by_key[key]
            self._size -= 1
            self._recorder.crowd(self._size)

    def _key(self, host: str) -> Key | None:
        """None: not counted. A UNIX socket has no address."""
        address = parse_address(host)
        if address is None or is_trusted(address, self._exempt):
            return None
        if isinstance(address, ipaddress.IPv6Address):
            return (int(address) >> NET_BITS) + (1 << 32)  # beyond IPv4's
        return int(address)
