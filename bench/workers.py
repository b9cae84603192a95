"""Several processes on one port: are many calls at once served as one process serves few?

    python -m bench.workers [--calls 200] [--workers 2] [--secs 20] [--callers 2]

A real daemon without Redis, scripted providers, one-use tokens. Callers are light, for they share the
machine: each sends a packet every 20 ms in real time, presses a key twice, and plays what it is told out of a
buffer of its own, so that a reply that comes too late is a gap. Webhook and stream of a call reach whichever
worker accepts first.

Calls that are lost or unanswered, frames that the daemon did not hear and gaps have to be none; its lateness
is that of its own timers, over all workers (`/metrics`). The callers' own clock is shown too: a run in which
it was late by more than a packet or two measured the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.soak import KEYS, QUIET, STOP, UPGRADE, Daemon, text

ROOT = Path(__file__).parent.parent
PACKET_SECS = 0.02
MESSAGE_SECS = 0.04  # of audio in one of ours
ANSWER_SECS = 5.0
SETTINGS: dict[str, object] = {
    "host": "127.0.0.1",
    "provider": "scripted",
    "runner_transport": "twilio",
    "greeting": "Hello.",
    "vad_type": "energy",
    "telephony_auth": "token",
    "json_logs": True,
    "max_calls": 1000,
    "max_lag_ms": 10_000,  # lateness is measured here, and nobody is refused for it
    "drain_timeout_secs": 0,
}


class Caller:
    """One call, from the webhook to the close frame."""

    def __init__(self, port: int, number: int, others: set[Caller]) -> None:
        self.port, self.others = port, others
        self.ids = {
            "streamSid": f"MZ{number:032x}",
            "callSid": f"CA{number:032x}",
            "accountSid": "AC" + "0" * 32,
        }
        self.sent = self.setup_ms = self.gap_ms = 0.0
        self.reply_ms: list[float] = []
        self.closed = 0
        self._playing_until = self._asked_at = 0.0
        self._answered = asyncio.Event()
        self._writer: asyncio.StreamWriter

    async def call(self, secs: float) -> dict[str, Any]:
        why = ""
        try:
            reader = await self._ring()
            listening = asyncio.create_task(self._listen(reader))
            self.others.add(self)
            await self._answer()
            for pause in (secs, 1.0):
                self._ask()
                await self._answer()
                await asyncio.sleep(pause)
            self.others.discard(self)
            self._writer.write(STOP)
            await asyncio.wait_for(listening, ANSWER_SECS)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            why = repr(error)
        finally:
            self.others.discard(self)
            with suppress(AttributeError):
                self._writer.close()
        survived = not why and self.closed == 1000
        told = {name: getattr(self, name) for name in ("sent", "setup_ms", "gap_ms", "reply_ms")}
        return {
            "sid": self.ids["callSid"],
            "survived": survived,
            "why": why or f"closed {self.closed}",
            **told,
        }

    def packet(self) -> None:
        self._writer.write(QUIET)
        self.sent += 1

    async def _ring(self) -> asyncio.StreamReader:
        """The webhook, the upgrade, `start`."""
        began = time.monotonic()
        form = urllib.parse.urlencode({"CallSid": self.ids["callSid"], "From": "+15551234567", "To": "+1"})
        head = f"POST / HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\nContent-Length: {len(form)}\r\n"
        head += "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write((head + form).encode())
        answer = await reader.read()
        writer.close()
        found = re.search(rb'url="wss://[^/]+(/[^"]+)"', answer)
        if found is None:
            raise ValueError(answer[:60])
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writer.write(UPGRADE.replace(b"/telephony/ws", found[1], 1))
        await reader.readuntil(b"\r\n\r\n")
        self.setup_ms = (time.monotonic() - began) * 1000
        self._writer.write(text({"event": "connected"}) + text({"event": "start", "start": self.ids}))
        return reader

    def _ask(self) -> None:
        self._answered.clear()
        self._asked_at = time.monotonic()
        self._writer.write(KEYS)

    async def _answer(self) -> None:
        await asyncio.wait_for(self._answered.wait(), ANSWER_SECS)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Until the close frame, or until there is none to come."""
        with suppress(asyncio.IncompleteReadError, OSError):
            await self._frames(reader)

    async def _frames(self, reader: asyncio.StreamReader) -> None:
        while True:
            first, size = await reader.readexactly(2)
            if size == 126:
                size = int(struct.unpack("!H", await reader.readexactly(2))[0])
            payload = await reader.readexactly(size)
            if first & 15 == 8:
                self.closed = int(struct.unpack("!H", payload[:2])[0])
                return
            if b'"media"' in payload:
                self._heard(time.monotonic())
            elif b'"mark"' in payload:
                delay = max(0.0, self._playing_until - time.monotonic())
                asyncio.get_running_loop().call_later(delay, self._echo, json.loads(payload))

    def _heard(self, now: float) -> None:
        """Played at once, or behind what is in the buffer still."""
        if not self._answered.is_set():
            self._answered.set()
            self._playing_until = now
            if self._asked_at:
                self.reply_ms.append((now - self._asked_at) * 1000)
        elif now > self._playing_until:
            if now - self._playing_until < 0.5:  # else it is another utterance
                self.gap_ms += (now - self._playing_until) * 1000
            self._playing_until = now
        self._playing_until += MESSAGE_SECS

    def _echo(self, mark: dict[str, Any]) -> None:
        if not self._writer.is_closing():
            self._writer.write(text(mark))


async def call_in(options: argparse.Namespace) -> dict[str, Any]:
    """One process's share of the callers."""
    up: set[Caller] = set()
    late: list[float] = []
    ticking = asyncio.create_task(tick(up, late))
    calls = []
    for number in range(options.calls):
        caller = Caller(options.port, options.first + number, up)
        calls.append(asyncio.create_task(caller.call(options.secs)))
        await asyncio.sleep(1 / options.per_sec)
    found = await asyncio.gather(*calls)
    ticking.cancel()
    late.sort()
    return {"calls": found, "late_ms": [1000 * late[int(len(late) * share)] for share in (0.5, 0.99)]}


async def tick(up: set[Caller], late: list[float]) -> None:
    """A packet of each caller every 20 ms; what was missed is made up for."""
    due = time.monotonic()
    while True:
        for caller in tuple(up):
            caller.packet()
        due += PACKET_SECS
        now = time.monotonic()
        late.append(max(0.0, now - due))
        await asyncio.sleep(max(0.0, due - now))


def share_of(options: argparse.Namespace, number: int, port: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "bench.workers", "--port", str(port), "--secs", str(options.secs)]
    calls = options.calls // options.callers
    words += ["--calls", str(calls), "--first", str(number * calls)]
    words += ["--per-sec", str(options.per_sec / options.callers)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE)


def value(page: str, name: str) -> float:
    found = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", page, re.M)
    return sum(map(float, found))


def quantile_ms(page: str, name: str, share: float) -> float:
    """The bound of the bucket in which that share of a histogram's observations is reached."""
    buckets = re.findall(rf'^{name}_bucket{{le="([^"]+)"}} (\S+)$', page, re.M)
    wanted = float(buckets[-1][1]) * share
    return 1000 * float(next(bound for bound, count in buckets if float(count) >= wanted))


def cpu_secs(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Verdicts:
    """Figures beside their bounds."""

    missed = 0

    def row(self, name: str, figure: float, bound: float) -> None:
        self.missed += figure > bound
        print(f"{'ok  ' if figure <= bound else 'MISS'} {name}: {figure:.1f} (bound {bound:g})", flush=True)


def judge(verdicts: Verdicts, shares: list[dict[str, Any]], records: dict[str, Any], page: str) -> None:
    calls = [call for share in shares for call in share["calls"]]
    lost = [call for call in calls if not call["survived"]]
    print(*{call["why"] for call in lost}, sep="\n", end="\n" if lost else "")
    verdicts.row(f"calls lost or unanswered of {len(calls)}", len(lost), 0)
    there = [call for call in calls if call["sid"] in records and call["survived"]]
    unheard = [call["sent"] - round(records[call["sid"]]["heard_secs"] / PACKET_SECS) for call in there]
    verdicts.row(f"frames not heard of {sum(c['sent'] for c in there):.0f}", sum(unheard), 0)
    verdicts.row("calls with a gap in a reply", sum(call["gap_ms"] > 0 for call in there), 0)
    verdicts.row("replies that ran dry at the carrier", value(page, "voxray_playout_underruns_total"), 0)
    lag = quantile_ms(page, "voxray_reactor_lag_seconds", 0.99)
    verdicts.row("lateness of the daemon's timers, p99, ms", lag, 100)
    print(f"calls by worker: {dict(sorted(Counter(r['worker'] for r in records.values()).items()))}")
    for name, figures in (
        ("webhook to socket, ms", [call["setup_ms"] for call in there]),
        ("key to the reply's first audio, ms", [ms for call in there for ms in call["reply_ms"]]),
        ("gaps of the calls that had one, ms", [call["gap_ms"] for call in there if call["gap_ms"]]),
    ):
        ordered = sorted(figures) or [0.0]
        middle, p95 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.95)]
        print(f"{name}: median {middle:.0f}, p95 {p95:.0f}, worst {ordered[-1]:.0f}")
    worst = max(share["late_ms"][1] for share in shares)
    print(f"the callers' own clock was late by (p99): {worst:.0f} ms")


def main(options: argparse.Namespace) -> int:
    if options.port:
        print(json.dumps(asyncio.run(call_in(options))))
        return 0
    with tempfile.TemporaryDirectory() as directory:
        daemon = Daemon(Path(directory), {**SETTINGS, "workers": options.workers})
        atexit.register(daemon.process.terminate)  # also when something here fails
        daemon.ready()
        print(f"load before: {os.getloadavg()[0]:.1f}", flush=True)
        asking = [share_of(options, number, daemon.port) for number in range(options.callers)]
        time.sleep(options.calls / options.per_sec + options.secs / 4)
        log = daemon.log.read_text("utf-8")
        workers = [int(pid) for pid in re.findall(r"worker \d+ is process (\d+)", log)] or [
            daemon.process.pid
        ]
        before = [cpu_secs(pid) for pid in workers]
        time.sleep(3.0)
        busy = [round(100 * (cpu_secs(pid) - was) / 3.0) for pid, was in zip(workers, before, strict=True)]
        page = metrics(daemon.port)
        print(
            f"at once: {value(page, 'voxray_calls_active'):.0f} calls; CPU of each worker: {busy} %",
            flush=True,
        )
        shares = [json.loads(each.communicate()[0]) for each in asking]
        page = metrics(daemon.port)
        daemon.process.terminate()
        print(f"the daemon ended with {daemon.process.wait(30)}")
        lines = [json.loads(line) for line in daemon.log.read_text("utf-8").splitlines() if line[:1] == "{"]
        records = {line["call_sid"]: {"worker": "-", **line} for line in lines if line.get("event") == "cdr"}
    verdicts = Verdicts()
    judge(verdicts, shares, records, page)
    return 1 if verdicts.missed else 0


def metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        page: str = answer.read().decode()
    return page


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--secs", type=float, default=20.0, help="after a call's first question")
    parser.add_argument("--per-sec", type=float, default=20.0, help="calls that begin")
    parser.add_argument("--callers", type=int, default=2, help="processes that call")
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    sys.exit(main(parser.parse_args()))
