"""Our side of the load rig: mock vendors and simulated callers kept outside this repository.

`$VOXBENCH` names the rig's folder and `$VENVS` its environments (`$VOXBENCH/.venvs` by default). Everything
runs on loopback: the daemon on the first core, mock and callers on the second.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PORT, MOCK_PORT = 8721, 9121
DAEMON_CORE, LOAD_CORE = "0", "1"


def rig() -> Path:
    """The rig's folder; ends the program, saying why, when there is none."""
    place = os.environ.get("VOXBENCH", "")
    if not place or not (Path(place) / "compare.sh").exists():
        sys.exit("skipped: set VOXBENCH to the folder of the load rig (compare.sh)")
    return Path(place).resolve()


def tool_python(place: Path) -> str:
    venvs = Path(os.environ.get("VENVS", place / ".venvs"))
    return str(venvs / "tool" / "bin" / "python")


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


@contextmanager
def process(command: list[str], core: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Runs one process on one core and ends it, and only it."""
    child = subprocess.Popen(["taskset", "-c", core, *command], **options)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def wait_for(url: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            if time.monotonic() > deadline:
                sys.exit(f"nothing answers at {url}")
            time.sleep(0.2)
        else:
            return


@contextmanager
def mock(place: Path) -> Iterator[str]:
    """The mock vendors; gives their base URL."""
    command = [tool_python(place), "mock_provider.py", "--port", str(MOCK_PORT)]
    with process(command, LOAD_CORE, cwd=place, env={**os.environ, "PYTHONPATH": str(place)}):
        wait_for(f"http://127.0.0.1:{MOCK_PORT}/stats")
        yield f"http://127.0.0.1:{MOCK_PORT}"


@contextmanager
def daemon(place: Path, vendors: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon with the rig's configuration."""
    command = [str(ROOT / ".venv" / "bin" / "twistd"), "-n", "--pidfile=", "voxray"]
    command += ["--config", str(place / "voxray.bench.json")]
    settings = {"VOXRAY_PORT": str(PORT), "OPENAI_BASE_URL": f"{vendors}/v1"}
    settings |= {"VOXRAY_MAX_LAG_MS": "0", **environment}  # beyond its capacity it shall answer, too
    with (
        log.open("wb") as output,
        process(command, DAEMON_CORE, stdout=output, env={**os.environ, **settings}) as child,
    ):
        wait_for(f"http://127.0.0.1:{PORT}/ready")
        yield child


def callers(place: Path, calls: int, seconds: float, *options: str) -> dict[str, Any]:
    """Runs the callers; gives their report."""
    report = Path("/tmp") / f"voxray-callers-{os.getpid()}.json"
    command = [tool_python(place), "-m", "voxload.callsim", "--twiml", f"http://127.0.0.1:{PORT}/"]
    command += ["--calls", str(calls), "--ramp", "5", "--duration", str(seconds), "--pause-ms", "700"]
    command += ["--json", str(report), *options]
    environment = {**os.environ, "PYTHONPATH": str(place)}
    with process(command, LOAD_CORE, cwd=place, env=environment, stdout=subprocess.DEVNULL) as child:
        child.wait(seconds + 120)
    found: dict[str, Any] = json.loads(report.read_text())
    report.unlink()
    return found
