"""How late the 20 ms clock is: on a machine as it is, without processor time, and with every thread taken.

    python -m bench.lateness [--calls 20] [--secs 15]

The daemon's own reactor measures itself: a timer asks for the next 20 ms and writes down by how much they
were missed, while calls are up that are answered all the time. `stress-ng --cpu 2` (busy loops of Python's
where it is not installed) takes the processors; forty jobs take the threads of the reactor's pool. Reported,
not judged: these are figures of the machine as well. An underrun is a caller who heard a hole.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.soak import KEYS, LOUD, QUIET, UPGRADE, Daemon, text

METER = """
import json, os, signal, time
late, due = [], 0.0
def beat(reactor):
    global due
    now = time.monotonic()
    late.append(now - due)
    due = max(due + 0.02, now)
    reactor.callLater(max(0.0, due - now), beat, reactor)
def told(*_):
    global due
    from twisted.internet import reactor
    path = os.environ["SOAK_TIMERS"]
    if os.path.exists(path + ".threads"):
        os.unlink(path + ".threads")
        for _ in range(40):
            reactor.callInThread(time.sleep, 5)
    if not due:
        due = time.monotonic()
        reactor.callFromThread(beat, reactor)
    with open(path + ".new", "w") as file:
        json.dump(late, file)
    late.clear()
    os.rename(path + ".new", path)
signal.signal(signal.SIGUSR2, told)
"""


async def caller(port: int, number: int, until: float) -> None:
    """One who is answered, by a key every two seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    ids = {"streamSid": f"MZ{number:032x}", "callSid": f"CA{number:032x}"}
    writer.write(text({"event": "start", "start": ids}))
    packets = 0
    while time.monotonic() < until:
        writer.write(KEYS if packets % 50 == 0 else b"")
        writer.write((LOUD if packets % 100 < 10 else QUIET) * 2)
        packets += 1
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(reader.read(65_536), 0.04)
    writer.close()


@contextlib.contextmanager
def starved(busy: bool) -> Iterator[None]:
    """The processors are somebody else's."""
    if not busy:
        yield
        return
    tool = shutil.which("stress-ng")
    loop = [sys.executable, "-c", "while True: pass"]
    commands = [[tool, "--cpu", "2", "--quiet"]] if tool else [loop, loop]
    running = [subprocess.Popen(command) for command in commands]
    try:
        yield
    finally:
        for each in running:
            each.terminate()
            each.wait()


def measure(name: str, daemon: Daemon, options: argparse.Namespace, *, busy: bool, threads: bool) -> None:
    before = daemon.metric("voxray_playout_underruns_total")
    if threads:
        daemon.told_path.with_name("timers.threads").touch()
    daemon.told()
    with starved(busy):
        until = time.monotonic() + options.secs

        async def all_of_them() -> None:
            await asyncio.gather(*(caller(daemon.port, number, until) for number in range(options.calls)))

        asyncio.run(all_of_them())
        late = sorted(1000 * each for each in json.loads(daemon.told()))
    holes = daemon.metric("voxray_playout_underruns_total") - before
    share = {f"p{part}": late[int(len(late) * part / 100)] for part in (50, 99)}
    figures = ", ".join(f"{key} {value:.1f} ms" for key, value in share.items())
    print(f"{name}: {figures}, worst {late[-1]:.1f} ms of {len(late)}; {holes:.0f} underruns", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--secs", type=float, default=15.0)
    options = parser.parse_args()
    settings: dict[str, object] = {
        "host": "127.0.0.1",
        "provider": "scripted",
        "runner_transport": "twilio",
        "telephony_auth": "off",
        "greeting": "Hello, this is the front desk.",
        "log_level": "warn",
        "drain_timeout_secs": 0,
        "max_lag_ms": 0,
    }
    with tempfile.TemporaryDirectory() as directory:
        daemon = Daemon(Path(directory), settings, hook=METER)
        try:
            daemon.ready()
            for name, busy, threads in (
                ("as it is", False, False),
                ("no processor", True, False),
                ("no thread", False, True),
            ):
                measure(name, daemon, options, busy=busy, threads=threads)
        finally:
            daemon.process.terminate()
            daemon.process.wait(40)


if __name__ == "__main__":
    main()
