"""Where things are kept, put together from the settings: in this process, or in Redis for all instances.

Part of the composition root: `tap` calls it, with the reactor in hand. Importing txredisapi installs a
reactor, so nothing imports this before makeService runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from socket import gethostname
from typing import Any

from voxray.metrics import Metrics, StoreRecorder
from voxray.settings import Settings
from voxray.stores.address import parse
from voxray.stores.link import RedisLink
from voxray.stores.memory import MemoryReplays, MemorySessions
from voxray.stores.ports import Replays, SessionStore
from voxray.stores.shared import Common, Shared
from voxray.web.cors import Origins
from voxray.web.keys import Keys
from voxray.web.sessions import Sessions


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores in use. `link` and `shared` are None where they are in this process's memory."""

    sessions: SessionStore
    replays: Replays
    link: RedisLink | None = None
    shared: Shared | None = None

    @property
    def ready(self) -> bool:
        """Sessions can be had."""
        return self.link is None or self.link.up

    @property
    def startables(self) -> list[Any]:
        return [each for each in (self.link, self.shared) if each is not None]


def stores(settings: Settings, metrics: Metrics, reactor: Any) -> Stores:
    """Raises ConfigError."""
    if settings.stores.session_store != "redis":
        return Stores(MemorySessions(reactor.seconds), MemoryReplays(reactor.seconds))
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
        node=f"{gethostname()}:{settings.server.port}",
        limit=settings.calls.max_calls,
        clock=reactor,
        degraded=recorder.degraded,
    )
    link.watch(shared.link_changed)
    return Stores(RedisSessions(link, poisoned), replays, link, shared)


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
