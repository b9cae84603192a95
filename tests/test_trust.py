"""The policy: who is let in at the webhook, at the upgrade and at the start of a stream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.doors import Doors, twilio_trunk
from voxray.call.expected import MAX_EXPECTED, OVER_SECS, Expectations, Expected, Welcome
from voxray.carriers.plivo import PlivoDocuments
from voxray.frames import ULAW_8K, StreamStarted
from voxray.interfaces import Proof, SignedRequest
from voxray.web.rules import AUTO, Rules, in_service, rules_of
from voxray.web.tokens import Claim, Fault, StreamTokens
from voxray.web.trust import TOKEN_PARAMETER, Refused, Ticket, Trunk, Visitor

SID, OTHER = "CA" + "1" * 32, "CA" + "2" * 32
FORM = {"CallSid": SID, "From": "+15550001", "To": "+15550002"}
BOTH = Rules(signature=True, token=True)


class Signs:
    """A carrier that signs by a word in a header."""

    signs_urls = True
    signs_upgrades = True
    advice = "sign, please"

    def __init__(self, signs_upgrades: bool = True) -> None:
        self.signs_upgrades = signs_upgrades

    def webhook(self, request: SignedRequest, now: float) -> Proof:
        return {"good": Proof.GENUINE, "": Proof.UNSIGNED}.get(
            request.headers.get("signed", ""), Proof.FORGED
        )

    upgrade = webhook


def request(signed: str = "good", method: str = "POST", url: str = "https://h/") -> SignedRequest:
    return SignedRequest(method, url, {"signed": signed} if signed else {})


def started(sid: str = SID, **parameters: str) -> StreamStarted:
    return StreamStarted("MZ1", sid, "AC1", ULAW_8K, parameters)


def trunk(rules: Rules = BOTH, **options: Any) -> Trunk:
    return twilio_trunk(rules, Signs(options.pop("signs_upgrades", True)), **options)


class House(Doors):
    """A policy and what a carrier does at it."""

    def rings(self, signed: str = "good", sid: str = SID, dial_id: str = "") -> Visitor | Refused:
        form = {**FORM, "CallSid": sid}
        found = self.keeper.trunk_of(form, dial_id)
        assert found is not None
        return self.keeper.visitor(found, request(signed), form, dial_id)

    def answers(self, sid: str = SID, dial_id: str = "") -> str:
        """A genuine webhook; the token in the answer."""
        visitor = self.rings(sid=sid, dial_id=dial_id)
        assert isinstance(visitor, Visitor), visitor
        expected = self.keeper.answered(visitor)
        assert expected is not None
        return expected.token

    def connects(self, token: str, signed: str = "good") -> Ticket | Refused:
        return self.keeper.ticket(request(signed, "GET", "wss://h/telephony/ws"), token)

    def starts(
        self, token: str, sid: str = SID, signed: str = "good", **parameters: str
    ) -> Welcome | Refused:
        ticket = self.connects(token, signed)
        if isinstance(ticket, Refused):
            return ticket
        return self.keeper.welcome(ticket, ticket.trunk or self.trunks["twilio"], started(sid, **parameters))


def reason(outcome: object) -> str:
    assert isinstance(outcome, Refused), outcome
    return outcome.reason


class ModeTests(SynchronousTestCase):
    """`telephony_auth`."""

    def test_rules(self) -> None:
        """auto is both with the carrier's secret, and nothing without; the rest is what its name says."""
        for secret in (True, False):
            self.assertEqual(rules_of("off", secret=secret, static_streams=False), Rules())
            self.assertEqual(
                rules_of("signature", secret=secret, static_streams=False), Rules(signature=True)
            )
            self.assertEqual(rules_of("token", secret=secret, static_streams=True), Rules(token=True))
            self.assertEqual(rules_of("both", secret=secret, static_streams=False), BOTH)
            self.assertEqual(rules_of("auto", secret=secret, static_streams=False), Rules(secret, secret))
        for mode in ("auto", "signature", "both"):
            either = rules_of(mode, secret=True, static_streams=True)
            self.assertEqual(either, replace(BOTH, either=True))
        self.assertFalse(rules_of("auto", secret=False, static_streams=True).either)

    def test_in_service(self) -> None:
        """The configured carrier brings calls, others carry ours; what could not be checked is left out where
        anything is, and with `auto` all bring calls unless one of them is checked.
        """
        names = ("twilio", "plivo")

        def served(
            mode: str, configured: str, *secrets: str, dialling: tuple[str, ...] = ()
        ) -> dict[str, bool]:
            rules = {name: rules_of(mode, secret=name in secrets, static_streams=False) for name in names}
            return in_service(mode, configured, rules, secrets=secrets, dialling=dialling)

        self.assertEqual(served("auto", "plivo"), {"plivo": True})
        self.assertEqual(served("off", "plivo", dialling=names), {"twilio": False, "plivo": True})
        self.assertEqual(served("signature", "plivo", dialling=names), {})
        self.assertEqual(served("both", "plivo", "twilio", dialling=names), {"twilio": False})
        self.assertEqual(served("auto", AUTO), {"twilio": True, "plivo": True})
        self.assertEqual(served("auto", AUTO, "plivo"), {"plivo": True})
        self.assertEqual(served("auto", AUTO, "plivo", dialling=names), {"twilio": False, "plivo": True})
        self.assertEqual(served("token", AUTO), {"twilio": True, "plivo": True})

    def test_nothing_enforced(self) -> None:
        """A token is neither required nor checked; only a second stream of a live call is refused."""
        house = House(twilio_trunk())
        self.assertEqual(house.answers(), "")
        for token in ("", "rubbish", house.tokens.mint("twilio", OTHER, house.wall)):
            welcome = house.starts(token, signed="")
            assert isinstance(welcome, Welcome)
            self.assertFalse(welcome.replaces)
        house.live.add(("twilio", SID))
        self.assertEqual(reason(house.starts("rubbish", signed="")), "second_stream")
        self.assertIsInstance(house.starts("", OTHER, signed=""), Welcome)
        house.live.clear()
        house.expectations.ended("twilio", SID, house.now)
        self.assertIsInstance(house.starts("", signed=""), Welcome)
        self.assertIsNotNone(house.answers())

    @shows("T6")
    def test_nothing_verified_without_signature(self) -> None:
        """What an unsigned webhook said is used, but the carrier's REST API is not asked about it."""
        house = House(twilio_trunk())
        house.answers()
        welcome = house.starts("", signed="")
        assert isinstance(welcome, Welcome) and welcome.expected is not None
        self.assertEqual((welcome.expected.from_number, welcome.expected.verified), ("+15550001", False))

    @shows("T1")
    def test_signature_alone(self) -> None:
        """Where upgrades are signed that is enough; where not, a signed webhook must have told of it."""
        house = House(trunk(Rules(signature=True)))
        self.assertEqual(house.answers(), "")
        self.assertIsInstance(house.starts("", OTHER), Welcome)
        self.assertEqual(reason(house.starts("", signed="")), "upgrade_unsigned")
        self.assertEqual(reason(house.starts("", signed="bad")), "upgrade_forged")
        house = House(trunk(Rules(signature=True), signs_upgrades=False))
        house.answers()
        self.assertEqual(reason(house.starts("", OTHER, signed="")), "call_not_announced")
        welcome = house.starts("", signed="")
        assert isinstance(welcome, Welcome) and welcome.expected is not None
        self.assertTrue(welcome.expected.verified)
        self.assertEqual(reason(house.starts("", signed="")), "call_not_announced")

    @shows("T1", "T6")
    def test_token_alone(self) -> None:
        """Webhooks are not checked, streams are; and nothing is thought to be verified."""
        house = House(trunk(Rules(token=True)))
        visitor = house.rings(signed="bad")
        assert isinstance(visitor, Visitor)
        self.assertFalse(visitor.verified)
        token = house.answers()
        self.assertEqual(reason(house.starts("", signed="")), "token_missing")
        welcome = house.starts(token, signed="")
        assert isinstance(welcome, Welcome) and welcome.expected is not None
        self.assertFalse(welcome.expected.verified)

    def test_no_call_id_told(self) -> None:
        """Exotel need not say which call it asks for: the token is then for any one stream."""
        house = House(trunk(replace(BOTH, either=True), parameters=False))
        token = house.answers(sid="")
        self.assertIsInstance(house.starts(token, OTHER, signed=""), Welcome)
        self.assertEqual(reason(house.starts(token, SID, signed="")), "token_spent")

    def test_either(self) -> None:
        """Exotel in auto: the applet's credentials or a token of ours; not neither, and not a wrong token."""
        house = House(trunk(replace(BOTH, either=True), parameters=False))
        self.assertIsInstance(house.starts("", OTHER), Welcome)
        self.assertIsInstance(house.starts(house.answers(), signed=""), Welcome)
        self.assertEqual(reason(house.starts("", signed="")), "upgrade_unsigned")
        self.assertEqual(reason(house.starts("x.y", signed="good")), "token_forged")


class WebhookTests(SynchronousTestCase):
    """The first door."""

    def test_genuine(self) -> None:
        """A signed webhook is verified, its call expected with a token."""
        house = House(trunk())
        visitor = house.rings()
        assert isinstance(visitor, Visitor)
        self.assertTrue(visitor.verified)
        expected = house.keeper.answered(visitor)
        assert expected is not None
        self.assertTrue(expected.verified)
        self.assertIsInstance(house.tokens.read(expected.token, house.wall), Claim)

    @shows("T2")
    def test_not_genuine(self) -> None:
        """Unsigned comes with the carrier's advice, forged with the URL it was checked against, no query."""
        house = House(trunk())
        unsigned, forged = house.rings(""), house.rings("bad")
        assert isinstance(unsigned, Refused) and isinstance(forged, Refused)
        self.assertEqual((unsigned.reason, unsigned.hint), ("webhook_unsigned", "sign, please"))
        self.assertEqual(forged.reason, "webhook_forged")
        self.assertIn("https://h/:", forged.hint)
        self.assertIn("telephony_auth", forged.hint)

    @shows("T4")
    def test_asked_again(self) -> None:
        """The same answer before the stream; while it is up, and for an hour after, none: a replay."""
        house = House(trunk())
        token = house.answers()
        self.assertEqual(house.answers(), token)
        self.assertIsInstance(house.starts(token), Welcome)
        house.live.add(("twilio", SID))
        visitor = house.rings()
        assert isinstance(visitor, Visitor)
        self.assertIsNone(house.keeper.answered(visitor))
        house.live.clear()
        house.expectations.ended("twilio", SID, house.now)
        self.assertIsNone(house.keeper.answered(visitor))
        house.pass_time(OVER_SECS + 1)
        self.assertNotEqual(house.answers(), token)

    def test_a_verified_word_beats_another(self) -> None:
        """In token mode a call that a forger announced first is announced anew once it is verified."""
        house = House(trunk())
        house.expectations.add(Expected("x", "twilio", SID, "+1666"), house.now)
        house.answers()
        known = house.expectations.get("twilio", SID, house.now)
        assert known is not None
        self.assertEqual((known.from_number, known.verified), ("+15550001", True))

    def test_no_call_id(self) -> None:
        """Without an id there is nothing to bind a token to, and nothing to expect."""
        house = House(trunk())
        self.assertEqual(house.answers(sid="nonsense"), "")
        self.assertEqual(len(house.expectations), 0)


@shows("T1")
class StreamTests(SynchronousTestCase):
    """The second and the third door."""

    def test_once(self) -> None:
        """A token is good for one stream of its own call."""
        house = House(trunk())
        token = house.answers()
        welcome = house.starts(token)
        assert isinstance(welcome, Welcome) and welcome.expected is not None
        self.assertEqual(welcome.expected.from_number, "+15550001")
        self.assertTrue(welcome.expected.verified)
        self.assertEqual(reason(house.starts(token)), "token_spent")

    @shows("T5")
    def test_two_sockets_one_token(self) -> None:
        """Both may connect; the first `start` wins."""
        house = House(trunk())
        token = house.answers()
        first, second = house.connects(token), house.connects(token)
        assert isinstance(first, Ticket) and isinstance(second, Ticket)
        one = house.trunks["twilio"]
        self.assertIsInstance(house.keeper.welcome(second, one, started()), Welcome)
        self.assertEqual(reason(house.keeper.welcome(first, one, started())), "token_spent")

    def test_another_call(self) -> None:
        """The token of call A with the id of call B: refused, and A's token is not used up by it."""
        house = House(trunk())
        token = house.answers()
        house.answers(OTHER)
        self.assertEqual(reason(house.starts(token, OTHER)), "token_other_call")
        self.assertIsInstance(house.starts(token), Welcome)

    def test_another_carrier(self) -> None:
        """A token minted for Plivo opens no Twilio stream."""
        house = House(trunk())
        token = house.tokens.mint("plivo", SID, house.wall)
        ticket = Ticket(house.trunks["twilio"], request(), house.tokens.read(token, house.wall), True)  # type: ignore[arg-type]
        self.assertEqual(
            reason(house.keeper.welcome(ticket, house.trunks["twilio"], started())), "token_other_call"
        )

    def test_late(self) -> None:
        """An expired token is worth nothing, at the upgrade or between upgrade and start."""
        house = House(trunk())
        token = house.answers()
        house.pass_time(119)
        ticket = house.connects(token)
        assert isinstance(ticket, Ticket)
        house.pass_time(2)
        self.assertEqual(
            reason(house.keeper.welcome(ticket, house.trunks["twilio"], started())), "token_expired"
        )
        self.assertEqual(reason(house.starts(token)), "token_expired")

    def test_in_start(self) -> None:
        """The token may come as a <Parameter>; then the upgrade has to wait for it."""
        house = House(trunk())
        token = house.answers()
        self.assertEqual(reason(house.starts("", **{TOKEN_PARAMETER: "x" + token})), "token_forged")
        self.assertEqual(reason(house.starts("")), "token_missing")
        self.assertIsInstance(house.starts("", **{TOKEN_PARAMETER: token}), Welcome)
        self.assertEqual(reason(house.starts("", **{TOKEN_PARAMETER: token})), "token_spent")

    def test_no_parameters(self) -> None:
        """A carrier that passes no <Parameter> on has to have it in the path."""
        house = House(trunk(parameters=False))
        self.assertEqual(reason(house.connects("")), "token_missing")

    @shows("T5", "F38")
    def test_owns_the_live_call(self) -> None:
        """Its own unspent token lets a new stream take the place of the old one; nothing else does."""
        house = House(trunk())
        token = house.answers()
        house.live.add(("twilio", SID))
        welcome = house.starts(token)
        assert isinstance(welcome, Welcome)
        self.assertTrue(welcome.replaces)

    def test_another_node(self) -> None:
        """With a shared secret, a token minted elsewhere opens the stream here."""
        there, here = House(trunk()), House(trunk())
        welcome = here.starts(there.answers())
        assert isinstance(welcome, Welcome) and welcome.expected is not None
        self.assertEqual((welcome.expected.call_sid, welcome.expected.verified), (SID, True))

    def test_the_secret_of_another(self) -> None:
        """Without it, not."""
        there, here = House(trunk()), House(trunk())
        here.tokens = here.keeper._tokens = StreamTokens(b"x" * 32, 120)
        self.assertEqual(reason(here.starts(there.answers())), "token_forged")


class DialedTests(SynchronousTestCase):
    """Calls that we placed ourselves."""

    def test_by_webhook(self) -> None:
        """The answer URL names the call of ours; what the carrier says of its id must not contradict ours."""
        house = House(trunk(inbound=False))
        house.dialed["d1"] = Expected("d1", "twilio", "", "+1", "+2", outbound=True)
        token = house.answers(dial_id="d1")
        welcome = house.starts(token)
        assert isinstance(welcome, Welcome) and welcome.expected is not None
        self.assertEqual((welcome.expected.call_id, welcome.expected.outbound), ("d1", True))
        house.dialed["d2"] = Expected("d2", "twilio", OTHER, "+1", "+2", outbound=True)
        self.assertEqual(reason(house.rings(dial_id="d2")), "webhook_other_call")

    def test_by_another_carrier(self) -> None:
        """Its webhook's answer has a token in every mode: that tells whose stream it is."""
        for rules in (Rules(), Rules(signature=True), BOTH):
            plivo = twilio_trunk(rules, Signs(False), PlivoDocuments(), inbound=False, parameters=False)
            house = House(trunk(rules), plivo)
            house.dialed["d1"] = Expected("d1", "plivo", "", "+1", "+2", outbound=True)
            found = house.keeper.trunk_of({}, "d1")
            self.assertIs(found, plivo)
            sid = "12345678-1234-1234-1234-123456789abc"
            visitor = house.keeper.visitor(plivo, request(), {"CallUUID": sid}, "d1")
            assert isinstance(visitor, Visitor)
            expected = house.keeper.answered(visitor)
            assert expected is not None and expected.token
            ticket = house.connects(expected.token, "")
            assert isinstance(ticket, Ticket)
            self.assertIs(ticket.trunk, plivo)
            self.assertIsInstance(house.keeper.welcome(ticket, plivo, started(sid)), Welcome)

    def test_given_up_between(self) -> None:
        """Webhook, then given up, then the stream: there is no call any more."""
        house = House(trunk(inbound=False))
        ours = Expected("d1", "twilio", "", "+1", "+2", outbound=True)
        house.dialed["d1"] = ours
        token = house.answers(dial_id="d1")
        house.dialed["d1"] = replace(ours, over=True)
        self.assertEqual(reason(house.starts(token)), "call_over")

    def test_by_token(self) -> None:
        """A stream without webhook: the token is for our id; the carrier's is learnt from the stream."""
        house = House(trunk(inbound=False))
        house.dialed["d1"] = Expected("d1", "twilio", "", "+1", "+2", outbound=True)
        welcome = house.starts(house.tokens.mint("twilio", "dial:d1", house.wall))
        assert isinstance(welcome, Welcome) and welcome.expected is not None
        self.assertEqual((welcome.expected.call_sid, welcome.expected.verified), (SID, True))
        house.dialed["d2"] = Expected("d2", "twilio", OTHER, outbound=True)
        self.assertEqual(
            reason(house.starts(house.tokens.mint("twilio", "dial:d2", house.wall))), "token_other_call"
        )
        self.assertEqual(
            reason(house.starts(house.tokens.mint("twilio", "dial:d9", house.wall))), "token_other_call"
        )

    def test_nobody_calls_in(self) -> None:
        """A carrier that only carries our own calls takes no others."""
        house = House(trunk(inbound=False))
        self.assertIsNone(house.keeper.trunk_of(FORM))
        self.assertIsNone(house.keeper.trunk_of(FORM, "d9"))
        self.assertEqual(reason(house.connects("")), "upgrade_unasked")


class TokenTests(SynchronousTestCase):
    """Tokens by themselves."""

    def setUp(self) -> None:
        self.tokens = StreamTokens(b"key", 120.0)

    def test_round_trip(self) -> None:
        """Carrier and subject come back; they fit a URL's path and a <Parameter>."""
        for subject in (SID, "v3:" + "x" * 80, "dial:1234"):
            token = self.tokens.mint("telnyx", subject, 1000.0)
            self.assertRegex(token, r"\A[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
            self.assertLess(len(token), 300)
            claim = self.tokens.read(token, 1000.0)
            assert isinstance(claim, Claim)
            self.assertEqual((claim.carrier, claim.subject), ("telnyx", subject))
            self.assertEqual(self.tokens.read(token, 1120.0), Fault.EXPIRED)

    def test_never_twice_the_same(self) -> None:
        """Two answers have two tokens."""
        self.assertNotEqual(self.tokens.mint("twilio", SID, 1.0), self.tokens.mint("twilio", SID, 1.0))

    @shows("T1")
    @given(st.data())
    def test_every_character_counts(self, data: st.DataObject) -> None:
        """A token with one character changed is forged or malformed."""
        token = self.tokens.mint("twilio", SID, 1000.0)
        at = data.draw(st.integers(0, len(token) - 1))
        other = data.draw(st.characters().filter(lambda c: c != token[at]))
        changed = token[:at] + other + token[at + 1 :]
        if at == len(token) - 1 or at == token.index(".") - 1:
            return  # base64's last character has bits to spare, and is compared as text for the signature
        self.assertIn(self.tokens.read(changed, 1000.0), (Fault.FORGED, Fault.MALFORMED))

    @shows("T1")
    @given(st.text() | st.text("abcAB-_.=", max_size=700))
    def test_rubbish(self, text: str) -> None:
        """Nothing that is not ours is read, and nothing raises."""
        self.assertIn(self.tokens.read(text, 0.0), (Fault.FORGED, Fault.MALFORMED))

    def test_another_key(self) -> None:
        """What the old one signed is good as long as it says, and nothing that it signs after that."""
        ringing = self.tokens.mint("twilio", "dial:1", 1060.0)  # good until 1180
        self.tokens.sign_with(b"new", 1000.0)
        elsewhere = StreamTokens(b"key", 120.0).mint("twilio", SID, 1000.0)
        forged = StreamTokens(b"key", 9_000.0).mint("twilio", SID, 1000.0)
        own = self.tokens.mint("twilio", SID, 1179.0)
        for token, now, good in (
            (ringing, 1179.0, True),
            (elsewhere, 1119.0, True),
            (forged, 1179.0, True),
            (forged, 1180.0, False),
            (own, 1200.0, True),
            (self.tokens.mint("twilio", SID, 1200.0), 1200.0, True),
        ):
            self.assertEqual(isinstance(self.tokens.read(token, now), Claim), good, (token, now))

    def test_a_key_taken_back(self) -> None:
        """The old key in force again, or the same one told again: there is one key, and it is good."""
        for key in (b"new", b"key", b"key"):
            self.tokens.sign_with(key, 1000.0)
        token = self.tokens.mint("twilio", SID, 1000.0)
        self.assertIsInstance(self.tokens.read(token, 1000.0), Claim)
        self.assertEqual(list(self.tokens._former), [b"new"])

    @shows("F56")
    def test_spent_ones_are_forgotten_when_expired(self) -> None:
        """Memory does not grow with the number of calls."""
        for second in range(500):
            claim = self.tokens.read(self.tokens.mint("twilio", SID, second), second)
            assert isinstance(claim, Claim)
            self.assertIsNone(self.tokens.spend(claim, second))
            self.assertEqual(self.tokens.spend(claim, second), Fault.SPENT)
        self.assertLess(len(self.tokens._spent), 125)


class ExpectationTests(SynchronousTestCase):
    """What is remembered of calls to come and calls that were."""

    @shows("F56")
    def test_they_do_not_pile_up(self) -> None:
        """Webhooks whose stream never comes are forgotten, by age and by number."""
        expectations = Expectations(60.0)
        for number in range(5000):
            expectations.add(Expected("id", "twilio", f"CA{number}"), 0.0)
        self.assertEqual(len(expectations), MAX_EXPECTED)
        self.assertIsNone(expectations.get("twilio", "CA4999", 61.0))
        self.assertEqual(len(expectations), 0)

    def test_carriers_apart(self) -> None:
        """Two carriers may use one id."""
        expectations = Expectations()
        expectations.add(Expected("id", "exotel", SID), 0.0)
        expectations.ended("plivo", SID, 0.0)
        self.assertIsNone(expectations.get("twilio", SID, 0.0))
        self.assertFalse(expectations.is_over("exotel", SID, 0.0))
        self.assertTrue(expectations.is_over("plivo", SID, 0.0))
