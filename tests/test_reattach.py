"""`reattach`: what a document says comes after its stream, and what callers who come back are answered."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from twisted.trial.unittest import SynchronousTestCase

from tests.configs import loaded
from tests.dangers import shows
from tests.house import Line
from tests.signers import HOST, SIGNERS, TOKEN
from tests.test_attack_trust import Trusted
from tests.test_dials import Control
from tests.test_instances import TWILIO, Together
from tests.test_web_http import Answer
from voxray.interfaces import Dialed
from voxray.simulator.answers import parse_texml
from voxray.simulator.documents import Next, next_of
from voxray.simulator.twiml import BadAnswer, StreamAnswer, parse_answer
from voxray.stores.ports import TTL_SECS
from voxray.web.comeback import Trail, trail_of

AGAIN = f"https://{HOST}/?back=1&streams=1"
REST = {"twilio_account_sid": "AC" + "1" * 32, "telnyx_api_key": "KEY1"}


def next_url(answer: Answer) -> str:
    """What the document says is asked after the stream."""
    found = ET.fromstring(answer.body).find("Redirect")
    if found is None:
        return ""
    assert found.get("method") == "POST"
    return found.text or ""


def coming_back(case: SynchronousTestCase, name: str = "twilio", **document: object) -> Trusted:
    """A daemon whose callers may come back."""
    signer = SIGNERS[name]
    return Trusted(case, signer, **{"api_keys": {**signer.keys, **REST}, "reattach": True, **document})


def comes_back(house: Trusted, sid: str, times: int = 1, streams: int = 1) -> Answer:
    """The webhook that the document asked for, signed."""
    path, form = f"/?back={times}&streams={streams}", {**house.signer.form(sid), "CallStatus": "in-progress"}
    return house.post(path, form, house.signer.webhook(f"https://{HOST}{path}", form, house.wall))


def with_a_stream(house: Trusted, sid: str) -> Line:
    path, parameters = house.answered(sid)
    line, status = house.connects(path)
    house.case.assertEqual(status, 101)
    line.send(house.signer.start(sid, parameters))
    return line


class KeyTests(SynchronousTestCase):
    """The key's effect."""

    def test_reattach(self) -> None:
        """With it a verified caller's document goes on after the stream; without it there is nothing more."""
        for name in ("twilio", "telnyx"):
            house = coming_back(self, name)
            self.assertEqual(next_url(house.rings(house.signer.call_sid(1))), AGAIN)
            house = coming_back(self, name, reattach=False)
            self.assertEqual(next_url(house.rings(house.signer.call_sid(1))), "")

    def test_not_in_effect(self) -> None:
        """Where nobody is verified, or hanging up is closing the socket, or the carrier has no such thing."""
        for name, document in (
            ("twilio", {"telephony_auth": "off"}),
            ("twilio", {"api_keys": {"twilio_auth_token": SIGNERS["twilio"].keys["twilio_auth_token"]}}),
            ("plivo", {}),
        ):
            house = coming_back(self, name, **document)
            answer = house.rings(house.signer.call_sid(1))
            self.assertEqual((answer.status, b"Redirect" in answer.body), (200, False), (name, document))

    def test_calls_that_we_placed(self) -> None:
        """They have no way back: what they were about is gone with the process."""
        house = coming_back(self, server_api_key="key", caller_id="+1555")
        sid, control = house.signer.call_sid(1), Control()
        house.daemon._parts.exchange.controls["twilio"] = control
        order, line = b'{"to": "+15551234567"}', Line(house)
        head = "POST /api/v1/calls HTTP/1.1\r\nHost: h\r\nX-API-Key: key\r\nContent-Length: "
        line.raw(f"{head}{len(order)}\r\n\r\n".encode() + order)
        asked, answer = control.orders[0]
        answer.callback(Dialed("ref", sid))
        path, form = asked.answer_url.removeprefix(f"https://{HOST}"), house.signer.form(sid)
        self.assertRegex(path, r"\A/\?call=")
        signed = house.signer.webhook(f"https://{HOST}{path}", form, house.wall)
        document = house.post(path, form, signed).body
        self.assertIn(b"<Stream", document)
        self.assertNotIn(b"Redirect", document)

    def test_warnings(self) -> None:
        """The owner is told what is missing."""
        for document, words in (
            ({"runner_transport": "plivo"}, "plivo is not told"),
            ({"telephony_auth": "off"}, "telephony_auth is off"),
            ({}, "set TWILIO_AUTH_TOKEN and TWILIO_ACCOUNT_SID"),
            ({"runner_transport": "telnyx"}, "TELNYX_PUBLIC_KEY and TELNYX_API_KEY"),
        ):
            warnings = loaded({"reattach": True, **document}).warnings
            found = [warning for warning in warnings if warning.startswith("reattach has no effect")]
            self.assertEqual(len(found), 1, warnings)
            self.assertIn(words, found[0])
        self.assertFalse(
            [each for each in loaded({"runner_transport": "plivo"}).warnings if "reattach" in each]
        )


@shows("F53", "T4", "T5")
class ComeBackTests(SynchronousTestCase):
    """The webhook that a document asked for."""

    def takes(self, house: Trusted, sid: str, stream: StreamAnswer) -> None:
        """The answer's stream becomes a call."""
        path = stream.url.removeprefix(f"wss://{HOST}")
        self.assertEqual(house.streams(path, sid, dict(stream.parameters)), "")

    def test_after_a_crash(self) -> None:
        """Nobody knows the call: a stream of its own, a token of its own, and the way back once more."""
        for name in ("twilio", "telnyx"):
            before, house = coming_back(self, name), coming_back(self, name)
            sid = house.signer.call_sid(1)
            with_a_stream(before, sid)
            answer = comes_back(house, sid)
            self.assertEqual(next_url(answer), f"https://{HOST}/?back=1&streams=2")
            parse = parse_answer if name == "twilio" else parse_texml
            self.takes(house, sid, parse(answer.body))

    def test_it_ends(self) -> None:
        """The third stream is a call's last: it may be this call that kills us, or no stream gets through."""
        sid = SIGNERS["twilio"].call_sid(1)
        for streams, told in ((1, f"https://{HOST}/?back=1&streams=2"), (2, ""), (3, ""), (999, "")):
            answer = comes_back(coming_back(self), sid, streams=streams)
            self.assertIn(b"<Stream", answer.body)
            self.assertEqual(next_url(answer), told)
        house, urls = coming_back(self), []
        answer = house.rings(sid)
        while again := next_url(answer):  # no stream ever comes
            urls.append(again)
            path, form = again.removeprefix(f"https://{HOST}"), house.signer.form(sid)
            answer = house.post(path, form, house.signer.webhook(again, form, house.wall))
        self.assertEqual(len(urls), 2)

    def test_over(self) -> None:
        """A call that ended is hung up on: no stream, and no way back."""
        house = coming_back(self)
        sid = house.signer.call_sid(1)
        line = with_a_stream(house, sid)
        line.send({"event": "stop"})
        line.lose()
        answer = comes_back(house, sid)
        self.assertEqual([child.tag for child in ET.fromstring(answer.body)], ["Hangup"])

    def test_still_up(self) -> None:
        """It waits, ten times at most, and never gets a token: perhaps it is a replay. The call goes on."""
        house = coming_back(self)
        sid = house.signer.call_sid(1)
        line = with_a_stream(house, sid)
        for times in (1, 2, 9):
            answer = comes_back(house, sid, times)
            self.assertIsNone(TOKEN.search(answer.body.decode()))
            self.assertEqual(
                next_of(answer.body, parse_answer),
                Next(2.0, again=f"https://{HOST}/?back={times + 1}&streams=1"),
            )
        for times in (11, 999):
            answer = comes_back(house, sid, times)
            self.assertEqual([child.tag for child in ET.fromstring(answer.body)], ["Hangup"])
        self.assertIsNone(line.code)
        line.lose()
        self.assertIn(b"<Hangup", comes_back(house, sid, 3).body)

    def test_strangers(self) -> None:
        """A way back that nobody signed is no way in, and its mark is a number or nothing."""
        house = coming_back(self)
        sid = house.signer.call_sid(1)
        self.assertEqual(house.post("/?back=1", house.signer.form(sid), {}).status, 403)
        for text in ("", "0", "-1", "x", "\u0661", "1e3", "1000", "01x"):
            self.assertEqual(trail_of({"back": text, "streams": "1"}), Trail(), text)
            self.assertEqual(trail_of({"back": "1", "streams": text}), Trail(), text)
        self.assertEqual(trail_of({"back": "7", "streams": "2"}), Trail(7, 2))

    def test_no_injection(self) -> None:
        """Nothing of a request gets into the URL but its host, and that is safe."""
        house = coming_back(self)
        path, form = "/?x=%22%3E%3CDial%3E900%3C/Dial%3E", house.signer.form(house.signer.call_sid(1))
        answer = house.post(path, form, house.signer.webhook(f"https://{HOST}{path}", form, house.wall))
        self.assertEqual(next_url(answer), AGAIN)
        self.assertFalse(re.search(rb"Dial|900", answer.body))


@shows("F53")
class InstancesTests(Together):
    """Two instances on one Redis."""

    def test_elsewhere(self) -> None:
        """The one that crashed keeps its place for seconds: the caller waits, then gets a stream here."""
        keys = {**TWILIO.keys, **REST}
        here, there = self.two(api_keys=keys, reattach=True)
        sid = TWILIO.call_sid(1)
        with_a_stream(here, sid)
        told = next_of(comes_back(there, sid).body, parse_answer)
        self.assertEqual(told, Next(2.0, again=f"https://{HOST}/?back=2&streams=1"))
        self.pass_time(TTL_SECS + 1, there)  # not here
        told = next_of(comes_back(there, sid, 2).body, parse_answer)
        assert told.stream is not None
        self.assertEqual(
            there.streams(told.stream.url.removeprefix(f"wss://{HOST}"), sid, told.stream.parameters), ""
        )

    def test_over_elsewhere(self) -> None:
        """A call that ended there is hung up on here."""
        keys = {**TWILIO.keys, **REST}
        here, there = self.two(api_keys=keys, reattach=True)
        sid = TWILIO.call_sid(1)
        line = with_a_stream(here, sid)
        line.send({"event": "stop"})
        line.lose()
        self.pass_time(2, here, there)
        self.assertEqual(next_of(comes_back(there, sid).body, parse_answer), Next())


class DocumentTests(SynchronousTestCase):
    """The simulator's reading of it."""

    def test_next(self) -> None:
        """Pauses, the next question, the end; whole URLs alone, by POST."""
        for inner, told in (
            ("", Next()),
            ("<Hangup/>", Next()),
            ('<Pause length="3"/><Pause/>', Next(4.0)),
            ("<Redirect>https://h/?a=1&amp;b=2</Redirect>", Next(again="https://h/?a=1&b=2")),
        ):
            self.assertEqual(next_of(f"<Response>{inner}</Response>".encode(), parse_answer), told)
        for inner in (
            "<Redirect>/x</Redirect>",
            '<Redirect method="GET">https://h/</Redirect>',
            '<Pause length="x"/>',
        ):
            body = f"<Response>{inner}</Response>".encode()
            self.assertRaises(BadAnswer, next_of, body, parse_answer)
