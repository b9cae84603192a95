"""The pair of files, and what is spoken with it (T23)."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority, write_pair
from tests.dangers import shows
from voxray.errors import ConfigError
from voxray.tls import CURVES, FILE_MAX, Pair, load


class Handshake:
    """A client of Python's ssl module and our context, over memory."""

    def __init__(self, context: SSL.Context, **client: Any) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ours.check_hostname, ours.verify_mode = False, ssl.CERT_NONE
        ours.set_ciphers("ALL:@SECLEVEL=0")
        for name, value in client.items():
            attribute = getattr(ours, name)
            attribute(value) if callable(attribute) else setattr(ours, name, value)
        self.client = ours.wrap_bio(self._in, self._out, server_hostname="localhost")
        self.server = SSL.Connection(context, None)
        self.server.set_accept_state()

    def shake(self) -> Handshake:
        """Raises ssl.SSLError or SSL.Error when they cannot agree."""
        for _ in range(5):
            try:
                self.client.do_handshake()
            except ssl.SSLWantReadError:
                self._exchange()
            else:
                self._exchange()
                return self
        raise AssertionError("no handshake")

    def _exchange(self) -> None:
        if data := self._out.read():
            self.server.bio_write(data)
        error = None
        try:
            self.server.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as caught:
            error = caught
        try:
            self._in.write(self.server.bio_read(65_536))
        except SSL.WantReadError:
            if error is not None:
                raise error from None


class FilesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def file(self, name: str, data: bytes) -> str:
        path = self.directory / name
        path.write_bytes(data)
        return str(path)


@shows("T23")
class LoadTests(FilesTestCase):
    """Good files are loaded; bad ones are one line that names the key of the configuration."""

    def test_kinds(self) -> None:
        """ECDSA and RSA keys serve."""
        for kind in ("ecdsa", "rsa"):
            pair = load(*write_pair(self.directory, kind=kind))
            cipher = Handshake(pair.context, maximum_version=ssl.TLSVersion.TLSv1_2).shake().client.cipher()
            assert cipher is not None
            self.assertIn(f"ECDHE-{kind.upper()}", cipher[0])

    def test_what_it_says(self) -> None:
        """Hosts and dates are read."""
        pair = load(*write_pair(self.directory, begins=-2, ends=20))
        self.assertEqual(pair.names, ("localhost", "127.0.0.1", "::1"))
        now = time.time()
        self.assertEqual(pair.days_left(now), 19)
        self.assertTrue(pair.valid_at(now))
        self.assertFalse(pair.valid_at(now + 21 * 86_400))
        self.assertFalse(pair.valid_at(now - 3 * 86_400))

    def test_chain(self) -> None:
        """The intermediate in the file is sent: a client that knows the root alone is content."""
        authority = Authority()
        crt, key = write_pair(self.directory, authority=authority)
        pair = load(crt, key)
        self.assertFalse(pair.incomplete)
        trusting = {"load_verify_locations": authority.write_root(self.directory), "check_hostname": True}
        Handshake(pair.context, **trusting, verify_mode=ssl.CERT_REQUIRED).shake()

    def test_incomplete(self) -> None:
        """The certificate without its intermediate is noticed; one that signed itself is whole."""
        crt, key = write_pair(self.directory, authority=Authority())
        first, end, _ = Path(crt).read_bytes().partition(b"-----END CERTIFICATE-----\n")
        self.assertTrue(load(self.file("leaf.crt", first + end), key).incomplete)
        self.assertFalse(load(*write_pair(self.directory, "own")).incomplete)

    def test_mistakes(self) -> None:
        """Each has a text of its own, on one line, without a word of the key."""
        crt, key = write_pair(self.directory)
        _, other = write_pair(self.directory, "other")
        _, locked = write_pair(self.directory, "locked", password=b"x")
        garbage = self.file(
            "garbage.pem", b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"
        )
        empty, huge = self.file("empty", b""), self.file("huge", b"x" * (FILE_MAX + 1))
        half = self.file("half.key", Path(key).read_bytes()[:80])
        for pair, text in (
            (("/nowhere", key), "tls_cert_file: cannot read '/nowhere': No such file"),
            ((crt, "/nowhere"), "tls_key_file: cannot read '/nowhere': No such file"),
            ((str(self.directory), key), "tls_cert_file: cannot read .*: Is a directory"),
            ((garbage, key), "tls_cert_file: no usable PEM certificate in"),
            ((empty, key), "tls_cert_file: no usable PEM certificate in"),
            ((key, key), "tls_cert_file: no usable PEM certificate in"),
            ((huge, key), "tls_cert_file: .* is over 1 MiB"),
            ((crt, empty), "tls_key_file: no usable PEM key in"),
            ((crt, half), "tls_key_file: no usable PEM key in"),
            ((crt, crt), "tls_key_file: no usable PEM key in"),
            ((crt, locked), "tls_key_file: .* has a pass phrase"),
            ((crt, other), "tls_key_file is not the key of the certificate"),
            (("a\nb", key), r"tls_cert_file: cannot read 'a\\nb'"),
        ):
            error = self.assertRaises(ConfigError, load, *pair)
            self.assertRegex(str(error), text)
            self.assertNotIn("\n", str(error))

    def test_no_file_name(self) -> None:
        """A name that no file can have is not a traceback."""
        self.assertRaisesRegex(
            ConfigError, "tls_key_file: cannot read", load, write_pair(self.directory)[0], "a\0b"
        )


@shows("T23")
class ProfileTests(FilesTestCase):
    """Mozilla's intermediate profile; `scripts/check_tls.sh` has sslyze's word on the rest."""

    def setUp(self) -> None:
        super().setUp()
        self.pair: Pair = load(*write_pair(self.directory, kind="rsa"))

    def shake(self, **client: Any) -> Handshake:
        return Handshake(self.pair.context, **client).shake()

    def test_versions(self) -> None:
        """1.2 and 1.3, and nothing older."""
        for version, spoken in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            self.assertEqual(self.shake(maximum_version=version).client.version(), spoken)
        with self.assertRaises((ssl.SSLError, SSL.Error)):
            self.shake(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)

    def test_ciphers(self) -> None:
        """No RSA key exchange, no CBC."""
        for weak in ("AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384"):
            with self.assertRaises((ssl.SSLError, SSL.Error)):
                self.shake(set_ciphers=f"{weak}:@SECLEVEL=0", maximum_version=ssl.TLSVersion.TLSv1_2)

    def test_order(self) -> None:
        """AES-128 before AES-256; ChaCha20 for those alone who name it first."""
        small, large, chacha = (
            "ECDHE-RSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES256-GCM-SHA384",
            "ECDHE-RSA-CHACHA20-POLY1305",
        )
        for offered, chosen in (((large, small), small), ((chacha, small), chacha), ((large, chacha), large)):
            cipher = self.shake(
                set_ciphers=":".join(offered), maximum_version=ssl.TLSVersion.TLSv1_2
            ).client.cipher()
            assert cipher is not None
            self.assertEqual(cipher[0], chosen)

    def test_curves(self) -> None:
        """X25519 and P-384 are taken, P-521 is not."""
        self.assertEqual(CURVES.split(b":")[0], b"X25519")
        for curve in ("prime256v1", "secp384r1"):
            self.shake(set_ecdh_curve=curve)
        with self.assertRaises((ssl.SSLError, SSL.Error)):
            self.shake(set_ecdh_curve="secp521r1")

    def test_alpn(self) -> None:
        """HTTP/1.1 is agreed on; who offers HTTP/2 alone is spoken to without an agreement."""
        self.assertEqual(
            self.shake(set_alpn_protocols=["h2", "http/1.1"]).client.selected_alpn_protocol(), "http/1.1"
        )
        self.assertIsNone(self.shake(set_alpn_protocols=["h2"]).client.selected_alpn_protocol())
        self.assertIsNone(self.shake().client.selected_alpn_protocol())

    def test_no_resumption(self) -> None:
        """Neither tickets nor remembered sessions."""
        first = self.shake(maximum_version=ssl.TLSVersion.TLSv1_2).client
        assert first.session is not None
        self.assertFalse(first.session.has_ticket)
        self.assertEqual(first.session.id, b"")
