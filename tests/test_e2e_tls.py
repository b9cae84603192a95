"""T23 and F52 on the real daemon: calls over TLS while certificates come and go."""

from __future__ import annotations

import signal
import ssl
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.attackers import SCRIPTED, STOP, LiveDaemon, Sentinel, calls_up
from tests.certificates import Authority, write_pair
from tests.dangers import shows

CALLS = 20
LOADED, KEPT = (f'voxray_tls_reload_total{{outcome="{outcome}"}}' for outcome in ("loaded", "kept"))


@shows("T23", "F52")
class RenewalTests(SynchronousTestCase):
    """One daemon, with a certificate of an authority of our own."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.authority = Authority()
        self.pair = self.renew()
        document = {**SCRIPTED, "tls_cert_file": self.pair[0], "tls_key_file": self.pair[1]}
        self.daemon = LiveDaemon(self.directory, document, VOXRAY_TLS_ENABLE="true")
        self.daemon.tls = ssl.create_default_context(cafile=self.authority.write_root(self.directory))
        self.addCleanup(self.daemon.stop)
        self.daemon.start()

    def renew(self, **how: object) -> tuple[str, str]:
        return write_pair(self.directory, authority=self.authority, replace=True, **how)  # type: ignore[arg-type]

    def hang_up(self) -> None:
        self.daemon.process.send_signal(signal.SIGHUP)

    def serial(self) -> str:
        """Of the certificate that a new connection gets."""
        sock = self.daemon.connect()
        found = sock.getpeercert()  # type: ignore[attr-defined]
        sock.close()
        return str(found["serialNumber"])

    def test_calls_go_on(self) -> None:
        """20 calls, one of them listened to packet by packet, through SIGHUPs, new files and rubbish."""
        sentinel = Sentinel(self.daemon, 1, "123")
        sentinel.start()
        peers = calls_up(self, self.daemon, CALLS)
        first = self.serial()

        self.renew(kind="rsa")
        self.hang_up()
        self.daemon.until(lambda: self.daemon.metric(LOADED) == 1)
        second = self.serial()
        self.assertNotEqual(second, first)

        Path(self.pair[1]).write_bytes(b"rubbish")
        self.hang_up()
        self.daemon.until(lambda: self.daemon.metric(KEPT) == 1)
        self.assertEqual(self.serial(), second)

        self.renew()  # and nobody says so
        self.daemon.until(lambda: self.daemon.metric(LOADED) == 2, secs=30)
        self.assertNotIn(self.serial(), (first, second))

        for peer in peers:
            peer.must_answer()
            peer.send(STOP)
            self.assertEqual(peer.close_code(), 1000)
        sentinel.join(60)
        self.assertEqual((sentinel.error, sentinel.code), ("", 1000))
        log = self.daemon.log()
        self.assertEqual(
            log.count("TLS: the certificate stays the old one: tls_key_file: no usable PEM key"), 1
        )
        self.assertNotIn("Traceback", log)

    def test_fifty_signals(self) -> None:
        """50 SIGHUPs, every other one with rubbish in place: what is heard is what is heard without them."""
        quiet, sentinel = Sentinel(self.daemon, 1, "12"), Sentinel(self.daemon, 2, "12")
        quiet.start()
        quiet.join(60)
        sentinel.start()
        peers = calls_up(self, self.daemon, CALLS)
        good = [Path(file).read_bytes() for file in self.pair]
        for number in range(50):
            Path(self.pair[0]).write_bytes(good[0] if number % 2 else b"rubbish")
            self.hang_up()
            self.daemon.until(lambda n=number: self.daemon.metric("voxray_tls_reload_total") >= n + 1)  # type: ignore[misc]
        self.assertEqual((self.daemon.metric(LOADED), self.daemon.metric(KEPT)), (25, 25))
        for peer in peers:
            peer.must_answer()
        sentinel.join(60)
        self.assertEqual((sentinel.error, sentinel.code), ("", 1000))
        self.assertEqual(sentinel.checksum, quiet.checksum)


@shows("T23", "F61")
class StartTests(SynchronousTestCase):
    """F61: what cannot serve is said in one line, and nothing is served instead."""

    def refused(self, **files: str) -> str:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        certificate, key = write_pair(directory)
        document = {
            **SCRIPTED,
            "tls_enable": True,
            "tls_cert_file": certificate,
            "tls_key_file": key,
            **files,
        }
        daemon = LiveDaemon(directory, document)
        self.addCleanup(daemon.stop)
        daemon.launch()
        self.assertEqual(daemon.process.wait(20), 1)
        self.assertEqual(daemon.log().count("\n"), 1)
        return daemon.log()

    def test_missing(self) -> None:
        """A file that is not there."""
        self.assertIn("voxray: tls_key_file: cannot read", self.refused(tls_key_file="/nowhere/key.pem"))

    def test_not_set(self) -> None:
        """A file that is not named."""
        self.assertIn(
            "voxray: tls_enable is true but tls_cert_file is not set", self.refused(tls_cert_file="")
        )
