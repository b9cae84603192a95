"""Floods, slow peers and a blocked reactor, against the real daemon: T16, T17, T18, F55, F57.

Every 127.x.y.z is a machine of its own here: the daemon is told not to spare this one.
"""

from __future__ import annotations

import contextlib
import re
import resource
import signal
import socket
import ssl
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.attackers import ROOT, SCRIPTED, LiveDaemon, Peer, Sentinel, read_all, start
from tests.certificates import write_pair
from tests.dangers import shows
from tests.wsframes import handshake

GET = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
HOOK = '''"""Blocks the reactor's thread when SIGUSR1 comes."""
import signal
import time


def the_culprit(*_):
    time.sleep(1.2)


signal.signal(signal.SIGUSR1, the_culprit)
'''


class LimitsTestCase(SynchronousTestCase):
    def daemon(self, **settings: object) -> LiveDaemon:
        directory = Path(self.mktemp()).absolute()
        daemon = LiveDaemon(directory, {**SCRIPTED, "connection_exempt": [], "log_level": "info", **settings})
        self.addCleanup(daemon.stop)
        return daemon

    def connect(self, daemon: LiveDaemon, source: str) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", daemon.port), 5, source_address=(source, 0))
        self.addCleanup(sock.close)
        return sock

    def call(self, daemon: LiveDaemon, number: int, source: str) -> Peer:
        """A call that hears the greeting."""
        peer = Peer(self.connect(daemon, source))
        peer.send({"event": "connected"}, start(number))
        self.assertIsNotNone(peer.next())
        return peer

    @contextlib.contextmanager
    def beside_a_call(self, daemon: LiveDaemon):  # type: ignore[no-untyped-def]
        sentinel = Sentinel(daemon, 0xFFFF, "11")
        sentinel.start()
        try:
            daemon.until(lambda: daemon.metric("voxray_calls_active") >= 1)  # before, it is one of the crowd
            yield
        finally:
            sentinel.join(40)
        self.assertEqual((sentinel.error, sentinel.code, sentinel.clears), ("", 1000, 0))
        self.assertEqual(daemon.metric("voxray_playout_underruns_total"), 0)
        self.assertNotIn("Traceback", daemon.log())


def alive(sock: socket.socket, secs: float = 0.0) -> bool:
    """The other end has not closed it within that time."""
    sock.settimeout(max(secs, 0.001))
    try:
        while sock.recv(65_536):
            pass
    except TimeoutError:
        return True
    except OSError:
        return False
    return False


class FloodTests(LimitsTestCase):
    @shows("T18")
    def test_one_address(self) -> None:
        """Three hundred connections of one machine: twenty stay, and calls come and go beside them."""
        daemon = self.daemon()
        daemon.start()
        with self.beside_a_call(daemon):
            flood = [self.connect(daemon, "127.0.0.66") for _ in range(300)]
            daemon.until(lambda: daemon.metric('voxray_connections_refused_total{reason="per_ip"}') == 280)
            self.assertEqual(sum(alive(sock) for sock in flood), 20)
            self.call(daemon, 1, "127.0.0.2")
            self.assertIn(b" 200 ", self.answer(daemon, "127.0.0.2"))

    @shows("T18")
    def test_many_addresses(self) -> None:
        """So many machines that the pool is full: whoever asks something gets in, calls stay."""
        daemon = self.daemon(max_pending_connections=50)
        daemon.start()
        with self.beside_a_call(daemon):
            flood = [self.connect(daemon, f"127.0.7.{n}") for n in range(1, 201)]
            daemon.until(lambda: daemon.metric('voxray_connections_refused_total{reason="displaced"}') >= 150)
            self.call(daemon, 1, "127.0.0.2")
            for _ in range(5):
                self.assertIn(b" 200 ", self.answer(daemon, "127.0.0.2"))
            self.assertLessEqual(sum(alive(sock) for sock in flood), 50)

    @shows("T18", "T30")
    def test_requests_by_the_thousand(self) -> None:
        """As many as fit in one read, on ten connections: all are answered, and the call is not disturbed."""
        daemon = self.daemon()
        daemon.start()
        count = 65_000 // len(GET)
        with self.beside_a_call(daemon):
            peers = [self.connect(daemon, "127.0.0.66") for _ in range(10)]
            for peer in peers:
                peer.setblocking(True)
                peer.sendall(GET * (count - 1) + GET.replace(b"a\r\n", b"a\r\nConnection: close\r\n"))
            for peer in peers:
                self.assertEqual(read_all(peer).count(b"HTTP/1.1 200"), count)
        self.assertEqual(daemon.metric("voxray_reactor_stalls_total"), 0)

    def answer(self, daemon: LiveDaemon, source: str) -> bytes:
        sock = self.connect(daemon, source)
        sock.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        return read_all(sock)

    @shows("T18", "F57")
    def test_no_descriptors_left(self) -> None:
        """F57: with no descriptor left calls that are up go on; afterwards all is as before."""
        daemon = self.daemon(connection_exempt=["127.0.0.0/8"])
        daemon.start()
        with self.beside_a_call(daemon):
            limits = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
            room = daemon.fds() + 20
            resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (room, limits[1]))
            flood = [self.connect(daemon, "127.0.0.1") for _ in range(200)]
            self.assertLess(sum(alive(sock, 0.01) for sock in flood), 60)
            for sock in flood:
                sock.close()
            daemon.until(lambda: daemon.get("/health")[0] == 200)
            self.call(daemon, 1, "127.0.0.2")


class SlowTests(LimitsTestCase):
    """With deadlines of a second or two; the usual ones are measured by bench/slow.py."""

    @shows("T16")
    def test_slow_http(self) -> None:
        """Headers, bodies and answers in drips: closed at their deadlines, however the drips fall."""
        daemon = self.daemon(
            header_timeout_secs=1, body_timeout_secs=1, response_timeout_secs=2, max_connections_per_ip=0
        )
        daemon.start()
        with self.beside_a_call(daemon):
            peers = []
            for number in range(90):
                peers.append(self.connect(daemon, "127.0.0.66"))
                with contextlib.suppress(OSError):
                    peers[-1].sendall(
                        (
                            b"GET /health HTTP/1.1\r\nX: ",
                            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n",
                            b"GET /openapi.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                        )[number % 3]
                    )
            patience = time.monotonic() + 10
            left = peers
            while left and time.monotonic() < patience:
                left = [peer for number, peer in enumerate(left) if self.drips(peer)]
                time.sleep(0.1)
            self.assertEqual(left, [])
            self.assertEqual(daemon.get("/health")[0], 200)

    def drips(self, peer: socket.socket) -> bool:
        """One byte more; whether the connection still takes it."""
        try:
            peer.send(b"x")
        except OSError:
            return False
        return alive(peer)

    @shows("T16")
    def test_half_handshakes(self) -> None:
        """A TLS handshake that goes no further is cut as headers are."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        certificate, key = write_pair(directory)
        files = {"tls_enable": True, "tls_cert_file": certificate, "tls_key_file": key}
        daemon = self.daemon(header_timeout_secs=1, max_connections_per_ip=0, **files)
        daemon.tls = ssl.create_default_context(cafile=certificate)
        daemon.start()
        peers = [self.connect(daemon, "127.0.0.66") for _ in range(60)]
        hello = client_hello()
        for number, peer in enumerate(peers):
            peer.sendall(hello[: len(hello) if number % 2 else 40])
        self.assertEqual([peer for peer in peers if alive(peer, 3)], [])
        self.assertEqual(daemon.get("/health")[0], 200)

    @shows("T17")
    def test_silent_sockets(self) -> None:
        """T17: upgraded, and then nothing, or half a message: 1008; no provider was asked anything."""
        daemon = self.daemon(max_connections_per_ip=0, partial_message_timeout_secs=2)
        daemon.start()
        with self.beside_a_call(daemon):
            silent = [Peer(self.connect(daemon, "127.0.0.66")) for _ in range(60)]
            for number, peer in enumerate(silent):
                peer.raw((b"", b"\x81", handshake()[:1])[number % 3])
            self.assertEqual({peer.close_code() for peer in silent} - {1002}, {1008})
            call = self.call(daemon, 1, "127.0.0.2")
            call.raw(b"\x81\xfe")
            self.assertEqual(call.close_code(8), 1008)


def client_hello() -> bytes:
    """The first flight of a client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


class StallTests(LimitsTestCase):
    def blockable(self, **settings: object) -> LiveDaemon:
        """A daemon that runs, and whose reactor SIGUSR1 blocks."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        (directory / "sitecustomize.py").write_text(HOOK, encoding="ascii")
        daemon = self.daemon(**settings)
        daemon._environ["PYTHONPATH"] = f"{directory}:{ROOT}"
        daemon.start()
        return daemon

    @shows("F55")
    def test_aborted(self) -> None:
        """The signal of a watchdog in the middle of a stall: what the process was at is on its stderr."""
        daemon = self.blockable(stall_log_secs=0)
        daemon.process.send_signal(signal.SIGUSR1)
        time.sleep(0.4)
        daemon.process.send_signal(signal.SIGABRT)
        self.assertEqual(daemon.process.wait(10), -signal.SIGABRT)
        self.assertIn("in the_culprit", daemon.log())
        self.assertNotIn("the reactor has done nothing else", daemon.log())

    @shows("F55", "F58")
    def test_culprit(self) -> None:
        """F55: a reactor blocked for 1.2 s: one line, in time, with the name of the function, and a count."""
        daemon = self.blockable(max_lag_ms=100)
        self.assertEqual(daemon.metric("voxray_reactor_stalls_total"), 0)
        daemon.process.send_signal(signal.SIGUSR1)
        daemon.until(lambda: daemon.metric("voxray_reactor_stalls_total") == 1)
        found = re.findall(r"the reactor has done nothing else for (\S+) s: (.*)", daemon.log())
        self.assertEqual(len(found), 1)
        secs, stack = found[0]
        self.assertTrue(0.5 <= float(secs) < 1.0, secs)
        self.assertTrue(stack.startswith("the_culprit (sitecustomize:"), stack)
        self.assertGreaterEqual(daemon.metric("voxray_overloaded"), 1)
        daemon.until(lambda: daemon.metric("voxray_overloaded") == 0, 10)
