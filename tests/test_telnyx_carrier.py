"""Telnyx over HTTP: TeXML, Ed25519 signatures, hang-up."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode
from xml.etree import ElementTree as ET

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from tests.house import House
from tests.test_call_call import TONE
from tests.test_telnyx_serializer import START
from voxray import catalog
from voxray.audio.g711 import linear_to_alaw, ulaw_to_linear
from voxray.carriers.telnyx import TOLERANCE_SECS, TelnyxControl, TelnyxDocuments, public_key, verify
from voxray.errors import CarrierError
from voxray.frames import IncomingCall
from voxray.serializers.telnyx import SEND_FORMATS

DATA = Path(__file__).parent / "data" / "telnyx"
WEBHOOK = json.loads((DATA / "webhook.json").read_text())
REST = json.loads((DATA / "rest.json").read_text())
CALL_ID = "v3:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BborherQ"
STREAM_URL = "wss://voice.example.com/telephony/ws"


class AnswerTests(SynchronousTestCase):
    """The answer document."""

    def test_recorded_webhook(self) -> None:
        """The recorded webhook is read, and gets the recorded answer, byte for byte."""
        documents = TelnyxDocuments()
        call = documents.incoming(WEBHOOK["request"]["form"])
        self.assertEqual(call, IncomingCall(CALL_ID, "+13122010094", "+13122123456"))
        self.assertEqual(documents.answer(STREAM_URL, {}).decode(), WEBHOOK["response"]["body"])

    def test_codec_is_the_serializers(self) -> None:
        """What the document asks for, both ways, is what the serializer's audio is in."""
        self.assertEqual(TelnyxDocuments().answer("", {}), TelnyxDocuments("PCMU").answer("", {}))
        for codec, spoken in SEND_FORMATS.items():
            stream = ET.fromstring(TelnyxDocuments(codec).answer(STREAM_URL, {}))[0][0]
            self.assertEqual((stream.attrib["codec"], stream.attrib["bidirectionalCodec"]), (codec, codec))
            self.assertEqual(int(stream.attrib["bidirectionalSamplingRate"]), spoken.rate_hz)
            self.assertEqual(stream.attrib["bidirectionalMode"], "rtp")

    def test_busy(self) -> None:
        """Reject is the first verb, or the call would be answered and billed."""
        expected = b'<?xml version="1.0" encoding="UTF-8"?><Response><Reject reason="busy"/></Response>'
        self.assertEqual(TelnyxDocuments().busy(), expected)

    @settings(max_examples=300, deadline=None)
    @given(st.text(max_size=600), st.text(max_size=600))
    def test_no_injection(self, name: str, value: str) -> None:
        """Whatever a caller is named, the document is the same one with another parameter."""
        root = ET.fromstring(TelnyxDocuments().answer(STREAM_URL, {name: value}))
        self.assertEqual([e.tag for e in root.iter()], ["Response", "Connect", "Stream", "Parameter"])
        self.assertEqual(set(root[0][0][0].attrib), {"name", "value"})

    def test_foreign_ids_are_not_believed(self) -> None:
        """A CallSid that is none is as good as absent."""
        for sid in ("", "../x", CALL_ID + "\n", "v3:", "v3:short", "v3:" + "é" * 30, "x" * 300):
            self.assertEqual(TelnyxDocuments().incoming({"CallSid": sid}).call_sid, "", sid)


class WebhookTests(SynchronousTestCase):
    """The daemon's `/`, set to Telnyx."""

    form = urlencode(WEBHOOK["request"]["form"])

    def house(self, **document: object) -> House:
        more = {"runner_transport": "telnyx", "proxy_host": "voice.example.com", **document}
        return House(self, more)

    def test_get_and_post(self) -> None:
        """Both are answered with the same TeXML; a GET without a call is the status page."""
        house = self.house()
        answers = [house.ask("GET", f"/?{self.form}"), house.ask("POST", "/", self.form.encode())]
        for answer in answers:
            self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/xml"))
            stream = ET.fromstring(answer.body)[0][0]
            self.assertEqual(stream.attrib["url"], STREAM_URL)
            self.assertEqual(stream.attrib["bidirectionalMode"], "rtp")
        self.assertEqual(answers[0].body, answers[1].body)
        self.assertIn(b"Bot started with telnyx", house.ask("GET", "/").body)

    def test_busy(self) -> None:
        """Over `max_calls` the caller hears the busy tone."""
        house = self.house(max_calls=1)
        house.socket().send(START)
        answer = house.ask("GET", f"/?{self.form}")
        self.assertEqual(answer.body, TelnyxDocuments().busy())


class CallTests(SynchronousTestCase):
    """A whole call by Telnyx's messages, on an A-law leg."""

    def test_two_codecs(self) -> None:
        """The caller is understood in A-law, and hears u-law: greeting, answer, hang-up by the caller."""
        house = House(self, {"runner_transport": "telnyx", "greeting": "Good day.", "turn_stop_secs": 0.3})
        house.pass_time(0.1)
        line = house.socket()
        start = json.loads(json.dumps(START))
        start["start"]["media_format"]["encoding"] = "PCMA"
        line.send({"event": "connected", "version": "1.0.0"})
        line.send(start)
        house.pass_time(1.0)
        self.assertEqual(line.said, ["Good day."])
        tone = linear_to_alaw(ulaw_to_linear(TONE))
        line.hear([tone] * 40)
        line.hear([b"\xd5" * 160] * 40)
        [(utterance, _)] = house.stt.asked
        self.assertEqual(utterance.media_format.encoding.value, "alaw")
        self.assertIn(tone, utterance.payload)
        line.send({"event": "stop", "sequence_number": "9", "stop": {}})
        self.assertEqual(line.code, 1000)
        self.assertNotIn("stream_id", str(line.messages()))

    def test_complaints_are_warned_about(self) -> None:
        """That Telnyx refuses what we send is in the log where everybody sees it, once a call."""
        house = House(self, {"runner_transport": "telnyx"})
        line = house.socket()
        line.send(START)
        for _ in range(3):
            line.send({"event": "error", "payload": {"code": 100004, "title": "invalid_media"}})
        complaints = [e for e in house.logged if e.get("reason") == "carrier_invalid_media"]
        self.assertEqual([e["log_level"].name for e in complaints], ["warn"])
        self.assertIsNone(line.code)

    def test_g722_is_refused_with_its_reason(self) -> None:
        """A codec we cannot read closes the socket; log and close frame say which and what to do."""
        house = House(self, {"runner_transport": "telnyx"})
        line = house.socket()
        start = json.loads(json.dumps(START))
        start["start"]["media_format"] = {"encoding": "G722", "sample_rate": 8000, "channels": 1}
        line.send(start)
        self.assertEqual(line.code, 1003)
        self.assertIn(b"G722 at 8000 Hz", line.frames[-1].payload)


class SignatureTests(SynchronousTestCase):
    """Ed25519 over timestamp|body."""

    vector: dict[str, Any] = json.loads((DATA / "signatures.json").read_text())[0]
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["private_seed_hex"]))
    key = public_key(vector["public_key_base64"])
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    timestamp = vector["headers"]["telnyx-timestamp"]
    body = vector["raw_body"].encode()
    now = float(timestamp)

    def test_vector(self) -> None:
        """The vector passes, under the second of two keys too, and within five minutes either way."""
        sent = self.vector["signature"]
        for keys in ([self.key], [self.other, self.key]):
            for off in (-TOLERANCE_SECS, 0.0, TOLERANCE_SECS):
                self.assertTrue(verify(keys, self.timestamp, self.body, sent, self.now + off))

    def test_rfc_8032(self) -> None:
        """The primitive is the RFC's: TEST 1's key signs an empty message as printed there."""
        vector = json.loads((DATA / "signatures.json").read_text())[1]
        key = public_key(b64encode(bytes.fromhex(vector["public_key_hex"])).decode())
        key.verify(bytes.fromhex(vector["signature_hex"]), b"")

    def test_anything_changed(self) -> None:
        """Time, body, signature, key, age: each is refused."""
        sent, body, now = self.vector["signature"], self.body, self.now
        flipped = bytearray(b64decode(sent))
        flipped[7] ^= 1
        for keys, timestamp, signed, signature, at in (
            ([self.other], self.timestamp, body, sent, now),
            ([], self.timestamp, body, sent, now),
            ([self.key], "1700000001", body, sent, now),
            ([self.key], "01700000000", body, sent, now),
            ([self.key], self.timestamp, body + b" ", sent, now),
            ([self.key], self.timestamp, b"", sent, now),
            ([self.key], self.timestamp, body, b64encode(flipped).decode(), now),
            ([self.key], self.timestamp, body, sent, now + TOLERANCE_SECS + 1),
            ([self.key], self.timestamp, body, sent, now - TOLERANCE_SECS - 1),
        ):
            self.assertFalse(verify(keys, timestamp, signed, signature, at))

    @settings(max_examples=300, deadline=None)
    @given(st.text(max_size=30), st.text(max_size=90), st.binary(max_size=40))
    def test_nonsense(self, timestamp: str, sent: str, body: bytes) -> None:
        """Headers of any kind are refused, never an error."""
        self.assertFalse(verify([self.key], timestamp, body, sent, self.now))
        self.assertFalse(verify([self.key], self.timestamp, body, sent, self.now))

    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=200))
    def test_every_body(self, body: bytes) -> None:
        """Bodies are signed as bytes: what is no UTF-8, or would change when decoded, passes as it is."""
        sent = b64encode(self.private.sign(b"1700000000|" + body)).decode()
        self.assertTrue(verify([self.key], "1700000000", body, sent, self.now))

    def test_bad_keys(self) -> None:
        """A key that is none is said to be, at once."""
        for text in ("", "x", "é", b64encode(bytes(31)).decode(), "-----BEGIN PUBLIC KEY-----"):
            with self.assertRaisesRegex(ValueError, "32 bytes in base64"):
                public_key(text)
        public_key(f" {self.vector['public_key_base64']}\n")


class RestApi(Resource):
    """Telnyx's REST API, for one answer; remembers what it was asked."""

    isLeaf = True

    def __init__(self, status: int, body: bytes = b"{}", location: bytes = b"") -> None:
        super().__init__()
        self.status, self.body, self.location = status, body, location
        self.asked: list[tuple[str, object, dict[str, str | None]]] = []

    def render_POST(self, request: Any) -> bytes:
        headers = {name: request.getHeader(name) for name in ("authorization", "content-type")}
        self.asked.append((request.uri.decode(), json.loads(request.content.read()), headers))
        request.setResponseCode(self.status)
        if self.location:
            request.setHeader(b"Location", self.location)
        return self.body


class HangUpTests(SynchronousTestCase):
    """`TelnyxControl` against treq's imaginary sockets."""

    def hang_up(self, api: RestApi, call_id: str = CALL_ID) -> Deferred[None]:
        treq = StubTreq(api)
        control = TelnyxControl(treq, Clock(), "KEY-secret", "https://api.example/")
        done = Deferred.fromCoroutine(control.hang_up(call_id))
        treq.flush()
        return done

    def test_hung_up(self) -> None:
        """One POST as recorded: the id percent-encoded, an empty object, the key as a bearer's."""
        recorded = REST["hangup"]
        api = RestApi(200, json.dumps(recorded["ok_body"]).encode())
        self.assertIsNone(self.successResultOf(self.hang_up(api)))
        [(uri, body, headers)] = api.asked
        self.assertTrue(recorded["url"].endswith(unquote(uri)))
        self.assertIn("/v3%3A", uri)
        self.assertEqual(body, recorded["body"])
        self.assertEqual(headers["authorization"], "Bearer KEY-secret")
        self.assertTrue(str(headers["content-type"]).startswith("application/json"))

    def test_already_ended(self) -> None:
        """422 with code "90018" is success, whatever other errors stand beside it."""
        recorded = REST["hangup"]["already_ended"]
        for errors in (recorded["body"]["errors"], [{"code": "1"}, {"code": "90018"}], [{"code": 90018}]):
            body = json.dumps({"errors": errors}).encode()
            self.successResultOf(self.hang_up(RestApi(recorded["status"], body)))

    def test_other_422s(self) -> None:
        """422 for another reason, or with a body that is none, is a failure."""
        bodies = (
            b'{"errors":[{"code":"90015"}]}', b'{"errors":[]}', b'{"errors":{"code":"90018"}}', b"90018",
            b'{"errors":["90018",null]}', b"[]", b"", b"\xff", b"[" * 100_000, b'{"title":"90018"}',
        )  # fmt: skip
        for body in bodies:
            problem = self.failureResultOf(self.hang_up(RestApi(422, body)), CarrierError).value
            self.assertEqual(problem.status, 422, body[:40])

    def test_other_answers(self) -> None:
        """Every other answer is an error with its status, without the key in its text."""
        ended = json.dumps(REST["hangup"]["already_ended"]["body"]).encode()
        for status in (400, 401, 403, 404, 429, 500, 503):
            problem = self.failureResultOf(self.hang_up(RestApi(status, ended)), CarrierError).value
            self.assertEqual(problem.status, status)
            self.assertNotIn("secret", str(problem))

    def test_redirects_are_not_followed(self) -> None:
        """The key goes nowhere else."""
        api = RestApi(302, location=b"https://evil.example/")
        self.assertEqual(self.failureResultOf(self.hang_up(api), CarrierError).value.status, 302)
        self.assertEqual(len(api.asked), 1)

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=80))
    def test_hostile_ids(self, text: str) -> None:
        """An id that could be anything but one segment of the path never reaches a URL."""
        for call_id in (
            f"/{text}",
            f"v3:{text}/../../{text}",
            CALL_ID + text + "?x=",
            f"{CALL_ID}\n",
            "..",
            "",
        ):
            api = RestApi(200)
            self.failureResultOf(self.hang_up(api, call_id), CarrierError)
            self.assertEqual(api.asked, [], call_id)


class CatalogTests(SynchronousTestCase):
    """Telnyx, as the settings make it."""

    def control(self, **document: object) -> Any:
        settings = House(self, {"runner_transport": "telnyx", **document}).settings
        return catalog.build_carrier("telnyx").control(settings, None, Clock())

    def test_credentials(self) -> None:
        """Without the API key there is no REST control; with it, at the address given."""
        self.assertIsNone(self.control())
        with_key = {"api_keys": {"telnyx_api_key": "K"}}
        self.assertEqual(self.control(**with_key)._calls_url, "https://api.telnyx.com/v2/calls")
        control = self.control(**with_key, base_urls={"telnyx": "http://127.0.0.1:9/"})
        self.assertEqual(control._calls_url, "http://127.0.0.1:9/v2/calls")
