"""How long one message can hold up the event loop: the longest that is let in, of the worst kinds, on a call.

    python -m bench.worst_message [--times 40]

The daemon runs in this process, with Twilio's wire, on an imaginary clock; what is timed is the socket's
`dataReceived` and the turn of the reactor after it: unmasking, JSON, base64, the codec and the ear's energy
detector. The median tells what the message costs, the longest also what the machine did meanwhile. The goal
is 10 ms.
"""

from __future__ import annotations

import argparse
import base64
import gc
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

LONGEST = 65_536


def messages() -> Iterator[tuple[str, bytes]]:
    """What it is, and the message; each as long as may be."""
    audio = base64.b64encode(bytes(range(256)) * 190).decode()
    yield "six seconds of audio", json.dumps({"event": "media", "media": {"payload": audio}}).encode()
    objects = b",".join([b'{"a":{"b":{}}}'] * 4_000)
    yield "thousands of objects", b'{"event":"media","media":[' + objects + b"]}"
    yield "many keys", _object(f'"k{n}":{n}' for n in range(5_000))
    yield "one key many times", _object('"event":"media"' for _ in range(4_000))
    yield "long escapes", b'{"event":"mark","mark":{"name":"' + b"\\ud83d\\ude00" * 5_400 + b'"}}'
    yield "numbers", b'{"event":"media","media":[' + b",".join([b"1e308"] * 10_000) + b"]}"
    yield "one long number", b'{"event":' + b"9" * 65_000 + b"}"
    yield "depth", b"[" * 65_000
    yield "no JSON", b"{" * 65_000
    yield "no UTF-8", b'{"event":"' + b"\xff" * 65_000 + b'"}'
    yield "no base64", json.dumps({"event": "media", "media": {"payload": "!" * 65_000}}).encode()


def _object(fields: Iterator[str]) -> bytes:
    text = "{" + ",".join(fields) + "}"
    assert len(text) <= LONGEST, len(text)
    return text.encode()


def measure(message: bytes, times: int) -> list[float]:
    """Milliseconds, on a call of its own each ten times: bad messages end one."""
    from twisted.trial.unittest import SynchronousTestCase

    from tests.house import House
    from tests.wsframes import frame
    from voxray.collector import THRESHOLDS

    class Stage(SynchronousTestCase):
        def runTest(self) -> None:
            """The house patches things, and wants somebody to give them back."""

    taken: list[float] = []
    while len(taken) < times:
        stage = Stage()
        house = House(stage)
        line = house.dial()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)  # as the daemon has them
        for _ in range(10):
            data = frame(message)
            before = time.perf_counter()
            line.transport.protocol.dataReceived(data)
            house.reactor.advance(0)
            taken.append((time.perf_counter() - before) * 1_000)
            house.reactor.advance(1)
        line.lose()
        stage.doCleanups()
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=40)
    times = parser.parse_args().times
    print(f"{'message':<24}{'bytes':>8}{'median ms':>12}{'longest ms':>12}")
    worst = 0.0
    for name, message in messages():
        assert len(message) <= LONGEST, (name, len(message))
        taken = measure(message, times)
        worst = max(worst, statistics.median(taken))
        print(f"{name:<24}{len(message):>8}{statistics.median(taken):>12.2f}{max(taken):>12.2f}")
    print(f"worst median: {worst:.2f} ms")
    return 0 if worst <= 10.0 else 1


if __name__ == "__main__":
    raise SystemExit(main())
