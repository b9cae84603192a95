"""The whole daemon after SIGTERM, on imaginary time: who is let in, what the others hear, how it ends."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.fakes import FakeControl
from tests.house import House, Line
from tests.signers import SIGNERS
from tests.test_attack_trust import PATH, Trusted
from tests.test_dials import Control
from tests.test_media_socket import start
from tests.test_web_http import FORM, Answer
from tests.wsframes import handshake
from voxray.call.expected import COMING_SECS
from voxray.drain import CUT_SECS, GOODBYE_SECS, HURRIED_SECS, SLACK_SECS
from voxray.errors import CarrierError
from voxray.frames import TextDelta
from voxray.interfaces import Dialed

TWILIO = SIGNERS["twilio"]
STOP: dict[str, Any] = {"event": "stop"}
WORDS = "Thanks and bye."  # 300 ms
CALLS = "/api/v1/calls"
KEY = "X-API-Key: k"
ORDER = b'{"to": "+15551234567", "from": "+15557654321"}'


def sid_of(number: int) -> str:
    found: str = start(number)["start"]["callSid"]
    return found


class DrainingTestCase(SynchronousTestCase):
    def open(self, *replies: list[object], control: Any = None, **document: object) -> House:
        self.house = house = House(self, {"goodbye": WORDS, "server_api_key": "k", **document}, *replies)
        house.controlled(control)
        return house

    def stopped(self) -> bool:
        """The reactor was told to stop."""
        return bool(self.house.reactor.hasStopped)

    def ask(self, method: str, path: str, body: bytes = b"", *headers: str) -> Answer:
        line = Line(self.house)
        lines = [f"{method} {path} HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *headers]
        line.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        answer = Answer(line.transport.value())
        line.lose()
        return answer

    def upgrade(self) -> int:
        line = Line(self.house)
        line.raw(handshake())
        status = int(line.transport.value().split()[1])
        line.lose()
        return status

    def reasons(self) -> list[str]:
        return [str(record["reason"]) for record in self.house.records]

    def metric(self, name: str, **labels: str) -> float | None:
        found: float | None = self.house.daemon._parts.exchange.metrics.registry.get_sample_value(
            name, labels
        )
        return found


@shows("F51")
class DoorTests(DrainingTestCase):
    """Who is let in."""

    def test_http(self) -> None:
        """Probes, webhooks and orders: 503, with Retry-After where one may ask again; alive all the same."""
        house = self.open()
        house.dial()
        house.terminate()
        self.assertEqual(self.ask("GET", "/ready").status, 503)
        self.assertEqual(self.ask("GET", "/health").status, 200)
        for path, body in (("/", FORM), (CALLS, ORDER), ("/start", b"{}")):
            answer = self.ask("POST", path, body, KEY)
            self.assertEqual(answer.status, 503, path)
            self.assertIn(answer.headers["retry-after"], ("2", "5"))
        self.assertEqual(self.metric("voxray_draining"), 1.0)
        listed = self.ask("GET", CALLS, b"", KEY).json["data"]
        self.assertEqual((len(listed["calls"]), listed["draining"]), (1, True))
        self.assertFalse(self.stopped())

    def test_before(self) -> None:
        """Until then nothing of it."""
        self.open()
        self.assertEqual(self.ask("GET", "/ready").status, 200)
        self.assertEqual(self.metric("voxray_draining"), 0.0)
        self.assertFalse(self.ask("GET", CALLS, b"", KEY).json["data"]["draining"])

    def test_a_call_goes_on(self) -> None:
        """It hears an answer, ends by itself with its own reason, and then the daemon stops."""
        house = self.open([TextDelta("We open at nine.")])
        line = house.dial()
        house.terminate()
        line.press("1#")
        line.silence(60)
        self.assertEqual(line.said, ["We open at nine."])
        self.assertFalse(self.stopped())
        line.send(STOP)
        house.pass_time(0.2)
        self.assertTrue(self.stopped())
        self.assertEqual(self.reasons(), ["caller_hangup"])

    def test_announced_before(self) -> None:
        """Without tokens: the stream of a call whose webhook was answered is let in, another's is not."""
        house = self.open()
        form = FORM.replace(b"CA0123456789abcdef0123456789abcdef", sid_of(1).encode())
        self.assertEqual(self.ask("POST", "/", form).status, 200)
        house.terminate()
        self.assertFalse(self.stopped())
        stranger, announced = house.socket(), house.socket()
        stranger.send(start(9))
        self.assertEqual(stranger.code, 1013)
        announced.send(start(1))
        self.assertIsNone(announced.code)
        self.assertEqual(len(house.daemon._parts.registry), 1)
        self.assertEqual(self.upgrade(), 503)  # nobody is expected any more
        self.assertEqual(self.metric("voxray_calls_refused_total", reason="draining"), 2.0)
        announced.send(STOP)
        house.pass_time(0.2)
        self.assertTrue(self.stopped())

    def test_announced_and_never_here(self) -> None:
        """It is waited for some seconds, not for the whole timeout."""
        house = self.open()
        self.assertEqual(self.ask("POST", "/", FORM).status, 200)
        house.terminate()
        house.pass_time(COMING_SECS - 1, 0.1)
        self.assertFalse(self.stopped())
        house.pass_time(1.3, 0.1)
        self.assertTrue(self.stopped())

    def test_tokens(self) -> None:
        """A token of before is good, whatever else is expected; without one nobody is let in."""
        self.house = house = Trusted(self, TWILIO)
        path, parameters = house.answered(TWILIO.call_sid(1))
        other, more = house.answered(TWILIO.call_sid(2))
        self.assertEqual(house.streams(other, TWILIO.call_sid(2), more), "")
        house.terminate()
        self.assertEqual(house.rings(TWILIO.call_sid(3)).status, 503)
        self.assertEqual(house.streams(PATH, TWILIO.call_sid(3), headers={}), "HTTP 403")
        house.pass_time(COMING_SECS + 1, 0.1)
        self.assertEqual(house.streams(path, TWILIO.call_sid(1), parameters), "")
        self.assertEqual(len(house.daemon._parts.registry), 2)

    def test_nobody_in_the_end(self) -> None:
        """Once the goodbyes are said a token lets nobody in."""
        self.house = house = Trusted(self, TWILIO, drain_timeout_secs=0)
        path, parameters = house.answered(TWILIO.call_sid(1))
        other, more = house.answered(TWILIO.call_sid(2))
        self.assertEqual(house.streams(other, TWILIO.call_sid(2), more), "")
        house.terminate()
        house.reactor.advance(0)
        self.assertEqual(house.streams(path, TWILIO.call_sid(1), parameters), "HTTP 503")

    def test_asked_while_it_starts(self) -> None:
        """Before it answers there is nothing to wait for."""
        house = self.open()
        house.terminate()
        self.assertTrue(self.stopped())


@shows("F51")
class EndTests(DrainingTestCase):
    """The deadline, and a second SIGTERM."""

    def test_goodbye(self) -> None:
        """At the deadline: the phrase, then the hang-up at the carrier, whose `stop` ends the call."""
        control = FakeControl()
        house = self.open(control=control, drain_timeout_secs=20, dead_peer_secs=30)
        line = house.dial()
        house.terminate()
        house.pass_time(19.9, 0.1)
        self.assertEqual((line.said, control.hung_up), ([], []))
        house.pass_time(1)
        self.assertEqual((line.said, control.hung_up), ([WORDS], [sid_of(1)]))
        line.send(STOP)
        house.pass_time(0.2)
        self.assertTrue(self.stopped())
        self.assertEqual((line.code, self.reasons()), (1000, ["drain_forced"]))

    def test_without_an_account(self) -> None:
        """The socket is closed instead, as going away."""
        house = self.open(drain_timeout_secs=0)
        line = house.dial()
        house.terminate()
        house.pass_time(1)
        self.assertEqual((line.said, line.code), ([WORDS], 1001))
        line.lose()
        house.pass_time(0.2)
        self.assertTrue(self.stopped())
        self.assertEqual(self.reasons(), ["drain_forced"])

    def test_a_carrier_without_a_word(self) -> None:
        """It neither answers nor says `stop`: the socket is closed with 1001, and the daemon stops."""
        house = self.open(control=Control(), drain_timeout_secs=0)  # its hang-up is done at once
        line = house.dial()
        house.terminate()
        house.pass_time(GOODBYE_SECS + CUT_SECS + 0.3)
        self.assertEqual(line.code, 1001)
        self.assertTrue(self.stopped())
        self.assertEqual(self.reasons(), ["drain_forced"])

    def test_a_voice_that_fails(self) -> None:
        """The goodbye cannot be made: the hang-up comes all the same, within the bound."""
        control = FakeControl()
        house = self.open([TextDelta("one two three four")], control=control, drain_timeout_secs=0)
        line = house.dial()
        house.daemon._parts.exchange.phrases._made.clear()
        house.tts.gate = Deferred()  # never
        line.press("1#")
        house.terminate()
        house.pass_time(GOODBYE_SECS + 0.2)
        self.assertEqual(control.hung_up, [sid_of(1)])
        house.pass_time(CUT_SECS + 0.2)
        self.assertEqual((line.code, self.stopped()), (1001, True))

    def test_again(self) -> None:
        """The second SIGTERM: goodbye at once, everything over two seconds later."""
        control = FakeControl(CarrierError("twilio", "500"))
        house = self.open(control=control, goodbye="one two three four five six seven eight nine ten eleven")
        line = house.dial()
        house.terminate()
        house.pass_time(5)
        house.terminate()
        house.pass_time(HURRIED_SECS + 0.1)
        self.assertEqual(control.hung_up, [sid_of(1)])  # in the middle of a word
        house.pass_time(CUT_SECS)
        self.assertEqual((line.code, self.stopped()), (1001, True))

    def test_in_its_last_words(self) -> None:
        """A call that hangs up once its words were heard does so at once, when it is cut off."""
        control = FakeControl()
        house = self.open([TextDelta("one two three four five six seven eight")], control=control)
        line = house.dial()
        line.press("1#")
        house.pass_time(0.2)
        [call] = house.daemon._parts.registry
        call.finish("operator")
        self.assertEqual(control.hung_up, [])
        call.cut_short("drain_forced")
        self.assertEqual(control.hung_up, [sid_of(1)])
        line.send(STOP)
        self.assertEqual(self.reasons(), ["operator"])

    def test_its_own_end(self) -> None:
        """Who was hung up on by the agent already keeps that reason, and hears no second goodbye."""
        control = FakeControl()
        house = self.open(control=control, drain_timeout_secs=0)
        line = house.dial()
        [call] = house.daemon._parts.registry
        call.say_goodbye("operator")
        house.pass_time(1)
        self.assertEqual(control.hung_up, [sid_of(1)])
        house.terminate()
        house.pass_time(0.5)
        line.send(STOP)
        house.pass_time(0.2)
        self.assertEqual((line.said, self.reasons(), control.hung_up), ([WORDS], ["operator"], [sid_of(1)]))

    def test_one_calls_trouble(self) -> None:
        """A call whose goodbye fails keeps nobody else from theirs."""
        house = self.open(drain_timeout_secs=0)
        first, second = house.dial(), house.dial()
        broken, _ = house.daemon._parts.registry
        self.patch(broken._dialogue, "say", lambda *_: 1 // 0)
        house.terminate()
        house.pass_time(1)
        self.assertEqual((first.said, second.said), ([], [WORDS]))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        house.pass_time(GOODBYE_SECS + CUT_SECS)
        self.assertEqual((first.code, self.stopped()), (1001, True))


class Manager:
    """A service manager that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def stopping(self) -> None:
        self.told.append("stopping")

    def extend(self, secs: float) -> None:
        self.told.append(secs)


class ManagerTests(DrainingTestCase):
    """What the service manager hears."""

    def test_drain(self) -> None:
        """That it stops, and how long that may take, before anything else."""
        house, manager = self.open(drain_timeout_secs=100), Manager()
        self.patch(house.daemon._parts.drain._household, "_manager", manager)
        house.dial()
        house.terminate()
        self.assertEqual(manager.told, ["stopping", 100 + GOODBYE_SECS + CUT_SECS + SLACK_SECS])

    def test_stopped_otherwise(self) -> None:
        """A signal that comes while the daemon ends for another reason begins nothing."""
        house = self.open()
        line = house.dial()
        stopping = house.daemon.stopService()
        house.terminate()
        self.assertEqual(self.metric("voxray_draining"), 0.0)
        line.lose()
        house.reactor.advance(1)
        self.successResultOf(stopping)
        self.assertEqual((line.code, self.reasons()), (1001, ["shutdown"]))


@shows("F51")
class DialTests(DrainingTestCase):
    """Calls of ours that ring."""

    def ring(self) -> str:
        """An order that the carrier has taken; the call's id."""
        control = Control()
        self.open(proxy_host="voice.example.com")
        self.house.daemon._parts.exchange.controls["twilio"] = control
        self.control = control
        self.house.dial()  # somebody to wait for
        line = Line(self.house)
        head = f"POST {CALLS} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(ORDER)}\r\n{KEY}\r\n\r\n"
        line.raw(head.encode() + ORDER)
        [dial_id] = self.ringing()
        return dial_id

    def ringing(self) -> list[str]:
        """The ids of calls that ring, as the API has them."""
        listed = self.ask("GET", CALLS, b"", KEY).json["data"]["calls"]
        return [call["id"] for call in listed if call["status"] == "dialing"]

    def test_given_up(self) -> None:
        """What rings is told to stop ringing, and is recorded."""
        self.ring()
        self.control.orders[0][1].callback(Dialed("ref", sid_of(7)))
        self.house.terminate()
        self.assertEqual((self.control.cancelled, self.ringing()), (["ref"], []))
        self.assertEqual(self.reasons(), ["shutdown"])

    def test_the_carrier_is_slow(self) -> None:
        """An order that it has not taken yet is given up when it has, and waited for."""
        self.ring()
        self.house.terminate()
        self.assertEqual((self.control.cancelled, self.ringing()), ([], []))
        self.house.lines[0].send(STOP)
        self.house.pass_time(1)
        self.assertFalse(self.stopped())
        self.control.orders[0][1].callback(Dialed("ref", sid_of(7)))
        self.assertEqual(self.control.cancelled, ["ref"])
        self.house.pass_time(0.2)
        self.assertTrue(self.stopped())

    def test_picked_up(self) -> None:
        """Somebody has taken the call: it goes on, its webhook asked again is answered again."""
        dial_id = self.ring()
        self.control.orders[0][1].callback(Dialed("ref", sid_of(7)))
        form = FORM.replace(b"CA0123456789abcdef0123456789abcdef", sid_of(7).encode())
        self.assertIn(b"<Stream", self.ask("POST", f"/?call={dial_id}", form).body)
        self.house.terminate()
        self.assertEqual((self.control.cancelled, self.ringing()), ([], [dial_id]))
        self.assertIn(b"<Stream", self.ask("POST", f"/?call={dial_id}", form).body)
        stream = self.house.socket()
        stream.send(start(7))
        self.assertEqual(len(self.house.daemon._parts.registry), 2)
        listed = self.ask("GET", CALLS, b"", KEY).json["data"]["calls"]
        self.assertEqual([call["direction"] for call in listed], ["inbound", "outbound"])

    def test_picked_up_too_late(self) -> None:
        """Given up, and taken in the same moment: the document hangs up."""
        dial_id = self.ring()
        self.control.orders[0][1].callback(Dialed("ref", sid_of(7)))
        self.house.terminate()
        form = FORM.replace(b"CA0123456789abcdef0123456789abcdef", sid_of(7).encode())
        self.assertIn(b"<Hangup", self.ask("POST", f"/?call={dial_id}", form).body)
