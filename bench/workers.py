"""Several processes on one port: are many calls at once served as one process serves few?

    python -m bench.workers [--calls 200] [--workers 2] [--secs 20] [--callers 2]

A real daemon without Redis, scripted providers, tokens on; the simulator's callers, signed as Twilio
signs, in processes of their own. Webhook and stream of a call reach whichever worker accepts first.

Calls that are lost or unanswered and frames that the daemon did not hear have to be none; its lateness is
that of its own timers, over all workers (`/metrics`). The callers' own clock is shown too: on a machine with
as many cores as workers they are in the way of what they measure.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react
from twisted.internet.utils import getProcessOutputAndValue
from twisted.web.client import Agent, readBody

from bench.drain import DOCUMENT, ROOT, TOKEN, Rig, survived, talk
from voxray.simulator.daemon import Daemon, environment, free_port, twilio_account
from voxray.simulator.rest import Switchboard, listen
from voxray.simulator.target import DEFAULT_ACCOUNT_SID

PACKETS_A_SEC = 50


async def call_in(reactor: Any, port: int, calls: int, per_sec: float, secs: float) -> list[dict[str, Any]]:
    """This process's share of the callers; what each found."""
    rig = Rig(reactor, Path(), Switchboard(DEFAULT_ACCOUNT_SID, TOKEN), 0)
    running: list[Deferred[Any]] = []
    for _ in range(calls):
        running.append(Deferred.fromCoroutine(rig.call(port, talk(secs))))
        await rig.sleep(1 / per_sec)
    return [found(result) for result in await gatherResults(running)]


def found(result: Any) -> dict[str, Any]:
    if isinstance(result, str):
        return {"why": result}
    return {
        "survived": survived(result),
        "why": f"{result.ended_by} {result.close_codes} {result.undone}",
        "sid": result.ids.call_sid,
        "sent": result.packets_sent,
        "setup_ms": result.setup_ms,
        "gaps": sum(len(turn.gaps) for turn in result.turns),
        "gap_ms": sum(turn.gap_ms for turn in result.turns),
        "late_ms": result.worst_tick_ms,
    }


class Subject:
    """The daemon, and what it says of its calls."""

    def __init__(self, rig: Rig, workers: int) -> None:
        self.rig, self.port = rig, free_port()
        self.records: dict[str, dict[str, Any]] = {}
        self.daemon = Daemon(rig.reactor, self._event)
        config = rig.directory / "voxray.json"
        config.write_text(json.dumps({**DOCUMENT, "stream_secret": "", "workers": workers}), encoding="utf-8")
        settings = environment(self.port) | twilio_account(DEFAULT_ACCOUNT_SID, TOKEN, rig.rest_port)
        self.daemon.start(config, settings | {"PYTHONPATH": str(ROOT)}, ROOT)

    async def metrics(self) -> str:
        url = f"http://127.0.0.1:{self.port}/metrics".encode()
        return (await readBody(await Agent(self.rig.reactor).request(b"GET", url))).decode()  # type: ignore[no-any-return]

    def _event(self, event: Any) -> None:
        if event.get("event") == "cdr":
            self.records[event["call_sid"]] = dict(event)


def value(text: str, name: str) -> float:
    return sum(
        float(number) for number in re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.M)
    )


def quantile_ms(text: str, name: str, share: float) -> float:
    """The bound of the bucket in which that share of a histogram's observations is reached."""
    buckets = re.findall(rf'^{name}_bucket{{le="([^"]+)"}} (\S+)$', text, re.M)
    wanted = float(buckets[-1][1]) * share
    return 1000 * float(next(bound for bound, count in buckets if float(count) >= wanted))


async def main(reactor: Any, options: argparse.Namespace) -> None:
    if options.port:
        share = await call_in(reactor, options.port, options.calls, options.per_sec, options.secs)
        sys.stdout.write(json.dumps(share))
        return
    rest: Any = await listen(reactor, Switchboard(DEFAULT_ACCOUNT_SID, TOKEN), 0)
    with tempfile.TemporaryDirectory() as directory:
        rig = Rig(reactor, Path(directory), Switchboard(DEFAULT_ACCOUNT_SID, TOKEN), rest.getHost().port)
        subject = Subject(rig, options.workers)
        await subject.daemon.ready(f"http://127.0.0.1:{subject.port}/ready", lambda waited: None)
        print(f"load before: {os.getloadavg()[0]:.1f}", flush=True)
        asking = [callers(subject.port, options) for _ in range(options.callers)]
        watching = Deferred.fromCoroutine(most_calls(rig, subject, options))
        results = [each for share in await gatherResults(asking) for each in share]
        print(f"at once: {await watching:.0f} calls")
        text = await subject.metrics()
        print(f"the daemon ended: {await subject.daemon.stop()}")
    await rest.stopListening()
    judge(rig, subject, results, text)
    if any(number > bound for _, number, bound in rig.rows):
        raise SystemExit(1)


def callers(port: int, options: argparse.Namespace) -> Deferred[list[dict[str, Any]]]:
    """A process of its own, and what it found."""
    words = ["-m", "bench.workers", "--port", str(port), "--calls", str(options.calls // options.callers)]
    words += ["--per-sec", str(options.per_sec / options.callers), "--secs", str(options.secs)]
    asking = getProcessOutputAndValue(sys.executable, words, env=dict(os.environ), path=str(ROOT))

    def read(result: tuple[bytes, bytes, int]) -> list[dict[str, Any]]:
        if result[2]:
            raise SystemExit(result[1].decode())
        share: list[dict[str, Any]] = json.loads(result[0])
        return share

    return asking.addCallback(read)  # type: ignore[no-any-return]


async def most_calls(rig: Rig, subject: Subject, options: argparse.Namespace) -> float:
    """How many were up when all had begun."""
    await rig.sleep(options.calls / options.per_sec + options.secs / 2 + 1.0)
    return value(await subject.metrics(), "voxray_calls_active")


def judge(rig: Rig, subject: Subject, results: list[dict[str, Any]], text: str) -> None:
    lost = [result for result in results if not result.get("survived")]
    for result in lost[:5]:
        print(result["why"])
    rig.row(f"calls lost or unanswered of {len(results)}", len(lost), 0)
    there = [result for result in results if result.get("sid") in subject.records]
    unheard = [
        result["sent"] - round(subject.records[result["sid"]]["heard_secs"] * PACKETS_A_SEC)
        for result in there
    ]
    # The last packets before the caller's `stop` may be behind it.
    rig.row(
        f"frames not heard of {sum(r['sent'] for r in there)}", sum(max(0, n) for n in unheard), len(there)
    )
    rig.row("replies that ran dry at the carrier", value(text, "voxray_playout_underruns_total"), 0)
    rig.row(
        "lateness of the daemon's timers, p99, ms", quantile_ms(text, "voxray_reactor_lag_seconds", 0.99), 100
    )
    spread = Counter(record["worker"] for record in subject.records.values() if "worker" in record)
    print(f"calls by worker: {dict(sorted(spread.items()))}")
    for name, figures in (
        ("gaps in what a caller heard, ms in all", [result["gap_ms"] for result in there]),
        ("webhook to socket, ms", [result["setup_ms"] for result in there]),
        ("the callers' own clock was late by, ms", [result["late_ms"] for result in there]),
    ):
        ordered = sorted(figures) or [0.0]
        middle, p95 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.95)]
        print(f"{name}: median {middle:.0f}, p95 {p95:.0f}, worst {ordered[-1]:.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--secs", type=float, default=20.0, help="between a call's two questions")
    parser.add_argument("--per-sec", type=float, default=20.0, help="calls that begin")
    parser.add_argument("--callers", type=int, default=2, help="processes that call")
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    react(main, [parser.parse_args()])
