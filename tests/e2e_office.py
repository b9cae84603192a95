"""The real daemon for one carrier, signed as that carrier signs, its REST API and a transcriber on loopback.

What the caller says is recorded voices; what the transcriber makes of them is known; the agent is the local
one, its voice is tones whose length tells the words.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import defer, reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

import voxray
from voxray.simulator.carriers import CARRIERS
from voxray.simulator.daemon import PUBLIC_HOST, Daemon, environment, free_port
from voxray.simulator.engines import Engines
from voxray.simulator.measure import Turn
from voxray.simulator.rest import Switchboard, listen
from voxray.simulator.result import CallResult
from voxray.simulator.script import Do, Patience, Script, Step
from voxray.simulator.session import Judged, Plan, prepared, receive, run
from voxray.simulator.signing import Secrets, public_key
from voxray.simulator.target import Target
from voxray.simulator.wires.vocabulary import Quirks

ROOT = Path(voxray.__file__).parent.parent
CALLERS = Path(voxray.__file__).parent / "data" / "callers"
SECRET = "stand-in-secret"
PRIVATE = base64.b64encode(b"\x05" * 32).decode("ascii")
API_KEY = "owner-key"
NAMES = tuple(CARRIERS)
LATE_MS, TRIES = 120.0, 4
"""A simulator whose clock ran later than that did not play a call in real time."""


def said(do: Do, name: str, text: str, after: float = 0.0) -> Step:
    return Step(do, text=text, file=str(CALLERS / f"{name}.wav"), secs=after)


def account(carrier: str, rest_port: int) -> dict[str, str]:
    """The daemon's credentials with this carrier, for its REST API and for its signatures."""
    rest = {f"{carrier.upper()}_BASE_URL": f"http://127.0.0.1:{rest_port}"}
    default = CARRIERS[carrier].default_account
    return (
        rest
        | {
            "twilio": {"TWILIO_ACCOUNT_SID": default, "TWILIO_AUTH_TOKEN": SECRET},
            "telnyx": {
                "TELNYX_API_KEY": SECRET,
                "TELNYX_PUBLIC_KEY": public_key(PRIVATE),
                "TELNYX_ACCOUNT_SID": default,
                "TELNYX_APPLICATION_SID": "1494404757140276705",
            },
            "plivo": {"PLIVO_AUTH_ID": default, "PLIVO_AUTH_TOKEN": SECRET},
            "exotel": {
                "EXOTEL_ACCOUNT_SID": default,
                "EXOTEL_API_KEY": "rest-user",
                "EXOTEL_API_TOKEN": SECRET,
                "EXOTEL_WS_USER": "applet",
                "EXOTEL_WS_PASSWORD": "applet-secret",
            },
        }[carrier]
    )


class Ears(Resource):
    """The transcriber: hears what the caller is saying at the moment. A session's Listener, too."""

    isLeaf = True

    def __init__(self, words: str = "") -> None:
        super().__init__()
        self.words = words
        self.asked = 0

    def render_GET(self, request: object) -> bytes:
        return b'{"data": []}'

    def render_POST(self, request: object) -> bytes:
        self.asked += 1
        return json.dumps({"text": self.words}).encode()

    def line(self, call: int, turn: Turn) -> None:
        if turn.step is not None and turn.step.text:
            self.words = turn.step.text

    def turn(self, call: int, turn: Turn) -> None: ...

    def ended(self, call: int, result: CallResult) -> None: ...


class Deaf(Ears):
    """Always hears the same, whoever speaks: for many calls at once."""

    def line(self, call: int, turn: Turn) -> None: ...


class OfficeTestCase(TestCase):
    """One daemon for one carrier at a time."""

    timeout = 110
    scenario: ClassVar[Mapping[str, object]] = {}

    async def open(
        self, carrier: str, ears: Ears | None = None, drain_secs: float = 0.0, **document: object
    ) -> None:
        self.ears, self.events = ears or Ears(), []
        vendor = reactor.listenTCP(0, Site(self.ears, reactor=reactor), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(vendor.stopListening)
        self.side = CARRIERS[carrier]
        user = "rest-user" if carrier == "exotel" else ""
        self.board = Switchboard(self.side.default_account, SECRET, carrier, user=user)
        rest: Any = await listen(reactor, self.board, 0)
        self.addCleanup(rest.stopListening)
        self.port = free_port()
        self.environ = environment(self.port) | account(carrier, rest.getHost().port)
        self.environ |= {
            "OPENAI_API_KEY": "sk-stand-in",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{vendor.getHost().port}/v1",
            "VOXRAY_SERVER_API_KEY": API_KEY,
            "PYTHONPATH": str(ROOT),
            "VOXRAY_DRAIN_TIMEOUT_SECS": str(drain_secs),
        }
        self.url = f"http://127.0.0.1:{self.port}/"
        await self.start(self.config(carrier, document))

    async def start(self, config: Path) -> None:
        """The daemon, until it is ready."""
        self.daemon = Daemon(reactor, self.events.append)
        self.daemon.start(config, self.environ, ROOT)
        self.addCleanup(lambda: defer.Deferred.fromCoroutine(self.daemon.stop()))
        await self.daemon.ready(f"{self.url}ready", lambda waited: None)

    def config(self, carrier: str, more: Mapping[str, object]) -> Path:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        (directory / "scenario.json").write_text(json.dumps(self.scenario), encoding="utf-8")
        path = directory / "voxray.json"
        document = {
            "runner_transport": carrier,
            "proxy_host": PUBLIC_HOST,
            "stt_provider": "openai",
            "llm_provider": "local",
            "tts_provider": "scripted",
            "scenario_file": str(directory / "scenario.json"),
            "greeting": "Hello there.",
            "max_lag_ms": 0,  # a machine that is busy with tests is late, and no news
            **more,
        }
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    # -- calls -----------------------------------------------------------------
    def target(self, **changes: Any) -> Target:
        """Whom to call, signed as the carrier does it."""
        secrets = Secrets(private_key=PRIVATE, user="applet", password="applet-secret")
        return Target(
            self.url,
            **{
                "public_url": f"https://{PUBLIC_HOST}",
                "account_sid": self.side.default_account,
                "auth_token": SECRET,
                "carrier": self.side.name,
                "secrets": secrets,
                "method": "POST" if self.side.name == "telnyx" else "",
                **changes,
            },
        )

    def plan(self, script: Script, quirks: Quirks | None = None, **target: Any) -> Plan:
        patience = Patience(settle=0.4, reply=8.0, hang_up=8.0)
        found = self.target(**target)
        return Plan(found, script, patience, transcribe=False, max_secs=40.0, quirks=quirks or Quirks())

    async def judged(self, plan: Plan) -> list[Judged]:
        engines = Engines(reactor)
        self.addCleanup(lambda: defer.Deferred.fromCoroutine(engines.stop()))
        return await run(reactor, await prepared(plan, engines), engines, self.ears, self.board)

    async def call(self, script: Script, quirks: Quirks | None = None, **target: Any) -> CallResult:
        """One call, as the carrier has it on a good day unless `quirks` say otherwise."""
        judged = await self.steady(lambda: self.plan(script, quirks, **target), LATE_MS)
        self.assertEqual(judged.failures, ())
        assert judged.result is not None
        return judged.result

    async def steady(self, make_plan: Callable[[], Plan], late_ms: float) -> Judged:
        """A call in real time: one on which the machine kept us waiting says nothing, and is made again."""
        for _ in range(TRIES):
            [judged] = await self.judged(make_plan())
            if judged.result is None or judged.result.worst_tick_ms <= late_ms:
                return judged
        raise AssertionError(f"the machine is too busy to measure: {judged.result.worst_tick_ms:.0f} ms late")

    async def received(self, script: Script, pickup: str = "answer", secs: float = 15.0) -> Judged:
        """The next call that the agent places, answered (or not) by a caller with this script."""
        engines = Engines(reactor)
        self.addCleanup(lambda: defer.Deferred.fromCoroutine(engines.stop()))
        plan = replace(await prepared(self.plan(script), engines), pickup=pickup, ring_secs=0.3)
        [judged] = await receive(reactor, plan, engines, self.ears, self.board, secs)
        return judged

    # -- what the daemon says --------------------------------------------------
    def of(self, kind: str, call_sid: str = "") -> list[Any]:
        """Events of a kind, of one call or of all."""
        ids = {e["call_id"] for e in self.events if e.get("event") == "cdr" and e["call_sid"] == call_sid}
        found = [e for e in self.events if e.get("event") == kind]
        return [e for e in found if not call_sid or e["call_id"] in ids]

    async def record(self, call_sid: str) -> Any:
        """The call's record, which comes a moment after its end."""
        for _ in range(60):
            if found := self.of("cdr", call_sid):
                self.assertEqual(len(found), 1)
                return found[0]
            await deferLater(reactor, 0.05)
        raise AssertionError("no record of the call")
