"""Twilio over HTTP: TwiML."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.carriers.twilio import TwilioDocuments
from voxray.frames import IncomingCall

DATA = Path(__file__).parent / "data" / "twilio"
SID = "CA0123456789abcdef0123456789abcdef"
SIP = "sip:front-desk@pbx.example.com;transport=tls"
HAVE_SDK = importlib.util.find_spec("twilio") is not None
NO_SDK = "the twilio package is not installed (make dev)"


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

    @shows("T7")
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

    @shows("T7")
    def test_what_xml_cannot_carry(self) -> None:
        """Control characters are dropped, markup is escaped."""
        answer = TwilioDocuments().answer("wss://h/x", {"n": 'a\x00\x1b"/><Hangup/>&\ud800b />'})
        self.assertEqual(ET.fromstring(answer)[0][0][0].attrib["value"], 'a"/><Hangup/>&b />')

    def test_foreign_ids_are_not_believed(self) -> None:
        """A CallSid that is none is as good as absent."""
        for sid in ("", "../x", SID + "\n", SID[:-1], SID.lower()):
            self.assertEqual(TwilioDocuments().incoming({"CallSid": sid}).call_sid, "", sid)

    def test_hang_up_and_connect(self) -> None:
        """One verb each, and nothing after it."""
        declaration = '<?xml version="1.0" encoding="UTF-8"?>'
        documents = TwilioDocuments()
        self.assertEqual(documents.hang_up().decode(), f"{declaration}<Response><Hangup/></Response>")
        for to, inside in (("+15551230000", "+15551230000"), (SIP, f"<Sip>{SIP}</Sip>")):
            expected = f"{declaration}<Response><Dial>{inside}</Dial></Response>"
            self.assertEqual(documents.connect(to).decode(), expected)

    @shows("T7")
    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=80))
    def test_connect_no_injection(self, to: str) -> None:
        """Whatever is to be called, it stays text."""
        for number in (to, f"sip:{to}"):
            root = ET.fromstring(TwilioDocuments().connect(number))
            self.assertIn([e.tag for e in root.iter()], (["Response", "Dial"], ["Response", "Dial", "Sip"]))
            self.assertEqual([e.attrib for e in root.iter() if e.attrib], [])


class VendorDocumentTests(SynchronousTestCase):
    """Our documents against those of the vendor's own library."""

    if not HAVE_SDK:
        skip = NO_SDK

    def same(self, ours: bytes, theirs: object) -> None:
        self.assertEqual(ET.canonicalize(ours.decode()), ET.canonicalize(str(theirs)))

    def test_all(self) -> None:
        """The same elements with the same attributes and text."""
        from twilio.twiml.voice_response import Connect, Dial, VoiceResponse

        documents, response = TwilioDocuments(), VoiceResponse()
        connect = Connect()
        connect.stream(url="wss://h/telephony/ws").parameter(name="from", value='"<&>')
        response.append(connect)
        self.same(documents.answer("wss://h/telephony/ws", {"from": '"<&>'}), response)
        response = VoiceResponse()
        response.reject(reason="busy")
        self.same(documents.busy(), response)
        response = VoiceResponse()
        response.hangup()
        self.same(documents.hang_up(), response)
        response = VoiceResponse()
        response.dial("+15551230000")
        self.same(documents.connect("+15551230000"), response)
        response, dial = VoiceResponse(), Dial()
        dial.sip(SIP)
        response.append(dial)
        self.same(documents.connect(SIP), response)
