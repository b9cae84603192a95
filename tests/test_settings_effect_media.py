"""Keys of the media socket, from the document to the bytes and closes that a carrier sees."""

from __future__ import annotations

import base64
import json
import socket
from xml.etree import ElementTree as ET

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.house import House
from tests.test_exotel_serializer import start as exotel_start
from tests.test_plivo_serializer import CALL_UUID
from tests.test_plivo_serializer import start as plivo_start
from tests.test_telnyx_serializer import START
from tests.wsframes import frame
from voxray.audio.g711 import alaw_to_linear, ulaw_to_linear
from voxray.frames import TextDelta, Utterance

LINEAR = {"encoding": "L16", "sample_rate": 8000, "channels": 1}
TELNYX_LINEAR = {**START, "start": {**START["start"], "media_format": LINEAR}}
PLIVO_LINEAR = plivo_start(mediaFormat={"encoding": "audio/x-l16", "sampleRate": 8000})
LONG = " ".join(["word"] * 60)  # six seconds


class PacingTests(SynchronousTestCase):
    def test_pace_lead_ms(self) -> None:
        """Of a long reply, so much is at the carrier at any time: no more, and no less until its end."""
        for lead_ms in (100, 400):
            house = House(self, {"pace_lead_ms": lead_ms}, [TextDelta(LONG)])
            line = house.dial()
            line.press("1#")
            begun = house.reactor.seconds()
            for _ in range(100):
                house.pass_time(0.02)
                ahead_ms = len(line.audio) / 8 - (house.reactor.seconds() - begun) * 1000
                self.assertLess(ahead_ms, lead_ms + 0.001)
                self.assertGreater(ahead_ms, lead_ms - 60)  # a message and a beat


class FormatTests(SynchronousTestCase):
    def heard(self, document: dict[str, object], sent_as: str) -> Utterance:
        """A loud tone in linear PCM, then silence: what the transcriber was given."""
        house = House(self, {"turn_stop_secs": 0.3, **document})
        line = house.socket()
        line.send(PLIVO_LINEAR if document["runner_transport"] == "plivo" else TELNYX_LINEAR)
        packet = (9000 * np.sin(np.arange(160) * 2 * np.pi / 8)).astype(sent_as).tobytes()
        line.hear([packet] * 40)
        line.hear([bytes(320)] * 50)
        [(utterance, _)] = house.stt.asked
        return utterance

    def test_l16_byte_order(self) -> None:
        """Linear PCM is as the owner says, both ways; else big-endian for Telnyx, little-endian for Plivo."""
        for carrier, usual_order in (("telnyx", ">i2"), ("plivo", "<i2")):
            document: dict[str, object] = {"runner_transport": carrier, "telnyx_codec": "L16"}
            usual = self.heard(document, usual_order)
            self.assertEqual(int(np.abs(np.frombuffer(usual.payload, "<i2")).max()), 9000)
            spoken = {}
            for order, sent_as in (("", usual_order), ("little", "<i2"), ("big", ">i2")):
                ordered = {**document, "l16_byte_order": order}
                self.assertEqual(self.heard(ordered, sent_as), usual, (carrier, order))
                spoken[order] = np.frombuffer(self.spoken(ordered)[0], sent_as).tolist()
            self.assertEqual(spoken["little"], spoken[""])
            self.assertEqual(spoken["big"], spoken[""])

    def spoken(self, document: dict[str, object]) -> tuple[bytes, int]:
        """What is sent of an answer, and the byte that the voice says it in; the leg is a linear one."""
        house = House(self, document, [TextDelta("one two three")])
        line = house.socket()
        line.send(PLIVO_LINEAR if document["runner_transport"] == "plivo" else TELNYX_LINEAR)
        line.press("1#")
        house.pass_time(1.0)
        played = [m for m in line.messages() if m["event"] in ("media", "playAudio")]
        payload = b"".join(base64.b64decode(m["media"]["payload"]) for m in played)
        return payload, house.tts.texts.index("one two three") + 1

    def test_telnyx_codec(self) -> None:
        """TeXML asks for the codec, both ways, and the answer is said in it: 300 ms and a little."""
        for codec, rate, decode in (
            ("PCMU", 8000, ulaw_to_linear),
            ("PCMA", 8000, alaw_to_linear),
            ("L16", 16_000, lambda payload: np.frombuffer(payload, ">i2").astype(np.int16)),
        ):
            document: dict[str, object] = {"runner_transport": "telnyx", "telnyx_codec": codec}
            answer = House(self, document).ask("POST", "/", b"CallSid=v3:0123456789abcdef0123")
            stream = ET.fromstring(answer.body)[0][0].attrib
            asked = (stream["codec"], stream["bidirectionalCodec"], stream["bidirectionalSamplingRate"])
            self.assertEqual(asked, (codec, codec, str(rate)))
            payload, code = self.spoken(document)
            samples = decode(payload)
            self.assertTrue(0.3 <= samples.size / rate <= 0.34, codec)
            constant = int(ulaw_to_linear(bytes([code]))[0])
            middle = samples[rate // 10 : rate // 5]
            self.assertLess(int(np.abs(middle - constant).max()), abs(constant) / 25, codec)

    def test_plivo_content_type(self) -> None:
        """Plivo's XML asks for it, and audio goes out as it, where `start` does not say otherwise."""
        for asked, content_type, rate, size in (
            ("audio/x-mulaw;rate=8000", "audio/x-mulaw", 8000, 1),
            ("audio/x-l16;rate=8000", "audio/x-l16", 8000, 2),
            ("audio/x-l16;rate=16000", "audio/x-l16", 16_000, 2),
        ):
            document: dict[str, object] = {"runner_transport": "plivo", "plivo_content_type": asked}
            house = House(self, document, [TextDelta("one two three")])
            answer = house.ask("POST", "/", f"CallUUID={CALL_UUID}".encode())
            self.assertEqual(ET.fromstring(answer.body)[0].attrib["contentType"], asked)
            line = house.socket()
            line.send(plivo_start(mediaFormat=None))
            line.press("1#")
            house.pass_time(1.0)
            played = [m["media"] for m in line.messages() if m["event"] == "playAudio"]
            self.assertEqual({(m["contentType"], m["sampleRate"]) for m in played}, {(content_type, rate)})
            sent = sum(len(base64.b64decode(m["payload"])) for m in played)
            self.assertTrue(0.3 <= sent / size / rate <= 0.34, asked)

    def test_exotel_sample_rate(self) -> None:
        """The dynamic address is answered with it, and a stream that says no rate has it."""
        for rate, query in ((8000, ""), (16_000, "?sample-rate=16000"), (24_000, "?sample-rate=24000")):
            document: dict[str, object] = {"runner_transport": "exotel", "exotel_sample_rate": rate}
            house = House(self, {**document, "proxy_host": "h.example"}, [TextDelta("one two three")])
            answer = json.loads(house.ask("GET", "/?CallSid=1").body)
            self.assertEqual(answer["url"], f"wss://h.example/telephony/ws{query}")
            line = house.socket()
            line.send(exotel_start(media_format={"encoding": "base64"}))
            line.press("1#")
            house.pass_time(1.0)
            self.assertTrue(0.3 <= len(line.audio) / 2 / rate <= 0.4, rate)


class ConductTests(SynchronousTestCase):
    def test_max_message_bytes(self) -> None:
        """A message of so many bytes is read, one byte more closes the socket with 1009."""
        house = House(self, {"max_message_bytes": 2000})
        for size, code in ((2000, None), (2001, 1009)):
            line = house.dial()
            line.raw(frame(b'{"event":"noise","pad":"'.ljust(size - 2, b"x") + b'"}'))
            self.assertEqual(line.code, code)

    def test_max_messages_before_start(self) -> None:
        """The third message that is no `start` is the last."""
        house = House(self, {"max_messages_before_start": 3})
        line = house.socket()
        for code in (None, None, 1008):
            line.send({"event": "connected"})
            self.assertEqual(line.code, code)

    def test_start_timeout_secs(self) -> None:
        """A socket without `start` is closed after so long, and not before."""
        house = House(self, {"start_timeout_secs": 4})
        line, call = house.socket(), house.dial()
        house.pass_time(3.5, 0.5)
        self.assertIsNone(line.code)
        house.pass_time(1.0, 0.5)
        self.assertEqual((line.code, call.code), (1008, None))

    @shows("F40")
    def test_ping_interval_secs(self) -> None:
        """A ping every so often; with 0 none."""
        for interval, pings in ((4, 5), (10, 2), (0, 0)):
            house = House(self, {"ping_interval_secs": interval, "dead_peer_secs": 60})
            line = house.dial()
            house.pass_time(20.5, 0.5)
            self.assertEqual(line.pings, pings, interval)

    @shows("F40")
    def test_dead_peer_secs(self) -> None:
        """A carrier that sends nothing at all for so long is gone, and its call with it."""
        house = House(self, {"dead_peer_secs": 6})
        line, other = house.dial(), house.dial()
        for _ in range(2):
            house.pass_time(5.0, 0.5)
            self.assertFalse(line.transport.aborted)
            line.raw(frame(b"", 10))  # a pong is a sign of life
        self.assertTrue(other.transport.aborted)
        self.assertEqual(len(house.daemon._parts.registry), 1)
        house.pass_time(7.5, 0.5)
        self.assertTrue(line.transport.aborted)
        self.assertEqual(len(house.daemon._parts.registry), 0)

    def test_send_buffer_bytes(self) -> None:
        """The kernel's buffer of the media socket is of this size (Linux doubles what it is asked for)."""
        sizes = []
        for size in (16_384, 65_536):
            line = House(self, {"send_buffer_bytes": size}).dial()
            sizes.append(line.transport.handle.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
        self.assertIn(tuple(sizes), ((16_384, 65_536), (32_768, 131_072)))
