"""Calls that we place: the ledger, and the dialer that orders, watches and gives up."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxray.call.dials import KEPT_SECS, MAX_KEPT, Dial, Dials, DialState
from voxray.errors import CarrierError
from voxray.frames import CallInfo
from voxray.interfaces import Ability, Dialed, DialOrder
from voxray.web.dialing import GRACE_SECS, RING_SECS, CannotDial, Dialer, Order

SID = "CA" + "1" * 32


class Control:
    """A carrier's REST API whose answers the test gives."""

    def __init__(self, *abilities: Ability) -> None:
        self.abilities = frozenset(abilities or (Ability.DIAL, Ability.HANG_UP))
        self.orders: list[tuple[DialOrder, Deferred[Dialed]]] = []
        self.cancelled: list[str] = []
        self.hung_up: list[str] = []
        self.cancel_error: CarrierError | None = None

    async def dial(self, order: DialOrder) -> Dialed:
        answer: Deferred[Dialed] = Deferred()
        self.orders.append((order, answer))
        return await answer

    async def cancel(self, reference: str) -> None:
        self.cancelled.append(reference)
        if self.cancel_error is not None:
            raise self.cancel_error

    async def hang_up(self, call_sid: str) -> None:
        self.hung_up.append(call_sid)

    async def transfer(self, call_sid: str, to: str, document_url: str) -> None: ...

    async def press_keys(self, call_sid: str, digits: str) -> None: ...


class Tokens:
    def dial_token(self, dial_id: str, carrier: str, ring_secs: float) -> str:
        return f"token-{carrier}"


class LedgerTests(SynchronousTestCase):
    """What is remembered, and for how long."""

    def test_a_life(self) -> None:
        """Dialing, up, ended; a failure afterwards is none."""
        dials = Dials()
        dials.begin(Dial("d1", "twilio", "+1", "+2", {"name": "Ann"}, 30.0), 0.0)
        expected = dials.expected("d1")
        assert expected is not None
        self.assertEqual((expected.from_number, expected.to_number), ("+2", "+1"))
        self.assertEqual((expected.outbound, expected.max_secs, expected.body), (True, 30.0, {"name": "Ann"}))
        dials.placed("d1", "ref", SID)
        dials.answered("d1", SID)
        self.assertIsNone(dials.fail("d1", "busy"))
        dials.ended("d1", "agent")
        dial = dials.get("d1")
        assert dial is not None
        self.assertEqual((dial.state, dial.reason, dial.call_sid), (DialState.ENDED, "agent", SID))
        over = dials.expected("d1")
        assert over is not None
        self.assertTrue(over.over)
        self.assertIsNone(dials.expected("d2"))

    def test_the_stream_before_the_answer(self) -> None:
        """The carrier's id learnt from the stream is not overwritten by what its answer calls it."""
        dials = Dials()
        dials.begin(Dial("d1", "plivo", "+1", "+2"), 0.0)
        dials.answered("d1", "from-the-stream")
        self.assertEqual(dials.placed("d1", "request", "").call_sid, "from-the-stream")

    def test_bounded(self) -> None:
        """An hour, a thousand; never one that rings."""
        dials = Dials()
        dials.begin(Dial("first", "twilio", "+1", "+2"), 0.0)
        for number in range(MAX_KEPT + 50):
            dials.begin(Dial(str(number), "twilio", "+1", "+2"), 1.0)
            dials.fail(str(number), "busy")
        self.assertLessEqual(len(dials._dials), MAX_KEPT + 2)
        dials.begin(Dial("last", "twilio", "+1", "+2"), KEPT_SECS + 2.0)
        self.assertEqual([dial.dial_id for dial in dials.dialing], ["first", "last"])
        self.assertEqual(len(dials._dials), 2)


class DialerTests(SynchronousTestCase):
    """Orders."""

    def setUp(self) -> None:
        self.clock, self.dials = Clock(), Dials()
        self.twilio, self.telnyx = Control(), Control(Ability.HANG_UP)
        self.room = True
        self.over: list[Dial] = []
        self.make("voice.example.com")

    def make(self, proxy_host: str) -> None:
        self.dialer = Dialer(
            {"twilio": self.twilio, "telnyx": self.telnyx},
            "twilio",
            proxy_host,
            self.dials,
            Tokens(),
            self.clock,
            room=lambda: self.room,
            longest_secs=3600.0,
            over=self.over.append,
        )

    def tearDown(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.dialer.stop()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def order(self, **changes: Any) -> Deferred[Dial]:
        return Deferred.fromCoroutine(
            self.dialer.dial(Order(**{"to": "+1555", "from_number": "+1666", **changes}))
        )

    def placed(self) -> Dial:
        """A call that rings."""
        placing = self.order()
        self.twilio.orders[-1][1].callback(Dialed("ref", SID))
        return self.successResultOf(placing)

    def refused(self, **changes: Any) -> CannotDial:
        failure = self.failureResultOf(self.order(**changes), CannotDial)
        assert isinstance(failure.value, CannotDial)
        return failure.value

    def test_the_order(self) -> None:
        """The carrier is given our public addresses, each naming the call by our id."""
        dial = self.placed()
        [(order, _)] = self.twilio.orders
        self.assertEqual((order.to, order.from_number), ("+1555", "+1666"))
        self.assertEqual(order.answer_url, f"https://voice.example.com/?call={dial.dial_id}")
        self.assertEqual(order.stream_url, "wss://voice.example.com/telephony/ws/token-twilio")
        self.assertEqual(order.status_url, f"https://voice.example.com/telephony/status?call={dial.dial_id}")
        self.assertEqual((dial.state, dial.call_sid), (DialState.DIALING, SID))
        self.assertEqual(order.max_call_secs, 3600.0)
        self.order(max_secs=60.0)
        self.assertEqual(self.twilio.orders[-1][0].max_call_secs, 60.0)

    def test_what_we_lack(self) -> None:
        """No such carrier, no credentials to dial by it, no room, no public host."""
        self.assertEqual(self.refused(carrier="plivo").status, 422)
        self.assertEqual(self.refused(carrier="telnyx").status, 422)
        self.room = False
        self.assertEqual(self.refused().status, 503)
        self.room = True
        self.make("")
        self.assertEqual(self.refused().status, 503)
        self.assertEqual(self.twilio.orders, [])

    def test_the_carrier_refuses(self) -> None:
        """A 4xx is the client's, anything else is nobody's here; the call has failed, and that is told."""
        for status, seen in ((400, 422), (401, 503), (0, 503), (500, 503)):
            placing = self.order()
            self.twilio.orders[-1][1].errback(CarrierError("twilio", "no", status=status))
            failure = self.failureResultOf(placing, CannotDial)
            self.assertEqual(failure.value.status, seen)
        self.assertEqual([dial.reason for dial in self.over], ["failed"] * 4)
        self.assertEqual(self.dials.dialing, [])

    def test_not_answered(self) -> None:
        """After the ringing it is given up at the carrier, once."""
        self.placed()
        self.clock.advance(RING_SECS + GRACE_SECS)
        self.assertEqual(self.twilio.cancelled, ["ref"])
        self.assertEqual([dial.reason for dial in self.over], ["no_answer"])

    def test_answered(self) -> None:
        """The timer is gone; the end of the call is noted."""
        dial = self.placed()
        info = CallInfo(dial.dial_id, call_sid=SID)
        self.dialer.began(info)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.dialer.told(dial.dial_id, {"CallStatus": "completed"})
        self.dialer.ended(info, "caller_hangup")
        known = self.dials.get(dial.dial_id)
        assert known is not None
        self.assertEqual((known.state, known.reason), (DialState.ENDED, "caller_hangup"))
        self.assertEqual(self.over, [])

    def test_told(self) -> None:
        """The carrier says what became of it; what is not an end changes nothing."""
        for status, why in (
            ("busy", "busy"),
            ("no-answer", "no_answer"),
            ("Failed", "failed"),
            ("cancel", "canceled"),
        ):
            dial = self.placed()
            self.dialer.told(dial.dial_id, {"CallStatus": "ringing"})
            self.assertEqual(len(self.dials.dialing), 1)
            self.dialer.told(dial.dial_id, {"CallStatus": status})
            self.assertEqual(self.over[-1].reason, why)
        self.dialer.told("unknown", {"Status": "busy"})

    def test_given_up(self) -> None:
        """By the client: cancelled at the carrier; a carrier that will not is told to the client."""
        dial = self.placed()
        self.successResultOf(Deferred.fromCoroutine(self.dialer.give_up(dial.dial_id)))
        self.assertEqual((self.twilio.cancelled, self.over[-1].reason), (["ref"], "canceled"))
        self.twilio.cancel_error = CarrierError("twilio", "down")
        dial = self.placed()
        failing = Deferred.fromCoroutine(self.dialer.give_up(dial.dial_id))
        self.assertEqual(self.failureResultOf(failing, CannotDial).value.status, 503)

    def test_given_up_before_the_carrier_answered(self) -> None:
        """It rings only now, and is cancelled now."""
        placing = self.order()
        [dial] = self.dials.dialing
        self.successResultOf(Deferred.fromCoroutine(self.dialer.give_up(dial.dial_id)))
        self.assertEqual(self.twilio.cancelled, [])
        self.twilio.orders[-1][1].callback(Dialed("late"))
        self.assertEqual(self.successResultOf(placing).state, DialState.FAILED)
        self.assertEqual(self.twilio.cancelled, ["late"])

    def test_the_answer_is_lost(self) -> None:
        """The stream came, the carrier's answer did not: the call is up, and that is the answer."""
        placing = self.order()
        [dial] = self.dials.dialing
        self.dialer.began(CallInfo(dial.dial_id, call_sid=SID))
        self.twilio.orders[-1][1].errback(CarrierError("twilio", "no answer"))
        self.assertEqual(self.successResultOf(placing).state, DialState.UP)
        self.assertEqual(self.over, [])

    def test_the_daemon_ends(self) -> None:
        """What rings is given up, and recorded; a carrier that does not answer holds nothing up for long."""
        self.placed()
        self.successResultOf(Deferred.fromCoroutine(self.dialer.stop()))
        self.assertEqual((self.twilio.cancelled, self.over[-1].reason), (["ref"], "shutdown"))

    def test_no_room_for_it(self) -> None:
        """Whoever picked up is not left on a silent line."""
        dial = self.placed()
        info = CallInfo(dial.dial_id, call_sid=SID, carrier="twilio")
        self.successResultOf(Deferred.fromCoroutine(self.dialer.turned_away(info)))
        self.assertEqual((self.twilio.hung_up, self.over[-1].reason), ([SID], "failed"))
