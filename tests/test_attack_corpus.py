"""Collections of hostile requests, each against the whole site: hosts, paths, methods, framing, encodings.

T7, T13, T15, T22, T25, T26, T28, T30 of the threats.
"""

from __future__ import annotations

import gzip
import os
import random
import string
import tempfile
from xml.etree import ElementTree as ET

from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.house import House, Line
from tests.test_web_hosts import BAD
from tests.test_web_http import FORM, Answer
from tests.wsframes import handshake

PUBLIC = "voice.example.com"
GET = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
EVIL = (
    'a"/><Redirect>http://evil/</Redirect><x y="',
    "evil",
    "<!ENTITY x SYSTEM 'file:///etc/passwd'>",
    "]]>",
    "&amp;evil",
    "%22%3E",
    "\t",
    "\x7f",
    "\x01",
    "\xa0",
    "\u2028",
    "{{7*7}}",
    "${jndi:x}",
    "..",
    "a..b",
    "-",
    "*",
    "a:b:c",
    "@",
    "#",
    "?",
    "'",
    "`id`",
    "\\",
)


def hostile_hosts() -> list[str]:
    """Two hundred, and no line ends: those end the header."""
    around = (
        "{}",
        "voice.example.com{}",
        "{}voice.example.com",
        "{}:80",
        "voice.example.com:{}",
        "[{}]",
        "[::1]{}",
    )
    made = [pattern.format(evil) for evil in EVIL for pattern in around]
    hosts = dict.fromkeys([*made, *(host for host in BAD if not set(host) & set("\n\r\0"))])
    return list(hosts)


class HostTests(SynchronousTestCase):
    def ask(self, house: House, host: str) -> Answer:
        line = Line(house)
        head = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (host.encode(), len(FORM))
        line.raw(head + FORM)
        answer = Answer(line.transport.value())
        line.lose()
        return answer

    @shows("T7")
    def test_two_hundred_hosts(self) -> None:
        """T7: 400, or a well-formed document whose only address is the host of the request."""
        hosts = hostile_hosts()
        self.assertGreaterEqual(len(hosts), 200)
        for configured in ("", PUBLIC):
            house = House(self, {"proxy_host": configured})
            for host in hosts:
                answer = self.ask(house, host)
                if answer.status != 400:
                    self.assertEqual(answer.status, 200, host)
                    document = ET.fromstring(answer.body)
                    self.assertEqual(
                        [element.tag for element in document.iter()][:3], ["Response", "Connect", "Stream"]
                    )
                    url = document[0][0].attrib["url"]
                    self.assertEqual(url, f"wss://{configured or host.strip()}/telephony/ws")
                    self.assertRegex(host.strip(), r"\A(?:[A-Za-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]+)?\Z")
                else:
                    self.assertNotIn(b"evil", answer.body)
        self.assertEqual(self.flushLoggedErrors(), [])

    @shows("T28")
    def test_over_ipv6(self) -> None:
        """T28: a bracketed host is handed out as it is."""
        answer = self.ask(House(self), "[2001:db8::7]:8443")
        self.assertEqual(
            ET.fromstring(answer.body)[0][0].attrib["url"], "wss://[2001:db8::7]:8443/telephony/ws"
        )

    @shows("T7")
    def test_two_hosts(self) -> None:
        """The same twice is one too many; so is one in the request line."""
        house = House(self)
        for head in (
            b"POST / HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nhost: b\r\n",
            b"POST http://evil/ HTTP/1.1\r\nHost: a\r\n",
            b"POST //evil/ HTTP/1.1\r\nHost: a/b\r\n",
        ):
            line = Line(house)
            line.raw(head + b"Content-Length: 0\r\n\r\n")
            answer = Answer(line.transport.value())
            self.assertIn(answer.status, (400, 404), head)
            self.assertNotIn(b"evil", answer.body)


MALFORMED = (
    # lengths and codings that two readers would read differently
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\nhello12345",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xc2\xb25\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\n" + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    # chunks
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    # headers
    b"GET /health HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\n X: y\r\n\r\n",
    b"GET /health HTTP/1.1\r\n Host: a\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\n: no name\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\nX: y\rEvil: z\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: a\r\n(X): y\r\n\r\n",
    # request lines
    b"GET /health\r\nHost: a\r\n\r\n",
    b"GET  /health HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /health HTTP/1.1 x\r\nHost: a\r\n\r\n",
    b"GET /health HTTP/2.0\r\nHost: a\r\n\r\n",
    b"GET /health HTTP/1.10\r\nHost: a\r\n\r\n",
    b"GET /health http/1.1\r\nHost: a\r\n\r\n",
    b"GET health HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET\t/health\tHTTP/1.1\r\nHost: a\r\n\r\n",
    b"G(T /health HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
)


class FramingTests(SynchronousTestCase):
    @shows("T30")
    def test_malformed(self) -> None:
        """T30: each is 400 and the end, in the envelope; what follows on the connection is not answered."""
        self.assertGreaterEqual(len(MALFORMED), 40)
        house = House(self)
        for request in MALFORMED:
            line = Line(house)
            line.raw(request)
            self.assertTrue(line.over, request)
            line.raw(GET)
            told = line.transport.value()
            self.assertEqual(told.count(b"HTTP/1.1 "), 1, request)
            answer = Answer(told)
            self.assertEqual((answer.status, answer.headers["connection"]), (400, "close"), request)
            self.assertEqual(answer.json["error"]["requestId"], answer.headers["x-request-id"])
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(active(house), 0)

    @shows("T30")
    def test_with_more_behind(self) -> None:
        """The same, where a second request came in the same segment: it is not answered either."""
        house = House(self)
        for request in MALFORMED:
            line = Line(house)
            line.raw(request + GET)
            self.assertEqual(line.transport.value().count(b"HTTP/1.1 "), 1, request)

    def test_no_more_is_asked_for(self) -> None:
        """Who is refused by his headers is not told to continue."""
        line = Line(House(self))
        line.raw(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 999999\r\n\r\n")
        self.assertNotIn(b" 100 ", line.transport.value())
        self.assertEqual(Answer(line.transport.value()).status, 413)


@shows("T30")
class MethodTests(SynchronousTestCase):
    PATHS = (
        *("/", "/health", "/ready", "/metrics", "/start", "/ws", "/webrtc/offer", "/telephony/ws"),
        *("/telephony/status", "/api/v1/calls", "/api/v1/calls/x", "/api/v1/start", "/openapi.json"),
    )

    def test_methods(self) -> None:
        """T30: TRACE and methods that nobody knows are 405, on every path, with what is allowed."""
        house = House(self)
        for path in self.PATHS:
            for method in ("TRACE", "TRACK", "BREW", "X" * 100, "PROPFIND", "CONNECT"):
                answer = house.ask(method, path)
                self.assertEqual(answer.status, 405, (method, path))
                self.assertNotIn(b"Host", answer.body)
                self.assertIn("allow", answer.headers, (method, path))

    def test_all_servers(self) -> None:
        """`OPTIONS *` and other stars are nothing that we have."""
        for method in ("OPTIONS", "GET"):
            self.assertEqual(House(self).ask(method, "*").status, 400)


class EncodingTests(SynchronousTestCase):
    @shows("T15")
    def test_compressed(self) -> None:
        """T15: a compressed body is 415 before a byte of it is kept; "identity" is none."""
        bomb = gzip.compress(bytes(1 << 24))
        for coding, status in (
            (b"gzip", 415),
            (b"br", 415),
            (b"deflate, gzip", 415),
            (b"x", 415),
            (b"Identity", 201),
        ):
            line = Line(House(self))
            body = b"{}" if status == 201 else bomb
            head = b"POST /start HTTP/1.1\r\nHost: a\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
            line.raw(head % (coding, len(body)) + body)
            answer = Answer(line.transport.value())
            self.assertEqual((answer.status, answer.headers["content-type"]), (status, "application/json"))

    @shows("T13")
    def test_long_bodies(self) -> None:
        """T13: too long a body is 413 and no file, announced, chunked, or after a promise of less."""
        directory = self.mktemp()
        os.mkdir(directory)
        self.patch(tempfile, "tempdir", directory)
        house = House(self)
        for path in (b"/", b"/start", b"/health", b"/nowhere", b"/api/v1/calls", b"/telephony/ws"):
            for head, body in (
                (b"Content-Length: 262145", b"x" * 262_145),
                (b"Content-Length: 99999999999999999999", b"x"),
                (b"Transfer-Encoding: chunked", b"10000\r\n" + b"x" * 65_536 + b"\r\n"),
            ):
                line = Line(house)
                line.raw(b"POST %b HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % (path, head))
                for _ in range(5):
                    line.raw(body)
                self.assertEqual(Answer(line.transport.value()).status, 413, (path, head))
                self.assertTrue(line.over)
        self.assertEqual(os.listdir(directory), [])


STEPS = (
    "..",
    "%2e%2e",
    "%2E.",
    "..%2f",
    "..%5c",
    "\\..",
    "%00",
    "%c0%ae%c0%ae",
    "....//",
    ";/..",
    "%252e%252e",
    "//",
)


class PathTests(SynchronousTestCase):
    @shows("T22")
    def test_traversal(self) -> None:
        """T22: up, down and sideways from every route: nothing is there."""
        house = House(self, {"session_store": "memory"})
        prefixes = (
            "",
            "/telephony/ws",
            "/telephony",
            "/api/v1",
            "/api/v1/calls",
            "/sessions",
            "/health",
            "/swagger",
        )
        for prefix in prefixes:
            for step in STEPS:
                for target in ("etc/passwd", "health", ""):
                    path = f"{prefix}/{step}/{target}"
                    answer = house.ask("GET", path)
                    self.assertIn(answer.status, (400, 403, 404, 405, 426), path)
                    self.assertNotIn(b"root:", answer.body)
        self.assertEqual(self.flushLoggedErrors(), [])

    @shows("T25")
    def test_series(self) -> None:
        """T25: ten thousand paths and methods are one series more, whatever is asked."""
        house = House(self)
        dice = random.Random(25)
        house.ask("GET", "/health")
        house.ask("X", "/y")
        house.ask("GET", "/y")
        self.assertEqual(house.ask("GET", "/metrics").status, 200)
        before = series(house)
        letters = string.ascii_letters + string.digits + "-._~"
        line = Line(house)
        for _ in range(10_000):
            method = "GET" if dice.random() < 0.5 else "".join(dice.choices(string.ascii_uppercase, k=6))
            path = "".join(dice.choices(letters, k=dice.randrange(1, 20)))
            line.raw(f"{method} /{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            line.transport.clear()
        self.assertLessEqual(series(house) - before, 1)


class IdentityTests(SynchronousTestCase):
    def ids(self, house: House, request: bytes) -> tuple[int, str, str]:
        """Status, and the id in the header and in the body."""
        line = Line(house)
        line.raw(request)
        data = line.transport.value()
        answer = Answer(data)
        line.lose()
        body = answer.json if answer.body.startswith(b"{") else {}
        inside = (body.get("meta") or body.get("error") or {}).get("requestId", "")
        return answer.status, answer.headers["x-request-id"], inside

    def test_everywhere(self) -> None:
        """Every answer has the client's id, if it is sane, and so has every envelope; refusals too."""
        house = House(self, {"server_api_key": "k"})
        for head, status in (
            (b"GET /health", 200),
            (b"GET /", 200),
            (b"GET /metrics", 200),
            (b"GET /nowhere", 404),
            (b"BREW /health", 405),
            (b"GET /telephony/ws", 426),
            (b"GET /telephony/ws/bad-token", 426),
            (b"GET /api/v1/calls", 401),
            (b"OPTIONS /start", 204),
            (b"POST /start", 401),
            (b"GET http://evil/", 400),
        ):
            request = head + b" HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine-1.2_3\r\nContent-Length: 0\r\n\r\n"
            got = self.ids(house, request)
            self.assertEqual(got[:2], (status, "mine-1.2_3"), head)
            self.assertIn(got[2], ("", "mine-1.2_3"), head)
        upgrade = handshake().replace(b"\r\n\r\n", b"\r\nX-Request-ID: mine\r\n\r\n")
        self.assertEqual(self.ids(house, upgrade)[:2], (101, "mine"))

    @shows("T12")
    def test_insane(self) -> None:
        """Anything else is replaced, before it can reach a log or a page."""
        house = House(self)
        for sent in (b"", b"a b", b"x" * 65, b'"><script>', b"\xff", b"a:b", b"\xe2\x80\xa8"):
            request = b"GET /health HTTP/1.1\r\nHost: a\r\nX-Request-ID: %b\r\n\r\n" % sent
            status, header, body = self.ids(house, request)
            self.assertEqual((status, header), (200, body))
            self.assertRegex(header, r"\A[0-9a-f-]{36}\Z")


class DoorTests(SynchronousTestCase):
    """T24, T26: what is not built yet is guarded as it will be."""

    def ask(self, house: House, method: bytes, path: bytes, *headers: bytes) -> int:
        line = Line(house)
        extra = b"".join(header + b"\r\n" for header in headers)
        line.raw(b"%b %b HTTP/1.1\r\nHost: good.com\r\nContent-Length: 2\r\n%b\r\n{}" % (method, path, extra))
        status = Answer(line.transport.value()).status
        line.lose()
        return status

    @shows("T26")
    def test_origins(self) -> None:
        """The list to the letter; none at all only with a key; "null" never; nor a page of this machine."""
        key = b"X-API-Key: k"
        for keyed, with_key in ((True, (key,)), (False, ())):
            settings: dict[str, object] = {"cors_allowed_origins": ["https://good.com"]}
            house = House(self, settings | ({"server_api_key": "k"} if keyed else {}))
            for origin, status in (
                (b"https://good.com", 503),
                (b"https://good.com.evil", 403),
                (b"http://good.com", 403),
                (b"https://good.com:8443", 403),
                (b"https://GOOD.com", 403),
                (b"https://sub.good.com", 403),
                (b"null", 403),
                (b"http://localhost:3000", 403),
                (b"", 403),
                (b"https://good.com, https://evil", 403),
            ):
                got = self.ask(house, b"GET", b"/ws", b"Origin: " + origin, *with_key)
                self.assertEqual(got, status, (keyed, origin))
            self.assertEqual(self.ask(house, b"GET", b"/ws", *with_key), 503 if keyed else 403)
            self.assertEqual(self.ask(house, b"GET", b"/ws?api_key=k"), 401 if keyed else 403)

    @shows("T26")
    def test_null_origin(self) -> None:
        """A page without an origin is nobody's, even where every origin may come."""
        house = House(self)
        self.assertEqual(self.ask(house, b"GET", b"/ws", b"Origin: null"), 403)
        self.assertEqual(self.ask(house, b"GET", b"/ws", b"Origin: https://any.example"), 503)

    @shows("T20", "T24")
    def test_keys(self) -> None:
        """Asked for before anything else is looked at; a wrong one is as good as none."""
        house = House(self, {"server_api_key": ["k1", "k2"]})
        paths = (
            b"/webrtc/offer",
            b"/api/v1/webrtc/offer",
            b"/start",
            b"/sessions/x/api/offer",
            b"/api/v1/calls",
        )
        for path in paths:
            for header in (
                b"X: y",
                b"X-API-Key: k",
                b"X-API-Key: ",
                b"Authorization: Basic k1",
                b"Authorization: k1",
            ):
                self.assertEqual(self.ask(house, b"POST", path, header), 401, (path, header))
            for header in (b"X-API-Key: k1", b"Authorization: Bearer k2", b"authorization: bearer k1"):
                self.assertNotEqual(self.ask(house, b"POST", path, header), 401, (path, header))
            self.assertEqual(self.ask(house, b"POST", path + b"?api_key=k1"), 401)

    @shows("T24")
    def test_offers(self) -> None:
        """Whatever an offer holds, it is no failure of ours."""
        house = House(self)
        for body in (
            b"",
            b"{}",
            b"[]",
            b"\xff",
            b'{"offer":' + b"[" * 5_000,
            b'{"sdp":"' + b"v" * 70_000 + b'"}',
        ):
            for path in ("/webrtc/offer", "/sessions/00000000-0000-4000-8000-000000000000/api/offer"):
                self.assertIn(house.ask("POST", path, body).status, (404, 503))
        self.assertEqual(self.flushLoggedErrors(), [])


def series(house: House) -> int:
    registry = house.daemon._parts.exchange.metrics.registry
    return sum(len(family.samples) for family in registry.collect() if family.name == "http_requests")


def active(house: House) -> float:
    families = house.daemon._parts.exchange.metrics.http_active.collect()
    return sum(sample.value for family in families for sample in family.samples)
