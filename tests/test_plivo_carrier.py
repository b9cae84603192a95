"""Plivo over HTTP: the answer documents, its signatures, the REST hang-up."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from voxray.carriers.plivo import (
    PlivoControl,
    PlivoDocuments,
    signature_v1,
    signature_v2,
    signature_v3,
    verify,
    verify_upgrade,
)
from voxray.errors import CarrierError
from voxray.frames import IncomingCall
from voxray.serializers.plivo import CONTENT_TYPES

DATA = Path(__file__).parent / "data" / "plivo"
UUID = "12345678-1234-1234-1234-123456789abc"
ACCOUNT = "MAXXXXXXXXXXXXXXXXXX"
URL = "wss://voice.example.com/telephony/ws"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
HANG_UP = f"{DECLARATION}<Response><Hangup/></Response>".encode()
HAVE_SDK = importlib.util.find_spec("plivo") is not None
NO_SDK = "the plivo package is not installed (make dev)"


def webhook() -> Any:
    return json.loads((DATA / "webhook.json").read_text())


class AnswerTests(SynchronousTestCase):
    """The answer document."""

    def test_recorded_webhook(self) -> None:
        """The recorded webhook gets the recorded answer, byte for byte."""
        recorded, documents = webhook(), PlivoDocuments()
        call = documents.incoming(recorded["request"]["form"])
        self.assertEqual(call, IncomingCall(UUID, "15558675310", "15017122661"))
        answer = documents.answer(URL, {"from": call.from_number, "to": call.to_number})
        self.assertEqual(answer.decode(), recorded["response"]["body"])
        self.assertEqual(documents.content_type, recorded["response"]["headers"]["Content-Type"])

    def test_the_url_is_text(self) -> None:
        """The URL is the element's text, escaped, and what XML cannot carry is dropped."""
        hostile = 'wss://h/x?a=1&b=2"/><Hangup/>]]>\x00\x1b\ud800 />'
        root = ET.fromstring(PlivoDocuments().answer(hostile, {}))
        self.assertEqual([e.tag for e in root.iter()], ["Response", "Stream"])
        self.assertEqual(root[0].text, 'wss://h/x?a=1&b=2"/><Hangup/>]]> />')
        self.assertNotIn("url", root[0].attrib)

    @settings(max_examples=300, deadline=None)
    @given(st.text(max_size=600), st.text(max_size=600))
    def test_no_injection(self, name: str, value: str) -> None:
        """Whatever a caller is named, the document is the same one."""
        documents = PlivoDocuments()
        self.assertEqual(documents.answer(URL, {name: value}), documents.answer(URL, {}))

    def test_content_types(self) -> None:
        """The audio is what the owner asks for: one of the serializer's three, each with its rate."""
        for wire, content_type in CONTENT_TYPES.items():
            asked = f"{content_type};rate={wire.rate_hz}"
            [stream] = ET.fromstring(PlivoDocuments(asked).answer(URL, {}))
            self.assertEqual((stream.attrib["contentType"], stream.text), (asked, URL))

    def test_busy(self) -> None:
        """Hangup is the first element, or the call would be answered and billed."""
        expected = f'{DECLARATION}<Response><Hangup reason="busy"/></Response>'.encode()
        self.assertEqual(PlivoDocuments().busy(), expected)

    def test_foreign_ids_are_not_believed(self) -> None:
        """A CallUUID that is none is as good as absent."""
        for uuid in (
            "",
            "../x",
            UUID + "\n",
            UUID[:-1],
            UUID + "0",
            UUID.replace("-", ""),
            "é" * 36,
            " " + UUID,
        ):
            self.assertEqual(PlivoDocuments().incoming({"CallUUID": uuid}).call_sid, "", uuid)
        self.assertEqual(PlivoDocuments().incoming({"CallUUID": UUID.upper()}).call_sid, UUID.upper())

    def test_again(self) -> None:
        """The answer callback of a call that goes on is answered as before: nothing is kept."""
        form, documents = webhook()["request"]["form"], PlivoDocuments()
        first = documents.incoming(form)
        for change in ({"CallStatus": "in-progress"}, {"Event": "Redirect"}, {"Direction": "outbound"}):
            self.assertEqual(documents.incoming({**form, **change}), first)
        self.assertIsNone(first.over)

    def test_the_end_is_told(self) -> None:
        """Plivo posts a call's end to the answer URL too; such a request is hung up, never streamed."""
        form, documents = webhook()["request"]["form"], PlivoDocuments()
        ends = [
            {"CallStatus": s} for s in ("completed", "busy", "failed", "timeout", "no-answer", "Completed")
        ]
        for change in (*ends, {"Event": "Hangup"}, {"Event": "Hangup", "CallStatus": "in-progress"}):
            call = documents.incoming({**form, **change})
            self.assertEqual(call, replace(documents.incoming(form), over=HANG_UP), change)


class VendorDocumentTests(SynchronousTestCase):
    """Our documents against those of the vendor's own library."""

    if not HAVE_SDK:
        skip = NO_SDK

    def same(self, ours: bytes, theirs: str) -> None:
        self.assertEqual(ET.canonicalize(ours.decode()), ET.canonicalize(theirs))

    def test_stream(self) -> None:
        """`<Stream>` is the same element, with the same attributes and text."""
        from plivo import plivoxml

        url = URL + "?a=1&b=2"
        response = plivoxml.ResponseElement()
        audio = "audio/x-mulaw;rate=8000"
        stream = plivoxml.StreamElement(url, bidirectional=True, keepCallAlive=True, contentType=audio)
        response.add(stream)
        self.same(PlivoDocuments().answer(url, {}), response.to_string(False))

    def test_hang_up(self) -> None:
        """So is `<Hangup>`."""
        from plivo import plivoxml

        response = plivoxml.ResponseElement()
        response.add(plivoxml.HangupElement(reason="busy"))
        self.same(PlivoDocuments().busy(), response.to_string(False))


class SignatureTests(SynchronousTestCase):
    """The vendor's published vectors, and what must not pass."""

    vectors: list[dict[str, Any]] = json.loads((DATA / "signatures.json").read_text())

    def signed(self, vector: dict[str, Any]) -> str:
        token, url, pairs = vector["auth_token"], vector["url"], list(vector.get("params", {}).items())
        if vector["scheme"] == "plivo-v3":
            return signature_v3(token, vector["method"], url, vector["nonce"], pairs)
        if vector["scheme"] == "plivo-v2":
            return signature_v2(token, url, vector["nonce"])
        self.assertEqual(vector["scheme"], "plivo-v1")
        return signature_v1(token, url, pairs)

    def test_vectors(self) -> None:
        """Every vector is computed as published."""
        self.assertEqual(len(self.vectors), 7)
        for vector in self.vectors:
            self.assertEqual(self.signed(vector), vector["signature"], vector["id"])

    def arguments(self, vector: dict[str, Any]) -> tuple[str, str, list[tuple[str, str]], dict[str, str]]:
        headers = {vector["header"]: vector["signature"], vector["nonce_header"]: vector["nonce"]}
        pairs = list(vector.get("params", {}).items())
        return vector.get("method", "POST"), vector["url"], pairs, headers

    def test_verified(self) -> None:
        """Each V3 and V2 passes, under the second of two tokens too, in lower-case headers, among others."""
        for vector in self.vectors:
            if vector["scheme"] == "plivo-v1":
                continue
            method, url, pairs, headers = self.arguments(vector)
            token, name = vector["auth_token"], vector["header"]
            self.assertTrue(verify([token], method, url, pairs, headers), vector["id"])
            self.assertTrue(verify(["other", token], method, url, pairs, headers))
            self.assertTrue(verify([token], method, url, pairs, {k.lower(): v for k, v in headers.items()}))
            listed = {**headers, name: f"AAAA, {headers[name]}"}
            self.assertTrue(verify([token], method, url, pairs, listed))
            main = {name.replace("-V", "-Ma-V"): headers[name], name: "AAAA"}
            self.assertTrue(verify([token], method, url, pairs, {**headers, **main}))

    def test_query_in_the_url(self) -> None:
        """A GET's parameters are signed the same whether they are told apart from the URL or not."""
        vector = next(v for v in self.vectors if v["id"] == "v3-get-query")
        method, url, pairs, headers = self.arguments(vector)
        whole = f"{url}&{urlencode(pairs, quote_via=quote)}"
        self.assertTrue(verify([vector["auth_token"]], method, whole, [], headers))
        self.assertTrue(verify([vector["auth_token"]], method, whole, pairs, headers))

    def test_anything_changed(self) -> None:
        """A byte of the signature or nonce, a parameter, the URL, method or token: each is refused."""
        vector = next(v for v in self.vectors if v["id"] == "v3-post-query")
        method, url, pairs, headers = self.arguments(vector)
        token, name, nonce = vector["auth_token"], vector["header"], vector["nonce_header"]
        good = headers[name]
        for i, char in enumerate(good):
            spoilt = good[:i] + ("A" if char != "A" else "B") + good[i + 1 :]
            self.assertFalse(verify([token], method, url, pairs, {**headers, name: spoilt}), i)
        wrong = [
            ([token], "GET", url, pairs, headers),
            ([token], method, url + "x", pairs, headers),
            ([token], method, url.replace("https", "http"), pairs, headers),
            ([token], method, url, pairs[1:], headers),
            ([token], method, url, [*pairs, ("A", "b")], headers),
            ([token + "x"], method, url, pairs, headers),
            ([], method, url, pairs, headers),
            ([""], method, url, pairs, headers),
            ([token], method, url, pairs, {**headers, nonce: "1"}),
            ([token], method, url, pairs, {**headers, nonce: ""}),
            ([token], method, url, pairs, {name: good}),
            ([token], method, url, pairs, {**headers, name: ""}),
            ([token], method, url, pairs, {**headers, name: ",,"}),
            ([token], method, url, pairs, {**headers, name: "é\ud800"}),
            ([token], method, url, pairs, {}),
        ]
        for arguments in wrong:
            self.assertFalse(verify(*arguments), arguments)

    def test_what_anybody_could_sign(self) -> None:
        """A signature under an empty token, or over no nonce, is none: the first is a secret nobody set."""
        url = "https://h.example/"
        for token, nonce in (("", "1"), ("token", "")):
            for version, made in (
                ("V3", signature_v3(token, "POST", url, nonce)),
                ("V2", signature_v2(token, url, nonce)),
            ):
                headers = {f"X-Plivo-Signature-{version}": made, f"X-Plivo-Signature-{version}-Nonce": nonce}
                self.assertFalse(verify([token], "POST", url, [], headers))

    def test_v3_decides(self) -> None:
        """Where a V3 signature was sent, a good V2 does not help; a V1 never does."""
        token, url = "token", "https://h.example/"
        v2 = {"X-Plivo-Signature-V2": signature_v2(token, url, "1"), "X-Plivo-Signature-V2-Nonce": "1"}
        self.assertTrue(verify([token], "POST", url, [], v2))
        bad_v3 = {"X-Plivo-Signature-V3": "AAAA", "X-Plivo-Signature-V3-Nonce": "1"}
        self.assertFalse(verify([token], "POST", url, [], {**v2, **bad_v3}))
        self.assertFalse(verify([token], "POST", url, [], {"X-Plivo-Signature": signature_v1(token, url)}))

    def test_upgrade(self) -> None:
        """The upgrade is a GET under any of four schemes, and of no other host or path."""
        url = "wss://voice.example.com/telephony/ws"
        for scheme in ("https", "wss", "http", "ws"):
            signed = url.replace("wss", scheme)
            headers = {
                "X-Plivo-Signature-V3": signature_v3("token", "GET", signed, "99"),
                "X-Plivo-Signature-V3-Nonce": "99",
            }
            self.assertTrue(verify_upgrade(["token"], url, headers), scheme)
            self.assertFalse(verify_upgrade(["token"], url + "/x", headers))
            self.assertFalse(verify_upgrade(["token"], url.replace("voice", "other"), headers))
            self.assertFalse(verify_upgrade(["nekot"], url, headers))


NAMES = st.text("abAB019-_ .", min_size=1, max_size=6)
# Of a query the Python library reads each byte as a character of its own, so beyond ASCII it disagrees with
# Plivo's other libraries; of a form it does not.
ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


class VendorSignatureTests(SynchronousTestCase):
    """The vendor's own library says yes to what we sign, and no where we say no."""

    if not HAVE_SDK:
        skip = NO_SDK

    @settings(max_examples=400, deadline=None)
    @given(
        method=st.sampled_from(["GET", "POST"]),
        query=st.dictionaries(NAMES, ASCII, max_size=3),
        form=st.dictionaries(NAMES, st.one_of(ASCII, st.text(max_size=9)), max_size=4),
        nonce=st.text("0123456789", min_size=1, max_size=20),
    )
    def test_v3(self, method: str, query: dict[str, str], form: dict[str, str], nonce: str) -> None:
        """Any request: our V3 signature is valid there, and one of another token is not."""
        from plivo.utils import validate_v3_signature

        url = "https://voice.example.com/" + (f"?{urlencode(query)}" if query else "")
        for token, valid in (("token", True), ("other", False)):
            made = signature_v3(token, method, url, nonce, form.items())
            # It changes the parameters it is given.
            said = validate_v3_signature(method, url, nonce, "token", made, dict(form))
            self.assertEqual(said, valid)
            headers = {"X-Plivo-Signature-V3": made, "X-Plivo-Signature-V3-Nonce": nonce}
            self.assertEqual(verify(["token"], method, url, form.items(), headers), valid)

    def test_v2(self) -> None:
        """V2 too."""
        from plivo.utils import validate_signature

        url = "https://voice.example.com/x?a=b"
        self.assertTrue(validate_signature(url, "12345", signature_v2("token", url, "12345"), "token"))
        self.assertFalse(validate_signature(url, "12345", signature_v2("other", url, "12345"), "token"))


class RestApi(Resource):
    """Plivo's REST API, for one answer; remembers what it was asked."""

    isLeaf = True

    def __init__(self, status: int, body: bytes = b"", location: bytes = b"") -> None:
        super().__init__()
        self.status, self.body, self.location = status, body, location
        self.asked: list[tuple[str, str, str]] = []

    def render(self, request: Any) -> bytes:
        authorization = request.getHeader("authorization")
        self.asked.append((request.method.decode(), request.uri.decode(), authorization))
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
    """`PlivoControl` against treq's imaginary sockets."""

    def hang_up(self, api: RestApi, uuid: str = UUID) -> Deferred[None]:
        treq = StubTreq(api)
        control = PlivoControl(treq, Clock(), ACCOUNT, "secret-token", "https://api.example/")
        done = Deferred.fromCoroutine(control.hang_up(uuid))
        treq.flush()
        return done

    def test_deleted(self) -> None:
        """One DELETE as recorded, slash and all, with the account's credentials; 204 is success."""
        recorded = json.loads((DATA / "rest.json").read_text())["hangup"]
        (status,) = recorded["ok"]
        api = RestApi(status)
        self.assertIsNone(self.successResultOf(self.hang_up(api)))
        [(method, uri, authorization)] = api.asked
        self.assertEqual((method, "https://api.plivo.com" + uri), (recorded["method"], recorded["url"]))
        self.assertEqual(authorization, "Basic TUFYWFhYWFhYWFhYWFhYWFhYWFg6c2VjcmV0LXRva2Vu")

    def test_already_ended(self) -> None:
        """404 is success."""
        self.assertIsNone(self.successResultOf(self.hang_up(RestApi(404, b'{"error":"not found"}'))))

    def test_other_answers(self) -> None:
        """Every other answer is an error with its status, without the credentials in its text."""
        for status in (400, 401, 405, 429, 500, 503):
            problem = self.failureResultOf(self.hang_up(RestApi(status)), CarrierError).value
            self.assertEqual(problem.status, status)
            self.assertNotIn("secret", str(problem))

    def test_redirects_are_not_followed(self) -> None:
        """Credentials go nowhere else."""
        api = RestApi(302, location=b"https://evil.example/")
        self.assertEqual(self.failureResultOf(self.hang_up(api), CarrierError).value.status, 302)
        self.assertEqual(len(api.asked), 1)

    def test_hostile_ids_send_nothing(self) -> None:
        """An id that is not of Plivo's shape never reaches a URL."""
        for uuid in (
            "",
            "../Subaccount",
            UUID + "/",
            UUID + "\n",
            UUID + "?x=",
            UUID[:-3] + "%2f",
            UUID.replace("-", "/"),
            "é" * 36,
            "x" * 10_000,
            "CA0123456789abcdef0123456789abcdef",
        ):
            api = RestApi(204)
            self.failureResultOf(self.hang_up(api, uuid), CarrierError)
            self.assertEqual(api.asked, [], uuid)

    def test_the_account_stays_in_its_place(self) -> None:
        """An auth id with a slash in it is one segment of the path all the same."""
        api = RestApi(204)
        treq = StubTreq(api)
        control = PlivoControl(treq, Clock(), "MA/../x", "t", "https://api.example")
        done = Deferred.fromCoroutine(control.hang_up(UUID))
        treq.flush()
        self.successResultOf(done)
        self.assertEqual(api.asked[0][1], f"/v1/Account/MA%2F..%2Fx/Call/{UUID}/")

    def control(self, outcome: Deferred[Any], clock: Clock) -> Deferred[None]:
        return Deferred.fromCoroutine(PlivoControl(Refusing(outcome), clock, ACCOUNT, "t").hang_up(UUID))

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
        """A connection that cannot be made, and an answer that is none, are our error too."""
        self.failureResultOf(self.control(fail(ConnectionRefusedError()), Clock()), CarrierError)
        self.failureResultOf(self.control(succeed(None), Clock()), CarrierError)
