"""Calls that the agent places, on each carrier: ordered through the API, answered by the simulator.

The real daemon and the stand-in REST API; the carrier fetches our webhook, signed, once the telephone is
picked up (Exotel opens the stream at once), and tells our status address how it ended.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any, ClassVar

from twisted.internet import defer, reactor
from twisted.internet.task import deferLater
from twisted.web.client import Agent, FileBodyProducer, readBody
from twisted.web.http_headers import Headers

from tests.e2e_office import API_KEY, OfficeTestCase, said
from voxray.simulator.script import Do, Script

THEIRS, OURS = "+15551234567", "+15017122661"
HELLO = Script((said(Do.SAY, "thank-you-goodbye", "Thank you. Goodbye."),), expect_hang_up=True)


class OutboundTests(OfficeTestCase):
    """Answered, busy, given up."""

    scenario: ClassVar = {
        "business": "Us",
        "facts": [{"id": "hours", "words": ["hours"], "answer": "All day."}],
        "lines": {"goodbye": "Bye then."},
    }

    async def asked(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        headers = Headers({"Authorization": [f"Bearer {API_KEY}"], "Content-Type": ["application/json"]})
        sent = None if body is None else FileBodyProducer(BytesIO(json.dumps(body).encode()))
        agent: Any = Agent(reactor)
        response = await agent.request(method.encode(), f"{self.url}{path}".encode(), headers, sent)
        return response.code, json.loads(await readBody(response))

    async def place(self, **changes: object) -> Any:
        order = {"to": THEIRS, "from": OURS, "body": {"name": "Ann"}, **changes}
        status, answer = await self.asked("POST", "api/v1/calls", order)
        self.assertEqual(status, 201, answer)
        return answer["data"]

    async def shown(self, call_id: str) -> Any:
        status, answer = await self.asked("GET", f"api/v1/calls/{call_id}")
        self.assertEqual(status, 200, answer)
        return answer["data"]

    async def becomes(self, call_id: str, status: str, secs: float = 10.0) -> Any:
        """The call, once it is that."""
        for _ in range(round(secs / 0.1)):
            view = await self.shown(call_id)
            if view["status"] == status:
                return view
            await deferLater(reactor, 0.1)
        raise AssertionError(f"{call_id} is {view['status']}, not {status}")

    async def day_of(self, carrier: str) -> None:
        await self.open(carrier, telephony_auth="auto", max_call_secs=600)
        await self.answered()
        await self.busy()
        await self.given_up()

    async def answered(self) -> None:
        """Rings, is up, is greeted, talks, and is hung up by the agent."""
        receiving = defer.Deferred.fromCoroutine(self.received(HELLO))
        view = await self.place()
        self.assertEqual((view["status"], view["from"], view["to"]), ("dialing", OURS, THEIRS))
        await self.becomes(view["id"], "up")
        judged = await receiving
        self.assertEqual(judged.failures, ())
        result, placed = judged.result, judged.placed
        assert result is not None and placed is not None
        self.assertEqual(placed.order.max_secs, 600.0)
        self.assertEqual(result.ended_by, "agent-socket" if self.side.name == "exotel" else "agent")
        self.assertIsNotNone(result.turns[0].reply_began)
        ended = await self.becomes(view["id"], "ended")
        self.assertEqual(ended["reason"], "agent")
        record = await self.record(result.ids.call_sid)
        self.assertEqual((record["call_id"], record["direction"]), (view["id"], "outbound"))
        self.assertTrue(record["to"].endswith(THEIRS[-4:]), record)

    async def busy(self) -> None:
        """The carrier's report is believed when it is signed (Exotel's: when it names our id)."""
        receiving = defer.Deferred.fromCoroutine(self.received(HELLO, "busy"))
        view = await self.place()
        failed = await self.becomes(view["id"], "failed")
        await receiving
        self.assertEqual(failed["reason"], "busy")
        found = [e for e in self.of("cdr") if e["call_id"] == view["id"]]
        self.assertEqual([e["reason"] for e in found], ["busy"])

    async def given_up(self) -> None:
        """DELETE while it rings: the carrier is told, where there is a way to tell it."""
        receiving = defer.Deferred.fromCoroutine(self.received(HELLO, "no-answer"))
        view = await self.place()
        status, answer = await self.asked("DELETE", f"api/v1/calls/{view['id']}")
        self.assertEqual((status, answer["data"]["status"]), (200, "ended"), answer)
        self.assertEqual((await self.shown(view["id"]))["reason"], "canceled")
        if self.side.name == "exotel":  # it rings on
            receiving.addErrback(lambda failure: failure.trap(defer.CancelledError))
            receiving.cancel()
            return
        placed = (await receiving).placed
        assert placed is not None
        self.assertEqual(placed.status, "canceled")

    async def test_twilio(self) -> None:
        """Calls.json; our webhook by POST."""
        await self.day_of("twilio")

    async def test_telnyx(self) -> None:
        """A TeXML application's call."""
        await self.day_of("telnyx")

    async def test_plivo(self) -> None:
        """The request's id is not the call's: that comes with the webhook."""
        await self.day_of("plivo")

    async def test_exotel(self) -> None:
        """No webhook: the stream's address, with a token of its own, is in the order."""
        await self.day_of("exotel")

    async def test_by_another_carrier(self) -> None:
        """The calls come in over Twilio, this one goes out over Plivo; without credentials it is refused."""
        await self.open("twilio")
        status, answer = await self.asked(
            "POST", "api/v1/calls", {"to": THEIRS, "from": OURS, "carrier": "plivo"}
        )
        self.assertEqual((status, "credentials" in answer["error"]["message"]), (422, True), answer)
