"""Where things are kept, put together from the settings: in this process, or in Redis for all instances.

Part of the composition root: `tap` calls it, with the reactor in hand. Importing txredisapi installs a
reactor, so nothing imports this before makeService runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from voxray.metrics import Metrics, StoreRecorder
from voxray.settings import Settings
from voxray.stores.address import parse
from voxray.stores.link import RedisLink
from voxray.stores.memory import MemoryReplays, MemorySessions
from voxray.stores.ports import Replays, SessionStore
from voxray.web.cors import Origins
from voxray.web.keys import Keys
from voxray.web.sessions import Sessions


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores in use. `link` is None where they are in memory."""

    sessions: SessionStore
    replays: Replays
    link: RedisLink | None = None

    @property
    def ready(self) -> bool:
        """Sessions can be had."""
        return self.link is None or self.link.up

    @property
    def startables(self) -> list[Any]:
        return [] if self.link is None else [self.link]


def stores(settings: Settings, metrics: Metrics, reactor: Any) -> Stores:
    """Raises ConfigError."""
    if settings.stores.session_store != "redis":
        return Stores(MemorySessions(reactor.seconds), MemoryReplays(reactor.seconds))
    from voxray.stores.connector import Connector
    from voxray.stores.redis import RedisReplays, RedisSessions
    from voxray.stores.wire import WireFactory

    recorder = StoreRecorder(metrics)
    recorder.degraded(True)  # until it is found
    address = parse(settings.stores.redis_url)
    connector = Connector(address, reactor, WireFactory(reactor.callLater))
    link = RedisLink(str(address), connector, reactor, recorder)
    link.watch(lambda up: recorder.degraded(not up))
    return Stores(RedisSessions(link, recorder.poisoned), RedisReplays(link, recorder.poisoned), link)


def sessions(settings: Settings, kept: Stores) -> Any:
    """The session endpoints' resource."""
    server = settings.server
    made = Sessions(
        Keys(server.server_api_keys),
        Origins(server.cors_allowed_origins),
        kept.sessions,
        kept.replays,
        settings.stores.session_ttl_secs,
    )
    return made.resource()
