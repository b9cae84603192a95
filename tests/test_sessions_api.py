"""/start and the session endpoints: who may, what is stored, what is answered when, and to which page."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import UUID, uuid4

from prometheus_client import CollectorRegistry
from twisted.web.resource import Resource

from tests.dangers import shows
from tests.test_web_http import Answer, HttpTestCase
from voxray.errors import StoreUnavailable
from voxray.stores.forms import MAX_BYTES
from voxray.stores.memory import MemoryReplays, MemorySessions
from voxray.stores.ports import Session
from voxray.web.cors import Origins
from voxray.web.keys import Keys
from voxray.web.sessions import Sessions
from voxray.web.site import Root, VoxraySite

KEY = "s3cret-key"
BEARER = f"Authorization: Bearer {KEY}"
STARTS = ("/start", "/api/v1/start")
OFFERS = ("/sessions/{}/api/offer", "/api/v1/sessions/{}/offer")
WEBRTC = ("/webrtc/offer", "/api/v1/webrtc/offer")


class Kept(MemorySessions):
    """Which can be away."""

    away = False

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("down")

    async def put(self, session_id: str, session: Session, ttl_secs: float) -> None:
        self._check()
        await super().put(session_id, session, ttl_secs)

    async def get(self, session_id: str) -> Session | None:
        self._check()
        return await super().get(session_id)


class SessionCase(HttpTestCase):
    """The session endpoints on imaginary connections."""

    keys: tuple[str, ...] = (KEY,)
    origins: tuple[str, ...] | None = None

    def make_site(self, registry: CollectorRegistry | None) -> VoxraySite:
        self.kept, self.replays = Kept(self.clock.seconds), MemoryReplays(self.clock.seconds)
        sessions = Sessions(Keys(self.keys), Origins(self.origins), self.kept, self.replays, 3600)
        root = Root(Resource(), Resource(), None, sessions=sessions.resource())
        return VoxraySite(root, self.clock, lambda: 1_700_000_000.0, self.recorder, max_body_bytes=300_000)

    def start(self, body: object = None, *headers: str, path: str = "/start") -> Answer:
        sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, sent, BEARER, *headers)

    def session(self, answer: Answer) -> Session | None:
        """What was stored for it."""
        got: list[Any] = []
        asking = self.kept.get(answer.json["data"]["sessionId"])
        try:
            asking.send(None)
        except StopIteration as done:
            got.append(done.value)
        [session] = got
        return session  # type: ignore[no-any-return]


class StartTests(SessionCase):
    def test_started(self) -> None:
        """201, a canonical UUID, and nothing else: no `meta`; not to be cached."""
        for path in STARTS:
            answer = self.start({"body": {"a": 1}}, "X-Request-ID: r-1", path=path)
            self.assertEqual((answer.status, answer.headers["cache-control"]), (201, "no-store"))
            self.assertEqual(answer.headers["x-request-id"], "r-1")
            self.assertEqual(list(answer.json), ["data"])
            self.assertEqual(list(answer.json["data"]), ["sessionId"])
            session_id = answer.json["data"]["sessionId"]
            self.assertEqual(str(UUID(session_id)), session_id)
            self.assertEqual(self.session(answer), Session({"a": 1}, False))

    def test_nothing_given(self) -> None:
        """No body, an empty object and nulls are all a session without anything."""
        for body in (None, b"  ", {}, {"body": None, "createDailyRoom": None}, {"createDailyRoom": False}):
            self.assertEqual(self.session(self.start(body)), Session({}, False))

    def test_ice_servers(self) -> None:
        """The contract's one, when asked for."""
        answer = self.start({"enableDefaultIceServers": True})
        config = {"iceServers": [{"urls": ["stun:stun.l.google.com:19302"]}]}
        self.assertEqual(answer.json["data"]["iceConfig"], config)
        self.assertEqual(self.session(answer), Session({}, True))

    @shows("T14")
    def test_not_json(self) -> None:
        """400."""
        for body in (b"{", b"[]", b"7", b"null", b"\xff", b'{"body":NaN}', b"[" * 100_000):
            answer = self.start(body)
            error = answer.json["error"]
            self.assertEqual((answer.status, error["code"]), (400, "BAD_REQUEST"), body[:20])
            self.assertEqual(error["message"], "Invalid JSON body")

    def test_invalid(self) -> None:
        """422, and which field it is; a room cannot be had yet."""
        deep: dict[str, object] = {}
        for _ in range(600):
            deep = {"d": deep}
        for body, field in (
            ({"body": []}, "body"),
            ({"body": "x"}, "body"),
            ({"body": {"x": "y" * MAX_BYTES}}, "body"),
            ({"body": deep}, "body"),
            ({"enableDefaultIceServers": 1}, "enableDefaultIceServers"),
            ({"createDailyRoom": "yes"}, "createDailyRoom"),
            ({"createDailyRoom": True}, "createDailyRoom"),
        ):
            answer = self.start(body)
            error = answer.json["error"]
            self.assertEqual((answer.status, error["code"]), (422, "VALIDATION_ERROR"), field)
            self.assertEqual([detail["field"] for detail in error["details"]], [field])

    def test_again(self) -> None:
        """An Idempotency-Key asked again is answered to the letter, and nothing new is stored."""
        first = self.start({"body": {"a": 1}}, "Idempotency-Key: k-1", path=STARTS[0])
        again = self.start({"body": {"a": 1}}, "Idempotency-Key: k-1", path=STARTS[1])
        other = self.start({"body": {"a": 1}}, "Idempotency-Key: k-2")
        self.assertEqual((again.status, again.body), (201, first.body))
        self.assertNotEqual(other.body, first.body)
        self.clock.advance(86_400)
        self.assertNotEqual(self.start(None, "Idempotency-Key: k-1").body, first.body)

    def test_an_answer_that_is_not_ours(self) -> None:
        """What stands for a key and is no answer of ours is not passed on."""
        for text in (b'{"data":{"sessionId":"<script>"}}', b"[]", b"{", b"null"):
            self.replays.before = self.replays.once = lambda *_, text=text: _given(text)  # type: ignore[method-assign,assignment]
            answer = self.start(None, "Idempotency-Key: k")
            self.assertEqual(self.session(answer), Session())

    @shows("F21")
    def test_away(self) -> None:
        """503 and when to come again."""
        self.kept.away = True
        answer = self.start(None, "Idempotency-Key: k")
        self.assertEqual((answer.status, answer.json["error"]["code"]), (503, "SERVICE_UNAVAILABLE"))
        self.assertEqual(answer.headers["retry-after"], "2")
        self.kept.away = False
        self.assertEqual(self.start(None, "Idempotency-Key: k").status, 201)

    def test_other_methods(self) -> None:
        """405, with the contract's code."""
        for path in (*STARTS, *WEBRTC):
            answer = self.ask("GET", path, b"", BEARER)
            self.assertEqual((answer.status, answer.json["error"]["code"]), (405, "BAD_REQUEST"))


async def _given(text: bytes) -> bytes:
    return text


class OfferTests(SessionCase):
    def offer(self, session_id: str, path: str, method: str = "POST") -> tuple[int, str, str]:
        answer = self.ask(method, path.format(session_id), b'{"sdp":"v=0"}', BEARER)
        error = answer.json["error"]
        return answer.status, error["code"], error["message"]

    def test_offered(self) -> None:
        """To a session that there is: not built yet; to any other: unknown."""
        session_id = self.start().json["data"]["sessionId"]
        for path in OFFERS:
            for method in ("POST", "PATCH"):
                known, unknown = self.offer(session_id, path, method), self.offer(str(uuid4()), path, method)
                self.assertEqual(known, (503, "SERVICE_UNAVAILABLE", "Rooms are not built yet"))
                self.assertEqual(unknown, (404, "NOT_FOUND", "Session not found"))

    @shows("T21")
    def test_ids(self) -> None:
        """T21: nothing but a canonical UUID gets as far as the store."""
        self.kept.away = True
        one = str(uuid4())
        others = [
            "*",
            "%0d%0aFLUSHALL",
            f"{one}%0a",
            f"%7b{one}%7d",
            f"urn:uuid:{one}",
            one.replace("-", ""),
            one.upper().replace("-", "-A", 1),
            "x" * 4_000,
        ]
        for session_id in others:
            for path in OFFERS:
                got = self.offer(session_id, path)
                self.assertEqual(got, (400, "VALIDATION_ERROR", "Invalid session ID format"), session_id[:50])
        self.assertEqual(self.offer("voxray:session:..%2fx", OFFERS[0])[0], 404)  # a slash: no such path

    @shows("F21")
    def test_away(self) -> None:
        """503 and when to come again."""
        self.kept.away = True
        for path in OFFERS:
            answer = self.ask("POST", path.format(uuid4()), b"", BEARER)
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "2"))

    def test_webrtc(self) -> None:
        """Guarded and not built."""
        for path in WEBRTC:
            answer = self.ask("POST", path, b'{"offer":"v=0"}', BEARER)
            self.assertEqual(
                (answer.status, answer.json["error"]["message"]), (503, "Rooms are not built yet")
            )


class AccessTests(SessionCase):
    def every(self) -> list[tuple[str, str]]:
        posts = [*STARTS, *WEBRTC, *(path.format(uuid4()) for path in OFFERS)]
        return [*(("POST", path) for path in posts), ("GET", "/ws")]

    @shows("T26")
    def test_without_a_key(self) -> None:
        """401 before anything is read or looked up."""
        self.kept.away = True
        for method, path in self.every():
            for headers in ((), ("X-API-Key: wrong",), ("Authorization: Basic x",)):
                answer = self.ask(method, path, b"{", *headers)
                self.assertEqual((answer.status, answer.json["error"]["code"]), (401, "UNAUTHORIZED"), path)

    def test_with_one(self) -> None:
        """In either header; never in the query."""
        for header in (BEARER, f"X-API-Key: {KEY}"):
            self.assertEqual(self.ask("POST", "/start", b"", header).status, 201)
        self.assertEqual(self.ask("POST", f"/start?api_key={KEY}").status, 401)

    def test_none_configured(self) -> None:
        """Then they are open, as the contract has it."""
        self.keys = ()
        self.site = self.make_site(None)
        for method, path in self.every():
            self.assertNotEqual(self.ask(method, path).status, 401, path)

    @shows("T25")
    def test_labels(self) -> None:
        """Their routes are bounded labels, whatever the id."""
        for method, path in self.every():
            self.ask(method, path, b"", BEARER)
        labels = ["start"] * 2 + ["webrtc_offer"] * 2 + ["session_offer"] * 2 + ["ws"]
        self.assertEqual([route for route, _, _ in self.recorder.ended], labels)

    @shows("T13")
    def test_big_body(self) -> None:
        """413, as everywhere."""
        self.assertEqual(self.start(b"x" * 300_001).status, 413)


@shows("T26")
class PageTests(SessionCase):
    """Browsers."""

    def test_preflight(self) -> None:
        """Answered without a key, with what the path takes."""
        for path, methods in (
            *((path, "POST, OPTIONS") for path in (*STARTS, *WEBRTC)),
            *((path.format(uuid4()), "POST, PATCH, OPTIONS") for path in OFFERS),
        ):
            answer = self.ask("OPTIONS", path, b"", "Origin: https://a.example")
            self.assertEqual((answer.status, answer.body), (204, b""))
            self.assertEqual(answer.headers["access-control-allow-origin"], "*")
            self.assertEqual(answer.headers["access-control-allow-methods"], methods)
            allowed = "Content-Type, Authorization, X-API-Key"
            self.assertEqual(answer.headers["access-control-allow-headers"], allowed)

    def allowed(self, origin: str) -> list[str | None]:
        """Of a preflight, a refusal and a success."""
        asked = (
            self.ask("OPTIONS", "/start", b"", f"Origin: {origin}"),
            self.ask("POST", "/start", b"", f"Origin: {origin}"),
            self.ask("POST", "/start", b"", f"Origin: {origin}", BEARER),
        )
        self.assertEqual([answer.status for answer in asked], [204, 401, 201])
        return [answer.headers.get("access-control-allow-origin") for answer in asked]

    def test_origins(self) -> None:
        """T26: those of the list, to the letter, are echoed; no other is told anything."""
        good, bad = "https://good.com", "https://good.com.evil"
        for origins, origin, answer in (
            (None, bad, "*"),
            ((good,), good, good),
            ((good,), bad, None),
            ((good,), "http://good.com", None),
            ((good,), "https://good.co", None),
            ((good,), "https://good.com:443", None),
            ((good,), "null", None),
            ((), good, None),
            (("*",), bad, "*"),
        ):
            self.origins = origins
            self.site = self.make_site(None)
            self.assertEqual(self.allowed(origin), [answer] * 3, (origins, origin))

    def test_sockets(self) -> None:
        """T26: with a list, a page must be on it; without an Origin a key is needed."""
        good = "https://good.com"
        for origins, keys, origin, status in (
            (None, (), None, 503),
            (None, (), "https://evil", 503),
            ((good,), (KEY,), good, 503),
            ((good,), (KEY,), None, 503),
            ((good,), (), good, 503),
            ((good,), (), None, 403),
            ((good,), (KEY,), "null", 403),
            ((good,), (KEY,), "https://good.com.evil", 403),
            ((), (KEY,), good, 403),
        ):
            self.origins, self.keys = origins, keys
            self.site = self.make_site(None)
            headers = [BEARER, *([f"Origin: {origin}"] if origin else [])]
            self.assertEqual(self.ask("GET", "/ws", b"", *headers).status, status, (origins, keys, origin))

    def test_no_strange_header(self) -> None:
        """What a stranger writes into Origin is never written back."""
        self.origins = ("https://good.com",)
        self.site = self.make_site(None)
        answer = self.ask(
            "POST",
            "/start",
            b"",
            BEARER,
            "Origin: https://good.com\t\xe9".encode("latin-1").decode("latin-1"),
        )
        self.assertIsNone(re.search("xe9|é", str(answer.headers)))
