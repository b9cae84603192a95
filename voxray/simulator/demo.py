"""`make demo`: the daemon, started as a user would, and one telephone call to it, shown as it happens.

No account, no key, no network: speech recognition, language and voice are on this machine, and the caller
is a recording of a human voice. Exit status 0 only when the agent greeted, understood every recording, let
itself be interrupted, said goodbye and hung up; otherwise 1, with the reason. At most three minutes.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater, react

import voxray
from voxray.errors import VoxrayError
from voxray.simulator import report, story
from voxray.simulator.daemon import (
    PUBLIC_HOST,
    Daemon,
    DaemonFailed,
    Event,
    environment,
    free_port,
    twilio_account,
)
from voxray.simulator.engines import Engines
from voxray.simulator.measure import Turn
from voxray.simulator.rest import Switchboard, listen
from voxray.simulator.result import CallResult
from voxray.simulator.script import BadScript, Do
from voxray.simulator.session import Judged, Plan, prepared, run
from voxray.simulator.target import DEFAULT_ACCOUNT_SID, Target

MAX_SECS = 180.0
PACKAGE = Path(voxray.__file__).resolve().parent
CALLERS = PACKAGE / "data" / "callers"


class Stage:
    """Prints the call as it happens; a session's Listener, and the daemon's."""

    def __init__(self, stream: Any = None) -> None:
        self._stream = stream or sys.stdout
        self.story = story.Story(known=story.transcripts(CALLERS))
        self._waited = 0

    def tell(self, text: str = "") -> None:
        self._stream.write(text + "\n")
        self._stream.flush()

    def waiting(self, secs: float) -> None:
        """A line every two seconds while the daemon loads its models."""
        if secs >= self._waited + 2:
            self._waited = int(secs)
            self.tell(f"  loading speech models ... {secs:.0f} s")

    def line(self, call: int, turn: Turn) -> None:
        assert turn.step is not None
        self.story.line(turn.step)
        how = " (interrupting)" if turn.step.do is Do.BARGE_IN else ""
        self.tell(f"\n{turn.began:6.1f} s  caller said    {turn.said!r}{how}")

    def turn(self, call: int, turn: Turn) -> None:
        self.tell(f"          at the ear     {', '.join(report.outcome(turn))}")

    def ended(self, call: int, result: CallResult) -> None:
        self.tell(f"\n{result.duration_secs:6.1f} s  {report.ENDINGS.get(result.ended_by, result.ended_by)}")

    def event(self, event: Event) -> None:
        """A line of the daemon's log."""
        chapter = self.story.event(event)
        if chapter is None:
            return
        if event.get("heard"):
            self.tell(f"          agent heard    {event['heard']!r}")
        if event.get("replied"):
            cut = " (interrupted)" if chapter.interrupted else ""
            self.tell(f"          agent replied  {event['replied']!r}{cut}")
        if chapter.parts_ms:
            self.tell(f"          milliseconds   {story.stages(chapter.parts_ms)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m voxray.simulator.demo`."""
    parser = argparse.ArgumentParser(prog="voxray-demo", description="Starts the daemon and calls it.")
    parser.add_argument("--config", type=Path, default=_default_config(), help="default: %(default)s")
    parser.add_argument("--wav", type=Path, default=Path("demo-call.wav"), help="default: %(default)s")
    parser.add_argument("--json", type=Path, default=Path("demo-call.json"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    react(lambda reactor: Deferred.fromCoroutine(_bounded(reactor, options)))


def _default_config() -> Path:
    here = PACKAGE.parent / "etc" / "voxray.json"
    return here if here.exists() else Path("/etc/voxray.json")


async def _bounded(reactor: Any, options: argparse.Namespace) -> None:
    reactor.seconds = time.monotonic  # before the first timer: a step of the clock must not bend a call
    stage = Stage()
    demo = Deferred.fromCoroutine(_demo(reactor, options, stage))
    try:
        reasons = await demo.addTimeout(MAX_SECS, reactor)
    except TookTooLong:
        reasons = [f"the demo took more than {MAX_SECS:g} s"]
    except (DaemonFailed, VoxrayError, BadScript, CannotListenError) as error:
        reasons = [str(error)]
    for reason in reasons:
        stage.tell(f"FAILED: {reason}")
    raise SystemExit(1 if reasons else 0)


async def _demo(reactor: Any, options: argparse.Namespace, stage: Stage) -> list[str]:
    """The whole demo; what was wrong with it."""
    token = secrets.token_hex(16)
    switchboard = Switchboard(DEFAULT_ACCOUNT_SID, token)
    rest = await listen(reactor, switchboard, 0)
    engines, daemon = Engines(reactor), Daemon(reactor, stage.event)
    try:
        port = free_port()
        stage.tell(f"starting twistd -n voxray --config {options.config} on 127.0.0.1:{port}")
        rest_port = int(getattr(rest.getHost(), "port", 0))
        account = twilio_account(DEFAULT_ACCOUNT_SID, token, rest_port)
        daemon.start(options.config, environment(port) | account, PACKAGE.parent)
        await daemon.ready(f"http://127.0.0.1:{port}/ready", stage.waiting)
        public = f"https://{PUBLIC_HOST}"
        target = Target(f"http://127.0.0.1:{port}/", auth_token=token, public_url=public)
        judged = await _call(reactor, target, engines, stage, switchboard, daemon)
        reasons = [*judged.failures, *stage.story.misheard(), *_hang_up(judged.result)]
    finally:
        how = await daemon.stop()
        await engines.stop()
        stopped: Any = rest.stopListening()
        await stopped
    stage.tell(f"        the daemon stopped ({how})")
    _write(options, stage, target, judged, reasons)
    return reasons


async def _call(
    reactor: Any, target: Target, engines: Engines, stage: Stage, switchboard: Switchboard, daemon: Daemon
) -> Judged:
    """One call; the daemon's death ends the wait for it."""
    plan = Plan(target, story.script(CALLERS), max_secs=120.0, transcribe=False)
    plan = await prepared(plan, engines)
    recorded = sum(bool(step.file) for step in plan.script.steps)
    stage.tell(f"calling {target.url} with {recorded} recordings of {len(plan.script.steps)} lines")
    calling = Deferred.fromCoroutine(run(reactor, plan, engines, stage, switchboard))
    deaths: list[DaemonFailed] = []

    def died(failure: DaemonFailed) -> None:
        deaths.append(failure)
        calling.cancel()

    daemon.died.addCallback(died)
    try:
        (judged,) = await calling
    except CancelledError:
        if deaths:
            raise deaths[0] from None
        raise
    if judged.result is not None and judged.result.ended_by == "lost":
        await deferLater(reactor, 0.5)  # the socket goes before the news of the process does
        if deaths:
            raise deaths[0]
    return judged


def _hang_up(result: CallResult | None) -> list[str]:
    """The agent must end the call through the carrier, not by dropping the socket."""
    if result is not None and result.ended_by == "agent-socket":
        return ["the agent closed the socket but did not hang up through the carrier"]
    return []


def _write(
    options: argparse.Namespace, stage: Stage, target: Target, judged: Judged, reasons: Sequence[str]
) -> None:
    """The files, the table, the transcript."""
    result = judged.result
    if result is None:
        return
    report.write_wav(options.wav, result)
    document = report.document(target.url, [(result, reasons)])
    document["daemon_turns"] = [
        {"said": each.said, "heard": each.heard, "replied": each.replied, "parts_ms": each.parts_ms}
        for each in stage.story.chapters
    ]
    report.write_json(options.json, document)
    stage.tell("\nmilliseconds from the caller's last word to the agent's first, and where they went:")
    at_ear = [turn.latency_ms for turn in result.turns]
    stage.tell(report.table(story.table_rows(stage.story.chapters, at_ear)))
    stage.tell("\ntranscript:")
    for chapter in stage.story.chapters:
        if chapter.said:
            stage.tell(f"  caller: {chapter.said}")
        if chapter.replied:
            stage.tell(f"  agent:  {chapter.replied}{' --' if chapter.interrupted else ''}")
    stage.tell(f"\nthe call in stereo: {options.wav}   the report: {options.json}")


if __name__ == "__main__":
    main()
