"""Keys of the media socket, from the document to the bytes and closes that a carrier sees."""

from __future__ import annotations

import json
import socket

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from tests.house import House
from tests.test_telnyx_serializer import START
from tests.wsframes import frame
from voxray.frames import TextDelta, Utterance

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
        """A loud tone in linear PCM over Telnyx, then silence: what the transcriber was given."""
        house = House(self, {"runner_transport": "telnyx", "turn_stop_secs": 0.3, **document})
        line = house.socket()
        linear = {"encoding": "L16", "sample_rate": 8000, "channels": 1}
        start = json.loads(json.dumps(START))
        start["start"]["media_format"] = linear
        line.send(start)
        packet = (9000 * np.sin(np.arange(160) * 2 * np.pi / 8)).astype(sent_as).tobytes()
        line.hear([packet] * 40)
        line.hear([bytes(320)] * 50)
        [(utterance, _)] = house.stt.asked
        return utterance

    def test_l16_byte_order(self) -> None:
        """Linear PCM is understood as the owner says it comes, big-endian if he says nothing."""
        usual = self.heard({}, ">i2")
        self.assertEqual(int(np.abs(np.frombuffer(usual.payload, "<i2")).max()), 9000)
        for order, sent_as in (("little", "<i2"), ("big", ">i2")):
            self.assertEqual(self.heard({"l16_byte_order": order}, sent_as), usual)


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

    def test_ping_interval_secs(self) -> None:
        """A ping every so often; with 0 none."""
        for interval, pings in ((4, 5), (10, 2), (0, 0)):
            house = House(self, {"ping_interval_secs": interval})
            line = house.dial()
            house.pass_time(20.5, 0.5)
            self.assertEqual(line.pings, pings, interval)

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
