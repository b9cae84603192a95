"""Stream tokens: what ties a media socket to the call whose answer document named it.

A token is `base64url(expiry|carrier|subject|nonce).base64url(HMAC-SHA256)`. Its subject is the carrier's id
of the call, or `dial:` and our id of a call that we placed and whose own id nobody knew yet. It is good for
one stream: `spend` remembers it until it would have expired anyway. It goes into the path of the stream's
URL, never into a query (Twilio drops those), and is never logged. The key may change while tokens are out:
those stay good until they expire.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

DIAL = "dial:"
ANY = "any:"  # a carrier that does not tell in its webhook which call it is about
MAX_TOKEN_CHARS = 500  # Twilio's limit for a <Parameter>
MAX_SPENT = 100_000


class Fault(Enum):
    """Why a token is worth nothing; metric labels."""

    MALFORMED = "token_malformed"
    FORGED = "token_forged"
    EXPIRED = "token_expired"
    SPENT = "token_spent"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a genuine token says."""

    carrier: str
    subject: str
    expires_at: float  # wall clock
    nonce: str

    @property
    def dial_id(self) -> str:
        """Our id of the call it was dialled as; empty when the subject is the carrier's id."""
        return self.subject.removeprefix(DIAL) if self.subject.startswith(DIAL) else ""


class StreamTokens:
    """Mints, reads and spends them. `now` is the wall clock's: nodes share the key, and so must share it."""

    def __init__(self, key: bytes, ttl_secs: float) -> None:
        self._key = key
        self.ttl_secs = ttl_secs
        self._last_expiry = 0.0  # of what the key signed
        self._former: dict[bytes, float] = {}  # keys that were in use -> until when their tokens are good
        self._spent: OrderedDict[str, float] = OrderedDict()

    def sign_with(self, key: bytes, now: float) -> None:
        """From now on; what was signed before stays good, also what another node with the old key signs."""
        if key != self._key:
            self._former[self._key] = max(self._last_expiry, now + self.ttl_secs)
            self._former.pop(key, None)
            self._key, self._last_expiry = key, 0.0

    def mint(self, carrier: str, subject: str, now: float) -> str:
        """A new token; the subject has no `|` in it (no carrier's id has)."""
        expiry = int(now + self.ttl_secs)
        self._last_expiry = max(self._last_expiry, expiry)
        words = f"{expiry}|{carrier}|{subject}|{secrets.token_urlsafe(12)}"
        claim = urlsafe_b64encode(words.encode("utf-8")).rstrip(b"=")
        return f"{claim.decode('ascii')}.{_sign(self._key, claim)}"

    def read(self, token: str, now: float) -> Claim | Fault:
        """What it claims, if it is ours, in time and not spent."""
        claim, dot, signature = token.partition(".")
        if not (dot and token.isascii() and len(token) <= MAX_TOKEN_CHARS):
            return Fault.MALFORMED
        keys = self._keys(now)
        if not any(hmac.compare_digest(_sign(key, claim.encode("ascii")), signature) for key in keys):
            return Fault.FORGED
        # From here on it is our own writing.
        expiry, carrier, subject, nonce = (
            urlsafe_b64decode(claim + "=" * (-len(claim) % 4)).decode("utf-8").split("|")
        )
        if now >= float(expiry):
            return Fault.EXPIRED
        if nonce in self._spent:
            return Fault.SPENT
        return Claim(carrier, subject, float(expiry), nonce)

    def spend(self, claim: Claim, now: float) -> Fault | None:
        """Uses it up; why not, when it is too late or somebody was faster."""
        if now >= claim.expires_at:
            return Fault.EXPIRED
        if claim.nonce in self._spent:
            return Fault.SPENT
        self._spent[claim.nonce] = claim.expires_at
        while self._spent:
            nonce, expires_at = next(iter(self._spent.items()))
            if expires_at > now and len(self._spent) <= MAX_SPENT:
                break
            del self._spent[nonce]
        return None

    def _keys(self, now: float) -> tuple[bytes, ...]:
        """Those whose tokens may be good."""
        if self._former:
            self._former = {key: until for key, until in self._former.items() if now < until}
        return (self._key, *self._former)


def _sign(key: bytes, claim: bytes) -> str:
    digest = hmac.new(key, claim, hashlib.sha256).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
