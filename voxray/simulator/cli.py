"""`voxray-dial`: calls an agent the way a telephone carrier would, and says how it did."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import react

from voxray.errors import VoxrayError
from voxray.simulator import report
from voxray.simulator.arguments import plan_of
from voxray.simulator.engines import Engines
from voxray.simulator.masking import masked
from voxray.simulator.measure import Turn
from voxray.simulator.options import parser
from voxray.simulator.rest import Switchboard, listen
from voxray.simulator.result import CallResult
from voxray.simulator.script import BadScript
from voxray.simulator.session import Judged, Plan, prepared, receive, run
from voxray.simulator.signing import BadKey, public_key
from voxray.simulator.target import DialFailed

FAILED, MISTAKE = 1, 2


class Screen:
    """What is printed while calls are going on: plain lines, flushed, no colours."""

    def __init__(self, calls: int, quiet: bool, stream: Any = None) -> None:
        self._calls = calls
        self._quiet = quiet
        self._stream = stream or sys.stdout

    def tell(self, text: str = "") -> None:
        if not self._quiet:
            self.always(text)

    def always(self, text: str) -> None:
        self._stream.write(masked(text) + "\n")
        self._stream.flush()

    def line(self, call: int, turn: Turn) -> None:
        """Nothing yet: a turn is printed in one line, when it is over."""

    def turn(self, call: int, turn: Turn) -> None:
        self.tell(f"{self._which(call)}{turn.began:6.1f} s  {report.turn_line(turn)}")

    def ended(self, call: int, result: CallResult) -> None:
        for warning in result.warnings:
            self.tell(f"{self._which(call)}warning: {warning}")
        how = report.ENDINGS.get(result.ended_by, result.ended_by)
        self.tell(f"{self._which(call)}{result.duration_secs:6.1f} s  {how}")

    def _which(self, call: int) -> str:
        return f"call {call:<4}" if self._calls > 1 else ""


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script. Exit status: 0 as expected, 1 not, 2 a mistake in the command line."""
    options = parser().parse_args(arguments)
    try:
        if options.print_public_key:
            sys.stdout.write(_public_key() + "\n")
            return
        plan = plan_of(options)
    except (BadScript, DialFailed, BadKey) as error:
        sys.stderr.write(f"voxray-dial: {error}\n")
        raise SystemExit(MISTAKE) from None
    react(lambda reactor: Deferred.fromCoroutine(_dial(reactor, options, plan)))


def _public_key() -> str:
    """Raises BadKey."""
    key = os.environ.get("TELNYX_PRIVATE_KEY", "")
    if not key:
        raise BadKey(
            "TELNYX_PRIVATE_KEY is not set: any 32 bytes in base64 (head -c 32 /dev/urandom | base64)"
        )
    return public_key(key)


async def _dial(reactor: Any, options: argparse.Namespace, plan: Plan) -> None:
    reactor.seconds = time.monotonic  # before the first timer: a step of the clock must not bend a call
    screen = Screen(plan.calls, options.quiet, sys.stderr if options.json == "-" else None)
    engines = Engines(reactor, options.voice)
    try:
        judged = await _calls(reactor, options, plan, engines, screen)
    except (BadScript, VoxrayError, CannotListenError) as error:
        sys.stderr.write(f"voxray-dial: {error}\n")
        raise SystemExit(MISTAKE) from None
    finally:
        await engines.stop()
    failed = _report(options, plan, judged, screen)
    raise SystemExit(FAILED if failed else 0)


async def _calls(
    reactor: Any, options: argparse.Namespace, plan: Plan, engines: Engines, screen: Screen
) -> list[Judged]:
    plan = await prepared(plan, engines)
    target, awaited = plan.target, options.await_call
    board: Switchboard | None = None
    port: Any = None
    if options.rest_port is not None or awaited is not None:
        board = Switchboard(
            target.account_sid, target.auth_token, target.carrier, user=_api_user(target.carrier)
        )
        port = await listen(reactor, board, options.rest_port or 0)
        screen.tell(f"{target.side.title}'s REST API: http://127.0.0.1:{port.getHost().port}")
    try:
        if awaited is not None and board is not None:
            screen.tell(f"waiting for the agent to place a call, as {target.side.title}")
            return await receive(reactor, plan, engines, screen, board, awaited)
        screen.tell(f"calling {target.stream_url or target.url} as {target.side.title}")
        return await run(reactor, plan, engines, screen, board)
    finally:
        if port is not None:
            await port.stopListening()


def _api_user(carrier: str) -> str:
    """Exotel's API has a user of its own; the others' is the account."""
    return os.environ.get("EXOTEL_API_KEY", "") if carrier == "exotel" else ""


def _report(options: argparse.Namespace, plan: Plan, judged: Sequence[Judged], screen: Screen) -> bool:
    """Prints, writes the files; whether anything failed."""
    results = [each.result for each in judged if each.result is not None]
    screen.tell()
    if len(results) == 1:
        screen.tell(report.turn_table(results[0]))
        screen.tell()
    for line in report.summary_lines(results) if results else ():
        screen.tell(line)
    for number, each in enumerate(judged, 1):
        if each.placed is not None:
            screen.tell(f"the agent called {each.placed.order.to}: {each.placed.status}")
        for failure in each.failures:
            screen.always(f"FAILED{f' call {number}' if plan.calls > 1 else ''}: {failure}")
    failed = any(each.failures for each in judged)
    screen.tell("failed" if failed else "ok")
    _files(options, plan, judged)
    return failed


def _files(options: argparse.Namespace, plan: Plan, judged: Sequence[Judged]) -> None:
    if options.json:
        document = report.document(plan.target.url, [(each.result, each.failures) for each in judged])
        report.write_json(None if options.json == "-" else Path(options.json), document)
    for number, each in enumerate(judged, 1):
        if options.wav and each.result is not None:
            report.write_wav(_numbered(Path(options.wav), number, len(judged)), each.result)


def _numbered(path: Path, number: int, of: int) -> Path:
    """call.wav, or call-1.wav ... when there are several."""
    return path if of == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


if __name__ == "__main__":
    main()
