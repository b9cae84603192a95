"""Calls the agent places, over loopback: ordered by REST, rung, answered (or not), streamed, told of."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, urlencode

from nacl.signing import SigningKey
from plivo.utils import validate_v3_signature
from twilio.request_validator import RequestValidator
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from tests.carrier_side import ANSWERS, PUBLIC, STREAM, TOKEN_PATH, AgentSite, Got, public
from voxray.simulator import cli
from voxray.simulator.arguments import plan_of
from voxray.simulator.caller import SimulatedCall
from voxray.simulator.carriers import CARRIERS
from voxray.simulator.engines import Engines
from voxray.simulator.options import parser
from voxray.simulator.outbound import Answerer, Exchange, Pickup, Placed
from voxray.simulator.progress import answered_fields, status_fields
from voxray.simulator.rest import Order, Switchboard, listen
from voxray.simulator.script import Do, Patience, Script, Step
from voxray.simulator.session import prepared, receive
from voxray.simulator.signing import Secrets
from voxray.simulator.target import Target
from voxray.simulator.webhook import _Form
from voxray.simulator.wires.vocabulary import CallIds, Quirks

TOKEN, SEED = "auth-token", bytes(range(32))
SECRETS = Secrets(TOKEN, private_key=base64.b64encode(SEED).decode(), user="u", password="p")
TO, FROM = "+15551230000", "+15017122661"


class Rig:
    """The agent's site, the carrier's API, and somebody's telephone."""

    def __init__(self, test: TestCase, carrier: str, answerer: Answerer | None = None, **order: Any) -> None:
        self.carrier, self.side, self.more = carrier, CARRIERS[carrier], order
        self.site = AgentSite(test, carrier)
        self.board = Switchboard(self.side.default_account, TOKEN, carrier)
        self.target = Target(self.site.url, carrier=carrier, secrets=SECRETS)
        self.exchange = Exchange(reactor, self.target, self.board, answerer or self.answer)
        test.addCleanup(self.exchange.stop)
        self.test = test

    async def listen(self) -> None:
        port: Any = await listen(reactor, self.board, 0)
        self.test.addCleanup(port.stopListening)
        self.url = f"http://127.0.0.1:{port.getHost().port}"

    def answer(self, order: Order) -> Pickup:
        wire = self.side.wire(order.ids, order.numbers, Quirks())
        script = Script((Step(Do.WAIT, secs=0.2), Step(Do.HANG_UP)))
        return Pickup(
            SimulatedCall(reactor, order.ids, script, wire=wire, patience=Patience(greeting=0.05)),
            ring_secs=0.05,
        )

    async def dial(self) -> dict[str, Any]:
        """As an agent does; what the carrier answered."""
        body = await self.ask("POST", *self.request())
        assert isinstance(body, dict)
        return body

    def request(self) -> tuple[str, dict[str, Any]]:
        url, status, account = public("/answer"), public("/status"), self.side.default_account
        return {
            "twilio": (
                f"/2010-04-01/Accounts/{account}/Calls.json",
                {"To": TO, "From": FROM, "Url": url, "StatusCallback": status},
            ),
            "telnyx": (
                f"/v2/texml/Accounts/{account}/Calls",
                {"ApplicationSid": "1", "To": TO, "From": FROM, "Url": url, "StatusCallback": status},
            ),
            "plivo": (
                f"/v1/Account/{account}/Call/",
                {"to": TO[1:], "from": FROM[1:], "answer_url": url, "hangup_url": status},
            ),
            "exotel": (
                f"/v1/Accounts/{account}/Calls/connect.json",
                {
                    "From": TO,
                    "CallerId": FROM,
                    "StreamUrl": f"{STREAM}?a=1",
                    "StreamType": "bidirectional",
                    "StatusCallback": status,
                },
            ),
        }[self.carrier]

    async def ask(self, method: str, path: str, fields: dict[str, Any] | None = None) -> Any:
        form = self.carrier in ("twilio", "exotel")
        fields = {**(fields or {}), **self.more} if path == self.request()[0] else fields or {}
        body = urlencode(fields).encode() if form else json.dumps(fields).encode()
        basic = base64.b64encode(f"{self.side.default_account}:{TOKEN}".encode()).decode()
        headers = Headers(
            {
                "Authorization": [f"Bearer {TOKEN}" if self.carrier == "telnyx" else f"Basic {basic}"],
                "Content-Type": ["application/x-www-form-urlencoded" if form else "application/json"],
            }
        )
        response = await Agent(reactor).request(
            method.encode(), f"{self.url}{path}".encode(), headers, _Form(body)
        )
        told = await readBody(response)
        assert response.code < 300, (response.code, told)
        return json.loads(told) if told else None

    def genuine(self, got: Got) -> bool:
        """By the vendor's own library; over the public URL."""
        form = dict(parse_qsl(got.body.decode(), True)) if b"form-data" not in got.body else {}
        if self.carrier == "twilio":
            return bool(
                RequestValidator(TOKEN).validate(got.public_url, form, got.headers["x-twilio-signature"])
            )
        if self.carrier == "plivo":
            nonce, sent = got.headers["x-plivo-signature-v3-nonce"], got.headers["x-plivo-signature-v3"]
            return bool(validate_v3_signature(got.method, got.public_url, nonce, TOKEN, sent, form))
        if self.carrier == "exotel":
            return got.headers["authorization"] == "Basic dTpw"
        signed = got.headers["telnyx-timestamp"].encode() + b"|" + got.body
        SigningKey(SEED).verify_key.verify(signed, base64.b64decode(got.headers["telnyx-signature-ed25519"]))
        return True


class AnsweredTests(TestCase):
    async def test_a_whole_call(self) -> None:
        """All four: once it is answered the document is asked for, signed; the stream; the end, signed."""
        for carrier in CARRIERS:
            rig = Rig(self, carrier)
            await rig.listen()
            body = await rig.dial()
            placed = await rig.exchange.next()
            assert placed.result is not None
            sid = placed.order.ids.call_sid
            self.assertEqual(
                (placed.status, placed.problem, placed.result.ended_by), ("completed", "", "caller")
            )
            [socket] = rig.site.sockets
            self.assertEqual(socket.path, TOKEN_PATH)
            self.assertIn(sid, str(next(each for each in socket.got if each["event"] == "start")))
            [told] = rig.site.status.got
            self.assertTrue(rig.genuine(told), carrier)
            self.assertIn(sid, str(told.fields))
            if carrier == "exotel":
                self.assertEqual((rig.site.webhook.got, told.fields["Status"]), ([], "completed"))
            else:
                [asked] = rig.site.webhook.got
                self.assertTrue(rig.genuine(asked), carrier)
                self.assertEqual((asked.headers["host"], asked.fields["CallStatus"]), (PUBLIC, "in-progress"))
                self.assertEqual(told.fields["CallStatus"], "completed")
            if carrier == "plivo":
                self.assertEqual(asked.fields["RequestUUID"], body["request_uuid"])
                self.assertNotEqual(asked.fields["CallUUID"], body["request_uuid"])

    async def test_the_agent_hangs_up_what_it_placed(self) -> None:
        """The call is on the switchboard, under the id that its start has."""
        rig = Rig(self, "plivo")
        await rig.listen()
        ending: list[Deferred[Any]] = []

        def hang_up(socket: Any) -> None:
            path = f"/v1/Account/{rig.side.default_account}/Call/{socket.got[0]['start']['callId']}/"
            ending.append(Deferred.fromCoroutine(rig.ask("DELETE", path)))

        rig.site.factory.on["start"] = hang_up
        await rig.dial()
        placed = await rig.exchange.next()
        await ending[0]
        assert placed.result is not None
        self.assertEqual(placed.result.ended_by, "agent")

    async def test_an_answer_that_is_none(self) -> None:
        """A document without a stream: the call is over, and why is said."""
        rig = Rig(self, "twilio")
        rig.site.webhook.answer = "<Response><Hangup/></Response>"
        await rig.listen()
        await rig.dial()
        placed = await rig.exchange.next()
        self.assertIsNone(placed.result)
        self.assertIn("it says <Hangup>", placed.problem)
        self.assertEqual(rig.site.status.got[0].fields["CallStatus"], "completed")

    async def test_the_orders_own_limit(self) -> None:
        """`TimeLimit` ends the call, whatever the two have to say."""

        def talkative(order: Order) -> Pickup:
            wire = rig.side.wire(order.ids, order.numbers, Quirks())
            call = SimulatedCall(reactor, order.ids, Script((Step(Do.WAIT, secs=30),)), wire=wire)
            return Pickup(call, ring_secs=0.0)

        rig = Rig(self, "twilio", talkative, TimeLimit="1")
        await rig.listen()
        await rig.dial()
        placed = await rig.exchange.next()
        assert placed.result is not None
        self.assertEqual(placed.result.ended_by, "limit")

    async def test_the_events_that_were_asked_for(self) -> None:
        """Exotel tells of the answer too when it is to, in the form it was asked for."""
        rig = Rig(
            self,
            "exotel",
            **{
                "StatusCallbackEvents[0]": "answered",
                "StatusCallbackEvents[1]": "terminal",
                "StatusCallbackContentType": "application/json",
            },
        )
        await rig.listen()
        await rig.dial()
        await rig.exchange.next()
        told = [json.loads(got.body) for got in rig.site.status.got]
        self.assertEqual([each["EventType"] for each in told], ["answered", "terminal"])
        self.assertEqual(told[1]["Status"], "completed")


class MovedTests(TestCase):
    """A live call connected to somebody else."""

    async def transferred(self, carrier: str, path: str, fields: dict[str, str]) -> tuple[Rig, Placed]:
        rig = Rig(self, carrier, self.patient)
        self.rig = rig
        await rig.listen()
        asking: list[Deferred[Any]] = []

        def move(socket: Any) -> None:
            sid = rig.exchange.placed[0].order.ids.call_sid
            where = path.format(account=rig.side.default_account, sid=sid)
            asking.append(Deferred.fromCoroutine(rig.ask("POST", where, fields)))

        rig.site.factory.on["start"] = move
        await rig.dial()
        placed = await rig.exchange.next()
        await asking[0]
        return rig, placed

    def patient(self, order: Order) -> Pickup:
        wire = self.rig.side.wire(order.ids, order.numbers, Quirks())
        return Pickup(SimulatedCall(reactor, order.ids, Script(), wire=wire, max_secs=10.0), ring_secs=0.0)

    async def test_each_carriers_way(self) -> None:
        """The stream ends as it does on that carrier; the number is in the result; Plivo asks, signed."""
        twiml = "<Response><Dial>+15559990000</Dial></Response>"
        ways = {
            "twilio": ("/2010-04-01/Accounts/{account}/Calls/{sid}.json", {"Twiml": twiml}, "+15559990000"),
            "telnyx": ("/v2/calls/{sid}/actions/transfer", {"to": "+15559990000"}, "+15559990000"),
            "plivo": ("/v1/Account/{account}/Call/{sid}/", {"aleg_url": public("/transfer")}, "15559990000"),
        }
        for carrier, (path, fields, to) in ways.items():
            rig, placed = await self.transferred(carrier, path, fields)
            assert placed.result is not None
            result = placed.result
            self.assertEqual(
                (result.ended_by, result.transferred_to, result.problems), ("transferred", to, [])
            )
            [socket] = rig.site.sockets
            self.assertEqual((socket.events()[-1] == "stop", socket.code), (carrier != "plivo", 1000))
            self.assertEqual(len(rig.site.transfer.got), carrier == "plivo")
            for asked in rig.site.transfer.got:
                self.assertTrue(rig.genuine(asked))
                self.assertEqual(asked.fields["Event"], "Redirect")

    async def test_a_transferred_call_that_is_hung_up(self) -> None:
        """The caller would be cut off from whom he was connected to: that is a fault of the agent's."""
        rig, placed = await self.transferred("telnyx", "/v2/calls/{sid}/actions/transfer", {"to": "+1"})
        assert placed.result is not None
        await rig.ask("POST", f"/v2/calls/{placed.order.ids.call_sid}/actions/hangup")
        self.assertIn("it had transferred", placed.result.problems[0])


class UnansweredTests(TestCase):
    async def run_it(self, carrier: str, pickup: Pickup, **order: Any) -> tuple[Rig, Placed]:
        rig = Rig(self, carrier, lambda order: pickup, **order)
        await rig.listen()
        await rig.dial()
        return rig, await rig.exchange.next()

    async def test_busy_and_failed(self) -> None:
        """Nothing is fetched, no socket opens; the status URL is told, signed."""
        for carrier in CARRIERS:
            for status in ("busy", "failed"):
                rig, placed = await self.run_it(carrier, Pickup(status=status, ring_secs=0.01))
                self.assertEqual((placed.status, placed.result), (status, None))
                [told] = rig.site.status.got
                self.assertTrue(rig.genuine(told))
                self.assertEqual(told.fields["Status" if carrier == "exotel" else "CallStatus"], status)
                self.assertEqual((rig.site.webhook.got, rig.site.sockets), ([], []))

    async def test_no_answer_in_the_orders_time(self) -> None:
        """It rings for as long as the agent said; who would pick up later is too late."""
        slow = Pickup(status="busy", ring_secs=30.0)
        for pickup in (Pickup(), slow):
            rig, placed = await self.run_it("twilio", pickup, Timeout="1")
            self.assertEqual(
                (placed.status, rig.site.status.got[0].fields["CallStatus"]), ("no-answer", "no-answer")
            )

    async def test_given_up(self) -> None:
        """The agent cancels while it rings: told as each carrier tells it, and never answered."""
        for carrier, word in (("twilio", "canceled"), ("telnyx", "canceled"), ("plivo", "cancel")):
            rig = Rig(self, carrier, lambda order: Pickup())
            await rig.listen()
            body = await rig.dial()
            account = rig.side.default_account
            how: dict[str, Callable[[], Any]] = {
                "twilio": lambda rig=rig, body=body, account=account: rig.ask(
                    "POST", f"/2010-04-01/Accounts/{account}/Calls/{body['sid']}.json", {"Status": "canceled"}
                ),
                "telnyx": lambda rig=rig, body=body: rig.ask(
                    "POST", f"/v2/calls/{body['call_sid']}/actions/hangup"
                ),
                "plivo": lambda rig=rig, body=body, account=account: rig.ask(
                    "DELETE", f"/v1/Account/{account}/Request/{body['request_uuid']}/"
                ),
            }
            await how[carrier]()
            placed = await rig.exchange.next()
            self.assertEqual((placed.status, rig.site.status.got[0].fields["CallStatus"]), ("canceled", word))

    async def test_nobody_hears_of_it(self) -> None:
        """A status URL that does not answer is a problem of that call, and of nothing else."""
        rig = Rig(self, "twilio", lambda order: Pickup(status="busy", ring_secs=0.0))
        rig.site.status.status = 500
        await rig.listen()
        await rig.dial()
        placed = await rig.exchange.next()
        self.assertIn("status URL", placed.problem)
        self.assertIn("500", placed.problem)

    async def test_no_call_at_all(self) -> None:
        """The wait for an order is bounded."""
        rig = Rig(self, "twilio")
        await self.assertFailure(rig.exchange.next(0.01), TookTooLong)


class AwaitCallTests(TestCase):
    """`voxray-dial --await-call`, as far as it goes without a process."""

    async def receive(self, *words: str) -> tuple[Rig, Any]:
        rig = Rig(self, "telnyx")
        with patch.dict("os.environ", {"TELNYX_PRIVATE_KEY": SECRETS.private_key}):
            line = ("--carrier", "telnyx", "--url", rig.site.url, "--no-transcribe", "--ring", "0", *words)
            plan = plan_of(parser().parse_args(line))
        engines = Engines(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(engines.stop()))
        await rig.listen()
        listener = cli.Screen(1, quiet=True)
        waiting = Deferred.fromCoroutine(
            receive(reactor, await prepared(plan, engines), engines, listener, rig.board, 5.0)
        )
        await rig.dial()
        [judged] = await waiting
        return rig, judged

    async def test_answered(self) -> None:
        """The script is played to the agent that called."""
        rig, judged = await self.receive("--dtmf", "1", "--hang-up")
        self.assertEqual(judged.failures, ())
        self.assertEqual((judged.result.ended_by, judged.placed.order.to), ("caller", TO))
        [socket] = rig.site.sockets
        self.assertIn("dtmf", socket.events())

    async def test_not_answered(self) -> None:
        """As it was asked for; that is no failure."""
        _, judged = await self.receive("--pickup", "busy")
        self.assertEqual((judged.failures, judged.result, judged.placed.status), ((), None, "busy"))


class FieldTests(SynchronousTestCase):
    """What is told, beside what the tests above look at."""

    def order(self, carrier: str) -> Order:
        ids = CARRIERS[carrier].new_ids(CARRIERS[carrier].default_account)
        return Order(CallIds(*[getattr(ids, name) for name in CallIds.__slots__]), "request", TO, FROM)

    def test_directions_and_numbers(self) -> None:
        """The agent's number calls, the other is called; Twilio's and Plivo's word for the direction."""
        for carrier, direction in (("twilio", "outbound-api"), ("plivo", "outbound")):
            fields = answered_fields(carrier, self.order(carrier))
            self.assertEqual(fields["Direction"], direction)
            self.assertEqual((fields["From"].lstrip("+"), fields["To"].lstrip("+")), (FROM[1:], TO[1:]))

    def test_plivos_causes(self) -> None:
        """Each status has its hang-up cause."""
        for status, cause in (
            ("busy", "USER_BUSY"),
            ("canceled", "ORIGINATOR_CANCEL"),
            ("completed", "NORMAL_CLEARING"),
        ):
            fields = status_fields("plivo", self.order("plivo"), status, 12.4)
            self.assertEqual(
                (fields["Event"], fields["HangupCause"], fields["Duration"]), ("Hangup", cause, "12")
            )

    def test_every_answer_of_the_rig_is_one(self) -> None:
        """The documents that these tests give out lead to the stream."""
        for carrier, answer in ANSWERS.items():
            self.assertTrue(CARRIERS[carrier].parse_answer(answer.encode()).url.startswith(STREAM))
