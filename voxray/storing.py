"""Where things are kept, put together from the settings: in this process, in its parent, or in Redis.

Part of the composition root: `tap` calls it, with the reactor in hand. Importing txredisapi installs a
reactor, so nothing imports this before makeService runs.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from socket import gethostname
from typing import Any, Protocol

from voxray.metrics import Metrics, StoreRecorder
from voxray.settings import Settings
from voxray.stores.address import parse
from voxray.stores.asked import AskedBoard, AskedHandOver, AskedReplays, AskedSessions, AskedTokens
from voxray.stores.link import RedisLink
from voxray.stores.memory import MemoryReplays, MemorySessions
from voxray.stores.ports import Replays, SessionStore
from voxray.stores.shared import Common, Shared
from voxray.web.cors import Origins
from voxray.web.keys import Keys
from voxray.web.sessions import Sessions


class Parent(Protocol):
    """The process that started this one as one of several."""

    @property
    def up(self) -> bool: ...

    @property
    def node(self) -> str:
        """What it calls us."""

    def ask(self, what: str, said: Mapping[str, object]) -> Coroutine[Any, Any, Any]: ...


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores in use. `link` is Redis; with it, and where a parent keeps them, there is `shared`."""

    sessions: SessionStore
    replays: Replays
    link: RedisLink | None = None
    shared: Shared | None = None
    parent: Parent | None = None

    @property
    def ready(self) -> bool:
        """Sessions can be had."""
        return (self.link is None or self.link.up) and (self.parent is None or self.parent.up)

    @property
    def startables(self) -> list[Any]:
        return [each for each in (self.link, self.shared) if each is not None]


def stores(settings: Settings, metrics: Metrics, reactor: Any, parent: Parent | None = None) -> Stores:
    """`parent`: this process is one of its workers. Raises ConfigError."""
    if settings.stores.session_store == "redis":
        return _in_redis(settings, metrics, reactor, parent)
    if parent is not None:
        return _at_parent(settings, metrics, reactor, parent)
    return Stores(MemorySessions(reactor.seconds), MemoryReplays(reactor.seconds))


def _at_parent(settings: Settings, metrics: Metrics, reactor: Any, parent: Parent) -> Stores:
    ask = parent.ask
    replays = AskedReplays(ask)
    shared = Shared(
        Common(AskedTokens(ask), AskedHandOver(ask), AskedBoard(ask), replays),
        node=parent.node,
        limit=settings.calls.max_calls,
        clock=reactor,
        degraded=StoreRecorder(metrics, "parent").degraded,
        keeper="the parent process",
        there=True,
    )
    return Stores(AskedSessions(ask), replays, None, shared, parent)


def _in_redis(settings: Settings, metrics: Metrics, reactor: Any, parent: Parent | None) -> Stores:
    from voxray.stores.connector import Connector
    from voxray.stores.redis import RedisBoard, RedisHandOver, RedisReplays, RedisSessions, RedisTokens
    from voxray.stores.wire import WireFactory

    recorder, address = StoreRecorder(metrics), parse(settings.stores.redis_url)
    connector = Connector(address, reactor, WireFactory(reactor.callLater))
    link = RedisLink(str(address), connector, reactor, recorder)
    poisoned = recorder.poisoned
    replays = RedisReplays(link, poisoned)
    shared = Shared(
        Common(RedisTokens(link), RedisHandOver(link, poisoned), RedisBoard(link, poisoned), replays),
        node=f"{gethostname()}:{settings.server.port}" + (f"/{parent.node}" if parent else ""),
        limit=settings.calls.max_calls,
        clock=reactor,
        degraded=recorder.degraded,
    )
    link.watch(shared.link_changed)
    return Stores(RedisSessions(link, poisoned), replays, link, shared, parent)


def sessions(settings: Settings, kept: Stores, draining: Callable[[], bool]) -> Any:
    """The session endpoints' resource."""
    server = settings.server
    made = Sessions(
        Keys(server.server_api_keys),
        Origins(server.cors_allowed_origins),
        kept.sessions,
        kept.replays,
        settings.stores.session_ttl_secs,
        draining,
    )
    return made.resource()
