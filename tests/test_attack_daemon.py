"""The real daemon under attack, with an honest call beside it that must not notice."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.attackers import SCRIPTED, STOP, LiveDaemon, Peer, Sentinel, media, read_all, start
from tests.dangers import shows
from tests.wsframes import BINARY, PING, TEXT, frame, handshake


@functools.cache
def the_daemon() -> tuple[LiveDaemon, str]:
    """One daemon for all the tests, and what a call hears of it in peace. trial has no class fixtures."""
    daemon = LiveDaemon(Path("attacked").absolute(), dict(SCRIPTED))
    atexit.register(daemon.stop)
    daemon.start()
    reference = Sentinel(daemon, 0xFFFF)
    reference.start()
    reference.join(30)
    assert not reference.error, reference.error
    return daemon, reference.checksum


class AttackTestCase(SynchronousTestCase):
    """After every test nothing may be left in the daemon."""

    def setUp(self) -> None:
        self.daemon, self.quiet_checksum = the_daemon()
        self.daemon.until(lambda: self.daemon.metric("voxray_calls_active") == 0)
        self._fds, self._threads = self.daemon.fds(), self.daemon.threads()
        self._log_begins = len(self.daemon.log())

    def new_log(self) -> str:
        return self.daemon.log()[self._log_begins :]

    def nothing_left(self) -> None:
        """No call, no descriptor, no thread, no traceback."""
        daemon = self.daemon
        daemon.until(lambda: daemon.metric("voxray_calls_active") == 0)
        daemon.until(lambda: daemon.fds() <= self._fds)
        self.assertLessEqual(daemon.threads(), self._threads)
        for word in ("Traceback", "Unhandled", "callback failed"):
            self.assertNotIn(word, self.new_log())

    @contextlib.contextmanager
    def beside_a_call(self, number: int = 0xFFFF):  # type: ignore[no-untyped-def]
        """The attack runs while the sentinel's call does, which hears what it always hears."""
        sentinel = Sentinel(self.daemon, number)
        sentinel.start()
        try:
            yield
        finally:
            sentinel.join(40)
        self.assertEqual(sentinel.error, "")
        self.assertEqual(sentinel.code, 1000)
        self.assertEqual(sentinel.clears, 0)
        self.assertEqual(sentinel.checksum, self.quiet_checksum)
        self.nothing_left()

    def ends_with(self, code: int | None, *messages: object, secs: float = 5.0) -> None:
        peer = self.daemon.peer()
        peer.send(*messages)
        self.assertEqual(peer.close_code(secs), code, messages[:2])
        peer.close()


BAD_MESSAGES: tuple[object, ...] = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xc3\x28",  # not UTF-8: Autobahn's to refuse
    b"[" * 60_000,
    b'{"event":' + b'{"a":' * 9_000 + b"1" + b"}" * 9_001,
    {"event": 7},
    {"event": None},
    {"no": "event"},
    {"event": "media"},
    {"event": "media", "media": []},
    {"event": "media", "media": {"payload": 5}},
    {"event": "media", "media": {"payload": "%%%%"}},
    {"event": "media", "media": {"payload": "A"}},
    {"event": "dtmf", "dtmf": {"digit": "9" * 60_000}},
    {"event": "dtmf", "dtmf": {"digit": "\x00"}},
    {"event": "dtmf"},
    {"event": "mark", "mark": {"name": {"a": 1}}},
    {"event": "mark", "mark": {"name": "x" * 60_000}},
)
ODD_MESSAGES: tuple[object, ...] = (
    {"event": "media", "media": {"payload": ""}},
    {"event": "media", "media": {"payload": "/w=="}},  # one sample
    {"event": "media", "media": {"payload": "////" * 15_000}},  # 5.6 s in one message
    {"event": "media", "media": {"payload": "AAAA", "track": "outbound"}},
    {"event": "media", "media": {"payload": "AAAA", "timestamp": -1, "chunk": [], "track": None}},
    {"event": "mark", "mark": {"name": "never-sent"}},
    {"event": "mark", "mark": {"name": "never-sent"}},
    {"event": "mark", "mark": {"name": "\x00\u2028\ufffe\U0010ffff"}},
    {"event": "connected"},
    {"event": "unheard of"},
    {"event": "\x00"},
    {"event": "dtmf", "dtmf": {"digit": "1"}},
)


class MessageTests(AttackTestCase):
    """What a peer may say."""

    @shows("T14", "F30", "F34", "F35", "F36")
    def test_bad_messages(self) -> None:
        """Each bad message alone is counted and the call goes on; twenty in a row end it with 1008."""
        with self.beside_a_call():
            for bad in BAD_MESSAGES:
                peer = self.daemon.peer()
                peer.send(start(1), bad, {"event": "connected"}, STOP)
                self.assertEqual(peer.close_code(), 1007 if bad == b"\xc3\x28" else 1000, bad)
                peer.close()
            self.ends_with(1000, start(1), *ODD_MESSAGES, STOP)
            self.ends_with(1008, start(1), *[{"event": "media"}] * 20)
            self.ends_with(1008, start(1), *[b"{", {"event": "connected"}] * 100)
        self.assertLess(len(self.new_log()), 100_000)  # once a reason and socket, and never the message
        self.assertNotIn("xxxxxxxx", self.new_log())

    @shows("T17", "F31")
    def test_before_start(self) -> None:
        """Twenty-one messages, a second without `start`, ids that are none, codecs that are not ours."""
        with self.beside_a_call():
            self.ends_with(1008, *[media()] * 21)
            self.ends_with(1008, *[{"event": "connected"}] * 21)
            self.ends_with(1008)
            self.ends_with(1008, {"event": "connected"}, STOP, {"event": "mark", "mark": {"name": "x"}})
            for ids in (
                {"streamSid": "MZ\x00"}, {"callSid": "CA\u2603"}, {"callSid": "../../Recordings/RE1"},
                {"callSid": "CA1\r\nX: y"}, {"callSid": "C" * 129}, {"callSid": None}, {"streamSid": [1]},
                {"streamSid": ""}, {"accountSid": "AC?x=1"},
            ):  # fmt: skip
                self.ends_with(1008, start(2, **ids), *[media()] * 20)
            self.ends_with(1003, start(2, mediaFormat={"encoding": "audio/l16", "sampleRate": 8000}))
            self.ends_with(1003, start(2, mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": 16000}))
            self.ends_with(1003, start(2, mediaFormat="audio/x-mulaw"))
            many = {f"p{i}\x00\u2028": "v" * 400 for i in range(100)}
            self.ends_with(1000, start(2, customParameters=many), STOP)

    @shows("F32")
    def test_double_start(self) -> None:
        """The same stream again is ignored, another one on the same socket is 1008."""
        with self.beside_a_call():
            self.ends_with(1000, start(3), start(3), STOP)
            self.ends_with(1008, start(3), start(4), STOP)

    @shows("T13", "T15", "F33", "F36", "F43")
    def test_frames(self) -> None:
        """Too big, binary, unmasked, reserved bits, a byte at a time, split UTF-8, a length that lies."""
        with self.beside_a_call():
            self.ends_with(1009, start(5), b" " * 65_537)
            self.ends_with(1000, start(5), b'"' + b"a" * 65_530 + b'"', STOP)
            for data, code in (
                (frame(b"\0" * 100, BINARY) * 20, 1008),
                (frame(b"{}", mask=None), 1002),
                (frame(b"{}", rsv=4), 1002),
                (frame(b"{}", 3), 1002),
                (frame(b"", PING, fin=False), 1002),
                (frame(b"x" * 126, PING), 1002),
                (frame(b"{}", 0), 1002),
                (frame(b"", TEXT, declared=1 << 40, length_bits=64), 1009),
                (frame(b'{"event":', fin=False) + frame(b" " * 65_000, 0, fin=False) * 2, 1009),
                (frame(b"", TEXT, fin=False) + frame(b"", 0, fin=False) * 400 + frame(b"{", 0), None),
            ):
                peer = self.daemon.peer()
                peer.send(start(5))
                peer.raw(data)
                if code is not None:
                    self.assertEqual(peer.close_code(), code, data[:20])
                peer.close()
            peer = self.daemon.peer()
            for byte in frame(json.dumps(start(5)).encode()):
                peer.raw(bytes([byte]))
            message = json.dumps({"event": "stop"}).encode()
            for i, byte in enumerate(message):
                last = i == len(message) - 1
                peer.raw(frame(bytes([byte]), TEXT if i == 0 else 0, fin=last))
            self.assertEqual(peer.close_code(), 1000)
            peer.close()

    @shows("T19", "F43")
    def test_floods(self) -> None:
        """Five thousand messages or pings in a second are 1008; two calls beside each other are not."""
        with self.beside_a_call():
            floods = frame(json.dumps(media()).encode()) * 5_000, frame(b"x" * 125, PING) * 5_000
            for number, data in enumerate(
                floods, 20
            ):  # the first call's end may come after the second's start
                peer = self.daemon.peer()
                peer.send(start(number))
                with contextlib.suppress(OSError):
                    peer.raw(data)
                self.assertIn(peer.close_code(), (1008, None))  # a reset may overtake the close frame
                peer.close()
        self.daemon.until(lambda: self.daemon.metric('voxray_media_closed_total{reason="policy"}') >= 2)


class SocketTests(AttackTestCase):
    """What a peer may do."""

    @shows("F42")
    def test_ends(self) -> None:
        """RST, half-close, a close frame without `stop`, silence after `stop`, nothing at all."""
        with self.beside_a_call():
            for how in (Peer.reset, Peer.close):
                peer = self.daemon.peer()
                peer.send(start(7), media())
                how(peer)
            peer = self.daemon.peer()
            peer.send(
                start(7), {"event": "dtmf", "dtmf": {"digit": "1"}}, {"event": "dtmf", "dtmf": {"digit": "#"}}
            )
            peer.sock.shutdown(1)  # half-close: no more to say, still listening
            read_all(peer.sock)
            peer.close()
            peer = self.daemon.peer()
            peer.send(start(7))
            peer.raw(frame(b"\x03\xe8", 8))
            self.assertEqual(peer.close_code(), 1000)
            peer.close()
            peer = self.daemon.peer()
            peer.send(start(7), STOP)
            self.assertEqual(peer.close_code(), 1000)
            time.sleep(1.3)  # we do not answer the close frame
            self.assertEqual(read_all(peer.sock), b"")
            peer.close()

    @shows("T5", "F39")
    def test_equal_ids(self) -> None:
        """The ids of the live call: closed. Its stream's id with another call's: a call of its own."""
        with self.beside_a_call():
            time.sleep(0.3)  # the sentinel's `start` comes first
            own = start(7)
            own["start"]["streamSid"] = start(0xFFFF)["start"]["streamSid"]
            for beginning, code in ((start(0xFFFF), 1008), (start(0xFFFF), 1008), (own, 1000)):
                twin = self.daemon.peer()
                twin.send(
                    beginning, {"event": "dtmf", "dtmf": {"digit": "9"}}, *[media(b"\x00\x80" * 80)] * 50
                )
                time.sleep(0.2)
                twin.send(STOP)
                self.assertEqual(twin.close_code(), code)
                twin.close()

    @shows("F41")
    def test_slow_reader(self) -> None:
        """A peer that stops reading costs its own audio and is dropped after ten seconds or so."""
        with self.beside_a_call():
            peer = self.daemon.peer(receive_buffer=4096)
            peer.send(start(8))
            for _ in range(6):
                peer.send(
                    *[{"event": "dtmf", "dtmf": {"digit": "1"}}] * 31,
                    {"event": "dtmf", "dtmf": {"digit": "#"}},
                )
            time.sleep(1)
            peer.close()

    @shows("T17", "T18")
    def test_crowd(self) -> None:
        """Three hundred sockets that say nothing: upgraded ones go after a second, and none stays."""
        with self.beside_a_call():
            silent = [self.daemon.connect() for _ in range(150)]
            upgraded = [self.daemon.peer() for _ in range(150)]
            self.assertEqual({peer.close_code() for peer in upgraded}, {1008})
            for peer in upgraded:
                peer.close()
            for sock in silent:
                sock.close()


POST = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n"
HOSTILE_HOSTS = (
    b'a"/><Redirect>http://evil/</Redirect><x y="',
    b"a b",
    b"a@evil",
    b"evil/path",
    b"a\x00b",
    b"\xe2\x98\x83",
    b"a:99999",
    b"[::1",
    b"a" * 300,
    b"",
)


class HttpTests(AttackTestCase):
    """What the port that carries the calls may be sent besides."""

    @shows("T7", "T13", "T22", "T30")
    def test_requests(self) -> None:
        """Hostile hosts, bodies over the limit, wrong methods and paths, no HTTP at all: refused."""
        raw = self.daemon.raw
        with self.beside_a_call():
            for host in HOSTILE_HOSTS:
                answer = raw(POST % (host, 0))
                self.assertTrue(answer.startswith(b"HTTP/1.1 400"), (host, answer[:80]))
                self.assertNotIn(b"evil", answer)
            self.assertTrue(raw(POST % (b"a", 300_000) + b"x" * 300_000).startswith(b"HTTP/1.1 413"))
            chunks = POST.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked;%d".split(b";")[0])
            body = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
            self.assertTrue(raw(chunks % b"a" + body * 5).startswith(b"HTTP/1.1 413"))
            fields = b"&".join(b"%d=" % i for i in range(20_000))
            self.assertTrue(raw(POST % (b"a", len(fields)) + fields, 1.0).startswith(b"HTTP/1.1 403"))
            for line, status in (
                (b"GET /telephony/ws HTTP/1.1", b"4"),
                (b"PUT / HTTP/1.1", b"40"),
                (b"DELETE /metrics HTTP/1.1", b"40"),
                (b"GET /../../etc/passwd HTTP/1.1", b"404"),
                (b"GET /telephony/ws/../../health HTTP/1.1", b"4"),
                (b"GET http://evil/ HTTP/1.1", b"400"),
                (b"CONNECT evil:443 HTTP/1.1", b"400"),
                (b"GET / HTTP/9.9", b"4"),
                (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
            ):
                answer = raw(line + b"\r\nHost: a\r\n\r\n", 1.0)
                self.assertTrue(answer.startswith(b"HTTP/1.1 " + status), (line, answer[:60]))
            many = b"".join(b"X-%d: y\r\n" % i for i in range(2_000))
            self.assertNotIn(b" 200 ", raw(b"GET /health HTTP/1.1\r\nHost: a\r\n" + many + b"\r\n", 1.0))
            self.assertNotIn(b" 200 ", raw(b"GET /health HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 1.0))

    @shows("T30")
    def test_pipelining(self) -> None:
        """Requests in one write are answered in order; a refused one is the last."""
        get = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
        with self.beside_a_call():
            self.assertEqual(self.daemon.raw(get * 30, 1.0).count(b"HTTP/1.1 200"), 30)
            answer = self.daemon.raw(get + POST % (b"a b", 0) + get, 1.0)
            self.assertEqual((answer.count(b" 200 "), answer.count(b" 400 ")), (1, 1))
            upgrade = handshake() + frame(json.dumps(start(9)).encode()) + frame(b'{"event":"stop"}')
            answer = self.daemon.raw(get + upgrade, 2.0)
            self.assertIn(b" 101 ", answer)
            answer = self.daemon.raw(upgrade + get, 2.0)
            self.assertIn(b" 101 ", answer)
            smuggled = (POST % (b"a", 4))[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            self.assertNotIn(b" 200 ", self.daemon.raw(smuggled + get, 1.0))
