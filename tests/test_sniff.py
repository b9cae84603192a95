"""Whose call it is: by the shape of a socket's first messages, and by the names of a webhook's parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.configs import settings as made_of
from tests.test_exotel_serializer import CAMEL_START
from voxray import frames
from voxray.carriers.recognise import carrier_of_webhook
from voxray.catalog_carriers import CARRIERS, build_carrier
from voxray.errors import BadMessage
from voxray.serializers.sniff import MAX_MESSAGES, Sniffer, carrier_of_start

DATA = Path(__file__).parent / "data"


def recorded(carrier: str) -> list[bytes]:
    """All that the carrier sent in its recorded call."""
    entries = [json.loads(line) for line in (DATA / carrier / "call.jsonl").read_text().splitlines()]
    return [json.dumps(entry["msg"]).encode() for entry in entries if entry["dir"] == "in"]


CALLS = {carrier: recorded(carrier) for carrier in CARRIERS}
STARTS: dict[str, dict[str, Any]] = {
    carrier: next(m for m in map(json.loads, messages) if m["event"] == "start")
    for carrier, messages in CALLS.items()
}
FORMS: dict[str, dict[str, str]] = {
    carrier: recorded["request"].get("form") or recorded["request"].get("query")
    for carrier, recorded in json.loads((DATA / "simulator" / "webhooks.json").read_text()).items()
    if carrier in CARRIERS
}
CONFIGURED = ["", *CARRIERS]
SETTINGS = made_of()

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=3,
)
# What may come before a `start`: not JSON, no object, another event.
junk = st.one_of(
    st.binary(max_size=40),
    json_values.filter(lambda value: not isinstance(value, dict)).map(json.dumps).map(str.encode),
    json_values.map(lambda value: json.dumps({"event": "connected", "version": value}).encode()),
    json_values.map(lambda value: json.dumps({"event": "media", "media": value}).encode()),
    json_values.map(lambda value: json.dumps({"start": value}).encode()),
)


def is_object(message: bytes) -> bool:
    try:
        return isinstance(json.loads(message.decode("utf-8")), dict)
    except ValueError:
        return False


def without(start: dict[str, Any], *names: str, **more: object) -> dict[str, Any]:
    inner = {key: value for key, value in start["start"].items() if key not in names}
    return {**start, "start": {**inner, **more}}


class StartTests(SynchronousTestCase):
    """`carrier_of_start`, line by line of the protocol reference."""

    def test_recorded_starts(self) -> None:
        """Each carrier's own is its own, whatever is configured."""
        for carrier, start in STARTS.items():
            for configured in CONFIGURED:
                self.assertEqual(carrier_of_start(start, configured), carrier)

    def test_telnyx_needs_both_ids(self) -> None:
        """The stream's id at the top and the call's within."""
        start = STARTS["telnyx"]
        self.assertEqual(carrier_of_start(without(start, "call_control_id")), "")
        self.assertEqual(carrier_of_start({k: v for k, v in start.items() if k != "stream_id"}), "")

    def test_exotel_in_camel_case(self) -> None:
        """Twilio's spelling with Exotel's numbers or encodings, or where Exotel is configured."""
        start = CAMEL_START
        bare = without(start, "from", "to", "mediaFormat")
        self.assertEqual(carrier_of_start(start), "exotel")
        self.assertEqual(carrier_of_start(without(start, "to", "mediaFormat")), "exotel")
        self.assertEqual(carrier_of_start(without(start, "from", "mediaFormat")), "exotel")
        self.assertEqual(carrier_of_start(bare), "twilio")
        self.assertEqual(carrier_of_start(bare, "exotel"), "exotel")
        self.assertEqual(carrier_of_start(bare, "twilio"), "twilio")
        for encoding in ("base64", "raw", "raw/slin", "audio/x-raw"):
            described = without(start, "from", "to", mediaFormat={"encoding": encoding})
            self.assertEqual(carrier_of_start(described), "exotel", encoding)
        for odd in (
            "audio/x-mulaw",
            "",
            None,
            5,
            ["base64"],
            {},
        ):  # none of Exotel's, nor Twilio's whole shape
            described = without(start, "from", "to", mediaFormat={"encoding": odd})
            self.assertEqual(carrier_of_start(described), "twilio", odd)

    def test_ids_alone_do_not_decide(self) -> None:
        """Exotel's pages print MZ and CA for ids; u-law and MZ together are Twilio's, in any case."""
        printed = {"stream_sid": "MZ" + "0" * 32, "call_sid": "CA" + "0" * 32}
        self.assertEqual(carrier_of_start({"event": "start", "start": printed}), "exotel")
        numbered = without(STARTS["twilio"], **{"from": "+1", "to": "+2"})
        self.assertEqual(carrier_of_start(numbered, "exotel"), "twilio")
        for sid in ("MZ" + "0" * 31, "MZ" + "G" * 32, "XX" + "0" * 32, 7):
            self.assertEqual(carrier_of_start(without(numbered, streamSid=sid)), "exotel", sid)

    def test_no_start(self) -> None:
        """Another event, no object within, ids that are none: nobody's."""
        for document in (
            {},
            {"event": "connected"},
            {"event": "start"},
            {"event": "start", "start": None},
            {"event": "start", "start": [1]},
            {"event": ["start"], "start": STARTS["plivo"]["start"]},
            {"event": "media", "start": STARTS["plivo"]["start"]},
            without(STARTS["plivo"], callId=""),
            without(STARTS["plivo"], callId=None),
            without(STARTS["plivo"], callId={}),
            without(STARTS["plivo"], callId=True),
        ):
            for configured in CONFIGURED:
                self.assertEqual(carrier_of_start(document, configured), "", document)

    @settings(max_examples=300, deadline=None)
    @given(
        st.sampled_from(list(STARTS)),
        st.dictionaries(st.text(max_size=12), json_values, max_size=4),
        st.sampled_from(CONFIGURED),
    )
    def test_new_keys(self, carrier: str, more: dict[str, Any], configured: str) -> None:
        """Keys that a carrier adds tomorrow change nothing; ours win where they clash."""
        start = STARTS[carrier]
        grown = {**more, **start, "start": {**more, **start["start"]}}
        self.assertEqual(carrier_of_start(grown, configured), carrier)

    @settings(max_examples=300, deadline=None)
    @given(json_values, st.sampled_from(CONFIGURED))
    def test_any_start(self, inner: Any, configured: str) -> None:
        """Whatever stands in a `start`, the answer is a carrier or nobody."""
        self.assertIn(carrier_of_start({"event": "start", "start": inner}, configured), CONFIGURED)


class SnifferTests(SynchronousTestCase):
    """Messages one by one, until they tell; none of them is lost."""

    def fed(self, messages: list[bytes], configured: str = "") -> tuple[Sniffer, int, Any]:
        """The sniffer, how many messages it took, and what it said at last."""
        sniffer = Sniffer(configured)
        for count, message in enumerate(messages, 1):
            if (told := sniffer.feed(message)) is not None:
                return sniffer, count, told
        return sniffer, len(messages), None

    def test_recorded_calls(self) -> None:
        """The start tells, be it the second message or, with Plivo, the first; nothing after it is read."""
        for carrier, messages in CALLS.items():
            _, count, told = self.fed(messages)
            self.assertEqual(count, 1 if carrier == "plivo" else 2)
            self.assertEqual(told, (carrier, messages[:count]))

    def test_only_a_start(self) -> None:
        """A peer that sends `start` and then waits is not waited for."""
        for carrier, start in [*STARTS.items(), ("exotel", CAMEL_START)]:
            message = json.dumps(start).encode()
            self.assertEqual(Sniffer().feed(message), (carrier, [message]))

    def test_replay(self) -> None:
        """What was held and what comes after, through the carrier's serializer: the call as it was."""
        for carrier, messages in CALLS.items():
            made = build_carrier(carrier).serializer
            whole = made(SETTINGS, {})
            expected = [whole.decode(message) for message in messages]
            _, count, told = self.fed(messages)
            serializer = made(SETTINGS, {})
            replayed = [serializer.decode(message) for message in told[1] + messages[count:]]
            self.assertEqual(replayed, expected)
            self.assertIn(frames.StreamStarted, [type(frame) for frame in replayed])

    @settings(max_examples=100, deadline=None)
    @given(
        st.sampled_from([*STARTS.items(), ("exotel", CAMEL_START)]),
        st.lists(junk, max_size=MAX_MESSAGES - 1),
    )
    def test_junk_before(self, call: tuple[str, dict[str, Any]], before: list[bytes]) -> None:
        """Junk decides nothing: objects are held in their order, what is none is counted and gone."""
        carrier, start = call
        message = json.dumps(start).encode()
        sniffer, count, told = self.fed([*before, message])
        objects = [m for m in before if is_object(m)]
        self.assertEqual((count, told), (len(before) + 1, (carrier, [*objects, message])))
        self.assertEqual(sniffer.ignored, len(before) - len(objects))

    @settings(max_examples=50, deadline=None)
    @given(st.lists(junk, min_size=MAX_MESSAGES, max_size=25), st.sampled_from(CONFIGURED))
    def test_bounded(self, messages: list[bytes], configured: str) -> None:
        """After twenty messages nothing more is read or held, not even a start."""
        sniffer, _, told = self.fed(messages, configured)
        self.assertIsNone(told)
        self.assertTrue(sniffer.exhausted)
        self.assertEqual(len(sniffer.held) + sniffer.ignored, MAX_MESSAGES)
        self.assertIsNone(sniffer.feed(CALLS["plivo"][0]))
        self.assertEqual(len(sniffer.held) + sniffer.ignored, MAX_MESSAGES)

    def test_the_twentieth(self) -> None:
        """A start as the last message that is read still tells."""
        sniffer = Sniffer()
        for _ in range(MAX_MESSAGES - 1):
            self.assertIsNone(sniffer.feed(b"[]"))
            self.assertFalse(sniffer.exhausted)
        self.assertEqual(sniffer.feed(CALLS["plivo"][0]), ("plivo", CALLS["plivo"][:1]))

    def test_nobodys_start(self) -> None:
        """A start that is nobody's is the configured carrier's: its serializer says what is wrong with it."""
        message = b'{"event":"start","start":{"callSid":"CA1"}}'
        sniffer = Sniffer()
        self.assertIsNone(sniffer.feed(message))
        self.assertEqual(sniffer.feed(CALLS["twilio"][1]), ("twilio", [message, CALLS["twilio"][1]]))
        for carrier in CARRIERS:
            self.assertEqual(Sniffer(carrier).feed(message), (carrier, [message]))
            serializer = build_carrier(carrier).serializer(SETTINGS, {})
            self.assertEqual(self.assertRaises(BadMessage, serializer.decode, message).reason, "bad_start")


class WebhookTests(SynchronousTestCase):
    """`carrier_of_webhook`."""

    def test_recorded_webhooks(self) -> None:
        """Each carrier's own, and a form with names that nobody knows."""
        self.assertEqual(set(FORMS), set(CARRIERS))
        for carrier, form in FORMS.items():
            self.assertEqual(carrier_of_webhook(form), carrier)
            self.assertEqual(carrier_of_webhook({**form, "NewParameter": "1"}), carrier)

    def test_by_what(self) -> None:
        """Names before ids; an id counts only where it is that carrier's alone."""
        twilio, telnyx = "CA" + "0" * 32, "v3:T02llQxIyaRkhfRKxgAP8nY511"
        for form, carrier in (
            ({}, ""),
            ({"CallSid": ""}, ""),
            ({"CallSid": "a" * 32}, ""),
            ({"CallSid": twilio}, "twilio"),
            ({"CallSid": twilio + "0"}, ""),
            ({"CallSid": "CA" + "G" * 32}, ""),
            ({"CallSid": twilio, "ConnectionId": "1"}, "telnyx"),
            ({"CallSid": twilio, "CallSidLegacy": "x"}, "telnyx"),
            ({"CallSid": twilio, "ConnectionId": ""}, "twilio"),
            ({"CallSid": telnyx}, "telnyx"),
            ({"CallSid": "v9:x"}, "telnyx"),
            ({"CallSid": "v3:"}, ""),
            ({"CallSid": "w3:x"}, ""),
            ({"CallFrom": "1"}, "exotel"),
            ({"CallTo": "1"}, "exotel"),
            ({"CallFrom": "", "CallTo": ""}, ""),
            ({"CallSid": twilio, "CallFrom": "1", "CallTo": "2"}, "exotel"),  # as Exotel's pages print it
            ({"CallSid": twilio, "CallFrom": "1", "From": "2"}, "twilio"),
            ({"CallUUID": "x"}, "plivo"),
            ({"CallUUID": "x", "CallSid": twilio}, "plivo"),
            ({"CallUUID": ""}, ""),
            ({"From": "1", "To": "2"}, ""),
        ):
            self.assertEqual(carrier_of_webhook(form), carrier, form)

    @settings(max_examples=300, deadline=None)
    @given(st.dictionaries(st.text(max_size=12), st.text(max_size=40)))
    def test_anything(self, form: dict[str, str]) -> None:
        """Any form is somebody's or nobody's."""
        names = {"CallSid", "CallUUID", "CallFrom", "CallTo", "ConnectionId", "CallSidLegacy"}
        self.assertIn(carrier_of_webhook(form), CONFIGURED if names & set(form) else [""])
