"""Certificates and their keys for tests, made on the spot: none to expire in the repository."""

from __future__ import annotations

import datetime
import ipaddress
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
PEM = serialization.Encoding.PEM
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@lru_cache
def rsa_key() -> rsa.RSAPrivateKey:
    """One for the whole run: they take long to make."""
    return rsa.generate_private_key(65_537, 2048)


def write_pair(
    directory: Path,
    name: str = "server",
    password: bytes | None = None,
    *,
    kind: str = "ecdsa",
    begins: float = -1.0,
    ends: float = 1.0,
    authority: Authority | None = None,
    replace: bool = False,
    addresses: tuple[str, ...] = ("127.0.0.1", "::1"),
) -> tuple[str, str]:
    """Writes NAME.crt and NAME.key for localhost and these addresses; returns the two paths.

    Valid from `begins` to `ends`, in days from now; signed by itself, or by an authority, whose intermediate
    certificate is then in the file too. `replace`: each file is replaced in one go, as careful tools do.
    """
    key: PrivateKey = rsa_key() if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
        ]
    )
    signer = Signer("localhost", key) if authority is None else authority.intermediate
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = signer.sign("localhost", key, begins, ends, names, server)
    chain = [certificate] if authority is None else [certificate, authority.intermediate_certificate]
    lock: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    )
    crt, pem = directory / f"{name}.crt", directory / f"{name}.key"
    _write(crt, b"".join(each.public_bytes(PEM) for each in chain), replace)
    _write(pem, key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, lock), replace)
    return str(crt), str(pem)


def _write(path: Path, data: bytes, replace: bool) -> None:
    if not replace:
        path.write_bytes(data)
        return
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(data)
    beside.replace(path)


class Signer:
    """A name and a key that sign certificates."""

    def __init__(self, name: str, key: PrivateKey) -> None:
        self._name, self._key = _name(name), key

    def sign(
        self,
        subject: str,
        key: PrivateKey,
        begins: float,
        ends: float,
        *extensions: x509.ExtensionType,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins * DAY)
            .not_valid_after(now + ends * DAY)
        )
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        for extension in (issuer, own, *extensions):
            critical = isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, hashes.SHA256())


class Authority:
    """A root and an intermediate."""

    def __init__(self) -> None:
        root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self._root = Signer("Test root", root)
        self.intermediate = Signer("Test intermediate", key)
        may_sign = (x509.BasicConstraints(ca=True, path_length=None), _signing())
        self.root_certificate = self._root.sign("Test root", root, -1, 99, *may_sign)
        self.intermediate_certificate = self._root.sign("Test intermediate", key, -1, 99, *may_sign)

    def write_root(self, directory: Path) -> str:
        """What clients have to trust."""
        path = directory / "root.pem"
        path.write_bytes(self.root_certificate.public_bytes(PEM))
        return str(path)


def _signing() -> x509.KeyUsage:
    """What an authority's key is for."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
