"""F20 to F25 at the connection: what a real Redis does to us when it is not well, and that it passes.

No figure is asserted but the ones that the daemon promises: an answer within a second, whatever Redis does.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from tests.certificates import write_pair
from tests.dangers import shows
from tests.redis_server import NO_SENTINEL, THE_REACTOR, RedisServer, RedisTestCase, SentinelServer
from tests.store_contract import FOREVER, live, together
from voxray.errors import ConfigError, StoreUnavailable
from voxray.stores.link import RedisLink
from voxray.stores.ports import Session
from voxray.stores.redis import RedisBoard, RedisSessions, RedisTokens

PROMISED_SECS = 1.0


class FaultCase(RedisTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.logged: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def sessions(self, link: RedisLink) -> RedisSessions:
        return RedisSessions(link, self.counted.poisoned)

    async def why_not(self, doing: Any) -> str:
        """Why it could not be had, within what is promised."""
        began = THE_REACTOR.seconds()
        try:
            await doing
        except StoreUnavailable as error:
            self.assertLess(THE_REACTOR.seconds() - began, PROMISED_SECS)
            return error.reason
        return ""

    def errors(self) -> list[str]:
        """What the owner was told loudly."""
        return [e["code"] for e in self.logged if e.get("log_level") and e["log_level"].name == "error"]


class OutageTests(FaultCase):
    @shows("F20")
    async def test_down_at_start(self) -> None:
        """F20: nobody waits; once Redis is started it is found."""
        redis = RedisServer(self)
        link = self.link(redis.url)
        self.assertEqual(await self.why_not(self.sessions(link).get(str(uuid4()))), "down")
        redis.start()
        await self.until(lambda: link.up)
        self.assertIsNone(await self.sessions(link).get(str(uuid4())))

    @shows("F21")
    async def test_killed(self) -> None:
        """F21: what was being asked fails at once, and so does the rest; started empty it serves again."""
        redis = self.server()
        link = await self.linked(redis.url)
        sessions, board, session_id = self.sessions(link), RedisBoard(link, print), str(uuid4())
        await sessions.put(session_id, Session({"a": 1}), FOREVER)
        await board.reserve(live(1), 1, take_over=False)
        redis.kill()
        self.assertIn(await self.why_not(sessions.get(session_id)), ("lost", "down"))
        await self.until(lambda: not link.up)
        self.assertEqual(await self.why_not(sessions.get(session_id)), "down")
        redis.start()
        await self.until(lambda: link.up)
        self.assertIsNone(await sessions.get(session_id))
        self.assertEqual((await board.reserve(live(2), 1, take_over=False)).count, 1)

    @shows("F22")
    async def test_stopped_and_continued(self) -> None:
        """F22: 50 questions to a Redis that is stopped are all answered in time; later it is as before."""
        redis = self.server()
        link = await self.linked(redis.url)
        tokens = RedisTokens(link)
        await tokens.spend("before", FOREVER)
        redis.signal(signal.SIGSTOP)
        asking = [self.why_not(tokens.spend(f"n{number}", FOREVER)) for number in range(50)]
        reasons = set(await together(*asking))
        self.assertIn("timeout", reasons)
        self.assertLessEqual(reasons, {"timeout", "lost", "down"})
        self.assertEqual(await self.why_not(tokens.spend("x", FOREVER)), "down")
        redis.signal(signal.SIGCONT)
        await self.until(lambda: link.up)
        self.assertFalse(await tokens.spend("before", FOREVER))

    @shows("F22")
    async def test_nobody_asks(self) -> None:
        """A Redis that stops is found out all the same, and so is its return."""
        redis = self.server()
        link = await self.linked(redis.url)
        changes: list[tuple[bool, float]] = []
        link.watch(lambda up: changes.append((up, THE_REACTOR.seconds())))
        for number in (signal.SIGSTOP, signal.SIGCONT):
            redis.signal(number)
            began, count = THE_REACTOR.seconds(), len(changes)
            await self.until(lambda count=count: len(changes) > count)
            self.assertLess(changes[-1][1] - began, 2.0)
        self.assertEqual([up for up, _ in changes], [False, True])

    @shows("F22")
    async def test_a_port_that_never_answers(self) -> None:
        """A listener that accepts and says nothing: it is never up, and costs nobody a moment."""
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen()
            link = self.link(f"redis://127.0.0.1:{deaf.getsockname()[1]}")
            await self.pause(1.2)
            self.assertFalse(link.up)
            self.assertEqual(await self.why_not(RedisTokens(link).spend("n", FOREVER)), "down")

    @shows("F25")
    async def test_a_port_that_speaks_something_else(self) -> None:
        """An HTTP server, say: it is never up, and nothing of ours breaks."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            other.setblocking(False)
            link = self.link(f"redis://127.0.0.1:{other.getsockname()[1]}")
            for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n\xff\xfe", b"*1\r\n$-1\r\n", b"$9999999\r\n"):
                while True:
                    try:
                        taken, _ = other.accept()
                        break
                    except BlockingIOError:
                        await self.pause(0.01)
                taken.send(answer)
                await self.pause(0.05)
                self.assertFalse(link.up)
                taken.close()


class RefusalTests(FaultCase):
    """F24: a Redis that is there and will not."""

    @shows("F24")
    async def test_full(self) -> None:
        """Without memory it refuses to write: that is an error of the moment, and reading goes on."""
        redis = self.server()
        link = await self.linked(redis.url)
        sessions, session_id = self.sessions(link), str(uuid4())
        await sessions.put(session_id, Session({"a": 1}), FOREVER)
        redis.cli("CONFIG", "SET", "maxmemory", "1")
        self.assertEqual(await self.why_not(sessions.put(str(uuid4()), Session(), FOREVER)), "write")
        self.assertEqual(await self.why_not(RedisTokens(link).spend("n", FOREVER)), "write")
        board = RedisBoard(link, self.counted.poisoned)
        self.assertEqual(await self.why_not(board.reserve(live(), 1, take_over=False)), "write")
        self.assertEqual(await sessions.get(session_id), Session({"a": 1}))
        self.assertEqual((link.up, self.errors()), (True, ["OOM"]))
        redis.cli("CONFIG", "SET", "maxmemory", "0")
        await sessions.put(str(uuid4()), Session(), FOREVER)

    @shows("F24")
    async def test_a_password_from_now_on(self) -> None:
        """It keeps us out, loudly; once the password is gone it is found again."""
        redis = self.server()
        link = await self.linked(redis.url)
        redis.cli("CONFIG", "SET", "requirepass", "pw")
        redis.cli("CLIENT", "KILL", "TYPE", "normal", before=("-a", "pw"))
        await self.until(lambda: not link.up)
        self.assertEqual(await self.why_not(RedisTokens(link).spend("n", FOREVER)), "down")
        await self.until(self.errors)
        await self.pause(0.5)
        self.assertEqual(self.errors(), ["NOAUTH"])
        redis.cli("CONFIG", "SET", "requirepass", "", before=("-a", "pw"))
        await self.until(lambda: link.up)

    @shows("F24")
    async def test_loading(self) -> None:
        """While it still reads its file it is not there."""
        redis = self.server(
            "--enable-debug-command",
            "yes",
            "--key-load-delay",
            "2000",
            "--loading-process-events-interval-bytes",
            "1024",
        )
        redis.cli("DEBUG", "POPULATE", "1000", "key", "100")
        redis.cli("CONFIG", "SET", "save", "")
        redis.cli("SAVE")
        redis.kill()
        redis.start(wait=False)
        link = self.link(redis.url)
        await self.until(lambda: "it says LOADING" in [e.get("why") for e in self.logged])
        self.assertFalse(link.up)
        await self.until(lambda: link.up)

    @shows("F23")
    async def test_a_replica(self) -> None:
        """It is not the server to talk to, from the start or later."""
        master, other = self.server(), self.server()
        link = await self.linked(other.url)
        other.cli("REPLICAOF", "127.0.0.1", str(master.port))
        reason = await self.why_not(RedisTokens(link).spend("n", FOREVER))
        self.assertIn(reason, ("stale", "down", "lost"))
        await self.pause(0.3)
        self.assertFalse(link.up)
        other.cli("REPLICAOF", "NO", "ONE")
        await self.until(lambda: link.up)


class WaysInTests(FaultCase):
    """Users, TLS, sockets."""

    @shows("T21")
    async def test_acl(self) -> None:
        """A user that may do what we need, and nothing but `voxray:*`: the whole of it works."""
        redis = self.server()
        redis.cli(
            *["ACL", "SETUSER", "voxray", "on", ">p@ss", "~voxray:*", "+@all", "-@dangerous", "-@admin"]
        )
        redis.cli("ACL", "SETUSER", "default", "off")
        link = await self.linked(f"redis://voxray:p%40ss@127.0.0.1:{redis.port}")
        session_id = str(uuid4())
        await self.sessions(link).put(session_id, Session({"a": 1}), FOREVER)
        self.assertTrue(await RedisTokens(link).spend("n", FOREVER))
        board = RedisBoard(link, self.counted.poisoned)
        self.assertEqual((await board.reserve(live(), 1, take_over=False)).count, 1)
        self.assertEqual(self.counted.reasons, [])

    @shows("T10", "F24")
    async def test_a_wrong_password(self) -> None:
        """Never in, loudly, and the password is in no line of the log."""
        redis = self.server("--requirepass", "right")
        for userinfo in (":s3cret", "nobody:s3cret"):
            link = self.link(f"redis://{userinfo}@127.0.0.1:{redis.port}")
            count = len(self.errors())
            await self.until(lambda count=count: len(self.errors()) > count)
            self.assertFalse(link.up)
        self.assertEqual(self.errors(), ["WRONGPASS", "WRONGPASS"])
        self.assertNotIn("s3cret", str(self.logged))

    @shows("T21")
    async def test_what_the_user_may_not(self) -> None:
        """It is said loudly, once."""
        redis = self.server()
        redis.cli("ACL", "SETUSER", "voxray", "on", ">pw", "~other:*", "+@all")
        link = await self.linked(f"redis://voxray:pw@127.0.0.1:{redis.port}")
        for _ in range(3):
            self.assertEqual(await self.why_not(RedisTokens(link).spend("n", FOREVER)), "auth")
        self.assertEqual(self.errors(), ["NOPERM"])

    async def test_database(self) -> None:
        """The one of the URL."""
        redis = self.server()
        link = await self.linked(f"{redis.url}/5")
        await RedisTokens(link).spend("n", FOREVER)
        self.assertEqual(redis.cli("DBSIZE"), "0")
        self.assertEqual(redis.cli("DBSIZE", before=("-n", "5")), "1")

    async def test_socket(self) -> None:
        """Over a Unix socket, with a short path: they have a limit."""
        redis = RedisServer(self)
        path = Path(f"/tmp/voxray-{redis.port}.sock")
        self.addCleanup(path.unlink, missing_ok=True)
        redis.start("--unixsocket", str(path))
        link = await self.linked(f"unix://{path}?db=2")
        self.assertTrue(await RedisTokens(link).spend("n", FOREVER))


@shows("T21")
class TlsTests(FaultCase):
    def secure(self) -> tuple[RedisServer, str]:
        """A server that speaks TLS alone, and its certificate, which is for localhost by name."""
        redis = RedisServer(self)
        certificate, key = write_pair(redis.directory, addresses=())
        files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate)
        redis.start("--tls-port", str(redis.port), *files, "--tls-auth-clients", "no", "--port", "0")
        return redis, certificate

    async def test_trusted(self) -> None:
        """A certificate that the named authority signed, for the name that was dialled."""
        redis, certificate = self.secure()
        link = await self.linked(f"rediss://localhost:{redis.port}?ssl_ca_certs={certificate}")
        self.assertTrue(await RedisTokens(link).spend("n", FOREVER))

    async def test_not_trusted(self) -> None:
        """Another authority's, or for another name: never up, and the log says which."""
        redis, certificate = self.secure()
        for url, why in (
            (f"rediss://localhost:{redis.port}", "TLS: certificate verify failed"),
            (
                f"rediss://127.0.0.1:{redis.port}?ssl_ca_certs={certificate}",
                "its certificate is not for this name",
            ),
        ):
            link = self.link(url)
            await self.until(lambda why=why: why in [e.get("why") for e in self.logged])
            self.assertFalse(link.up)

    async def test_plain(self) -> None:
        """A client without TLS and a server with it, or the other way round: never up."""
        redis, _ = self.secure()
        plain = self.server()
        links = [self.link(redis.url), self.link(f"rediss://localhost:{plain.port}")]
        await self.pause(0.5)
        self.assertEqual([link.up for link in links], [False, False])

    def test_authority(self) -> None:
        """A file without certificates, or none, is an error at start."""
        nothing = Path(self.mktemp()).absolute()
        self.assertRaises(ConfigError, self.link, f"rediss://h?ssl_ca_certs={nothing}")
        nothing.write_text("x")
        self.assertRaises(ConfigError, self.link, f"rediss://h?ssl_ca_certs={nothing}")


@shows("F23")
class SentinelTests(FaultCase):
    """F23."""

    if NO_SENTINEL:
        skip = NO_SENTINEL

    async def cluster(self) -> tuple[RedisServer, RedisServer, SentinelServer]:
        """A master, its replica in step, and a sentinel that knows both."""
        master, replica = self.server(), self.server()
        replica.cli("REPLICAOF", "127.0.0.1", str(master.port))
        await self.until(lambda: "master_link_status:up" in replica.cli("INFO", "replication"))
        sentinel = SentinelServer(self).watching(master, 500)
        sentinel.start()
        await self.until(lambda: "num-other" in sentinel.cli("SENTINEL", "MASTER", "mymaster"))
        await self.until(lambda: str(replica.port) in sentinel.cli("SENTINEL", "REPLICAS", "mymaster"))
        return master, replica, sentinel

    async def fails_over(self, how: int) -> None:
        master, replica, sentinel = await self.cluster()
        link = await self.linked(sentinel.url)
        sessions, session_id = self.sessions(link), str(uuid4())
        await sessions.put(session_id, Session({"a": 1}), FOREVER)
        await self.until(lambda: replica.cli("EXISTS", f"voxray:session:{session_id}") == "1")
        master.signal(how)
        await self.until(lambda: not link.up)
        self.assertEqual(await self.why_not(sessions.get(session_id)), "down")
        await self.until(lambda: link.up)
        self.assertIn("role:master", replica.cli("INFO", "replication"))
        self.assertEqual(await sessions.get(session_id), Session({"a": 1}))
        await sessions.put(session_id, Session({"b": 1}), FOREVER)

    async def test_killed(self) -> None:
        """The replica takes over with what it has; until then the answer is no, in time."""
        await self.fails_over(signal.SIGKILL)

    async def test_stopped(self) -> None:
        """The same for a master that hangs."""
        await self.fails_over(signal.SIGSTOP)

    async def test_changed_on_purpose(self) -> None:
        """An administrator's fail-over: writes follow the master."""
        master, replica, sentinel = await self.cluster()
        link = await self.linked(sentinel.url)

        def says(server: RedisServer, role: str) -> bool:
            with contextlib.suppress(subprocess.CalledProcessError):  # whose role changes loses its clients
                return f"role:{role}" in server.cli("INFO", "replication")
            return False

        await self.until(lambda: sentinel.cli("SENTINEL", "FAILOVER", "mymaster") == "OK")
        await self.until(lambda: says(replica, "master"))
        await self.until(lambda: says(master, "slave"))
        tokens = RedisTokens(link)
        while await self.why_not(tokens.spend(uuid4().hex, FOREVER)):
            await self.pause(0.05)
        self.assertNotEqual(replica.cli("DBSIZE"), "0")

    test_changed_on_purpose.timeout = 150  # type: ignore[attr-defined]  # sentinels look every ten seconds

    async def test_several_sentinels(self) -> None:
        """One that is dead, one that is deaf and one that does not know the master are passed over."""
        master, _, sentinel = await self.cluster()
        ignorant = SentinelServer(self).watching(master, 500)
        (ignorant.directory / "sentinel.conf").write_text("")
        ignorant.ready = b"Sentinel ID"
        ignorant.start()
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen()
            ports = (1, deaf.getsockname()[1], ignorant.port, sentinel.port)
            hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
            link = await self.linked(f"redis+sentinel://{hosts}/mymaster")
        self.assertTrue(await RedisTokens(link).spend("n", FOREVER))

    async def test_nobody_knows(self) -> None:
        """No sentinel, no master: it goes on trying."""
        link = self.link("redis+sentinel://127.0.0.1:1/mymaster")
        await self.until(lambda: [e for e in self.logged if e.get("why") == "no sentinel knows the master"])
        self.assertFalse(link.up)


class PressureTests(FaultCase):
    async def test_stopping_while_asked(self) -> None:
        """A daemon that ends leaves nothing open, and nobody waiting."""
        redis = self.server()
        link = await self.linked(redis.url)
        redis.signal(signal.SIGSTOP)
        asking = Deferred.fromCoroutine(self.why_not(RedisTokens(link).spend("n", FOREVER)))
        await link.stop()
        self.assertEqual(await asking, "lost")
