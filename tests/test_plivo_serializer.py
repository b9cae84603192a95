"""Plivo's wire: a whole recorded call, every kind of bad message, and what we say in return."""

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
from voxray import frames
from voxray.errors import BadMessage
from voxray.frames import (
    ULAW_8K,
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
from voxray.serializers.plivo import CONTENT_TYPES, PlivoSerializer, extra_headers

CALL = Path(__file__).parent / "data" / "plivo" / "call.jsonl"
STREAM = "87654321-4321-4321-4321-cba987654321"
CALL_UUID = "12345678-1234-1234-1234-123456789abc"
L16_8K, L16_16K = MediaFormat(Encoding.L16, 8000), MediaFormat(Encoding.L16, 16_000)


def start(headers: object = None, **changes: object) -> dict[str, Any]:
    """A start message with some of its inner keys replaced; None removes."""
    inner: dict[str, object] = {
        "callId": CALL_UUID,
        "streamId": STREAM,
        "accountId": "MAXXXXXXXXXXXXXXXXXX",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
        **changes,
    }
    message: dict[str, Any] = {
        "event": "start",
        "sequenceNumber": 1,
        "start": {k: v for k, v in inner.items() if v is not None},
    }
    return message if headers is None else {**message, "extra_headers": headers}


def decode(message: object) -> frames.Frame:
    """By a fresh serializer; `message` is bytes or what becomes JSON."""
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    return PlivoSerializer().decode(data)


def up(**changes: object) -> PlivoSerializer:
    """A serializer whose stream has started."""
    serializer = PlivoSerializer()
    serializer.decode(json.dumps(start(**changes)).encode())
    return serializer


def media(payload: object, **more: object) -> dict[str, Any]:
    return {"event": "media", "streamId": STREAM, "media": {"payload": payload, **more}}


def recorded(direction: str) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in CALL.read_text().splitlines()]
    return [entry["msg"] for entry in entries if entry["dir"] == direction]


class RecordedCallTests(SynchronousTestCase):
    """The recorded call, line by line."""

    def meaning(self, message: dict[str, Any]) -> frames.Frame:
        event = message["event"]
        if event == "start":
            body = message["start"]
            parameters = {"userId": "12345", "sessionId": "abc"}
            return StreamStarted(body["streamId"], body["callId"], body["accountId"], ULAW_8K, parameters)
        if event == "media":
            body = message["media"]
            return Audio(base64.b64decode(body["payload"]), int(body["timestamp"]))
        if event == "playedStream":
            return Mark(message["name"])
        if event == "dtmf":
            return Dtmf(message["dtmf"]["digit"])
        self.assertEqual(event, "clearedAudio")
        return Ignored("cleared")

    def test_every_message_in(self) -> None:
        """Each message becomes the frame that says the same; `start` is the first."""
        serializer = PlivoSerializer()
        messages = recorded("in")
        self.assertEqual(messages[0]["event"], "start")
        self.assertGreater(len(messages), 12)
        for message in messages:
            frame = serializer.decode(json.dumps(message).encode())
            self.assertEqual(frame, self.meaning(message))

    def test_every_message_out(self) -> None:
        """What we would send for the same content is byte for byte what was recorded."""
        serializer = up()
        messages = recorded("out")
        self.assertEqual({m["event"] for m in messages}, {"playAudio", "checkpoint", "clearAudio"})
        for message in messages:
            if message["event"] == "playAudio":
                ours = serializer.media(base64.b64decode(message["media"]["payload"]))
            elif message["event"] == "checkpoint":
                ours = serializer.mark(message["name"])
            else:
                ours = serializer.clear()
            self.assertEqual(ours, json.dumps(message, separators=(",", ":")).encode())


class StartTests(SynchronousTestCase):
    """What makes a stream, and what does not."""

    def refused(self, message: object) -> str:
        return self.assertRaises(BadMessage, decode, message).reason

    def format_of(self, described: object) -> MediaFormat:
        frame = decode(start(mediaFormat=described))
        assert isinstance(frame, StreamStarted)
        return frame.media_format

    def test_three_formats(self) -> None:
        """The codec is the one `start` names, numbers as numbers or strings, a `;rate=` understood."""
        for encoding, rate, expected in (
            ("audio/x-mulaw", 8000, ULAW_8K),
            ("audio/x-mulaw", "8000", ULAW_8K),
            ("audio/x-l16", 8000, L16_8K),
            ("audio/x-l16", 16_000, L16_16K),
            ("Audio/X-L16", "16000", L16_16K),
            ("audio/x-l16;rate=16000", None, L16_16K),
            ("audio/x-l16; rate=8000", 8000, L16_8K),
            ("audio/x-mulaw", None, ULAW_8K),
        ):
            described = {"encoding": encoding} | ({} if rate is None else {"sampleRate": rate})
            self.assertEqual(self.format_of(described), expected, described)
        self.assertEqual(self.format_of(None), ULAW_8K)

    def test_other_formats(self) -> None:
        """Any other codec is refused: it must not be heard as noise."""
        for described in (
            {"encoding": "audio/x-alaw", "sampleRate": 8000},
            {"encoding": "audio/x-mulaw", "sampleRate": 16_000},
            {"encoding": "audio/x-l16", "sampleRate": 24_000},
            {"encoding": "audio/x-l16", "sampleRate": 8000, "channels": 2},
            {"encoding": "audio/x-l16", "sampleRate": "9" * 5000},
            {"encoding": ["audio/x-mulaw"]},
            {},
            "audio/x-mulaw",
        ):
            self.assertEqual(self.refused(start(mediaFormat=described)), "unsupported_media", described)

    def test_what_was_asked_for(self) -> None:
        """Where `start` names no codec, it is the one our document asked for."""
        for wire, content_type in CONTENT_TYPES.items():
            serializer = PlivoSerializer(content_type=f"{content_type};rate={wire.rate_hz}")
            frame = serializer.decode(json.dumps(start(mediaFormat=None)).encode())
            assert isinstance(frame, StreamStarted)
            self.assertEqual(frame.media_format, wire)

    @shows("F35")
    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=300), st.integers(1, 99))
    def test_byte_order(self, samples: list[int], cut: int) -> None:
        """Linear PCM is little-endian, or turned round both ways; a message may end inside a sample."""
        linear = {"encoding": "audio/x-l16", "sampleRate": 16_000}
        native = b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)
        for order, big in (("little", False), ("big", True)):
            sent = b"".join(sample.to_bytes(2, order, signed=True) for sample in samples)  # type: ignore[arg-type]
            serializer = PlivoSerializer(l16_big_endian=big)
            serializer.decode(json.dumps(start(mediaFormat=linear)).encode())
            heard = [
                serializer.decode(json.dumps(media(base64.b64encode(piece).decode())).encode())
                for piece in (sent[:cut], sent[cut:])
            ]
            self.assertEqual(b"".join(f.payload for f in heard if isinstance(f, Audio)), native)
            ours = json.loads(serializer.media(native))["media"]["payload"]
            self.assertEqual(base64.b64decode(ours), sent)

    def test_ulaw_has_no_byte_order(self) -> None:
        """Bytes that are samples are left as they are."""
        serializer = PlivoSerializer(l16_big_endian=True)
        serializer.decode(json.dumps(start()).encode())
        self.assertEqual(serializer.decode(json.dumps(media("AQI=")).encode()), Audio(b"\1\2"))
        self.assertEqual(json.loads(serializer.media(b"\1\2"))["media"]["payload"], "AQI=")

    def test_what_we_play_matches(self) -> None:
        """`playAudio` names the codec and rate of `start`, without a rate in the type."""
        for described, content_type, rate in (
            ({"encoding": "audio/x-mulaw", "sampleRate": 8000}, "audio/x-mulaw", 8000),
            ({"encoding": "audio/x-l16", "sampleRate": 8000}, "audio/x-l16", 8000),
            ({"encoding": "audio/x-l16;rate=16000", "sampleRate": "16000"}, "audio/x-l16", 16_000),
        ):
            sent = json.loads(up(mediaFormat=described).media(b"\x01\x02"))
            expected = {"contentType": content_type, "sampleRate": rate, "payload": "AQI="}
            self.assertEqual(sent, {"event": "playAudio", "media": expected})

    def test_other_spellings(self) -> None:
        """snake_case keys, a stream id at the top and ids of test tools are understood."""
        message = {
            "event": "start",
            "stream_id": "tool:stream-1",
            "start": {
                "call_id": 42,
                "media_format": {"encoding": "audio/x-l16", "sample_rate": "16000"},
            },
        }
        self.assertEqual(decode(message), StreamStarted("tool:stream-1", "42", "", L16_16K, {}))

    def test_ids_must_be_safe(self) -> None:
        """Ids that could leave a URL, a JSON string or a log line are refused."""
        for bad in ("", "../Account", 'a"b', "a b", "x\n", "é", "a" * 129, None, {}, [], True):
            self.assertEqual(self.refused(start(callId=bad)), "bad_start", bad)
            self.assertEqual(self.refused(start(streamId=bad)), "bad_start", bad)
        for bad in (None, 5, "x", [], True):
            self.assertEqual(self.refused({"event": "start", "start": bad}), "bad_start")

    def test_second_start_changes_nothing(self) -> None:
        """What we send keeps the id and the codec of the first start."""
        serializer = up()
        again = start(streamId="other", mediaFormat={"encoding": "audio/x-l16", "sampleRate": 8000})
        serializer.decode(json.dumps(again).encode())
        self.assertEqual(json.loads(serializer.clear())["streamId"], STREAM)
        self.assertEqual(json.loads(serializer.media(b"x"))["media"]["contentType"], "audio/x-mulaw")


class ExtraHeadersTests(SynchronousTestCase):
    """`extra_headers`, in the three spellings that were seen."""

    def test_spellings(self) -> None:
        """A JSON string first, else pairs apart by semicolons or commas; an object is taken as it is."""
        for value in (
            "userId=12345;sessionId=abc",
            "userId=12345,sessionId=abc",
            " userId = 12345 ; sessionId = abc ;",
            '{"userId":"12345","sessionId":"abc"}',
            '{"userId":12345,"sessionId":"abc","no":{},"nor":null}',
            {"userId": 12345, "sessionId": "abc"},
        ):
            self.assertEqual(extra_headers(value), {"userId": "12345", "sessionId": "abc"}, value)
            frame = decode(start(headers=value))
            assert isinstance(frame, StreamStarted)
            self.assertEqual(frame.parameters, {"userId": "12345", "sessionId": "abc"})

    def test_nothing(self) -> None:
        """Absent, empty, of another type, or without a pair in it: no parameters."""
        for value in (
            None,
            "",
            5,
            [],
            True,
            "[1]",
            "5",
            "abc",
            "=x",
            ";,;",
            "{",
            '{"a"}',
            "[" * 4000,
            "\ud800",
        ):
            self.assertEqual(extra_headers(value), {}, value)

    def test_values(self) -> None:
        """A value may hold "=" or be empty; what looks like JSON and is none is read as pairs."""
        self.assertEqual(extra_headers("a=b=c;d="), {"a": "b=c", "d": ""})
        self.assertEqual(extra_headers("{a=b;c=d"), {"{a": "b", "c": "d"})

    def test_bounds(self) -> None:
        """A page of headers is cut."""
        many = extra_headers(";".join(f"k{i}=v" for i in range(100_000)))
        self.assertEqual(len(many), 64)
        self.assertEqual(len(extra_headers("k=" + "v" * 10_000)["k"]), 500)
        self.assertEqual(len(extra_headers({f"k{i}": "v" for i in range(1000)})), 64)
        self.assertEqual(extra_headers("a=1;" + "x" * 5000 + ";b=2"), {"a": "1"})

    @settings(max_examples=300, deadline=None)
    @given(st.dictionaries(st.text("abcXYZ019", min_size=1, max_size=9), st.text("abc 019", max_size=9)))
    def test_what_a_document_could_send(self, pairs: dict[str, str]) -> None:
        """Whatever of letters and digits goes in comes out, whichever spelling."""
        kept = {name: value.strip() for name, value in list(pairs.items())[:64]}
        for separator in (";", ","):
            self.assertEqual(extra_headers(separator.join(f"{k}={v}" for k, v in kept.items())), kept)
        self.assertEqual(extra_headers(json.dumps(kept)), kept)


class OtherMessageTests(SynchronousTestCase):
    """Marks, keys, the end, and what is unknown."""

    def test_marks(self) -> None:
        """`playedStream` is a mark, by name alone, and so is the older `played`."""
        for event in ("playedStream", "played"):
            self.assertEqual(decode({"event": event, "name": "v0-1"}), Mark("v0-1"))
            for body in ({}, {"name": 5}, {"name": "x" * 257}, {"name": None}):
                problem = self.assertRaises(BadMessage, decode, {"event": event, **body})
                self.assertEqual(problem.reason, "bad_mark")

    def test_cleared(self) -> None:
        """The word that the buffer was emptied needs no answer of ours."""
        self.assertEqual(decode({"event": "clearedAudio"}), Ignored("cleared"))

    def test_stop(self) -> None:
        """Only some descriptions have it, so it is tolerated in any shape."""
        for body in ({}, {"reason": "callended"}, {"stop": {}}, {"stop": None}, {"streamId": 5}):
            self.assertEqual(decode({"event": "stop", **body}), StreamStopped())

    def test_connected(self) -> None:
        """Not Plivo's, but no harm."""
        self.assertEqual(decode({"event": "connected"}), Connected())

    def test_dtmf(self) -> None:
        """Twelve keys and the four letters; a number is its digit."""
        self.assertEqual(decode({"event": "dtmf", "dtmf": {"digit": 5}}), Dtmf("5"))
        self.assertEqual(decode({"event": "dtmf", "dtmf": {"digit": "#", "timestamp": "x"}}), Dtmf("#"))
        for body in (None, {}, {"digit": ""}, {"digit": "12"}, {"digit": "x"}, {"digit": True}, []):
            problem = self.assertRaises(BadMessage, decode, {"event": "dtmf", "dtmf": body})
            self.assertEqual(problem.reason, "bad_dtmf")

    def test_media(self) -> None:
        """Audio of any size and either way of writing numbers; our own voice is not the caller's."""
        self.assertEqual(decode(media("AAAA", timestamp="1741860000020")), Audio(b"\0\0\0", 1741860000020))
        self.assertEqual(decode(media("AAAA", timestamp=24, chunk="1")), Audio(b"\0\0\0", 24))
        self.assertEqual(decode(media("AAAA", track="inbound")), Audio(b"\0\0\0"))
        self.assertEqual(decode(media("AAAA", track="outbound")), Ignored("outbound_track"))
        self.assertEqual(decode(media("")), Ignored("empty_media"))
        for bad in (5, None, {}):
            self.assertEqual(self.assertRaises(BadMessage, decode, media(bad)).reason, "bad_media")
        self.assertEqual(self.assertRaises(BadMessage, decode, media("A!A")).reason, "bad_base64")

    def test_unknown_events(self) -> None:
        """Tomorrow's events, and our own coming back, are let pass."""
        for event in ("sparkle", "playAudio", "clearAudio", "checkpoint", "error"):
            self.assertEqual(decode({"event": event}), Ignored("unknown_event"))

    def test_mark_names_are_escaped(self) -> None:
        """A mark's name cannot leave its string."""
        for name in ('a"b', "a\\", "line\nbreak", "é"):
            sent = json.loads(up().mark(name))
            self.assertEqual(sent, {"event": "checkpoint", "streamId": STREAM, "name": name})


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=9))
values = st.one_of(
    scalars, st.lists(scalars, max_size=3), st.dictionaries(st.text(max_size=5), scalars, max_size=3)
)
EVENTS = ["start", "media", "playedStream", "played", "dtmf", "stop", "clearedAudio", "connected"]
KEYS = ["payload", "track", "timestamp", "name", "digit", "streamId", "callId", "mediaFormat"]
inner = st.one_of(values, st.dictionaries(st.sampled_from(KEYS), values))
messages = st.fixed_dictionaries(
    {"event": st.one_of(st.sampled_from(EVENTS), scalars)},
    optional=dict.fromkeys(("start", "media", "dtmf", "name", "extra_headers"), inner),
)
ODD: list[Any] = [None, True, 0, -1, 1e300, 10**30, "", "!!!!", "\ud800", "x" * 300, [], [[]], {}, {"a": {}}]


def spoil(message: Any, dice: random.Random) -> Any:
    """A copy with one value, somewhere, turned into something else, or gone."""
    if not isinstance(message, dict) or not message or dice.random() < 0.2:
        return dice.choice(ODD)
    copy = dict(message)
    key = dice.choice(list(copy))
    if dice.random() < 0.15:
        del copy[key]
    else:
        copy[key] = spoil(copy[key], dice)
    return copy


@shows("F30", "F34", "F36")
class MalformedTests(SynchronousTestCase):
    """Messages nobody should send."""

    def check(self, data: bytes) -> bool:
        """True when it was refused."""
        try:
            frame = PlivoSerializer().decode(data)
        except BadMessage as problem:
            self.assertIn(problem.reason, REASONS)
            return True
        self.assertIsInstance(frame, get_args(frames.Frame))
        return False

    def test_ten_thousand_spoilt_messages(self) -> None:
        """The recorded call's messages with one or more values wrong: a frame or a known reason."""
        refused = 0

        @settings(max_examples=10_000, deadline=None, database=None)
        @given(st.sampled_from(recorded("in") + recorded("out")), st.randoms(use_true_random=True))
        def spoilt(message: Any, dice: random.Random) -> None:
            nonlocal refused
            for _ in range(dice.randint(1, 3)):
                message = spoil(message, dice)
            data = json.dumps(message).encode()
            if dice.random() < 0.1:
                data = data[: dice.randint(0, len(data))]
            refused += self.check(data)

        spoilt()
        self.assertGreater(refused, 1000)  # else the spoiling spoils nothing

    @settings(max_examples=500, deadline=None)
    @given(messages)
    def test_wrong_types(self, message: dict[str, Any]) -> None:
        """Anything where something else belongs: a frame or BadMessage with a known reason."""
        self.check(json.dumps(message).encode())

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=200))
    def test_noise(self, data: bytes) -> None:
        """Bytes of any kind."""
        self.check(data)

    @settings(max_examples=300, deadline=None)
    @given(st.one_of(st.text(max_size=200), st.recursive(scalars, lambda v: st.dictionaries(st.text(), v))))
    def test_extra_headers(self, value: object) -> None:
        """Whatever they are, parameters are text by name."""
        for name, item in extra_headers(value).items():
            self.assertIsInstance(name, str)
            self.assertIsInstance(item, str)

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=700))
    def test_audio_survives(self, payload: bytes) -> None:
        """What we send as `playAudio` reads back as the same bytes."""
        sent = json.loads(up().media(payload))["media"]["payload"]
        frame = decode(media(sent))
        self.assertEqual(frame, Audio(payload) if payload else Ignored("empty_media"))
