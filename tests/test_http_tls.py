"""HTTPS towards vendors: who is not who we asked for gets no request; cancelling works inside TLS."""

from __future__ import annotations

import ipaddress
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor, ssl
from twisted.web.client import BrowserLikePolicyForHTTPS

from tests.dangers import shows
from tests.vendor import VendorTestCase, answer, chunk, head
from voxray.errors import ErrorKind, ProviderError
from voxray.http import HttpClient, HttpRequest
from voxray.retries import NEVER


def certificate(
    address: str, days: int = 1, begins: int = -9, issuer: str = "vendor"
) -> ssl.PrivateCertificate:
    """Self-signed (or so it says), for an IP address; negative days: expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vendor")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return ssl.PrivateCertificate.loadPEM(built.public_bytes(pem) + private)


@shows("F15")
class TlsTests(VendorTestCase):
    async def serve(self, theirs: ssl.PrivateCertificate, trusted: bool) -> HttpRequest:
        """A vendor with this certificate; a client that trusts it or only the system's authorities."""
        await self._close()
        self.port = reactor.listenSSL(0, self.vendor, theirs.options(), interface="127.0.0.1")
        policy = (
            BrowserLikePolicyForHTTPS(trustRoot=ssl.trustRootFromCertificates([theirs])) if trusted else None
        )
        self.http = HttpClient(reactor, clock=self.clock, tls_policy=policy)
        url = f"https://127.0.0.1:{self.port.getHost().port}/"
        return HttpRequest("POST", url, "acme", {"Authorization": "Bearer k"}, b"{}", retries=NEVER)

    async def test_good(self) -> None:
        """A certificate that is trusted and names the host: the request is made, the connection kept."""
        ask = await self.serve(certificate("127.0.0.1"), trusted=True)
        self.script([answer(b"hello")])
        for _ in range(2):
            self.assertEqual((await self.http.request(ask)).body, b"hello")
        self.assertEqual(self.vendor.connections, 1)

    @shows("F15")
    async def test_refused(self) -> None:
        """F15: self-signed, another host's name, expired, not valid yet: no request, so no key, is sent.

        The log says which of them it was.
        """
        self.script([answer(b"hello")])
        for theirs, trusted, why in (
            (certificate("127.0.0.1"), False, "it is self-signed"),
            (certificate("127.0.0.1", issuer="somebody"), False, "nobody we trust has issued it"),
            (certificate("10.0.0.1"), True, "it is for another name"),
            (certificate("127.0.0.1", days=-1), True, "it has expired"),
            (certificate("127.0.0.1", begins=1, days=2), True, "it is not valid yet"),
        ):
            ask = await self.serve(theirs, trusted)
            with self.assertRaises(ProviderError) as caught:
                await self.http.request(ask)
            self.assertEqual(caught.exception.kind, ErrorKind.TRANSPORT)
            self.assertIn(f"TLS failed: the certificate was refused, {why}", str(caught.exception))
            self.assertEqual(self.vendor.requests, [])

    async def test_aclose(self) -> None:
        """Closing drops the connection at once: no waiting for the vendor's goodbye."""
        ask = await self.serve(certificate("127.0.0.1"), trusted=True)
        self.script([head(), chunk(b"one")])
        async with aclosing(self.http.stream(ask)) as pieces:
            self.assertEqual(await anext(pieces), b"one")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        await self.vendor_sees_the_end()
