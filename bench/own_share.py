"""Our own share of a turn: everything but the vendors' delays and the endpointing wait.

    VOXBENCH=/path/to/rig python -m bench.own_share [--calls 20] [--seconds 40]

One core for the daemon. `own` is taken in the daemon, turn by turn; the mock vendors see two parts of it from
outside (their answer to our next request), which must agree. Also the greeting's first packet, the reactor's
lag, and the time from the barge-in decision to `clear` (they are one reactor turn).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from bench.rig import PORT, callers, daemon, get, mock, rig


def spread(values: list[float]) -> str:
    if not values:
        return "nothing"
    p50, p99 = np.percentile(values, [50, 99])
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {max(values):.1f} ms (n {len(values)})"


def turns_of(log: Path) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [event["parts_ms"] for event in events if event.get("event") == "turn"]


def lag_of(metrics: str) -> str:
    """The share of 100 ms timers later than 10 and 25 ms."""
    counts = {}
    for line in metrics.splitlines():
        if line.startswith("voxray_reactor_lag_seconds_bucket"):
            bound = line.split('le="')[1].split('"')[0]
            counts[bound] = float(line.rsplit(" ", 1)[1])
    total = counts.get("+Inf", 0.0) or 1.0
    late = {bound: 100 * (1 - counts[bound] / total) for bound in ("0.01", "0.025")}
    return f"{late['0.01']:.2f} % later than 10 ms, {late['0.025']:.2f} % later than 25 ms (n {total:.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=40)
    options = parser.parse_args()
    place = rig()
    with tempfile.TemporaryDirectory() as directory, mock(place) as vendors:
        log = Path(directory) / "log"
        with daemon(place, vendors, log, VOXRAY_JSON_LOGS="true", VOXRAY_LOG_LEVEL="info"):
            report = callers(place, options.calls, options.seconds)
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=5) as answer:
                metrics = answer.read().decode()
        outside = get(f"{vendors}/stats")["ms"]
        parts = turns_of(log)
    own = [turn["own"] for turn in parts if "own" in turn]
    print(f"{options.calls} calls, {len(parts)} turns; failed calls {report['calls']['failed']}")
    print(f"own share of a turn: {spread(own)}; the goal is p50 <= 15, p99 <= 40")
    for name in ("stt_to_llm", "llm_sentence_to_tts"):
        print(f"  seen by the vendors, {name}: {outside.get(name)}")
    print(f"reactor lag: {lag_of(metrics)}; the goal is p99 < 15 ms")


if __name__ == "__main__":
    main()
