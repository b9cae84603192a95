"""A real Prometheus on loopback, from Debian's package, and the pages that it answers."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from voxray.simulator.daemon import free_port

CONTRIB = Path(__file__).parent.parent / "contrib"
RULES = CONTRIB / "prometheus" / "voxray.rules.yml"
RULE_TESTS = CONTRIB / "prometheus" / "voxray.rules.test.yml"
DASHBOARD = CONTRIB / "grafana" / "voxray.json"
MISSING = "" if shutil.which("prometheus") and shutil.which("promtool") else (
    "no prometheus here: apt-get install prometheus"
)  # fmt: skip


class Prometheus:
    """Scrapes one target, ten times as often as anybody would."""

    def __init__(self, directory: Path, target: str) -> None:
        self.port = free_port()
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
            f"rule_files: [{RULES}]\n"
            f"scrape_configs: [{{job_name: voxray, static_configs: [{{targets: ['{target}']}}]}}]\n",
            encoding="utf-8",
        )
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def get(self, path: str, **query: str) -> Any:
        """The data of an answer; AssertionError with the reason of a refusal."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"{query}: {refused.read().decode()}") from None

    def targets(self) -> list[tuple[str, str]]:
        """Health and last error of each; none before it answers."""
        try:
            return [(each["health"], each["lastError"]) for each in self.get("targets")["activeTargets"]]
        except (OSError, AssertionError):
            return []

    def until(self, condition: Any, secs: float = 30.0) -> None:
        patience = time.monotonic() + secs
        while not condition():
            if self.process.poll() is not None or time.monotonic() > patience:
                raise AssertionError(f"it did not happen in time:\n{self.log()}")
            time.sleep(0.1)
