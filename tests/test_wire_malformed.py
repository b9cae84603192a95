"""Ten thousand messages nobody should send, of twenty kinds, to each carrier's serializer.

Nothing but BadMessage may come of them; what they cost is counted in calls and bytes, both bounded by the
message's own length. They go to streams that are up and to some that are not, and every stream still
hears its caller afterwards. The seeds are Hypothesis's, other ones at each run; a failure prints its own.
"""

from __future__ import annotations

import base64
import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.test_audio_opus import encoded
from tests.test_exotel_serializer import CAMEL_START
from tests.test_twilio_serializer import spoil
from tests.test_wire_shapes import ENTRIES, messages, serializer
from voxray import frames
from voxray.audio import opus
from voxray.audio.tones import sine
from voxray.catalog_carriers import CARRIERS
from voxray.errors import BadMessage
from voxray.frames import Audio, StreamStarted
from voxray.interfaces import Serializer
from voxray.serializers.common import REASONS
from voxray.serializers.reorder import WINDOW

Dice = random.Random
Kind = Callable[[Dice, str], object]
"""Makes a message of one kind for a carrier: bytes, or what becomes JSON."""

RUNS, EACH = 25, 20  # 25 seeds, 20 messages of each of the 20 kinds: 10,000 to each carrier

LIMIT = 65_536  # the socket's; nothing longer reaches a serializer
OTHERS: list[Any] = [None, True, 0, -1, 5, 1e300, 10**18, "", "x", "\0", [], [1], {}, {"payload": {}}]
PACKETS = [base64.b64encode(packet).decode() for packet in encoded(sine(440, 400, 16_000, 0.3))]


def starts(carrier: str) -> list[dict[str, Any]]:
    found = [m for m in messages(carrier, "in") if m["event"] == "start"]
    return [*found, CAMEL_START] if carrier == "exotel" else found


def media_of(carrier: str, dice: Dice, **changes: object) -> dict[str, Any]:
    """A good media message with some of its inner keys replaced; ... removes."""
    good = dice.choice([m for m in messages(carrier, "in") if m["event"] == "media"])
    body = {key: item for key, item in {**good["media"], **changes}.items() if item is not ...}
    return {**good, "media": body}


def start_of(carrier: str, dice: Dice, **changes: object) -> dict[str, Any]:
    good = dice.choice(starts(carrier))
    return {**good, "start": {**good["start"], **changes}}


def text(dice: Dice) -> str:
    """What strings may hold: right-to-left marks, NUL, half a surrogate pair, line ends, quotes."""
    return "".join(
        dice.choices('a0\u202e\u200f\0\ud800\udfff\n\r\u2028"\\\uffff\U0001f600é', k=dice.randint(0, 40))
    )


def dumped(message: object) -> bytes:
    return message if isinstance(message, bytes) else json.dumps(message).encode()


# -- the kinds ---------------------------------------------------------------------
def cut_off(dice: Dice, carrier: str) -> object:
    whole = dumped(dice.choice(messages(carrier, "in")))
    return whole[: dice.randint(0, len(whole) - 1)]


def noise(dice: Dice, carrier: str) -> object:
    """Bytes of any kind, as a binary message on a JSON stream would have, and JSON in other encodings."""
    good = dumped(dice.choice(messages(carrier, "in")))
    return dice.choice(
        [
            dice.randbytes(dice.randint(0, 200)),
            b"\xff" + good,
            good.decode().encode("utf-16"),
            b"\xef\xbb\xbf" + good,
        ]
    )


def one_byte(dice: Dice, carrier: str) -> object:
    data = bytearray(dumped(dice.choice(messages(carrier, "in"))))
    data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data)


def no_object(dice: Dice, carrier: str) -> object:
    return dice.choice([None, True, 5, 1.5, "start", [], [dice.choice(messages(carrier, "in"))], [[[]]]])


def no_event(dice: Dice, carrier: str) -> object:
    return {**dice.choice(messages(carrier, "in")), "event": dice.choice(OTHERS)}


def wrong_body(dice: Dice, carrier: str) -> object:
    """`media: 5`, `start: []`, `dtmf: null`, a mark without its object."""
    message = dict(dice.choice(messages(carrier, "in")))
    for key in [key for key in message if key != "event"]:
        message[key] = dice.choice(OTHERS)
    return message


def wrong_payload(dice: Dice, carrier: str) -> object:
    return media_of(carrier, dice, payload=dice.choice([..., None, 5, {}, [], True, 1.5]))


def bad_base64(dice: Dice, carrier: str) -> object:
    some = [
        "!!!!",
        "A",
        "AAAAA",
        "AA\0AA",
        "AA=A",
        "AAAA====",
        "====",
        "é" * 8,
        "AAA\ud800",
        "A" * 9999,
        text(dice),
    ]
    return media_of(carrier, dice, payload=dice.choice(some))


def odd_size(dice: Dice, carrier: str) -> object:
    size = dice.choice([0, 1, 2, 159, 161, 319, 320, 321, 1601, 3200, 3201, 48_000])
    return media_of(carrier, dice, payload=base64.b64encode(dice.randbytes(size)).decode())


def wrong_numbers(dice: Dice, carrier: str) -> object:
    """Out of order, gaps, doubles, wrapped round, strings and integers, none at all."""
    number = dice.choice(
        [0, 1, 2, 5, "1", "3", -1, 2**31, 2**32, 2**63, "9" * 15, "9" * 16, "x", 1.5, None, ..., [], "²"]
    )
    clock = dice.choice([0, "20", -20, 2**63 - 1, "9" * 400, 1e308, None, ..., {}])
    return media_of(carrier, dice, chunk=number, timestamp=clock)


def wrong_track(dice: Dice, carrier: str) -> object:
    return media_of(carrier, dice, track=dice.choice([*OTHERS, "outbound", "outbound_track", "both_tracks"]))


def wrong_key(dice: Dice, carrier: str) -> object:
    digit = dice.choice([*OTHERS, "12", "E", "²", "٣", "a", text(dice)])
    return {"event": "dtmf", "dtmf": {"digit": digit, "duration": dice.choice(OTHERS)}}


def wrong_mark(dice: Dice, carrier: str) -> object:
    name = dice.choice([*OTHERS, "x" * 257, "x" * 60_000, text(dice)])
    event = dice.choice(["mark", "playedStream", "played"])
    return {"event": event, "name": name, "mark": {"name": name} if dice.random() < 0.8 else name}


def wrong_start(dice: Dice, carrier: str) -> object:
    """Ids that are none, parameters of any kind."""
    key = dice.choice(list(start_of(carrier, dice)["start"]))
    return start_of(carrier, dice, **{key: dice.choice([*OTHERS, "../x", "a b", "x" * 129, text(dice)])})


def wrong_codec(dice: Dice, carrier: str) -> object:
    encoding = dice.choice(
        [*OTHERS, "OPUS", "G722", "L16", "audio/x-l16", "audio/x-mulaw", "base64", text(dice)]
    )
    rate = dice.choice([*OTHERS, 7, 8000, "16000", "8k", 44_100, -8000, 1e999, "9" * 5000])
    described = {"encoding": encoding, "sample_rate": rate, "channels": dice.choice([*OTHERS, 1, 2])}
    described = dice.choice([described, {**described, "sampleRate": rate}, encoding])
    return start_of(carrier, dice, media_format=described, mediaFormat=described)


def another_start(dice: Dice, carrier: str) -> object:
    """A second one, of the same stream or another, of this carrier or another."""
    whose = dice.choice([carrier, *CARRIERS])
    names = ("streamSid", "stream_sid", "streamId", "stream_id")
    start = start_of(whose, dice)
    return start if dice.random() < 0.5 else {**start, **dict.fromkeys(names, f"other-{dice.randrange(9)}")}


def another_carrier(dice: Dice, carrier: str) -> object:
    """Any line of any of the four recorded calls, in either direction."""
    return dice.choice([entry["msg"] for entry in ENTRIES[dice.choice(list(CARRIERS))] if "msg" in entry])


def too_much(dice: Dice, carrier: str) -> object:
    """A thousand keys, 64 KiB to the byte, brackets without end, numbers no machine has."""
    good = dice.choice(messages(carrier, "in"))
    size = dice.choice([LIMIT - 1, LIMIT])
    more = {f"k{n}": n for n in range(1000)}
    huge = "9" * dice.choice([30, 400, 5000])
    return dice.choice(
        [
            {**more, **good},
            start_of(carrier, dice, customParameters=more, custom_parameters=more),
            {**start_of(carrier, dice), "extra_headers": ";".join(f"{k}={v}" for k, v in more.items())},
            dumped({**good, "pad": ""})[:-2] + b"x" * (size - len(dumped({**good, "pad": ""}))) + b'"}',
            b"[" * (LIMIT // 2) + b"]" * (LIMIT // 2),
            b'{"event":"start","start":' + b'{"start":' * 7000 + b"1" + b"}" * 7001,
            b'{"event":"media","media":{"payload":"AAAA","chunk":%b,"timestamp":1e999}}' % huge.encode(),
            b'{"event":"media","media":{"payload":"AAAA","chunk":NaN,"timestamp":-Infinity}}',
        ]
    )


def strange_text(dice: Dice, carrier: str) -> object:
    """Strings that hold what strings should not, as keys and as values."""
    message = dict(dice.choice(messages(carrier, "in")))
    message[text(dice)] = {text(dice): text(dice)}
    key = dice.choice(list(message))
    message[key] = text(dice) if dice.random() < 0.5 else {text(dice): text(dice), "payload": text(dice)}
    return message


def spoilt(dice: Dice, carrier: str) -> object:
    """Whatever one has not thought of: some values of a good message, anywhere in it, turned into others."""
    message: Any = dice.choice(messages(carrier, "in"))
    for _ in range(dice.randint(1, 3)):
        message = spoil(message, dice)
    return message


KINDS: tuple[Kind, ...] = (
    *(cut_off, noise, one_byte, no_object, no_event, wrong_body, wrong_payload, bad_base64, odd_size),
    *(wrong_numbers, wrong_track, wrong_key, wrong_mark, wrong_start, wrong_codec, another_start),
    *(another_carrier, too_much, strange_text, spoilt),
)

# Streams of each carrier that are up, in every codec that is treated in a way of its own.
STREAMS: dict[str, list[tuple[dict[str, object], dict[str, object] | None]]] = {
    "twilio": [({}, None)],
    "telnyx": [
        ({}, None),
        ({}, {"encoding": "L16", "sample_rate": 16_000}),
        ({"telnyx_codec": "OPUS"}, {"encoding": "OPUS", "sample_rate": 48_000}),
    ],
    "plivo": [({}, None), ({"l16_byte_order": "big"}, {"encoding": "audio/x-l16", "sampleRate": 16_000})],
    "exotel": [({}, None), ({}, {"encoding": "audio/x-mulaw"}), ({}, {"sample_rate": 24_000})],
}


def streams(carrier: str) -> Iterator[Serializer]:
    """One that has not started, and the carrier's `STREAMS`."""
    yield serializer(carrier)
    for document, described in STREAMS[carrier]:
        made, start = serializer(carrier, **document), starts(carrier)[0]
        if described is not None:
            name = "media_format" if "media_format" in start["start"] else "mediaFormat"
            start = {**start, "start": {**start["start"], name: described}}
        assert isinstance(made.decode(dumped(start)), StreamStarted)
        yield made


@contextmanager
def calls_counted() -> Iterator[list[int]]:
    """How many calls of functions, ours and Python's own, are made meanwhile: work, without a clock."""
    count = [0]

    def profile(frame: object, event: str, argument: object) -> None:
        count[0] += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield count
    finally:
        sys.setprofile(before)


@shows("T14", "F30", "F34", "F36")
class MalformedTests(SynchronousTestCase):
    def check(self, made: Serializer, data: bytes) -> bool:
        """True when it was refused. A dozen calls are usual, one for two bytes is out of all proportion."""
        with calls_counted() as calls:
            try:
                frame: frames.Frame | None = made.decode(data)
            except BadMessage as problem:
                frame = None
                self.assertIn(problem.reason, REASONS)
                self.assertLess(len(problem.detail), 123)
        self.assertLess(calls[0], 300 + len(data) / 2, data[:200])
        if frame is None:
            return True
        self.assertIsInstance(frame, get_args(frames.Frame))
        self.assertLess(self.size(frame), 8_192 + 4 * len(data), data[:200])
        return False

    def size(self, frame: frames.Frame) -> int:
        """Of all the text and audio in it, less what may have waited its turn, or been made up."""
        if isinstance(frame, Audio):
            return (
                len(frame.payload) - WINDOW * LIMIT - opus.MAX_CONCEALED_MS * 32 - 4 * opus.MAX_PACKET_MS * 32
            )
        if isinstance(frame, StreamStarted):
            self.assertLessEqual(len(frame.parameters), 66)
            self.assertLessEqual(len(frame.stream_sid + frame.call_sid + frame.account_sid), 3 * 128)
            return sum(len(k) + len(v) for k, v in frame.parameters.items())
        return len(repr(frame))

    def still_hears(self, carrier: str, made: Serializer) -> None:
        """The caller's next second arrives: half of it at least, the rest lost to numbers that lied."""
        heard = 0
        for number in range(1000, 1050):
            payload = PACKETS[number % len(PACKETS)]  # audio in any codec
            body = {
                "track": "inbound",
                "chunk": str(number),
                "timestamp": str(20 * number),
                "payload": payload,
            }
            heard += isinstance(made.decode(dumped({"event": "media", "media": body})), Audio)
        self.assertGreaterEqual(heard, 25, carrier)

    def storm(self, carrier: str, seed: int) -> None:
        dice = random.Random(seed)
        made = list(streams(carrier))
        bad = dict.fromkeys([kind.__name__ for kind in KINDS], 0)
        for _ in range(EACH):
            for kind in KINDS:
                bad[kind.__name__] += self.check(dice.choice(made), dumped(kind(dice, carrier)))
        for kind in (cut_off, no_object, wrong_payload):  # else the kinds are none
            self.assertGreater(bad[kind.__name__], EACH // 2, kind.__name__)
        for stream in made[1:]:
            self.still_hears(carrier, stream)

    @settings(max_examples=RUNS, deadline=None)
    @given(st.integers(0, 2**32))
    def test_twilio(self, seed: int) -> None:
        """A frame or BadMessage with a known reason, in bounded work and size; the stream lives."""
        self.storm("twilio", seed)

    @settings(max_examples=RUNS, deadline=None)
    @given(st.integers(0, 2**32))
    def test_telnyx(self, seed: int) -> None:
        """The same of G.711, linear PCM and Opus legs, whose messages wait for each other."""
        self.storm("telnyx", seed)

    @settings(max_examples=RUNS, deadline=None)
    @given(st.integers(0, 2**32))
    def test_plivo(self, seed: int) -> None:
        """The same of u-law and linear PCM that is turned round."""
        self.storm("plivo", seed)

    @settings(max_examples=RUNS, deadline=None)
    @given(st.integers(0, 2**32))
    def test_exotel(self, seed: int) -> None:
        """The same of linear PCM and u-law, in both spellings."""
        self.storm("exotel", seed)

    def test_as_many_as_promised(self) -> None:
        """Twenty kinds, ten thousand messages to each carrier."""
        self.assertEqual((len(set(KINDS)), RUNS * EACH * len(KINDS)), (20, 10_000))

    def test_the_counting_counts(self) -> None:
        """Work out of proportion would be seen: a loop over the bytes of a message."""
        with calls_counted() as calls:
            [chr(byte) for byte in bytes(1000)]
        self.assertGreater(calls[0], 999)
