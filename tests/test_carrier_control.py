"""The four carriers' REST control: what is sent, what its answers mean, and what is never sent."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.carrier_rest import (
    EXOTEL,
    EXOTEL_ID,
    ORDER,
    PLIVO,
    PLIVO_ID,
    SIDES,
    TELNYX,
    TELNYX_ID,
    TO,
    TWILIO,
    TWILIO_ID,
    Asked,
    RestApi,
    Side,
)
from tests.dangers import shows
from voxray.carriers.control import whole_secs
from voxray.carriers.exotel import ExotelControl
from voxray.carriers.telnyx import TelnyxControl
from voxray.errors import CarrierError
from voxray.interfaces import Ability, CallControl, Dialed

Act = Callable[[CallControl], Coroutine[Any, Any, Any]]
NEXT_URL = "https://voice.example.com/transfer"


def acts(call_id: str, reference: str) -> dict[Ability, tuple[Act, ...]]:
    """Everything that can be asked, with these ids."""
    return {
        Ability.HANG_UP: (lambda control: control.hang_up(call_id),),
        Ability.TRANSFER: (lambda control: control.transfer(call_id, TO, NEXT_URL),),
        Ability.PRESS_KEYS: (lambda control: control.press_keys(call_id, "1w2#"),),
        Ability.DIAL: (lambda control: control.dial(ORDER), lambda control: control.cancel(reference)),
    }


def transfer(side: Side, to: str) -> Act:
    return lambda control: control.transfer(side.call_id, to, NEXT_URL)


def press(side: Side, digits: str) -> Act:
    return lambda control: control.press_keys(side.call_id, digits)


def possible(side: Side) -> list[Act]:
    """Those that send something."""
    able = side.make(None, None).abilities
    found = [
        act for ability, some in acts(side.call_id, side.reference).items() if ability in able for act in some
    ]
    return found[:-1] if side is EXOTEL else found  # it cannot cancel


class ControlCase(SynchronousTestCase):
    def asked(self, side: Side, act: Act, status: int, document: object = None) -> tuple[Asked, Any]:
        """The only request that was sent, and the result."""
        api = RestApi(status, document)
        result = self.successResultOf(side.ask(api, act))
        (asked,) = api.asked
        return asked, result

    def refused(self, side: Side, act: Act, status: int, document: object = None) -> CarrierError:
        """The error; one request was sent."""
        api = RestApi(status, document)
        problem = self.failureResultOf(side.ask(api, act), CarrierError).value
        self.assertEqual(len(api.asked), 1)
        return problem

    def not_sent(self, side: Side, act: Act) -> None:
        """CarrierError, and the carrier heard nothing."""
        api = RestApi(200, side.dialed)
        problem = self.failureResultOf(side.ask(api, act), CarrierError).value
        self.assertEqual(([], 0), (api.asked, problem.status))
        self.assertIn("nothing was sent", str(problem))


class TwilioTests(ControlCase):
    """By forms, to one account."""

    recorded = TWILIO.recorded()

    def test_hang_up(self) -> None:
        """As recorded, byte for byte, with the account's credentials."""
        asked, _ = self.asked(TWILIO, lambda c: c.hang_up(TWILIO_ID), 200, {})
        recorded = self.recorded["hangup"]
        self.assertEqual((asked.method, TWILIO.host + asked.uri), (recorded["method"], recorded["url"]))
        self.assertEqual(asked.body.decode(), recorded["body"])
        self.assertEqual(asked.content_type, recorded["content_type"])
        sent = base64.b64encode(b"AC0123456789abcdef0123456789abcdef:hush-token").decode()
        self.assertEqual(asked.authorization, f"Basic {sent}")

    def test_transfer(self) -> None:
        """The call's new TwiML, as recorded; no URL of ours is involved."""
        asked, _ = self.asked(TWILIO, lambda c: c.transfer(TWILIO_ID, TO, NEXT_URL), 200, {})
        recorded = self.recorded["transfer"]
        self.assertEqual((asked.method, TWILIO.host + asked.uri), (recorded["method"], recorded["url"]))
        self.assertEqual(asked.form, recorded["body_form"])

    def test_transfer_to_sip(self) -> None:
        """A SIP URI goes into the element that Twilio has for it."""
        to = "sip:front-desk@pbx.example.com:5060;transport=tls"
        asked, _ = self.asked(TWILIO, lambda c: c.transfer(TWILIO_ID, to, NEXT_URL), 200, {})
        self.assertEqual(asked.form["Twiml"], f"<Response><Dial><Sip>{to}</Sip></Dial></Response>")

    def test_dial(self) -> None:
        """The recorded fields with our webhook, told of the end, bounded in ringing and talking."""
        asked, dialed = self.asked(TWILIO, lambda c: c.dial(ORDER), 201, TWILIO.dialed)
        recorded = self.recorded["dial"]
        self.assertEqual((asked.method, TWILIO.host + asked.uri), (recorded["method"], recorded["url"]))
        expected = {
            **recorded["body_form"],
            "Url": ORDER.answer_url,
            "Method": "POST",
            "StatusCallback": ORDER.status_url,
            "StatusCallbackMethod": "POST",
            "StatusCallbackEvent": "completed",
            "Timeout": "45",
            "TimeLimit": "901",
        }
        self.assertEqual(asked.form, expected)
        self.assertEqual(dialed, Dialed(TWILIO_ID, TWILIO_ID))

    def test_cancel(self) -> None:
        """`completed` ends a call whether it rings or has just been answered."""
        asked, _ = self.asked(TWILIO, lambda c: c.cancel(TWILIO_ID), 200, {})
        self.assertEqual(asked.form, {"Status": "completed"})

    def test_already_ended(self) -> None:
        """404 is as good for a hang-up and a cancel; a transfer of a call that is no more has failed."""
        ended = self.recorded["hangup"]["already_ended"]
        for act in (lambda c: c.hang_up(TWILIO_ID), lambda c: c.cancel(TWILIO_ID)):
            self.asked(TWILIO, act, ended["status"], ended["body"])
        self.refused(TWILIO, lambda c: c.transfer(TWILIO_ID, TO, ""), ended["status"], ended["body"])


class TelnyxTests(ControlCase):
    """By JSON, with a bearer's key and ids that have to be escaped."""

    recorded = TELNYX.recorded()

    def same_request(self, asked: Asked, recorded: Any) -> None:
        account = recorded["url"].replace("{account_sid}", "3e6f").replace("v3:", "v3%3A")
        self.assertEqual((asked.method, TELNYX.host + asked.uri), (recorded["method"], account))
        self.assertEqual(asked.authorization, "Bearer hush-token")
        self.assertTrue(asked.content_type.startswith("application/json"))

    def test_hang_up(self) -> None:
        """As recorded, with an id that makes a second one the same command."""
        bodies = []
        for call_id in (TELNYX_ID, TELNYX_ID, TELNYX_ID.replace("v3", "v2")):
            asked, _ = self.asked(
                TELNYX, lambda c, call_id=call_id: c.hang_up(call_id), 200, self.recorded["hangup"]["ok_body"]
            )
            bodies.append(asked.json)
        self.same_request(self.asked(TELNYX, lambda c: c.hang_up(TELNYX_ID), 200)[0], self.recorded["hangup"])
        self.assertEqual([set(body) for body in bodies], [{"command_id"}] * 3)
        self.assertEqual(bodies[0], bodies[1])
        self.assertNotEqual(bodies[0], bodies[2])

    def test_transfer(self) -> None:
        """The number; the caller's id that is shown is Telnyx's default."""
        asked, _ = self.asked(TELNYX, lambda c: c.transfer(TELNYX_ID, TO, NEXT_URL), 200)
        self.same_request(asked, self.recorded["transfer"])
        self.assertEqual(set(asked.json), {"to", "command_id"})
        self.assertEqual(asked.json["to"], TO)

    def test_transfer_again(self) -> None:
        """After no answer the same command is repeated; after any answer it is a new one."""
        outcomes: list[Deferred[Any]] = [fail(ConnectionRefusedError()), fail(ConnectionRefusedError())]
        client = Recorder(outcomes)
        control = TelnyxControl(client, Clock(), "k")
        for status in (0, 0, 503, 500):
            if status:
                outcomes.append(succeed(Response(status)))
            self.failureResultOf(Deferred.fromCoroutine(control.transfer(TELNYX_ID, TO, "")), CarrierError)
        ids = [asked["json"]["command_id"] for asked in client.asked]
        self.assertEqual([ids[0]] * 3, ids[:3])
        self.assertNotEqual(ids[2], ids[3])

    def test_unanswered_transfers_do_not_pile_up(self) -> None:
        """Of calls that are long gone a hundred are remembered at most."""
        client = Recorder([fail(ConnectionRefusedError()) for _ in range(150)])
        control = TelnyxControl(client, Clock(), "k")
        for n in range(150):
            transfer = control.transfer(f"{TELNYX_ID}{n}", TO, "")
            self.failureResultOf(Deferred.fromCoroutine(transfer), CarrierError)
        self.assertEqual(len(control._unsure), 100)
        self.assertIn((f"{TELNYX_ID}149", TO), control._unsure)

    def test_keys(self) -> None:
        """As recorded."""
        asked, _ = self.asked(TELNYX, lambda c: c.press_keys(TELNYX_ID, "1w2#"), 200)
        self.same_request(asked, self.recorded["dtmf"])
        self.assertEqual(asked.json, self.recorded["dtmf"]["body"])

    def test_dial(self) -> None:
        """Through TeXML, as recorded, with our webhook by POST so that it is signed."""
        asked, dialed = self.asked(TELNYX, lambda c: c.dial(ORDER), 200, TELNYX.dialed)
        self.same_request(asked, self.recorded["dial_texml"])
        expected = {
            **self.recorded["dial_texml"]["body"],
            "To": ORDER.to,
            "From": ORDER.from_number,
            "Url": ORDER.answer_url,
            "UrlMethod": "POST",
            "StatusCallback": ORDER.status_url,
            "StatusCallbackMethod": "POST",
            "StatusCallbackEvent": "completed",
            "Timeout": 45,
            "TimeLimit": 901,
        }
        self.assertEqual(asked.json, expected)
        self.assertEqual(dialed, Dialed(TELNYX_ID, TELNYX_ID))

    def test_dialed_ids(self) -> None:
        """The call's id is taken by any of its names, and is not needed: the documented answer has none."""
        status = {"from": "+1", "to": "+2", "status": "queued"}
        for document, call_id in (
            (status, ""),
            ({"data": status}, ""),
            ({**status, "sid": TELNYX_ID}, TELNYX_ID),
            ({"data": {"call_control_id": TELNYX_ID}}, TELNYX_ID),
        ):
            _, dialed = self.asked(TELNYX, lambda c: c.dial(ORDER), 200, document)
            self.assertEqual(dialed, Dialed(call_id, call_id))
        self.not_sent(TELNYX, lambda c: c.cancel(""))

    def test_bounds(self) -> None:
        """Ringing and talking stay within what Telnyx takes."""
        for ring, talk, timeout, limit in ((1.0, 1.0, 5, 30), (600.0, 1e9, 120, 14_400)):
            order = replace(ORDER, ring_secs=ring, max_call_secs=talk)
            asked, _ = self.asked(TELNYX, lambda c, order=order: c.dial(order), 200, TELNYX.dialed)
            self.assertEqual((asked.json["Timeout"], asked.json["TimeLimit"]), (timeout, limit))

    def test_already_ended(self) -> None:
        """422 with code "90018" is as good for a hang-up, whatever other errors stand beside it."""
        ended = self.recorded["hangup"]["already_ended"]
        for errors in (ended["body"]["errors"], [{"code": "1"}, {"code": "90018"}], [{"code": 90018}]):
            document = {"errors": errors}
            self.asked(TELNYX, lambda c: c.hang_up(TELNYX_ID), ended["status"], document)
            self.asked(TELNYX, lambda c: c.cancel(TELNYX_ID), ended["status"], document)
            self.refused(TELNYX, lambda c: c.transfer(TELNYX_ID, TO, ""), ended["status"], document)

    def test_other_422s(self) -> None:
        """422 for another reason, or with a body that is none, is a failure; so is the code elsewhere."""
        bodies = (
            b'{"errors":[{"code":"90015"}]}', b'{"errors":[]}', b'{"errors":{"code":"90018"}}', b"90018",
            b'{"errors":["90018",null]}', b"[]", b"", b"\xff", b"[" * 100_000, b'{"title":"90018"}',
        )  # fmt: skip
        for body in bodies:
            problem = self.refused(TELNYX, lambda c: c.hang_up(TELNYX_ID), 422, body)
            self.assertEqual(problem.status, 422, body[:40])
        self.refused(TELNYX, lambda c: c.hang_up(TELNYX_ID), 400, {"errors": [{"code": "90018"}]})

    def test_dialling_takes_two_ids(self) -> None:
        """Without the account's or the application's id nobody can be called, and that is said beforehand."""
        for ids in ({}, {"account_sid": "a"}, {"application_sid": "b"}):
            side = replace(
                TELNYX, make=lambda client, clock, ids=ids: TelnyxControl(client, clock, "k", **ids)
            )
            self.assertNotIn(Ability.DIAL, side.make(None, None).abilities)
            self.not_sent(side, lambda c: c.dial(ORDER))


class PlivoTests(ControlCase):
    """By JSON; every path ends in a slash."""

    recorded = PLIVO.recorded()

    def same_request(self, asked: Asked, recorded: Any) -> None:
        self.assertEqual((asked.method, PLIVO.host + asked.uri), (recorded["method"], recorded["url"]))
        sent = base64.b64encode(b"MAXXXXXXXXXXXXXXXXXX:hush-token").decode()
        self.assertEqual(asked.authorization, f"Basic {sent}")

    def test_hang_up(self) -> None:
        """As recorded; nothing in the body."""
        asked, _ = self.asked(PLIVO, lambda c: c.hang_up(PLIVO_ID), 204)
        self.same_request(asked, self.recorded["hangup"])
        self.assertEqual(asked.body, b"")

    def test_transfer(self) -> None:
        """As recorded: Plivo is sent to the document."""
        asked, _ = self.asked(PLIVO, lambda c: c.transfer(PLIVO_ID, TO, NEXT_URL), 202)
        self.same_request(asked, self.recorded["transfer"])
        self.assertEqual(asked.json, self.recorded["transfer"]["body"])

    def test_keys(self) -> None:
        """As recorded."""
        asked, _ = self.asked(PLIVO, lambda c: c.press_keys(PLIVO_ID, "1w2"), 202)
        self.same_request(asked, self.recorded["dtmf"])
        self.assertEqual(asked.json, self.recorded["dtmf"]["body"])

    def test_dial(self) -> None:
        """Numbers without "+"; the answer's id is good for giving up, and is not the call's."""
        asked, dialed = self.asked(PLIVO, lambda c: c.dial(ORDER), 201, PLIVO.dialed)
        self.same_request(asked, self.recorded["dial"])
        expected = {
            **self.recorded["dial"]["body"],
            "answer_url": ORDER.answer_url,
            "hangup_url": ORDER.status_url,
            "hangup_method": "POST",
            "ring_timeout": 45,
            "time_limit": 901,
        }
        self.assertEqual(asked.json, expected)
        self.assertEqual(dialed, Dialed(PLIVO.reference, ""))

    def test_cancel(self) -> None:
        """Of the request, not of the call."""
        asked, _ = self.asked(PLIVO, lambda c: c.cancel(PLIVO.reference), 204)
        self.assertEqual(
            (asked.method, asked.uri),
            ("DELETE", f"/v1/Account/MAXXXXXXXXXXXXXXXXXX/Request/{PLIVO.reference}/"),
        )

    def test_already_ended(self) -> None:
        """404 is as good for a hang-up and a cancel, and for nothing else."""
        self.asked(PLIVO, lambda c: c.hang_up(PLIVO_ID), 404, {"error": "not found"})
        self.asked(PLIVO, lambda c: c.cancel(PLIVO.reference), 404, {"error": "not found"})
        self.refused(PLIVO, lambda c: c.transfer(PLIVO_ID, TO, NEXT_URL), 404)
        self.refused(PLIVO, lambda c: c.press_keys(PLIVO_ID, "1"), 404)


class ExotelTests(ControlCase):
    """It dials, and for the rest its flow is in charge."""

    def test_dial(self) -> None:
        """As recorded: `From` is who is called, `CallerId` is us; the media socket is told at once."""
        recorded = EXOTEL.recorded()["dial"]
        asked, dialed = self.asked(EXOTEL, lambda c: c.dial(ORDER), 200, EXOTEL.dialed)
        url = recorded["url"].replace("{AccountSid}", "exampleaccount1")
        self.assertEqual((asked.method, EXOTEL.host + asked.uri), (recorded["method"], url))
        expected = {
            **recorded["body_form"],
            "From": ORDER.to,
            "CallerId": ORDER.from_number,
            "StreamUrl": ORDER.stream_url,
            "TimeLimit": "901",
            "StatusCallback": ORDER.status_url,
            "StatusCallbackContentType": "application/json",
        }
        self.assertEqual(asked.form, expected)
        sent = base64.b64encode(b"hush-key:hush-token").decode()
        self.assertEqual(asked.authorization, f"Basic {sent}")
        self.assertEqual(dialed, Dialed("", EXOTEL_ID))

    def test_stream_url(self) -> None:
        """Exotel takes 600 characters; one more would be cut, so nothing is sent."""
        most = replace(ORDER, stream_url="wss://h/".ljust(600, "x"))
        self.asked(EXOTEL, lambda c: c.dial(most), 200, EXOTEL.dialed)
        self.not_sent(EXOTEL, lambda c: c.dial(replace(most, stream_url=most.stream_url + "x")))

    def test_what_it_can(self) -> None:
        """Closing transfers, always; with all of its credentials it dials; no more."""
        for keys in ((), ("a",), ("a", "b"), ("", "b", "c"), ("a", "", "c"), ("a", "b", "")):
            side = replace(EXOTEL, make=lambda client, clock, keys=keys: ExotelControl(client, clock, *keys))
            self.assertEqual(side.make(None, None).abilities, {Ability.CLOSING_TRANSFERS})
            self.not_sent(side, lambda c: c.dial(ORDER))
        self.assertEqual(EXOTEL.make(None, None).abilities, {Ability.CLOSING_TRANSFERS, Ability.DIAL})


def hostile_ids() -> list[str]:
    """Two hundred that are no carrier's, most of them nearly."""
    tricks = (
        "", " ", ".", "..", "../Messages", "..%2fMessages", "%2e%2e%2f", "/", "//evil.example/", "?x=", "#",
        "\n", "\r\n", "\r\nHost: evil.example", "\x00", "%00", "%0d%0a", "%2f", "%252f", "@evil.example",
        ":80", "\\", "..\\", ";a=b", "&Status=completed", "*", "+", " CA", "\u2028", "\u202e", "é", "\ud800",
        "\uff10", "\u0660", "{}", "%s", "x" * 10_000, "0" * 10_000, "null", "undefined", "None",
    )  # fmt: skip
    good = (TWILIO_ID, TELNYX_ID, PLIVO_ID, EXOTEL_ID)
    found = [*tricks, *(call_id + trick for call_id in good for trick in tricks[1:])]
    dice = random.Random(3)
    while len(found) < 240:
        call_id, place = dice.choice(good), dice.randrange(32)
        found.append(call_id[:place] + dice.choice("/%?#\r\n. \\é\u0660") + call_id[place + 1 :])
    return found


# What is no trick for one carrier: longer ids of its own alphabet.
PLAUSIBLE = frozenset(string.ascii_letters + string.digits + "-_:")


class NeverSentTests(ControlCase):
    """Ids come from strangers' streams and numbers from a model: what is odd about them never leaves."""

    @shows("T6")
    def test_hostile_ids(self) -> None:
        """Whatever is asked about an id that is not of the carrier's shape: nothing is sent."""
        ids = hostile_ids()
        self.assertGreater(len(ids), 200)
        for side in SIDES:
            for call_id in ids:
                if side is TELNYX and set(call_id) <= PLAUSIBLE and 16 <= len(call_id) <= 200:
                    continue  # one segment of a path, whatever it means
                about = acts(call_id, call_id)
                for act in (some[-1] for some in about.values()):
                    self.not_sent(side, act)

    @shows("T6")
    def test_ids_of_others(self) -> None:
        """Another carrier's ids are no better, where they look different at all."""
        for side, others in ((TWILIO, (TELNYX_ID, PLIVO_ID, EXOTEL_ID)), (PLIVO, (TWILIO_ID, TELNYX_ID))):
            for call_id in others:
                self.not_sent(side, lambda c, call_id=call_id: c.hang_up(call_id))

    @shows("T27")
    def test_hostile_numbers(self) -> None:
        """What is no number is neither called, nor called from, nor connected to."""
        odd = (
            "", "+", "1", "12", "+12", "1" * 16, "+1 555", "555-1234", "(555)1234", "+1555123\n", "\n5551234",
            "\u0661" * 7, "\uff15" * 7, "5551234,5556789", "5551234<5556789", "5551234;ext=1",
            "sip:", "sip:a", "sip:a@", "sip:@h", "sip:a@h?x=y", "sip:a b@h", "sip:a@h\r\n", "SIP:a@h",
            "sip:a@h/../x", "sip:" + "a" * 65 + "@h", "sip:a@" + "h" * 129, 'sip:a"@h', "sip:<a>@h",
            "client:joe", "tel:+15551234", "*", "911#", "+1555</Dial><Dial>+900", "\ud800",
            "5" * 10_000, "http://h/", "a@h",
        )  # fmt: skip
        for side in SIDES:
            for number in odd:
                for order in (replace(ORDER, to=number), replace(ORDER, from_number=number)):
                    self.not_sent(side, lambda c, order=order: c.dial(order))
                self.not_sent(side, transfer(side, number))

    def test_sip(self) -> None:
        """SIP URIs are called where the carrier can, and never called from."""
        uri = "sip:front-desk@pbx.example.com"
        for side in (TWILIO, TELNYX, PLIVO):
            asked, _ = self.asked(side, lambda c: c.dial(replace(ORDER, to=uri)), 200, side.dialed)
            self.assertIn(quote(uri, safe="") if side is TWILIO else uri, asked.body.decode())
            self.asked(side, transfer(side, uri), 200)
            self.not_sent(side, lambda c: c.dial(replace(ORDER, from_number=uri)))
        self.not_sent(EXOTEL, lambda c: c.dial(replace(ORDER, to=uri)))

    def test_local_numbers(self) -> None:
        """Numbers as a country dials them are numbers."""
        order = replace(ORDER, to="09876543210", from_number="08047491899")
        for side in SIDES:
            self.asked(side, lambda c: c.dial(order), 200, side.dialed)

    @shows("T27")
    def test_odd_keys(self) -> None:
        """What no telephone has is not pressed."""
        for side in (TELNYX, PLIVO):
            for digits in ("", "1 2", "e", "1\n", "\u0661", "1" * 65, "\ud800", "1,2", "a"):
                self.not_sent(side, press(side, digits))
            self.asked(side, press(side, "0123456789ABCD*#wW"), 200)

    def test_what_a_carrier_has_not(self) -> None:
        """Asking for what is not among a carrier's abilities is an error of its own, and sends nothing."""
        able = {
            "twilio": {Ability.HANG_UP, Ability.TRANSFER, Ability.DIAL},
            "telnyx": {Ability.HANG_UP, Ability.TRANSFER, Ability.PRESS_KEYS, Ability.DIAL},
            "plivo": {Ability.HANG_UP, Ability.TRANSFER, Ability.PRESS_KEYS, Ability.DIAL},
            "exotel": {Ability.CLOSING_TRANSFERS, Ability.DIAL},
        }
        for side in SIDES:
            self.assertEqual(side.make(None, None).abilities, able[side.name])
            for ability, some in acts(side.call_id, side.reference).items():
                if ability not in able[side.name]:
                    self.not_sent(side, some[0])
        self.not_sent(EXOTEL, lambda c: c.cancel(EXOTEL_ID))

    @shows("T6")
    def test_accounts_stay_in_their_place(self) -> None:
        """An account's id with a slash in it is one segment of the path all the same."""
        from voxray.carriers.plivo import PlivoControl
        from voxray.carriers.twilio import TwilioControl

        account = "A/../x"
        for make in (
            lambda client, clock: TwilioControl(client, clock, account, "t", "https://h"),
            lambda client, clock: PlivoControl(client, clock, account, "t", "https://h"),
            lambda client, clock: ExotelControl(client, clock, account, "k", "t", "https://h"),
            lambda client, clock: TelnyxControl(
                client, clock, "k", "https://h", account_sid=account, application_sid="1"
            ),
        ):
            document = {**TWILIO.dialed, **PLIVO.dialed, **EXOTEL.dialed}
            api = RestApi(200, {**document, "sid": TWILIO_ID})
            self.successResultOf(replace(TWILIO, make=make).ask(api, lambda c: c.dial(ORDER)))
            self.assertIn("/A%2F..%2Fx/", api.asked[0].uri)


class AnswerTests(ControlCase):
    """What answers mean, for every carrier and everything that can be asked."""

    @shows("T10")
    def test_other_answers(self) -> None:
        """Every other status is an error with it, and no secret, number or id is in its text."""
        for side in SIDES:
            for act in possible(side):
                for status in (301, 400, 401, 403, 405, 409, 429, 500, 502, 503):
                    problem = self.refused(side, act, status, {"message": f"{side.secrets[0]} {TO}"})
                    self.assertEqual((problem.status, problem.carrier), (status, side.name))
                    for word in (*side.secrets, TO, side.call_id, ORDER.answer_url):
                        self.assertNotIn(word, f"{problem} {problem!r}")

    @shows("T6", "T9")
    def test_redirects_are_not_followed(self) -> None:
        """Credentials go nowhere else."""
        for side in SIDES:
            for act in possible(side):
                for status in (301, 302, 303, 307, 308):
                    api = RestApi(status, {}, location=b"https://evil.example/")
                    problem = self.failureResultOf(side.ask(api, act), CarrierError).value
                    self.assertEqual((problem.status, len(api.asked)), (status, 1))

    def test_dialed_answers_that_are_none(self) -> None:
        """A success without the call's id, or with one of another shape, is an error of the carrier's."""
        bodies = (
            b"", b"null", b"[]", b"{}", b"\xff\xfe", b"<html>", b"[" * 100_000, b'"x"', b'{"sid":null}',
            b'{"sid":1}', b'{"sid":"../x"}', b'{"request_uuid":["a"]}', b'{"request_uuid":"../x"}',
            b'{"Call":null}', b'{"Call":[]}', b'{"Call":{"Sid":""}}', b'{"Call":{"Sid":"a/b"}}',
            b'{"data":{"sid":"../x"}}', b'{"data":[]}', b'{"call_sid":"x\\n"}', b'{"status":5}',
            f'{{"sid":"{TWILIO_ID}\\n"}}'.encode(), b"<?xml version='1.0'?><TwilioResponse/>",
        )  # fmt: skip
        for side in SIDES:
            for body in bodies:
                problem = self.refused(side, lambda c: c.dial(ORDER), 200, body)
                self.assertIn("without a call id", str(problem), (side.name, body[:40]))

    def test_no_answer(self) -> None:
        """After five seconds a request is given up and cancelled, whatever was asked."""
        for side in SIDES:
            for act in possible(side):
                clock, cancelled = Clock(), list[object]()
                done = Deferred.fromCoroutine(act(side.make(Recorder([Deferred(cancelled.append)]), clock)))
                clock.advance(4.9)
                self.assertNoResult(done)
                clock.advance(0.2)
                self.assertEqual(self.failureResultOf(done, CarrierError).value.status, 0)
                self.assertEqual((len(cancelled), clock.getDelayedCalls()), (1, []))

    def test_cancelled(self) -> None:
        """Our own giving up reaches the socket and is no carrier's error."""
        for side in SIDES:
            for act in possible(side):
                clock, cancelled = Clock(), list[object]()
                done = Deferred.fromCoroutine(act(side.make(Recorder([Deferred(cancelled.append)]), clock)))
                done.cancel()
                self.failureResultOf(done, CancelledError)
                self.assertEqual((len(cancelled), clock.getDelayedCalls()), (1, []))

    def test_refused(self) -> None:
        """A connection that cannot be made, and an answer that is none, are our error too."""
        for side in SIDES:
            for act in possible(side):
                for outcome in (lambda: fail(ConnectionRefusedError("hush-token")), lambda: succeed(None)):
                    done = Deferred.fromCoroutine(act(side.make(Recorder([outcome()]), Clock())))
                    problem = self.failureResultOf(done, CarrierError).value
                    self.assertNotIn("hush", str(problem))
                    self.assertIsNone(problem.__cause__)


class WholeSecondsTests(SynchronousTestCase):
    """Durations for the carriers."""

    def test_bounds(self) -> None:
        """Rounded up, within bounds, whatever the setting."""
        for secs, whole in ((0.0, 5), (5.0, 5), (5.1, 6), (59.2, 60), (60.0, 60), (1e18, 60), (-1.0, 5)):
            self.assertEqual(whole_secs(secs, 5, 60), whole)
        self.assertEqual(whole_secs(float("inf"), 5, 60), 60)


class Response:
    """An answer without a network."""

    def __init__(self, code: int) -> None:
        self.code = code

    def content(self) -> Deferred[bytes]:
        return succeed(b"{}")


class Recorder:
    """An HTTP client whose requests end as told, in turn."""

    def __init__(self, outcomes: list[Deferred[Any]]) -> None:
        self.outcomes, self.asked = outcomes, list[dict[str, Any]]()

    def request(self, method: str, url: str, **kwargs: Any) -> Deferred[Any]:
        self.asked.append(kwargs)
        return self.outcomes.pop(0)
