"""Telnyx's signatures: a vector made with the RFC's key, and what libsodium signs."""

from __future__ import annotations

import importlib.util
import json
from base64 import b64decode, b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.carriers.telnyx_signature import TOLERANCE_SECS, TelnyxAuthenticity, judge, public_key
from voxray.interfaces import Proof, SignedRequest

DATA = Path(__file__).parent / "data" / "telnyx"
URL = "https://voice.example.com/"
NOW = 1_700_000_000
BODY = b"CallSid=v3%3AT02l&From=%2B13122010094&To=%2b13122123456"
HAVE_NACL = importlib.util.find_spec("nacl") is not None


@shows("T2")
class SignatureTests(SynchronousTestCase):
    """Ed25519 over timestamp|body."""

    vector: dict[str, Any] = json.loads((DATA / "signatures.json").read_text())[0]
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["private_seed_hex"]))
    key = public_key(vector["public_key_base64"])
    other = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    timestamp = vector["headers"]["telnyx-timestamp"]
    body = vector["raw_body"].encode()
    now = float(timestamp)

    def test_vector(self) -> None:
        """The vector passes, under the second of two keys too, and within five minutes either way."""
        sent = self.vector["signature"]
        for keys in ([self.key], [self.other, self.key]):
            for off in (-TOLERANCE_SECS, 0.0, TOLERANCE_SECS):
                proof = judge(keys, self.timestamp, self.body, sent, self.now + off)
                self.assertIs(proof, Proof.GENUINE)

    def test_rfc_8032(self) -> None:
        """The primitive is the RFC's: TEST 1's key signs an empty message as printed there."""
        vector = json.loads((DATA / "signatures.json").read_text())[1]
        key = public_key(b64encode(bytes.fromhex(vector["public_key_hex"])).decode())
        key.verify(bytes.fromhex(vector["signature_hex"]), b"")

    def test_anything_changed(self) -> None:
        """Time, body, signature, key: each is refused."""
        sent, body = self.vector["signature"], self.body
        for keys, timestamp, signed, signature in (
            ([self.other], self.timestamp, body, sent),
            ([], self.timestamp, body, sent),
            ([self.key], "1700000001", body, sent),
            ([self.key], "01700000000", body, sent),
            ([self.key], self.timestamp, body + b" ", sent),
            ([self.key], self.timestamp, b"", sent),
        ):
            self.assertIs(judge(keys, timestamp, signed, signature, self.now), Proof.FORGED)
        for i in range(len(sent)):
            for bit in (1, 0x20):
                flipped = sent[:i] + chr(ord(sent[i]) ^ bit) + sent[i + 1 :]
                self.assertIs(judge([self.key], self.timestamp, body, flipped, self.now), Proof.FORGED)
        for i in range(len(body)):
            spoilt = body[:i] + bytes([body[i] ^ 1]) + body[i + 1 :]
            self.assertIs(judge([self.key], self.timestamp, spoilt, sent, self.now), Proof.FORGED)

    def test_spelling(self) -> None:
        """A signature has one spelling: what base64 would read as the same bytes is another text."""
        sent = self.vector["signature"]
        self.assertTrue(sent.endswith("Bg=="))
        same = sent[:-3] + "h=="
        self.assertEqual(b64decode(same), b64decode(sent))
        for text in (same, sent.rstrip("="), sent + "=", f" {sent}", sent + "\n"):
            self.assertIs(judge([self.key], self.timestamp, self.body, text, self.now), Proof.FORGED)

    @shows("T4")
    def test_stale(self) -> None:
        """More than five minutes off, either way: perhaps a replay. A forgery's age does not matter."""
        sent = self.vector["signature"]
        for off in (-TOLERANCE_SECS - 1, TOLERANCE_SECS + 1, -1e12, 1e12, float("nan"), float("inf")):
            at = self.now + off
            self.assertIs(judge([self.key], self.timestamp, self.body, sent, at), Proof.STALE)
            self.assertIs(judge([self.key], self.timestamp, b"x", sent, at), Proof.FORGED)

    @settings(max_examples=300, deadline=None)
    @given(st.text(max_size=30), st.text(max_size=90), st.binary(max_size=40))
    def test_nonsense(self, timestamp: str, sent: str, body: bytes) -> None:
        """Headers of any kind are refused, never an error."""
        self.assertIs(judge([self.key], timestamp, body, sent, self.now), Proof.FORGED)
        self.assertIs(judge([self.key], self.timestamp, body, sent, self.now), Proof.FORGED)

    @settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=200))
    def test_every_body(self, body: bytes) -> None:
        """Bodies are signed as bytes: what is no UTF-8, or would change when decoded, passes as it is."""
        sent = b64encode(self.private.sign(b"1700000000|" + body)).decode()
        self.assertIs(judge([self.key], "1700000000", body, sent, self.now), Proof.GENUINE)

    def test_bad_keys(self) -> None:
        """A key that is none is said to be, at once."""
        for text in ("", "x", "é", b64encode(bytes(31)).decode(), "-----BEGIN PUBLIC KEY-----"):
            with self.assertRaisesRegex(ValueError, "32 bytes in base64"):
                public_key(text)
        public_key(f" {self.vector['public_key_base64']}\n")


@shows("T2")
class AuthenticityTests(SynchronousTestCase):
    """Webhooks, signed by libsodium."""

    if not HAVE_NACL:
        skip = "the pynacl package is not installed (make dev)"

    def setUp(self) -> None:
        from nacl.signing import SigningKey

        self.key = SigningKey(bytes(range(32)))
        self.text = b64encode(self.key.verify_key.encode()).decode()
        self.check = TelnyxAuthenticity([self.text])

    def signed(self, at: int = NOW, body: bytes = BODY, method: str = "POST") -> SignedRequest:
        made = self.key.sign(b"%d|%b" % (at, body)).signature
        headers = {"telnyx-timestamp": str(at), "telnyx-signature-ed25519": b64encode(made).decode()}
        return SignedRequest(method, URL, headers, body)

    def test_genuine(self) -> None:
        """A form just as it came: re-encoding it would change its escapes."""
        for request in (self.signed(), self.signed(body=b"\xff\x00|")):
            self.assertIs(self.check.webhook(request, NOW), Proof.GENUINE)
        spelt = replace(self.signed(), body=BODY.replace(b"%2b", b"%2B"))
        self.assertIs(self.check.webhook(spelt, NOW), Proof.FORGED)

    def test_get(self) -> None:
        """Its parameters are in the URL, which no signature covers: it proves nothing."""
        for body in (b"", BODY):
            self.assertIs(self.check.webhook(self.signed(body=body, method="GET"), NOW), Proof.UNSIGNED)

    def test_rotation(self) -> None:
        """Either of two keys will do."""
        other = b64encode(bytes(Ed25519PrivateKey.generate().public_key().public_bytes_raw())).decode()
        for keys, proof in (([other, self.text], Proof.GENUINE), ([self.text, other], Proof.GENUINE)):
            self.assertIs(TelnyxAuthenticity(keys).webhook(self.signed(), NOW), proof)
        self.assertIs(TelnyxAuthenticity([other]).webhook(self.signed(), NOW), Proof.FORGED)

    def test_unsigned(self) -> None:
        """Either header alone is nothing."""
        signed = self.signed()
        for name in signed.headers:
            for headers in (
                {k: v for k, v in signed.headers.items() if k != name}, {**signed.headers, name: ""}, {},
            ):  # fmt: skip
                self.assertIs(self.check.webhook(replace(signed, headers=headers), NOW), Proof.UNSIGNED)

    @shows("T4")
    def test_stale(self) -> None:
        """A replay after five minutes is known as one."""
        for at in (NOW - 301, NOW + 301):
            self.assertIs(self.check.webhook(self.signed(at), NOW), Proof.STALE)
        for at in (NOW - 300, NOW + 300):
            self.assertIs(self.check.webhook(self.signed(at), NOW), Proof.GENUINE)

    def test_forged(self) -> None:
        """A time moved into the present, another's body, another's key."""
        old, signed = self.signed(NOW - 1000), self.signed()
        moved = {**old.headers, "telnyx-timestamp": str(NOW)}
        self.assertIs(self.check.webhook(replace(old, headers=moved), NOW), Proof.FORGED)
        self.assertIs(self.check.webhook(replace(signed, body=BODY + b"&To=%2B1900"), NOW), Proof.FORGED)
        stranger = TelnyxAuthenticity([AuthenticityTests.stranger()])
        self.assertIs(stranger.webhook(signed, NOW), Proof.FORGED)

    @staticmethod
    def stranger() -> str:
        return b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()

    def test_upgrade(self) -> None:
        """Nothing of an upgrade is signed, whatever headers it has."""
        self.assertFalse(self.check.signs_upgrades)
        self.assertFalse(self.check.signs_urls)
        self.assertIs(self.check.upgrade(self.signed(body=b"", method="GET"), NOW), Proof.UNSIGNED)

    def test_advice(self) -> None:
        """Who comes unsigned is told what to change: it is the method, as a rule."""
        self.assertIn("method to POST in the TeXML application", self.check.advice)
