"""Telnyx's wire: a whole recorded call, codecs of every leg, messages out of order, every kind of bad one."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any, get_args

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.test_twilio_serializer import spoil
from voxray import frames
from voxray.audio.codec import codec_for
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
    Wire,
)
from voxray.serializers.common import REASONS
from voxray.serializers.reorder import RESTARTED, WINDOW, Reorder
from voxray.serializers.telnyx import SEND_FORMATS, TelnyxSerializer

CALL = Path(__file__).parent / "data" / "telnyx" / "call.jsonl"
ENTRIES: list[dict[str, Any]] = [json.loads(line) for line in CALL.read_text().splitlines()]
STREAM_ID = "32DE0DEA-53CB-4B21-89A4-9E1819C043BC"
CALL_ID = "v3:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BborherQ"
START: dict[str, Any] = next(e["msg"] for e in ENTRIES if e["msg"]["event"] == "start")


def started(serializer: TelnyxSerializer, **changes: object) -> StreamStarted:
    """The start of a stream, with some of its inner keys replaced; None removes."""
    inner = {key: value for key, value in {**START["start"], **changes}.items() if value is not None}
    frame = serializer.decode(json.dumps({**START, "start": inner}).encode())
    assert isinstance(frame, StreamStarted)
    return frame


def decode(message: object) -> frames.Frame:
    """By a fresh serializer."""
    return TelnyxSerializer().decode(json.dumps(message).encode())


def media(payload: bytes, **more: object) -> bytes:
    body = {"track": "inbound", "payload": base64.b64encode(payload).decode(), **more}
    return json.dumps({"event": "media", "media": body, "stream_id": STREAM_ID}).encode()


class RecordedCallTests(SynchronousTestCase):
    """The recorded call, line by line."""

    def test_every_message_in(self) -> None:
        """Each message becomes the frame that says the same."""
        serializer, seen = TelnyxSerializer(), set()
        for entry in ENTRIES:
            if entry["dir"] == "in":
                seen.add(entry["msg"]["event"])
                frame = serializer.decode(json.dumps(entry["msg"]).encode())
                self.assertEqual(frame, self.meaning(entry["msg"]))
        self.assertEqual(seen, {"connected", "start", "media", "mark", "dtmf", "stop"})

    def meaning(self, message: dict[str, Any]) -> frames.Frame:
        if message["event"] == "start":
            numbers = {"from": "+13122010094", "to": "+13122123456", "customer_id": "customer_123"}
            user_id = "3E6F995F-85F7-4705-9741-53B116D28237"
            return StreamStarted(STREAM_ID, CALL_ID, user_id, ULAW_8K, numbers, ULAW_8K)
        if message["event"] == "media":
            body = message["media"]
            return Audio(base64.b64decode(body["payload"]), int(body["timestamp"]))
        others: dict[str, Any] = {
            "connected": lambda: Connected(),
            "mark": lambda: Mark(message["mark"]["name"]),
            "dtmf": lambda: Dtmf(message["dtmf"]["digit"]),
            "stop": lambda: StreamStopped(),
        }
        return others[message["event"]]()  # type: ignore[no-any-return]

    def test_every_message_out(self) -> None:
        """What we would send for the same content is what was recorded, byte for byte."""
        serializer = TelnyxSerializer()
        for entry in ENTRIES:
            if entry["dir"] != "out":
                continue
            message = entry["msg"]
            if message["event"] == "media":
                ours = serializer.media(base64.b64decode(message["media"]["payload"]))
            elif message["event"] == "mark":
                ours = serializer.mark(message["mark"]["name"])
            else:
                ours = serializer.clear()
            self.assertEqual(ours.decode(), json.dumps(message, separators=(",", ":")))


class StartTests(SynchronousTestCase):
    """What makes a stream, and in which codec."""

    def test_codecs(self) -> None:
        """The leg's codec is how the caller is heard; what we say is in the codec we asked for."""
        for encoding, rate, expected in (
            ("PCMU", 8000, ULAW_8K),
            ("pcma", "8000", MediaFormat(Encoding.ALAW, 8000)),
            ("L16", 8000, MediaFormat(Encoding.L16, 8000)),
            ("L16", 16000, MediaFormat(Encoding.L16, 16000)),
            ("audio/L16", "24000", MediaFormat(Encoding.L16, 24000)),
            ("OPUS", 48000, MediaFormat(Encoding.L16, 16000)),  # decoded at the edge
            ("opus", "8000", MediaFormat(Encoding.L16, 16000)),
        ):
            described = {"encoding": encoding, "sample_rate": rate, "channels": 1}
            for codec, spoken in SEND_FORMATS.items():
                frame = started(TelnyxSerializer(codec=codec), media_format=described)
                self.assertEqual(frame.wire, Wire(heard=expected, spoken=spoken))

    def test_other_codecs_are_refused(self) -> None:
        """A codec we cannot read is no u-law: it is refused by name, and told what to do."""
        for described, said in (
            ({"encoding": "OPUS", "sample_rate": 44100}, "OPUS at 44100 Hz"),
            ({"encoding": "OPUS", "sample_rate": 48000, "channels": 3}, "OPUS at 48000 Hz"),
            ({"encoding": "G722", "sample_rate": 8000}, "G722 at 8000 Hz"),
            ({"encoding": "AMR-WB", "sample_rate": 16000}, "AMR-WB at 16000 Hz"),
            ({"encoding": "PCMU", "sample_rate": 16000}, "PCMU at 16000 Hz"),
            ({"encoding": "L16", "sample_rate": 44100}, "L16 at 44100 Hz"),
            ({"encoding": "PCMU", "channels": 2}, "PCMU"),
            ({"encoding": "\n" * 99}, "the codec"),
            ({"encoding": ["PCMU"]}, "PCMA, L16 or OPUS"),
            ({}, "PCMA, L16 or OPUS"),
            ("PCMU", "no object"),
        ):
            with self.assertRaises(BadMessage) as caught:
                started(TelnyxSerializer(), media_format=described)
            self.assertEqual(caught.exception.reason, "unsupported_media", described)
            self.assertIn(said, caught.exception.detail)
            self.assertLess(len(caught.exception.detail), 123)  # it is the close frame's reason

    def test_no_media_format(self) -> None:
        """Nothing said of the codec: the one our document asks for."""
        for codec, spoken in SEND_FORMATS.items():
            frame = started(TelnyxSerializer(codec=codec), media_format=None)
            self.assertEqual(frame.wire, Wire(spoken, spoken))

    def test_other_spellings(self) -> None:
        """camelCase keys, Twilio's names and the stream's id inside `start` are understood."""
        inner = {
            "streamId": "s-1",
            "callControlId": "c-1",
            "userId": "u-1",
            "mediaFormat": {"encoding": "PCMA", "sampleRate": "8000"},
            "customParameters": {"a": "b"},
        }
        frame = decode({"event": "start", "start": inner})
        alaw = MediaFormat(Encoding.ALAW, 8000)
        self.assertEqual(frame, StreamStarted("s-1", "c-1", "u-1", alaw, {"a": "b"}, ULAW_8K))

    def test_ids_must_be_safe(self) -> None:
        """Ids that could leave a URL, a JSON string or a log line are refused."""
        for bad in ("", "../transfer", 'a"b', "a b", "x\n", "é", "a" * 129, None, {}, [], True):
            problem = self.assertRaises(BadMessage, started, TelnyxSerializer(), call_control_id=bad)
            self.assertEqual(problem.reason, "bad_start", bad)
        self.assertRaises(BadMessage, decode, {**START, "stream_id": "../x"})
        self.assertRaises(BadMessage, started, TelnyxSerializer(), user_id="../x")

    def test_second_start_changes_nothing(self) -> None:
        """The codec is the first start's."""
        serializer = TelnyxSerializer()
        started(serializer)
        started(serializer, media_format={"encoding": "L16", "sample_rate": 16000, "channels": 1})
        self.assertEqual(serializer.decode(media(b"\x01\x02")), Audio(b"\x01\x02"))


class MediaTests(SynchronousTestCase):
    """Audio in, audio out."""

    def l16(self, big: bool = True) -> TelnyxSerializer:
        serializer = TelnyxSerializer(codec="L16", l16_big_endian=big)
        started(serializer, media_format={"encoding": "L16", "sample_rate": 16000, "channels": 1})
        return serializer

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=400))
    def test_byte_order(self, samples: list[int]) -> None:
        """Big-endian PCM comes in as the samples that were spoken, and so goes out; little-endian if told."""
        decoded = codec_for(MediaFormat(Encoding.L16, 16_000)).decode
        for order, big in (("big", True), ("little", False)):
            sent = b"".join(sample.to_bytes(2, order, signed=True) for sample in samples)  # type: ignore[arg-type]
            serializer = self.l16(big)
            frame = serializer.decode(media(sent))
            assert isinstance(frame, Audio)
            self.assertEqual(decoded(frame.payload).tolist(), samples)
            ours = base64.b64decode(json.loads(serializer.media(frame.payload))["media"]["payload"])
            self.assertEqual(ours, sent.ljust(640, b"\0"))

    @shows("F35")
    def test_half_samples(self) -> None:
        """A stray byte is dropped, and does not turn what follows into noise."""
        serializer = self.l16()
        self.assertEqual(serializer.decode(media(b"\x01\x02\x03")), Audio(b"\x02\x01"))
        self.assertEqual(serializer.decode(media(b"\x03")), Ignored("empty_media"))
        self.assertEqual(serializer.decode(media(b"\x04\x05")), Audio(b"\x05\x04"))

    def test_our_own_voice(self) -> None:
        """The outbound track is not the caller's voice, and its numbers are not the caller's."""
        serializer = TelnyxSerializer()
        for chunk in (1, 2, 3, 4, 5):
            ours = media(b"o", track="outbound", chunk=str(chunk))
            self.assertEqual(serializer.decode(ours), Ignored("outbound_track"))
        self.assertEqual(serializer.decode(media(b"i", chunk="1")), Audio(b"i"))

    def test_no_number(self) -> None:
        """Audio without a number, or with none that can be read, goes through as it comes."""
        serializer = TelnyxSerializer()
        for chunk in (None, "x", -1, 1.5, True, [], "9" * 400):
            self.assertEqual(serializer.decode(media(b"u", chunk=chunk)), Audio(b"u"), chunk)

    def test_at_least_20_ms(self) -> None:
        """A shorter message would be refused: it is filled up with silence; a longer one is left alone."""
        for codec, least, silence in (("PCMU", 160, b"\xff"), ("PCMA", 160, b"\xd5"), ("L16", 640, b"\0")):
            serializer = TelnyxSerializer(codec=codec)
            for size in (2, least - 2, least, least + 2, 10 * least):
                message = json.loads(serializer.media(b"\x10" * size))
                payload = base64.b64decode(message["media"]["payload"])
                self.assertEqual(payload, (b"\x10" * size).ljust(least, silence), (codec, size))

    def test_mark_names_are_escaped(self) -> None:
        """A mark's name cannot leave its string."""
        for name in ('a"b', "a\\", "line\nbreak", "é"):
            self.assertEqual(json.loads(TelnyxSerializer().mark(name))["mark"]["name"], name)


class ComplaintTests(SynchronousTestCase):
    """`error` messages: Telnyx did not like what we sent."""

    def test_by_code(self) -> None:
        """Each has a label of its own; what is unknown is one, whatever a stranger writes there."""
        for code, label in (
            (100002, "carrier_unknown_error"),
            (100003, "carrier_malformed_frame"),
            ("100004", "carrier_invalid_media"),
            (100005, "carrier_rate_limit_reached"),
            (7, "carrier_unknown_error"),
            ("x" * 99, "carrier_unknown_error"),
            ({}, "carrier_unknown_error"),
        ):
            message = {"event": "error", "payload": {"code": code, "title": "t"}, "stream_id": STREAM_ID}
            self.assertEqual(decode(message), Ignored(label, complaint=True), code)
        for payload in (None, [], "x", {}):
            expected = Ignored("carrier_unknown_error", complaint=True)
            self.assertEqual(decode({"event": "error", "payload": payload}), expected)

    def test_unknown_event(self) -> None:
        """Tomorrow's events are let pass."""
        self.assertEqual(decode({"event": "sparkle"}), Ignored("unknown_event"))


def told(reorder: Reorder[int], numbers: list[int]) -> list[int]:
    """What comes out, in the order it does."""
    return [out for number in numbers for out in reorder.feed(number, number) or ()]


@st.composite
def jittered(draw: st.DrawFn) -> list[int]:
    """1..n, each delayed by up to WINDOW others, a few lost."""
    count = draw(st.integers(1, 40))
    delays = draw(st.lists(st.integers(0, WINDOW), min_size=count, max_size=count))
    return sorted(range(1, count + 1), key=lambda n: (n + delays[n - 1], n))


@shows("F37")
class ReorderTests(SynchronousTestCase):
    """The window, by numbers alone."""

    def test_in_order(self) -> None:
        """What comes in order goes through at once, one by one."""
        reorder: Reorder[int] = Reorder()
        for number in range(1, 200):
            self.assertEqual(reorder.feed(number, number), [number])

    @settings(max_examples=500, deadline=None)
    @given(jittered())
    @example([4, 1, 2, 3])
    @example([2, 1])
    def test_permutations_within_the_window(self, arrived: list[int]) -> None:
        """Whatever the order within the window, all of it comes out, in order."""
        self.assertEqual(told(Reorder(), arrived), sorted(arrived))

    @settings(max_examples=500, deadline=None)
    @given(jittered(), st.sets(st.integers(1, 40)), st.integers(1, 3))
    def test_gaps_do_not_stall(self, arrived: list[int], lost: set[int], duplicated: int) -> None:
        """With some lost and some doubled, what comes out is in order, each once, at most a window behind."""
        reorder: Reorder[int] = Reorder()
        out: list[int] = []
        fed: set[int] = set()
        for number in arrived:
            if number in lost:
                continue
            for _ in range(duplicated):
                out += reorder.feed(number, number) or ()
            fed.add(number)
            self.assertLessEqual(len([n for n in fed if n > max(out, default=0)]), WINDOW)
        self.assertEqual(out, sorted(set(out)))

    def test_given_up(self) -> None:
        """A lost one holds up three, then no more; when it comes after all it is dropped, as is a copy."""
        reorder: Reorder[int] = Reorder()
        steps = [(1, [1]), (3, []), (4, []), (3, None), (5, []), (6, [3, 4, 5, 6]), (2, None), (7, [7])]
        for number, expected in steps:
            self.assertEqual(reorder.feed(number, number), expected, number)

    def test_begins_anywhere(self) -> None:
        """Numbers from 0, from 1, or from the middle of a stream: nothing is lost."""
        for first in (0, 1, 500):
            numbers = list(range(first, first + 10))
            self.assertEqual(told(Reorder(), numbers), numbers)

    def test_count_restarts(self) -> None:
        """A carrier that counts from 1 again loses a few packets, not its caller."""
        reorder: Reorder[int] = Reorder()
        told(reorder, list(range(1, 100)))
        self.assertEqual(told(reorder, list(range(1, 50))), list(range(RESTARTED, 50)))

    def test_one_wild_number(self) -> None:
        """One number from nowhere neither stops nor skips the others."""
        reorder: Reorder[int] = Reorder()
        self.assertEqual(told(reorder, [1, 2, 10**14, 3, 4, 5, 6, 7, 8]), [1, 2, 3, 4, 5, 6, 7, 8])

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.integers(0, 30)))
    def test_any_numbers(self, numbers: list[int]) -> None:
        """Whatever the numbers, little waits and nothing comes out twice in a row."""
        reorder: Reorder[int] = Reorder()
        for number in numbers:
            self.assertLessEqual(len(reorder.feed(number, number) or ()), WINDOW + 1)
            self.assertLessEqual(len(reorder._waiting), WINDOW)


@shows("F37")
class OutOfOrderTests(SynchronousTestCase):
    """The window, on the wire."""

    def test_put_right(self) -> None:
        """Early audio waits and comes with what it waited for; the frame begins at the first one's time."""
        serializer = TelnyxSerializer()
        sent = [media(bytes([n]) * 160, chunk=str(n), timestamp=str(n * 20)) for n in range(5)]
        got = [serializer.decode(sent[n]) for n in (1, 3, 2, 4, 2)]
        self.assertEqual(
            got,
            [
                Audio(b"\1" * 160, 20),
                Ignored("early_media"),
                Audio(b"\2" * 160 + b"\3" * 160, 40),
                Audio(b"\4" * 160, 80),
                Ignored("late_media"),
            ],
        )

    def test_linear_pcm_too(self) -> None:
        """Order first, then bytes."""
        serializer = TelnyxSerializer()
        started(serializer, media_format={"encoding": "L16", "sample_rate": 8000, "channels": 1})
        self.assertEqual(serializer.decode(media(b"\1\2", chunk=1)), Audio(b"\2\1"))
        serializer.decode(media(b"\5\6", chunk=3))
        self.assertEqual(serializer.decode(media(b"\3\4", chunk=2)), Audio(b"\4\3\6\5"))


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=9))
values = st.one_of(
    scalars, st.lists(scalars, max_size=3), st.dictionaries(st.text(max_size=5), scalars, max_size=3)
)
EVENTS = ["connected", "start", "media", "mark", "dtmf", "stop", "error", "clear"]
KEYS = ["payload", "track", "chunk", "timestamp", "name", "digit", "call_control_id", "media_format", "code"]
messages = st.fixed_dictionaries(
    {"event": st.one_of(st.sampled_from(EVENTS), scalars)},
    optional={name: st.one_of(values, st.dictionaries(st.sampled_from(KEYS), values)) for name in EVENTS},
)


@shows("F30", "F34", "F36")
class MalformedTests(SynchronousTestCase):
    """Ten thousand messages nobody should send, all to one stream: none may spoil it for good."""

    def check(self, serializer: TelnyxSerializer, data: bytes) -> bool:
        """True when it was refused."""
        try:
            frame = serializer.decode(data)
        except BadMessage as problem:
            self.assertIn(problem.reason, REASONS)
            return True
        self.assertIsInstance(frame, get_args(frames.Frame))
        return False

    def test_ten_thousand_spoilt_messages(self) -> None:
        """The recorded call's messages with one or more values wrong: a frame or a known reason."""
        dice = random.Random(7)
        good = [entry["msg"] for entry in ENTRIES]
        serializer, bad = TelnyxSerializer(), 0
        started(serializer)
        for _ in range(10_000):
            message = dice.choice(good)
            for _ in range(dice.randint(1, 3)):
                message = spoil(message, dice)
            data = json.dumps(message).encode()
            if dice.random() < 0.1:
                data = data[: dice.randint(0, len(data))]
            bad += self.check(serializer, data)
        self.assertGreater(bad, 3000)  # else the spoiling spoils nothing
        heard = [serializer.decode(media(b"u", chunk=str(n))) for n in range(1000, 1020)]
        self.assertGreater(sum(isinstance(frame, Audio) for frame in heard), 10)

    @settings(max_examples=300, deadline=None)
    @given(messages)
    def test_wrong_types(self, message: dict[str, Any]) -> None:
        """Anything where something else belongs: a frame or BadMessage with a known reason."""
        self.check(TelnyxSerializer(), json.dumps(message).encode())

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=200))
    def test_noise(self, data: bytes) -> None:
        """Bytes of any kind."""
        self.check(TelnyxSerializer(), data)
