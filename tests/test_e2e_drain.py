"""F51 on the real daemon: SIGTERM while calls are up, at the carrier's end of the wire and of its API."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import defer, reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent, readBody

from tests.attackers import SCRIPTED, STOP, LiveDaemon, Peer, start
from tests.dangers import shows
from tests.e2e_office import Deaf, OfficeTestCase
from tests.wsframes import frame
from voxray.simulator.caller import SimulatedCall
from voxray.simulator.client import connect, ring
from voxray.simulator.result import CallResult
from voxray.simulator.script import Do, Script, Step, keys
from voxray.simulator.target import new_ids
from voxray.simulator.webhook import WebhookFailed
from voxray.simulator.wires.vocabulary import Quirks

CALLS = 5
AGENT_TALKS = Script((keys("1#"), Step(Do.WAIT, secs=2.0), keys("2#"), Step(Do.WAIT, secs=2.0)))
HOLDS_ON = Script((Step(Do.EXPECT_HANG_UP),), expect_hang_up=True)


@shows("F51")
class DrainTests(OfficeTestCase):
    """Signed calls of Twilio's and Exotel's."""

    scenario: ClassVar = {"business": "Us"}

    async def waits(self, secs: float) -> None:
        await deferLater(reactor, secs)  # type: ignore[arg-type]

    async def ready(self) -> int:
        answer: Any = await Agent(reactor).request(b"GET", f"{self.url}ready".encode())
        await readBody(answer)
        return int(answer.code)

    def calls(self, count: int, script: Script) -> list[defer.Deferred[CallResult]]:
        return [defer.Deferred.fromCoroutine(self.call(script)) for _ in range(count)]

    async def all_up(self, count: int) -> None:
        """So many calls have their stream."""
        for _ in range(200):
            answer: Any = await Agent(reactor).request(b"GET", f"{self.url}metrics".encode())
            if b"voxray_calls_active %d.0" % count in await readBody(answer):
                return
            await self.waits(0.05)
        raise AssertionError("the calls did not come up")

    async def draining(self) -> None:
        self.daemon.terminate()
        for _ in range(100):
            if await self.ready() == 503:
                return
            await self.waits(0.02)
        raise AssertionError("still ready")

    async def test_calls_finish(self) -> None:
        """All that were up or announced end as they would have; nobody else is let in; the status is 0."""
        await self.open("twilio", Deaf("Hello."), drain_secs=60)
        target, ids = self.target(), [new_ids(self.side.default_account) for _ in range(2)]
        running = self.calls(CALLS, AGENT_TALKS)
        await self.all_up(CALLS)
        answer = await ring(reactor, target, ids[0])
        await self.draining()
        try:
            await ring(reactor, target, ids[1])
        except WebhookFailed as refused:
            self.assertIn("503", str(refused))
        else:
            raise AssertionError("a new call is let in")
        wire = self.side.wire(ids[0], target.numbers, Quirks())
        late = SimulatedCall(reactor, ids[0], AGENT_TALKS, wire=wire)  # type: ignore[arg-type]
        results = [
            await connect(reactor, target, late, answer, self.board),
            *[await each for each in running],
        ]
        self.assertEqual(await self.daemon.ended(), "exit status 0")
        self.assertEqual([result.ended_by for result in results], ["caller"] * (CALLS + 1))
        for result in results:
            self.assertEqual([turn.reply_began is not None for turn in result.turns], [True] * 3)
        self.assertEqual({event["reason"] for event in self.of("cdr")}, {"caller_hangup"})
        self.assertEqual(len(self.of("cdr")), CALLS + 1)

    async def test_deadline(self) -> None:
        """The goodbye is heard, then the carrier is told to hang up, on each call once."""
        await self.open("twilio", Deaf("Hello."), drain_secs=1.0, goodbye="Good bye then.")
        running = self.calls(CALLS, HOLDS_ON)
        await self.all_up(CALLS)
        await self.draining()
        results = [await each for each in running]
        self.assertEqual(await self.daemon.ended(), "exit status 0")
        self.assertEqual([result.ended_by for result in results], ["agent"] * CALLS)
        self.assertEqual(
            sorted(self.board.requests), sorted((result.ids.call_sid, 200) for result in results)
        )
        self.assertEqual([len(result.turns) for result in results], [1] * CALLS)
        for result in results:  # greeting and goodbye: nobody asked anything between them
            self.assertGreater(result.turns[0].heard_ms, 1_000)
        self.assertEqual({event["reason"] for event in self.of("cdr")}, {"drain_forced"})

    async def test_twice(self) -> None:
        """A second SIGTERM waits for nothing; where there is no hang-up by REST the socket says 1001."""
        await self.open("exotel", Deaf("Hello."), drain_secs=300.0)
        running = defer.Deferred.fromCoroutine(self.judged(self.plan(HOLDS_ON)))
        await self.all_up(1)
        await self.draining()
        self.daemon.terminate()
        [judged] = await running
        assert judged.result is not None
        self.assertEqual(judged.result.close_code, 1001)
        self.assertEqual(await self.daemon.ended(), "exit status 0")
        [record] = self.of("cdr")
        self.assertEqual(record["reason"], "drain_forced")


@shows("F51")
class DaemonizedTests(SynchronousTestCase):
    """twistd without --nodaemon, whose process is a child of nobody."""

    def test_sigterm(self) -> None:
        """The same: a call goes on, and the process ends after it."""
        directory = Path(self.mktemp()).absolute()
        daemon = LiveDaemon(directory, {**SCRIPTED, "drain_timeout_secs": 60})
        pid_file = directory / "pid"
        twistd = str(Path(sys.executable).parent / "twistd")
        started = subprocess.run(
            [
                twistd, f"--pidfile={pid_file}", f"--logfile={daemon.log_path}",
                "voxray", "--config", str(daemon.config),
            ],
            env=daemon._environ, cwd=directory, timeout=60, check=False,
        )  # fmt: skip
        self.assertEqual(started.returncode, 0)
        daemon.until(pid_file.exists, 20)
        pid = int(pid_file.read_text(encoding="ascii"))
        self.addCleanup(self.kill, pid)
        daemon.until(lambda: daemon.get("/ready")[0] == 200, 20)
        peer = daemon.peer()
        peer.send({"event": "connected"}, start(1))
        self.assertIsNotNone(peer.next())
        os.kill(pid, signal.SIGTERM)
        daemon.until(lambda: daemon.get("/ready")[0] == 503)
        peer.send({"event": "dtmf", "dtmf": {"digit": "1"}}, {"event": "dtmf", "dtmf": {"digit": "#"}})
        self.assertTrue(self.audible(peer))
        peer.send(STOP)
        self.assertEqual(peer.close_code(), 1000)
        peer.raw(frame(b"\x03\xe8", 8))
        daemon.until(lambda: not pid_file.exists(), 10)  # twistd removes it last

    def audible(self, peer: Peer) -> bool:
        until = time.monotonic() + 5
        while time.monotonic() < until and (got := peer.next()) is not None:
            if b'"media"' in got[1]:
                return True
        return False

    def kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
