"""The HTTP side: probes, webhook, envelopes, and the limits on connections and bodies."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any
from xml.etree import ElementTree as ET

from prometheus_client import CollectorRegistry, Counter
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from tests.dangers import shows
from tests.doors import Doors, twilio_trunk
from tests.test_web_hosts import BAD
from voxray.frames import IncomingCall
from voxray.web.api import Api
from voxray.web.exposition import MetricsPage
from voxray.web.hooks import Admission, Hooks
from voxray.web.keys import Keys
from voxray.web.site import Root, VoxraySite

FORM = b"CallSid=CA0123456789abcdef0123456789abcdef&From=%2B15558675310&To=%2B15017122661&CallStatus=ringing"


class Transport(StringTransport):
    """Knows when it is over."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()

    def unregisterProducer(self) -> None:
        self.producer = None


class Recorder:
    """What the metrics were told."""

    def __init__(self) -> None:
        self.active = 0
        self.ended: list[tuple[str, str, int]] = []
        self.late: list[tuple[str, str]] = []

    def request_started(self, route: str) -> None:
        self.active += 1

    def timed_out(self, route: str, method: str) -> None:
        self.late.append((route, method))

    def request_ended(self, route: str, method: str, status: int, seconds: float) -> None:
        self.active -= 1
        self.ended.append((route, method, status))


class Answer:
    """One response, parsed by hand."""

    def __init__(self, data: bytes) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
        if self.headers.get("transfer-encoding") == "chunked":
            body = self._unchunked(body)
        self.body = body

    def _unchunked(self, body: bytes) -> bytes:
        whole = b""
        while body:
            size, _, body = body.partition(b"\r\n")
            length = int(size, 16)
            whole, body = whole + body[:length], body[length + 2 :]
            if not length:
                break
        return whole

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class HttpTestCase(SynchronousTestCase):
    """The whole tree on imaginary connections."""

    proxy_host = "voice.example.com"
    trunk = twilio_trunk()

    def setUp(self) -> None:
        self.clock = Clock()
        self.recorder = Recorder()
        self.ready = self.room = True
        self.draining = False
        self.announced: list[IncomingCall] = []
        self.refused: list[tuple[str, str]] = []
        self.registry: CollectorRegistry | None = CollectorRegistry()
        Counter("voxray_test", "A counter.", registry=self.registry).inc()
        self.site = self.make_site(self.registry)

    def make_site(self, registry: CollectorRegistry | None) -> VoxraySite:
        admission = Admission(
            lambda: self.draining,
            lambda: self.room,
            lambda call, verified: self.announce(call),
            lambda where, reason: self.refused.append((where, reason)),
        )
        self.doors = Doors(self.trunk)
        hooks = Hooks(self.doors.keeper, self.proxy_host, admission, "twilio", self.clock.seconds)
        page = MetricsPage(self.registry or CollectorRegistry())
        page.use(enabled=registry is not None, keys=Keys(()))
        api = Api(lambda: self.ready, page)
        root = Root(api.resource(), hooks.resource(), Resource())
        return VoxraySite(root, self.clock, lambda: 1_700_000_000.0, self.recorder, max_body_bytes=1000)

    def announce(self, call: IncomingCall) -> None:
        self.announced.append(call)

    def connect(self) -> tuple[Any, Transport]:
        transport = Transport()
        channel = self.site.buildProtocol(None)
        channel.makeConnection(transport)
        return channel, transport

    def raw(self, data: bytes) -> Answer:
        channel, transport = self.connect()
        channel.dataReceived(data)
        self.assertTrue(transport.value(), data[:200])
        answer = Answer(transport.value())
        channel.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.recorder.active, 0)
        return answer

    def ask(
        self, method: str, path: str, body: bytes = b"", *headers: str, host: str = "h.example"
    ) -> Answer:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *headers]
        return self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


class ProbeTests(HttpTestCase):
    """/health, /ready, /metrics and the twins."""

    def test_health(self) -> None:
        """Both paths answer in the envelope, with the caller's request id."""
        for path in ("/health", "/api/v1/health", "/ready", "/api/v1/ready"):
            answer = self.ask("GET", path, b"", "X-Request-ID: abc-1")
            self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"))
            self.assertEqual(answer.json, {"data": {"status": "ok"}, "meta": {"requestId": "abc-1"}})

    def test_request_id_is_made(self) -> None:
        """Without a sane one, a UUID."""
        answer = self.ask("GET", "/health", b"", "X-Request-ID: a b")
        self.assertEqual(len(answer.json["meta"]["requestId"]), 36)
        self.assertEqual(answer.headers["x-request-id"], answer.json["meta"]["requestId"])

    def test_not_ready(self) -> None:
        """503 in the envelope; health stays 200."""
        self.ready = False
        answer = self.ask("GET", "/ready")
        self.assertEqual((answer.status, answer.json["error"]["code"]), (503, "SERVICE_UNAVAILABLE"))
        self.assertEqual(answer.json["error"]["message"], "Service unavailable")
        self.assertEqual(self.ask("GET", "/health").status, 200)

    def test_metrics(self) -> None:
        """Prometheus text; 204 without a body when off; 405 for other methods either way."""
        answer = self.ask("GET", "/metrics")
        self.assertEqual(answer.status, 200)
        self.assertIn(b"voxray_test_total 1.0", answer.body)
        self.assertTrue(answer.headers["content-type"].startswith("text/plain"))
        self.assertEqual(self.ask("POST", "/metrics").status, 405)
        self.site = self.make_site(None)
        answer = self.ask("GET", "/metrics")
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertEqual(self.ask("POST", "/metrics").status, 405)

    @shows("T30")
    def test_wrong_method(self) -> None:
        """405 carries the code BAD_REQUEST, as the contract has it."""
        for method, path in (
            ("POST", "/health"),
            ("DELETE", "/"),
            ("PUT", "/ready"),
            ("TRACE", "/"),
            ("X", "/"),
        ):
            answer = self.ask(method, path)
            self.assertEqual((answer.status, answer.json["error"]["code"]), (405, "BAD_REQUEST"), method)
            self.assertEqual(answer.json["error"]["message"], "Method not allowed")

    def test_unknown_paths(self) -> None:
        """404 in the envelope, wherever."""
        for path in (
            "/x",
            "/telephony",
            "/telephony/",
            "/telephony/x/y",
            "/api/v1",
            "/health/",
            "/%2e%2e/etc",
        ):
            answer = self.ask("GET", path)
            self.assertEqual((answer.status, answer.json["error"]["code"]), (404, "NOT_FOUND"), path)

    def test_our_bug(self) -> None:
        """A probe that fails is 500 in the envelope, logged once, without a traceback for the caller."""
        self.site = self.make_site(self.registry)
        del self.ready
        answer = self.ask("GET", "/ready")
        self.assertEqual((answer.status, answer.json["error"]["code"]), (500, "INTERNAL_ERROR"))
        self.assertNotIn(b"Traceback", answer.body)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    @shows("T25")
    def test_metrics_of_requests(self) -> None:
        """Route and method are bounded labels, whatever is asked."""
        self.ask("GET", "/health")
        self.ask("BREW", "/health")
        self.ask("GET", "/random/path")
        self.ask("POST", "/", FORM)
        expected = [
            ("health", "GET", 200),
            ("health", "other", 405),
            ("other", "GET", 404),
            ("root", "POST", 200),
        ]
        self.assertEqual(self.recorder.ended, expected)


class WebhookTests(HttpTestCase):
    """POST /."""

    def url(self, answer: Answer) -> str:
        stream = ET.fromstring(answer.body)[0][0]
        return stream.attrib["url"]

    def test_answer(self) -> None:
        """TwiML that names the public host, and who calls whom; the call is announced."""
        answer = self.ask("POST", "/", FORM, "Content-Type: application/x-www-form-urlencoded")
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/xml"))
        self.assertEqual(
            answer.body.decode(),
            '<?xml version="1.0" encoding="UTF-8"?><Response><Connect>'
            '<Stream url="wss://voice.example.com/telephony/ws"><Parameter name="from" value="+15558675310"/>'
            '<Parameter name="to" value="+15017122661"/></Stream></Connect></Response>',
        )
        sid = "CA0123456789abcdef0123456789abcdef"
        self.assertEqual(self.announced, [IncomingCall(sid, "+15558675310", "+15017122661")])

    def test_nothing_known(self) -> None:
        """A webhook without a form still gets the contract's answer."""
        self.assertEqual(
            self.ask("POST", "/").body.decode(),
            '<?xml version="1.0" encoding="UTF-8"?><Response><Connect>'
            '<Stream url="wss://voice.example.com/telephony/ws"/></Connect></Response>',
        )

    def test_by_get(self) -> None:
        """A number set to GET is served; a GET without a CallSid is the status page."""
        self.assertEqual(
            self.url(self.ask("GET", "/?" + FORM.decode())), "wss://voice.example.com/telephony/ws"
        )
        self.assertEqual(self.ask("GET", "/").json["data"], {"status": "Bot started with twilio"})

    @shows("F58")
    def test_full(self) -> None:
        """No room: busy, unanswered and unbilled; nothing is announced."""
        self.room = False
        answer = self.ask("POST", "/", FORM)
        self.assertEqual(ET.fromstring(answer.body)[0].tag, "Reject")
        self.assertEqual((answer.status, self.announced), (200, []))

    def test_draining(self) -> None:
        """503 with Retry-After, so that a fallback URL can take the call."""
        self.draining = True
        answer = self.ask("POST", "/", FORM)
        self.assertEqual((answer.status, answer.json["error"]["code"]), (503, "SERVICE_UNAVAILABLE"))
        self.assertTrue(int(answer.headers["retry-after"]) > 0)

    def test_announcing_fails(self) -> None:
        """A failed warm-up costs a log line, not the call."""
        self.announce = lambda call: 1 / 0  # type: ignore[method-assign,assignment,return-value]
        self.site = self.make_site(None)
        self.assertEqual(self.ask("POST", "/", FORM).status, 200)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @shows("T7")
    def test_hostile_forms(self) -> None:
        """Nonsense in the form gives a well-formed answer with the same host."""
        for body in (
            b"\xff\xfe",
            b"a=b&" * 240,
            b"From=%00%1b%22%3E%3CHangup/%3E",
            b"From=%ff&To=%ED%A0%80",
            b"&&=;",
        ):
            answer = self.ask("POST", "/", body)
            self.assertEqual(self.url(answer), "wss://voice.example.com/telephony/ws", body)

    def test_first_of_a_name(self) -> None:
        """A repeated field counts once, the first."""
        self.ask("POST", "/", b"From=1&From=2")
        self.assertEqual(self.announced[0].from_number, "1")


@shows("T7")
class HostTests(HttpTestCase):
    """T7, end to end, without a configured host."""

    proxy_host = ""

    def test_own_host(self) -> None:
        """The request's host is handed out."""
        for host in ("here.example:8080", "[::1]:80"):
            answer = self.ask("POST", "/", FORM, host=host)
            self.assertEqual(ET.fromstring(answer.body)[0][0].attrib["url"], f"wss://{host}/telephony/ws")

    def test_hostile_hosts(self) -> None:
        """400, or (where the header cannot hold it) no answer that names another host."""
        for host in BAD:
            if "\n" in host or "\x00" in host:
                continue  # not one header line; twisted.web's own 400
            answer = self.ask("POST", "/", FORM, host=host)
            self.assertEqual(answer.status, 400, host)
            self.assertNotIn(b"<", answer.body)

    @shows("T30")
    def test_no_or_two_hosts(self) -> None:
        """HTTP/1.0 without a host may probe, not call; two hosts are refused."""
        self.assertEqual(self.raw(b"GET /health HTTP/1.0\r\n\r\n").status, 200)
        self.assertEqual(self.raw(b"POST / HTTP/1.0\r\n\r\n").status, 400)
        self.assertEqual(
            self.raw(b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n").status, 400
        )

    @shows("T30")
    def test_absolute_form(self) -> None:
        """A request line with a host of its own is refused."""
        self.assertEqual(
            self.raw(b"POST http://evil/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").status, 400
        )


@shows("T13")
class BodyTests(HttpTestCase):
    """Too much is refused early, in memory."""

    def test_announced_too_long(self) -> None:
        """413 before a byte of the body, and the connection closes."""
        channel, transport = self.connect()
        channel.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
        answer = Answer(transport.value())
        self.assertEqual((answer.status, answer.json["error"]["message"]), (413, "Request body too large"))
        self.assertTrue(transport.disconnecting)
        channel.dataReceived(b"x" * 1001)
        self.assertEqual(transport.value().count(b"HTTP/1.1"), 1)
        channel.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.recorder.ended, [("other", "other", 413)])

    def test_chunked_too_long(self) -> None:
        """A chunked body is counted as it comes."""
        channel, transport = self.connect()
        channel.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(10):
            channel.dataReceived(b"64\r\n" + b"x" * 100 + b"\r\n")
        self.assertEqual(transport.value(), b"")
        channel.dataReceived(b"1\r\nx\r\n")
        self.assertEqual(Answer(transport.value()).status, 413)
        channel.dataReceived(b"0\r\n\r\n")
        self.assertEqual(transport.value().count(b"HTTP/1.1"), 1)
        channel.connectionLost(Failure(ConnectionLost()))

    def test_no_temporary_file(self) -> None:
        """A body of 200 kB, when allowed, touches no disk."""
        self.site.max_body_bytes = 300_000
        channel, transport = self.connect()
        self.patch(tempfile, "TemporaryFile", lambda *args, **kwargs: self.fail("a temporary file"))
        channel.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n")
        channel.dataReceived(b"x" * 200_000)
        self.assertEqual(Answer(transport.value()).status, 403)  # far more than any carrier sends
        channel.connectionLost(Failure(ConnectionLost()))

    def test_header_limits(self) -> None:
        """Headers over 16 KiB or over a hundred are 400."""
        for headers in (b"X: " + b"y" * 17_000 + b"\r\n", b"X: y\r\n" * 101):
            channel, transport = self.connect()
            channel.dataReceived(b"GET /health HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n")
            self.assertTrue(transport.value().startswith(b"HTTP/1.1 400") or transport.disconnecting)
            channel.connectionLost(Failure(ConnectionLost()))


@shows("T16")
class DeadlineTests(HttpTestCase):
    """A byte now and then does not keep a connection."""

    def trickle(self, channel: Any, transport: Transport, data: bytes, seconds: int) -> None:
        for i in range(seconds):
            if transport.aborted:
                return
            channel.dataReceived(data[i : i + 1])
            self.clock.advance(1)

    def test_headers(self) -> None:
        """Ten seconds for the headers, however busily they come."""
        channel, transport = self.connect()
        self.trickle(channel, transport, b"GET /health HTTP/1.1\r\nX: yyyyyyyyyyyy", 9)
        self.assertFalse(transport.aborted)
        self.clock.advance(1.1)
        self.assertTrue(transport.aborted)
        self.assertEqual(self.recorder.late, [("other", "other")])

    def test_body(self) -> None:
        """Fifteen for the body."""
        channel, transport = self.connect()
        channel.dataReceived(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n")
        self.trickle(channel, transport, b"x" * 900, 14)
        self.assertFalse(transport.aborted)
        self.clock.advance(1.1)
        self.assertTrue(transport.aborted)
        self.assertEqual(self.recorder.late, [("root", "POST")])

    def test_keep_alive(self) -> None:
        """A minute to the next request's end of headers; then it works as the first."""
        channel, transport = self.connect()
        for _ in range(3):
            transport.clear()
            channel.dataReceived(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertEqual(Answer(transport.value()).status, 200)
            self.clock.advance(50)
        self.assertFalse(transport.aborted)
        self.trickle(channel, transport, b"GET /health HTTP/1.1", 11)
        self.assertTrue(transport.aborted)
        self.assertEqual(self.recorder.late, [])

    def test_slow_reader(self) -> None:
        """Thirty seconds to take the answer of a last request."""
        channel, transport = self.connect()
        channel.dataReceived(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        self.assertTrue(transport.disconnecting)
        self.clock.advance(31)
        self.assertTrue(transport.aborted)
        self.assertEqual(self.recorder.late, [("health", "GET")])

    def test_silence_is_counted_once(self) -> None:
        """A connection that asks nothing is cut and counted; one that asked and is quiet is cut alone."""
        silent = self.connect()[1]
        channel, idle = self.connect()
        channel.dataReceived(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        self.clock.advance(61)
        self.assertTrue(silent.aborted and idle.aborted)
        self.assertEqual(self.recorder.late, [("other", "other")])


class AccessLogTests(HttpTestCase):
    """Dates and secrets."""

    @shows("T12")
    def test_line(self) -> None:
        """The date is the wall clock's, the query is left out, control characters do not pass."""
        path = os.path.join(self.mktemp())
        self.site.logPath = os.path.abspath(path)
        self.site.startFactory()
        channel, _ = self.connect()
        channel.dataReceived(b"GET /health?From=%2B15551234567 HTTP/1.1\r\nHost: a\r\n\r\n")
        channel.connectionLost(Failure(ConnectionLost()))
        self.site.stopFactory()
        with open(path) as log:
            line = log.read()
        self.assertIn("[14/Nov/2023:22:13:20 +0000]", line)
        self.assertIn('"GET /health" 200', line)
        self.assertNotIn("1555", line)
        self.assertEqual(line.count("\n"), 1)
