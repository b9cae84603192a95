"""/api/v1/calls: who may, what an order has to be, what is shown, what ends."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from tests.dangers import shows
from tests.test_dials import SID, Control, Tokens
from tests.test_web_http import Answer, HttpTestCase
from voxray.call.dials import Dials
from voxray.errors import CarrierError
from voxray.frames import CallInfo
from voxray.interfaces import Dialed
from voxray.web.api import Api
from voxray.web.calls import Calls
from voxray.web.dialing import Dialer
from voxray.web.keys import Keys
from voxray.web.orders import BadOrder, order_of
from voxray.web.site import Root, VoxraySite

KEY = "s3cret-key"
BEARER = f"Authorization: Bearer {KEY}"
ORDER = b'{"to": "+15551234567", "from": "+15557654321"}'
PATH = "/api/v1/calls"


class Up:
    """A call that is up."""

    def __init__(self, call_id: str, outbound: bool = False) -> None:
        self.info = CallInfo(call_id, SID, "MZ1", "+1", "+2", "twilio", outbound=outbound)
        self.started_at = 0.0
        self.ends: list[str] = []

    def end_now(self, reason: str) -> None:
        self.ends.append(reason)


class ApiTestCase(HttpTestCase):
    """The API alone on imaginary connections."""

    def make_site(self, registry: CollectorRegistry | None) -> VoxraySite:
        self.up: list[Up] = []
        self.dials, self.control = Dials(), Control()
        self.dialer = Dialer(
            {"twilio": self.control},
            "twilio",
            self.proxy_host,
            self.dials,
            Tokens(),
            self.clock,
            room=lambda: self.room,
            longest_secs=3600.0,
        )
        self.addCleanup(self.stop_watching)
        return self.with_keys(KEY, "another-key")

    def stop_watching(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.dialer.stop()))

    def forget_timers(self) -> None:
        for timer in self.clock.getDelayedCalls():
            timer.cancel()

    def with_keys(self, *keys: str) -> VoxraySite:
        calls = Calls(
            Keys(keys),
            lambda: self.up,
            self.dials,
            self.dialer,
            caller_id="+1999",
            longest_secs=3600.0,
            draining=lambda: self.draining,
            clock=self.clock.seconds,
            wall_clock=lambda: 1_700_000_000.0 + self.clock.seconds(),
        )
        api = Api(lambda: self.ready, None)
        root = Root(api.resource(), Resource(), Resource(), calls.resource())
        return VoxraySite(root, self.clock, lambda: 1_700_000_000.0, self.recorder, max_body_bytes=20_000)

    def place(self, body: bytes = ORDER, *headers: str) -> Answer:
        """An order that the carrier takes at once."""
        channel, transport = self.connect()
        lines = [
            f"POST {PATH} HTTP/1.1",
            "Host: h.example",
            f"Content-Length: {len(body)}",
            BEARER,
            *headers,
        ]
        channel.dataReceived("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        if not transport.value():
            self.control.orders[-1][1].callback(Dialed("ref", SID))
        answer = Answer(transport.value())
        channel.connectionLost(Failure(ConnectionLost()))
        return answer


class AccessTests(ApiTestCase):
    """Who may."""

    def test_without_a_key(self) -> None:
        """401 for everybody without one of ours, in either header, whatever is asked."""
        for headers in ((), ("X-API-Key: wrong",), ("Authorization: Basic x",), ("Authorization: Bearer",)):
            for method, path in (
                ("GET", PATH),
                ("POST", PATH),
                ("GET", f"{PATH}/x"),
                ("DELETE", f"{PATH}/x"),
            ):
                answer = self.ask(method, path, ORDER if method == "POST" else b"", *headers)
                self.assertEqual((answer.status, answer.json["error"]["code"]), (401, "UNAUTHORIZED"))
        self.assertEqual(self.control.orders, [])

    def test_with_one(self) -> None:
        """Any of the keys, in either header."""
        for header in (BEARER, f"X-API-Key: {KEY}", "authorization: bearer another-key"):
            self.assertEqual(self.ask("GET", PATH, b"", header).status, 200)

    def test_none_configured(self) -> None:
        """Nobody may, and is told what to set: calls cost money."""
        self.site = self.with_keys()
        answer = self.ask("GET", PATH, b"", BEARER)
        self.assertEqual(answer.status, 403)
        self.assertIn("server_api_key", answer.json["error"]["message"])
        self.site = self.with_keys("")
        self.assertEqual(self.ask("GET", PATH, b"", "X-API-Key: ").status, 403)

    def test_wrong_method_and_path(self) -> None:
        """405 and 404 in the envelope, and one bounded label for all of them."""
        self.assertEqual(self.ask("PUT", PATH, b"", BEARER).status, 405)
        self.assertEqual(self.ask("GET", f"{PATH}/a/b", b"", BEARER).status, 404)
        self.assertEqual({route for route, _, _ in self.recorder.ended}, {"calls"})


class PlaceTests(ApiTestCase):
    """POST."""

    def test_placed(self) -> None:
        """201 with the call's id and where it is; the order has what was asked for."""
        body = {"to": "+15551234567", "body": {"name": "Ann"}, "max_call_secs": 60, "carrier": "twilio"}
        answer = self.place(json.dumps(body).encode())
        view = answer.json["data"]
        self.assertEqual((answer.status, answer.headers["location"]), (201, f"{PATH}/{view['id']}"))
        self.assertEqual((view["status"], view["direction"], view["call_sid"]), ("dialing", "outbound", SID))
        self.assertEqual((view["from"], view["to"]), ("+1999", "+15551234567"))
        [(order, _)] = self.control.orders
        self.assertEqual((order.max_call_secs, order.from_number), (60.0, "+1999"))
        dial = self.dials.get(view["id"])
        assert dial is not None
        self.assertEqual(dial.body, {"name": "Ann"})

    def test_bad_orders(self) -> None:
        """422 with what is wrong, field by field; 400 for what is no JSON object. Nothing is dialled."""
        for body in (b"", b"[]", b"{", b"null", b"\xff", b"1" * 5000):
            self.assertEqual(self.place(body).status, 400, body)
        wrong: tuple[tuple[dict[str, Any], str], ...] = (
            ({}, "to"),
            ({"to": "+1<2>"}, "to"),
            ({"to": 15551234567}, "to"),
            ({"to": "+15551234567\n"}, "to"),
            ({"to": "+15551234567", "from": "me"}, "from"),
            ({"to": "+15551234567", "body": "x"}, "body"),
            ({"to": "+15551234567", "body": {"x": "y" * 17_000}}, "body"),
            ({"to": "+15551234567", "max_call_secs": 3601}, "max_call_secs"),
            ({"to": "+15551234567", "max_call_secs": -1}, "max_call_secs"),
            ({"to": "+15551234567", "max_call_secs": True}, "max_call_secs"),
            ({"to": "+15551234567", "carrier": ["twilio"]}, "carrier"),
            ({"to": "+15551234567", "webhook_url": "http://127.0.0.1/"}, "webhook_url"),
        )
        for order, field in wrong:
            answer = self.place(json.dumps(order).encode())
            self.assertEqual((answer.status, answer.json["error"]["code"]), (422, "VALIDATION_ERROR"), order)
            self.assertEqual([each["field"] for each in answer.json["error"]["details"]], [field])
        self.assertEqual(self.control.orders, [])

    def test_no_room(self) -> None:
        """503 with Retry-After: full, or draining."""
        for full, draining in ((True, False), (False, True)):
            self.room, self.draining = not full, draining
            answer = self.place()
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "5"))
        self.assertEqual(self.control.orders, [])

    def test_the_carrier_refuses(self) -> None:
        """Its status decides; nothing of its text is passed on."""
        for status, seen in ((400, 422), (500, 503)):
            channel, transport = self.connect()
            head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(ORDER)}\r\n{BEARER}\r\n\r\n"
            channel.dataReceived(head.encode() + ORDER)
            self.control.orders[-1][1].errback(CarrierError("twilio", "their secret words", status=status))
            self.assertEqual(Answer(transport.value()).status, seen)
            self.assertNotIn(b"secret", transport.value())
            channel.connectionLost(Failure(ConnectionLost()))

    def test_idempotent(self) -> None:
        """The same key and order: one call, the same answer. Another order under it: 409."""
        first = self.place(ORDER, "Idempotency-Key: k1")
        again = self.place(ORDER, "Idempotency-Key: k1")
        self.assertEqual((first.json["data"], again.status), (again.json["data"], 201))
        other = self.place(b'{"to": "+15550000000"}', "Idempotency-Key: k1")
        self.assertEqual(other.status, 409)
        self.assertEqual(len(self.control.orders), 1)
        self.place(ORDER, "Idempotency-Key: k2")
        self.assertEqual(len(self.control.orders), 2)

    def test_idempotent_meanwhile(self) -> None:
        """Who asks again while it is being placed gets the same answer; and who went away may come back."""
        channel, _ = self.connect()
        head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(ORDER)}\r\n{BEARER}\r\n"
        channel.dataReceived(head.encode() + b"Idempotency-Key: k\r\n\r\n" + ORDER)
        channel.connectionLost(Failure(ConnectionLost()))
        answer = self.place(ORDER, "Idempotency-Key: k")
        self.assertEqual((answer.status, len(self.control.orders)), (201, 1))
        [dial] = self.dials.dialing
        self.assertEqual((dial.dial_id, dial.reference), (answer.json["data"]["id"], "ref"))

    def test_idempotent_after_a_failure(self) -> None:
        """Surely not placed: the key is free again. Perhaps placed: the same key places no second call."""
        for error, orders in (
            (CarrierError("twilio", "no", status=500), 2),
            (CarrierError("twilio", "lost"), 1),
        ):
            self.control.orders.clear()
            key = f"Idempotency-Key: {orders}"
            channel, _ = self.connect()
            head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(ORDER)}\r\n{BEARER}\r\n"
            channel.dataReceived(f"{head}{key}\r\n\r\n".encode() + ORDER)
            self.control.orders[-1][1].errback(error)
            channel.connectionLost(Failure(ConnectionLost()))
            self.assertEqual(self.place(ORDER, key).status, 201 if orders == 2 else 503)
            self.assertEqual(len(self.control.orders), orders)

    def test_numbers_that_the_carrier_has_not(self) -> None:
        """Refused before anything was sent: the client's to change."""
        channel, transport = self.connect()
        head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(ORDER)}\r\n{BEARER}\r\n\r\n"
        channel.dataReceived(head.encode() + ORDER)
        self.control.orders[-1][1].errback(CarrierError("twilio", "no number", sent=False))
        self.assertEqual(Answer(transport.value()).status, 422)
        channel.connectionLost(Failure(ConnectionLost()))


class ShowTests(ApiTestCase):
    """GET and DELETE."""

    def test_list(self) -> None:
        """Those that are up and those that ring, with dates by the wall clock."""
        placed = self.place().json["data"]["id"]
        self.up.append(Up("a" * 32))
        self.clock.advance(5)
        self.forget_timers()
        calls = self.ask("GET", PATH, b"", BEARER).json["data"]["calls"]
        self.assertEqual([call["id"] for call in calls], ["a" * 32, placed])
        self.assertEqual((calls[0]["status"], calls[0]["duration_secs"]), ("up", 5.0))
        self.assertEqual(calls[0]["started_at"], "2023-11-14T22:13:20+00:00")
        self.assertEqual(calls[1]["status"], "dialing")

    def test_one(self) -> None:
        """Up, dialing, over; 404 for what never was."""
        placed = self.place().json["data"]["id"]
        self.forget_timers()
        self.assertEqual(self.show(placed)["status"], "dialing")
        self.up.append(Up(placed, outbound=True))
        self.dialer.began(self.up[0].info)
        self.assertEqual((self.show(placed)["status"], self.show(placed)["direction"]), ("up", "outbound"))
        self.dialer.ended(self.up.pop().info, "agent")
        self.assertEqual((self.show(placed)["status"], self.show(placed)["reason"]), ("ended", "agent"))
        for path in ("x", "../calls", "%2e%2e", "a" * 5000):
            self.assertEqual(self.ask("GET", f"{PATH}/{path}", b"", BEARER).status, 404)

    def show(self, call_id: str) -> Any:
        return self.ask("GET", f"{PATH}/{call_id}", b"", BEARER).json["data"]

    def test_end(self) -> None:
        """A call that is up is hung up; one that rings is given up; another is 404."""
        self.up.append(Up("a" * 32))
        self.assertEqual(self.ask("DELETE", f"{PATH}/{'a' * 32}", b"", BEARER).status, 200)
        self.assertEqual(self.up[0].ends, ["operator"])
        placed = self.place().json["data"]["id"]
        self.assertEqual(self.ask("DELETE", f"{PATH}/{placed}", b"", BEARER).status, 200)
        self.assertEqual(self.control.cancelled, ["ref"])
        self.assertEqual(self.ask("DELETE", f"{PATH}/{placed}", b"", BEARER).status, 404)


class OrderTests(SynchronousTestCase):
    """Bytes to an order."""

    @shows("T14")
    @given(
        st.binary(max_size=200)
        | st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=9) | st.integers(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["to", "from", "body", "carrier", "max_call_secs", "x"]),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode())
    )
    def test_rubbish(self, body: bytes) -> None:
        """An order, or BadOrder; nothing else."""
        try:
            order = order_of(body, "", 100.0)
        except BadOrder:
            return
        self.assertRegex(order.to, r"\A[+0-9a-zA-Z:@._-]+\Z")


class KeyTests(SynchronousTestCase):
    """The keys of the configuration, on the whole daemon."""

    def house(self, **document: object) -> Any:
        from tests.signers import SIGNERS
        from tests.test_attack_trust import Trusted

        return Trusted(self, SIGNERS["twilio"], **document)

    def ask(self, house: Any, method: str, *headers: str, body: bytes = b"") -> Answer:
        from tests.house import Line

        line = Line(house)
        lines = [f"{method} {PATH} HTTP/1.1", "Host: h", f"Content-Length: {len(body)}", *headers]
        line.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return Answer(line.transport.value())

    def test_server_api_key(self) -> None:
        """One or several; without any the API is shut."""
        house = self.house(server_api_key=["one", "two"])
        for key, status in (("one", 200), ("two", 200), ("three", 401)):
            self.assertEqual(self.ask(house, "GET", f"X-API-Key: {key}").status, status)
        self.assertEqual(self.ask(self.house(), "GET", "X-API-Key: one").status, 403)

    def test_caller_id(self) -> None:
        """It calls where the order names nobody; without it such an order is refused."""
        body, key = b'{"to": "+15551234567"}', "X-API-Key: k"
        answer = self.ask(self.house(server_api_key="k"), "POST", key, body=body)
        self.assertEqual((answer.status, answer.json["error"]["details"][0]["field"]), (422, "from"))
        house = self.house(server_api_key="k", caller_id="+15550009")
        control = Control()
        house.daemon._parts.exchange.controls["twilio"] = control  # type: ignore[index]
        self.ask_only(house, body, key)
        [(order, _)] = control.orders
        self.assertEqual(order.from_number, "+15550009")

    def ask_only(self, house: Any, body: bytes, key: str) -> None:
        from tests.house import Line

        line = Line(house)
        head = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n{key}\r\n\r\n"
        line.raw(head.encode() + body)
        line.lose()
