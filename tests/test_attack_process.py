"""What happens to the process: signals, restarts, a log that nobody reads. The real daemon, with calls up."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.attackers import SCRIPTED, STOP, LiveDaemon, Peer, Sentinel, start
from tests.dangers import shows
from tests.wsframes import frame

HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = HEALTH.replace(b"a\r\n\r\n", b"a\r\nConnection: close\r\n\r\n")


def read_some(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return b""


class ProcessTests(SynchronousTestCase):
    """A daemon for each test."""

    def daemon(self, **settings: object) -> LiveDaemon:
        daemon = LiveDaemon(Path(self.mktemp()).absolute(), {**SCRIPTED, **settings})
        self.addCleanup(daemon.stop)
        return daemon

    def up(self, daemon: LiveDaemon, count: int) -> list[Peer]:
        """Calls that hear the greeting."""
        peers = [daemon.peer() for _ in range(count)]
        for number, peer in enumerate(peers):
            peer.send({"event": "connected"}, start(number + 1))
        for peer in peers:
            self.assertIsNotNone(peer.next())
            self.addCleanup(peer.close)
        return peers

    @shows("F51")
    def test_sigterm(self) -> None:
        """Every socket is told 1001, also one without a call, at once if calls are not waited for."""
        daemon = self.daemon(start_timeout_secs=10.0, goodbye="Bye.")
        daemon.start()
        peers = [*self.up(daemon, 5), daemon.peer()]
        daemon.process.terminate()
        for peer in reversed(peers[:5]):
            self.assertEqual(peer.close_code(), 1001)
            if peer is not peers[0]:  # that one does not answer, and is dropped after a second
                peer.raw(frame(b"\x03\xe9", 8))
        self.assertEqual(peers[5].close_code(), 1001)
        daemon.process.terminate()
        self.assertEqual(daemon.process.wait(5), 0)
        self.assertNotIn("Traceback", daemon.log())

    @shows("F51")
    def test_sigterm_again_and_again(self) -> None:
        """Signals by the dozen, before, in the middle of and after everything: one orderly end, status 0."""
        daemon = self.daemon(drain_timeout_secs=300)
        daemon.start()
        peers = self.up(daemon, 2)
        for _ in range(40):
            daemon.process.send_signal(signal.SIGTERM)
            daemon.process.send_signal(signal.SIGINT)
            time.sleep(0.01)
        self.assertEqual([peer.close_code() for peer in peers], [1001] * 2)
        for _ in range(20):
            daemon.process.send_signal(signal.SIGTERM)
        self.assertEqual(daemon.process.wait(5), 0)
        self.assertNotIn("Traceback", daemon.log())

    @shows("F52")
    def test_sighup(self) -> None:
        """A SIGHUP in the middle of a call is heard by nobody."""
        daemon = self.daemon()
        daemon.start()
        sentinel = Sentinel(daemon, 1)
        sentinel.start()
        time.sleep(0.3)
        daemon.process.send_signal(signal.SIGHUP)
        sentinel.join(30)
        self.assertEqual((sentinel.error, sentinel.code), ("", 1000))
        self.assertIn("SIGHUP", daemon.log())

    @shows("F53", "F61")
    def test_kill_and_restart(self) -> None:
        """After SIGKILL with calls up the port serves again at once; a second daemon on it is refused."""
        daemon = self.daemon()
        daemon.start()
        self.up(daemon, 5)
        daemon.process.kill()
        daemon.process.wait()
        daemon.start()
        (peer,) = self.up(daemon, 1)
        second = self.daemon(port=daemon.port)
        second.launch()
        self.assertEqual(second.process.wait(5), 1)
        self.assertIn(f"voxray: port {daemon.port} of 127.0.0.1 is in use", second.log())
        self.assertEqual(second.log().count("\n"), 1)
        peer.send(STOP)
        self.assertEqual(peer.close_code(), 1000)

    @shows("F60")
    def test_log_that_nobody_reads(self) -> None:
        """F60: standard output is a full pipe: calls hear what they did before, the loss is counted."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        daemon = self.daemon()
        daemon.launch(stdout=writer)
        os.close(writer)
        daemon.wait_ready()
        heard = []
        for noise in (0, 450):
            sentinel = Sentinel(daemon, 1)
            sentinel.start()
            for _ in range(noise):  # not too many in one read: that alone would hold up the call
                answers = daemon.raw(HEALTH * 9 + LAST, 5.0)
                self.assertEqual(answers.count(b"HTTP/1.1 200"), 10)
            sentinel.join(30)
            self.assertEqual((sentinel.error, sentinel.code), ("", 1000))
            heard.append(sentinel.checksum)
        self.assertEqual(heard[0], heard[1])
        self.assertEqual(daemon.metric("voxray_playout_underruns_total"), 0)
        lost = daemon.metric("voxray_log_lines_lost_total")
        self.assertGreater(lost, 1_000)
        os.set_blocking(reader, False)
        log = b""
        while f"{lost:.0f} log lines were lost".encode() not in log:
            self.assertEqual(daemon.get("/health")[0], 200)  # what waits goes out with the next line
            log += read_some(reader)
            lost = daemon.metric("voxray_log_lines_lost_total")
        self.assertGreater(len(log), 60_000)

    @shows("F60")
    def test_log_reader_is_gone(self) -> None:
        """Standard output closed at the other end: calls go on."""
        reader, writer = os.pipe()
        daemon = self.daemon()
        daemon.launch(stdout=writer)
        os.close(writer)
        daemon.wait_ready()
        os.close(reader)
        sentinel = Sentinel(daemon, 1)
        sentinel.start()
        sentinel.join(30)
        self.assertEqual((sentinel.error, sentinel.code), ("", 1000))
        self.assertEqual(daemon.log(), "")  # standard error
