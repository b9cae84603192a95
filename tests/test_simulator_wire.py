"""The simulator's reading of the wire: messages, mu-law, the answer document."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxray.simulator import g711, twiml
from voxray.simulator.signing import signature
from voxray.simulator.wires import twilio as wire

CONVERSATION = Path(__file__).parent / "data" / "twilio-sim.jsonl"
STREAM = "MZ18ad3ab5a668481ce02b83e7395059f0"


def recorded(direction: str) -> list[dict[str, object]]:
    """The messages of the recorded conversation in one direction ("in" is Twilio's)."""
    lines = [json.loads(line) for line in CONVERSATION.read_text().splitlines()]
    return [line["msg"] for line in lines if line["dir"] == direction]


class CallerWireTests(SynchronousTestCase):
    def test_equal_to_the_recorded_conversation(self) -> None:
        """Given the same events, every message is Twilio's own, key for key and in the same order."""
        messages = recorded("in")
        start = next(each for each in messages if each["event"] == "start")["start"]
        made = wire.CallerWire(
            account_sid=start["accountSid"], call_sid=start["callSid"], stream_sid=start["streamSid"]
        )
        for message in messages:
            self.assertEqual(self._again(made, message), json.dumps(message, separators=(",", ":")))

    def _again(self, made: wire.CallerWire, message: dict) -> str:
        match message["event"]:
            case "connected":
                return made.connected()
            case "start":
                return made.start(message["start"]["customParameters"])
            case "media":
                media = message["media"]
                return made.media(base64.b64decode(media["payload"]), int(media["timestamp"]))
            case "dtmf":
                return made.dtmf(message["dtmf"]["digit"])
            case "mark":
                return made.mark(message["mark"]["name"])
        return made.stop()

    def test_reads_the_recorded_agent(self) -> None:
        """The agent's half of the conversation is understood message by message."""
        found = [wire.parse(json.dumps(each).encode(), STREAM) for each in recorded("out")]
        kinds = [type(each).__name__ for each in found]
        self.assertEqual(kinds.count("PlayAudio"), 8)
        self.assertEqual(
            [each.name for each in found if isinstance(each, wire.SetMark)], ["greet-1", "ans-1", "bye-1"]
        )
        self.assertEqual(kinds.count("ClearAudio"), 1)
        self.assertTrue(all(len(each.payload) == 160 for each in found if isinstance(each, wire.PlayAudio)))


class ParseTests(SynchronousTestCase):
    def refused(self, message: object) -> wire.WireFault:
        text = message if isinstance(message, bytes) else json.dumps(message).encode()
        return self.assertRaises(wire.WireFault, wire.parse, text, STREAM)

    def test_mistakes_are_named(self) -> None:
        """What Twilio would warn of with 31951 is refused with a reason a developer can act on."""
        cases = [
            (b"{", "not JSON"),
            (b"\xff\xfe", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            ([], "not a JSON object"),
            ({"event": "hangup", "streamSid": STREAM}, "unknown event"),
            ({"event": ["media"], "streamSid": STREAM}, "unknown event"),
            ({"event": "clear"}, "streamSid"),
            ({"event": "clear", "streamSid": "MZ0"}, "streamSid"),
            ({"event": "media", "streamSid": STREAM}, "media.payload"),
            ({"event": "media", "streamSid": STREAM, "media": {"payload": 5}}, "media.payload"),
            ({"event": "media", "streamSid": STREAM, "media": {"payload": "*"}}, "base64"),
            ({"event": "media", "streamSid": STREAM, "media": {"payload": "é"}}, "base64"),
            ({"event": "mark", "streamSid": STREAM, "mark": "x"}, "mark.name"),
        ]
        for message, reason in cases:
            fault = self.refused(message)
            self.assertIn(reason, str(fault))
            self.assertEqual(fault.code, wire.BAD_MESSAGE)

    @given(
        st.binary(max_size=200)
        | st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["event", "media", "mark", "streamSid", "payload"]), inner)
            ),
        ).map(lambda value: json.dumps(value).encode())
    )
    def test_nothing_else_is_raised(self, message: bytes) -> None:
        """Whatever an agent sends is a message or a WireFault."""
        try:
            wire.parse(message, STREAM)
        except wire.WireFault:
            return


class MulawTests(SynchronousTestCase):
    def test_the_standard_values(self) -> None:
        """G.711's corner codes: loudest, silence and negative zero."""
        decoded = g711.decode(bytes([0x00, 0x80, 0xFF, 0x7F]))
        self.assertEqual(decoded.tolist(), [-32124, 32124, 0, 0])

    def test_every_code_survives_a_round_trip(self) -> None:
        """Decoding and encoding again gives the same byte; negative zero becomes zero."""
        codes = bytes(range(256))
        again = g711.encode(g711.decode(codes))
        self.assertEqual(again, codes.replace(b"\x7f", b"\xff"))

    def test_the_nearest_value_is_chosen(self) -> None:
        """No sample is further from its code's value than from any other's (clipping aside)."""
        samples = np.arange(-32768, 32768, 7, dtype=np.int16)
        chosen = g711.decode(g711.encode(samples)).astype(np.int64)
        every = g711.decode(bytes(range(256))).astype(np.int64)
        nearest = np.abs(samples.astype(np.int64)[:, None] - every[None, :]).min(axis=1)
        self.assertTrue(np.array_equal(np.abs(samples.astype(np.int64) - chosen), nearest))


class SignatureTests(SynchronousTestCase):
    def test_the_published_vector(self) -> None:
        """The example of Twilio's security page."""
        form = {
            "CallSid": "CA1234567890ABCDE",
            "Caller": "+14158675310",
            "Digits": "1234",
            "From": "+14158675310",
            "To": "+18005551212",
        }
        made = signature("12345", "https://example.com/myapp.php?foo=1&bar=2", form)
        self.assertEqual(made, "L/OH5YylLD5NRKLltdqwSvS0BnU=")


def answer(inside: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{inside}</Response>'.encode()


class AnswerTests(SynchronousTestCase):
    def refused(self, body: bytes) -> str:
        return str(self.assertRaises(twiml.BadAnswer, twiml.parse_answer, body))

    def test_stream_and_parameters(self) -> None:
        """Url and parameters are read; names and values unescaped."""
        found = twiml.parse_answer(
            answer(
                '<Connect><Stream url="wss://voice.example.com/telephony/ws">'
                '<Parameter name="from" value="+1&amp;&quot;2"/></Stream></Connect><Hangup/>'
            )
        )
        self.assertEqual(found.url, "wss://voice.example.com/telephony/ws")
        self.assertEqual(dict(found.parameters), {"from": '+1&"2'})
        self.assertEqual(found.warnings, ())

    def test_plain_ws_is_warned_about(self) -> None:
        """ws:// works on one's own machine and nowhere else."""
        found = twiml.parse_answer(answer('<Connect><Stream url="ws://127.0.0.1:8080/ws"/></Connect>'))
        self.assertIn("only wss://", found.warnings[0])

    def test_refusals_say_what_is_wrong(self) -> None:
        """Every answer that would leave a caller without an agent is refused by name."""
        long = "x" * 501
        cases = [
            (b"", "not XML"),
            (b'{"url":"wss://x"}', "not XML"),
            (b"<Response>", "not XML"),
            (b"<Say/>", "root is <Say>"),
            (b"<html><body/></html>", "a page of HTML"),
            (b"\n<!DOCTYPE html>\n<html>", "a page of HTML"),
            (answer(""), "it says nothing"),
            (answer("<Say>hello</Say><Hangup/>"), "it says <Say>, <Hangup>"),
            (answer('<Start><Stream url="wss://x/"/></Start>'), "one-way"),
            (answer("<Connect><Stream/></Connect>"), "no url"),
            (answer('<Connect><Stream url="https://x/"/></Connect>'), "must begin with wss://"),
            (answer('<Connect><Stream url="wss:///path"/></Connect>'), "names no host"),
            (answer('<Connect><Stream url="wss://x:99999/"/></Connect>'), "url"),
            (answer('<Connect><Stream url="wss://x/?token=1"/></Connect>'), "query string"),
            (answer('<Connect><Stream url="wss://x/a b"/></Connect>'), "do not belong"),
            (answer('<Connect><Stream url="wss://x/"><Parameter value="1"/></Stream></Connect>'), "no name"),
            (
                answer(
                    f'<Connect><Stream url="wss://x/"><Parameter name="a" value="{long}"/></Stream></Connect>'
                ),
                "500",
            ),
            (b" " * 70_000, "at most 65536"),
            (b'<?xml version="1.0" encoding="klingon"?><Response/>', "not XML"),
        ]
        for body, reason in cases:
            self.assertIn(reason, self.refused(body), body[:80])

    def test_entities_are_refused_before_they_are_read(self) -> None:
        """A billion laughs, an external entity: a DOCTYPE ends the reading."""
        laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
        bomb = f'<!DOCTYPE r [<!ENTITY l0 "ha">{laughs}]><Response>&l9;</Response>'.encode()
        outside = b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><Response>&x;</Response>'
        for body in (bomb, outside):
            self.assertIn("DOCTYPE", self.refused(body))

    @given(
        st.binary(max_size=300)
        | st.text(alphabet="<>/&;\"'=! RespoConectStramuwl:[]-?", max_size=200).map(str.encode)
    )
    def test_nothing_else_is_raised(self, body: bytes) -> None:
        """Any bytes are an answer or a BadAnswer."""
        try:
            twiml.parse_answer(body)
        except twiml.BadAnswer:
            return
