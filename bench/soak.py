"""Leaks: what a finished call leaves behind, and what a live one holds.

    python -m bench.soak [--warm-up 500] [--calls 2000] [--at-once 40] [--live 50] [--vendors]

Starts the daemon with scripted providers and places short calls on loopback: `start`, some audio, a key that
the agent answers, and an end (three in four `stop`; the others reset the line or break a rule). With
--vendors words and voice come from a stand-in of OpenAI's API in this process, whose sockets count as well.
Bounds: 0.2 KiB kept per finished call, 1 MiB per live call over the empty daemon. Descriptors, threads,
the reactor's timers and the vendors' sockets must be what they were. The slope is a line fitted through the
resident size after each hundred calls, and means something after a warm-up of some two thousand.

Without voxray/collector.py finished calls pile up until Python collects them of its own accord: 0.1 to 1 KiB
a call by the resident size, in steps, though nothing is lost. With it the size is flat.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np

KEPT_KIB, LIVE_KIB = 0.2, 1024.0
MASK = b"\x12\x34\x56\x78"
UPGRADE = (
    b"GET /telephony/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def text(message: object) -> bytes:
    """One masked text frame."""
    payload = json.dumps(message).encode()
    size = len(payload)
    head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0xFE, size)
    return head + MASK + bytes(byte ^ MASK[i & 3] for i, byte in enumerate(payload))


def media(payload: bytes) -> bytes:
    return text({"event": "media", "media": {"payload": base64.b64encode(payload).decode()}})


NOISE = np.random.default_rng(1)
QUIET, LOUD = media(b"\xff" * 160), media(NOISE.integers(0, 256, 160, np.uint8).tobytes())
KEYS = text({"event": "dtmf", "dtmf": {"digit": "1"}}) + text({"event": "dtmf", "dtmf": {"digit": "#"}})
STOP = text({"event": "stop"})


TIMERS = """
import os, signal
def told(*_):
    from twisted.internet import reactor
    path = os.environ["SOAK_TIMERS"]
    with open(path + ".new", "w") as file:
        file.write(str(len(reactor.getDelayedCalls())))
    os.rename(path + ".new", path)
signal.signal(signal.SIGUSR2, told)
"""
"""sitecustomize.py of the daemon: on SIGUSR2 it says how many timers there are."""


class Vendors(threading.Thread):
    """A stand-in for OpenAI's three endpoints: answers at once, keeps connections, counts them."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.sockets = self.asked = self.port = 0
        self._listening = threading.Event()
        self.start()
        self._listening.wait(10)

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await server.serve_forever()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sockets += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = head.lower().split(b"content-length:")
                await reader.readexactly(int(fields[1].split(b"\r\n")[0]) if len(fields) > 1 else 0)
                self.asked += 1
                writer.write(self._answer(head.split(b" ")[1]))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.sockets -= 1
            writer.close()

    def _answer(self, path: bytes) -> bytes:
        kind, body = b"application/json", b'{"text": "Good morning."}'
        if path.endswith(b"/completions"):
            kind, body = (
                b"text/event-stream",
                b'data: {"choices":[{"delta":{"content":"Yes. "}}]}\n\ndata: [DONE]\n\n',
            )
        elif path.endswith(b"/speech"):
            kind, body = b"audio/pcm", bytes(9_600)
        return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (
            kind,
            len(body),
            body,
        )


class Daemon:
    """The process, and what the system says of it."""

    def __init__(
        self,
        directory: Path,
        settings: dict[str, object],
        vendors: Vendors | None = None,
        hook: str = TIMERS,
    ) -> None:
        """`hook` is run in the daemon before anything else."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        config = directory / "voxray.json"
        config.write_text(json.dumps({**settings, "port": self.port}), encoding="utf-8")
        self.vendors, self.told_path = vendors, directory / "timers"
        (directory / "sitecustomize.py").write_text(hook, encoding="utf-8")
        environ = {k: v for k, v in os.environ.items() if not k.startswith("VOXRAY_")}
        places = filter(None, (str(directory), environ.get("PYTHONPATH", "")))
        environ |= {"PYTHONPATH": os.pathsep.join(places), "SOAK_TIMERS": str(self.told_path)}
        if vendors is not None:
            environ |= {"OPENAI_API_KEY": "sk", "OPENAI_BASE_URL": f"http://127.0.0.1:{vendors.port}/v1"}
        twistd = str(Path(sys.executable).parent / "twistd")
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [twistd, "-n", "--pidfile=", "voxray", "--config", str(config)],
                env=environ, cwd=Path(__file__).parent.parent, stdout=log, stderr=log,
            )  # fmt: skip

    def ready(self) -> None:
        for _ in range(300):
            try:
                if self.get("/ready"):
                    return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(self.log.read_text())

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def metric(self, name: str) -> float:
        lines = (line for line in self.get("/metrics").splitlines() if line.startswith(f"{name} "))
        return float(next(lines).split()[1])

    def rss_kib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0])

    def told(self) -> str:
        """What the hook says to SIGUSR2."""
        self.told_path.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR2)
        for _ in range(100):
            if self.told_path.exists():
                return self.told_path.read_text(encoding="ascii")
            time.sleep(0.05)
        raise SystemExit("the daemon says nothing")

    def held(self) -> dict[str, int]:
        """What must be the same before and after. The vendors' sockets are descriptors, too: apart."""
        proc = f"/proc/{self.process.pid}"
        sockets = self.vendors.sockets if self.vendors is not None else 0
        return {
            "descriptors": len(os.listdir(f"{proc}/fd")) - sockets,
            "threads": len(os.listdir(f"{proc}/task")),
            "timers": int(self.told()),
            "vendors' sockets": sockets,
        }


async def call(port: int, number: int, audio: float, stay: asyncio.Event | None = None) -> None:
    """One call; `audio` seconds of it, half of them loud, faster than real time by ten."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        ids = {"streamSid": f"MZ{number:032x}", "callSid": f"CA{number:032x}"}
        writer.write(text({"event": "start", "start": ids}) + KEYS)
        for i in range(int(audio * 50) or 1):
            writer.write(LOUD if i % 100 < 50 else QUIET)
            if i % 10 == 9:
                await asyncio.sleep(0.02 if stay is None else 0.2)
        if stay is not None:
            await stay.wait()
        await end(reader, writer, number % 8)
    finally:
        writer.close()


async def end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: int) -> None:
    """Six of eight politely; one resets the line, one breaks the rules."""
    if kind == 6:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return
    writer.write(b"\x81\x05hello" if kind == 7 else STOP)
    with suppress(ConnectionError):  # a close frame that we do not answer ends in a reset
        while await reader.read(65_536):
            if kind != 7:
                return


async def many(daemon: Daemon, first: int, count: int, at_once: int, audio: float) -> None:
    """`count` calls, `at_once` of them at a time."""
    room = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        async with room:
            await call(daemon.port, number, audio)

    await asyncio.gather(*(one(first + i) for i in range(count)))


def settle(daemon: Daemon) -> None:
    """Waits until no call is left, and what closes late has closed."""
    while daemon.metric("voxray_calls_active"):
        time.sleep(0.1)
    time.sleep(1.5)


def rest_vendors(daemon: Daemon) -> None:
    """Waits until the HTTP client has closed what it keeps for later."""
    for _ in range(200):
        if daemon.vendors is None or not daemon.vendors.sockets:
            return
        time.sleep(0.5)


def grows(name: str) -> int:
    """Twisted's pool of ten threads fills up as it is used, by look-ups of hosts, and stays."""
    return 10 if name == "threads" else 0


def soak(daemon: Daemon, options: argparse.Namespace) -> list[tuple[str, float, float]]:
    """Measurements with their bounds."""
    print(f"warming up with {options.warm_up} calls", flush=True)
    asyncio.run(many(daemon, 0, options.warm_up, options.at_once, options.audio))
    settle(daemon)
    rest_vendors(daemon)
    held, sizes, began = daemon.held(), [float(daemon.rss_kib())], time.monotonic()
    for done in range(0, options.calls, 100):
        asyncio.run(many(daemon, done, 100, options.at_once, options.audio))
        sizes.append(float(daemon.rss_kib()))
        print(f"{done + 100} calls, {sizes[-1]:.0f} KiB, {time.monotonic() - began:.0f} s", flush=True)
    settle(daemon)
    rest_vendors(daemon)
    after, left = daemon.rss_kib(), daemon.held()
    slope = float(np.polyfit(np.arange(len(sizes)) * 100, sizes, 1)[0])
    return [
        ("KiB kept per finished call (fitted)", slope, KEPT_KIB),
        ("KiB kept per finished call (ends)", (after - sizes[0]) / options.calls, KEPT_KIB),
        *((f"{name} more, of {count}", left[name] - count, grows(name)) for name, count in held.items()),
    ]


def live(daemon: Daemon, count: int) -> list[tuple[str, float, float]]:
    """What `count` calls hold while they are up."""

    async def hold() -> float:
        empty, stay = daemon.rss_kib(), asyncio.Event()
        calls = [asyncio.create_task(call(daemon.port, i, 6.0, stay)) for i in range(count)]
        await asyncio.sleep(9)
        held = (daemon.rss_kib() - empty) / count
        stay.set()
        await asyncio.gather(*calls)
        return held

    return [(f"KiB per live call, {count} calls", asyncio.run(hold()), LIVE_KIB)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--warm-up", type=int, default=500)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=40)
    parser.add_argument("--live", type=int, default=50)
    parser.add_argument("--audio", type=float, default=2.0, help="seconds a call")
    parser.add_argument("--vendors", action="store_true", help="words and voice by HTTP")
    parser.add_argument("--vad", default="silero", choices=("silero", "energy"))
    options = parser.parse_args()
    settings: dict[str, object] = {
        "host": "127.0.0.1",
        "provider": "openai" if options.vendors else "scripted",
        "runner_transport": "twilio",
        "telephony_auth": "off",
        "greeting": "Hello, this is the front desk.",
        "vad_type": options.vad,
        "log_level": "warn",
        "max_calls": 1000,
        "max_lag_ms": 0,  # the machine is ours alone, and full
    }
    with tempfile.TemporaryDirectory() as directory:
        vendors = Vendors() if options.vendors else None
        daemon = Daemon(Path(directory), settings, vendors)
        try:
            daemon.ready()
            measured = live(daemon, options.live)  # first: a used heap would have room for them
            settle(daemon)
            measured += soak(daemon, options)
            if vendors is not None:
                print(f"{vendors.asked} requests to the vendors")
            tracebacks = daemon.log.read_text(errors="replace").count("Traceback")
            measured.append(("tracebacks in the log", tracebacks, 0))
        finally:
            daemon.process.terminate()
            daemon.process.wait(10)
    for name, value, bound in measured:
        print(f"{'ok  ' if value <= bound else 'MISS'} {name}: {value:.2f} (bound {bound:g})")
    return 0 if all(value <= bound for _, value, bound in measured) else 1


if __name__ == "__main__":
    raise SystemExit(main())
