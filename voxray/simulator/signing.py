"""How each carrier signs what it sends: the webhook, and where it does so the media socket's upgrade. Pure.

A carrier signs the public URL, as it would have dialled it, whatever address the request really goes to. Each
scheme is read from the carrier's documentation and checked in the tests with the carrier's own library.
Sources: Twilio, "Webhooks Security" and twilio-python 9.13 (HMAC-SHA1, and HMAC-SHA256 under a shared key);
Telnyx, "Webhook signing" (Ed25519); plivo-python's signature_v3 and validate_signature, plivo-stream-sdk-node
for the upgrade; Exotel has none and sends the credentials that stand in the applet's URL.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import string
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SHARED_KEY_ID = "webhooks_sharedkey_0123456789abcdef"


class BadKey(Exception):
    """A key that is none; one line, for people."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a carrier signs with; an empty one leaves its requests unsigned."""

    token: str = field(default="", repr=False)  # Twilio's and Plivo's auth token
    shared_key: str = field(default="", repr=False)  # Twilio's, for SHA-256; empty: the token
    private_key: str = field(default="", repr=False)  # Telnyx's: 32 bytes in base64
    user: str = ""  # Exotel's, as in wss://user:password@host
    password: str = field(default="", repr=False)
    scheme: str = ""  # Twilio "sha256", Plivo "v2", "none"; empty: the carrier's usual one
    signs_get: bool = True  # Telnyx: whether a GET is signed is not documented


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as its signature has it: the public URL with its query, and a POST's form."""

    method: str
    url: str
    form: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""  # what is sent when that is not the form
    content_type: str = "application/x-www-form-urlencoded; charset=UTF-8"

    @property
    def content(self) -> bytes:
        """The bytes of the body."""
        return self.body or urlencode(self.form).encode("ascii")


def outgoing(method: str, url: str, fields: Mapping[str, str]) -> Outgoing:
    """A form by POST, the same names in the query by GET."""
    return Outgoing(method, url, fields) if method == "POST" else Outgoing(method, with_query(url, fields))


def with_query(url: str, fields: Mapping[str, str]) -> str:
    """The URL of a GET with these parameters."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(fields)}" if fields else url


class Signer(Protocol):
    """One carrier's headers. Empty where it signs nothing."""

    def webhook(self, request: Outgoing) -> dict[str, str]: ...

    def upgrade(self, url: str) -> dict[str, str]:
        """Of the media socket's handshake; `url` is `wss://`, as the answer has it."""


class Unsigned:
    """A carrier without a secret."""

    def webhook(self, request: Outgoing) -> dict[str, str]:
        return {}

    def upgrade(self, url: str) -> dict[str, str]:
        return {}


# -- Twilio ------------------------------------------------------------------
def signature(secret: str, url: str, parameters: Mapping[str, str], digest: str = "sha1") -> str:
    """`X-Twilio-Signature`: over the URL as dialled and the sorted, decoded form parameters."""
    signed = url + "".join(name + parameters[name] for name in sorted(parameters))
    return _base64(hmac.new(secret.encode(), signed.encode(), digest).digest())


class TwilioSigner:
    """SHA-1 under the auth token; SHA-256 under a shared key, which a second header then says."""

    def __init__(self, kept: Secrets) -> None:
        self._sha256 = kept.scheme == "sha256"
        self._secret = (kept.shared_key if self._sha256 else "") or kept.token

    def webhook(self, request: Outgoing) -> dict[str, str]:
        return self._signed(request.url, request.form)

    def upgrade(self, url: str) -> dict[str, str]:
        return self._signed(url, {})

    def _signed(self, url: str, form: Mapping[str, str]) -> dict[str, str]:
        if not self._sha256:
            return {"X-Twilio-Signature": signature(self._secret, url, form)}
        return {
            "X-Twilio-Signature": signature(self._secret, url, form, "sha256"),
            "X-Twilio-Webhooks-Signature-Settings": f"key={SHARED_KEY_ID},algorithm=HMAC_SHA256",
        }


# -- Telnyx ------------------------------------------------------------------
def private_key(encoded: str) -> Ed25519PrivateKey:
    """From 32 bytes in base64. Raises BadKey."""
    try:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        raise BadKey("Telnyx's private key is not 32 bytes in base64") from None


def public_key(encoded: str) -> str:
    """What the agent is configured with, in base64. Raises BadKey."""
    return _base64(private_key(encoded).public_key().public_bytes_raw())


class TelnyxSigner:
    """Ed25519 over `timestamp|body`; a GET's body is empty. The upgrade is not documented as signed."""

    def __init__(self, kept: Secrets, wall: Callable[[], float] = time.time) -> None:
        """`wall` is the time of day. Raises BadKey."""
        self._key, self._signs_get, self._wall = private_key(kept.private_key), kept.signs_get, wall

    def webhook(self, request: Outgoing) -> dict[str, str]:
        if request.method == "GET" and not self._signs_get:
            return {}
        timestamp = str(int(self._wall()))
        signed = self._key.sign(timestamp.encode() + b"|" + request.content)
        return {"telnyx-timestamp": timestamp, "telnyx-signature-ed25519": _base64(signed)}

    def upgrade(self, url: str) -> dict[str, str]:
        return {}


# -- Plivo -------------------------------------------------------------------
def plivo_v3(token: str, request: Outgoing, nonce: str) -> str:
    """`X-Plivo-Signature-V3`. A POST without a query has its "?" all the same."""
    parts = urlsplit(request.url)
    signed = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    query = "&".join(f"{name}={value}" for name, value in sorted(parse_qsl(parts.query, True)))
    form = "".join(name + request.form[name] for name in sorted(request.form))
    if query or form:
        signed += f"?{query}"
    if query and form:
        signed += "."
    return _hmac_sha256(token, f"{signed}{form}.{nonce}")


def plivo_v2(token: str, url: str, nonce: str) -> str:
    """`X-Plivo-Signature-V2`: neither query nor form is covered."""
    parts = urlsplit(url)
    return _hmac_sha256(token, urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")) + nonce)


def fresh_nonce() -> str:
    return "".join(secrets.choice(string.digits) for _ in range(20))


class PlivoSigner:
    """V3, or on request V2, with a nonce for each request; `-Ma-` is the main account's, here the same.

    The upgrade is signed as a GET of the `https` URL, as the Node SDK reads it (the Python one differs).
    """

    def __init__(self, kept: Secrets, nonce: Callable[[], str] = fresh_nonce) -> None:
        self._token, self._v2, self._nonce = kept.token, kept.scheme == "v2", nonce

    def webhook(self, request: Outgoing) -> dict[str, str]:
        nonce = self._nonce()
        if self._v2:
            return _plivo_headers("V2", plivo_v2(self._token, request.url, nonce), nonce)
        return _plivo_headers("V3", plivo_v3(self._token, request, nonce), nonce)

    def upgrade(self, url: str) -> dict[str, str]:
        scheme, rest = url.split("://", 1)
        nonce = self._nonce()
        dialled = Outgoing("GET", f"{scheme.replace('ws', 'http')}://{rest}")
        return _plivo_headers("V3", plivo_v3(self._token, dialled, nonce), nonce)


def _plivo_headers(version: str, signed: str, nonce: str) -> dict[str, str]:
    names = (f"X-Plivo-Signature-{version}", f"X-Plivo-Signature-Ma-{version}")
    return dict.fromkeys(names, signed) | {f"X-Plivo-Signature-{version}-Nonce": nonce}


# -- Exotel ------------------------------------------------------------------
def basic(user: str, password: str) -> str:
    """An Authorization header's value."""
    return f"Basic {_base64(f'{user}:{password}'.encode())}"


class BasicSigner:
    """No signature: HTTP Basic, on webhook and upgrade alike."""

    def __init__(self, kept: Secrets) -> None:
        self._headers = {"Authorization": basic(kept.user, kept.password)}

    def webhook(self, request: Outgoing) -> dict[str, str]:
        return dict(self._headers)

    def upgrade(self, url: str) -> dict[str, str]:
        return dict(self._headers)


# -- which -------------------------------------------------------------------
def twilio_signer(kept: Secrets) -> Signer:
    return TwilioSigner(kept) if kept.token or kept.shared_key else Unsigned()


def telnyx_signer(kept: Secrets) -> Signer:
    return TelnyxSigner(kept) if kept.private_key else Unsigned()


def plivo_signer(kept: Secrets) -> Signer:
    return PlivoSigner(kept) if kept.token else Unsigned()


def exotel_signer(kept: Secrets) -> Signer:
    return BasicSigner(kept) if kept.user or kept.password else Unsigned()


def _hmac_sha256(key: str, text: str) -> str:
    return _base64(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest())


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
