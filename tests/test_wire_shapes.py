"""The four wires side by side: what we send has the recorded shape; what comes may be spelled more laxly."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.configs import settings
from tests.test_exotel_serializer import CAMEL_START
from voxray.audio.codec import codec_for
from voxray.catalog_carriers import CARRIERS, build_carrier
from voxray.frames import Audio, Frame, Ignored, StreamStarted
from voxray.interfaces import Serializer

DATA = Path(__file__).parent / "data"
ENTRIES: dict[str, list[dict[str, Any]]] = {
    carrier: [json.loads(line) for line in (DATA / carrier / "call.jsonl").read_text().splitlines()]
    for carrier in CARRIERS
}
# Their own keys, whose values are the owner's: never to be respelled.
PARAMETERS = ("customParameters", "custom_parameters")
COUNTERS = ("timestamp", "chunk", "sequenceNumber", "sequence_number", "sampleRate", "sample_rate", "digit")


def messages(carrier: str, direction: str) -> list[dict[str, Any]]:
    return [entry["msg"] for entry in ENTRIES[carrier] if entry["dir"] == direction]


def serializer(carrier: str, **document: object) -> Serializer:
    return build_carrier(carrier).serializer(settings({"runner_transport": carrier, **document}), {})


def begun(
    carrier: str, start: dict[str, Any] | None = None, **document: object
) -> tuple[Serializer, StreamStarted]:
    made = serializer(carrier, **document)
    start = start or next(m for m in messages(carrier, "in") if m["event"] == "start")
    frame = made.decode(json.dumps(start).encode())
    assert isinstance(frame, StreamStarted)
    return made, frame


def shape(value: object) -> object:
    """Keys in their order, and of each value its type."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    return type(value).__name__


class SentTests(SynchronousTestCase):
    """What we send."""

    def ours(self, made: Serializer, message: dict[str, Any]) -> bytes:
        """The same thing said by us."""
        body = message.get("media") or message.get("mark") or message
        if "payload" in body:
            return made.media(base64.b64decode(body["payload"]))
        return made.mark(body["name"]) if "name" in body else made.clear()

    def test_shape(self) -> None:
        """Key for key, in order, type for type, as recorded; compact, in ASCII, with whole base64."""
        for carrier in CARRIERS:
            made, _ = begun(carrier)
            kinds = set()
            for message in messages(carrier, "out"):
                sent = self.ours(made, message)
                self.assertEqual(shape(json.loads(sent)), shape(message), (carrier, sent))
                self.assertEqual(sent.decode("ascii"), json.dumps(json.loads(sent), separators=(",", ":")))
                kinds.add(message["event"])
                if "media" in message:
                    payload = json.loads(sent)["media"]["payload"]
                    self.assertEqual(payload, message["media"]["payload"])
            self.assertEqual(len(kinds), 3, carrier)

    def test_bytes(self) -> None:
        """And byte for byte, but for Exotel's clock, which is our own audio's."""
        for carrier in CARRIERS:
            made, _ = begun(carrier)
            for message in messages(carrier, "out"):
                sent, recorded = self.ours(made, message), json.dumps(message, separators=(",", ":"))
                if carrier == "exotel":
                    clock = re.compile(r'"timestamp":"[0-9]+"')
                    self.assertEqual(clock.sub("", sent.decode()), clock.sub("", recorded))
                else:
                    self.assertEqual(sent.decode(), recorded)

    def test_shape_in_every_codec(self) -> None:
        """Another codec changes the payload, and what Plivo says of it; never a key or a type."""
        for carrier, document in (
            ("telnyx", {"telnyx_codec": "PCMA"}),
            ("telnyx", {"telnyx_codec": "L16"}),
            ("telnyx", {"telnyx_codec": "OPUS"}),
            ("plivo", {"plivo_content_type": "audio/x-l16;rate=8000"}),
            ("plivo", {"plivo_content_type": "audio/x-l16;rate=16000"}),
            ("exotel", {"exotel_sample_rate": 24_000}),
        ):
            start = next(m for m in messages(carrier, "in") if m["event"] == "start")
            unsaid = {k: v for k, v in start["start"].items() if k not in ("mediaFormat", "media_format")}
            made, frame = begun(carrier, {**start, "start": unsaid}, **document)
            recorded = next(m for m in messages(carrier, "out") if "media" in m)
            sent = json.loads(made.media(codec_for(frame.wire.spoken).silent(40)))
            self.assertEqual(shape(sent), shape(recorded), document)

    def test_exotel_in_camel_case(self) -> None:
        """Only the id's name is another."""
        made, _ = begun("exotel", CAMEL_START)
        for message in messages("exotel", "out"):
            sent = json.loads(self.ours(made, message))
            renamed = {"streamSid" if key == "stream_sid" else key: item for key, item in message.items()}
            self.assertEqual(shape(sent), shape(renamed))

    def test_keys(self) -> None:
        """Plivo alone has a message that presses keys, as its reference prints it."""
        self.assertEqual(begun("plivo")[0].keys("1234#"), b'{"event":"sendDTMF","dtmf":"1234#"}')
        for carrier in ("twilio", "telnyx", "exotel"):
            self.assertIsNone(begun(carrier)[0].keys("1234#"))


# -- laxer spellings of what comes ------------------------------------------------
def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: "_" + found[0].lower(), name)


def respelled(value: Any, spell: Callable[[str], str]) -> Any:
    if not isinstance(value, dict):
        return value
    return {spell(key): item if key in PARAMETERS else respelled(item, spell) for key, item in value.items()}


def swapped_numbers(value: Any) -> Any:
    """Numbers as strings, and strings of digits as numbers, where a carrier counts or measures."""
    if not isinstance(value, dict):
        return value
    swapped = {}
    for key, item in value.items():
        if key in COUNTERS and isinstance(item, int):
            item = str(item)
        elif key in COUNTERS and isinstance(item, str) and item.isdigit():
            item = int(item)
        swapped[key] = swapped_numbers(item)
    return swapped


def grown(value: Any) -> Any:
    """With keys that nobody knows, on every level but among the owner's own."""
    if not isinstance(value, dict):
        return value
    more = {"x_new": {"payload": "AAAA", "track": "outbound"}, "xNew": None, "zeta": [1, "a"]}
    return {**more, **{key: item if key in PARAMETERS else grown(item) for key, item in value.items()}}


class HeardTests(SynchronousTestCase):
    """What comes, otherwise spelled."""

    def frames(self, carrier: str, change: Callable[[Any], Any]) -> Iterator[tuple[Frame, Any]]:
        """Of every recorded message: what it means as it is, and changed."""
        plain, lax = serializer(carrier), serializer(carrier)
        for message in messages(carrier, "in"):
            changed = change(message)
            yield plain.decode(json.dumps(message).encode()), lax.decode(json.dumps(changed).encode())

    def same(self, change: Callable[[Any], Any]) -> None:
        for carrier in CARRIERS:
            for expected, got in self.frames(carrier, change):
                self.assertEqual(got, expected, carrier)

    def test_the_other_spelling(self) -> None:
        """snake_case where camelCase was recorded, and the other way round."""
        self.same(lambda message: respelled(message, snake))
        self.same(lambda message: respelled(message, camel))

    def test_both_spellings_one_null(self) -> None:
        """A null under one spelling does not hide the other."""
        for spell in (snake, camel):
            for carrier in CARRIERS:
                for expected, got in self.frames(
                    carrier,
                    lambda message, spell=spell: {
                        **dict.fromkeys([snake(k) for k in message] + [camel(k) for k in message]),
                        **respelled(message, spell),
                    },
                ):
                    self.assertEqual(got, expected, carrier)

    def test_numbers_and_strings(self) -> None:
        """Numbers for strings and strings for numbers: counters, clocks, rates, keys pressed."""
        self.same(swapped_numbers)

    def test_rates_with_a_point(self) -> None:
        """8000.0 is 8000."""

        def pointed(value: Any) -> Any:
            if not isinstance(value, dict):
                return value
            return {
                key: float(item) if key in ("sampleRate", "sample_rate") else pointed(item)
                for key, item in value.items()
            }

        self.same(pointed)

    def test_new_keys(self) -> None:
        """What a carrier adds tomorrow is let pass, whatever it looks like."""
        self.same(grown)

    def test_tracks(self) -> None:
        """Only the inbound track is the caller, in either spelling; where there is no track, all is."""
        for carrier in CARRIERS:
            for track, heard in (
                ("inbound", True),
                ("inbound_track", True),
                (None, True),
                (..., True),
                ("outbound", False),
                ("outbound_track", False),
                ("both_tracks", False),
                ("", False),
                (5, False),
                ({}, False),
            ):
                made, _ = begun(carrier)
                body = {"payload": "AAAA", "timestamp": "20", "track": track}
                if track is ...:
                    del body["track"]
                frame = made.decode(json.dumps({"event": "media", "media": body}).encode())
                expected = Audio(b"\0\0\0", 20) if heard else Ignored("outbound_track")
                self.assertEqual(frame, expected, (carrier, track))
