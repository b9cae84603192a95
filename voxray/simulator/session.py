"""A run of the simulator: prepares the script, places the calls (one or many), hears them, judges them.

What `voxray-dial` and the demo share. Nothing is printed here: `Listener` is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong

from voxray.errors import VoxrayError
from voxray.simulator import checks
from voxray.simulator.caller import SimulatedCall
from voxray.simulator.client import place_call
from voxray.simulator.engines import Engines
from voxray.simulator.line import Noise
from voxray.simulator.listen import transcribe_turns
from voxray.simulator.measure import Turn
from voxray.simulator.outbound import Exchange, Pickup, Placed
from voxray.simulator.rest import Order, Switchboard
from voxray.simulator.result import CallResult
from voxray.simulator.script import SPOKEN, Patience, Script
from voxray.simulator.signing import BadKey
from voxray.simulator.target import DialFailed, Target, new_ids
from voxray.simulator.twiml import BadAnswer
from voxray.simulator.voice import line_noise, prepare
from voxray.simulator.webhook import WebhookFailed
from voxray.simulator.wires.vocabulary import CallIds, Numbers, Quirks


class Listener(Protocol):
    """Told what happens while it happens; `call` counts from 1."""

    def line(self, call: int, turn: Turn) -> None:
        """The caller begins to speak."""

    def turn(self, call: int, turn: Turn) -> None:
        """A turn is over."""

    def ended(self, call: int, result: CallResult) -> None:
        """The call is over."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a run."""

    target: Target
    script: Script
    patience: Patience = field(default_factory=Patience)
    calls: int = 1
    ramp_secs: float = 0.0  # from the first call to the last
    max_secs: float = 120.0  # one call
    noise_dbfs: float | None = -65.0  # None: digital silence
    transcribe: bool = True
    max_latency_ms: float = 0.0
    quirks: Quirks = field(default_factory=Quirks)
    pickup: str = "answer"  # of a call the agent places; or busy, no-answer, failed
    ring_secs: float = 1.0


@dataclass(frozen=True, slots=True)
class Judged:
    """One call and what was wrong with it. `result` is None when it never came about."""

    result: CallResult | None
    failures: tuple[str, ...]
    placed: Placed | None = None  # by the agent


async def prepared(plan: Plan, engines: Engines) -> Plan:
    """The plan with every line ready to send. Raises BadScript, VoxrayError."""
    needs_voice = any(step.do in SPOKEN and not step.file and not step.audio for step in plan.script.steps)
    voice = await engines.voice() if needs_voice else None
    steps = await prepare(plan.script.steps, voice)
    return replace(plan, script=replace(plan.script, steps=steps))


async def run(
    reactor: Any, plan: Plan, engines: Engines, listener: Listener, switchboard: Switchboard | None = None
) -> list[Judged]:
    """Places the plan's calls. Nothing of a single call is raised: it is in its `failures`."""
    noise = _noise(plan)
    step = plan.ramp_secs / max(1, plan.calls - 1)
    waiting = [
        Deferred.fromCoroutine(_one(reactor, plan, number, number * step, noise, listener, switchboard))
        for number in range(plan.calls)
    ]
    try:
        outcomes = [await each for each in waiting]
    finally:
        for each in waiting:
            each.cancel()  # nothing for those that are over
    return [await _judged(plan, outcome, engines) for outcome in outcomes]


async def _one(
    reactor: Any,
    plan: Plan,
    number: int,
    delay_secs: float,
    noise: bytes,
    listener: Listener,
    switchboard: Switchboard | None,
) -> CallResult | str:
    """The call, or why there was none."""
    if delay_secs > 0:
        later: Deferred[None] = Deferred()
        reactor.callLater(delay_secs, later.callback, None)
        await later
    target = plan.target
    ids = new_ids(target.account_sid, target.carrier)
    call = _call(reactor, plan, number + 1, ids, target.numbers, noise, listener)
    try:
        result = await place_call(reactor, target, call, switchboard)
    except (DialFailed, WebhookFailed, BadAnswer, BadKey) as error:
        return str(error)
    listener.ended(number + 1, result)
    return result


def _noise(plan: Plan) -> bytes:
    return b"" if plan.noise_dbfs is None else line_noise(plan.noise_dbfs)


def _call(
    reactor: Any, plan: Plan, number: int, ids: CallIds, numbers: Numbers, noise: bytes, listener: Listener
) -> SimulatedCall:
    return SimulatedCall(
        reactor,
        ids,
        plan.script,
        wire=plan.target.side.wire(ids, numbers, plan.quirks),
        quirks=plan.quirks,
        patience=plan.patience,
        noise=Noise(noise),
        max_secs=plan.max_secs,
        on_line=lambda turn: listener.line(number, turn),
        on_turn=lambda turn: listener.turn(number, turn),
    )


async def receive(
    reactor: Any, plan: Plan, engines: Engines, listener: Listener, board: Switchboard, wait_secs: float
) -> list[Judged]:
    """Waits for the agent to place a call, and has it answered by the plan's caller, or not answered."""
    noise = _noise(plan)

    def pick_up(order: Order) -> Pickup:
        if plan.pickup != "answer":
            return Pickup(status=plan.pickup, ring_secs=plan.ring_secs)
        call = _call(reactor, plan, 1, order.ids, order.numbers, noise, listener)
        return Pickup(call, ring_secs=plan.ring_secs)

    exchange = Exchange(reactor, plan.target, board, pick_up)
    try:
        placed = await exchange.next(wait_secs)
    except TookTooLong:
        return [Judged(None, (f"the agent placed no call within {wait_secs:g} s",))]
    finally:
        exchange.stop()
    if placed.result is None:
        return [Judged(None, (placed.problem,) if placed.problem else (), placed)]
    listener.ended(1, placed.result)
    judged = await _judged(plan, placed.result, engines)
    more = (placed.problem,) if placed.problem else ()
    return [replace(judged, failures=judged.failures + more, placed=placed)]


async def _judged(plan: Plan, outcome: CallResult | str, engines: Engines) -> Judged:
    if isinstance(outcome, str):
        return Judged(None, (outcome,))
    unheard: list[str] = []
    if plan.transcribe:
        try:
            ears = await engines.ears()
            unheard = await transcribe_turns(outcome.turns, outcome.agent_audio, ears)
        except VoxrayError as error:
            unheard = [f"the agent could not be transcribed: {error}"]
    expected = checks.Expectations(plan.max_latency_ms, transcribed=plan.transcribe and not unheard)
    expects_words = plan.script.expect_greeting or any(each.expect_reply for each in plan.script.steps)
    found = checks.failures(outcome, plan.script, expected)
    return Judged(outcome, tuple(found + (unheard if expects_words else [])))
