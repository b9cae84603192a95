"""Two instances behind one address: the webhook at one, the stream at the other; and what works at neither.

Whole daemons in one process; only Redis is played, by the stores in memory that keep to the same contract.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.signers import HOST, SIGNERS
from tests.test_attack_trust import PATH, Trusted
from tests.test_stores_shared import kept_in_memory
from voxray import storing
from voxray.call.expected import Expected
from voxray.stores.memory import MemoryReplays, MemorySessions
from voxray.stores.ports import RENEW_SECS, TTL_SECS
from voxray.stores.shared import Shared
from voxray.web.dialing import GRACE_SECS, RING_SECS
from voxray.web.tokens import StreamTokens

TWILIO = SIGNERS["twilio"]
SECRET = "one for all"


class Together(SynchronousTestCase):
    """Two daemons, the same stores. Time passes for both at once."""

    signer = TWILIO

    def setUp(self) -> None:
        self.clock = Clock()
        self.outage: list[bool] = []
        self.board, self.common = kept_in_memory(self.clock, self.outage)
        self.shared: list[Shared] = []
        self.patch(storing, "stores", self.stores)

    def stores(self, settings: Any, metrics: Any, reactor: Any, parent: Any = None) -> storing.Stores:
        made = Shared(
            self.common,
            node=str(len(self.shared)),
            limit=settings.calls.max_calls,
            clock=reactor,
            degraded=lambda whether: None,
        )
        self.shared.append(made)
        kept = MemorySessions(self.clock.seconds)
        return storing.Stores(kept, MemoryReplays(self.clock.seconds), None, made)

    def instance(self, **document: object) -> Trusted:
        house = Trusted(self, self.signer, stream_secret=SECRET, **document)
        self.shared[-1].link_changed(True)
        return house

    def two(self, **document: object) -> tuple[Trusted, Trusted]:
        return self.instance(**document), self.instance(**document)

    def pass_time(self, secs: float, *houses: Trusted) -> None:
        for _ in range(round(secs)):
            self.clock.advance(1.0)
            for house in houses:
                house.pass_wall_time(1.0)

    def now(self, asking: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(asking))

    def calls(self, house: Trusted) -> list[Any]:
        return list(house.daemon._parts.registry)

    def go(self) -> None:
        self.outage.append(True)
        for shared in self.shared:
            shared.link_changed(False)


class EachCarrierTests(Together):
    """F20 to F23 aside, what is new: the load balancer need not be sticky, on any carrier."""

    def check(self, name: str) -> None:
        self.signer = SIGNERS[name]
        here, there = self.two()
        sid = self.signer.call_sid(1)
        path, parameters = here.answered(sid)
        self.assertEqual(there.streams(path, sid, parameters), "")
        [call] = self.calls(there)
        info = call.info
        self.assertEqual((info.from_number, info.to_number), ("+15550001", "+15550002"))
        self.assertEqual((info.call_sid, info.carrier, info.verified), (sid, name, True))
        self.assertEqual(self.now(self.board.count()), 1)
        self.assertIsNone(self.now(self.common.handover.get(name, sid)))
        for house in (here, there):
            self.assertNotEqual(house.streams(path, sid, parameters), "")

    def test_twilio(self) -> None:
        """Webhook here, stream there: the same call, with its numbers; its token is spent everywhere."""
        self.check("twilio")

    def test_telnyx(self) -> None:
        """The same."""
        self.check("telnyx")

    def test_plivo(self) -> None:
        """The same."""
        self.check("plivo")

    def test_exotel(self) -> None:
        """The same."""
        self.check("exotel")


class TrustTests(Together):
    @shows("T1")
    def test_one_of_two(self) -> None:
        """A stream that is copied to both instances is let in by one."""
        here, there = self.two()
        path, parameters = here.answered(TWILIO.call_sid(1))
        outcomes = [house.streams(path, TWILIO.call_sid(1), parameters) for house in (there, here)]
        self.assertEqual(outcomes, ["", "close 1008"])
        self.assertEqual(there.asked + here.asked, there.asked)

    @shows("T4")
    def test_a_webhook_again(self) -> None:
        """T3: while the call is live, and an hour after, no instance answers it with a new token."""
        here, there = self.two()
        sid = TWILIO.call_sid(1)
        path, parameters = here.answered(sid)
        self.assertEqual(here.streams(path, sid, parameters), "")
        self.assertIn(b"<Hangup", there.rings(sid).body)
        here.current.lose()
        self.assertEqual(self.calls(here), [])
        self.assertIn(b"<Hangup", there.rings(sid).body)
        self.assertEqual(there.rings(TWILIO.call_sid(2)).status, 200)

    def test_before_the_stream(self) -> None:
        """Both were asked, and each minted a token: the later stream has the call, the earlier one ends."""
        here, there = self.two()
        sid = TWILIO.call_sid(1)
        first, second = here.answered(sid), there.answered(sid)
        self.assertEqual(here.streams(first[0], sid, first[1]), "")
        older = here.current
        self.assertEqual(there.streams(second[0], sid, second[1]), "")
        self.pass_time(RENEW_SECS, here, there)
        self.assertEqual((older.code, self.calls(here)), (1000, []))
        self.assertEqual(len(self.calls(there)), 1)
        self.assertEqual(self.now(self.board.count()), 1)

    def test_without_tokens(self) -> None:
        """`signature`: the stream needs the word of the webhook, which another instance had; once."""
        here, there = self.two(telephony_auth="signature")
        sid = TWILIO.call_sid(1)
        self.assertEqual(here.rings(sid).status, 200)
        unsigned = {"X-Twilio-Signature": ""}
        self.assertEqual(there.streams(PATH, sid), "")
        self.assertEqual(self.calls(there)[0].info.from_number, "+15550001")
        self.assertEqual(here.streams(PATH, sid), "close 1008")
        self.assertNotEqual(here.streams(PATH, sid, headers=unsigned), "")

    def test_over_elsewhere(self) -> None:
        """`signature`: the word of the webhook is good for one stream, also where it was given."""
        here, there = self.two(telephony_auth="signature")
        sid = TWILIO.call_sid(1)
        self.assertEqual(here.rings(sid).status, 200)
        self.assertEqual(there.streams(PATH, sid), "")
        there.current.lose()
        self.assertEqual((self.calls(there), self.now(self.board.count())), ([], 0))
        self.assertEqual(here.streams(PATH, sid), "close 1008")

    def test_off(self) -> None:
        """Without any proof a call still has one stream, wherever it comes."""
        here, there = self.two(telephony_auth="off")
        sid = TWILIO.call_sid(1)
        self.assertEqual(here.streams(PATH, sid), "")
        self.assertEqual(there.streams(PATH, sid), "close 1008")
        self.assertEqual(there.streams(PATH, TWILIO.call_sid(2)), "")


class PlaceTests(Together):
    @shows("F58")
    def test_max_calls(self) -> None:
        """It counts the calls of both: the webhook says busy once it has heard, the stream finds no place."""
        here, there = self.two(max_calls=2)
        paths = [here.answered(TWILIO.call_sid(0)), here.answered(TWILIO.call_sid(1))]
        paths.append(there.answered(TWILIO.call_sid(2)))  # `here` knows that two are coming
        for number, house in ((0, here), (1, there)):
            self.assertEqual(house.streams(paths[number][0], TWILIO.call_sid(number), paths[number][1]), "")
        last = paths[2]
        self.assertEqual(here.streams(last[0], TWILIO.call_sid(2), last[1]), "close 1013")
        for house in (here, there):
            self.assertIn(b"<Reject", house.rings(TWILIO.call_sid(9)).body)
        refused = here.daemon._parts.exchange.metrics.calls_refused.labels("max_calls")
        self.assertEqual(refused._value.get(), 2.0)  # the stream, and the last webhook
        there.current.lose()
        self.pass_time(RENEW_SECS, here, there)
        self.assertEqual(here.rings(TWILIO.call_sid(9)).status, 200)

    def test_a_place_given_back(self) -> None:
        """Every way that a stream comes to nothing leaves the board as it was."""
        here, there = self.two()
        path, parameters = here.answered(TWILIO.call_sid(1))
        self.patch(there.daemon._parts.registry, "_make_call", lambda *_: 1 // 0)
        self.assertEqual(there.streams(path, TWILIO.call_sid(1), parameters), "close 1011")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.now(self.board.count()), 0)
        path, parameters = here.answered(TWILIO.call_sid(2))
        self.assertEqual(here.streams(path, TWILIO.call_sid(2), parameters), "")
        here.current.lose()
        self.assertEqual(self.now(self.board.count()), 0)

    @shows("F53")
    def test_a_crash(self) -> None:
        """The calls of an instance that is gone make room within half a minute."""
        here, there = self.two(max_calls=1)
        path, parameters = here.answered(TWILIO.call_sid(1))
        self.assertEqual(here.streams(path, TWILIO.call_sid(1), parameters), "")
        self.pass_time(12, here, there)  # more, and the carrier would be taken for dead
        self.assertIn(b"<Reject", there.rings(TWILIO.call_sid(2)).body)
        self.now(self.shared[0].stop())  # as if it were
        self.pass_time(TTL_SECS + RENEW_SECS, there)
        self.assertEqual(there.rings(TWILIO.call_sid(2)).status, 200)


@shows("F21")
class OutageTests(Together):
    """F21, F22: Redis is away."""

    def test_calls_go_on(self) -> None:
        """Live calls stay, new ones are taken; a token of another's is good, and spent by each alone."""
        here, there = self.two(max_calls=2)
        path, parameters = here.answered(TWILIO.call_sid(1))
        self.assertEqual(here.streams(path, TWILIO.call_sid(1), parameters), "")
        self.go()
        self.pass_time(12, here, there)
        self.assertEqual(len(self.calls(here)), 1)
        path, parameters = here.answered(TWILIO.call_sid(2))
        self.assertEqual(there.streams(path, TWILIO.call_sid(2), parameters), "")
        self.assertEqual(there.streams(path, TWILIO.call_sid(2), parameters), "HTTP 403")
        self.assertEqual(here.streams(path, TWILIO.call_sid(2), parameters), "")  # the price
        self.assertIn(b"<Reject", here.rings(TWILIO.call_sid(3)).body)  # its own limit
        self.assertNotIn(b"<Reject", there.rings(TWILIO.call_sid(3)).body)

    def test_back_again(self) -> None:
        """All live calls are on the board, and the limit is everybody's."""
        here, there = self.two(max_calls=2)
        self.go()
        for number, house in ((1, here), (2, here), (3, there)):
            path, parameters = house.answered(TWILIO.call_sid(number))
            self.assertEqual(house.streams(path, TWILIO.call_sid(number), parameters), "")
        self.outage.clear()
        for shared in self.shared:
            shared.link_changed(True)
        self.assertEqual(self.now(self.board.count()), 3)
        for house in (here, there):
            self.assertIn(b"<Reject", house.rings(TWILIO.call_sid(9)).body)


class DialTests(Together):
    """A call that one instance places, whose webhook and stream come to the other."""

    def dialed(self) -> Expected:
        return Expected(
            uuid4().hex, "twilio", "", "+15557654321", "+15551234567", outbound=True, body={"name": "Ann"}
        )

    def test_elsewhere(self) -> None:
        """It is known there, with the body of its order; and where it was placed that it rings no more."""
        here, there = self.two()
        dialed, sid = self.dialed(), TWILIO.call_sid(1)
        self.shared[0].announce_dial(dialed, 300)
        self.assertTrue(self.now(self.shared[0].rings_still(dialed.call_id)))
        token = StreamTokens(SECRET.encode(), 120).mint("twilio", f"dial:{dialed.call_id}", there.wall)
        self.assertEqual(there.streams(f"{PATH}/{token}", sid), "")
        [call] = self.calls(there)
        self.assertEqual((call.info.call_id, call.info.outbound), (dialed.call_id, True))
        self.assertEqual((call.info.body, call.info.to_number), ({"name": "Ann"}, "+15551234567"))
        self.assertFalse(self.now(self.shared[0].rings_still(dialed.call_id)))
        self.assertEqual(here.streams(f"{PATH}/{token}", sid), "close 1008")

    def test_its_webhook(self) -> None:
        """Answered there, by either method; a call that nobody placed is nobody's."""
        _, there = self.two()
        dialed, sid = self.dialed(), TWILIO.call_sid(1)
        self.shared[0].announce_dial(dialed, 300)
        form = TWILIO.form(sid)
        for dial_id, status in ((dialed.call_id, 200), (uuid4().hex, 403), ("x" * 5_000, 403)):
            url = f"https://{HOST}/?call={dial_id}"
            answer = there.post(f"/?call={dial_id}", form, TWILIO.webhook(url, form, there.wall))
            self.assertEqual(answer.status, status, dial_id[:40])
        self.assertIn(
            b"<Stream",
            there.post(
                f"/?call={dialed.call_id}",
                form,
                TWILIO.webhook(f"https://{HOST}/?call={dialed.call_id}", form, there.wall),
            ).body,
        )

    def test_transfer(self) -> None:
        """The carrier may ask any instance for the number, for a minute."""
        here, there = self.two()
        url = here.daemon._parts.exchange.transfer_url("call-id", "+15559999999")
        path, form = url.removeprefix(f"https://{HOST}"), TWILIO.form(TWILIO.call_sid(1))
        signed = TWILIO.webhook(url, form, there.wall)
        self.assertIn(b"+15559999999", there.post(path, form, signed).body)
        self.pass_time(60, here, there)
        self.assertEqual(there.post(path, form, signed).status, 404)


class OperationTests(Together):
    """One of them drains, or gets another configuration."""

    @shows("F51")
    def test_drain(self) -> None:
        """It takes the streams that the other announced, as long as it takes any; no webhooks, no dials."""
        here, there = self.two()
        path, parameters = here.answered(TWILIO.call_sid(1))
        self.assertEqual(here.streams(path, TWILIO.call_sid(1), parameters), "")
        here.terminate()
        self.assertEqual(here.rings(TWILIO.call_sid(2)).status, 503)
        path, parameters = there.answered(TWILIO.call_sid(2))
        self.assertEqual(here.streams(path, TWILIO.call_sid(2), parameters), "")
        self.assertEqual(len(self.calls(here)), 2)
        path, parameters = there.answered(TWILIO.call_sid(3))
        self.assertEqual(there.streams(path, TWILIO.call_sid(3), parameters), "")

    def test_told_while_another_is_asked(self) -> None:
        """A stream that may be a call is waited for; one that comes too late gives its place back."""
        here, _ = self.two(max_calls=1, goodbye="")
        path, parameters = here.answered(TWILIO.call_sid(1))
        line, status = here.connects(path)
        asking: Deferred[bool] = Deferred()

        async def spend(nonce: str, ttl_secs: float) -> bool:
            return await asking

        self.patch(self.shared[0], "spend", spend)
        line.send(TWILIO.start(TWILIO.call_sid(1), parameters))
        here.terminate()
        here.pass_time(1)
        self.assertFalse(here.reactor.hasStopped)
        here.terminate()  # nobody is let in any more
        asking.callback(True)
        self.assertEqual((status, line.code, self.calls(here)), (101, 1013, []))
        self.assertEqual(self.now(self.board.count()), 0)
        line.lose()
        here.pass_time(1)
        self.assertTrue(here.reactor.hasStopped)

    def test_reload(self) -> None:
        """The limit of all calls, and how long an announced one is kept for the others."""
        here, there = self.two(max_calls=2)
        for number, house in ((1, here), (2, there)):
            path, parameters = house.answered(TWILIO.call_sid(number))
            self.assertEqual(house.streams(path, TWILIO.call_sid(number), parameters), "")
        here.reload(max_calls=3, stream_token_secs=5)
        path, parameters = here.answered(TWILIO.call_sid(3))
        self.assertIn(b"<Reject", there.rings(TWILIO.call_sid(9)).body)
        self.assertIsNotNone(self.now(self.shared[1].announced("twilio", TWILIO.call_sid(3))))
        self.pass_time(6, here, there)
        self.assertIsNone(self.now(self.shared[1].announced("twilio", TWILIO.call_sid(3))))


class GivingUpTests(SynchronousTestCase):
    """Where a call was placed, once it has rung for too long, or the instance drains."""

    def given_up(self, ringing: bool, draining: bool = False) -> Any:
        from tests.test_dials import Control, Tokens
        from voxray.call.dials import Dials
        from voxray.interfaces import Dialed
        from voxray.web.dialing import Dialer, Order

        told: list[Expected] = []

        class Peers:
            def dial_begins(self, expected: Expected) -> None:
                told.append(expected)

            async def rings_still(self, dial_id: str) -> bool:
                return ringing

        clock, dials, control = Clock(), Dials(), Control()
        dialer = Dialer(
            {"twilio": control}, "twilio", HOST, dials, Tokens(), clock,
            room=lambda: True, longest_secs=3600.0, peers=Peers(),
        )  # fmt: skip
        placing = Deferred.fromCoroutine(dialer.dial(Order("+1555", "+1666", body={"a": 1})))
        self.assertEqual([(each.body, each.to_number) for each in told], [({"a": 1}, "+1555")])
        control.orders[-1][1].callback(Dialed("ref", "CA1"))
        dial_id = self.successResultOf(placing).dial_id
        if draining:
            dialer.give_up_all("shutdown", lambda dial_id: False)
        clock.advance(RING_SECS + GRACE_SECS)
        dial = dials.get(dial_id)
        assert dial is not None
        return control.cancelled, dial.state.value, dial.call_sid

    def test_it_rings(self) -> None:
        """Given up at the carrier."""
        self.assertEqual(self.given_up(True), (["ref"], "failed", "CA1"))
        self.assertEqual(self.given_up(True, draining=True), (["ref"], "failed", "CA1"))

    def test_it_is_up_elsewhere(self) -> None:
        """Left alone: to cancel would hang up on somebody."""
        self.assertEqual(self.given_up(False), ([], "up", "CA1"))
        self.assertEqual(self.given_up(False, draining=True), ([], "up", "CA1"))
