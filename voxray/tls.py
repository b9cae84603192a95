"""A certificate and its key, made into what OpenSSL serves with: Mozilla's *intermediate* profile, 5.7.

TLS 1.2 and 1.3, forward secrecy and authenticated encryption only. The profile leaves the choice of the
cipher to the client; ours is AES, but ChaCha20 for a client that names it first (it has no AES in hardware),
which comes to the same. No session is resumed: tickets would need keys that rotate, and a handshake is a
millisecond. Finite-field Diffie-Hellman, which the profile allows, is left out: slow, and nobody needs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL._util import lib  # for what pyOpenSSL does not offer; Twisted uses it too

from voxray.errors import ConfigError

CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
CIPHERS_13 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
CURVES = b"X25519:prime256v1:secp384r1"
PROTOCOL = b"http/1.1"
FILE_MAX = 1 << 20
OP_PRIORITIZE_CHACHA = 1 << 21  # OpenSSL's; pyOpenSSL has no name for it

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair of files that can serve. Times are seconds since the epoch."""

    context: SSL.Context
    not_before: float
    not_after: float
    names: tuple[str, ...]
    incomplete: bool = False
    """The certificate alone is there, and it did not sign itself: clients may lack what is between."""

    def valid_at(self, now: float) -> bool:
        return self.not_before <= now < self.not_after

    def days_left(self, now: float) -> int:
        """Whole days; negative once it has expired."""
        return math.floor((self.not_after - now) / 86_400)


def load(cert_file: str, key_file: str) -> Pair:
    """Reads both files: blocks. Raises ConfigError, whose text is one line and shows nothing of the key."""
    chain = _chain(_read("tls_cert_file", cert_file), cert_file)
    key = _key(_read("tls_key_file", key_file), key_file)
    leaf = chain[0]
    if _public(leaf) != key.public_key():
        raise ConfigError(
            "tls_key_file is not the key of the certificate in tls_cert_file (of its first, if it holds more)"
        )
    try:
        context = server_context(chain, key)
    except (SSL.Error, ValueError, TypeError) as error:
        raise ConfigError(f"tls_cert_file, tls_key_file: OpenSSL refuses them: {_reason(error)}") from None
    return Pair(
        context,
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
        _names(leaf),
        incomplete=len(chain) == 1 and leaf.issuer != leaf.subject,
    )


def server_context(chain: Sequence[x509.Certificate], key: Key) -> SSL.Context:
    """Raises SSL.Error, ValueError or TypeError for what OpenSSL cannot serve with."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE | OP_PRIORITIZE_CHACHA)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # 34 KB less for a quiet connection
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cipher_list(CIPHERS)
    context.set_tls13_ciphersuites(CIPHERS_13)
    _set_curves(context)
    context.set_alpn_select_callback(_agree)
    context.use_certificate(chain[0])
    for certificate in chain[1:]:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(key)
    context.check_privatekey()
    return context


def _set_curves(context: SSL.Context) -> None:
    """pyOpenSSL knows one curve alone, so this reaches through it; one is what is left when that fails."""
    set_curves = getattr(lib, "SSL_CTX_set1_curves_list", None)
    if set_curves is None or set_curves(context._context, CURVES) != 1:
        context.set_tmp_ecdh(ec.SECP256R1())


def _agree(connection: SSL.Connection, offered: list[bytes]) -> Any:
    """HTTP/1.1 alone: a WebSocket cannot take over an HTTP/2 stream here. Others are served without ALPN."""
    return PROTOCOL if PROTOCOL in offered else SSL.NO_OVERLAPPING_PROTOCOLS


# -- the files -----------------------------------------------------------------
def _read(key: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(FILE_MAX + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file's name"
        raise ConfigError(f"{key}: cannot read {path!a}: {reason}") from None
    if len(data) > FILE_MAX:
        raise ConfigError(f"{key}: {path!a} is over 1 MiB: that is no PEM file")
    return data


def _chain(pem: bytes, path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ConfigError(f"tls_cert_file: no usable PEM certificate in {path!a}") from None


def _key(pem: bytes, path: str) -> Key:
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:  # the library's word for it
        raise ConfigError(f"tls_key_file: {path!a} has a pass phrase: remove it (openssl pkey)") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"tls_key_file: no usable PEM key in {path!a}") from None
    if not isinstance(key, Key):
        raise ConfigError(f"tls_key_file: {path!a} is neither an ECDSA nor an RSA key")
    return key


def _public(leaf: x509.Certificate) -> object:
    try:
        return leaf.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError("tls_cert_file: the certificate's kind of key is not known") from None


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    """The hosts it is for."""
    try:
        listed = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    addresses = listed.get_values_for_type(x509.IPAddress)
    return (*listed.get_values_for_type(x509.DNSName), *map(str, addresses))


def _reason(error: Exception) -> str:
    """OpenSSL's own words for the last thing that went wrong."""
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return str(error.args[0][-1][-1])
    return " ".join(str(error).split())[:200] or type(error).__name__
