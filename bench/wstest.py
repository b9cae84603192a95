"""Autobahn's WebSocket test suite against the media socket's own factory and protocol, an echo for a call.

    python -m bench.wstest /path/to/wstest [--cases 1.* 2.* ...]

`wstest` needs a Python 2.7; where there is one scripts/check_wstest.sh makes it an environment. Two runs:
without a limit on messages, where every case has to end OK (three are INFORMATIONAL by their nature), and
with the daemon's limit, where the large messages of part 9 have to end in close code 1009 and nothing else
may change. Compression (parts 12 and 13) is left out: it is never agreed to. So is the message allowance of
a call, for part 9 sends a thousand messages at once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

LIMIT_BYTES = 65_536
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
TOO_BIG = 1009


def serve(limit: int) -> None:
    """Echoes until it is ended; prints its port first. A limit of 0 is none."""
    from twisted.internet import reactor

    from tests.doors import AnyGuest
    from tests.test_media_socket import Recorder
    from voxray.serializers.twilio import TwilioSerializer
    from voxray.settings import MediaSettings
    from voxray.web.media import MediaFactory, MediaProtocol

    class Echo(MediaProtocol):
        """The real one but for what is done with a message."""

        def text_received(self, payload: bytes) -> None:
            self.send_text(payload)

        def binary_received(self, payload: bytes) -> None:
            self.sendMessage(payload, isBinary=True)

        def tick(self, elapsed_secs: float) -> None:
            """Nobody says `start` here."""

    class Echoes(MediaFactory):
        def buildProtocol(self, addr: object) -> Echo:
            guest = AnyGuest(TwilioSerializer(), lambda started, sink: None)
            protocol = Echo(guest, self.settings)
            protocol.factory = self
            return protocol

    factory = Echoes(reactor, MediaSettings(max_message_bytes=limit), Recorder())
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
    print(port.getHost().port, flush=True)
    reactor.run()  # type: ignore[attr-defined]


def run(wstest: str, limit: int, cases: list[str]) -> dict[str, Any]:
    """What wstest found, by case."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "bench.wstest", "--serve", str(limit)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                spec = Path(directory) / "spec.json"
                spec.write_text(
                    json.dumps(
                        {
                            "outdir": directory,
                            "servers": [
                                {"agent": "voxray", "url": f"ws://127.0.0.1:{int(server.stdout.readline())}"}
                            ],
                            "cases": cases,
                            "exclude-cases": ["12.*", "13.*"],
                            "exclude-agent-cases": {},
                        }
                    )
                )
                subprocess.run(
                    [wstest, "-m", "fuzzingclient", "-s", str(spec)],
                    cwd=directory,
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
            finally:
                server.terminate()
        found: dict[str, Any] = json.loads((Path(directory) / "index.json").read_text())["voxray"]
        return found


def judge(found: dict[str, Any], limit: int) -> list[str]:
    """What is wrong with it."""
    wrong = []
    for case, result in sorted(found.items()):
        behaviour, closing = result["behavior"], result["behaviorClose"]
        fine = {"OK", "INFORMATIONAL"} if case in INFORMATIONAL else {"OK"}
        if behaviour in fine and closing in fine:
            continue
        if limit and case.startswith("9.") and result["remoteCloseCode"] == TOO_BIG:
            continue
        wrong.append(f"{case}: {behaviour}, close {closing} with {result['remoteCloseCode']}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wstest", nargs="?")
    parser.add_argument("--cases", nargs="+", default=["*"])
    parser.add_argument("--serve", type=int, metavar="LIMIT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return 0
    if not options.wstest:
        parser.error("where is wstest?")
    status = 0
    for limit in (0, LIMIT_BYTES):
        began = time.monotonic()
        found = run(options.wstest, limit, options.cases)
        counts = Counter(result["behavior"] for result in found.values())
        too_big = sum(result["remoteCloseCode"] == TOO_BIG for result in found.values())
        words = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        of = f"limit {limit}" if limit else "no limit"
        print(
            f"{of}: {len(found)} cases: {words}; {too_big} closed with 1009; {time.monotonic() - began:.0f} s"
        )
        wrong = judge(found, limit)
        print("\n".join(f"  {line}" for line in wrong) or "  as it has to be", flush=True)
        status |= bool(wrong)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
