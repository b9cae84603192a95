"""The calls API of two processes on one port: whichever is asked answers for both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.test_calls_api import BEARER, KEY, ORDER, PATH, ApiTestCase, Up
from tests.test_dials import SID, Control, Tokens
from tests.test_web_http import Answer
from voxray.errors import StoreUnavailable
from voxray.interfaces import Dialed, DialOrder
from voxray.stores.forms import digest
from voxray.web.api import Api
from voxray.web.calls import Calls
from voxray.web.colleagues import LATE, Colleagues, Reply, answers
from voxray.web.dialing import Dialer
from voxray.web.keys import Keys
from voxray.web.site import Root, VoxraySite


class Prompt(Control):
    """A carrier that answers at once."""

    async def dial(self, order: DialOrder) -> Dialed:
        self.orders.append((order, Deferred()))
        return Dialed("ref", SID)


class Parent:
    """Passes on what one asks, as `workers.desk` does. `late`: workers that do not answer."""

    def __init__(self) -> None:
        self.boards: dict[int, Any] = {}
        self.claims: dict[str, int] = {}
        self.late: set[int] = set()
        self.down = False
        self.asked: list[str] = []

    def colleagues(self, number: int) -> Colleagues:
        async def ask(what: str, said: Mapping[str, Any] | None = None, secs: float = 0.5, /) -> Any:
            if self.down:
                raise StoreUnavailable("down")
            said = json.loads(json.dumps(said))
            assert said is not None
            self.asked.append(said.get("what", what))
            if what == "claim":
                return self.claims.setdefault(said["key"], number)
            if what == "other":
                return await self._told(said["number"], said)
            others = [other for other in self.boards if other != number]
            return [await self._told(other, said) for other in others]

        return Colleagues(ask, number)

    async def _told(self, number: int, said: Mapping[str, Any]) -> Any:
        if number in self.late:
            return None
        table = answers(lambda: self.boards[number])
        return json.loads(json.dumps(await table[said["what"]](**said["said"])))


class TwoTests(ApiTestCase):
    """The requests are this process's, number 1; number 2 is the other."""

    def make_site(self, registry: Any) -> VoxraySite:
        site = super().make_site(registry)
        self.parent = Parent()
        self.theirs: list[Up] = []
        self.mine, self.others = self.board(1, self.up), self.board(2, self.theirs)
        self.parent.boards = {1: self.mine, 2: self.others}
        root = Root(Api(lambda: self.ready, None).resource(), site.resource, None, self.mine.resource())
        site.resource = root
        return site

    def board(self, number: int, up: list[Up]) -> Calls:
        dials = self.dials if number == 1 else type(self.dials)()
        dialer = self.dialer if number == 1 else self.another(dials)
        return Calls(
            Keys((KEY,)),
            lambda: up,
            dials,
            dialer,
            caller_id="",
            longest_secs=600.0,
            draining=lambda: False,
            clock=self.clock.seconds,
            wall_clock=lambda: 1_795_428_000.0,
            colleagues=self.parent.colleagues(number),
        )

    def another(self, dials: Any) -> Any:
        """The other's dialer, with a carrier of its own."""
        self.their_control = Prompt()
        return Dialer(
            {"twilio": self.their_control},
            "twilio",
            self.proxy_host,
            dials,
            Tokens(),
            Clock(),
            room=lambda: True,
            longest_secs=600.0,
        )

    def asks(self, method: str, path: str = PATH, *headers: str, body: bytes = b"") -> Answer:
        return self.ask(method, path, body, BEARER, *headers)

    def data(self, answer: Answer) -> Any:
        return json.loads(answer.body)["data"]

    def test_list(self) -> None:
        """Everybody's; where one does not answer that is said."""
        self.up.append(Up("here"))
        self.theirs.append(Up("there"))
        data = self.data(self.asks("GET"))
        self.assertEqual([call["id"] for call in data["calls"]], ["here", "there"])
        self.assertNotIn("incomplete", data)
        self.parent.late.add(2)
        data = self.data(self.asks("GET"))
        self.assertEqual(([call["id"] for call in data["calls"]], data["incomplete"]), (["here"], True))
        self.parent.down = True
        self.assertTrue(self.data(self.asks("GET"))["incomplete"])

    def test_one(self) -> None:
        """Found wherever it is; not found only where all have said so."""
        self.up.append(Up("here"))
        self.theirs.append(Up("there"))
        self.assertEqual(self.data(self.asks("GET", f"{PATH}/there"))["id"], "there")
        self.assertEqual(self.asks("GET", f"{PATH}/nowhere").status, 404)
        self.parent.late.add(2)
        for path in ("there", "nowhere"):
            answer = self.asks("GET", f"{PATH}/{path}")
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "5"))
        self.parent.asked.clear()
        self.assertEqual(self.data(self.asks("GET", f"{PATH}/here"))["id"], "here")
        self.assertEqual(self.parent.asked, [])

    def test_end(self) -> None:
        """Hung up where it is."""
        self.theirs.append(Up("there"))
        self.assertEqual(self.data(self.asks("DELETE", f"{PATH}/there"))["status"], "ending")
        self.assertEqual(self.theirs[0].ends, ["operator"])
        self.assertEqual(self.asks("DELETE", f"{PATH}/nowhere").status, 404)

    def test_ringing(self) -> None:
        """A call that the other places is shown, and given up."""
        placing = Deferred.fromCoroutine(self.others.place_here("", ORDER))
        reply = self.successResultOf(placing)
        self.assertEqual(reply.status, 201)
        [shown] = self.data(self.asks("GET"))["calls"]
        self.assertEqual((shown["id"], shown["status"]), (reply.data["id"], "dialing"))
        self.assertEqual(self.data(self.asks("DELETE", f"{PATH}/{shown['id']}"))["status"], "ended")

    def test_an_order_that_comes_again(self) -> None:
        """Is answered by whoever had it first: the phone rings once."""
        first = self.successResultOf(Deferred.fromCoroutine(self.colleague_places(digest("k"), ORDER)))
        again = self.asks("POST", PATH, "Idempotency-Key: k", body=ORDER)
        self.assertEqual(again.status, 201)
        self.assertEqual(self.data(again)["id"], first.data["id"])
        self.assertEqual(again.headers["location"], f"{PATH}/{first.data['id']}")
        self.assertEqual((len(self.their_control.orders), len(self.control.orders)), (1, 0))
        other = ORDER.replace(b"1234567", b"7654321")
        self.assertEqual(self.asks("POST", PATH, "Idempotency-Key: k", body=other).status, 409)
        bad = self.asks("POST", PATH, "Idempotency-Key: bad", body=b"{}")
        self.assertEqual(bad.status, 422)
        self.assertEqual(self.place(ORDER).status, 201)
        self.assertEqual(len(self.control.orders), 1)

    async def colleague_places(self, key: str, body: bytes) -> Reply:
        colleagues = self.parent.colleagues(2)
        assert await colleagues.place(key, body) is None
        return await self.others.place_here(key, body)

    def test_an_order_whose_owner_is_silent(self) -> None:
        """Nobody else places it: it may have been placed."""
        self.successResultOf(Deferred.fromCoroutine(self.colleague_places(digest("k"), ORDER)))
        self.parent.late.add(2)
        self.assertEqual(self.asks("POST", PATH, "Idempotency-Key: k", body=ORDER).status, 503)
        self.parent.down = True
        self.assertEqual(self.asks("POST", PATH, "Idempotency-Key: new", body=ORDER).status, 503)
        self.assertEqual(self.control.orders, [])

    def test_any_bytes(self) -> None:
        """What is no JSON, and no UTF-8, is refused by the owner as it would be here."""
        self.successResultOf(Deferred.fromCoroutine(self.colleague_places(digest("k"), b"\xff\xfe")))
        answer = self.asks("POST", PATH, "Idempotency-Key: k", body=b"\xff\xfe")
        self.assertEqual(answer.status, 400)


class NobodyTests(SynchronousTestCase):
    def test_without_a_carrier(self) -> None:
        """A worker in whose configuration there are no calls has none to tell of."""
        table = answers(lambda: None)
        for what, said, expected in (
            ("calls", {}, {"calls": []}),
            ("show", {"call_id": "x"}, {"reply": None}),
            ("end", {"call_id": "x"}, {"reply": None}),
        ):
            got = self.successResultOf(Deferred.fromCoroutine(table[what](**said)))  # type: ignore[arg-type]
            self.assertEqual(got, expected)
        placing = Deferred.fromCoroutine(table["place"](key="k", body="{}"))
        self.assertEqual(self.successResultOf(placing)["reply"]["status"], LATE.status)
