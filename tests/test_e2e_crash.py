"""F53 on the real daemon: kill -9 with calls up, behind a socket that systemd would hold; callers come back.

The simulator does what the document says comes after a stream, as Twilio and Telnyx do. The figure that is
printed is the time without a stream: the daemon's start, more than anything.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import defer, reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent, readBody

from tests.attackers import ROOT
from tests.dangers import shows
from tests.e2e_office import Deaf, OfficeTestCase
from voxray.simulator.script import Do, Script, Step, keys

CALLS = 20
TALKS = Script(
    (Step(Do.WAIT, secs=7.0), keys("1#"), Step(Do.WAIT, secs=3.0), keys("2#"), Step(Do.WAIT, secs=2.0))
)
IS_HUNG_UP_ON = Script((Step(Do.EXPECT_HANG_UP),), expect_hang_up=True)


@shows("F53")
class CrashTests(OfficeTestCase):
    """A listening socket that outlives the daemon, as voxray.socket is."""

    scenario: ClassVar = {"business": "Us"}

    async def start(self, config: Path) -> None:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(100)
        self.addCleanup(self.listener.close)
        self.config_path, self.log = config, config.parent / "log"
        self.launch()
        await self.until(0)

    def launch(self) -> None:
        twistd = str(Path(sys.executable).parent / "twistd")
        script = f'exec 3<&{self.listener.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        with self.log.open("ab") as log:
            self.process = process = subprocess.Popen(
                ["bash", "-c", script, "bash", twistd, "-n", "--pidfile=", "voxray",
                 "--config", str(self.config_path), "--listen", "systemd:"],
                env=self.environ, cwd=ROOT, pass_fds=(self.listener.fileno(),),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.addCleanup(deferToThread, process.wait, 10)
        self.addCleanup(process.terminate)

    async def until(self, count: int) -> None:
        """The daemon answers, and so many calls are up."""
        for _ in range(400):
            answer: Any = await Agent(reactor).request(b"GET", f"{self.url}metrics".encode())
            if b"\nvoxray_calls_active %d.0" % count in await readBody(answer):
                return
            await deferLater(reactor, 0.05)  # type: ignore[arg-type]
        raise AssertionError(f"{count} calls did not come up\n{self.log.read_text()}")

    async def test_crash(self) -> None:
        """All of them come back, to a new stream each, and are answered; then they hang up as ever."""
        await self.open("twilio", Deaf("Hello."), reattach=True)
        plan = replace(self.plan(TALKS), calls=CALLS)
        running = defer.Deferred.fromCoroutine(self.judged(plan))
        await self.until(CALLS)
        self.process.send_signal(signal.SIGKILL)
        await deferToThread(self.process.wait, 10)
        self.launch()
        results = []
        for judged in await running:
            self.assertEqual(judged.failures, ())
            result = judged.result
            assert result is not None
            results.append(result)
            self.assertEqual((result.ended_by, len(result.reattached)), ("caller", 1))
            self.assertEqual(len(result.close_codes), 2)
            answered = [turn for turn in result.turns[1:] if turn.reply_began is not None]
            self.assertTrue(answered, result.turns)  # by the new agent
        self.assertEqual(self.board.requests, [])
        worst = max(result.reattached[0] for result in results)
        sys.stdout.write(f"\nall callers are back {worst:.1f} s after kill -9\n")

    async def test_the_agent_hangs_up(self) -> None:
        """With a way back in the document the agent's own hang-up is the end all the same."""
        await self.open(
            "twilio", Deaf("Hello."), reattach=True, user_idle_timeout_secs=1.0, idle_prompts_max=0
        )
        result = await self.call(IS_HUNG_UP_ON)
        self.assertEqual((result.ended_by, result.reattached), ("agent", []))
        self.assertEqual(self.board.requests, [(result.ids.call_sid, 200)])
