"""F61: what is wrong at the start is one clear line and a status that says so, before anybody hears READY."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.attackers import SCRIPTED, LiveDaemon
from tests.certificates import Authority, write_pair
from tests.dangers import shows


@shows("F61")
class StartTests(SynchronousTestCase):
    """One process for each mistake, with systemd's end of NOTIFY_SOCKET in our hands."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.bind(f"\0voxray-test-{os.getpid()}-{id(self)}")
        self.manager.setblocking(False)
        self.address = "@" + self.manager.getsockname()[1:].decode()

    def told(self) -> bytes:
        """All that the service manager has heard."""
        heard = b""
        try:
            while True:
                heard += self.manager.recv(4096) + b"\n"
        except BlockingIOError:
            return heard

    def fails(self, words: str, document: dict[str, object], broken: bytes = b"") -> None:
        """The daemon ends with status 1, these words on its only line, and no READY."""
        place = Path(self.mktemp()).absolute()
        daemon = LiveDaemon(place, {**SCRIPTED, **document}, NOTIFY_SOCKET=self.address)
        if broken:
            daemon.config.write_bytes(broken)
        daemon.launch()
        self.assertEqual(daemon.process.wait(30), 1, words)
        lines = daemon.log().splitlines()
        self.assertEqual(len(lines), 1, lines)
        self.assertIn(words, lines[0])
        self.assertTrue(lines[0].startswith("voxray: "), lines)
        self.assertNotIn(b"READY=1", self.told())

    def test_configuration(self) -> None:
        """A file that is no JSON, a key of the wrong type, a name that nobody has."""
        self.fails("line 1", {}, b"{")
        self.fails("max_calls", {"max_calls": "many"})
        self.fails("runner_transport", {"runner_transport": "carrier-pigeon"})

    def test_keys(self) -> None:
        """A vendor without its key; signatures asked for without what they are made with."""
        self.fails("OPENAI_API_KEY", {"provider": "openai"})
        self.fails("TWILIO_AUTH_TOKEN", {"telephony_auth": "signature"})

    def test_port(self) -> None:
        """A port that somebody has."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            self.fails("is in use", {"port": other.getsockname()[1]})

    def test_certificates(self) -> None:
        """A certificate that is not there, cannot be read, is none, or has another key: never plain HTTP."""
        certificate, key = write_pair(self.directory, "pair", authority=Authority(), ends=90)
        _, other = write_pair(self.directory, "other", authority=Authority(), ends=90)
        tls: dict[str, object] = {"tls_enable": True, "tls_cert_file": certificate, "tls_key_file": key}
        rubbish = self.directory / "rubbish.pem"
        rubbish.write_text("no certificate")
        self.fails("No such file", {**tls, "tls_cert_file": str(self.directory / "none.pem")})
        self.fails("Is a directory", {**tls, "tls_key_file": str(self.directory)})
        self.fails("no usable PEM", {**tls, "tls_cert_file": str(rubbish)})
        self.fails("not the key", {**tls, "tls_key_file": other})
