"""How many calls a core holds, and at what cost: the load rig's comparison, against the bounds we keep.

    VOXBENCH=/path/to/rig python -m bench.density [--seconds 30] [--retries 1] [--only NAME]

Runs the rig's compare.sh from this checkout: pipecat and Voxray, or the no-op floor and Voxray, one after the
other under the same load in one run. Prints each bound beside its figure; status 1 if one is missed. Some
fifteen minutes on an idle machine with two cores; figures of a disturbed run prove nothing (see *foreign*).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.rig import ROOT, rig

Report = dict[str, Any]
Reports = dict[tuple[str, int], Report]


@dataclass(frozen=True)
class Bound:
    text: str
    figure: Callable[[Reports], float]
    most: float


@dataclass(frozen=True)
class Comparison:
    name: str
    targets: str
    scenario: str
    ladder: str
    bounds: tuple[Bound, ...]


def cpu(reports: Reports, target: str, calls: int) -> float:
    return float(reports[target, calls]["subject"]["cpu_s_per_call_minute"])


def added(calls: int) -> Callable[[Reports], float]:
    return lambda reports: float(reports["voxray", calls]["latency_ms"]["turn_added"]["p95"])


def underrun(calls: int) -> Callable[[Reports], float]:
    return lambda reports: float(reports["voxray", calls]["continuity"]["underrun_pct"])


def failed(calls: int) -> Callable[[Reports], float]:
    return lambda reports: float(
        reports["voxray", calls]["calls"]["failed"] + reports["voxray", calls]["turns"]["unanswered"]
    )


def subject(name: str, calls: int) -> Callable[[Reports], float]:
    return lambda reports: float(reports["voxray", calls]["subject"][name])


COMPARISONS = (
    Comparison(
        "cost",
        "pipecat,voxray",
        "talk",
        "10",
        (
            Bound("CPU of pipecat's", lambda r: cpu(r, "voxray", 10) / cpu(r, "pipecat", 10), 0.35),
            Bound("CPU-s to set up a call", subject("setup_cpu_s_per_call", 10), 0.02),
            Bound("MB a live call", subject("rss_per_call_mb", 10), 1.0),
        ),
    ),
    Comparison(
        "capacity",
        "voxray",
        "talk",
        "56,100",
        (
            Bound("56 calls: added latency p95, ms", added(56), 150),
            Bound("56 calls: underruns, %", underrun(56), 1.0),
            Bound("56 calls: failed or unanswered", failed(56), 0),
            Bound("100 calls: added latency p95, ms", added(100), 150),
            Bound("100 calls: underruns, %", underrun(100), 1.0),
        ),
    ),
    Comparison(
        "silence",
        "floor-autobahn,voxray",
        "silent",
        "100",
        (
            Bound(
                "CPU of a no-op Autobahn's",
                lambda r: cpu(r, "voxray", 100) / cpu(r, "floor-autobahn", 100),
                2.0,
            ),
        ),
    ),
    Comparison(
        "arrivals", "voxray", "arrive", "10", (Bound("a call every 3 s: underruns, %", underrun(10), 0.0),)
    ),
    Comparison(
        "barge-in",
        "voxray",
        "barge",
        "5",
        (
            Bound(
                "first packet to clear p95, ms",
                lambda r: float(r["voxray", 5]["barge_in"]["clear_ms"]["p95"]),
                300,
            ),
            Bound(
                "stale messages after clear",
                lambda r: float(r["voxray", 5]["barge_in"]["stale_frames_after_clear"]),
                0,
            ),
        ),
    ),
)


def compare(place: Path, what: Comparison, seconds: float, retries: int, out: Path) -> Reports:
    command = [str(place / "compare.sh"), "--targets", what.targets, "--ladder", what.ladder]
    command += ["--scenario", what.scenario, "--seconds", str(seconds), "--retries", str(retries)]
    environment = {"VENVS": str(place / ".venvs"), **os.environ, "VOXRAY_REPO": str(ROOT)}
    subprocess.run([*command, "--out", str(out)], check=True, env=environment, stdout=sys.stderr)
    found: Reports = {}
    for path in out.glob("*.json"):
        report = json.loads(path.read_text())
        found[report["target"], report["n"]] = report
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--retries", type=int, default=1)
    parser.add_argument("--only", choices=[c.name for c in COMPARISONS])
    options = parser.parse_args()
    place, missed = rig(), 0
    for what in COMPARISONS:
        if options.only not in (None, what.name):
            continue
        with tempfile.TemporaryDirectory() as directory:
            reports = compare(place, what, options.seconds, options.retries, Path(directory))
        foreign = max(r["subject"].get("foreign_cpu_pct", 0.0) for r in reports.values())
        print(f"{what.name} ({what.scenario}, {what.targets}); foreign CPU at most {foreign} %")
        for bound in what.bounds:
            figure = bound.figure(reports)
            verdict = "kept" if figure <= bound.most else "MISSED"
            missed += verdict == "MISSED"
            print(f"  {bound.text:36s} {figure:8.3f}  <= {bound.most:<6g} {verdict}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
