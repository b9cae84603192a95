"""Calls over Plivo through the whole daemon: no checkpoint is needed, and what is cleared stays silent."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import numpy as np
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.carrier_rest import RestApi
from tests.configs import loaded
from tests.dangers import shows
from tests.fakes import RecordingSink
from tests.house import House, Line
from tests.signers import HOST, PLIVO_TOKEN, SIGNERS, stream_of
from tests.test_call_call import human
from tests.test_plivo_carrier import HANG_UP, webhook
from tests.test_plivo_serializer import CALL_UUID, STREAM, start
from tests.test_web_http import Answer
from tests.wsframes import handshake
from voxray import catalog_carriers
from voxray.call.pacer import MAX_PENDING_MARKS, Pacer
from voxray.frames import ULAW_8K, EndCall, Mark, TextDelta
from voxray.serializers.plivo import PlivoSerializer

SENTENCE = human("dickens-wisdom")
LONG = " ".join(["word"] * 60)  # six seconds
KEYS = {"plivo_auth_id": "MAXXXXXXXXXXXXXXXXXX", "plivo_auth_token": PLIVO_TOKEN}
TRUSTED = {"api_keys": KEYS, "proxy_host": HOST}


class PlivoHouse(House):
    """A daemon for Plivo, with Plivo's REST API behind it if it has the credentials."""

    def __init__(
        self, case: SynchronousTestCase, document: dict[str, object], *replies: Sequence[object]
    ) -> None:
        self.api = RestApi(204)
        self.rest = StubTreq(self.api)
        case.patch(catalog_carriers, "rest_client", lambda reactor: self.rest)
        super().__init__(case, {"runner_transport": "plivo", **document}, *replies)

    def form(self, **changes: str) -> bytes:
        return urlencode({**webhook()["request"]["form"], **changes}).encode()

    def rings(self) -> bytes:
        """The webhook, signed by Plivo's own library; the path of the stream that it asks for."""
        form = webhook()["request"]["form"]
        signed = SIGNERS["plivo"].webhook(f"https://{HOST}/", form, 0.0)
        body = urlencode(form).encode()
        line = Line(self)
        headers = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        head = f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        line.raw(head.encode() + body)
        url, _ = stream_of("plivo", Answer(line.transport.value()).body)
        line.lose()
        return url.removeprefix(f"wss://{HOST}").encode()

    def call(self, path: bytes = b"/telephony/ws", **changes: object) -> Line:
        """A call that is up; `start` is its first message."""
        line = Line(self)
        line.raw(handshake().replace(b"/telephony/ws", path, 1))
        line.transport.clear()
        line.send(start(**changes))
        line.settle_stages()
        return line

    def until(self, line: Line, kind: str, count: int = 1, limit_secs: float = 20.0) -> float:
        """Lets time pass until the carrier has had so many messages of a kind; how much it was."""
        begun = self.reactor.seconds()
        while line.kinds().count(kind) < count and self.reactor.seconds() - begun < limit_secs:
            self.pass_time(0.02)
        return self.reactor.seconds() - begun


def played(line: Line) -> list[dict[str, Any]]:
    return [m["media"] for m in line.messages() if m["event"] == "playAudio"]


def audio(line: Line) -> bytes:
    return b"".join(base64.b64decode(media["payload"]) for media in played(line))


class WebhookTests(SynchronousTestCase):
    """The answer URL."""

    def test_both_methods(self) -> None:
        """POST and GET get the recorded answer; GET without a call is the status page."""
        house = PlivoHouse(self, {"proxy_host": "voice.example.com"})
        recorded = webhook()["response"]["body"]
        for answer in (house.ask("POST", "/", house.form()), house.ask("GET", f"/?{house.form().decode()}")):
            self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/xml"))
            self.assertEqual(answer.body.decode(), recorded)
        self.assertEqual(house.ask("GET", "/").json["data"], {"status": "Bot started with plivo"})

    def test_asked_again(self) -> None:
        """Where nothing is checked the same request has the same answer, during the call and after it."""
        house = PlivoHouse(self, {})
        first = house.ask("POST", "/", house.form()).body
        line = house.call()
        self.assertEqual(house.ask("POST", "/", house.form()).body, first)
        line.lose()
        self.assertEqual(house.ask("POST", "/", house.form()).body, first)

    def test_the_end_is_told(self) -> None:
        """A request that only reports a call's end is hung up: by either method, with every line taken."""
        house = PlivoHouse(self, {"max_calls": 1})
        house.call()
        over = house.form(CallStatus="completed", Event="Hangup")
        for answer in (house.ask("POST", "/", over), house.ask("GET", f"/?{over.decode()}")):
            self.assertEqual((answer.status, answer.body), (200, HANG_UP))
            self.assertEqual(answer.headers["content-type"], "application/xml")
        busy = ET.fromstring(house.ask("POST", "/", house.form()).body)
        self.assertEqual((busy[0].tag, busy[0].attrib), ("Hangup", {"reason": "busy"}))


class CallTests(SynchronousTestCase):
    """The media stream."""

    @shows("F44")
    def test_no_checkpoint_is_ever_answered(self) -> None:
        """Greeting, keys, reply, farewell and hang-up, at the pace of the audio: nothing waits for an echo.

        Neither for that of the first checkpoint, which Plivo sometimes forgets, nor for any other.
        """
        farewell = [TextDelta("Good bye to you."), EndCall()]
        house = PlivoHouse(
            self, {"greeting": "Hello there.", **TRUSTED}, [TextDelta("One two three.")], farewell
        )
        line = house.call(house.rings())
        self.assertLess(house.until(line, "checkpoint"), 0.1)  # behind the greeting, which is short
        self.assertEqual(line.kinds()[0], "playAudio")  # none before the first audio
        house.pass_time(0.5)
        line.press("1#")
        house.pass_time(0.5)
        line.press("2#")
        begun = house.reactor.seconds()
        while not self.flushed(house) and house.reactor.seconds() - begun < 5:
            house.pass_time(0.02)
        texts = [house.tts.texts[code - 1] for code, _ in groupby(audio(line)) if code < 0x80]
        self.assertEqual(texts, ["Hello there.", "One two three.", "Good bye to you."])
        self.assertLess(house.reactor.seconds() - begun, 0.5)  # four words of 100 ms
        self.assertGreaterEqual(house.reactor.seconds() - begun, 0.4)
        self.assertEqual(
            (house.api.asked[0].method, house.api.asked[0].uri),
            ("DELETE", f"/v1/Account/{KEYS['plivo_auth_id']}/Call/{CALL_UUID}/"),
        )
        self.assertGreaterEqual(line.kinds().count("checkpoint"), 3)
        line.lose()  # as Plivo does it: no `stop`
        house.pass_time(10)
        self.assertEqual(len(house.api.asked), 1)

    def flushed(self, house: PlivoHouse) -> bool:
        house.rest.flush()
        return bool(house.api.asked)

    def test_without_credentials(self) -> None:
        """Hanging up closes the socket, and nothing follows `<Stream>`."""
        house = PlivoHouse(self, {}, [TextDelta("Bye."), EndCall()])
        line = house.call()
        line.press("1#")
        house.pass_time(1)
        self.assertEqual((line.code, house.api.asked), (1000, []))

    def test_stop_is_tolerated(self) -> None:
        """A `stop` ends the call like the close that usually comes alone."""
        house = PlivoHouse(self, {})
        line = house.call()
        line.send({"event": "stop", "reason": "callended"})
        self.assertEqual(line.code, 1000)

    def test_barge_in(self) -> None:
        """The reply stops at once; its checkpoints never come back; the next one is accounted for."""
        house = PlivoHouse(
            self,
            {"turn_stop_secs": 0.3},
            [TextDelta(LONG)],
            [TextDelta("Yes of course.")],
            [TextDelta("And so.")],
        )
        line = house.call()
        line.press("1#")
        line.silence(1.0)
        line.hear(SENTENCE[8:])
        self.assertEqual(line.kinds().count("clearAudio"), 1)
        self.assertEqual(line.messages()[line.kinds().index("clearAudio")]["streamId"], STREAM)
        self.assertEqual(line.kinds()[-1], "clearAudio")
        line.send({"event": "clearedAudio", "sequenceNumber": 9, "streamId": STREAM})
        line.silence(1.0)
        line.answer("wait a moment")
        line.silence(1.0)
        self.assertEqual(house.tts.texts[-1], "Yes of course.")
        after = line.messages()[line.kinds().index("clearAudio") + 1 :]
        self.assertEqual({m["event"] for m in after}, {"playAudio", "checkpoint"})
        for message in after:
            if message["event"] == "checkpoint":
                line.send({"event": "playedStream", "streamId": STREAM, "name": message["name"]})
        line.press("2#")
        line.silence(0.5)
        self.assertIsNone(line.code)
        said = [m.text for m in house.llm.asked[-1] if m.role == "assistant"]
        heard = said[0].split()
        self.assertTrue(5 < len(heard) < 40, len(heard))  # cut where the caller spoke
        self.assertEqual(said[1], "Yes of course.")

    def test_l16(self) -> None:
        """A stream of 16 kHz linear PCM is heard and answered in it, whole samples, little-endian."""
        house = PlivoHouse(self, {"turn_stop_secs": 0.3}, [TextDelta("One two.")])
        line = house.call(mediaFormat={"encoding": "audio/x-l16", "sampleRate": 16_000})
        loud = (9000 * np.sin(np.arange(320) * 2 * np.pi / 16)).astype("<i2").tobytes()
        line.hear([loud] * 40)
        line.hear([bytes(640)] * 50)
        line.answer("hello")
        house.pass_time(1)
        formats = {(m["contentType"], m["sampleRate"]) for m in played(line)}
        self.assertEqual(formats, {("audio/x-l16", 16_000)})
        samples = np.frombuffer(audio(line), "<i2")
        self.assertEqual(len(samples) % 320, 0)
        self.assertTrue(0.2 <= len(samples) / 16_000 <= 0.24, len(samples))
        level = -32_124 + 1024 * (house.tts.texts.index("One two.") + 1)  # what the voice is made of
        self.assertLess(abs(int(np.median(samples)) - level), 32)
        [(utterance, _)] = house.stt.asked
        self.assertEqual(int(np.abs(np.frombuffer(utterance.payload, "<i2")).max()), 9000)

    def test_numbers(self) -> None:
        """Who calls whom is known from the webhook, by the call's id."""
        house = PlivoHouse(self, {})
        house.ask("POST", "/", house.form())
        house.call()
        [call] = house.daemon._parts.registry
        self.assertEqual((call.info.from_number, call.info.to_number), ("15558675310", "15017122661"))
        self.assertEqual((call.info.carrier, call.info.call_sid), ("plivo", CALL_UUID))

    def test_extra_headers(self) -> None:
        """They are the call's parameters."""
        house = PlivoHouse(self, {})
        house.call(headers="userId=12345;from=4930123456")
        [call] = house.daemon._parts.registry
        self.assertEqual(call.info.parameters, {"userId": "12345", "from": "4930123456"})
        self.assertEqual(call.info.from_number, "4930123456")


class CredentialTests(SynchronousTestCase):
    """`plivo_auth_id`, `plivo_auth_token` and `base_urls`."""

    def test_control(self) -> None:
        """With both halves calls are hung up where the document says; with one or none nobody is asked."""
        for keys in ({}, {"plivo_auth_id": "MA1"}, {"plivo_auth_token": "t"}):
            document = {"api_keys": keys, "proxy_host": HOST}
            self.assertIsNone(self.control(document, StubTreq(RestApi(204))))
        api = RestApi(204)
        treq = StubTreq(api)
        document = {**TRUSTED, "base_urls": {"plivo": "http://127.0.0.1:9/mock/"}}
        done = Deferred.fromCoroutine(self.control(document, treq).hang_up(CALL_UUID))
        treq.flush()
        self.successResultOf(done)
        path = f"/mock/v1/Account/{KEYS['plivo_auth_id']}/Call/{CALL_UUID}/"
        self.assertEqual((api.asked[0].method, api.asked[0].uri), ("DELETE", path))

    def test_environment(self) -> None:
        """The environment wins over the document."""
        api = RestApi(204)
        treq = StubTreq(api)
        control = self.control(TRUSTED, treq, PLIVO_AUTH_ID="MA2", PLIVO_BASE_URL="http://h.example")
        done = Deferred.fromCoroutine(control.hang_up(CALL_UUID))
        treq.flush()
        self.successResultOf(done)
        self.assertIn("/v1/Account/MA2/", api.asked[0].uri)

    def control(self, document: dict[str, object], treq: Any, **environ: str) -> Any:
        made = loaded({"runner_transport": "plivo", **document}, **environ).settings
        return catalog_carriers.build_carrier("plivo").control(made, treq, Clock())


@shows("F44")
class CheckpointTests(SynchronousTestCase):
    """The pacer against a carrier that forgets what it cleared."""

    def setUp(self) -> None:
        self.sink = RecordingSink()
        self.pacer = Pacer(self.sink, ULAW_8K, b"\xff")
        self.now = 0.0

    def cut_reply(self) -> float:
        """Ten sentences of 100 ms with a checkpoint each, cleared after 300 ms; what was heard."""
        for _ in range(10):
            self.pacer.push(b"a" * 800, self.now)
            self.pacer.mark(self.now)
        for _ in range(15):
            self.now += 0.02
            self.pacer.tick(self.now)
        return self.pacer.clear(self.now)

    def test_nothing_is_kept(self) -> None:
        """A thousand interruptions whose checkpoints never come back: the clock tells what was heard."""
        for _ in range(1000):
            self.assertAlmostEqual(self.cut_reply(), 300.0)
        self.assertEqual(self.pacer.counts.marks_returned, 0)
        self.assertGreater(len(self.sink.marks), 3000)
        self.assertEqual(len(self.sink.marks), len(set(self.sink.marks)))
        self.assertLessEqual(len(self.pacer._ignored_marks), MAX_PENDING_MARKS)
        self.assertEqual(self.pacer._pending, {})

    def test_the_next_one_counts(self) -> None:
        """After cleared checkpoints that never came, the next reply's is understood, as Plivo sends it."""
        for _ in range(100):
            self.cut_reply()
        sent = len(self.sink.marks)
        self.pacer.push(b"b" * 800, self.now)
        self.pacer.finish(self.now)
        [name] = self.sink.marks[sent:]
        played_stream = {"event": "playedStream", "sequenceNumber": 7, "streamId": STREAM, "name": name}
        frame = PlivoSerializer().decode(json.dumps(played_stream).encode())
        self.assertEqual(frame, Mark(name))
        self.pacer.mark_returned(name, self.now + 0.1)
        self.assertEqual((self.pacer.counts.marks_returned, self.pacer.counts.marks_unknown), (1, 0))

    def test_the_first_is_forgotten(self) -> None:
        """A reply whose checkpoint is never answered is over when its audio is, by the clock."""
        self.pacer.push(b"a" * 1600, self.now)
        self.pacer.finish(self.now)
        self.assertEqual(len(self.sink.marks), 1)
        self.assertFalse(self.pacer.drained(0.19))
        self.assertTrue(self.pacer.drained(0.201))


class DataTests(SynchronousTestCase):
    def test_the_recorded_call_through_the_daemon(self) -> None:
        """Every inbound line of the recorded call, in order: none is bad, none is lost."""
        lines = (Path(__file__).parent / "data" / "plivo" / "call.jsonl").read_text().splitlines()
        house = PlivoHouse(self, {})
        line = house.socket()
        for entry in map(json.loads, lines):
            if entry["dir"] == "in":
                line.send(entry["msg"])
        self.assertIsNone(line.code)
        self.assertEqual(len(list(house.daemon._parts.registry)), 1)
        warned = [e for e in house.logged if "bad message" in (e.get("log_format") or "")]
        self.assertEqual(warned, [])
