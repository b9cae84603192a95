"""A whole call on each carrier: the real daemon, the simulator's side of the wire, the stand-in REST API.

Greeting, a question, an interruption that clears, keys, goodbye, and the agent hangs up: by REST, or on
Exotel by closing the socket with 1000. Everything is signed, and everything is checked (`telephony_auth` is
auto). Then a short call on the carrier's bad day, one that is transferred, and one that a stranger tries.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet import reactor
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from tests.e2e_office import OfficeTestCase, said
from voxray.simulator.result import CallResult
from voxray.simulator.script import Do, Script, Step, keys
from voxray.simulator.wires.vocabulary import Quirks

HOURS = "We are open Monday to Friday, and on Saturdays too."
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
OPERATOR = Script((said(Do.SAY, "nobody-available", "An operator."),), expect_hang_up=True)


def words_begun(secs: float) -> int:
    """How many words of HOURS were begun in its first seconds: the scripted voice is 60 ms a letter."""
    begins, count = 0.0, 0
    for word in HOURS.split():
        count += begins < secs
        begins += 0.06 * len(word) + 0.04
    return count


class CarrierTests(OfficeTestCase):
    """One daemon, four calls, for each carrier."""

    scenario: ClassVar = {
        "business": "Us",
        "facts": [
            {"id": "hours", "words": ["hours"], "answer": HOURS},
            {"id": "address", "words": ["location"], "answer": "By the sea."},
            {"id": "operator", "words": ["operator"], "answer": "One moment.", "transfer": "desk"},
        ],
        "lines": {"goodbye": "Bye then."},
    }

    async def day_of(self, carrier: str, status: int, quirks: Quirks, **bad_day: Any) -> None:
        await self.open(carrier, transfers={"desk": "+15551230000"})
        await self.strangers()
        await self.whole_call(status)
        self.hung_up(await self.call(SHORT, quirks, **bad_day), status)
        await self.transferred()

    def hung_up(self, result: CallResult, status: int) -> None:
        """The agent ended the call, once, as this carrier has it."""
        asked = [each for each in self.board.requests if each[0] == result.ids.call_sid]
        if self.side.name == "exotel":
            self.assertEqual((result.ended_by, result.close_code, asked), ("agent-socket", 1000, []))
        else:
            self.assertEqual((result.ended_by, asked), ("agent", [(result.ids.call_sid, status)]))

    async def whole_call(self, status: int) -> None:
        result = await self.call(WHOLE)
        greeting, _, barge_in, pressed, goodbye = result.turns
        for turn in (greeting, barge_in, pressed, goodbye):
            self.assertIsNotNone(turn.reply_began, turn)
        self.assertEqual(result.clears, 1)
        self.assertIsNotNone(barge_in.clear_at)
        self.assertEqual(sum(len(turn.gaps) for turn in result.turns), 0)
        self.assertGreater(result.marks_echoed, 0)
        self.hung_up(result, status)
        record = await self.record(result.ids.call_sid)
        self.assertEqual((record["reason"], record["turns"], record["dtmf"]), ("agent", 4, 3))
        self.assertEqual((record["carrier"], record["direction"]), (self.side.name, "inbound"))
        self.assertTrue(record["from"].startswith("***"), record)
        self.remembered(result)

    def remembered(self, result: CallResult) -> None:
        """The agent heard what was said and pressed, and of its cut answer knows what came to the ear."""
        turns = self.of("turn", result.ids.call_sid)
        heard = ["", "Hello. Your hours?", "Your location?", "DTMF: **", "Thank you. Goodbye."]
        self.assertEqual([turn["heard"] for turn in turns], heard)
        self.assertEqual([turn["interrupted"] for turn in turns], [False, True, False, False, False])
        self.assertEqual(turns[-1]["replied"], "Bye then.")
        known = turns[1]["replied"].split()
        self.assertEqual(known, HOURS.split()[: len(known)])
        truth = words_begun(result.turns[1].heard_ms / 1000)
        self.assertLessEqual(abs(len(known) - truth), 1, (turns[1], result.turns[1].heard_ms))

    async def transferred(self) -> None:
        """Once, and no hang-up after it; Exotel's next applet takes the call when the socket is closed."""
        result = await self.call(OPERATOR)
        asked = [each for each in self.board.requests if each[0] == result.ids.call_sid]
        if self.side.name == "exotel":
            self.assertEqual((result.ended_by, result.close_code, asked), ("agent-socket", 1000, []))
        else:
            self.assertEqual(
                (result.ended_by, result.transferred_to.lstrip("+")), ("transferred", "15551230000")
            )
            self.assertEqual(len(asked), 1)
        self.assertEqual((await self.record(result.ids.call_sid))["reason"], "transferred")

    async def strangers(self) -> None:
        """Without signature or token nobody gets in, and no vendor hears of it."""
        agent: Any = Agent(reactor)
        for path, status in (("", 403), ("telephony/ws", 401 if self.side.name == "exotel" else 403)):
            if path and self.side.name == "telnyx":
                continue  # may wait for its token until `start`: tests/test_attack_trust.py
            method = b"GET" if path else b"POST"
            upgrade = Headers({"Upgrade": ["websocket"], "Connection": ["Upgrade"]}) if path else None
            response = await agent.request(method, f"{self.url}{path}".encode(), upgrade)
            self.assertEqual((response.code, await readBody(response)), (status, b""))
        self.assertEqual(self.ears.asked, 0)

    async def test_twilio(self) -> None:
        """TwiML by POST; then without a single mark."""
        await self.day_of("twilio", 200, Quirks(marks=False))

    async def test_telnyx(self) -> None:
        """TeXML by POST; then over a leg in A-law whose packets come out of order."""
        await self.day_of("telnyx", 200, Quirks(leg_codec="PCMA", reorder=2))

    async def test_plivo(self) -> None:
        """No `connected`, no `stop`; checkpoints; then by GET, with the first of them lost."""
        await self.day_of("plivo", 204, Quirks(first_mark=False), method="GET")

    async def test_exotel(self) -> None:
        """JSON by GET, 100 ms of linear PCM; then a static applet at 16 kHz, in camel case."""
        static = "wss://applet:applet-secret@voice.example.com/telephony/ws?sample-rate=16000"
        await self.day_of("exotel", 0, Quirks(camel_case=True), stream_url=static)
        self.assertEqual(self.board.requests, [])
