"""The stand-ins for the carriers' REST APIs, request by request: calls ended, moved and placed."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.test.requesthelper import DummyRequest

from voxray.simulator import rest
from voxray.simulator.carriers import CARRIERS
from voxray.simulator.documents import Moved, read_document
from voxray.simulator.rest import Asked, Line, Order, Switchboard
from voxray.simulator.twiml import BadAnswer

SECRET = "secret"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


class Api:
    """One carrier's, with one call that is up."""

    def __init__(self, carrier: str, **more: Any) -> None:
        side = CARRIERS[carrier]
        self.account = side.default_account
        self.board = Switchboard(self.account, SECRET, carrier, **more)
        self.call_id = side.new_ids(self.account).call_sid
        self.seen: list[Any] = []
        self.asked: list[tuple[str, str]] = []
        self.document: bytes | Exception = b"<Response><Dial>15551230000</Dial></Response>"
        self.board.add(
            self.call_id,
            Line(
                lambda: self.seen.append("ended"),
                self.seen.append,
                lambda *moved: self.seen.append(moved),
                self.fetch,
            ),
        )
        self.rung: list[Order] = []
        self.board.on_order = self.rung.append

    async def fetch(self, method: str, url: str) -> bytes:
        self.asked.append((method, url))
        if isinstance(self.document, Exception):
            raise self.document
        return self.document

    def ask(
        self, method: str, path: str, fields: dict[str, str] | None = None, kind: str = JSON
    ) -> tuple[int, Any]:
        """The status and the body, with the right credentials."""
        body = b"" if fields is None else (urlencode(fields) if kind == FORM else json.dumps(fields)).encode()
        request = DummyRequest([])
        request.method, request.path, request.content = method.encode(), path.encode(), BytesIO(body)
        request.requestHeaders.setRawHeaders("authorization", [f"Bearer {SECRET}"])
        request.requestHeaders.setRawHeaders("content-type", [kind])
        user = self.board.user or self.account
        request.getUser, request.getPassword = user.encode, SECRET.encode
        told = rest.APIS[self.board.carrier](self.board).render(request)
        return request.responseCode or 200, json.loads(told) if told else None


class DocumentTests(SynchronousTestCase):
    def test_where_a_document_leads(self) -> None:
        """The number it dials, in any of the carriers' spellings; keys first; or nowhere."""
        cases = {
            "<Dial>+15551230000</Dial>": Moved("+15551230000"),
            "<Dial><Number> 15551230000 </Number></Dial>": Moved("15551230000"),
            '<Dial callerId="+1"><Sip>sip:a@b</Sip></Dial>': Moved("sip:a@b"),
            '<Play digits="1w2"/><Dial>+1</Dial>': Moved("+1", "1w2"),
            "<Hangup/>": Moved(),
            "": Moved(),
        }
        for inside, wanted in cases.items():
            self.assertEqual(read_document(f"<Response>{inside}</Response>".encode()), wanted)

    def test_where_none_leads(self) -> None:
        """No document, nobody to dial, or verbs that do nothing here: said as what they are."""
        cases = {
            b"<Response><Dial/></Response>": "<Dial> has no number",
            b"<Response><Say>x</Say></Response>": "it says <Say>",
            b"<Hello/>": "<Hello>, not <Response>",
            b'<!DOCTYPE a [<!ENTITY b "c">]><Response/>': "DOCTYPE",
            b"": "not XML",
        }
        for body, reason in cases.items():
            self.assertIn(reason, str(self.assertRaises(BadAnswer, read_document, body)))

    @given(st.binary(max_size=60).map(lambda inside: b"<Response>" + inside + b"</Response>"))
    def test_nothing_else_is_raised(self, body: bytes) -> None:
        """Whatever an agent answers is read or refused."""
        try:
            read_document(body)
        except BadAnswer:
            return


class TransferTests(SynchronousTestCase):
    """To whom, and what becomes of the stream."""

    def test_twilio(self) -> None:
        """By TwiML in the request; refused while it makes no sense; a call that is away can be ended."""
        api = Api("twilio")
        path = f"/2010-04-01/Accounts/{api.account}/Calls/{api.call_id}.json"
        for wrong in ("<Response><Dial/></Response>", "no"):
            self.assertEqual(api.ask("POST", path, {"Twiml": wrong}, FORM)[0], 400)
        self.assertEqual(api.seen, [])
        twiml = '<Response><Play digits="5"/><Dial>+15551230000</Dial></Response>'
        status, body = api.ask("POST", path, {"Twiml": twiml}, FORM)
        self.assertEqual((status, body["status"]), (200, "in-progress"))
        self.assertEqual(api.seen, ["5", ("+15551230000", "")])
        self.assertEqual(api.ask("POST", path, {"Twiml": twiml}, FORM)[0], 404)
        self.assertEqual(api.ask("POST", path, {"Status": "completed"}, FORM)[0], 200)
        self.assertEqual(api.seen[2:], ["ended"])
        self.assertEqual(api.board.log[2], Asked("POST", path, {"Twiml": twiml}, api.call_id, 200))
        self.assertEqual(api.board.requests[2:], [(api.call_id, 200), (api.call_id, 404), (api.call_id, 200)])

    def test_twilio_by_url(self) -> None:
        """Twilio asks the agent, and follows; a document that hangs up ends the call."""
        for document, seen in (
            (b"<Response><Dial>+1</Dial></Response>", ("+1", "")),
            (b"<Response/>", "ended"),
        ):
            api = Api("twilio")
            api.document = document
            path = f"/2010-04-01/Accounts/{api.account}/Calls/{api.call_id}.json"
            status, _ = api.ask("POST", path, {"Url": "https://h/x", "Method": "GET"}, FORM)
            self.assertEqual((status, api.asked, api.seen), (200, [("GET", "https://h/x")], [seen]))

    def test_telnyx(self) -> None:
        """By the action, and by TeXML; without anybody to call it is 422 and nothing has changed."""
        api = Api("telnyx")
        path = f"/v2/calls/{api.call_id}/actions/transfer"
        self.assertEqual(api.ask("POST", path, {"from": "+1"})[1]["errors"][0]["code"], "10004")
        self.assertEqual(api.seen, [])
        self.assertEqual(api.ask("POST", path, {"to": "+15551230000"}), (200, {"data": {"result": "ok"}}))
        self.assertEqual(api.ask("POST", path, {"to": "+15551230000"})[0], 422)
        self.assertEqual(api.seen, [("+15551230000", "")])
        api = Api("telnyx")
        path = f"/v2/texml/Accounts/{api.account}/Calls/{api.call_id}"
        self.assertEqual(api.ask("POST", path, {})[0], 422)
        self.assertEqual(
            api.ask("POST", path, {"Texml": "<Response><Dial>+1</Dial></Response>"}, FORM)[0], 200
        )
        self.assertEqual(api.seen, [("+1", "")])

    def test_plivo(self) -> None:
        """202 at once; Plivo then asks for the document and dials what it says."""
        api = Api("plivo")
        path = f"/v1/Account/{api.account}/Call/{api.call_id}/"
        self.assertEqual(api.ask("POST", path, {})[0], 400)
        self.assertEqual(api.ask("POST", path, {"legs": "bleg", "aleg_url": "https://h/"})[0], 400)
        status, _ = api.ask("POST", path, {"legs": "aleg", "aleg_url": "https://h/t", "aleg_method": "GET"})
        self.assertEqual(
            (status, api.asked, api.seen), (202, [("GET", "https://h/t")], [("15551230000", "")])
        )
        self.assertEqual(api.ask("POST", path, {"aleg_url": "https://h/t"})[0], 404)

    def test_a_document_that_does_not_come(self) -> None:
        """The stream is over all the same, and the call's result says why nobody was dialled."""
        api = Api("plivo")
        api.document = LookupError("no answer from wss://h/telephony/ws/secret")
        api.ask("POST", f"/v1/Account/{api.account}/Call/{api.call_id}/", {"aleg_url": "https://h/t"})
        [(to, problem)] = api.seen
        self.assertEqual(to, "")
        self.assertIn("no answer", problem)
        self.assertNotIn("secret", problem)


class DialTests(SynchronousTestCase):
    """Calls the agent places."""

    def twilio(self, api: Api, **more: str) -> tuple[int, Any]:
        fields = {"To": "+15551230000", "From": "+15017122661", "Url": "https://h/a"} | more
        return api.ask("POST", f"/2010-04-01/Accounts/{api.account}/Calls.json", fields, FORM)

    def telnyx(self, api: Api, **more: str) -> tuple[int, Any]:
        fields = {
            "ApplicationSid": "1",
            "To": "+15551230000",
            "From": "+15017122661",
            "Url": "https://h/a",
        } | more
        return api.ask("POST", f"/v2/texml/Accounts/{api.account}/Calls", fields)

    def plivo(self, api: Api, **more: str) -> tuple[int, Any]:
        fields = {"to": "15551230000", "from": "15017122661", "answer_url": "https://h/a"} | more
        return api.ask("POST", f"/v1/Account/{api.account}/Call/", fields)

    def exotel(self, api: Api, **more: str) -> tuple[int, Any]:
        fields = {
            "From": "+15551230000",
            "CallerId": "+15017122661",
            "StreamUrl": "wss://h/telephony/ws/t?sample-rate=8000",
            "StreamType": "bidirectional",
        } | more
        return api.ask("POST", f"/v1/Accounts/{api.account}/Calls/connect.json", fields, FORM)

    def test_answers(self) -> None:
        """Each carrier's own, and the order as it understood it; every dial rings."""
        api = Api("twilio")
        status, body = self.twilio(
            api, StatusCallback="https://h/s", Timeout="20", TimeLimit="300", Method="GET"
        )
        [order] = api.rung
        self.assertEqual((status, body["sid"], body["status"]), (201, order.ids.call_sid, "queued"))
        self.assertEqual((order.to, order.from_number), ("+15551230000", "+15017122661"))
        self.assertEqual(
            (order.answer_url, order.answer_method, order.status_url), ("https://h/a", "GET", "https://h/s")
        )
        self.assertEqual((order.ring_secs, order.max_secs), (20.0, 300.0))
        self.assertEqual(order.fields["TimeLimit"], "300")
        api = Api("telnyx")
        status, body = self.telnyx(api, Timeout="5")
        [order] = api.rung
        told = {
            "call_sid": order.ids.call_sid,
            "from": "+15017122661",
            "to": "+15551230000",
            "status": "queued",
        }
        self.assertEqual((status, body, order.ring_secs), (200, told, 5.0))
        api = Api("plivo")
        status, body = self.plivo(api, hangup_url="https://h/s", ring_timeout="30")
        [order] = api.rung
        self.assertEqual((status, body["request_uuid"]), (201, order.reference))
        self.assertNotEqual(order.reference, order.ids.call_sid)
        self.assertEqual((order.status_url, order.ring_secs), ("https://h/s", 30.0))
        api = Api("exotel", user="key")
        status, body = self.exotel(api, TimeOut="40")
        [order] = api.rung
        self.assertEqual((status, body["Call"]["Sid"]), (200, order.ids.call_sid))
        self.assertEqual(
            (order.stream_url, order.ring_secs), ("wss://h/telephony/ws/t?sample-rate=8000", 40.0)
        )
        self.assertEqual(order.numbers.caller, "+15551230000")
        self.assertEqual([each.call_id for each in api.board.log], [order.ids.call_sid])

    def test_telnyx_by_the_application(self) -> None:
        """Its other endpoint does without an account; its page for the first shows no call_sid."""
        api = Api("telnyx")
        fields = {"To": "+1", "From": "+2", "Url": "https://h/a"}
        status, body = api.ask("POST", "/v2/texml/calls/1494404757140276705", fields)
        self.assertEqual((status, body["call_sid"]), (200, api.rung[0].ids.call_sid))
        api.board.tells_call_sid = False
        self.assertNotIn("call_sid", self.telnyx(api)[1])
        wrong = api.ask("POST", "/v2/texml/Accounts/another/Calls", fields)
        self.assertEqual(wrong[1]["errors"][0]["code"], "10005")

    def test_what_is_refused(self) -> None:
        """Each name that a carrier requires, and numbers that it does not take; nothing rings."""
        ways: dict[str, Callable[..., tuple[int, Any]]] = {
            "twilio": self.twilio,
            "telnyx": self.telnyx,
            "plivo": self.plivo,
            "exotel": self.exotel,
        }
        cases = [
            ("twilio", {"To": ""}),
            ("twilio", {"Url": ""}),
            ("twilio", {"Timeout": "601"}),
            ("telnyx", {"ApplicationSid": ""}),
            ("telnyx", {"Timeout": "4"}),
            ("telnyx", {"TimeLimit": "29"}),
            ("plivo", {"answer_url": ""}),
            ("plivo", {"time_limit": "soon"}),
            ("exotel", {"StreamType": "unidirectional"}),
            ("exotel", {"StreamUrl": "https://h/"}),
            ("exotel", {"CustomField": "x" * 129}),
            ("exotel", {"TimeLimit": "14401"}),
        ]
        for carrier, wrong in cases:
            api = Api(carrier)
            self.assertIn(ways[carrier](api, **wrong)[0], (400, 422), (carrier, wrong))
            self.assertEqual(api.rung, [])
        for carrier, way in ways.items():
            api = Api(carrier, refuses=(402, "no credit"))
            self.assertEqual(way(api)[0], 402)
            self.assertEqual(api.rung, [])

    def test_given_up_while_it_rings(self) -> None:
        """By each carrier's way, once; whoever would have answered is told."""
        for carrier in ("twilio", "telnyx", "plivo"):
            api = Api(carrier)
            getattr(self, carrier)(api)
            [order] = api.rung
            given_up: list[str] = []
            api.board.rings(order, lambda told=given_up: told.append("x"))
            status = [self.give_up(api, order) for _ in range(2)]
            wanted = {"twilio": [200, 404], "telnyx": [200, 422], "plivo": [204, 404]}[carrier]
            self.assertEqual((status, given_up), (wanted, ["x"]), carrier)

    def give_up(self, api: Api, order: Order) -> int:
        sid = order.ids.call_sid
        if api.board.carrier == "twilio":
            path = f"/2010-04-01/Accounts/{api.account}/Calls/{sid}.json"
            return api.ask("POST", path, {"Status": "canceled"}, FORM)[0]
        if api.board.carrier == "telnyx":
            return api.ask("POST", f"/v2/calls/{sid}/actions/hangup", {})[0]
        return api.ask("DELETE", f"/v1/Account/{api.account}/Request/{order.reference}/")[0]

    def test_exotel_has_no_other(self) -> None:
        """Another method or path is refused, and written down."""
        api = Api("exotel")
        self.assertEqual(api.ask("GET", f"/v1/Accounts/{api.account}/Calls/connect.json")[0], 404)
        self.assertEqual(api.ask("POST", f"/v1/Accounts/{api.account}/Calls/x.json", {}, FORM)[0], 404)
        self.assertEqual([status for _, status in api.board.requests], [404, 404])
