"""The simulator as Telnyx, Plivo and Exotel: messages, answers, playback, REST stand-ins, quirks."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.test.requesthelper import DummyRequest

from tests.test_simulator_caller import tone
from voxray.simulator import answers, checks, g711, rest, sound
from voxray.simulator.arguments import plan_of
from voxray.simulator.caller import SimulatedCall
from voxray.simulator.carriers import CARRIERS
from voxray.simulator.client import ring, upgrade
from voxray.simulator.options import parser
from voxray.simulator.result import CallResult
from voxray.simulator.script import BadScript, Do, Patience, Script, Step, keys
from voxray.simulator.signing import signature
from voxray.simulator.target import DialFailed, Target
from voxray.simulator.twiml import BadAnswer, StreamAnswer
from voxray.simulator.wires.vocabulary import (
    CallIds,
    ClearAudio,
    Numbers,
    PlayAudio,
    Quirks,
    SendKeys,
    SetMark,
    Wire,
    WireFault,
)

DATA = Path(__file__).parent / "data" / "simulator"
OTHERS = ("telnyx", "plivo", "exotel")
WEBHOOKS = json.loads((DATA / "webhooks.json").read_text("utf-8"))
Message = dict[str, Any]


def recorded(carrier: str, direction: str) -> list[tuple[float, Message]]:
    """The messages of a recorded conversation in one direction ("in" is the carrier's), with their times."""
    lines = [json.loads(line) for line in (DATA / f"{carrier}-call.jsonl").read_text("utf-8").splitlines()]
    return [(line["t"], line["msg"]) for line in lines if line["dir"] == direction]


def recorded_ids(carrier: str) -> CallIds:
    message = next(each for _, each in recorded(carrier, "in") if each["event"] == "start")
    start = message["start"]
    if carrier == "telnyx":
        control_id, session = start["call_control_id"], start["call_session_id"]
        return CallIds(start["user_id"], control_id, message["stream_id"], session)
    if carrier == "plivo":
        return CallIds(start["accountId"], start["callId"], start["streamId"])
    return CallIds(start["account_sid"], start["call_sid"], start["stream_sid"])


def recorded_wire(carrier: str) -> Wire:
    start = next(each for _, each in recorded(carrier, "in") if each["event"] == "start")["start"]
    numbers = Numbers(start.get("from", ""), start.get("to", ""))
    return CARRIERS[carrier].wire(recorded_ids(carrier), numbers, Quirks())


class RecordedTests(SynchronousTestCase):
    """Against one recorded call of each carrier."""

    def test_equal_to_the_recorded_conversation(self) -> None:
        """Given the same events, every message is the carrier's own, byte for byte."""
        for carrier in OTHERS:
            wire = recorded_wire(carrier)
            opening = self._opening(carrier, wire)
            for _, message in recorded(carrier, "in"):
                made = opening.pop(0) if opening else self._again(wire, message)
                self.assertEqual(made, json.dumps(message, separators=(",", ":")), carrier)

    def _opening(self, carrier: str, wire: Wire) -> list[str]:
        message = next(each for _, each in recorded(carrier, "in") if each["event"] == "start")
        if carrier == "plivo":
            pairs = [pair.split("=") for pair in message["extra_headers"].split(";")]
            return wire.opening(dict(pairs))
        return wire.opening(message["start"]["custom_parameters"])

    def _again(self, wire: Any, message: Message) -> str:
        match message["event"]:
            case "media":
                media = message["media"]
                return str(wire.media(base64.b64decode(media["payload"]), int(media["timestamp"])))
            case "dtmf":
                if "occurred_at" in message:
                    wire._began = datetime.fromisoformat(message["occurred_at"]).timestamp()
                    return str(wire.dtmf(message["dtmf"]["digit"], 0))
                return str(wire.dtmf(message["dtmf"]["digit"], int(message["dtmf"].get("timestamp", 0))))
            case "mark":
                return str(wire.mark(message["mark"]["name"]))
            case "playedStream":
                return str(wire.mark(message["name"]))
            case "clearedAudio":
                [made] = wire.cleared()
                return str(made)
        [made] = wire.ended()
        return str(made)

    def test_reads_the_recorded_agent(self) -> None:
        """The agent's half is understood message by message, and nothing in it is complained of."""
        for carrier in OTHERS:
            wire = recorded_wire(carrier)
            found = [wire.read(json.dumps(each).encode(), t) for t, each in recorded(carrier, "out")]
            names = [each.name for each in found if isinstance(each, SetMark)]
            self.assertEqual(names, ["greet-1", "ans-1", "bye-1"], carrier)
            self.assertEqual(sum(isinstance(each, ClearAudio) for each in found), 1, carrier)
            audio = b"".join(each.payload for each in found if isinstance(each, PlayAudio))
            self.assertGreater(np.abs(g711.decode(audio).astype(int)).max(), 5000, carrier)
            self.assertEqual(wire.complaints, [], carrier)

    def test_the_recorded_answers(self) -> None:
        """The exact answers of the fixtures lead to the stream."""
        for carrier in OTHERS:
            found = CARRIERS[carrier].parse_answer(WEBHOOKS[carrier]["response"]["body"].encode())
            self.assertEqual(found.url, "wss://voice.example.com/telephony/ws")
            self.assertEqual(found.warnings, (), carrier)

    def test_the_recorded_webhooks(self) -> None:
        """The request has the recorded names, in the recorded order, and the recorded values where fixed."""
        for carrier in OTHERS:
            request = WEBHOOKS[carrier]["request"]
            wanted = request.get("form") or request["query"]
            side = CARRIERS[carrier]
            made = side.fields(side.new_ids(side.default_account), Numbers("+15558675310", "+15017122661"))
            self.assertEqual(list(made), list(wanted))
            for name in ("CallStatus", "Direction", "Event", "CallingPartyType"):
                self.assertEqual(made.get(name), wanted.get(name))
            if carrier == "plivo":
                self.assertEqual((made["From"], made["CallerName"]), ("15558675310", "+15558675310"))


class ReadTests(SynchronousTestCase):
    """What each carrier refuses, and what it only suffers from."""

    def refused(self, wire: Wire, message: object) -> WireFault:
        return self.assertRaises(WireFault, wire.read, json.dumps(message).encode(), 0.0)

    def test_telnyx(self) -> None:
        """Less than 20 ms and more than 30 s of audio, and what is no audio, with Telnyx's own codes."""
        wire = recorded_wire("telnyx")
        cases: list[tuple[object, int, str]] = [
            (_media(b"\xff" * 159), 100003, "19.875 ms"),
            (_media(b"\xff" * 240_001), 100003, "20 ms to 30 s"),
            ({"event": "media", "media": {"payload": "*"}}, 100004, "base64"),
            ({"event": "media"}, 100003, "media.payload"),
            ({"event": "mark"}, 100003, "mark.name"),
            ({"event": "hello"}, 100002, "unknown event"),
            ([], 100003, "object"),
        ]
        for message, code, reason in cases:
            fault = self.refused(wire, message)
            self.assertEqual(fault.code, code)
            self.assertIn(reason, str(fault))
        [told] = wire.refused(fault)
        self.assertEqual(json.loads(told)["payload"]["title"], "malformed_frame")
        for size in (160, 240_000):
            self.assertIsInstance(wire.read(json.dumps(_media(b"\xff" * size)).encode(), 0.0), PlayAudio)

    def test_telnyx_codecs_of_the_answer(self) -> None:
        """`codec` rules what the agent hears, `bidirectionalCodec` what it says; L16 is big-endian."""
        wire = recorded_wire("telnyx")
        wire.answered("", {"codec": "PCMA", "bidirectionalCodec": "L16", "bidirectionalSamplingRate": "8000"})
        start = json.loads(wire.opening({})[1])["start"]
        self.assertEqual(start["media_format"], {"encoding": "PCMA", "sample_rate": 8000, "channels": 1})
        samples = (10_000 * np.sin(np.arange(160) * 0.3)).astype(">i2")
        found = wire.read(json.dumps(_media(samples.tobytes())).encode(), 0.0)
        assert isinstance(found, PlayAudio)
        self.assertEqual(found.payload, g711.encode(samples.astype(np.int16)))
        self.assertIn("10 ms", str(self.refused(wire, _media(b"\0" * 160))))

    def test_plivo(self) -> None:
        """Another format than the answer's, a foreign stream, keys that are none."""
        wire = recorded_wire("plivo")
        sid = recorded_ids("plivo").stream_sid
        mulaw = {"contentType": "audio/x-mulaw", "sampleRate": 8000, "payload": "/w=="}
        cases: list[tuple[object, str]] = [
            ({"event": "playAudio", "media": mulaw | {"contentType": "audio/x-l16"}}, "audio/x-l16"),
            ({"event": "playAudio", "media": mulaw | {"sampleRate": 16000}}, "16000"),
            (
                {"event": "playAudio", "media": mulaw | {"contentType": "audio/x-mulaw;rate=8000"}},
                "rate=8000",
            ),
            ({"event": "playAudio", "media": mulaw | {"payload": "*"}}, "base64"),
            ({"event": "playAudio", "media": mulaw, "streamId": "x"}, "not this stream's"),
            ({"event": "playAudio"}, "no media"),
            ({"event": "checkpoint", "name": "a"}, "streamId is missing"),
            ({"event": "checkpoint", "streamId": sid}, "no name"),
            ({"event": "clearAudio", "streamId": "x"}, "not this stream's"),
            ({"event": "sendDTMF", "dtmf": "1x"}, "are no keys"),
            ({"event": "media", "media": {"payload": "/w=="}}, "unknown event"),
        ]
        for message, reason in cases:
            self.assertIn(reason, str(self.refused(wire, message)))
        self.assertEqual(wire.read(b'{"event":"sendDTMF","dtmf":"1234#"}', 0.0), SendKeys("1234#"))
        self.assertEqual(
            wire.read(json.dumps({"event": "playAudio", "media": mulaw}).encode(), 0.0), PlayAudio(b"\xff")
        )

    def test_exotel_puts_up_with_much(self) -> None:
        """Odd lengths, another spelling and a burst are obeyed, and each is complained of once."""
        wire = recorded_wire("exotel")
        sid = {"stream_sid": recorded_ids("exotel").stream_sid}
        second = json.dumps(_media(bytes(16_000)) | sid).encode()
        for payload in (bytes(1600), bytes(321)):
            wire.read(json.dumps(_media(payload) | sid).encode(), 0.0)
        self.assertEqual(len(wire.complaints), 1)
        self.assertIn("321 bytes are no multiple of 320", wire.complaints.pop())
        wire.read(json.dumps({"event": "clear"} | sid).encode(), 0.2)
        wire.read(second, 0.2)  # a second, at once: as far as one may go
        wire.read(json.dumps({"event": "clear"} | sid).encode(), 0.2)
        wire.read(second, 0.2)  # and again, as the clear threw the first away
        self.assertEqual(wire.complaints, [])
        wire.read(second, 0.21)
        wire.read(second, 0.22)
        self.assertEqual(len(wire.complaints), 1)
        self.assertIn("2.0 s ahead of real time", wire.complaints.pop())
        wire.read(second, 9.0)  # it had run dry: another burst begins
        wire.read(second, 9.0)
        self.assertEqual(len(wire.complaints), 1)
        wire.complaints.clear()
        wire.read(b'{"event":"clear","streamSid":"x"}', 9.0)
        self.assertIn("no stream_sid", wire.complaints.pop())
        self.assertIn("100001", str(self.refused(wire, _media(bytes(100_001)) | sid)))

    def test_exotel_in_camel_case(self) -> None:
        """The spelling of its Connect calls, all through, and wanted of the agent too."""
        ids = CARRIERS["exotel"].new_ids("a1")
        wire = CARRIERS["exotel"].wire(ids, Numbers(), Quirks(camel_case=True))
        start = json.loads(wire.opening({"a": "b"})[1])
        self.assertEqual(start["streamSid"], ids.stream_sid)
        self.assertEqual(start["sequenceNumber"], "1")
        self.assertEqual(start["start"]["callSid"], ids.call_sid)
        self.assertEqual(start["start"]["mediaFormat"]["sampleRate"], "8000")
        self.assertEqual(start["start"]["customParameters"], {"a": "b"})
        self.assertEqual(json.loads(wire.ended()[0])["stop"]["callSid"], ids.call_sid)
        wire.read(json.dumps({"event": "clear", "streamSid": ids.stream_sid}).encode(), 0.0)
        self.assertEqual(wire.complaints, [])

    @given(
        st.sampled_from(OTHERS),
        st.binary(max_size=200)
        | st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(
                    st.sampled_from(["event", "media", "mark", "payload", "name", "dtmf", "contentType"]),
                    inner,
                )
                | st.fixed_dictionaries(
                    {
                        "event": st.sampled_from(
                            ["media", "mark", "clear", "playAudio", "checkpoint", "sendDTMF"]
                        ),
                        "media": inner,
                    }
                )
            ),
        ).map(lambda value: json.dumps(value).encode()),
    )
    def test_nothing_else_is_raised(self, carrier: str, message: bytes) -> None:
        """Whatever an agent sends is a message or a WireFault."""
        wire = WIRES[carrier]
        try:
            wire.read(message, 0.0)
        except WireFault as fault:
            wire.refused(fault)
        wire.complaints.clear()


def _media(payload: bytes) -> Message:
    return {"event": "media", "media": {"payload": base64.b64encode(payload).decode()}}


WIRES = {carrier: recorded_wire(carrier) for carrier in OTHERS}


def xml(inside: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{inside}</Response>'.encode()


class AnswerTests(SynchronousTestCase):
    def refusals(self, parse: Callable[[bytes], StreamAnswer], cases: list[tuple[bytes, str]]) -> None:
        for body, reason in cases:
            self.assertIn(reason, str(self.assertRaises(BadAnswer, parse, body)), body[:120])

    def test_texml(self) -> None:
        """What would leave a Telnyx caller without an agent is named; reconnecting is warned about."""
        good = 'url="wss://x/?a=1&amp;b=2" bidirectionalMode="rtp"'
        found = answers.parse_texml(
            xml(f'<Connect><Stream {good}><Parameter name="a" value="b"/></Stream></Connect>')
        )
        self.assertEqual(found.url, "wss://x/?a=1&b=2")
        self.assertEqual(found.parameters, {"a": "b"})
        self.assertIn("enableReconnect", found.warnings[0])
        stream = "<Connect><Stream {} /></Connect>"
        self.refusals(
            answers.parse_texml,
            [
                (xml(stream.format('url="wss://x/"')), 'no bidirectionalMode="rtp"'),
                (xml(stream.format('url="wss://x/" bidirectionalMode="mp3"')), "MP3"),
                (xml(stream.format(f'{good} bidirectionalCodec="OPUS"')), "OPUS"),
                (
                    xml(stream.format(f'{good} bidirectionalCodec="PCMU" bidirectionalSamplingRate="16000"')),
                    "16000",
                ),
                (xml(stream.format(f'{good} bidirectionalSamplingRate="x"')), "'x'"),
                (xml(stream.format(f'{good} codec="G722"')), "G722"),
                (xml(stream.format(f'{good} track="both_tracks"')), "hear itself"),
                (xml('<Reject reason="busy"/>'), "it says <Reject>"),
            ],
        )

    def test_plivo(self) -> None:
        """The same for Plivo, with Twilio's document among the mistakes."""
        good = 'bidirectional="true" keepCallAlive="true"'
        found = answers.parse_plivo(
            xml(
                f'<Stream {good} contentType="audio/x-l16;rate=16000" extraHeaders="a=1,b=2">wss://x/?a=1</Stream>'
            )
        )
        self.assertEqual(found.url, "wss://x/?a=1")
        self.assertEqual(found.parameters, {"a": "1", "b": "2"})
        self.assertEqual(found.warnings, ())
        self.assertIn(
            "contentType", answers.parse_plivo(xml(f"<Stream {good}>wss://x/</Stream>")).warnings[0]
        )
        self.refusals(
            answers.parse_plivo,
            [
                (xml('<Connect><Stream url="wss://x/"/></Connect>'), "Plivo has no <Connect>"),
                (xml(f'<Stream {good} url="wss://x/"/>'), "URL as text"),
                (xml("<Stream>wss://x/</Stream>"), 'bidirectional="true"'),
                (xml('<Stream bidirectional="true">wss://x/</Stream>'), "end at once"),
                (xml(f'<Stream {good} audioTrack="both">wss://x/</Stream>'), "inbound"),
                (xml(f'<Stream {good} contentType="audio/wav">wss://x/</Stream>'), "audio/wav"),
                (xml(f'<Stream {good} extraHeaders="a=b c">wss://x/</Stream>'), "letters and digits"),
                (xml(f'<Stream {good} extraHeaders="a={"b" * 600}">wss://x/</Stream>'), "512"),
                (xml('<Hangup reason="busy"/>'), "it says <Hangup>"),
            ],
        )

    def test_exotel(self) -> None:
        """JSON with `url` at the top; the query is the rate and at most three parameters."""
        found = answers.parse_exotel(b'{"url":"wss://x/ws?sample-rate=16000&customer=42","note":"x"}')
        self.assertEqual(found.parameters, {"customer": "42"})
        long = "x" * 600
        self.refusals(
            answers.parse_exotel,
            [
                (b"<Response/>", "not JSON"),
                (b"<!doctype html><html>", "a page of HTML"),
                (b"[" * 60_000, "not JSON"),
                (b'{"data":{"url":"wss://x/"}}', "top level"),
                (b'{"url":5}', "top level"),
                (b'{"url":"https://x/"}', "wss://"),
                (b'{"url":"wss://x/?sample-rate=11025"}', "sample-rate"),
                (b'{"url":"wss://x/?a=1&b=2&c=3&d=4"}', "at most 3"),
                (f'{{"url":"wss://x/{long}"}}'.encode(), "600"),
            ],
        )

    @given(
        st.sampled_from([answers.parse_texml, answers.parse_plivo, answers.parse_exotel]),
        st.binary(max_size=300)
        | st.text(alphabet='<>/&;"=! ResponStream{}url:[]-?', max_size=200).map(str.encode),
    )
    def test_nothing_else_is_raised(self, parse: Callable[[bytes], StreamAnswer], body: bytes) -> None:
        """Any bytes are an answer or a BadAnswer."""
        try:
            parse(body)
        except BadAnswer:
            return


class Line:
    """The agent's end of a call in memory, on a given carrier."""

    def __init__(
        self,
        carrier: str,
        script: Script | None = None,
        *,
        answer: str = "",
        greeting: float = 60.0,
        **quirks: Any,
    ) -> None:
        self.clock, self.got, self.closes = Clock(), [], []
        side = CARRIERS[carrier]
        self.ids = side.new_ids(side.default_account)
        made = Quirks(**quirks)
        wire = side.wire(self.ids, Numbers(), made)
        patience = Patience(settle=0.3, greeting=greeting, reply=2.0)
        self.call = SimulatedCall(
            self.clock, self.ids, script or Script(), wire=wire, quirks=made, patience=patience
        )
        body = answer.encode() or WEBHOOKS[carrier]["response"]["body"].encode()
        self.call.answered(side.parse_answer(body))
        self.results: list[CallResult] = []
        self.call.done.addCallback(self.results.append)
        self.call.start(self.receive, self.closes.append)

    def receive(self, text: str) -> None:
        self.got.append(json.loads(text))

    def run(self, secs: float) -> None:
        for _ in range(round(secs * 100)):
            self.clock.advance(0.01)

    def send(self, **message: Any) -> None:
        self.call.message(json.dumps(message).encode())

    def events(self, kind: str) -> list[Message]:
        return [each for each in self.got if each["event"] == kind]

    def audio(self) -> bytes:
        return b"".join(base64.b64decode(each["media"]["payload"]) for each in self.events("media"))


def payload_of(audio: bytes) -> dict[str, str]:
    return {"payload": base64.b64encode(audio).decode()}


class Agents:
    """How an agent says, marks and clears on each carrier."""

    @staticmethod
    def say(line: Line, secs: float) -> None:
        mulaw = tone(secs)
        if "callId" in str(line.got[0]):
            media = {"contentType": "audio/x-mulaw", "sampleRate": 8000, **payload_of(mulaw)}
            line.send(event="playAudio", media=media)
        elif "stream_sid" in str(line.got[1]):
            pcm = g711.decode(mulaw).astype("<i2").tobytes()
            for at in range(0, len(pcm), 1600):
                line.send(
                    event="media", stream_sid=line.ids.stream_sid, media=payload_of(pcm[at : at + 1600])
                )
        else:
            line.send(event="media", streamSid=line.ids.stream_sid, media=payload_of(mulaw))

    @staticmethod
    def mark(line: Line, name: str) -> None:
        sid = line.ids.stream_sid
        if "callId" in str(line.got[0]):
            line.send(event="checkpoint", streamId=sid, name=name)
        else:
            line.send(event="mark", streamSid=sid, stream_sid=sid, mark={"name": name})

    @staticmethod
    def clear(line: Line) -> None:
        sid = line.ids.stream_sid
        event = "clearAudio" if "callId" in str(line.got[0]) else "clear"
        line.send(event=event, streamSid=sid, stream_sid=sid, streamId=sid)

    @staticmethod
    def marks(line: Line) -> list[str]:
        played = [each["name"] for each in line.events("playedStream")]
        return played + [each["mark"]["name"] for each in line.events("mark")]


class PlaybackTests(SynchronousTestCase):
    """A whole playback buffer behind each wire."""

    def test_marks_come_when_what_is_before_them_was_played(self) -> None:
        """On all four, in order, in time."""
        for carrier in CARRIERS:
            line = Line(carrier)
            Agents.say(line, 0.4)
            Agents.mark(line, "one")
            Agents.say(line, 0.2)
            Agents.mark(line, "two")
            line.run(0.36)
            self.assertEqual(Agents.marks(line), [], carrier)
            line.run(0.08)
            self.assertEqual(Agents.marks(line), ["one"], carrier)
            line.run(0.2)
            self.assertEqual(Agents.marks(line), ["one", "two"], carrier)
            line.call.hang_up()
            [result] = line.results
            self.assertEqual((result.marks_set, result.marks_echoed, result.faults), (2, 2, []), carrier)

    def test_a_clear_returns_marks_on_twilio_and_telnyx_only(self) -> None:
        """Plivo says clearedAudio and forgets its checkpoints; Exotel says nothing at all."""
        returned = {"twilio": ["late"], "telnyx": ["late"], "plivo": [], "exotel": []}
        for carrier, wanted in returned.items():
            line = Line(carrier)
            Agents.say(line, 0.8)
            Agents.mark(line, "late")
            line.run(0.3)
            Agents.clear(line)
            line.run(0.2)
            self.assertEqual(Agents.marks(line), wanted, carrier)
            self.assertEqual(len(line.events("clearedAudio")), carrier == "plivo", carrier)
            Agents.say(line, 0.2)
            Agents.mark(line, "new")
            line.run(0.3)
            self.assertEqual(Agents.marks(line), [*wanted, "new"], carrier)

    def test_no_marks(self) -> None:
        """On request none is ever echoed, or only the first is lost; playback is as ever."""
        for carrier in CARRIERS:
            line = Line(carrier, marks=False)
            Agents.say(line, 0.2)
            Agents.mark(line, "one")
            line.run(1.0)
            self.assertEqual(Agents.marks(line), [], carrier)
            line.call.hang_up()
            [result] = line.results
            self.assertEqual((result.marks_set, result.marks_echoed), (1, 0))
            self.assertGreater(np.abs(g711.decode(result.agent_audio).astype(int)).max(), 7000)
        line = Line("plivo", first_mark=False)
        for name in ("one", "two", "three"):
            Agents.mark(line, name)
        self.assertEqual(Agents.marks(line), ["two", "three"])

    def test_plivo_ends_with_the_close_alone(self) -> None:
        """`start` is the first message, there is no `stop`, and keys by message are remembered."""
        line = Line("plivo", Script((keys("5"), Step(Do.HANG_UP))))
        self.assertEqual([each["event"] for each in line.got], ["start"])
        line.send(event="sendDTMF", dtmf="12")
        Agents.say(line, 0.2)
        line.run(5.0)
        self.assertEqual(line.events("dtmf")[0]["dtmf"]["digit"], "5")
        self.assertEqual(line.got[-1]["event"], "media")
        self.assertEqual(line.closes, [1000])
        self.assertEqual(line.results[0].agent_keys, "12")
        self.assertEqual({type(each["sequenceNumber"]) for each in line.got}, {int})
        self.assertEqual([each["sequenceNumber"] for each in line.got], list(range(1, len(line.got) + 1)))

    def test_exotel_sends_100_ms_of_linear_pcm(self) -> None:
        """Ten messages a second at each rate, and the caller's voice is in them."""
        for rate_hz in (8000, 16_000, 24_000):
            answer = f'{{"url":"wss://x/ws?sample-rate={rate_hz}"}}'
            line = Line("exotel", Script((Step(Do.SAY, audio=tone(1.0)),)), answer=answer, greeting=0.1)
            start = line.got[1]["start"]["media_format"]
            self.assertEqual(start["sample_rate"], str(rate_hz))
            line.run(1.5)
            media = line.events("media")
            self.assertEqual(
                [each["media"]["timestamp"] for each in media], [str(n * 100) for n in range(1, 16)]
            )
            sizes = {len(base64.b64decode(each["media"]["payload"])) for each in media}
            self.assertEqual(sizes, {rate_hz // 5})
            samples = np.frombuffer(line.audio(), dtype="<i2").astype(float)
            found = np.argmax(np.abs(np.fft.rfft(samples))) * rate_hz / samples.size
            self.assertLess(abs(found - 0.4 / (2 * np.pi) * 8000), 20)
            line.call.hang_up()
            self.assertEqual(line.got[-1]["stop"]["reason"], "callended")

    def test_exotel_complaints_fail_the_call(self) -> None:
        """What Exotel puts up with is played, and a failure all the same."""
        line = Line("exotel")
        line.send(event="media", stream_sid=line.ids.stream_sid, media=payload_of(bytes(1602)))
        line.call.hang_up()
        [result] = line.results
        self.assertEqual(result.media_received, 1)
        [failure] = checks.failures(result, Script(), checks.Expectations())
        self.assertIn("protocol: media: 1602 bytes", failure)

    def test_telnyx_out_of_order(self) -> None:
        """Every fifth packet comes two late; none is lost, not even at the end, and chunks tell the order."""
        line = Line("telnyx", reorder=2)
        line.run(0.52)
        self.assertEqual(self.chunks(line)[:9], [1, 2, 3, 4, 6, 7, 5, 8, 9])
        line.run(0.5)
        line.call.hang_up()
        self.assertNotEqual(self.chunks(line), sorted(self.chunks(line)))
        self.assertEqual(sorted(self.chunks(line)), list(range(1, line.results[0].packets_sent + 1)))
        self.assertEqual(line.got[-1]["event"], "stop")
        self.assertEqual(Line("telnyx").got[1]["sequence_number"], "1")

    def chunks(self, line: Line) -> list[int]:
        return [int(each["media"]["chunk"]) for each in line.events("media")]

    def test_telnyx_in_alaw(self) -> None:
        """An A-law leg is A-law whatever was asked for, and `start` says so."""
        line = Line("telnyx", leg_codec="PCMA")
        line.run(0.2)
        self.assertEqual(line.got[1]["start"]["media_format"]["encoding"], "PCMA")
        self.assertEqual(set(line.audio()), {0xD5})

    def test_telnyx_answers_what_it_refuses(self) -> None:
        """A packet of 10 ms is a fault, an `error` event, and not played."""
        line = Line("telnyx")
        line.send(**_media(b"\x10" * 80))
        line.call.message(b"\x00", is_binary=True)
        self.assertEqual([each["payload"]["code"] for each in line.events("error")], [100003, 100002])
        line.call.hang_up()
        [result] = line.results
        self.assertEqual((len(result.faults), result.media_received), (2, 0))
        found = checks.failures(result, Script(), checks.Expectations())
        self.assertIn("10 ms of audio", found[0])


class SoundTests(SynchronousTestCase):
    """The caller's mu-law as other codecs, and back."""

    def test_the_standard_values(self) -> None:
        """A-law's corner codes, and negative and positive silence."""
        found = sound.ALAW[[0x00, 0x80, 0xFF, 0x7F, 0xD5, 0x55, 0x2A, 0xAA]].tolist()
        self.assertEqual(found, [-5504, 5504, 848, -848, 8, -8, -32256, 32256])
        self.assertEqual(sound.alaw_encode(sound.ALAW), bytes(range(256)))

    def test_there_and_back(self) -> None:
        """A tone survives every codec, at least as well as mu-law itself; nothing is lost of it."""
        mulaw = tone(1.0)
        for encoding, rate_hz in sorted(sound._KNOWN):
            out, back = sound.Codec(encoding, rate_hz), sound.Codec(encoding, rate_hz)
            again = b"".join(
                back.decode(out.encode(mulaw[at : at + 160])) for at in range(0, len(mulaw), 160)
            )
            self.assertEqual(len(again), len(mulaw))
            self.assertGreater(_snr_db(g711.decode(mulaw), g711.decode(again)), 30, (encoding, rate_hz))

    def test_pieces_make_no_difference(self) -> None:
        """Encoded and decoded in packets or whole, the audio is the same sample for sample: no clicks."""
        mulaw = tone(0.5)
        for rate_hz in (16_000, 24_000):
            whole = sound.Codec("L16", rate_hz).encode(mulaw)
            codec = sound.Codec("L16", rate_hz)
            self.assertEqual(
                b"".join(codec.encode(mulaw[at : at + 160]) for at in range(0, 4000, 160)), whole
            )
            codec = sound.Codec("L16", rate_hz)
            pieces = b"".join(codec.decode(whole[at : at + 322]) for at in range(0, len(whole), 322))
            self.assertEqual(pieces, sound.Codec("L16", rate_hz).decode(whole))

    def test_what_there_is_not(self) -> None:
        """A codec it has not is refused when it is made."""
        for encoding, rate_hz in (("OPUS", 48_000), ("PCMU", 16_000), ("L16", 11_025)):
            self.assertRaises(ValueError, sound.Codec, encoding, rate_hz)


def _snr_db(wanted: Any, found: Any) -> float:
    """At the delay that fits best."""
    wanted, found = wanted.astype(float), found.astype(float)
    best = 0.0
    for delay in range(64):
        a, b = wanted[1000 : len(wanted) - 100], found[1000 + delay : len(found) - 100 + delay]
        noise = a[: b.size] - b
        best = max(best, 10 * np.log10(np.mean(a**2) / max(1e-9, np.mean(noise**2))))
    return best


class RestTests(SynchronousTestCase):
    """The stand-ins, request by request."""

    def ask(
        self,
        board: rest.Switchboard,
        method: str,
        path: str,
        body: bytes = b"",
        key: str = "",
        user: str = "",
    ) -> tuple[int, Any]:
        request = DummyRequest([])
        request.method, request.path, request.content = method.encode(), path.encode(), BytesIO(body)
        request.requestHeaders.setRawHeaders("authorization", [f"Bearer {key}"])
        request.getUser, request.getPassword = (lambda: user.encode()), (lambda: key.encode())
        told = rest.APIS[board.carrier](board).render(request)
        return request.responseCode or 200, json.loads(told) if told else None

    def board(self, carrier: str) -> tuple[rest.Switchboard, str, list[str]]:
        side = CARRIERS[carrier]
        call_id = side.new_ids(side.default_account).call_sid
        board, seen = rest.Switchboard(side.default_account, "secret", carrier), []
        board.add(call_id, rest.Line(lambda: seen.append("ended"), seen.append))
        return board, call_id, seen

    def test_telnyx(self) -> None:
        """Keys, hang-up once, and 422 with "90018" afterwards; the id may be percent-encoded."""
        board, call_id, seen = self.board("telnyx")
        path = f"/v2/calls/{call_id.replace(':', '%3A')}/actions/"
        self.assertEqual(self.ask(board, "POST", path + "hangup", key="wrong")[0], 401)
        self.assertFalse(board.admits_key(b"Basic secret"))
        self.assertEqual(self.ask(board, "POST", path + "dance", key="secret")[0], 404)
        self.assertEqual(self.ask(board, "POST", path + "hangup", b"[", key="secret")[0], 400)
        self.assertEqual(self.ask(board, "POST", path + "send_dtmf", b"{}", key="secret")[0], 422)
        self.assertEqual(seen, [])
        keys_sent = self.ask(board, "POST", path + "send_dtmf", b'{"digits":"1w2"}', key="secret")
        self.assertEqual(keys_sent, (200, {"data": {"result": "ok"}}))
        self.assertEqual(self.ask(board, "POST", path + "hangup", b"{}", key="secret")[0], 200)
        status, body = self.ask(board, "POST", path + "hangup", b"{}", key="secret")
        self.assertEqual((status, body["errors"][0]["code"]), (422, "90018"))
        self.assertEqual(seen, ["1w2", "ended"])
        self.assertEqual(board.requests[-2:], [(call_id, 200), (call_id, 422)])

    def test_plivo(self) -> None:
        """204 once and 404 afterwards; the slash at the end is part of the path."""
        board, call_id, seen = self.board("plivo")
        path, ma = f"/v1/Account/{board.account_sid}/Call/{call_id}/", board.account_sid
        self.assertEqual(self.ask(board, "DELETE", path, key="wrong", user=ma)[0], 401)
        self.assertEqual(self.ask(board, "DELETE", path.rstrip("/"), key="secret", user=ma)[0], 404)
        self.assertEqual(self.ask(board, "DELETE", path.replace(ma, "MA1"), key="secret", user=ma)[0], 404)
        self.assertEqual(seen, [])
        self.assertEqual(self.ask(board, "POST", path + "DTMF/", b'{"digits":"7"}', "secret", ma)[0], 202)
        self.assertEqual(self.ask(board, "DELETE", path, key="secret", user=ma), (204, None))
        self.assertEqual(self.ask(board, "DELETE", path, key="secret", user=ma)[0], 404)
        self.assertEqual(self.ask(board, "POST", path, b"{}", key="secret", user=ma)[0], 404)
        self.assertEqual(seen, ["7", "ended"])

    def test_exotel_has_none(self) -> None:
        """Whatever is asked is refused, and recorded so that a test can say nothing was asked."""
        board, _, seen = self.board("exotel")
        self.assertEqual(self.ask(board, "POST", "/v1/Accounts/a/Calls/b")[0], 404)
        self.assertEqual((seen, board.requests), ([], [("/v1/Accounts/a/Calls/b", 404)]))


class Asked(Resource):
    """A webhook that remembers how it was asked."""

    isLeaf = True

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer, self.requests = answer, []

    def render(self, request: Any) -> bytes:
        fields = {name.decode(): values[0].decode() for name, values in request.args.items()}
        header = request.getHeader("x-twilio-signature") or ""
        self.requests.append((request.method.decode(), request.uri.decode(), fields, header))
        return self.answer


class WebhookTests(TestCase):
    """Over a socket: each carrier by both methods."""

    async def test_both_methods(self) -> None:
        """The same names in the form and in the query; the carrier's own method unless told otherwise."""
        for carrier, side in CARRIERS.items():
            hook = Asked(WEBHOOKS[carrier]["response"]["body"].encode())
            port = reactor.listenTCP(0, Site(hook, reactor=reactor), interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            url = f"http://127.0.0.1:{port.getHost().port}/"
            ids = side.new_ids(side.default_account)
            for method in ("", "GET", "POST"):
                target = Target(url, carrier=carrier, method=method, auth_token="secret")
                found = await ring(reactor, target, ids)
                self.assertEqual(found.url, "wss://voice.example.com/telephony/ws")
                asked, uri, fields, header = hook.requests.pop()
                self.assertEqual(asked, method or side.method)
                self.assertEqual(list(fields), list(side.fields(ids, target.numbers)))
                self.assertEqual("?" in uri, asked == "GET")
                wanted = signature("secret", url.rstrip("/") + uri, fields if asked == "POST" else {})
                self.assertEqual(header, wanted if carrier == "twilio" else "")


class CommandLineTests(SynchronousTestCase):
    def plan(self, *arguments: str) -> Any:
        return plan_of(parser().parse_args(arguments))

    def test_quirks_and_carrier(self) -> None:
        """The options reach the wire; the credentials are the carrier's own."""
        self.patch(
            __import__("os"),
            "environ",
            {"PLIVO_AUTH_ID": "MA1", "PLIVO_AUTH_TOKEN": "t", "TWILIO_AUTH_TOKEN": "x"},
        )
        plan = self.plan("--carrier", "plivo", "--no-marks", "--method", "get")
        self.assertEqual((plan.target.account_sid, plan.target.auth_token), ("MA1", "t"))
        self.assertEqual(
            (plan.target.carrier, plan.target.method, plan.quirks.marks), ("plivo", "GET", False)
        )
        plan = self.plan("--carrier", "telnyx", "--leg-codec", "PCMA", "--reorder", "3")
        self.assertEqual(plan.quirks, Quirks(leg_codec="PCMA", reorder=3))
        self.assertEqual(plan.target.auth_token, "")
        plan = self.plan(
            "--carrier", "exotel", "--stream-url", "wss://x/ws", "--sample-rate", "16000", "--camel-case"
        )
        self.assertEqual(plan.quirks, Quirks(rate_hz=16_000, camel_case=True))

    def test_mistakes(self) -> None:
        """Options that contradict each other are refused."""
        self.assertRaises(DialFailed, self.plan, "--stream-url", "wss://x/ws")
        self.assertRaises(BadScript, self.plan, "--carrier", "telnyx", "--reorder", "11")

    def test_credentials_in_the_stream_url(self) -> None:
        """Exotel makes Basic credentials of them, and dials without."""
        url, headers = upgrade(Target("http://127.0.0.1/", carrier="exotel"), "wss://KEY:TOKEN@host:1/ws?a=1")
        self.assertEqual(url, "wss://host:1/ws?a=1")
        self.assertEqual(headers, {"Authorization": "Basic S0VZOlRPS0VO"})
        self.assertEqual(
            upgrade(Target("http://127.0.0.1/", carrier="plivo"), "wss://h/ws"), ("wss://h/ws", {})
        )
