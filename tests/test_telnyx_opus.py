"""Opus legs of Telnyx: packets in, linear PCM behind, packets out; lost, spoilt and late ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.house import House
from tests.test_audio_opus import PACKET, decoded, encoded, likeness, speech
from tests.test_telnyx_serializer import START, media, started
from voxray import catalog_carriers
from voxray.audio import opus
from voxray.audio.tones import sine
from voxray.errors import BadMessage, ConfigError
from voxray.frames import Audio, Encoding, Frame, Ignored, MediaFormat, TextDelta
from voxray.serializers.reorder import WINDOW
from voxray.serializers.telnyx import TelnyxSerializer

OPUS = {"encoding": "OPUS", "sample_rate": 48_000, "channels": 2}
LINEAR = MediaFormat(Encoding.L16, 16_000)
TONE = encoded(sine(440, 2000, 16_000, 0.3))
GARBAGE = b"\xff" * 40


def leg(**more: Any) -> TelnyxSerializer:
    serializer = TelnyxSerializer(**more)
    frame = started(serializer, media_format=OPUS)
    assert frame.media_format == LINEAR
    return serializer


def heard(frames: Sequence[Frame]) -> NDArray[np.int16]:
    return np.frombuffer(b"".join(frame.payload for frame in frames if isinstance(frame, Audio)), "<i2")


def feed(
    serializer: TelnyxSerializer, numbers: Sequence[int], packets: Sequence[bytes] = TONE
) -> list[Frame]:
    """Packets of these numbers, counted from 1, in this order."""
    return [serializer.decode(media(packets[n - 1], chunk=str(n), timestamp=str(20 * n))) for n in numbers]


class HearingTests(SynchronousTestCase):
    """From the leg's packets to what is behind."""

    def test_each_message_is_a_packet(self) -> None:
        """20 ms a message, whatever rate is said; numbered or not, what a decoder makes of them."""
        for rate in (8_000, "16000", 24_000, 48_000):
            serializer = TelnyxSerializer()
            started(serializer, media_format={"encoding": "opus", "sample_rate": rate})
            frames = feed(serializer, range(1, 51))
            self.assertEqual({len(f.payload) for f in frames if isinstance(f, Audio)}, {PACKET})
            self.assertEqual(heard(frames).tolist(), decoded(TONE[:50]).tolist())
        unnumbered = [leg().decode(media(TONE[0])), leg().decode(media(TONE[0], chunk="x"))]
        self.assertEqual(heard(unnumbered).tolist(), decoded(TONE[:1]).tolist() * 2)

    @shows("F37")
    def test_out_of_order(self) -> None:
        """Packets are put right before they are decoded, and come as one frame."""
        frames = feed(leg(), [1, 3, 2, 4, 2])
        self.assertEqual(frames[1], Ignored("early_media"))
        self.assertEqual(frames[4], Ignored("late_media"))
        assert isinstance(frames[2], Audio)
        self.assertEqual((len(frames[2].payload), frames[2].timestamp_ms), (2 * PACKET, 40))
        self.assertEqual(heard(frames).tolist(), decoded(TONE[:4]).tolist())

    def test_lost_packets_take_their_time(self) -> None:
        """What was given up is made up for: the stream is as long as if nothing had been lost."""
        for lost in ([10], [10, 11], [10, 11, 12, 20], [5, 7, 9, 11]):
            numbers = [n for n in range(1, 61) if n not in lost]
            frames = feed(leg(), numbers)
            self.assertEqual(heard(frames).size, 60 * PACKET // 2, lost)
            middle = heard(frames)[4 * 320 :].reshape(-1, 320).astype(float)
            self.assertGreater(middle.std(axis=1).min(), 400, lost)  # faded, but no hole: the tone has 6,900

    def test_a_long_hole_is_not_made_up(self) -> None:
        """A second lost, or a count that jumps to the moon: 200 ms and no more."""
        for first in (61, 10**14):
            serializer = leg()
            feed(serializer, range(1, 11))
            frames = [serializer.decode(media(TONE[n], chunk=first + n)) for n in range(WINDOW + 1)]
            self.assertEqual(heard(frames).size, (10 + WINDOW + 1) * PACKET // 2, first)
            self.assertEqual(len(feed(serializer, [1])), 1)

    def test_the_beginning_is_no_hole(self) -> None:
        """A stream whose count begins at 500 has lost nothing; one that begins anew goes on."""
        serializer = leg()
        frames = [serializer.decode(media(TONE[n], chunk=500 + n)) for n in range(20)]
        self.assertEqual(heard(frames).size, 20 * PACKET // 2)
        frames = feed(serializer, range(1, 31))
        self.assertEqual(heard(frames).size, 23 * PACKET // 2)  # the first seven might have been stragglers

    def test_spoilt_packets(self) -> None:
        """What is no packet is counted as `bad_media` and then as good as lost: the stream goes on."""
        serializer = leg()
        frames: list[Frame] = []
        for number in range(1, 61):
            spoilt = number in (20, 21, 40)
            message = media(GARBAGE if spoilt else TONE[number - 1], chunk=str(number))
            if spoilt:
                problem = self.assertRaises(BadMessage, serializer.decode, message)
                self.assertEqual(problem.reason, "bad_media")
            else:
                frames.append(serializer.decode(message))
        self.assertEqual(heard(frames).size, 60 * PACKET // 2)
        self.assertRaises(BadMessage, serializer.decode, media(GARBAGE))  # without a number

    def test_speech_with_losses(self) -> None:
        """A reader who loses one packet in twenty is still that reader."""
        sent = speech("dickens-wisdom")
        packets = encoded(sent)
        frames = feed(leg(), [n for n in range(1, len(packets) + 1) if n % 20 or n == len(packets)], packets)
        self.assertGreater(likeness(sent, heard(frames)), 0.85)

    def test_our_own_voice(self) -> None:
        """The outbound track is let pass before anybody asks whether it is a packet."""
        self.assertEqual(leg().decode(media(GARBAGE, track="outbound")), Ignored("outbound_track"))

    @shows("F37")
    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=60))
    def test_any_order(self, arrivals: list[tuple[int, bool]]) -> None:
        """Any numbers, some spoilt: frames or `bad_media`, and never more than what came and 200 ms."""
        serializer = leg()
        for number, spoilt in arrivals:
            try:
                frame = serializer.decode(media(GARBAGE if spoilt else TONE[number], chunk=number))
            except BadMessage as problem:
                self.assertTrue(spoilt)
                self.assertEqual(problem.reason, "bad_media")
                continue
            most = (WINDOW + 1) * PACKET + opus.MAX_CONCEALED_MS * 32
            self.assertLessEqual(heard([frame]).nbytes, most)


class SpeakingTests(SynchronousTestCase):
    """From what is behind to packets."""

    def payload(self, serializer: TelnyxSerializer, pcm: bytes) -> bytes:
        return base64.b64decode(json.loads(serializer.media(pcm))["media"]["payload"])

    def test_one_packet_a_message(self) -> None:
        """20 or 40 ms of linear PCM become one packet of that length, and sound like what was said."""
        sent = speech("dickens-heaven")
        for packet_ms in (20, 40):
            serializer, size = TelnyxSerializer(codec="OPUS"), packet_ms * 32
            pcm = sent.tobytes()
            packets = [self.payload(serializer, pcm[at : at + size]) for at in range(0, len(pcm), size)]
            sizes = {len(decoded([packet])) * 2 for packet in packets[:-1]}
            self.assertEqual(sizes, {size})
            self.assertGreater(likeness(sent, decoded(packets)), 0.9)

    def test_tails(self) -> None:
        """Less than a whole packet is filled up with silence; Telnyx takes nothing under 20 ms."""
        for size, expected in ((2, 20), (638, 20), (640, 20), (642, 40), (1000, 40), (1280, 40), (3840, 120)):
            packet = self.payload(TelnyxSerializer(codec="OPUS"), bytes(size))
            self.assertEqual(decoded([packet]).size, expected * 16, size)

    def test_clear(self) -> None:
        """After a clear the next reply begins with nothing of the one that was cut."""
        fresh, used = TelnyxSerializer(codec="OPUS"), TelnyxSerializer(codec="OPUS")
        for at in range(0, 6400, 640):
            used.media(sine(3000, 400, 16_000, 0.9).tobytes()[at : at + 640])
        self.assertEqual(used.clear(), b'{"event":"clear"}')
        pcm = speech("dickens-wisdom").tobytes()[:6400]
        for at in range(0, 6400, 640):
            self.assertEqual(used.media(pcm[at : at + 640]), fresh.media(pcm[at : at + 640]))


class DaemonTests(SynchronousTestCase):
    """A call over Opus through the whole daemon."""

    def test_both_ways(self) -> None:
        """The transcriber gets what was said; the caller hears the answer, in packets of 20 or 40 ms."""
        document = {"runner_transport": "telnyx", "telnyx_codec": "opus", "turn_stop_secs": 0.3}
        house = House(self, document, [TextDelta("one two three four five six seven")])
        line = house.socket()
        line.send({**START, "start": {**START["start"], "media_format": OPUS}})
        said = sine(440, 800, 16_000, 0.3)
        line.hear(encoded(np.concatenate((said, np.zeros(16_000, np.int16)))))
        [(utterance, _)] = house.stt.asked
        self.assertEqual(utterance.media_format, LINEAR)
        loud = np.abs(np.frombuffer(utterance.payload, "<i2").astype(int)) > 5_000
        self.assertGreater(loud.sum() / said.size, 0.5)
        line.answer("One two.")
        house.pass_time(1.0)
        packets = [base64.b64decode(m["media"]["payload"]) for m in line.messages() if m["event"] == "media"]
        lengths = [decoded([packet]).size // 16 for packet in packets]
        self.assertLessEqual(set(lengths), {20, 40})
        self.assertTrue(680 <= sum(lengths) <= 760, lengths)

    def test_spoilt_packets(self) -> None:
        """They are counted and warned about once, and the call goes on."""
        house = House(self, {"runner_transport": "telnyx"})
        line = house.socket()
        line.send({**START, "start": {**START["start"], "media_format": OPUS}})
        for packet in TONE[:10]:
            line.hear([packet, GARBAGE])
        self.assertIsNone(line.code)
        warned = [e for e in house.logged if e.get("reason") == "bad_media"]
        self.assertEqual(len(warned), 1)
        metrics = house.ask("GET", "/metrics").body.decode()
        self.assertIn('reason="bad_media"} 10.0', metrics)


class WithoutLibopusTests(SynchronousTestCase):
    """On a machine without the library."""

    def setUp(self) -> None:
        self.patch(opus, "_parse", None)

    def test_a_leg_is_refused(self) -> None:
        """An Opus leg is refused with the remedy; every other leg is as it was."""
        problem = self.assertRaises(BadMessage, started, TelnyxSerializer(), media_format=OPUS)
        self.assertEqual(problem.reason, "unsupported_media")
        self.assertIn("libopus0", problem.detail)
        self.assertLess(len(problem.detail), 123)
        self.assertEqual(started(TelnyxSerializer()).media_format.rate_hz, 8000)

    def test_asking_for_it_is_refused(self) -> None:
        """`telnyx_codec: OPUS` is an error at the start, not at the first call."""
        carrier = catalog_carriers.build_carrier("telnyx")
        house = House(self, {"runner_transport": "telnyx"})  # PCMU: nothing is missing
        self.assertTrue(carrier.documents(house.settings))
        with self.assertRaisesRegex(ConfigError, "telnyx_codec: OPUS needs libopus"):
            House(self, {"runner_transport": "telnyx", "telnyx_codec": "OPUS"})
