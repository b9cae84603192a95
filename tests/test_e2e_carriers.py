"""A whole call on each carrier: the real daemon, the simulator's side of the wire, the stand-in REST API.

Greeting, a question, an interruption that clears, keys, goodbye, and the agent hangs up: by REST, or on
Exotel by closing the socket with 1000. Then a short call on the carrier's bad day. What the caller says is
recorded voices; what the transcriber makes of them is known (a vendor on loopback says so), the agent is the
local one, its voice is tones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet import defer, reactor
from twisted.trial.unittest import SkipTest, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

import voxray
from voxray import catalog_carriers
from voxray.simulator.carriers import CARRIERS
from voxray.simulator.client import Target
from voxray.simulator.daemon import Daemon, environment, free_port
from voxray.simulator.engines import Engines
from voxray.simulator.measure import Turn
from voxray.simulator.rest import Switchboard, listen
from voxray.simulator.result import CallResult
from voxray.simulator.script import Do, Patience, Script, Step, keys
from voxray.simulator.session import Judged, Plan, prepared, run
from voxray.simulator.wires.vocabulary import Quirks

ROOT = Path(voxray.__file__).parent.parent
CALLERS = Path(voxray.__file__).parent / "data" / "callers"
SECRET = "stand-in-secret"
HOURS = "We are open Monday to Friday, and on Saturdays too."
SCENARIO = {
    "business": "Us",
    "facts": [
        {"id": "hours", "words": ["hours"], "answer": HOURS},
        {"id": "address", "words": ["location"], "answer": "By the sea."},
    ],
    "lines": {"goodbye": "Bye then."},
}


def said(do: Do, name: str, text: str, after: float = 0.0) -> Step:
    return Step(do, text=text, file=str(CALLERS / f"{name}.wav"), secs=after)


def words_begun(secs: float) -> int:
    """How many words of HOURS were begun in its first seconds: the scripted voice is 60 ms a letter."""
    begins, count = 0.0, 0
    for word in HOURS.split():
        count += begins < secs
        begins += 0.06 * len(word) + 0.04
    return count


GOODBYE = said(Do.SAY, "thank-you-goodbye", "Thank you. Goodbye.")
WHOLE = Script(
    (
        said(Do.SAY, "your-hours", "Hello. Your hours?"),
        said(Do.BARGE_IN, "your-location", "Your location?", after=0.6),
        keys("42#"),
        Step(Do.WAIT, secs=1.5),  # keys alone are not waited on
        GOODBYE,
    ),
    expect_hang_up=True,
)
SHORT = Script((GOODBYE,), expect_hang_up=True)


class Ears(Resource):
    """The transcriber: hears what the caller is saying at the moment."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.words = ""

    def render_GET(self, request: object) -> bytes:
        return b'{"data": []}'

    def render_POST(self, request: object) -> bytes:
        return json.dumps({"text": self.words}).encode()

    # -- a session's Listener
    def line(self, call: int, turn: Turn) -> None:
        self.words = turn.step.text if turn.step is not None else ""

    def turn(self, call: int, turn: Turn) -> None: ...

    def ended(self, call: int, result: CallResult) -> None: ...


class CarrierTests(TestCase):
    """One daemon, two calls, for each carrier."""

    timeout = 90

    async def setup_for(self, carrier: str) -> None:
        if carrier not in catalog_carriers.CARRIERS:
            raise SkipTest(f"{carrier} is not in the catalog yet")
        self.ears, self.events = Ears(), []
        vendor = reactor.listenTCP(0, Site(self.ears, reactor=reactor), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(vendor.stopListening)
        self.side = CARRIERS[carrier]
        self.board = Switchboard(self.side.default_account, SECRET, carrier)
        rest: Any = await listen(reactor, self.board, 0)
        self.addCleanup(rest.stopListening)
        port, rest_url = free_port(), f"http://127.0.0.1:{rest.getHost().port}"
        settings = environment(port, rest.getHost().port, self.side.default_account, SECRET) | {
            "OPENAI_API_KEY": "sk-stand-in",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{vendor.getHost().port}/v1",
            "TELNYX_API_KEY": SECRET,
            "PLIVO_AUTH_ID": CARRIERS["plivo"].default_account,
            "PLIVO_AUTH_TOKEN": SECRET,
            f"{carrier.upper()}_BASE_URL": rest_url,
            "PYTHONPATH": str(ROOT),
        }
        self.daemon = Daemon(reactor, self.events.append)
        self.daemon.start(self.config(carrier), settings, ROOT)
        self.addCleanup(lambda: defer.Deferred.fromCoroutine(self.daemon.stop()))
        self.url = f"http://127.0.0.1:{port}/"
        await self.daemon.ready(f"{self.url}ready", lambda waited: None)

    def config(self, carrier: str) -> Path:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        (directory / "scenario.json").write_text(json.dumps(SCENARIO), encoding="utf-8")
        path = directory / "voxray.json"
        document = {
            "runner_transport": carrier,
            "proxy_host": "voice.example.com",
            "telephony_auth": "off",
            "stt_provider": "openai",
            "llm_provider": "local",
            "tts_provider": "scripted",
            "scenario_file": str(directory / "scenario.json"),
            "greeting": "Hello there.",
        }
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    async def call(self, script: Script, quirks: Quirks, **target: Any) -> CallResult:
        target = {"account_sid": self.side.default_account, "carrier": self.side.name, **target}
        patience = Patience(settle=0.4, reply=8.0, hang_up=8.0)
        plan = Plan(
            Target(self.url, **target), script, patience, transcribe=False, max_secs=40.0, quirks=quirks
        )
        engines = Engines(reactor)
        self.addCleanup(lambda: defer.Deferred.fromCoroutine(engines.stop()))
        judged: Judged
        [judged] = await run(reactor, await prepared(plan, engines), engines, self.ears, self.board)
        self.assertEqual(judged.failures, ())
        assert judged.result is not None
        return judged.result

    def hung_up(self, result: CallResult, status: int) -> None:
        """The agent ended the call, once, as this carrier has it."""
        asked = [each for each in self.board.requests if each[0] == result.ids.call_sid]
        if self.side.name == "exotel":
            self.assertEqual((result.ended_by, result.close_code, asked), ("agent-socket", 1000, []))
        else:
            self.assertEqual((result.ended_by, asked), ("agent", [(result.ids.call_sid, status)]))

    async def whole_call(self, status: int, quirks: Quirks | None = None, **target: Any) -> CallResult:
        result = await self.call(WHOLE, quirks or Quirks(), **target)
        greeting, _, barge_in, pressed, goodbye = result.turns
        for turn in (greeting, barge_in, pressed, goodbye):
            self.assertIsNotNone(turn.reply_began, turn)
        self.assertEqual(result.clears, 1)
        self.assertIsNotNone(barge_in.clear_at)
        self.assertEqual(sum(len(turn.gaps) for turn in result.turns), 0)
        self.assertGreater(result.marks_echoed, 0)
        self.remembered(result)
        self.hung_up(result, status)
        return result

    def remembered(self, result: CallResult) -> None:
        """The agent heard what was said and pressed, of which the log has stars, and what it said itself."""
        turns = [event for event in self.events if event.get("event") == "turn"]
        heard = ["", "Hello. Your hours?", "Your location?", "DTMF: **", "Thank you. Goodbye."]
        self.assertEqual([turn["heard"] for turn in turns], heard)
        self.assertEqual([turn["interrupted"] for turn in turns], [False, True, False, False, False])
        self.assertEqual(turns[-1]["replied"], "Bye then.")
        began, stopped = result.turns[1].reply_began, result.turns[2].stopped_at
        assert began is not None and stopped is not None
        known = turns[1]["replied"].split()
        self.assertEqual(known, HOURS.split()[: len(known)])
        self.assertLessEqual(abs(len(known) - words_begun(stopped - began)), 1, (turns[1], stopped - began))

    async def test_twilio(self) -> None:
        """TwiML by POST; then without a single mark."""
        await self.setup_for("twilio")
        await self.whole_call(200, auth_token=SECRET)
        self.hung_up(await self.call(SHORT, Quirks(marks=False), auth_token=SECRET), 200)

    async def test_telnyx(self) -> None:
        """TeXML by GET; then by POST over a leg in A-law whose packets come out of order."""
        await self.setup_for("telnyx")
        await self.whole_call(200)
        self.hung_up(await self.call(SHORT, Quirks(leg_codec="PCMA", reorder=2), method="POST"), 200)

    async def test_plivo(self) -> None:
        """No `connected`, no `stop`; checkpoints; then with the first of them lost."""
        await self.setup_for("plivo")
        await self.whole_call(204)
        self.hung_up(await self.call(SHORT, Quirks(first_mark=False)), 204)

    async def test_exotel(self) -> None:
        """JSON by GET, 100 ms of linear PCM; then a static applet at 16 kHz, in camel case."""
        await self.setup_for("exotel")
        await self.whole_call(0)
        static = "wss://voice.example.com/telephony/ws?sample-rate=16000"
        self.hung_up(await self.call(SHORT, Quirks(camel_case=True), stream_url=static), 0)
        self.assertEqual(self.board.requests, [])
