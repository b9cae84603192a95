"""`voxray doctor` and Redis: real servers, well and not."""

from __future__ import annotations

import signal

from tests.configs import loaded
from tests.redis_server import THE_REACTOR, RedisServer, RedisTestCase
from voxray.cli import machine
from voxray.cli.report import Finding, Verdict


class DoctorTests(RedisTestCase):
    async def found(self, url: str) -> Finding:
        settings = loaded({"session_store": "redis", "redis_url": url}).settings
        finding = await machine.redis(THE_REACTOR, settings)
        self.assertNotIn("hush", finding.worded)
        return finding

    async def test_good(self) -> None:
        """It answers, and is named without user and password."""
        server = self.server("--requirepass", "hush-hush")
        found = await self.found(f"redis://:hush-hush@127.0.0.1:{server.port}/2")
        self.assertEqual((found.verdict, found.topic), (Verdict.OK, "redis"))
        self.assertTrue(found.text.startswith(f"redis://127.0.0.1:{server.port} answers, in "), found.text)
        while len(server.cli("CLIENT", "LIST", before=("-a", "hush-hush")).splitlines()) > 1:
            await self.pause(0.01)  # our connection is let go of; the test's own limit ends a wait in vain

    async def test_not_us(self) -> None:
        """A wrong password, and none where one is needed."""
        server = self.server("--requirepass", "hush-hush")
        for user in (":hush-wrong@", ""):
            found = await self.found(f"redis://{user}127.0.0.1:{server.port}")
            self.assertEqual(found.verdict, Verdict.FAIL)
            self.assertIn("refuses us", found.text)
            self.assertIn("user and password", found.remedy)

    async def test_replica(self) -> None:
        """A server that would take no writing."""
        master = self.server()
        replica = self.server("--replicaof", "127.0.0.1", str(master.port))
        found = await self.found(replica.url)
        self.assertEqual((found.verdict, found.remedy), (Verdict.FAIL, machine.LOST))
        self.assertIn("replica", found.text)

    async def test_away(self) -> None:
        """Nobody there, and somebody who does not answer: bounded."""
        server = RedisServer(self)
        found = await self.found(server.url)
        self.assertEqual(
            (found.verdict, found.remedy), (Verdict.FAIL, "does it run, and is redis_url right?")
        )
        server.start()
        server.signal(signal.SIGSTOP)
        self.assertEqual((await self.found(server.url)).verdict, Verdict.FAIL)

    async def test_unused(self) -> None:
        """Nobody is asked."""
        found = await machine.redis(THE_REACTOR, loaded().settings)
        self.assertEqual(found.verdict, Verdict.SKIP)
