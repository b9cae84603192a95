"""Telnyx over HTTP: TeXML, and calls of its through the whole daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.house import House
from tests.test_call_call import TONE
from tests.test_telnyx_serializer import START
from voxray import catalog_carriers
from voxray.audio.g711 import linear_to_alaw, ulaw_to_linear
from voxray.carriers.telnyx import TelnyxDocuments
from voxray.frames import IncomingCall
from voxray.interfaces import Ability
from voxray.serializers.telnyx import SEND_FORMATS

DATA = Path(__file__).parent / "data" / "telnyx"
WEBHOOK = json.loads((DATA / "webhook.json").read_text())
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

    def test_hang_up_and_connect(self) -> None:
        """One verb each, and nothing after it."""
        declaration = '<?xml version="1.0" encoding="UTF-8"?>'
        documents = TelnyxDocuments()
        self.assertEqual(documents.hang_up().decode(), f"{declaration}<Response><Hangup/></Response>")
        for to, noun in (("+15551230000", "Number"), ("sip:desk@pbx.example.com", "Sip")):
            expected = f"{declaration}<Response><Dial><{noun}>{to}</{noun}></Dial></Response>"
            self.assertEqual(documents.connect(to).decode(), expected)

    @shows("T7")
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


class CatalogTests(SynchronousTestCase):
    """Telnyx, as the settings make it."""

    def control(self, **document: object) -> Any:
        settings = House(self, {"runner_transport": "telnyx", **document}).settings
        return catalog_carriers.build_carrier("telnyx").control(settings, None, Clock())

    def test_credentials(self) -> None:
        """Without the API key there is no REST control; with it, at the address given."""
        self.assertIsNone(self.control())
        with_key = {"api_keys": {"telnyx_api_key": "K"}}
        self.assertEqual(self.control(**with_key)._calls_url, "https://api.telnyx.com/v2/calls")
        control = self.control(**with_key, base_urls={"telnyx": "http://127.0.0.1:9/"})
        self.assertEqual(control._calls_url, "http://127.0.0.1:9/v2/calls")

    def test_dialling(self) -> None:
        """With the account's and the application's ids it also dials."""
        keys = {"telnyx_api_key": "K", "telnyx_account_sid": "a/b", "telnyx_application_sid": "7"}
        self.assertNotIn(Ability.DIAL, self.control(api_keys={"telnyx_api_key": "K"}).abilities)
        control = self.control(api_keys=keys)
        self.assertIn(Ability.DIAL, control.abilities)
        self.assertEqual(control._dial_url, "https://api.telnyx.com/v2/texml/Accounts/a%2Fb/Calls")
        self.assertEqual(control._application_sid, "7")
