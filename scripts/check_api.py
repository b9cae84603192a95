#!/usr/bin/env python3
"""schemathesis against the real daemon, with the description that it serves: see scripts/check_api.sh.

The daemon has a key, a carrier whose API is played here, and its usual limits. 503 is an answer: a
session's offer is one until rooms are built. One check is left out: a call that was deleted is shown for an
hour, with the reason of its end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.attackers import SCRIPTED, LiveDaemon

KEY = "schemathesis-key"
CONFIGURATION = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 422, 426, 503]
"""


class Twilio(BaseHTTPRequestHandler):
    """Dials whatever it is told."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps({"sid": f"CA{uuid4().hex}", "status": "queued"}).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main(arguments: list[str]) -> int:
    """The arguments: schemathesis's program, how many examples, and what else it is to be told."""
    program, examples, *more = arguments
    carrier = ThreadingHTTPServer(("127.0.0.1", 0), Twilio)
    threading.Thread(target=carrier.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "schemathesis.toml").write_text(CONFIGURATION, encoding="ascii")
        daemon = LiveDaemon(place, settings(carrier.server_port))
        daemon.start()
        try:
            found = subprocess.run(
                [program, "--config-file", str(place / "schemathesis.toml"), "run",
                 f"http://127.0.0.1:{daemon.port}/openapi.json", "-H", f"Authorization: Bearer {KEY}",
                 "--checks", "all", "--exclude-checks", "use_after_free", "-n", examples,
                 "--continue-on-failure", *more],
                check=False, cwd=place,
            )  # fmt: skip
            failures = daemon.log().count("Traceback")
        finally:
            daemon.stop()
    print(f"{failures} tracebacks in the daemon's log")
    return found.returncode or failures


def settings(carrier_port: int) -> dict[str, object]:
    return {
        **SCRIPTED,
        "log_level": "info",
        "server_api_key": KEY,
        "proxy_host": "voice.example.com",
        "caller_id": "+15550001111",
        "max_calls": 100_000,
        "api_keys": {"twilio_account_sid": "AC" + "0" * 32, "twilio_auth_token": "t" * 32},
        "base_urls": {"twilio": f"http://127.0.0.1:{carrier_port}"},
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
