"""How Twilio signs its requests, webhooks and WebSocket upgrades alike.

Sources: Twilio, "Webhooks Security"; the quirks, and the SHA-256 scheme, are those of twilio-python's
RequestValidator, whose vectors are in the tests and which signs there. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from types import MappingProxyType

from voxray.carriers.signing import any_equal, form, raw
from voxray.interfaces import Proof, SignedRequest

SHA1, SHA256 = "HMAC_SHA1", "HMAC_SHA256"
_HASHES = MappingProxyType({SHA1: hashlib.sha1, SHA256: hashlib.sha256})
_HEADER = "x-twilio-signature"
_SETTINGS_HEADER = "x-twilio-webhooks-signature-settings"  # key=...,algorithm=HMAC_SHA256
_URL = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<host>\[[^\]/?#]*\]|[^:/?#]*)(?::(?P<port>[0-9]+))?"
    r"(?P<path>[^?#]*)(?P<rest>.*)",
    re.DOTALL,
)
_BODY_HASH = re.compile(r"[?&]bodySHA256=([0-9a-f]{64})(?:&|\Z)")
_DEFAULT_PORTS = MappingProxyType({"https": ("443",), "wss": ("443", "80")})


def signature(
    auth_token: str, url: str, params: Iterable[tuple[str, str]] = (), algorithm: str = SHA1
) -> str:
    """X-Twilio-Signature of exactly this URL: base64(HMAC(token, url + sorted names and values)).

    Values of a repeated name are sorted and each counted once, as Twilio's own library does.
    """
    signed = url + "".join(name + value for name, value in sorted(set(params)))
    return b64encode(hmac.new(raw(auth_token), raw(signed), _HASHES[algorithm]).digest()).decode("ascii")


def verify(
    auth_tokens: Sequence[str],
    url: str,
    params: Iterable[tuple[str, str]],
    sent: str,
    body: bytes | None = None,
    algorithm: str = SHA1,
) -> bool:
    """Whether `sent` signs `url`, as the carrier dialled it, under any token (two during a rotation).

    Twilio is not consistent about default ports, so the URL is tried with and without; for the
    WebSocket upgrade also with and without a trailing slash. `body`: a JSON webhook's, whose hash is
    in the URL's `bodySHA256`.
    """
    if algorithm not in _HASHES or (body is not None and not _body_matches(url, body)):
        return False
    pairs = list(params) if body is None else []
    made = [
        signature(token, spelling, pairs, algorithm)
        for token in auth_tokens
        if token
        for spelling in _spellings(url)
    ]
    return any_equal(made, [sent])


def algorithm_of(settings: str) -> str:
    """Of X-Twilio-Webhooks-Signature-Settings, which a signature by a shared key comes with; else SHA-1."""
    for part in settings.split(","):
        name, _, value = part.partition("=")
        if name.strip() == "algorithm" and value.strip():
            return value.strip().upper()
    return SHA1


def _body_matches(url: str, body: bytes) -> bool:
    digest = _BODY_HASH.search(url)
    return digest is not None and hmac.compare_digest(digest[1], hashlib.sha256(body).hexdigest())


def _spellings(url: str) -> list[str]:
    """The URL as given, and as Twilio may have spelt it."""
    parts = _URL.fullmatch(url)
    if parts is None or (parts["path"] and not parts["path"].startswith("/")):
        return [url]
    scheme, host, path = parts["scheme"], parts["host"], parts["path"]
    given = f"{host}:{parts['port']}" if parts["port"] else host
    other = [host] if parts["port"] else [f"{host}:{port}" for port in _DEFAULT_PORTS.get(scheme, ("80",))]
    paths = [path]
    if scheme in ("ws", "wss"):
        paths.append(path.removesuffix("/") if path.endswith("/") else f"{path}/")
    return [f"{scheme}://{place}{spelt}{parts['rest']}" for place in (given, *other) for spelt in paths]


class TwilioAuthenticity:
    """`interfaces.Authenticity` for Twilio. Which algorithm was used is Twilio's to say, not ours to try:

    a SHA-1 signature on a request that names SHA-256 is a forgery.
    """

    signs_urls = True
    signs_upgrades = True
    advice = (
        "Twilio signs all it sends: this was sent by somebody else, or a proxy before us took "
        "X-Twilio-Signature away"
    )

    def __init__(self, auth_tokens: Sequence[str]) -> None:
        """The account's auth token, during a rotation both; a shared key's secret counts as one."""
        self._auth_tokens = tuple(token for token in auth_tokens if token)

    def webhook(self, request: SignedRequest, now: float) -> Proof:
        """The URL and the form, or the hash in the URL of a body that is no form."""
        if "json" in request.headers.get("content-type", "").lower():
            return self._judged(request, [], request.body)
        return self._judged(request, form(request.body), None)

    def upgrade(self, request: SignedRequest, now: float) -> Proof:
        return self._judged(request, [], None)

    def _judged(
        self, request: SignedRequest, params: list[tuple[str, str]] | None, body: bytes | None
    ) -> Proof:
        sent = request.headers.get(_HEADER, "")
        if not sent:
            return Proof.UNSIGNED
        algorithm = algorithm_of(request.headers.get(_SETTINGS_HEADER, ""))
        good = params is not None and verify(self._auth_tokens, request.url, params, sent, body, algorithm)
        return Proof.GENUINE if good else Proof.FORGED
