"""Twilio over HTTP: TwiML, signatures, hang-up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from voxray.carriers.twilio import TwilioControl, TwilioDocuments, signature, verify
from voxray.errors import CarrierError
from voxray.frames import IncomingCall

DATA = Path(__file__).parent / "data" / "twilio"
SID = "CA0123456789abcdef0123456789abcdef"
ACCOUNT = "AC0123456789abcdef0123456789abcdef"


class AnswerTests(SynchronousTestCase):
    """The answer document."""

    def test_recorded_webhook(self) -> None:
        """The recorded webhook gets the recorded answer, byte for byte."""
        webhook = json.loads((DATA / "webhook.json").read_text())
        documents = TwilioDocuments()
        call = documents.incoming(webhook["request"]["form"])
        self.assertEqual(call, IncomingCall(SID, "+15558675310", "+15017122661"))
        answer = documents.answer(
            "wss://voice.example.com/telephony/ws", {"from": call.from_number, "to": call.to_number}
        )
        self.assertEqual(answer.decode(), webhook["response"]["body"])

    def test_busy(self) -> None:
        """Reject is the first verb, or the call would be answered and billed."""
        expected = b'<?xml version="1.0" encoding="UTF-8"?><Response><Reject reason="busy"/></Response>'
        self.assertEqual(TwilioDocuments().busy(), expected)

    @settings(max_examples=500, deadline=None)
    @given(st.text(max_size=600), st.text(max_size=600))
    def test_no_injection(self, name: str, value: str) -> None:
        """Whatever a caller is named, the document is the same one with another attribute."""
        answer = TwilioDocuments().answer("wss://h/telephony/ws", {name: value})
        root = ET.fromstring(answer)
        self.assertEqual([e.tag for e in root.iter()], ["Response", "Connect", "Stream", "Parameter"])
        parameter = root[0][0][0]
        self.assertEqual(set(parameter.attrib), {"name", "value"})
        self.assertLessEqual(len(parameter.attrib["value"]), 500)

    def test_what_xml_cannot_carry(self) -> None:
        """Control characters are dropped, markup is escaped."""
        answer = TwilioDocuments().answer("wss://h/x", {"n": 'a\x00\x1b"/><Hangup/>&\ud800b />'})
        self.assertEqual(ET.fromstring(answer)[0][0][0].attrib["value"], 'a"/><Hangup/>&b />')

    def test_foreign_ids_are_not_believed(self) -> None:
        """A CallSid that is none is as good as absent."""
        for sid in ("", "../x", SID + "\n", SID[:-1], SID.lower()):
            self.assertEqual(TwilioDocuments().incoming({"CallSid": sid}).call_sid, "", sid)


class SignatureTests(SynchronousTestCase):
    """The vendor's published vectors, and what must not pass."""

    vectors: list[dict[str, Any]] = json.loads((DATA / "signatures.json").read_text())

    def pairs(self, vector: dict[str, Any]) -> list[tuple[str, str]]:
        return [(name, value) for name, value in vector["params"]]

    def test_vectors(self) -> None:
        """Every vector is computed as published."""
        self.assertGreaterEqual(len(self.vectors), 9)
        for vector in self.vectors:
            made = signature(vector["auth_token"], vector["signed_url"], self.pairs(vector))
            self.assertEqual(made, vector["signature"], vector["id"])

    def test_verified(self) -> None:
        """Each passes verification, under the second of two tokens too."""
        for vector in self.vectors:
            body = vector["body"].encode() if "body" in vector else None
            for tokens in ([vector["auth_token"]], ["other", vector["auth_token"]]):
                self.assertTrue(
                    verify(tokens, vector["signed_url"], self.pairs(vector), vector["signature"], body),
                    vector["id"],
                )

    def test_ports(self) -> None:
        """The default port may be said or not, on either side."""
        for vector in self.vectors:
            if ":443" in vector["signed_url"] or ":80/" in vector["signed_url"]:
                bare = vector["signed_url"].replace(":443", "").replace(":80/", "/")
                self.assertTrue(verify(["12345"], bare, self.pairs(vector), vector["signature"]))
        with_port = signature("12345", "https://h.example/x")
        self.assertTrue(verify(["12345"], "https://h.example:443/x", [], with_port))

    def test_upgrade(self) -> None:
        """The WebSocket upgrade signs the wss URL, with or without a slash; the https one does not pass."""
        token = "0123456789abcdef0123456789abcdef"
        url = "wss://voice.example.com/telephony/ws"
        self.assertEqual(signature(token, url), "3+3+lM+w6eSXkLdlps4uBGueN4g=")
        self.assertEqual(signature(token, url + "/"), "r5+W5nT7WGElFeyO1z7sxm2CL7k=")
        for sent in ("3+3+lM+w6eSXkLdlps4uBGueN4g=", "r5+W5nT7WGElFeyO1z7sxm2CL7k="):
            self.assertTrue(verify([token], url, [], sent))
            self.assertTrue(verify([token], url + "/", [], sent))
            self.assertFalse(verify([token], url.replace("wss", "https"), [], sent))
        self.assertTrue(
            verify([token], url, [], signature(token, "wss://voice.example.com:443/telephony/ws"))
        )

    def test_anything_changed(self) -> None:
        """A byte of the signature, a parameter, the URL, the token, the body: each is refused."""
        vector = next(v for v in self.vectors if v["id"] == "sdk-basic")
        url, pairs, sent = vector["signed_url"], self.pairs(vector), vector["signature"]
        wrong = [
            (["12345"], url, pairs, "x" + sent[1:]),
            (["12345"], url, pairs, ""),
            (["12345"], url, pairs, "é\ud800"),
            (["12345"], url, [*pairs, ("A", "b")], sent),
            (["12345"], url, pairs[1:], sent),
            (["12345"], url + "x", pairs, sent),
            (["12346"], url, pairs, sent),
            ([], url, pairs, sent),
        ]
        for arguments in wrong:
            self.assertFalse(verify(*arguments), arguments)
        json_vector = next(v for v in self.vectors if v["id"] == "sdk-json-body")
        self.assertFalse(verify(["12345"], json_vector["signed_url"], [], json_vector["signature"], b"{}"))


class RestApi(Resource):
    """Twilio's REST API, for one answer; remembers what it was asked."""

    isLeaf = True

    def __init__(self, status: int, body: bytes = b"{}", location: bytes = b"") -> None:
        super().__init__()
        self.status, self.body, self.location = status, body, location
        self.asked: list[tuple[bytes, dict[str, list[str]], str]] = []

    def render_POST(self, request: Any) -> bytes:
        form = parse_qs(request.content.read().decode())
        self.asked.append((request.uri, form, request.getHeader("authorization")))
        request.setResponseCode(self.status)
        if self.location:
            request.setHeader(b"Location", self.location)
        return self.body


class Refusing:
    """An HTTP client whose requests end as told."""

    def __init__(self, outcome: Deferred[Any]) -> None:
        self.outcome = outcome

    def request(self, method: str, url: str, **kwargs: Any) -> Deferred[Any]:
        return self.outcome


class HangUpTests(SynchronousTestCase):
    """`TwilioControl` against treq's imaginary sockets."""

    def hang_up(self, api: RestApi, sid: str = SID) -> Deferred[None]:
        treq = StubTreq(api)
        control = TwilioControl(treq, Clock(), ACCOUNT, "secret-token", "https://api.example/")
        done = Deferred.fromCoroutine(control.hang_up(sid))
        treq.flush()
        return done

    def test_completed(self) -> None:
        """One POST as recorded, with the account's credentials."""
        api = RestApi(200)
        self.assertIsNone(self.successResultOf(self.hang_up(api)))
        recorded = json.loads((DATA / "rest.json").read_text())["hangup"]
        uri, form, authorization = api.asked[0]
        self.assertTrue(recorded["url"].endswith(uri.decode()))
        self.assertEqual(form, {"Status": ["completed"]})
        self.assertTrue(authorization.startswith("Basic "))
        self.assertEqual(len(api.asked), 1)

    def test_already_ended(self) -> None:
        """404 with code 20404 is success."""
        self.successResultOf(self.hang_up(RestApi(404, b'{"code":20404}')))

    def test_other_answers(self) -> None:
        """Every other answer is an error with its status, without the credentials in its text."""
        for status in (400, 401, 429, 500, 503):
            problem = self.failureResultOf(self.hang_up(RestApi(status)), CarrierError).value
            self.assertEqual(problem.status, status)
            self.assertNotIn("secret", str(problem))

    def test_redirects_are_not_followed(self) -> None:
        """Credentials go nowhere else."""
        api = RestApi(302, location=b"https://evil.example/")
        self.assertEqual(self.failureResultOf(self.hang_up(api), CarrierError).value.status, 302)
        self.assertEqual(len(api.asked), 1)

    def test_hostile_ids_send_nothing(self) -> None:
        """An id that is not Twilio's own shape never reaches a URL."""
        for sid in (
            "",
            "../Messages",
            SID + "\n",
            SID + "?x=",
            "CA%2f" + "0" * 29,
            "CA" + "é" * 32,
            "x" * 10_000,
        ):
            api = RestApi(200)
            self.failureResultOf(self.hang_up(api, sid), CarrierError)
            self.assertEqual(api.asked, [], sid)

    def control(self, outcome: Deferred[Any], clock: Clock) -> Deferred[None]:
        return Deferred.fromCoroutine(TwilioControl(Refusing(outcome), clock, ACCOUNT, "t").hang_up(SID))

    def test_no_answer(self) -> None:
        """After five seconds the request is given up and cancelled."""
        clock = Clock()
        cancelled: list[object] = []
        done = self.control(Deferred(cancelled.append), clock)
        clock.advance(4.9)
        self.assertNoResult(done)
        clock.advance(0.2)
        self.assertEqual(self.failureResultOf(done, CarrierError).value.status, 0)
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """A connection that cannot be made is our error too."""
        self.failureResultOf(self.control(fail(ConnectionRefusedError()), Clock()), CarrierError)

    def test_not_http(self) -> None:
        """So is an answer that is none."""
        self.failureResultOf(self.control(succeed(None), Clock()), CarrierError)
