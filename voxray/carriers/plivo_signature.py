"""How Plivo signs its requests, in three generations.

Sources: Plivo, "Validating requests", and its Go and Python SDKs, whose vectors are in the tests. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl

from voxray.carriers.signing import any_equal, form, raw
from voxray.interfaces import Proof, SignedRequest

Pairs = Iterable[tuple[str, str]]


def signature_v3(auth_token: str, method: str, url: str, nonce: str, params: Pairs = ()) -> str:
    """X-Plivo-Signature-V3 of exactly this URL: base64(HMAC-SHA256(token, base + "." + nonce)).

    `params` are the form's; a POST with a form and no query is signed with a lone "?" before them.
    """
    base, _, asked_with = url.partition("?")
    query, posted = parse_qsl(asked_with, keep_blank_values=True), list(params)
    if method.upper() == "GET":
        asked = {name for name, _ in query}  # Plivo's library lets the query win over a form
        everything = query + [(name, value) for name, value in posted if name not in asked]
        base += "?" + _query(everything) if everything else ""
    else:
        base += "?" + _query(query) if query or posted else ""
        base += "." if query and posted else ""
        base += "".join(name + value for name, value in sorted(posted))
    return _digest(auth_token, f"{base}.{nonce}", "sha256")


def signature_v2(auth_token: str, url: str, nonce: str) -> str:
    """X-Plivo-Signature-V2. It covers the URL without its query and no parameter: whoever has seen one
    may send others under it. For accounts that still send no V3."""
    return _digest(auth_token, url.partition("?")[0] + nonce, "sha256")


def signature_v1(auth_token: str, url: str, params: Pairs = ()) -> str:
    """X-Plivo-Signature, the legacy: HMAC-SHA1 over the URL and the sorted names and values; no nonce."""
    return _digest(auth_token, url + "".join(name + value for name, value in sorted(params)), "sha1")


def verify(
    auth_tokens: Sequence[str], method: str, url: str, params: Pairs, headers: Mapping[str, str]
) -> bool:
    """Whether `headers` sign the request to `url`, as Plivo dialled it, under any of the tokens.

    V3 decides where it was sent, V2 only where no V3 was; V1 is not taken. Each header may list several
    signatures, and its `Ma` form is by the main account's token when a subaccount owns the call.
    """
    sent = {name.lower(): value for name, value in headers.items()}
    pairs = list(params)
    for version in ("v3", "v2"):
        given = _listed(sent, version)
        if not given:
            continue
        nonce = sent.get(f"x-plivo-signature-{version}-nonce", "")
        made = [
            signature_v3(token, method, url, nonce, pairs)
            if version == "v3"
            else signature_v2(token, url, nonce)
            for token in auth_tokens
            if token
        ]
        return bool(nonce) and any_equal(made, given)
    return False


def verify_upgrade(auth_tokens: Sequence[str], url: str, headers: Mapping[str, str]) -> bool:
    """Whether `headers` sign the WebSocket upgrade to `url`: a GET without form.

    Plivo's SDKs disagree about the scheme that was signed, so all four are tried.
    """
    place = url.partition("://")[2]
    schemes = ("https", "wss", "http", "ws")
    return any(verify(auth_tokens, "GET", f"{scheme}://{place}", (), headers) for scheme in schemes)


def _query(pairs: Pairs) -> str:
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _digest(auth_token: str, signed: str, algorithm: str) -> str:
    digest = hmac.new(raw(auth_token), raw(signed), getattr(hashlib, algorithm)).digest()
    return b64encode(digest).decode("ascii")


def _listed(sent: Mapping[str, str], version: str) -> list[str]:
    names = (f"x-plivo-signature-{version}", f"x-plivo-signature-ma-{version}")
    listed = ",".join(sent.get(name, "") for name in names).split(",")
    return [item.strip() for item in listed if item.strip()]


class PlivoAuthenticity:
    """`interfaces.Authenticity` for Plivo.

    An upgrade is not insisted on: it carries V3 headers, but over which URL is not documented. There a match
    proves something, and a mismatch nothing.
    """

    signs_urls = True
    signs_upgrades = False
    advice = (
        "Plivo signs all it sends: this was sent by somebody else, or a proxy before us took "
        "X-Plivo-Signature-V3 away"
    )

    def __init__(self, auth_tokens: Sequence[str]) -> None:
        """The account's auth token, during a rotation both. A subaccount's calls are signed by both."""
        self._auth_tokens = tuple(token for token in auth_tokens if token)
        self._seen_v3 = False  # genuine: then V2, which covers no parameter, will not do any more

    def webhook(self, request: SignedRequest, now: float) -> Proof:
        headers = request.headers
        has_v3 = bool(_listed(headers, "v3"))
        if not has_v3 and not _listed(headers, "v2"):
            return Proof.UNSIGNED
        if self._seen_v3 and not has_v3:
            return Proof.FORGED
        pairs = form(request.body)
        good = pairs is not None and verify(self._auth_tokens, request.method, request.url, pairs, headers)
        self._seen_v3 |= good and has_v3
        return Proof.GENUINE if good else Proof.FORGED

    def upgrade(self, request: SignedRequest, now: float) -> Proof:
        v3 = {name: value for name, value in request.headers.items() if "-v3" in name}
        good = verify_upgrade(self._auth_tokens, request.url, v3)
        return Proof.GENUINE if good else Proof.UNSIGNED
