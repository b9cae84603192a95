"""G9: what an outage of Redis costs: calls lost, slower webhooks, sessions that hang, readiness that lies.

    python -m bench.redis_outage [--calls 50] [--secs 60] [--rest 20]

Starts redis-server (a master, a replica, a sentinel) and the daemon with scripted providers, holds calls up
on loopback and asks the webhook and /start twenty times a second: first in peace, then while the master is
killed and started empty, while it is stopped (SIGSTOP), and over a fail-over by the sentinel.
Bounds: no call lost, the webhook's 99th percentile within 20 % (or 5 ms) of peace, /start answered within a
second, /ready true within two.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.soak import QUIET, STOP, UPGRADE, Daemon, text

FORM = b"From=%2B15550001&To=%2B15550002&CallSid=CA"


def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Redis:
    """One process of it."""

    def __init__(self, directory: Path, *options: str, sentinel: str = "") -> None:
        self.port, self._directory, self._options, self._sentinel = port(), directory, options, sentinel
        directory.mkdir()
        self.start()

    def start(self) -> None:
        program = ["redis-server"]
        if self._sentinel:
            (self._directory / "sentinel.conf").write_text(self._sentinel)
            program = ["redis-sentinel", str(self._directory / "sentinel.conf")]
        place = ["--port", str(self.port), "--dir", str(self._directory), "--bind", "127.0.0.1"]
        still = ["--save", "", *(() if self._sentinel else ("--repl-diskless-sync-delay", "0"))]
        self.process = subprocess.Popen([*program, *place, *still, *self._options], stdout=subprocess.DEVNULL)

    def cli(self, *words: str) -> str:
        done = subprocess.run(["redis-cli", "-p", str(self.port), *words], capture_output=True, check=False)
        return done.stdout.decode()


@dataclass(slots=True)
class Seen:
    """One stretch of time."""

    webhooks: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    flips: list[float] = field(default_factory=list)

    def p99(self) -> float:
        return sorted(self.webhooks)[int(len(self.webhooks) * 0.99)] if self.webhooks else 0.0


async def ask(where: int, method: str, path: str, body: bytes = b"") -> tuple[int, float, bytes]:
    """Status, the time to the whole answer, and the answer."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", where)
    head = f"{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" + body)
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1]), time.monotonic() - began, answer


async def call(where: int, number: int, over: asyncio.Event, ends: list[str]) -> None:
    """Stays until it is told, and says how it went."""
    _, _, answer = await ask(where, "POST", "/", FORM + f"{number:032x}".encode())
    found = re.search(rb'wss://[^/]+(/telephony/ws/[^"]+)"', answer)
    assert found is not None, answer
    reader, writer = await asyncio.open_connection("127.0.0.1", where)
    writer.write(UPGRADE.replace(b"/telephony/ws", found[1], 1))
    await reader.readuntil(b"\r\n\r\n")
    ids = {"streamSid": f"MZ{number:032x}", "callSid": f"CA{number:032x}"}
    writer.write(text({"event": "start", "start": ids}))
    lost = asyncio.create_task(drained(reader))
    while not over.is_set() and not lost.done():
        writer.write(QUIET)
        await asyncio.sleep(0.1)
    ends.append("lost" if lost.done() else "held")
    with suppress(ConnectionError):
        writer.write(STOP)
        await asyncio.wait_for(lost, 5)
    writer.close()


async def drained(reader: asyncio.StreamReader) -> None:
    """Until the daemon closes."""
    while await reader.read(65_536):
        pass


async def watch(daemon: Daemon, secs: float, seen: Seen, first: int) -> None:
    """Asks for so long."""
    until = time.monotonic() + secs
    while time.monotonic() < until:
        first += 1
        status, took, _ = await ask(daemon.port, "POST", "/", FORM + f"{first:032x}".encode())
        seen.webhooks.append(took)
        assert status == 200, status
        status, took, _ = await ask(daemon.port, "POST", "/start")
        seen.starts.append(took)
        seen.statuses[status] = seen.statuses.get(status, 0) + 1
        await asyncio.sleep(0.05)


async def flipped(daemon: Daemon, status: int, seen: Seen) -> None:
    """/ready says so; when."""
    began = time.monotonic()
    while (await ask(daemon.port, "GET", "/ready"))[0] != status:
        await asyncio.sleep(0.02)
    seen.flips.append(time.monotonic() - began)


async def outage(
    daemon: Daemon,
    options: argparse.Namespace,
    begin: Callable[[], object],
    end: Callable[[], object],
    first: int,
) -> Seen:
    """Away for so long, and a while after."""
    seen = Seen()
    watching = asyncio.create_task(watch(daemon, options.secs + options.rest, seen, first))
    await asyncio.sleep(1)
    begin()
    await flipped(daemon, 503, seen)
    await asyncio.sleep(options.secs)
    end()
    await flipped(daemon, 200, seen)
    await watching
    return seen


async def run(daemon: Daemon, options: argparse.Namespace, master: Redis, replica: Redis) -> dict[str, Seen]:
    over, ends, seen = asyncio.Event(), list[str](), dict[str, Seen]()
    calls = [asyncio.create_task(call(daemon.port, n, over, ends)) for n in range(options.calls)]
    while daemon.metric("voxray_calls_active") < options.calls:
        await asyncio.sleep(0.1)
    seen["peace"] = Seen()
    await watch(daemon, options.secs / 2, seen["peace"], 1_000_000)
    kill, cont = master.process.kill, lambda: master.process.send_signal(signal.SIGCONT)
    seen["killed"] = await outage(daemon, options, kill, master.start, 2_000_000)
    stop = lambda: master.process.send_signal(signal.SIGSTOP)  # noqa: E731
    seen["stopped"] = await outage(daemon, options, stop, cont, 3_000_000)
    await watch(daemon, options.secs / 2, seen["peace"], 5_000_000)
    over.set()
    await asyncio.gather(*calls)
    print(f"calls: {ends.count('held')} held, {ends.count('lost')} lost, of {options.calls}")
    return seen


async def failover(daemon: Daemon, options: argparse.Namespace, master: Redis) -> Seen:
    """The sentinel does what ends it."""
    over, ends, seen = asyncio.Event(), list[str](), Seen()
    calls = [asyncio.create_task(call(daemon.port, n + 500, over, ends)) for n in range(options.calls)]
    watching = asyncio.create_task(watch(daemon, options.rest, seen, 4_000_000))
    await asyncio.sleep(1)
    master.process.kill()
    await flipped(daemon, 503, seen)
    await flipped(daemon, 200, seen)
    await watching
    over.set()
    await asyncio.gather(*calls)
    print(f"calls over the fail-over: {ends.count('held')} held, {ends.count('lost')} lost")
    return seen


def settings(url: str) -> dict[str, object]:
    return {
        "host": "127.0.0.1", "provider": "scripted", "runner_transport": "twilio", "telephony_auth": "token",
        "greeting": "Hello.", "vad_type": "energy", "log_level": "warn", "max_calls": 1000,
        "session_store": "redis", "redis_url": url, "stream_secret": "one for all",
    }  # fmt: skip


def report(name: str, seen: Seen, peace: Seen) -> None:
    flips = " and ".join(f"{secs:.2f}" for secs in seen.flips)
    good = seen.p99() <= max(peace.p99() * 1.2, peace.p99() + 0.005) and max(seen.starts) <= 1.0
    good = good and all(secs <= 2.0 for secs in seen.flips[: 1 if name == "failover" else 2])
    print(
        f"{name:9} webhook p99 {seen.p99() * 1000:.1f} ms (max {max(seen.webhooks) * 1000:.0f}) of"
        f" {len(seen.webhooks)}; /start max {max(seen.starts) * 1000:.0f} ms, {json.dumps(seen.statuses)};"
        f" /ready flipped after {flips or '-'} s; {'ok' if good else 'OUT OF BOUNDS'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--secs", type=float, default=60)
    parser.add_argument("--rest", type=float, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        master, replica = Redis(root / "master"), Redis(root / "replica")
        time.sleep(0.5)
        conf = (
            f"sentinel monitor m 127.0.0.1 {master.port} 1\nsentinel down-after-milliseconds m 1000\n"
            "sentinel failover-timeout m 3000\n"
        )
        processes, daemons = [master, replica], list[Daemon]()
        try:
            daemons.append(Daemon(root, settings(f"redis://127.0.0.1:{master.port}")))
            daemons[0].ready()
            seen = asyncio.run(run(daemons[0], options, master, replica))
            replica.cli("REPLICAOF", "127.0.0.1", str(master.port))
            time.sleep(3)
            processes.append(Redis(root / "sentinel", sentinel=conf))
            time.sleep(3)
            daemons.append(Daemon(root, settings(f"redis+sentinel://127.0.0.1:{processes[2].port}/m")))
            daemons[1].ready()
            seen["failover"] = asyncio.run(failover(daemons[1], options, master))
            for name, each in seen.items():
                report(name, each, seen["peace"])
        finally:
            for daemon in daemons:
                daemon.process.terminate()
                daemon.process.wait(10)
            for process in processes:
                process.process.kill()


if __name__ == "__main__":
    main()
