"""Draws the state machines into docs/design.md, from the machines themselves.

    python scripts/diagrams.py           rewrite the diagrams
    python scripts/diagrams.py --check   exit status 1 if they are not current

Each diagram is a Mermaid stateDiagram-v2 between `<!-- diagram: NAME -->` and `<!-- end diagram -->`.
An arrow is labelled `input / what is done`; inputs a state ignores are listed under the diagram,
so that it shows at once which ones it does *not* expect (those raise).
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "design.md"
# name in the document -> module whose `machine` is drawn
MACHINES = {"call": "voxray.call.machine", "floor": "voxray.call.floor", "stop": "voxray.drain"}

BLOCK = re.compile(
    r"(?P<open><!-- diagram: (?P<name>\w+) -->\n).*?(?P<close><!-- end diagram -->)", re.DOTALL
)
# What Automat calls the function it makes for `.returns(None)`; in a loop: an input that is ignored.
IGNORED = "returns(None)"


@dataclass(frozen=True, slots=True, order=True)
class Transition:
    source: str
    target: str
    event: str
    does: tuple[str, ...]


def transitions_of(machine: Any) -> tuple[str, list[Transition]]:
    """The initial state and all transitions of a machine built by Automat's TypeMachineBuilder."""
    automaton = machine.__automat_automaton__
    found = [
        Transition(
            source=source.name,
            target=target.name,
            event=str(event),
            does=tuple(sorted(output_name(output) for output in outputs)),
        )
        for source, event, target, outputs in automaton.allTransitions()
    ]
    return automaton.initialState.name, sorted(found)


def output_name(output: Any) -> str:
    return str(getattr(output, "method", output).__name__).lstrip("_")


def in_order_of_reach(initial: str, transitions: Sequence[Transition]) -> list[str]:
    """The states, breadth first from the initial one: the order a reader meets them in."""
    states = [initial]
    for state in states:  # grows while we walk it
        for step in transitions:
            if step.source == state and step.target not in states:
                states.append(step.target)
    return states


def is_ignored(step: Transition) -> bool:
    return step.source == step.target and step.does == (IGNORED,)


def mermaid(machine: Any) -> str:
    """The diagram and the list of ignored inputs, as Markdown."""
    initial, transitions = transitions_of(machine)
    states = in_order_of_reach(initial, transitions)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {initial}"]
    ignored: dict[str, list[str]] = {}
    for state in states:
        for step in (step for step in transitions if step.source == state):
            if is_ignored(step):
                ignored.setdefault(state, []).append(step.event)
                continue
            does = [name for name in step.does if name not in (IGNORED, step.event)]
            label = f"{step.event} / {', '.join(does)}" if does else step.event
            lines.append(f"    {step.source} --> {step.target}: {label.replace('_', ' ')}")
    sources = {step.source for step in transitions if step.source != step.target}
    lines += [f"    {state} --> [*]" for state in states if state not in sources]
    lines.append("```")
    if ignored:
        text = "; ".join(f"*{state}* ignores {', '.join(events)}" for state, events in ignored.items())
        lines += ["", f"{text}.".replace("_", " ")]
    return "\n".join(lines) + "\n"


def redraw(document: str) -> str:
    """The document with every diagram drawn anew; a name nobody knows is a KeyError."""

    def draw(block: re.Match[str]) -> str:
        module = importlib.import_module(MACHINES[block["name"]])
        return f"{block['open']}{mermaid(module.machine)}{block['close']}"

    return BLOCK.sub(draw, document)


def main(arguments: list[str]) -> int:
    sys.path.insert(0, str(ROOT))
    before = DOCUMENT.read_text("utf-8")
    after = redraw(before)
    if after == before:
        print("state diagrams: current")
        return 0
    if "--check" in arguments:
        print("state diagrams: docs/design.md is not current; run `make docs`")
        return 1
    DOCUMENT.write_text(after, "utf-8")
    print("state diagrams: redrawn")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
