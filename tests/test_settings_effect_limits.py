"""Keys that bound what strangers may cost, from the document to what a client or a carrier sees."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.house import House, Line, Transport, free_port
from tests.test_media_socket import media, start
from tests.test_settings_effect_media import LONG
from tests.test_web_http import FORM, Answer, Recorder
from tests.wsframes import PING, TEXT, frame, handshake
from voxray.config.keys import KEYS
from voxray.config.keys_limits import LIMITS, SOCKETS
from voxray.errors import ConfigError, StoreUnavailable
from voxray.frames import TextDelta
from voxray.listening import bind
from voxray.web.exposition import MetricsAlone, MetricsPage
from voxray.web.site import VoxraySite

GET = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"


@shows("T16")
class DeadlineTests(SynchronousTestCase):
    """Each with a shorter deadline than usual, and a second more than it."""

    def cut(self, line: Line) -> bool:
        return line.transport.aborted

    def check(self, key: str, *sent: bytes) -> None:
        """After what was sent, the connection lives for `key`'s 3 seconds and no longer, drips or not."""
        house = House(self, {key: 3})
        line, usual = Line(house), Line(House(self))
        for each in (line, usual):
            for data in sent:
                each.raw(data)
        for _ in range(29):
            house.reactor.advance(0.1)
            self.drip(line)
        self.assertFalse(self.cut(line))
        house.reactor.advance(0.2)
        self.assertTrue(self.cut(line))
        usual._house.reactor.advance(4)
        self.assertFalse(self.cut(usual))

    def drip(self, line: Line) -> None:
        line.raw(b"x")

    def test_header_timeout_secs(self) -> None:
        """From the connection to the last header; a byte now and then is no help."""
        self.check("header_timeout_secs", b"GET /health HTTP/1.1\r\nX: ")

    def test_body_timeout_secs(self) -> None:
        """From there to the body's end."""
        self.check("body_timeout_secs", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n")

    def test_response_timeout_secs(self) -> None:
        """The client has so long to take the answer."""
        house = House(self, {"response_timeout_secs": 3})
        line = Line(house)
        line.settle = lambda: None  # type: ignore[method-assign]  # the answer stays in the buffer
        line.raw(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        house.reactor.advance(2.9)
        self.assertFalse(self.cut(line))
        house.reactor.advance(0.2)
        self.assertTrue(self.cut(line))

    def test_keepalive_timeout_secs(self) -> None:
        """Between two requests."""
        self.drip = lambda line: None  # type: ignore[method-assign]
        self.check("keepalive_timeout_secs", GET)


class HeaderTests(SynchronousTestCase):
    def status(self, house: House, *headers: bytes) -> int:
        line = Line(house)
        line.raw(b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"".join(h + b"\r\n" for h in headers) + b"\r\n")
        answer = Answer(line.transport.value())
        line.lose()
        return answer.status

    def test_max_header_bytes(self) -> None:
        """All headers of a request together, and its line."""
        for size, allowed in ((2_000, 200), (20_000, 200)):
            for limit in (1_024, 16_384, 65_536):
                expected = allowed if size < limit else 400
                house = House(self, {"max_header_bytes": limit})
                self.assertEqual(self.status(house, b"X: " + b"y" * (size - 100)), expected, (size, limit))
                many = [b"X-%d: " % n + b"y" * 90 for n in range(size // 100)]
                if len(many) < 90:
                    self.assertEqual(self.status(house, *many), expected, (size, limit))

    def test_max_headers(self) -> None:
        """The number of them."""
        house = House(self, {"max_headers": 50})
        self.assertEqual(self.status(house, *[b"X: y"] * 49), 200)
        self.assertEqual(self.status(house, *[b"X: y"] * 50), 400)
        self.assertEqual(self.status(House(self), *[b"X: y"] * 50), 200)


@shows("T18")
class CrowdTests(SynchronousTestCase):
    """Connections that are no calls."""

    def house(self, **settings: object) -> House:
        return House(self, {"connection_exempt": [], **settings})

    def comes(self, house: House, host: str = "198.51.100.1") -> Line | None:
        """None: it was closed at the door."""
        house.peer = IPv4Address("TCP", host, 4_711)
        return None if house.site.buildProtocol(house.peer) is None else Line(house)

    def metric(self, house: House, name: str) -> float:
        return _metric(house, name)

    def test_max_connections_per_ip(self) -> None:
        """Of one address; others, and calls, are not concerned."""
        house = self.house(max_connections_per_ip=3)
        calls = []
        for number in range(5):
            line = self.comes(house)
            assert line is not None
            line.raw(handshake())
            line.send(start(number + 1))
            calls.append(line)
        self.assertEqual(len(house.daemon._parts.registry), 5)
        waiting = [self.comes(house) for _ in range(3)]
        self.assertIsNone(self.comes(house))
        self.assertIsNotNone(self.comes(house, "198.51.100.2"))
        assert waiting[0] is not None
        waiting[0].lose()
        self.assertIsNotNone(self.comes(house))
        self.assertEqual(self.metric(house, 'voxray_connections_refused_total{reason="per_ip"}'), 1)
        self.assertEqual(self.metric(house, "voxray_pending_connections"), 4)
        house.reload(max_connections_per_ip=0)
        self.assertIsNotNone(self.comes(house))

    def test_a_socket_without_start(self) -> None:
        """An upgrade alone is no call: it goes on counting, until it ends."""
        house = self.house(max_connections_per_ip=2)
        lines = [self.comes(house), self.comes(house)]
        for line in lines:
            assert line is not None
            line.raw(handshake())
        self.assertIsNone(self.comes(house))
        house.pass_time(11, 0.5)
        self.assertEqual(self.metric(house, "voxray_pending_connections"), 0)
        self.assertIsNotNone(self.comes(house))

    def test_max_pending_connections(self) -> None:
        """In all: a newcomer takes the place of the oldest that asks nothing."""
        house = self.house(max_pending_connections=10, max_connections_per_ip=0)
        lines = [self.comes(house, f"198.51.100.{n}") for n in range(10)]
        newcomer = self.comes(house, "203.0.113.1")
        assert newcomer is not None
        newcomer.raw(GET)
        self.assertEqual(Answer(newcomer.transport.value()).status, 200)
        aborted = [line.transport.aborted for line in lines if line is not None]
        self.assertEqual(aborted, [True] + [False] * 9)
        self.assertEqual(self.metric(house, 'voxray_connections_refused_total{reason="displaced"}'), 1)

    def test_connection_exempt(self) -> None:
        """Those are not counted; by default this machine's."""
        house = self.house(max_connections_per_ip=1, connection_exempt=["198.51.100.0/24"])
        self.assertNotIn(None, [self.comes(house) for _ in range(5)])
        self.assertNotIn(None, [self.comes(house, "203.0.113.1")])
        self.assertIn(None, [self.comes(house, "203.0.113.1")])
        usual = House(self, {"max_connections_per_ip": 1})
        self.assertNotIn(None, [self.comes(usual, "127.0.0.1") for _ in range(5)])

    @shows("T8")
    def test_clients_of_proxies(self) -> None:
        """Behind a trusted proxy a request counts for its client, and is 503 where he has more."""
        house = self.house(max_connections_per_ip=2, trusted_proxies=["10.0.0.1"])
        body = b"POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: %b\r\nContent-Length: 9\r\n\r\n"
        for client, statuses in ((b"198.51.100.1", [0, 0, 503]), (b"198.51.100.2", [0])):
            for status in statuses:
                line = self.comes(house, "10.0.0.1")
                assert line is not None
                line.raw(body % client)
                got = line.transport.value()
                self.assertEqual(Answer(got).status if got else 0, status)
        self.assertEqual(self.metric(house, "voxray_pending_connections"), 3)
        for line in house.lines:
            line.raw(b"a=1234567")
        self.assertEqual(self.metric(house, "voxray_pending_connections"), 0)

    def test_clients_in_proxy_lines(self) -> None:
        """The same where a PROXY header says whose connection it is: that one is cut."""
        house = self.house(max_connections_per_ip=2, trusted_proxies=["10.0.0.1"], proxy_protocol=True)
        for cut in (False, False, True):
            line = self.comes(house, "10.0.0.1")
            assert line is not None
            line.raw(b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n" + GET[:10])
            self.assertEqual(line.transport.aborted, cut)
            self.assertEqual(line.transport.value(), b"")


@shows("F58")
class OverloadTests(SynchronousTestCase):
    """A process that is too late takes no call more."""

    def house(self, **settings: object) -> House:
        return House(self, {"max_lag_ms": 100, **settings})

    def late(self, house: House, ticks: int = 1) -> None:
        for _ in range(ticks):
            house.reactor.advance(0.5)

    def test_max_lag_ms(self) -> None:
        """Busy for new calls, 1013 for streams that nobody announced; calls that are up or coming stay."""
        house = self.house()
        call = house.dial()
        house.reactor.advance(0.2)
        self.assertNotIn(b"Reject", house.ask("POST", "/", FORM).body)
        self.late(house)
        self.assertIn(b"Reject", house.ask("POST", "/", FORM.replace(b"CA0", b"CA1")).body)
        stranger = house.socket()
        stranger.send(start(7))
        self.assertEqual(stranger.code, 1013)
        coming = start(8)
        coming["start"]["callSid"] = "CA0123456789abcdef0123456789abcdef"
        line = house.socket()
        line.send(coming)
        self.assertEqual((line.code, call.code, len(house.daemon._parts.registry)), (None, None, 2))
        self.assertEqual(_metric(house, 'voxray_calls_refused_total{reason="overload"}'), 2)
        self.assertEqual(_metric(house, "voxray_overloaded"), 1)
        house.pass_time(3.2)
        self.assertEqual(_metric(house, "voxray_overloaded"), 0)
        self.assertNotIn(b"Reject", house.ask("POST", "/", FORM.replace(b"CA0", b"CA2")).body)
        relaxed = self.house(max_lag_ms=900)
        self.late(relaxed)
        self.assertNotIn(b"Reject", relaxed.ask("POST", "/", FORM).body)

    def test_upgrade(self) -> None:
        """While no call is coming, the upgrade itself is refused: 503, and the balancer asks another."""
        house = self.house()
        self.late(house)
        line = Line(house)
        line.raw(handshake())
        answer = Answer(line.transport.value())
        self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "5"))

    def test_overload_response(self) -> None:
        """For carriers that have a fallback URL: 503, of lateness as of too many calls."""
        for settings, late in (({}, True), ({"max_calls": 1}, False)):
            house = self.house(overload_response="503", **settings)
            house.dial()
            if late:
                self.late(house)
            answer = house.ask("POST", "/", FORM)
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "5"))
        self.assertEqual(_metric(house, 'voxray_calls_refused_total{reason="max_calls"}'), 1)


class StallTests(SynchronousTestCase):
    def test_stall_log_secs(self) -> None:
        """So long may one thing keep the process; changed by a reload, too."""
        house = House(self, {"stall_log_secs": 0.7})
        suspicion = house.daemon._parts.vigil._stalls._suspicion
        self.assertEqual(suspicion.limit_secs, 0.7)
        house.reload(stall_log_secs=0)
        self.assertEqual(suspicion.limit_secs, 0.0)


class SocketTests(SynchronousTestCase):
    """What a carrier may do on its socket."""

    @shows("T17")
    def test_first_media_timeout_secs(self) -> None:
        """A call that no audio comes of ends; one that had some is another matter."""
        house = House(self, {"first_media_timeout_secs": 4, "dead_peer_secs": 60})
        mute, other = house.dial(), house.dial()
        other.send(media())
        mute.press("1")
        house.pass_time(3.5, 0.5)
        self.assertIsNone(mute.code)
        house.pass_time(2, 0.5)
        self.assertEqual((mute.code, other.code), (1008, None))

    @shows("T17")
    def test_partial_message_timeout_secs(self) -> None:
        """A message has to end, however it is spelt and whatever comes in between."""
        whole = frame(json.dumps(media()).encode())
        for begun in (whole[:1], whole[:-1], frame(b'{"a":', TEXT, fin=False), frame(b"", PING)[:3]):
            house = House(self, {"partial_message_timeout_secs": 4, "dead_peer_secs": 60})
            line = house.dial()
            house.pass_time(2, 0.5)
            line.raw(begun)
            house.pass_time(3.5, 0.5)
            self.assertIsNone(line.code)
            if begun[0] < 0x80:  # between fragments there may be pings
                line.raw(frame(b"", PING))
            house.pass_time(2, 0.5)
            self.assertEqual(line.code, 1008, begun)

    def test_one_after_another(self) -> None:
        """Messages that are each cut in two are no unfinished one."""
        house = House(self, {"partial_message_timeout_secs": 2})
        line = house.dial()
        whole = frame(json.dumps(media()).encode())
        line.raw(whole[:10])
        for _ in range(20):
            house.pass_time(0.5, 0.5)
            line.raw(whole[10:] + whole[:10])
        self.assertIsNone(line.code)

    def flood(self, line: Line, count: int) -> None:
        for _ in range(count):
            line.send(media())

    def test_max_messages_burst(self) -> None:
        """At once."""
        for burst, code in ((100, 1008), (500, None)):
            line = House(self, {"max_messages_burst": burst}).dial()
            self.flood(line, 200)
            self.assertEqual(line.code, code)

    def test_max_messages_per_sec(self) -> None:
        """For any length of time."""
        for rate, code in ((50, 1008), (100, None)):
            house = House(self, {"max_messages_per_sec": rate, "max_messages_burst": 200})
            line = house.dial()
            for _ in range(10):
                self.flood(line, 90)
                house.pass_time(1, 1)
            self.assertEqual(line.code, code)

    def test_max_unsent_audio_ms(self) -> None:
        """What a carrier that does not read costs in memory; then the rest of the utterance is dropped."""
        sizes = []
        for unsent_ms in (500, 1_000):
            line = House(self, {"max_unsent_audio_ms": unsent_ms}).dial()
            sizes.append(line.transport.bufferSize)
        self.assertEqual(sizes, [8_192, 16_384])

    def test_slow_consumer_secs(self) -> None:
        """So long may it leave that unread."""
        house = House(self, {"slow_consumer_secs": 4, "dead_peer_secs": 60}, [TextDelta(LONG)])
        line = house.dial()
        line.send(media())
        line.transport.producer.pauseProducing()
        house.pass_time(3.5, 0.5)
        self.assertFalse(line.transport.aborted)
        house.pass_time(2, 0.5)
        self.assertTrue(line.transport.aborted)


@shows("T25")
class MetricsTests(SynchronousTestCase):
    """Who may read /metrics, and where."""

    def test_of_several_processes(self) -> None:
        """Gathered by whoever can; 503 where that fails, for half of them would look like a restart."""
        for told, status in ((b"voxray_up 2.0\n", 200), (None, 503)):

            async def gathered(told: bytes | None = told) -> bytes:
                if told is None:
                    raise StoreUnavailable("timeout")
                return told

            page = MetricsPage(CollectorRegistry(), gathered)
            site = VoxraySite(
                MetricsAlone(page).resource(), Clock(), lambda: 0.0, Recorder(), max_body_bytes=0
            )
            answer = self.ask(site)
            self.assertEqual(answer.status, status)
            self.assertIn(told or b"SERVICE_UNAVAILABLE", answer.body)

    def ask(self, site: Any, *headers: bytes, path: bytes = b"/metrics") -> Answer:
        transport = Transport()
        channel = site.buildProtocol(transport.getPeer())
        channel.makeConnection(transport)
        head = b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        channel.dataReceived(head + b"".join(h + b"\r\n" for h in headers) + b"\r\n")
        channel.connectionLost(None)
        transport.handle.close()
        return Answer(transport.value())

    def test_metrics_bind(self) -> None:
        """On a port of its own, which serves nothing else, and on the other no more."""
        port = free_port()
        house = House(self, {"metrics_bind": f"127.0.0.1:{port}"})
        [(_, _, beside)] = house.ports_beside
        self.assertIn(b"voxray_up 1.0", self.ask(beside).body)
        for path in (b"/health", b"/", b"/telephony/ws", b"/api/v1/calls"):
            self.assertEqual(self.ask(beside, path=path).status, 404)
        self.assertEqual(self.ask(house.site).status, 404)
        self.assertEqual(self.ask(house.site, path=b"/health").status, 200)

    def test_metrics_bind_in_use(self) -> None:
        """One line, and no daemon."""
        with bind("127.0.0.1", 0) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            problem = "metrics_bind: port [0-9]+ of 127.0.0.1 is in use"
            self.assertRaisesRegex(ConfigError, problem, House, self, {"metrics_bind": address})

    def test_metrics_key(self) -> None:
        """One key or several; it opens nothing else, and the API's opens not this."""
        house = House(self, {"metrics_key": ["m1", "m2"], "server_api_key": "s"})
        for headers, status in (
            ([], 401),
            ([b"Authorization: Bearer m1"], 200),
            ([b"X-API-Key: m2"], 200),
            ([b"X-API-Key: s"], 401),
            ([b"X-API-Key: m"], 401),
        ):
            self.assertEqual(self.ask(house.site, *headers).status, status, headers)
        self.assertEqual(self.ask(house.site, b"X-API-Key: m1", path=b"/api/v1/calls").status, 401)
        house.reload(metrics_key=[])
        self.assertEqual(self.ask(house.site).status, 200)

    def test_limits_are_shown(self) -> None:
        """Every limit with the value that holds."""
        house = House(self, {"max_calls": 17, "header_timeout_secs": 7})
        text = self.ask(house.site).body.decode()
        for line in ('{name="max_calls"} 17.0', '{name="header_timeout_secs"} 7.0'):
            self.assertIn(f"voxray_limit{line}", text)
        for key in (*LIMITS.keys, *SOCKETS.keys):
            if isinstance(KEYS[key.name].default, int | float):
                self.assertIn(f'voxray_limit{{name="{key.name}"}}', text)


def _metric(house: House, name: str) -> float:
    registry = house.daemon._parts.exchange.metrics.registry
    plain, _, labels = name.partition("{")
    found = dict(pair.split("=") for pair in labels.rstrip("}").replace('"', "").split(",") if pair)
    value = registry.get_sample_value(plain, found)
    return float(value or 0.0)
