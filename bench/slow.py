"""Slow and silent peers against the real daemon with its usual deadlines, and calls up meanwhile (G4, G17).

    python -m bench.slow [--calls 20] [--connections 500]

slowhttptest (Debian's package) in its three modes; sockets that are upgraded and say nothing; TLS handshakes
that stop half-way; connections by the thousand to a process with few descriptors; ten times the calls that
there is room for. What counts: when the last of them was closed, what /health took meanwhile, and that every
call heard what it hears in peace, byte for byte. Everybody is this machine, which by default is spared the
limits by address: it is the deadlines alone that end them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.attackers import SCRIPTED, LiveDaemon, Peer, Sentinel, read_all
from tests.certificates import write_pair
from tests.test_attack_limits import client_hello

DEADLINES = {"headers": 11.0, "body": 16.0, "read": 31.0, "sockets": 11.5, "handshakes": 11.0}
HEALTH_MS, LAG_MS, REFUSED_MS = 200.0, 20.0, 100.0
WARM_SECS = 2.0
NOISE = 6  # descriptors that come and go


@dataclass
class Watcher(threading.Thread):
    """Asks /health ten times a second, and /metrics for the daemon's own lateness."""

    daemon_: LiveDaemon
    over: threading.Event = field(default_factory=threading.Event)
    health_ms: list[float] = field(default_factory=list)
    lag_ms: float = 0.0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        while not self.over.wait(0.1):
            begun = time.monotonic()
            status, _ = self.daemon_.get("/health")
            self.health_ms.append((time.monotonic() - begun) * 1_000 if status == 200 else 5_000.0)
            if len(self.health_ms) % 10 == 0:
                lag = self.daemon_.metric("voxray_reactor_lag_p99_seconds") * 1_000
                self.lag_ms = max(self.lag_ms, lag)


class Bench:
    def __init__(self, calls: int, connections: int, directory: Path) -> None:
        self.calls, self.connections, self.directory = calls, connections, directory
        self.bad = 0
        self._checksums: dict[int, str] = {}

    def daemon(self, name: str, **settings: object) -> LiveDaemon:
        usual = {
            "log_level": "info",
            "start_timeout_secs": 10.0,
            "max_calls": 1_000,
        }  # max_lag_ms is 0: the calls shall be up
        return LiveDaemon(self.directory / name, {**SCRIPTED, **usual, **settings})

    def run(self, name: str, secs: float, attack: Callable[[LiveDaemon], float], **settings: object) -> None:
        """`attack` gives when the last of its peers was gone, in seconds after it began."""
        daemon = self.daemon(name, **settings)
        if settings.get("tls_enable"):
            daemon.tls = ssl.create_default_context(cafile=str(settings["tls_cert_file"]))
        daemon.start()
        calls = [Sentinel(daemon, number + 1, "1" * round(secs / 1.2)) for number in range(self.calls)]
        watcher = Watcher(daemon)
        try:
            for number, call in enumerate(calls):
                call.start()
                time.sleep(0.05 if number < self.calls else 0)
            time.sleep(WARM_SECS)
            watcher.start()
            took = attack(daemon)
            watcher.over.set()
            for call in calls:
                call.join(secs + 60)
            self.report(name, took, calls, watcher, daemon)
        finally:
            watcher.over.set()
            daemon.stop()

    def report(
        self, name: str, took: float, calls: list[Sentinel], watcher: Watcher, daemon: LiveDaemon
    ) -> None:
        heard = {call.checksum for call in calls}
        lost = sum(1 for call in calls if call.error or call.code != 1000) + max(0, len(heard) - 1)
        underruns = daemon.metric("voxray_playout_underruns_total")
        health = statistics.quantiles(watcher.health_ms, n=100)[98] if len(watcher.health_ms) > 1 else 0.0
        why = {f"{call.error or call.code}" for call in calls if call.error or call.code != 1000}
        if why:  # what the daemon says of them
            page = daemon.get("/metrics")[1]
            closed = re.findall(r'voxray_media_closed_total\{reason="(\w+)"\} (\S+)', page)
            why |= {f"{reason} {count}" for reason, count in closed}
        limit = DEADLINES.get(name, 1e9)
        served = health < HEALTH_MS or name == "descriptors"  # with none left nobody is served
        well = not lost and not underruns and took <= limit and served
        self.bad += not well
        print(
            f"{name:12} last gone after {took:5.1f} s (<= {limit:g}); calls {len(calls)}, disturbed {lost}, "
            f"underruns {underruns:.0f}; /health p99 {health:.0f} ms; reactor lag p99 {watcher.lag_ms:.0f} ms"
            f"{'' if well else '   <-- BAD'}{f' {why}' if why else ''}",
            flush=True,
        )

    # -- the attacks -----------------------------------------------------------
    def slowhttptest(self, mode: str, *options: str) -> Callable[[LiveDaemon], float]:
        """How long the daemon has them open, from the last that came; the tool itself looks seldom."""

        def attack(daemon: LiveDaemon) -> float:
            path = "openapi.json" if mode == "-X" else ""
            command = ["slowhttptest", mode, "-c", str(self.connections), "-r", str(self.connections)]
            command += ["-l", "70", "-p", "5", *options, "-u", f"http://127.0.0.1:{daemon.port}/{path}"]
            quiet, most, begun, last, full = daemon.fds() + NOISE, 0, time.monotonic(), 0.0, 0.0
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tool:
                while tool.poll() is None and time.monotonic() - begun < 75:
                    if (now := daemon.fds()) > most:
                        most, full = now, time.monotonic() - begun
                    last = time.monotonic() - begun if now > quiet else last
                    if most > quiet and time.monotonic() - begun > last + 5:
                        break
                    time.sleep(0.1)
                tool.terminate()
            assert most > self.connections * 0.9, f"{most} descriptors: the tool never opened its connections"
            return last - full

        return attack

    def silent_sockets(self, daemon: LiveDaemon) -> float:
        """Upgraded, and then nothing."""
        begun = time.monotonic()
        peers = [Peer(daemon.connect()) for _ in range(self.connections)]
        opened = time.monotonic() - begun
        codes = {peer.close_code(30) for peer in peers}
        assert codes <= {1008, None}, codes  # None: this program was too late to see the close
        return time.monotonic() - begun - opened

    def half_handshakes(self, daemon: LiveDaemon) -> float:
        hello = client_hello()
        peers = []
        begun = time.monotonic()
        for number in range(200):
            peers.append(socket.create_connection(("127.0.0.1", daemon.port), 5))
            peers[-1].sendall(hello[: len(hello) if number % 2 else 60])
        for peer in peers:
            peer.settimeout(30)
            read_all(peer)
        return time.monotonic() - begun

    def few_descriptors(self, daemon: LiveDaemon) -> float:
        """A thousand connects to a process that has 256 descriptors."""
        limits = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (256, limits[1]))
        peers = []
        for _ in range(1_000):
            with contextlib.suppress(OSError):
                peers.append(socket.create_connection(("127.0.0.1", daemon.port), 1))
        for peer in peers:
            peer.close()
        begun = time.monotonic()
        while daemon.get("/health")[0] != 200:
            time.sleep(0.02)
        return time.monotonic() - begun

    def too_many_calls(self, daemon: LiveDaemon) -> float:
        """Ten times `max_calls` by webhook in ten seconds, with no place left."""
        took: list[float] = []
        answers = 0
        for number in range(10 * self.calls):
            begun = time.monotonic()
            answers += b"Reject" in ring(daemon, number)
            took.append((time.monotonic() - begun) * 1_000)
            time.sleep(max(0.0, 1 / self.calls - (time.monotonic() - begun)))
        p99 = statistics.quantiles(took, n=100)[98]
        print(f"             {answers} of {len(took)} answered busy, p99 {p99:.0f} ms (<= {REFUSED_MS:g})")
        self.bad += p99 > REFUSED_MS or answers != len(took)
        return 0.0


def ring(daemon: LiveDaemon, number: int) -> bytes:
    body = f"CallSid=CA{number + 5_000:032x}&From=%2B15550001111&To=%2B15550002222".encode()
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    return daemon.raw(head + body)


def attacks(bench: Bench) -> Iterator[tuple[str, float, Callable[[LiveDaemon], float], dict[str, object]]]:
    """Name, how long the calls have to last, what is done, and settings."""
    pair = bench.directory / "tls"
    pair.mkdir()
    certificate, key = write_pair(pair)
    files: dict[str, object] = {"tls_enable": True, "tls_cert_file": certificate, "tls_key_file": key}
    drip = ("-i", "5", "-x", "24")
    yield "headers", 18, bench.slowhttptest("-H", *drip), {}
    yield "body", 24, bench.slowhttptest("-B", *drip, "-s", "8192"), {}
    yield (
        "read",
        40,
        bench.slowhttptest("-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"),
        {},
    )
    yield "sockets", 20, bench.silent_sockets, {}
    yield "handshakes", 18, bench.half_handshakes, files
    yield "descriptors", 12, bench.few_descriptors, {}
    yield "calls x 10", 18, bench.too_many_calls, {"max_calls": bench.calls}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--only", default="", help="names, separated by commas")
    options = parser.parse_args(arguments)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4_096)), hard))
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(options.calls, options.connections, Path(directory))
        for name, secs, attack, settings in attacks(bench):
            if not options.only or name in options.only.split(","):
                bench.run(name, secs, attack, **settings)
    print(json.dumps({"bad": bench.bad}))
    return bench.bad


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
