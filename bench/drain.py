"""Deploys: does a call survive the restart of the daemon that carries it?

    python -m bench.drain [--calls 20] [--repeats 10] [--rolling 200]

Real daemons with scripted providers, and the simulator's callers, signed as Twilio signs, on loopback.

1. SIGTERM with `--calls` calls up and one announced, `--repeats` times: all of them have to end as they would
   have, webhooks that come later have to be refused, and the process has to be gone soon after the last call.
2. The deadline, and a second SIGTERM: everybody is told goodbye, hung up on and left.
3. Two daemons behind nginx (docs/deployment/examples/nginx-two.conf, without its TLS) are restarted in turn
   while `--rolling` calls come and go: none may be lost.
4. SIGKILL with `--calls` calls up, and a start: how long until the next call is answered.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react
from twisted.web.client import Agent, readBody

from voxray.simulator.caller import SimulatedCall
from voxray.simulator.client import connect, place_call, ring
from voxray.simulator.daemon import PUBLIC_HOST, Daemon, environment, free_port, twilio_account
from voxray.simulator.rest import Switchboard, listen
from voxray.simulator.result import CallResult
from voxray.simulator.script import Do, Script, Step, keys
from voxray.simulator.target import DEFAULT_ACCOUNT_SID, DialFailed, Target, new_ids
from voxray.simulator.twiml import BadAnswer
from voxray.simulator.webhook import WebhookFailed
from voxray.simulator.wires.vocabulary import Quirks

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "docs" / "deployment" / "examples" / "nginx-two.conf"
TOKEN, STREAM_SECRET = "bench-token", "bench-stream-secret"
DOCUMENT = {
    "provider": "scripted",
    "runner_transport": "twilio",
    "greeting": "Hello.",
    "vad_type": "energy",
    "telephony_auth": "both",
    "stream_secret": STREAM_SECRET,
    "trusted_proxies": ["127.0.0.1"],
    "max_calls": 1000,
}
HOLDS_ON = Script((Step(Do.EXPECT_HANG_UP),))
REFUSED_SECS, EXIT_SECS, RESTART_SECS = 0.05, 2.0, 3.0
GAP_SECS = 5.0  # between the two restarts


def talk(secs: float) -> Script:
    """Two questions, so many seconds of listening, and the caller hangs up."""
    return Script((keys("1#"), Step(Do.WAIT, secs=secs), keys("2#"), Step(Do.WAIT, secs=1.5)))


def survived(result: CallResult | str) -> bool:
    """The caller ended it, on its first socket, and everything asked was answered."""
    if isinstance(result, str):
        return False
    answered = all(turn.reply_began is not None for turn in result.turns)
    return result.ended_by == "caller" and not result.redials and answered and len(result.turns) == 3


@dataclass
class Rig:
    """Where the parts of a run find each other."""

    reactor: Any
    directory: Path
    board: Switchboard
    rest_port: int
    rows: list[tuple[str, float, float]] = field(default_factory=list)

    def node(self, name: str, port: int, drain_secs: float = 300.0) -> Daemon:
        """A daemon that starts now."""
        directory = self.directory / f"{name}-{secrets.token_hex(3)}"
        directory.mkdir()
        config = directory / "voxray.json"
        config.write_text(json.dumps({**DOCUMENT, "drain_timeout_secs": drain_secs}), encoding="utf-8")
        settings = environment(port) | twilio_account(DEFAULT_ACCOUNT_SID, TOKEN, self.rest_port)
        del settings["VOXRAY_DRAIN_TIMEOUT_SECS"]
        daemon = Daemon(self.reactor, lambda event: None)
        daemon.start(config, settings | {"PYTHONPATH": str(ROOT)}, ROOT)
        return daemon

    def target(self, port: int) -> Target:
        return Target(
            f"http://127.0.0.1:{port}/",
            public_url=f"https://{PUBLIC_HOST}",
            auth_token=TOKEN,
            account_sid=DEFAULT_ACCOUNT_SID,
        )

    def caller(self, target: Target, script: Script) -> SimulatedCall:
        ids = new_ids(target.account_sid)
        return SimulatedCall(
            self.reactor, ids, script, wire=target.side.wire(ids, target.numbers, Quirks()), max_secs=60.0
        )

    async def call(self, port: int, script: Script, began: Callable[[], None] = lambda: None) -> Any:
        """The result, or why there was no call."""
        target = self.target(port)
        call = self.caller(target, script)
        call.on_begun = began
        try:
            return await place_call(self.reactor, target, call, self.board)
        except (DialFailed, WebhookFailed, BadAnswer) as error:
            return str(error)

    def begin(self, port: int, count: int, script: Script) -> tuple[list[Deferred[Any]], Deferred[None]]:
        """Calls, and a Deferred that fires when all are up."""
        up: Deferred[None] = Deferred()
        waiting = [count]

        def one() -> None:
            waiting[0] -= 1
            if not waiting[0]:
                up.callback(None)

        calls = [Deferred.fromCoroutine(self.call(port, script, one)) for _ in range(count)]
        return calls, up

    async def sleep(self, secs: float) -> None:
        await deferLater(self.reactor, secs)

    async def status(self, port: int, path: str = "ready") -> int:
        answer: Any = await Agent(self.reactor).request(b"GET", f"http://127.0.0.1:{port}/{path}".encode())
        await readBody(answer)
        return int(answer.code)

    async def until_refused(self, port: int) -> float:
        """Seconds from now until /ready is 503."""
        began = self.reactor.seconds()
        while await self.status(port) != 503:
            pass
        return float(self.reactor.seconds() - began)

    def row(self, name: str, value: float, bound: float) -> None:
        self.rows.append((name, value, bound))
        print(f"{'ok  ' if value <= bound else 'MISS'} {name}: {value:.3f} (bound {bound:g})", flush=True)


async def drained(rig: Rig, calls: int) -> tuple[int, int, float, float]:
    """Calls lost, new ones let in, seconds until the first 503, seconds from the last call to the exit."""
    port = free_port()
    daemon = rig.node("drain", port)
    await daemon.ready(f"http://127.0.0.1:{port}/ready", lambda waited: None)
    target = rig.target(port)
    running, up = rig.begin(port, calls, talk(3.0))
    await up
    late = rig.caller(target, talk(2.0))
    answer = await ring(rig.reactor, target, late.result.ids)
    daemon.terminate()
    refused = await rig.until_refused(port)
    let_in = 0
    for _ in range(10):
        with_call = await rig.call(port, HOLDS_ON)
        let_in += not (isinstance(with_call, str) and "503" in with_call)
    results = [await connect(rig.reactor, target, late, answer, rig.board), *await gatherResults(running)]
    last = rig.reactor.seconds()
    how = await daemon.ended()
    if how != "exit status 0":
        print(how, daemon._last_lines())
    lost = sum(not survived(result) for result in results)
    return lost, let_in, refused, rig.reactor.seconds() - last


async def drains(rig: Rig, calls: int, repeats: int) -> None:
    outcomes = []
    for number in range(repeats):
        outcomes.append(await drained(rig, calls))
        print(f"drain {number + 1}: lost, let in, 503 after s, exit after s: {outcomes[-1]}", flush=True)
    total = repeats * (calls + 1)
    rig.row(f"calls lost of {total}", sum(o[0] for o in outcomes), 0)
    rig.row(f"new calls let in of {10 * repeats}", sum(o[1] for o in outcomes), 0)
    rig.row("s until the first 503, worst", max(o[2] for o in outcomes), REFUSED_SECS)
    rig.row("s from the last call to the exit, worst", max(o[3] for o in outcomes), EXIT_SECS)


async def forced(rig: Rig, calls: int, again: bool) -> None:
    """The deadline, or a second SIGTERM."""
    port = free_port()
    daemon = rig.node("forced", port, 300.0 if again else 1.0)
    await daemon.ready(f"http://127.0.0.1:{port}/ready", lambda waited: None)
    asked = len(rig.board.requests)
    running, up = rig.begin(port, calls, HOLDS_ON)
    await up
    await rig.sleep(1.5)  # the greetings
    daemon.terminate()
    if again:
        await rig.until_refused(port)
        daemon.terminate()
    else:
        await rig.sleep(1.0)
    began = rig.reactor.seconds()
    results = await gatherResults(running)
    over = rig.reactor.seconds() - began
    await daemon.ended()
    what = "the second SIGTERM" if again else "the deadline"
    hung_up = [call_sid for call_sid, status in rig.board.requests[asked:] if status == 200]
    rig.row(f"calls not hung up on at {what}, of {calls}", calls - len(set(hung_up)), 0)
    rig.row(f"calls that did not end by that of {calls}", sum(r.ended_by != "agent" for r in results), 0)
    rig.row(f"s from {what} to the last call's end", over, 2.0 if again else 3.0)
    rig.row(f"s from {what} to the exit", rig.reactor.seconds() - began, 2.5 if again else 3.5)


def nginx(directory: Path, port: int, nodes: Sequence[int]) -> subprocess.Popen[bytes]:
    """The example, plain and on loopback."""
    text = EXAMPLE.read_text(encoding="utf-8")
    text = re.sub(r"(?m)^\s*(ssl_\w+ .*|listen \[::\].*)\n", "", text)
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port}"),
        ("X-Forwarded-Proto $scheme", "X-Forwarded-Proto https"),
        ("127.0.0.1:8080", f"127.0.0.1:{nodes[0]}"),
        ("127.0.0.1:8081", f"127.0.0.1:{nodes[1]}"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {directory}/{kind}; " for kind in kinds)
    (directory / "site.conf").write_text(text, encoding="utf-8")
    (directory / "nginx.conf").write_text(
        "daemon off; worker_processes 1; pid nginx.pid; error_log error.log;"
        " events { worker_connections 2048; }"
        f" http {{ access_log access.log; {temporary} include site.conf; }}",
        encoding="utf-8",
    )
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if program is None:
        sys.exit("nginx is not installed: apt install nginx-light")
    return subprocess.Popen([program, "-p", str(directory), "-c", "nginx.conf"])


async def restarted(rig: Rig, ports: Sequence[int], nodes: list[Daemon]) -> None:
    """Each node in turn, once, with a pause between them."""
    for number, port in enumerate(ports):
        await rig.sleep(GAP_SECS)
        print(f"node {number + 1} is told to stop", flush=True)
        nodes[number].terminate()
        print(f"node {number + 1}: {await nodes[number].ended()}", flush=True)
        nodes[number] = rig.node(f"node{number}", port)
        await nodes[number].ready(f"http://127.0.0.1:{port}/ready", lambda waited: None)


async def rolling(rig: Rig, calls: int, per_sec: float) -> None:
    ports, front = [free_port(), free_port()], free_port()
    nodes = [rig.node(f"node{number}", port) for number, port in enumerate(ports)]
    for node, port in zip(nodes, ports, strict=True):
        await node.ready(f"http://127.0.0.1:{port}/ready", lambda waited: None)
    proxy = nginx(rig.directory, front, ports)
    try:
        await rig.sleep(1.0)
        restarting = Deferred.fromCoroutine(restarted(rig, ports, nodes))
        running: list[Deferred[Any]] = []
        for _ in range(calls):
            running.append(Deferred.fromCoroutine(rig.call(front, talk(4.0))))
            await rig.sleep(1 / per_sec)
        results = await gatherResults(running)
        await restarting
    finally:
        proxy.terminate()
        proxy.wait()
    for node in nodes:
        await node.stop()
    lost = [result for result in results if not survived(result)]
    for result in lost[:5]:
        print(result if isinstance(result, str) else (result.ended_by, result.close_codes, result.undone))
    setups = [result.setup_ms for result in results if survived(result)]
    lines = (rig.directory / "access.log").read_text(encoding="utf-8").count("\n")
    print(f"nginx answered {lines} requests; webhook to socket: median {statistics.median(setups):.0f} ms, "
          f"worst {max(setups, default=math.nan):.0f} ms")  # fmt: skip
    rig.row(f"calls lost of {calls} over two restarts", len(lost), 0)


async def killed(rig: Rig, calls: int) -> None:
    port = free_port()
    daemon = rig.node("killed", port)
    await daemon.ready(f"http://127.0.0.1:{port}/ready", lambda waited: None)
    running, up = rig.begin(port, calls, HOLDS_ON)
    await up
    daemon._stopping = True
    daemon._kill()
    began = rig.reactor.seconds()
    await daemon.ended()
    again = rig.node("again", port)
    while isinstance(result := await rig.call(port, Script((keys("1#"), Step(Do.WAIT, secs=1.0)))), str):
        await rig.sleep(0.05)
    served = rig.reactor.seconds() - began - result.duration_secs
    await gatherResults(running)
    await again.stop()
    rig.row("s from SIGKILL to the next call's stream, started at once", served, RESTART_SECS)


async def main(reactor: Any, options: argparse.Namespace) -> None:
    board = Switchboard(DEFAULT_ACCOUNT_SID, TOKEN)
    rest: Any = await listen(reactor, board, 0)
    with tempfile.TemporaryDirectory() as directory:
        rig = Rig(reactor, Path(directory), board, rest.getHost().port)
        if options.repeats:
            await drains(rig, options.calls, options.repeats)
            await forced(rig, options.calls, again=False)
            await forced(rig, options.calls, again=True)
            await killed(rig, options.calls)
        if options.rolling:
            await rolling(rig, options.rolling, options.per_sec)
    await rest.stopListening()
    if any(value > bound for _, value, bound in rig.rows):
        raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--rolling", type=int, default=200)
    parser.add_argument("--per-sec", type=float, default=5.0, help="calls that begin, in the rolling restart")
    react(main, [parser.parse_args()])
