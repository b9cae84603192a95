"""Twilio's wire: a whole recorded call, every kind of bad message, and what we say in return."""

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
from voxray.frames import ULAW_8K, Audio, Connected, Dtmf, Ignored, Mark, StreamStarted, StreamStopped
from voxray.serializers import strictjson
from voxray.serializers.common import REASONS
from voxray.serializers.twilio import TwilioSerializer

CALL = Path(__file__).parent / "data" / "twilio" / "call.jsonl"
SID = "MZ18ad3ab5a668481ce02b83e7395059f0"
CALL_SID = "CA0123456789abcdef0123456789abcdef"
START: dict[str, Any] = {
    "event": "start",
    "start": {
        "accountSid": "AC0123456789abcdef0123456789abcdef",
        "streamSid": SID,
        "callSid": CALL_SID,
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"from": "+15558675310"},
    },
    "streamSid": SID,
}


def decode(message: object) -> frames.Frame:
    """By a fresh serializer; `message` is bytes or what becomes JSON."""
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    return TwilioSerializer().decode(data)


def start(**changes: object) -> dict[str, Any]:
    """A start message with some of its inner keys replaced; None removes."""
    inner = {**START["start"], **changes}
    return {**START, "start": {key: value for key, value in inner.items() if value is not None}}


def media(payload: object, **more: object) -> dict[str, Any]:
    return {"event": "media", "media": {"payload": payload, **more}}


class RecordedCallTests(SynchronousTestCase):
    """The recorded call, line by line."""

    def lines(self, direction: str) -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in CALL.read_text().splitlines()]
        return [entry["msg"] for entry in entries if entry["dir"] == direction]

    def test_every_message_in(self) -> None:
        """Each message becomes the frame that says the same."""
        serializer = TwilioSerializer()
        for message in self.lines("in"):
            frame = serializer.decode(json.dumps(message).encode())
            self.assertEqual(frame, self.meaning(message))

    def meaning(self, message: dict[str, Any]) -> frames.Frame:
        event = message["event"]
        if event == "start":
            body = message["start"]
            return StreamStarted(
                body["streamSid"], body["callSid"], body["accountSid"], ULAW_8K, body["customParameters"]
            )
        if event == "media":
            body = message["media"]
            return Audio(base64.b64decode(body["payload"]), int(body["timestamp"]))
        others: dict[str, Any] = {
            "connected": lambda: Connected(),
            "mark": lambda: Mark(message["mark"]["name"]),
            "dtmf": lambda: Dtmf(message["dtmf"]["digit"]),
            "stop": lambda: StreamStopped(),
        }
        return others[event]()  # type: ignore[no-any-return]

    def test_every_message_out(self) -> None:
        """What we would send for the same content is equal to what was recorded."""
        serializer = TwilioSerializer()
        serializer.decode(json.dumps(START).encode())
        for message in self.lines("out"):
            if message["event"] == "media":
                ours = serializer.media(base64.b64decode(message["media"]["payload"]))
            elif message["event"] == "mark":
                ours = serializer.mark(message["mark"]["name"])
            else:
                ours = serializer.clear()
            self.assertEqual(json.loads(ours), message)


class StartTests(SynchronousTestCase):
    """What makes a stream, and what does not."""

    def refused(self, message: object) -> str:
        return self.assertRaises(BadMessage, decode, message).reason

    def test_other_spellings(self) -> None:
        """snake_case keys and ids of test tools are understood."""
        frame = decode(
            {
                "event": "start",
                "stream_sid": "tool:stream-1",
                "start": {
                    "call_sid": 42,
                    "media_format": {"encoding": "audio/x-mulaw", "sample_rate": "8000"},
                },
            }
        )
        self.assertEqual(frame, StreamStarted("tool:stream-1", "42", "", ULAW_8K, {}))

    def test_parameters_of_any_kind(self) -> None:
        """Object, empty string, null and absence are all parameters; what is not text is left out."""
        for value in ("", None, [], 5):
            frame = decode(start(customParameters=value))
            self.assertEqual(getattr(frame, "parameters", None), {})
        frame = decode(start(customParameters={"a": "b", "n": 5, "o": {}, "e": "", "t": True}))
        self.assertEqual(getattr(frame, "parameters", None), {"a": "b", "n": "5", "e": ""})

    def test_parameters_are_bounded(self) -> None:
        """A thousand parameters, or one of a page, are cut."""
        frame = decode(start(customParameters={f"k{i}": "v" * 900 for i in range(1000)}))
        assert isinstance(frame, StreamStarted)
        self.assertEqual((len(frame.parameters), len(frame.parameters["k0"])), (64, 500))

    def test_ids_must_be_safe(self) -> None:
        """Ids that could leave a URL, a JSON string or a log line are refused."""
        for bad in ("", "../Messages", 'a"b', "a b", "x\n", "é", "a" * 129, None, {}, [], True):
            self.assertEqual(self.refused(start(callSid=bad)), "bad_start", bad)
        self.assertEqual(self.refused(start(accountSid="../x")), "bad_start")

    def test_no_start_object(self) -> None:
        """`start` without its object is no start."""
        for value in (None, 5, "x", [], True):
            self.assertEqual(self.refused({"event": "start", "start": value}), "bad_start")

    def test_only_ulaw_at_8000(self) -> None:
        """Any other codec is refused: it must not be heard as noise. Its absence means Twilio's only one."""
        for described in (
            {"encoding": "audio/x-alaw", "sampleRate": 8000},
            {"encoding": "audio/x-mulaw", "sampleRate": 16000},
            {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 2},
            {"encoding": ["audio/x-mulaw"]},
            {},
            "audio/x-mulaw",
        ):
            self.assertEqual(self.refused(start(mediaFormat=described)), "unsupported_media", described)
        self.assertEqual(getattr(decode(start(mediaFormat=None)), "media_format", None), ULAW_8K)

    def test_second_start_changes_nothing(self) -> None:
        """What we send keeps the id of the first start."""
        serializer = TwilioSerializer()
        serializer.decode(json.dumps(START).encode())
        serializer.decode(json.dumps(start(streamSid="MZ" + "f" * 32)).encode())
        self.assertEqual(json.loads(serializer.clear())["streamSid"], SID)


class MediaTests(SynchronousTestCase):
    """Base64 of any quality."""

    def test_lenient(self) -> None:
        """Line breaks, no padding, the URL alphabet: all the same audio."""
        audio = bytes(range(256)) + b"\xfb"
        text = base64.b64encode(audio).decode()
        urlsafe = base64.urlsafe_b64encode(audio).decode()
        for spelling in (
            text,
            text.rstrip("="),
            urlsafe,
            f" {text[:9]}\r\n{text[9:]}\n",
            urlsafe.rstrip("="),
        ):
            self.assertEqual(decode(media(spelling)), Audio(audio))

    @shows("F34")
    def test_bad_base64(self) -> None:
        """What is no base64 is dropped, not turned into something else."""
        for bad in ("!!!!", "A", "AAAAA", "AA\0AA", "AA=A", "é===", "AAAA\ud800", "日本"):
            problem = self.assertRaises(BadMessage, decode, media(bad))
            self.assertIn(problem.reason, ("bad_base64", "not_json"), bad)

    @shows("F35")
    def test_any_size(self) -> None:
        """Packets are whatever arrives; an empty one is no audio."""
        for size in (1, 159, 160, 161, 320, 3200, 48_000):
            self.assertEqual(decode(media(base64.b64encode(b"u" * size).decode())), Audio(b"u" * size))
        self.assertEqual(decode(media("")), Ignored("empty_media"))

    def test_our_own_voice(self) -> None:
        """The outbound track never becomes audio of the caller."""
        self.assertEqual(decode(media("AAAA", track="outbound")), Ignored("outbound_track"))
        self.assertEqual(decode(media("AAAA", track="inbound")), Audio(b"\0\0\0"))

    def test_timestamps(self) -> None:
        """Digits or an integer are a clock, all else is none."""
        for value, expected in (("64", 64), (64, 64), ("x", None), ("-1", None), (-1, None), (1.5, None)):
            self.assertEqual(decode(media("AAAA", timestamp=value)), Audio(b"\0\0\0", expected))
        for odd in ("9" * 5000, "²", True, [], {}, "9" * 16):
            self.assertEqual(decode(media("AAAA", timestamp=odd)), Audio(b"\0\0\0", None))

    def test_no_payload(self) -> None:
        """Media that is no object, or has no text in it."""
        for body in (None, 5, "x", [], {}, {"payload": {}}, {"payload": 5}, {"payload": None}):
            problem = self.assertRaises(BadMessage, decode, {"event": "media", "media": body})
            self.assertEqual(problem.reason, "bad_media")


class OtherMessageTests(SynchronousTestCase):
    """Keys, marks, and what is unknown."""

    def test_dtmf(self) -> None:
        """Twelve keys and the four letters; a number is its digit."""
        self.assertEqual(decode({"event": "dtmf", "dtmf": {"digit": 5}}), Dtmf("5"))
        self.assertEqual(decode({"event": "dtmf", "dtmf": {"digit": "a"}}), Dtmf("A"))
        for body in (None, {}, {"digit": ""}, {"digit": "12"}, {"digit": "x"}, {"digit": True}, []):
            problem = self.assertRaises(BadMessage, decode, {"event": "dtmf", "dtmf": body})
            self.assertEqual(problem.reason, "bad_dtmf")

    def test_marks(self) -> None:
        """A mark needs its name."""
        for body in (None, {}, {"name": 5}, {"name": "x" * 257}, "x"):
            problem = self.assertRaises(BadMessage, decode, {"event": "mark", "mark": body})
            self.assertEqual(problem.reason, "bad_mark")

    def test_unknown_event(self) -> None:
        """Tomorrow's events are let pass."""
        self.assertEqual(decode({"event": "sparkle"}), Ignored("unknown_event"))

    def test_not_the_protocol(self) -> None:
        """Each kind of nonsense has its reason."""
        for message, reason in (
            (b"", "not_json"),
            (b"{", "not_json"),
            (b'{"event":NaN}', "not_json"),
            (b"\xff\xfe{\x00}\x00", "not_json"),
            ("{}".encode("utf-16"), "not_json"),
            (b"[" * 30_000 + b"]" * 30_000, "not_json"),
            (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "not_json"),
            ([], "not_object"),
            (5, "not_object"),
            (b"null", "not_object"),
            ("x", "not_object"),
            ({}, "no_event"),
            ({"event": []}, "no_event"),
            ({"event": None}, "no_event"),
        ):
            self.assertEqual(self.assertRaises(BadMessage, decode, message).reason, reason, message)

    @shows("T14")
    def test_without_orjson(self) -> None:
        """The standard library's JSON is made as strict."""
        for bad in (b'{"event":NaN}', "{}".encode("utf-16"), b"\xff", b"[1e999"):
            self.assertRaises(ValueError, strictjson.std_loads, bad)
        self.assertEqual(strictjson.std_loads(b'{"a":[1]}'), {"a": [1]})
        self.assertEqual(strictjson.std_dumps({"a": "é\n"}), b'{"a":"\\u00e9\\n"}')

    def test_mark_names_are_escaped(self) -> None:
        """A mark's name cannot leave its string."""
        serializer = TwilioSerializer()
        serializer.decode(json.dumps(START).encode())
        for name in ('a"b', "a\\", "line\nbreak", "é"):
            self.assertEqual(json.loads(serializer.mark(name))["mark"]["name"], name)


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=9))
values = st.one_of(
    scalars, st.lists(scalars, max_size=3), st.dictionaries(st.text(max_size=5), scalars, max_size=3)
)
EVENTS = ["connected", "start", "media", "mark", "dtmf", "stop", "clear"]
KEYS = ["payload", "track", "timestamp", "name", "digit", "streamSid", "callSid", "mediaFormat"]
messages = st.fixed_dictionaries(
    {"event": st.one_of(st.sampled_from(EVENTS), scalars)},
    optional={name: st.one_of(values, st.dictionaries(st.sampled_from(KEYS), values)) for name in EVENTS},
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
    """Ten thousand messages nobody should send."""

    def check(self, data: bytes) -> bool:
        """True when it was refused."""
        try:
            frame = TwilioSerializer().decode(data)
        except BadMessage as problem:
            self.assertIn(problem.reason, REASONS)
            return True
        self.assertIsInstance(frame, get_args(frames.Frame))
        return False

    def test_ten_thousand_spoilt_messages(self) -> None:
        """The recorded call's messages with one or more values wrong: a frame or a known reason."""
        dice = random.Random(7)
        entries = [json.loads(line) for line in CALL.read_text().splitlines()]
        good = [entry["msg"] for entry in entries if "msg" in entry]
        bad = 0
        for _ in range(10_000):
            message = dice.choice(good)
            for _ in range(dice.randint(1, 3)):
                message = spoil(message, dice)
            data = json.dumps(message).encode()
            if dice.random() < 0.1:
                data = data[: dice.randint(0, len(data))]
            bad += self.check(data)
        self.assertGreater(bad, 3000)  # else the spoiling spoils nothing

    @settings(max_examples=300, deadline=None)
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
    @given(st.integers(0, 10_000), st.integers(0, 255))
    def test_one_byte_wrong(self, where: int, byte: int) -> None:
        """A good start with one byte changed."""
        data = bytearray(json.dumps(START).encode())
        data[where % len(data)] = byte
        self.check(bytes(data))

    @settings(max_examples=100, deadline=None)
    @given(st.binary(min_size=1, max_size=4000))
    def test_audio_round_trip(self, audio: bytes) -> None:
        """What we send decodes to what we meant."""
        serializer = TwilioSerializer()
        serializer.decode(json.dumps(START).encode())
        self.assertEqual(serializer.decode(serializer.media(audio)), Audio(audio))
