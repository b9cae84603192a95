"""What strangers may send to the telephone's HTTP side: odd bytes, long bodies, frames before their time."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.fakes import FakeControl
from tests.house import House, Line
from tests.signers import HOST, SIGNERS, TWILIO_TOKEN
from tests.test_attack_trust import PATH, Trusted
from tests.test_media_socket import start
from tests.test_web_http import Answer
from tests.wsframes import frame, handshake
from voxray.carriers.plivo_signature import PlivoAuthenticity, signature_v2, signature_v3
from voxray.errors import CarrierError
from voxray.frames import TextDelta, Transfer
from voxray.interfaces import Proof, SignedRequest

TWILIO = SIGNERS["twilio"]
WEIRD = b"\xff\xfe\x80"


class BytesTests(SynchronousTestCase):
    """Headers and paths that are no text."""

    @shows("T30")
    def test_headers(self) -> None:
        """Any header of any route may have any byte: an answer, never a failure of ours."""
        house = Trusted(self, TWILIO, server_api_key="k")
        for head in (
            b"POST /",
            b"POST /telephony/status",
            b"GET /api/v1/calls",
            b"GET /health",
            b"GET /nowhere",
        ):
            for name in (
                *(b"Content-Type", b"Authorization", b"X-API-Key", b"X-Request-ID", b"Idempotency-Key"),
                *(b"X-Twilio-Signature", b"Cookie"),
            ):
                line = Line(house)
                line.raw(head + b" HTTP/1.1\r\nHost: h\r\n" + name + b": Bearer " + WEIRD + b"\r\n\r\n")
                status = Answer(line.transport.value()).status
                self.assertIn(status, (200, 401, 403, 404), (head, name))
                line.lose()
        for extra in (
            b"Host: \xff\r\nX-Request-ID: \xff",
            b"Host: h\r\nX-Request-ID: \xff\r\nContent-Length: 999999999",
        ):
            line = Line(house)
            line.raw(b"POST / HTTP/1.1\r\n" + extra + b"\r\n\r\n")
            self.assertIn(Answer(line.transport.value()).status, (400, 413))
            line.lose()
        self.assertEqual(self.flushLoggedErrors(), [])

    @shows("T22")
    def test_paths(self) -> None:
        """A path that does not unquote to text is 400; one spelt with escapes is no way to the socket."""
        house = Trusted(self, TWILIO)
        for path, status in (
            (b"/api/v1/calls/%ff", 400),
            (b"/telephony/transfer/%ff", 400),
            (b"/telephony/%77s", 404),
            (b"/%74elephony/ws/token", 404),
        ):
            line = Line(house)
            line.raw(handshake().replace(b"/telephony/ws", path, 1))
            self.assertEqual(Answer(line.transport.value()).status, status, path)
            line.lose()
        self.assertEqual(self.flushLoggedErrors(), [])
        metrics = house.daemon._parts.exchange.metrics.http_active.collect()
        self.assertEqual([s.value for family in metrics for s in family.samples if s.value], [])


class CostTests(SynchronousTestCase):
    """A stranger's request is not worth much work."""

    @shows("T13")
    def test_long_webhooks(self) -> None:
        """More than a carrier ever sends is refused before it is parsed."""
        house = Trusted(self, TWILIO)
        parsed: list[int] = []
        for module in ("voxray.web.requests", "voxray.carriers.signing"):
            parse = __import__(module, fromlist=["parse_qsl"]).parse_qsl
            self.patch(
                __import__(module, fromlist=["x"]),
                "parse_qsl",
                lambda text, parse=parse, **more: parsed.append(len(text)) or parse(text, **more),
            )
        long = b"a=" + b"%41" * 80_000
        self.assertEqual(house.ask("POST", "/", long, host=HOST).status, 403)
        self.assertEqual(house.ask("GET", f"/?CallSid=CA1&a={'%41' * 4_000}", host=HOST).status, 200)
        _, status = house.connects(f"{PATH}?{'a' * 5_000}")
        self.assertEqual(status, 403)
        self.assertEqual([size for size in parsed if size > 16_384], [])


class SegmentTests(SynchronousTestCase):
    """One TCP segment may hold more than the upgrade."""

    def test_frames_with_the_upgrade(self) -> None:
        """They are the socket's: nothing is lost, whole or in part."""
        house = House(self, {"greeting": ""})
        message = frame(json.dumps(start(1)).encode())
        for cut in (len(message), 5):
            line = Line(house)
            line.raw(handshake() + message[:cut])
            line.raw(message[cut:])
            self.assertEqual(len(house.daemon._parts.registry), 1)
            line.lose()

    @shows("T30")
    def test_a_request_before_the_upgrade(self) -> None:
        """Pipelined: the one is answered, the other upgraded."""
        house = House(self)
        line = Line(house)
        line.raw(
            b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n" + handshake() + frame(json.dumps(start(1)).encode())
        )
        self.assertTrue(line.transport.value().startswith(b"HTTP/1.1 200"))
        self.assertIn(b"HTTP/1.1 101", line.transport.value())
        self.assertEqual(len(house.daemon._parts.registry), 1)


class DowngradeTests(SynchronousTestCase):
    @shows("T2")
    def test_plivo_v2_after_v3(self) -> None:
        """V2 covers no parameter. It will do for accounts that send no V3, and not once V3 was seen."""
        check, url = PlivoAuthenticity(["token"]), f"https://{HOST}/"
        body = urlencode({"CallUUID": "x"}).encode()
        v2 = {"x-plivo-signature-v2": signature_v2("token", url, "1"), "x-plivo-signature-v2-nonce": "1"}
        v3 = {
            "x-plivo-signature-v3": signature_v3("token", "POST", url, "1", [("CallUUID", "x")]),
            "x-plivo-signature-v3-nonce": "1",
        }
        for headers, proof in (
            (v2, Proof.GENUINE),
            (v3, Proof.GENUINE),
            (v2, Proof.FORGED),
            (v3, Proof.GENUINE),
        ):
            self.assertIs(check.webhook(SignedRequest("POST", url, headers, body), 0.0), proof)


class RoomTests(SynchronousTestCase):
    @shows("F58")
    def test_calls_that_are_coming(self) -> None:
        """Webhooks answered a moment ago take their places; the rest is told busy."""
        house = Trusted(self, TWILIO, max_calls=2)
        answers = [house.rings(TWILIO.call_sid(number)).body for number in range(6)]
        self.assertEqual([b"Reject" in body for body in answers], [False, False, True, True, True, True])
        self.assertEqual(house.rings(TWILIO.call_sid(0)).body, answers[0])  # asked again: the same
        house.pass_wall_time(16)
        self.assertNotIn(b"Reject", house.rings(TWILIO.call_sid(9)).body)
        self.assertNotIn(TWILIO_TOKEN, str(house.logged))


class Slow(FakeControl):
    """A carrier that takes its time with a transfer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Deferred[None] = Deferred()

    async def transfer(self, call_sid: str, to: str, document_url: str) -> None:
        await self.asked


class OperatorTests(SynchronousTestCase):
    def test_ended_while_it_is_handed_over(self) -> None:
        """DELETE during a transfer that then fails: the call ends all the same."""
        house = House(
            self,
            {"transfers": {"desk": "+15551230000"}, "transfer_apology": "No luck."},
            [TextDelta("One moment."), Transfer("desk")],
        )
        house.controlled(control := Slow())
        line = house.dial()
        line.press("1#")
        house.pass_time(1)
        [call] = house.daemon._parts.registry
        call.end_now("operator")
        house.pass_time(1)
        self.assertEqual(control.hung_up, [])
        control.asked.errback(CarrierError("twilio", "no", status=500))
        house.pass_time(2)
        self.assertEqual(control.hung_up, [call.info.call_sid])
        line.lose()
        self.assertEqual([record["reason"] for record in house.records], ["operator"])
