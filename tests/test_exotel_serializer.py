"""Exotel's wire: a recorded call, both spellings, every kind of bad message, and what we say in return."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.test_twilio_serializer import messages, spoil
from voxray import frames
from voxray.errors import BadMessage
from voxray.frames import (
    Audio,
    Connected,
    Dtmf,
    Encoding,
    Ignored,
    Mark,
    MediaFormat,
    StreamStarted,
    StreamStopped,
)
from voxray.serializers.common import REASONS
from voxray.serializers.exotel import ExotelSerializer, asked_rate

CALL = Path(__file__).parent / "data" / "exotel" / "call.jsonl"
SID = "d4f1a2b3c4d5e6f708192a3b4c5d6e7f"
CALL_SID = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
L16_8K = MediaFormat(Encoding.L16, 8000)
START: dict[str, Any] = {
    "event": "start",
    "sequence_number": "1",
    "stream_sid": SID,
    "start": {
        "stream_sid": SID,
        "call_sid": CALL_SID,
        "account_sid": "exampleaccount1",
        "from": "+919876543210",
        "to": "+918047491899",
        "custom_parameters": {"customer": "42"},
        "media_format": {"encoding": "base64", "sample_rate": "8000", "bit_rate": "128kbps"},
    },
}
CAMEL_START: dict[str, Any] = {
    "event": "start",
    "sequenceNumber": 1,
    "streamSid": SID,
    "start": {
        "streamSid": SID,
        "callSid": CALL_SID,
        "accountSid": "exampleaccount1",
        "from": "+919876543210",
        "to": "+918047491899",
        "customParameters": {"customer": 42},
        "mediaFormat": {"encoding": "raw/slin", "sampleRate": 8000},
    },
}
NUMBERS = {"from": "+919876543210", "to": "+918047491899"}
STARTED = StreamStarted(SID, CALL_SID, "exampleaccount1", L16_8K, {"customer": "42", **NUMBERS})


def decode(message: object) -> frames.Frame:
    """By a fresh serializer; `message` is bytes or what becomes JSON."""
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    return ExotelSerializer().decode(data)


def start(**changes: object) -> dict[str, Any]:
    """A start message with some of its inner keys replaced; ... removes."""
    inner = {**START["start"], **changes}
    return {**START, "start": {key: value for key, value in inner.items() if value is not ...}}


def begun(message: dict[str, Any] = START) -> ExotelSerializer:
    """A serializer that knows its stream."""
    serializer = ExotelSerializer()
    serializer.decode(json.dumps(message).encode())
    return serializer


class RecordedCallTests(SynchronousTestCase):
    """The recorded call, line by line."""

    def lines(self, direction: str) -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in CALL.read_text().splitlines()]
        return [entry["msg"] for entry in entries if entry["dir"] == direction]

    def test_every_message_in(self) -> None:
        """Each message becomes the frame that says the same."""
        serializer = ExotelSerializer()
        read = self.lines("in")
        self.assertEqual({m["event"] for m in read}, {"connected", "start", "media", "mark", "dtmf", "stop"})
        for message in read:
            frame = serializer.decode(json.dumps(message).encode())
            self.assertEqual(frame, self.meaning(message))

    def meaning(self, message: dict[str, Any]) -> frames.Frame:
        event = message["event"]
        if event == "media":
            body = message["media"]
            return Audio(base64.b64decode(body["payload"]), int(body["timestamp"]))
        others: dict[str, Any] = {
            "connected": lambda: Connected(),
            "start": lambda: STARTED,
            "mark": lambda: Mark(message["mark"]["name"]),
            "dtmf": lambda: Dtmf(message["dtmf"]["digit"]),
            "stop": lambda: StreamStopped("callended"),
        }
        return others[event]()  # type: ignore[no-any-return]

    def test_every_message_out(self) -> None:
        """What we send for the same content is what was recorded, byte for byte, but for the clock."""
        serializer = begun()
        sent_ms = 0
        for message in self.lines("out"):
            if message["event"] == "media":
                payload = base64.b64decode(message["media"]["payload"])
                ours = serializer.media(payload)
                message["media"]["timestamp"] = str(sent_ms)
                sent_ms += len(payload) // 16
            elif message["event"] == "mark":
                ours = serializer.mark(message["mark"]["name"])
            else:
                ours = serializer.clear()
            self.assertEqual(ours, json.dumps(message, separators=(",", ":")).encode())
        self.assertGreater(sent_ms, 300)


class SpellingTests(SynchronousTestCase):
    """snake_case and camelCase, strings and numbers."""

    def test_both_spellings_mean_the_same(self) -> None:
        """Keys in either spelling, numbers as either."""
        self.assertEqual(decode(START), STARTED)
        self.assertEqual(decode(CAMEL_START), STARTED)
        numbers = start(media_format={"encoding": "base64", "sample_rate": 8000})
        self.assertEqual(decode({**numbers, "sequence_number": 1}), STARTED)
        for timestamp in ("200", 200):
            media = {"chunk": 2, "timestamp": timestamp, "payload": "AAAA"}
            self.assertEqual(decode({"event": "media", "media": media}), Audio(b"\0\0\0", 200))
        self.assertEqual(decode({"event": "dtmf", "dtmf": {"digit": 5, "duration": 100}}), Dtmf("5"))

    def test_the_answer_is_in_the_spelling_received(self) -> None:
        """The stream's id goes back under the name it came by, wherever it came."""
        nowhere = {key: value for key, value in START.items() if key != "stream_sid"}
        camel_inside = {key: value for key, value in CAMEL_START.items() if key != "streamSid"}
        for message, name in (
            (START, "stream_sid"),
            (nowhere, "stream_sid"),
            (CAMEL_START, "streamSid"),
            (camel_inside, "streamSid"),
            ({**START, "start": CAMEL_START["start"]}, "stream_sid"),
        ):
            serializer = begun(message)
            for ours in (serializer.media(b"\0" * 320), serializer.mark("m"), serializer.clear()):
                written = json.loads(ours)
                self.assertEqual(written[name], SID)
                self.assertEqual(len([key for key in written if key.startswith("stream")]), 1)

    def test_a_second_start_changes_nothing(self) -> None:
        """What we send keeps the id of the first start."""
        serializer = begun()
        serializer.decode(json.dumps({**CAMEL_START, "streamSid": "other"}).encode())
        self.assertEqual(json.loads(serializer.clear()), {"event": "clear", "stream_sid": SID})

    def test_counters(self) -> None:
        """Chunks are counted from 1, time is of the audio sent, and all of it is text."""
        for rate in (8000, 16000, 24000):
            serializer = begun(start(media_format={"sample_rate": rate}))
            for number in range(1, 4):
                media = json.loads(serializer.media(b"\0" * (rate // 5)))["media"]
                self.assertEqual(media["chunk"], str(number))
                self.assertEqual(media["sequenceNumber"], str(number))
                self.assertEqual(media["timestamp"], str(100 * (number - 1)))


class StartTests(SynchronousTestCase):
    """What makes a stream, and what does not."""

    def test_parameters(self) -> None:
        """Object, "", null or nothing; from and to are those of `start`."""
        for value in ({}, "", None, ..., [], 5):
            frame = decode(start(custom_parameters=value))
            assert isinstance(frame, StreamStarted)
            self.assertEqual(frame.parameters, NUMBERS)
        frame = decode(start(custom_parameters={"from": "+1forged", "n": 7}))
        assert isinstance(frame, StreamStarted)
        self.assertEqual(frame.parameters, {"n": "7", **NUMBERS})

    def test_without_numbers(self) -> None:
        """A withheld number is no parameter."""
        frame = decode(start(**{"from": "", "to": None}))
        self.assertEqual(getattr(frame, "parameters", None), {"customer": "42"})

    def test_media_format(self) -> None:
        """u-law only where it is said; else PCM; the rate as text, number, or in the name; else 8000."""
        for described, expected in (
            ({"encoding": "base64", "sample_rate": "8000", "bit_rate": "128kbps"}, (Encoding.L16, 8000)),
            ({"encoding": "base64", "sample_rate": "16000", "bit_rate": "256kbps"}, (Encoding.L16, 16000)),
            ({"encoding": "raw", "sample_rate": 24000}, (Encoding.L16, 24000)),
            ({"encoding": "raw/slin", "sampleRate": 16000.0}, (Encoding.L16, 16000)),
            ({"encoding": "audio/x-raw", "bit_rate": "16"}, (Encoding.L16, 8000)),
            ({"encoding": "audio/L16;rate=16000"}, (Encoding.L16, 16000)),
            ({"encoding": "audio/x-mulaw", "sample_rate": "8000"}, (Encoding.ULAW, 8000)),
            ({"encoding": "audio/x-mulaw;rate=8000"}, (Encoding.ULAW, 8000)),
            ({"encoding": "G711_ULAW"}, (Encoding.ULAW, 8000)),
            ({"encoding": "PCMU"}, (Encoding.ULAW, 8000)),
            ({"encoding": None, "sample_rate": None}, (Encoding.L16, 8000)),
            ({"encoding": ["x"], "sample_rate": ""}, (Encoding.L16, 8000)),
            ("audio/x-mulaw", (Encoding.ULAW, 8000)),
            ({}, (Encoding.L16, 8000)),
            (None, (Encoding.L16, 8000)),
            (..., (Encoding.L16, 8000)),
            ([], (Encoding.L16, 8000)),
        ):
            frame = decode(start(media_format=described))
            self.assertEqual(getattr(frame, "media_format", None), MediaFormat(*expected), described)

    def test_the_rate_asked_for(self) -> None:
        """What the socket's URL asked for holds where `start` says nothing, and nowhere else."""
        for described, expected in (
            (..., 16000),
            ({"encoding": "base64"}, 16000),
            ({"encoding": "audio/L16;rate=24000"}, 24000),
            ({"encoding": "base64", "sample_rate": "8000"}, 8000),
        ):
            message = json.dumps(start(media_format=described)).encode()
            frame = ExotelSerializer(rate_hz=16000).decode(message)
            self.assertEqual(getattr(frame, "media_format", None), MediaFormat(Encoding.L16, expected))
        for query, usual, expected in (
            ({}, 8000, 8000),
            ({"sample-rate": "24000"}, 8000, 24000),
            ({"sample_rate": "16000"}, 8000, 16000),
            ({"sample-rate": "8000"}, 16000, 8000),
            ({"sample-rate": "44100"}, 16000, 16000),
            ({"sample-rate": "", "rate": "16000"}, 8000, 8000),
            ({"sample-rate": "16000x"}, 8000, 8000),
        ):
            self.assertEqual(asked_rate(query, usual), expected, query)

    def test_other_rates_are_refused(self) -> None:
        """Audio at a rate that is none of Exotel's is not guessed at."""
        for rate in (
            "44100",
            48000,
            "11025",
            "0",
            -8000,
            "8k",
            8000.5,
            "9" * 400,
            1e300,
            "\uff18\uff10\uff10\uff10",
        ):
            problem = self.assertRaises(BadMessage, decode, start(media_format={"sample_rate": rate}))
            self.assertEqual(problem.reason, "unsupported_media", rate)

    def test_ids_must_be_safe(self) -> None:
        """Ids that could leave a URL, a JSON string or a log line are refused."""
        for bad in ("", "../x", 'a"b', "a b", "x\n", "é", "a" * 129, None, {}, True):
            self.assertEqual(self.assertRaises(BadMessage, decode, start(call_sid=bad)).reason, "bad_start")
        self.assertEqual(self.assertRaises(BadMessage, decode, {"event": "start"}).reason, "bad_start")


class PerhapsUlawTests(SynchronousTestCase):
    """Audio whose length fits the carrier's clock as u-law alone."""

    def heard(self, size: int, steps: list[int], message: dict[str, Any] = START) -> list[frames.Frame]:
        serializer, at_ms, heard = begun(message), 0, []
        for step in steps:
            at_ms += step
            body = {"timestamp": str(at_ms), "payload": base64.b64encode(bytes(size)).decode()}
            heard.append(serializer.decode(json.dumps({"event": "media", "media": body}).encode()))
        return heard

    def complaints(self, *args: Any) -> int:
        return self.heard(*args).count(Ignored("looks_like_ulaw", complaint=True))

    def test_said_once(self) -> None:
        """800 bytes for each 100 ms, a second long: said once, and the rest is audio as before."""
        heard = self.heard(800, [100] * 60)
        self.assertEqual([type(f) for f in heard[:10]], [Audio] * 10)
        self.assertEqual(heard[10], Ignored("looks_like_ulaw", complaint=True))
        self.assertEqual([type(f) for f in heard[11:]], [Audio] * 49)

    def test_not_said(self) -> None:
        """Linear PCM, a clock that stands or jumps, a stream that says u-law or another rate: nothing."""
        ulaw = start(media_format={"encoding": "audio/x-mulaw"})
        faster = start(media_format={"sample_rate": 16000})
        for args in (
            (1600, [100] * 60),
            (320, [20] * 60),
            (800, [50] * 60),
            (800, [0] * 60),
            (1600, [200, 100, 100] * 20),
            (800, ([100] * 9 + [50]) * 6),
            (800, [100] * 60, ulaw),
            (800, [100] * 60, faster),
        ):
            self.assertEqual(self.complaints(*args), 0, args)

    def test_no_clock(self) -> None:
        """Without timestamps nothing can be told."""
        serializer = begun()
        body = {"payload": base64.b64encode(bytes(800)).decode()}
        for _ in range(60):
            frame = serializer.decode(json.dumps({"event": "media", "media": body}).encode())
            self.assertEqual(frame, Audio(bytes(800)))


class OtherMessageTests(SynchronousTestCase):
    def test_the_end(self) -> None:
        """`stop` with its reason, `closed` where that is sent; reasons are labels, so only those known."""
        for reason, expected in (
            ("callended", "callended"),
            ("stopped", "stopped"),
            ("anything", "stop"),
            (5, "stop"),
            ([], "stop"),
        ):
            self.assertEqual(decode({"event": "stop", "stop": {"reason": reason}}), StreamStopped(expected))
        for stop in (None, "", [], {}):
            self.assertEqual(decode({"event": "stop", "stop": stop}), StreamStopped("stop"))
        self.assertEqual(decode({"event": "closed"}), StreamStopped("closed"))

    def test_what_means_nothing(self) -> None:
        """An echoed clear, the beta guide's `silence`, and tomorrow's events are let pass."""
        self.assertEqual(decode({"event": "clear", "stream_sid": SID}), Ignored("clear"))
        self.assertEqual(decode({"event": "silence", "silence": {}}), Ignored("unknown_event"))

    def test_mark_names_are_escaped(self) -> None:
        """A mark's name cannot leave its string."""
        for name in ('a"b', "a\\", "line\nbreak", "é"):
            self.assertEqual(json.loads(begun().mark(name))["mark"]["name"], name)


GOOD = [
    *(json.loads(line)["msg"] for line in CALL.read_text().splitlines()),
    *(CAMEL_START, {"event": "closed"}, {"event": "clear", "stream_sid": SID}),
]


@shows("F30", "F34", "F36")
class MalformedTests(SynchronousTestCase):
    """Ten thousand messages nobody should send."""

    def check(self, data: bytes) -> bool:
        """True when it was refused."""
        try:
            frame = ExotelSerializer().decode(data)
        except BadMessage as problem:
            self.assertIn(problem.reason, REASONS)
            return True
        self.assertIsInstance(frame, get_args(frames.Frame))
        return False

    @settings(max_examples=100, deadline=None)
    @given(st.integers(0, 2**32))
    def test_ten_thousand_spoilt_messages(self, seed: int) -> None:
        """The call's messages, a hundred a seed, one to three values wrong: a frame or a known reason."""
        dice = random.Random(seed)
        bad = 0
        for _ in range(100):
            message = dice.choice(GOOD)
            for _ in range(dice.randint(1, 3)):
                message = spoil(message, dice)
            data = json.dumps(message).encode()
            if dice.random() < 0.1:
                data = data[: dice.randint(0, len(data))]
            bad += self.check(data)
        self.assertGreater(bad, 15)  # else the spoiling spoils nothing

    @settings(max_examples=300, deadline=None)
    @given(messages)
    def test_wrong_types(self, message: dict[str, Any]) -> None:
        """Anything where something else belongs."""
        self.check(json.dumps(message).encode())

    @settings(max_examples=300, deadline=None)
    @given(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from([START, CAMEL_START]))
    def test_one_byte_wrong(self, where: int, byte: int, message: dict[str, Any]) -> None:
        """A good start with one byte changed."""
        data = bytearray(json.dumps(message).encode())
        data[where % len(data)] = byte
        self.check(bytes(data))

    @settings(max_examples=100, deadline=None)
    @given(st.binary(min_size=1, max_size=5000))
    def test_audio_round_trip(self, audio: bytes) -> None:
        """What we send decodes to what we meant."""
        frame = ExotelSerializer().decode(begun().media(audio))
        self.assertEqual(getattr(frame, "payload", None), audio)
