"""F20 to F23 on real daemons with a real Redis: calls up, Redis gone, Redis back."""

from __future__ import annotations

import json
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

from twisted.trial.unittest import SynchronousTestCase

from tests.attackers import SCRIPTED, STOP, LiveDaemon, Peer, Sentinel, start
from tests.dangers import shows
from tests.redis_server import MISSING, RedisServer
from tests.wsframes import handshake

KEY = "k3y"
FLIP_SECS, ANSWER_SECS = 2.0, 1.0


class Case(SynchronousTestCase):
    if MISSING:
        skip = MISSING

    def daemon(self, redis: RedisServer, **document: object) -> LiveDaemon:
        shared = {
            **SCRIPTED,
            "session_store": "redis",
            "redis_url": redis.url,
            "stream_secret": "one for all",
            "server_api_key": KEY,
            "start_timeout_secs": 10.0,
        }
        daemon = LiveDaemon(Path(self.mktemp()).absolute(), {**shared, **document})
        self.addCleanup(daemon.stop)
        return daemon

    def starts(self, daemon: LiveDaemon) -> None:
        """Launched, and answering; not for that ready."""
        daemon.launch()
        daemon.until(lambda: daemon.get("/health")[0] == 200, 30)

    def asks(self, daemon: LiveDaemon, path: str, body: bytes, *, key: bool = True) -> tuple[int, bytes]:
        """Status and body of a POST, which has its time."""
        headers = {"X-API-Key": KEY} if key else {"Content-Type": "application/x-www-form-urlencoded"}
        url = f"http://127.0.0.1:{daemon.port}{path}"
        began = time.monotonic()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=5) as answer:
                got = answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            self.assertIn("Retry-After", refused.headers)
            got = refused.code, refused.read()
        self.assertLess(time.monotonic() - began, ANSWER_SECS)
        return got

    def rings(self, daemon: LiveDaemon, number: int) -> tuple[int, bytes]:
        form = {"CallSid": f"CA{number:032x}", "From": "+15550001", "To": "+15550002"}
        return self.asks(daemon, "/", urlencode(form).encode(), key=False)

    def flips(self, daemon: LiveDaemon, status: int) -> None:
        """/ready does, in time."""
        daemon.until(lambda: daemon.get("/ready")[0] == status, FLIP_SECS)


class OutageTests(Case):
    @shows("F21", "F22")
    def test_calls_go_on(self) -> None:
        """F21, F22: calls that are up hear every packet, as on a quiet day; new ones are taken."""
        redis = RedisServer(self).start()
        daemon = self.daemon(redis)
        daemon.start()
        quiet = self.call(daemon, 1)
        quiet.join(40)
        calls = [self.call(daemon, number) for number in range(2, 8)]
        daemon.until(lambda: daemon.metric("voxray_calls_active") == 6)
        redis.kill()
        self.while_away(daemon)
        calls.append(self.call(daemon, 8))
        redis.start()  # empty
        self.back(daemon, redis)
        redis.signal(signal.SIGSTOP)
        self.while_away(daemon)
        calls.append(self.call(daemon, 9))
        redis.signal(signal.SIGCONT)
        self.back(daemon, redis)
        for call in calls:
            call.join(40)
            self.assertEqual((call.error, call.code, call.checksum), ("", 1000, quiet.checksum))
        daemon.until(lambda: redis.cli("ZCARD", "voxray:{calls}:until") == "0")
        self.assertNotIn("Traceback", daemon.log())
        self.assertEqual(daemon.log().count("#warn] Redis at"), 2)

    def call(self, daemon: LiveDaemon, number: int) -> Sentinel:
        """A long one."""
        made = Sentinel(daemon, number, keys="1" * 6)
        made.start()
        return made

    def while_away(self, daemon: LiveDaemon) -> None:
        """Sessions are for later, from the first one on; webhooks are answered as ever."""
        self.assertEqual(self.asks(daemon, "/start", b"{}")[0], 503)
        self.flips(daemon, 503)
        for number in range(20, 30):
            self.assertEqual(self.rings(daemon, number)[0], 200)
            self.assertEqual(self.asks(daemon, "/start", b"{}")[0], 503)
        self.assertEqual(daemon.metric('voxray_degraded{what="redis"}'), 1.0)

    def back(self, daemon: LiveDaemon, redis: RedisServer) -> None:
        """Sessions are there, and every live call is on the board."""
        self.flips(daemon, 200)
        daemon.until(lambda: daemon.metric('voxray_degraded{what="redis"}') == 0.0, FLIP_SECS)
        self.assertEqual(self.asks(daemon, "/start", b"{}")[0], 201)
        board = "voxray:{calls}:until"
        daemon.until(lambda: int(redis.cli("ZCARD", board)) == daemon.metric("voxray_calls_active"))

    @shows("F20")
    def test_down_at_start(self) -> None:
        """F20: it starts, calls are answered, sessions are not; Redis is found when it comes."""
        redis = RedisServer(self)
        daemon = self.daemon(redis)
        self.starts(daemon)
        self.assertEqual(daemon.get("/ready")[0], 503)
        self.assertEqual(self.asks(daemon, "/start", b"{}")[0], 503)
        call = Sentinel(daemon, 1)
        call.start()
        call.join(30)
        self.assertEqual((call.error, call.code), ("", 1000))
        redis.start()
        self.flips(daemon, 200)
        self.assertEqual(self.asks(daemon, "/start", b"{}")[0], 201)

    @shows("F22", "F51")
    def test_terminated_while_it_is_stopped(self) -> None:
        """The daemon does not wait for a Redis that does not answer."""
        redis = RedisServer(self).start()
        daemon = self.daemon(redis)
        daemon.start()
        call = daemon.peer()
        call.send({"event": "connected"}, start(1))
        self.assertIsNotNone(call.next())
        redis.signal(signal.SIGSTOP)
        daemon.process.terminate()
        self.assertEqual(call.close_code(), 1001)
        self.assertEqual(daemon.process.wait(5), 0)


class TwoDaemonsTests(Case):
    def test_webhook_here_stream_there(self) -> None:
        """Over the wire: the answer of one, the socket of the other; the token opens no second one."""
        redis = RedisServer(self).start()
        one, other = (self.daemon(redis, telephony_auth="token") for _ in range(2))
        for daemon in (one, other):
            daemon.start()
        status, answer = self.rings(one, 1)
        self.assertEqual(status, 200)
        stream = ET.fromstring(answer).find("Connect/Stream")
        assert stream is not None
        path = "/" + stream.attrib["url"].split("/", 3)[3]
        peers = [self.socket(daemon, path) for daemon in (other, one)]
        peers[0].send({"event": "connected"}, start(1))
        self.assertIsNotNone(peers[0].next())
        peers[1].send({"event": "connected"}, start(1))
        self.assertEqual(peers[1].close_code(), 1008)
        self.assertEqual(redis.cli("ZCARD", "voxray:{calls}:until"), "1")
        peers[0].send(STOP)
        self.assertEqual(peers[0].close_code(), 1000)
        other.until(lambda: redis.cli("ZCARD", "voxray:{calls}:until") == "0")

    def socket(self, daemon: LiveDaemon, path: str) -> Peer:
        class Elsewhere(Peer):
            """A socket of that path."""

        sock = daemon.connect()
        request = handshake().replace(b"/telephony/ws", path.encode(), 1)
        peer = Elsewhere.__new__(Elsewhere)
        peer.sock, peer._data = sock, b""
        sock.sendall(request)
        while b"\r\n\r\n" not in peer._data:
            peer._data += sock.recv(4096)
        head, _, peer._data = peer._data.partition(b"\r\n\r\n")
        self.assertIn(b" 101 ", head)
        self.addCleanup(peer.close)
        return peer

    @shows("F53")
    def test_a_crash(self) -> None:
        """kill -9 with calls up: started again, the instance has given their places back at once."""
        redis = RedisServer(self).start()
        daemon = self.daemon(redis, max_calls=3)
        daemon.start()
        peers = [daemon.peer() for _ in range(3)]
        for number, peer in enumerate(peers):
            peer.send({"event": "connected"}, start(number))
            self.assertIsNotNone(peer.next())
        self.assertIn(b"<Reject", self.rings(daemon, 9)[1])
        daemon.process.kill()
        daemon.process.wait()
        self.assertEqual(redis.cli("ZCARD", "voxray:{calls}:until"), "3")
        daemon.start()
        daemon.until(lambda: redis.cli("ZCARD", "voxray:{calls}:until") == "0", FLIP_SECS)
        self.assertEqual(json.loads(self.asks(daemon, "/start", b"{}")[1]).keys(), {"data"})
        self.assertNotIn(b"<Reject", self.rings(daemon, 9)[1])
