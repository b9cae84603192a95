"""Plivo over HTTP: the answer documents."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.carriers.plivo import PlivoDocuments
from voxray.frames import IncomingCall
from voxray.serializers.plivo import CONTENT_TYPES

DATA = Path(__file__).parent / "data" / "plivo"
UUID = "12345678-1234-1234-1234-123456789abc"
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

    @shows("T7")
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

    def test_hang_up_and_connect(self) -> None:
        """One element each, and nothing after it."""
        self.assertEqual(PlivoDocuments().hang_up(), HANG_UP)
        dial = f"{DECLARATION}<Response><Dial><Number>15551230000</Number></Dial></Response>"
        self.assertEqual(PlivoDocuments().connect("+15551230000").decode(), dial)

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

    def test_connect(self) -> None:
        """So is `<Dial>`, of a number without "+" or a user."""
        from plivo import plivoxml

        response = plivoxml.ResponseElement()
        response.add(plivoxml.DialElement().add(plivoxml.NumberElement("15551230000")))
        self.same(PlivoDocuments().connect("+15551230000"), response.to_string(False))
        response = plivoxml.ResponseElement()
        response.add(plivoxml.DialElement().add(plivoxml.UserElement("sip:desk@phone.plivo.com")))
        self.same(PlivoDocuments().connect("sip:desk@phone.plivo.com"), response.to_string(False))
