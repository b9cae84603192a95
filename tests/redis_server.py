"""A real redis-server, or redis-sentinel, for a test: a loopback port and a directory of its own."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from voxray.stores.address import RedisAddress, parse
from voxray.stores.connector import Connector
from voxray.stores.link import RedisLink
from voxray.stores.wire import WireFactory

THE_REACTOR: Any = reactor
MISSING = (
    "" if shutil.which("redis-server") and shutil.which("redis-cli") else "redis-server is not installed"
)
NO_SENTINEL = "" if shutil.which("redis-sentinel") else "redis-sentinel is not installed"


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


class RedisServer:
    """Kept nowhere: killed when the test is over. `options` are the command line's."""

    program = "redis-server"
    ready = b"Ready to accept connections"

    def __init__(self, case: TestCase, *options: str, port: int = 0) -> None:
        self.port = port or free_port()
        self.directory = Path(case.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        case.addCleanup(self.kill)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self, *more: str, wait: bool = True) -> RedisServer:
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        still = ["--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", ""]
        if self.program == "redis-server":
            still += ["--repl-diskless-sync-delay", "0"]  # its replicas come at once
        self.process = subprocess.Popen(
            [self.program, *self.config(), *where, *still, *self.options, *more], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        while wait and self.ready not in (line := self.process.stdout.readline()):
            assert line, "it did not start"
        return self

    def config(self) -> list[str]:
        """A file, where there must be one."""
        return []

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.send_signal(signal.SIGCONT)
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def cli(self, *words: str, before: tuple[str, ...] = ()) -> str:
        """What an administrator types."""
        done = subprocess.run(
            ["redis-cli", "--raw", "-p", str(self.port), *before, *words],
            capture_output=True,
            timeout=10,
            check=True,
        )
        return done.stdout.decode("utf-8", "replace").strip()


class SentinelServer(RedisServer):
    """Watches `master` under the name "mymaster", alone: a quorum of one."""

    program = "redis-sentinel"
    ready = b"+monitor"

    def watching(self, master: RedisServer, down_after_ms: int) -> SentinelServer:
        file = self.directory / "sentinel.conf"
        file.write_text(
            f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
            f"sentinel down-after-milliseconds mymaster {down_after_ms}\n"
            "sentinel failover-timeout mymaster 3000\n"
        )
        return self

    def config(self) -> list[str]:
        return [str(self.directory / "sentinel.conf")]

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/mymaster"


class Counted:
    """What the metrics would be told."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.poison: list[str] = []

    def failed(self, reason: str) -> None:
        self.reasons.append(reason)

    def poisoned(self, what: str) -> None:
        self.poison.append(what)


class RedisTestCase(TestCase):
    """With links that end with the test."""

    timeout = 60
    if MISSING:
        skip = MISSING

    def setUp(self) -> None:
        self.counted = Counted()

    def server(self, *options: str) -> RedisServer:
        return RedisServer(self, *options).start()

    def link(self, url: str | RedisAddress) -> RedisLink:
        """Begun, perhaps not up."""
        address = parse(url) if isinstance(url, str) else url
        connector = Connector(address, THE_REACTOR, WireFactory(THE_REACTOR.callLater))
        link = RedisLink(str(address), connector, THE_REACTOR, self.counted)
        self.addCleanup(lambda: Deferred.fromCoroutine(link.stop()))
        Deferred.fromCoroutine(link.start())
        return link

    async def linked(self, url: str | RedisAddress) -> RedisLink:
        """Up."""
        link = self.link(url)
        await self.until(lambda: link.up)
        return link

    async def until(self, happened: Any) -> None:
        """The test's own limit ends a wait in vain."""
        while not happened():
            await self.pause(0.01)

    async def pause(self, secs: float) -> None:
        await deferLater(THE_REACTOR, secs)
