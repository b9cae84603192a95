"""Exotel over HTTP: the dynamic URL's answer, and a call of its through the whole daemon."""

from __future__ import annotations

import base64
import json
import random
from typing import Any
from urllib.parse import urlencode

from twisted.trial.unittest import SynchronousTestCase

from tests.house import House, Line
from tests.test_exotel_serializer import CAMEL_START, GOOD, SID, START
from tests.test_twilio_serializer import spoil
from voxray.carriers.exotel import ExotelDocuments
from voxray.frames import EndCall, IncomingCall, TextDelta

EXOTEL = {"runner_transport": "exotel", "proxy_host": "voice.example.com"}
URL = "wss://voice.example.com/telephony/ws"
WEBHOOK = {
    "CallSid": "a1b2c3d4e5f60718293a4b5c6d7e8f90",
    "CallFrom": "09876543210",
    "CallTo": "08047491899",
    "Direction": "incoming",
    "Created": "2026-01-01 10:00:00",
    "CurrentTime": "2026-01-01 10:00:01",
}


class AnswerTests(SynchronousTestCase):
    """The answer to the applet's `https://` URL."""

    def test_incoming(self) -> None:
        """Exotel's names for the call; an id that is none is as good as absent."""
        documents = ExotelDocuments()
        call = IncomingCall(WEBHOOK["CallSid"], "09876543210", "08047491899")
        self.assertEqual(documents.incoming(WEBHOOK), call)
        self.assertEqual(documents.incoming({}), IncomingCall("", "", ""))
        for sid in ("", "../x", "a b", "x\n", "a" * 129):
            self.assertEqual(documents.incoming({"CallSid": sid}).call_sid, "", sid)

    def test_by_get_and_by_post(self) -> None:
        """One object, `url` at its top level and in no envelope, whichever way it is asked for."""
        house = House(self, EXOTEL)
        fields = urlencode(WEBHOOK)
        for answer in (
            house.ask("GET", f"/?{fields}"),
            house.ask("POST", "/", fields.encode()),
            house.ask("POST", "/"),  # nothing is required
        ):
            self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"))
            document = json.loads(answer.body)
            self.assertEqual(set(document), {"url", "websocketUrl", "note"})
            self.assertEqual((document["url"], document["websocketUrl"]), (URL, URL))
            self.assertIn("Voicebot Applet", document["note"])

    def test_sample_rate(self) -> None:
        """Another rate than 8 kHz is asked for in the URL, after whatever query it has."""
        for rate, url, expected in (
            (8000, URL, URL),
            (16000, URL, URL + "?sample-rate=16000"),
            (24000, URL + "?a=b", URL + "?a=b&sample-rate=24000"),
        ):
            document = json.loads(ExotelDocuments(rate).answer(url, {}))
            self.assertEqual((document["url"], document["websocketUrl"]), (expected, expected))

    def test_status_page(self) -> None:
        """`GET /` of a person is the status page."""
        answer = House(self, EXOTEL).ask("GET", "/")
        self.assertEqual(json.loads(answer.body)["data"], {"status": "Bot started with exotel"})

    def test_no_documents(self) -> None:
        """There is none that ends a call, or connects it: the flow does that."""
        self.assertIsNone(ExotelDocuments().hang_up())
        self.assertIsNone(ExotelDocuments().connect("+15551230000"))

    def test_no_room(self) -> None:
        """No document turns a call away, so the status says it, and when to ask again."""
        house = House(self, {**EXOTEL, "max_calls": 1})
        call(house)
        answer = house.ask("GET", f"/?{urlencode(WEBHOOK)}")
        self.assertEqual(answer.status, 503)
        self.assertIn("retry-after", answer.headers)


def call(house: House, message: dict[str, Any] = START) -> Line:
    line = house.socket()
    line.send({"event": "connected"})
    line.send(message)
    return line


class DaemonTests(SynchronousTestCase):
    """From the socket's bytes to the socket's bytes."""

    def test_hang_up_closes_the_socket(self) -> None:
        """Exotel has no REST hang-up: after the last word the socket is closed with 1000."""
        house = House(self, EXOTEL, [TextDelta("good bye then."), EndCall()])
        line = call(house)
        line.press("1#")
        house.pass_time(0.2)
        self.assertIsNone(line.code)
        house.pass_time(0.4)
        self.assertEqual(line.code, 1000)

    def test_stop_and_closed(self) -> None:
        """Either ends the call, and we close the socket at once."""
        house = House(self, EXOTEL)
        for message in (
            {"event": "stop", "stop": {"reason": "callended"}},
            {"event": "stop", "stop": {"reason": "stopped"}},
            {"event": "closed"},
        ):
            line = call(house)
            line.send(message)
            self.assertEqual(line.code, 1000)
        self.assertIn("voxray_calls_active 0.0", house.ask("GET", "/metrics").body.decode())

    def test_what_is_sent(self) -> None:
        """Marks and audio in the stream's spelling, in messages of at most 100 ms and whole 320 bytes."""
        text = " ".join(["word"] * 20) + "."
        for rate in (8000, 16000, 24000):
            for message in (START, CAMEL_START):
                name = "media_format" if message is START else "mediaFormat"
                described = {"encoding": "base64", "sample_rate": str(rate)}
                message = {**message, "start": {**message["start"], name: described}}
                house = House(self, EXOTEL, [TextDelta(text)])
                line = call(house, message)
                line.press("1#")
                house.pass_time(3.0)
                key = "stream_sid" if name == "media_format" else "streamSid"
                self.assertEqual({m[key] for m in line.messages()}, {SID})
                media = [m["media"] for m in line.messages() if m["event"] == "media"]
                sizes = [len(base64.b64decode(m["payload"])) for m in media]
                self.assertEqual({size % 320 for size in sizes}, {0})
                self.assertEqual(max(sizes), rate // 5)
                self.assertIn(sum(sizes) * 500 // rate, (2000, 2020))  # ms; the tail fills its packet
                self.assertEqual([m["chunk"] for m in media], [str(i + 1) for i in range(len(media))])
                self.assertEqual(line.kinds()[-1], "mark")

    def test_a_second_may_wait(self) -> None:
        """A peer that does not read for a moment loses no audio: a second of it fits, whatever the rate."""
        for rate, least in ((8000, 8000 * 2), (24000, 24000 * 2)):
            line = call(
                House(self, EXOTEL),
                {**START, "start": {**START["start"], "media_format": {"sample_rate": rate}}},
            )
            self.assertGreater(line.transport.bufferSize, least * 4 / 3)
            self.assertLess(line.transport.bufferSize, least * 4)

    def test_a_rate_of_nobody(self) -> None:
        """A codec we cannot decode is not taken for one we can: the socket is closed with 1003."""
        message = {**START, "start": {**START["start"], "media_format": {"sample_rate": "44100"}}}
        self.assertEqual(call(House(self, EXOTEL), message).code, 1003)

    def test_spoilt_messages_touch_no_other_call(self) -> None:
        """Three hundred sockets' worth of nonsense: no traceback, and the call beside them goes on."""
        house = House(self, EXOTEL, [TextDelta("still here.")])
        good, dice = call(house), random.Random(11)
        for _ in range(300):
            line = call(house)
            for _ in range(10):
                line.send(spoil(dice.choice(GOOD), dice)) if not line.over else None
            line.lose()
        self.assertFalse(good.over)
        good.press("1#")
        house.pass_time(1.0)
        self.assertEqual(good.said, [])  # PCM: the bytes are no longer the words' own
        self.assertGreater(len(good.audio), 16 * 150)
        self.assertEqual([e for e in house.logged if e.get("log_failure")], [])
