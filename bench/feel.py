"""What a caller feels, with the default configuration: the real daemon, offline, and recorded people.

    python -m bench.feel [--turns N] [--barge-ins N]

Starts `twistd -n voxray --config etc/voxray.json` and calls it, one call after the other, with human
recordings of voxray/data/callers, evenly taken. Each is a turn of its own: last audible packet to the first
of the reply; cut off or not. Then some are spoken over the agent's answers: first audible packet to `clear`.
Then noises and back-channels: does the agent stop? Some twelve minutes, all in real time; run it on an idle
machine. Which sounds are people and which are synthetic is in callers.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from twisted.internet.defer import Deferred
from twisted.internet.task import react

import voxray
from voxray.simulator.caller import CallResult
from voxray.simulator.client import Target
from voxray.simulator.daemon import Daemon, environment, free_port
from voxray.simulator.engines import Engines
from voxray.simulator.measure import Turn
from voxray.simulator.script import Do, Patience, Script, Step
from voxray.simulator.session import Plan, prepared, run

ROOT = Path(voxray.__file__).parent.parent
CALLERS = Path(voxray.__file__).parent / "data" / "callers"
TURNS_A_CALL = 6
QUESTION = "dickens-incredulity"  # answered with a sentence long enough to be interrupted


@dataclass
class Found:
    """What was measured, in milliseconds, and counted."""

    latency: list[float] = field(default_factory=list)
    turns: int = 0
    cut_off: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    clear: list[float] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    stopped: dict[str, list[bool]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def take(self, turn: Turn) -> None:
        if turn.step is None:
            return
        if turn.step.do is Do.BARGE_IN:
            if turn.clear_ms is None:
                self.ignored.append(turn.said)
            else:
                self.clear.append(turn.clear_ms)
        elif turn.step.do is Do.BACKCHANNEL:
            self.stopped.setdefault(turn.said, []).append(turn.clear_at is not None)
        else:
            self.turns += 1
            if turn.cut_off:
                self.cut_off.append(turn.said)
            elif turn.latency_ms is None:
                self.unanswered.append(turn.said)
            else:
                self.latency.append(turn.latency_ms)


class Progress:
    """Prints a dot a turn."""

    def line(self, call: int, turn: Turn) -> None: ...

    def turn(self, call: int, turn: Turn) -> None:
        sys.stderr.write(".")
        sys.stderr.flush()

    def ended(self, call: int, result: CallResult) -> None: ...


def recordings() -> list[dict[str, Any]]:
    found = json.loads((CALLERS / "callers.json").read_text(encoding="utf-8"))["recordings"]
    return [entry for entry in found if isinstance(entry, dict)]


def step(do: Do, entry: dict[str, Any], after: float = 0.0) -> Step:
    return Step(do, text=entry["text"] or entry["id"], file=str(CALLERS / f"{entry['id']}.wav"), secs=after)


def scripts(turns: int, barge_ins: int) -> list[Script]:
    entries = recordings()
    people = [e for e in entries if e["human"] and e["kind"] != "goodbye"]
    question = next(e for e in entries if e["id"] == QUESTION)
    rng = np.random.default_rng(7)
    asked = [people[n] for n in np.linspace(0, len(people) - 1, turns).round().astype(int)]
    found = [
        [step(Do.SAY, entry) for entry in asked[first : first + TURNS_A_CALL]]
        for first in range(0, len(asked), TURNS_A_CALL)
    ]
    interrupters = [people[n] for n in rng.permutation(len(people))[:barge_ins]]
    for first in range(0, len(interrupters), TURNS_A_CALL):
        steps = []
        for entry in interrupters[first : first + TURNS_A_CALL]:
            steps += [step(Do.SAY, question), step(Do.BARGE_IN, entry, float(rng.uniform(0.5, 1.5)))]
        found.append(steps)
    sounds = [e for e in entries if e["kind"] in ("noise", "backchannel")]
    steps = []
    for entry in sounds:
        steps += [step(Do.SAY, question), step(Do.BACKCHANNEL, entry, float(rng.uniform(0.5, 1.0)))]
    found.append(steps)
    return [Script(steps=tuple(steps)) for steps in found]


async def measure(reactor: Any, turns: int, barge_ins: int) -> Found:
    found, port = Found(), free_port()
    daemon = Daemon(reactor, lambda event: None)
    daemon.start(ROOT / "etc" / "voxray.json", environment(port), ROOT)
    engines = Engines(reactor)
    try:
        await daemon.ready(f"http://127.0.0.1:{port}/ready", lambda waited: None)
        for script in scripts(turns, barge_ins):
            plan = Plan(
                Target(f"http://127.0.0.1:{port}/"), script, Patience(), transcribe=False, max_secs=180
            )
            [judged] = await run(reactor, await prepared(plan, engines), engines, Progress())
            found.problems += [f for f in judged.failures if "back-channel" not in f and "no clear" not in f]
            for turn in judged.result.turns if judged.result else []:
                found.take(turn)
    finally:
        await daemon.stop()
        await engines.stop()
    return found


def spread(values: list[float]) -> str:
    if not values:
        return "none"
    p50, p95 = np.percentile(values, [50, 95])
    return f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, worst {max(values):.0f} ms (n {len(values)})"


def show(found: Found) -> None:
    print(f"\nlast word to first audible reply: {spread(found.latency)}; the goal is p50 <= 1200")
    print(f"cut off: {len(found.cut_off)} of {found.turns} turns; the goal is <= 5 %: {found.cut_off}")
    print(f"unanswered: {found.unanswered}")
    print(f"first packet of a barge-in to clear: {spread(found.clear)}; the goal is p95 <= 300")
    print(f"barge-ins that did not stop the agent: {found.ignored}")
    for name, stopped in found.stopped.items():
        print(f"  {name}: stopped the agent {sum(stopped)} of {len(stopped)} times")
    for problem in found.problems:
        print(f"  problem: {problem}")


def main(reactor: Any) -> Deferred[None]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--barge-ins", type=int, default=24)
    parser.add_argument("--turns", type=int, default=26)
    options = parser.parse_args()

    async def work() -> None:
        show(await measure(reactor, options.turns, options.barge_ins))

    return Deferred.fromCoroutine(work())


if __name__ == "__main__":
    react(main)
