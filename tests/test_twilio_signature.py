"""Twilio's signatures, by its published vectors and as its own library makes them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.carriers.twilio_signature import (
    SHA1,
    SHA256,
    TwilioAuthenticity,
    algorithm_of,
    signature,
    verify,
)
from voxray.interfaces import Proof, SignedRequest

DATA = Path(__file__).parent / "data" / "twilio"
TOKEN = "0123456789abcdef0123456789abcdef"
URL = "https://voice.example.com/"
UPGRADE = "wss://voice.example.com/telephony/ws"
FORM = json.loads((DATA / "webhook.json").read_text())["request"]["form"]
HEADER, SETTINGS_HEADER = "x-twilio-signature", "x-twilio-webhooks-signature-settings"
HAVE_SDK = importlib.util.find_spec("twilio") is not None
NO_SDK = "the twilio package is not installed (make dev)"


@shows("T2")
class SignatureTests(SynchronousTestCase):
    """The vendor's published vectors, and what must not pass."""

    vectors: list[dict[str, Any]] = json.loads((DATA / "signatures.json").read_text())

    def pairs(self, vector: dict[str, Any]) -> list[tuple[str, str]]:
        return [(name, value) for name, value in vector["params"]]

    def test_vectors(self) -> None:
        """Every vector is computed as published."""
        self.assertGreaterEqual(len(self.vectors), 9)
        for vector in self.vectors:
            made = signature(vector["auth_token"], vector["signed_url"], self.pairs(vector))
            self.assertEqual(made, vector["signature"], vector["id"])

    def test_verified(self) -> None:
        """Each passes verification, under the second of two tokens too."""
        for vector in self.vectors:
            body = vector["body"].encode() if "body" in vector else None
            for tokens in ([vector["auth_token"]], ["other", vector["auth_token"]]):
                self.assertTrue(
                    verify(tokens, vector["signed_url"], self.pairs(vector), vector["signature"], body),
                    vector["id"],
                )

    @shows("T3")
    def test_ports(self) -> None:
        """The default port may be said or not, on either side."""
        for vector in self.vectors:
            if ":443" in vector["signed_url"] or ":80/" in vector["signed_url"]:
                bare = vector["signed_url"].replace(":443", "").replace(":80/", "/")
                self.assertTrue(verify(["12345"], bare, self.pairs(vector), vector["signature"]))
        with_port = signature("12345", "https://h.example/x")
        self.assertTrue(verify(["12345"], "https://h.example:443/x", [], with_port))

    @shows("T3")
    def test_upgrade(self) -> None:
        """The WebSocket upgrade signs the wss URL, with or without a slash; the https one does not pass."""
        token = "0123456789abcdef0123456789abcdef"
        url = "wss://voice.example.com/telephony/ws"
        self.assertEqual(signature(token, url), "3+3+lM+w6eSXkLdlps4uBGueN4g=")
        self.assertEqual(signature(token, url + "/"), "r5+W5nT7WGElFeyO1z7sxm2CL7k=")
        for sent in ("3+3+lM+w6eSXkLdlps4uBGueN4g=", "r5+W5nT7WGElFeyO1z7sxm2CL7k="):
            self.assertTrue(verify([token], url, [], sent))
            self.assertTrue(verify([token], url + "/", [], sent))
            self.assertFalse(verify([token], url.replace("wss", "https"), [], sent))
        self.assertTrue(
            verify([token], url, [], signature(token, "wss://voice.example.com:443/telephony/ws"))
        )

    def test_anything_changed(self) -> None:
        """A byte of the signature, a parameter, the URL, the token, the body: each is refused."""
        vector = next(v for v in self.vectors if v["id"] == "sdk-basic")
        url, pairs, sent = vector["signed_url"], self.pairs(vector), vector["signature"]
        wrong = [
            (["12345"], url, pairs, "x" + sent[1:]),
            (["12345"], url, pairs, ""),
            (["12345"], url, pairs, "é\ud800"),
            (["12345"], url, [*pairs, ("A", "b")], sent),
            (["12345"], url, pairs[1:], sent),
            (["12345"], url + "x", pairs, sent),
            (["12346"], url, pairs, sent),
            ([], url, pairs, sent),
        ]
        for arguments in wrong:
            self.assertFalse(verify(*arguments), arguments)
        json_vector = next(v for v in self.vectors if v["id"] == "sdk-json-body")
        self.assertFalse(verify(["12345"], json_vector["signed_url"], [], json_vector["signature"], b"{}"))

    def test_no_empty_token(self) -> None:
        """A secret that nobody set is none: anybody could sign with it."""
        self.assertFalse(verify([""], URL, [], signature("", URL)))
        request = SignedRequest("GET", URL, {HEADER: signature("", URL)})
        self.assertIs(TwilioAuthenticity(["", ""]).webhook(request, 0.0), Proof.FORGED)


def flips(text: str) -> list[str]:
    """`text` with each of its characters changed, one at a time, in its lowest bit and in its case."""
    return [text[:i] + chr(ord(text[i]) ^ bit) + text[i + 1 :] for i in range(len(text)) for bit in (1, 0x20)]


def post(form: dict[str, str], url: str = URL, **headers: str) -> SignedRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content_type = {"content-type": "application/x-www-form-urlencoded; charset=UTF-8"}
    return SignedRequest("POST", url, {**content_type, **named}, urlencode(form).encode())


@shows("T2")
class AuthenticityTests(SynchronousTestCase):
    """Webhooks and upgrades, signed by twilio's RequestValidator."""

    if not HAVE_SDK:
        skip = NO_SDK

    def setUp(self) -> None:
        self.check = TwilioAuthenticity([TOKEN])

    def sign(self, url: str, form: dict[str, str] | None = None, algorithm: str = SHA1) -> dict[str, str]:
        """The headers that Twilio sends."""
        from twilio.request_validator import RequestValidator

        headers = {HEADER: RequestValidator(TOKEN).compute_signature(url, form or {}, algorithm)}
        if algorithm != SHA1:
            headers[SETTINGS_HEADER] = f"key=webhooks_sharedkey_1,algorithm={algorithm}"
        return headers

    def signed(self, algorithm: str = SHA1) -> SignedRequest:
        request = post(FORM)
        return replace(request, headers={**request.headers, **self.sign(URL, FORM, algorithm)})

    def webhook(self, request: SignedRequest) -> Proof:
        return self.check.webhook(request, 0.0)

    def test_genuine(self) -> None:
        """A form, a GET whose parameters are in its URL, and both algorithms."""
        for algorithm in (SHA1, SHA256):
            self.assertIs(self.webhook(self.signed(algorithm)), Proof.GENUINE)
            url = f"{URL}?{urlencode(FORM)}"
            request = SignedRequest("GET", url, self.sign(url, {}, algorithm))
            self.assertIs(self.webhook(request), Proof.GENUINE)

    def test_rotation(self) -> None:
        """Either of two tokens will do; a third will not."""
        for tokens, proof in (
            (["x", TOKEN], Proof.GENUINE),
            ([TOKEN, "x"], Proof.GENUINE),
            (["x"], Proof.FORGED),
        ):
            self.assertIs(TwilioAuthenticity(tokens).webhook(self.signed(), 0.0), proof)

    def test_json(self) -> None:
        """A body that is no form is covered by its hash in the URL, and by that alone."""
        body = b'{"CallSid":"CA1"}'
        for algorithm in (SHA1, SHA256):
            url = f"{URL}?bodySHA256={hashlib.sha256(body).hexdigest()}"
            headers = {"content-type": "application/json", **self.sign(url, {}, algorithm)}
            request = SignedRequest("POST", url, headers, body)
            self.assertIs(self.webhook(request), Proof.GENUINE)
            for spoilt in (b"", body + b" ", b"CallSid=CA2"):
                self.assertIs(self.webhook(replace(request, body=spoilt)), Proof.FORGED)
        bare = SignedRequest("POST", URL, {"content-type": "application/json", **self.sign(URL)}, body)
        self.assertIs(self.webhook(bare), Proof.FORGED)

    def test_a_body_cannot_hide(self) -> None:
        """Under the signature of a request without parameters no body passes, whatever it says it is."""
        for content_type in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""):
            for method in ("POST", "GET"):
                headers = {"content-type": content_type, **self.sign(URL)}
                request = SignedRequest(method, URL, headers, b"CallSid=CA1&From=%2B1900")
                self.assertIs(self.webhook(request), Proof.FORGED, (method, content_type))
                self.assertIs(self.webhook(replace(request, body=b"")), Proof.GENUINE)

    def test_unsigned(self) -> None:
        """Without its header, or with an empty one, a request is unsigned; the settings sign nothing."""
        signed = self.signed(SHA256)
        without = {name: value for name, value in signed.headers.items() if name != HEADER}
        for headers in (without, {**without, HEADER: ""}, {}):
            self.assertIs(self.webhook(replace(signed, headers=headers)), Proof.UNSIGNED)
            self.assertIs(self.check.upgrade(replace(signed, headers=headers), 0.0), Proof.UNSIGNED)

    def test_anything_changed(self) -> None:
        """Each character of the signature, of every parameter and of the URL counts."""
        for algorithm in (SHA1, SHA256):
            signed = self.signed(algorithm)
            good = signed.headers[HEADER]
            for spoilt in (*flips(good), good[:-1], good + "=", good + ",", f"{good}, {good}"):
                request = replace(signed, headers={**signed.headers, HEADER: spoilt})
                self.assertIs(self.webhook(request), Proof.FORGED)
            for url in (*flips(URL), URL + "x", URL + "?a=b", URL.replace("https", "http")):
                self.assertIs(self.webhook(replace(signed, url=url)), Proof.FORGED, url)
            for name, value in FORM.items():
                less = {k: v for k, v in FORM.items() if k != name}
                forms = [less, *({**FORM, name: spoilt} for spoilt in flips(value))]
                forms += [{**less, spoilt: value} for spoilt in flips(name)]
                for form in forms:
                    request = replace(signed, body=urlencode(form).encode())
                    self.assertIs(self.webhook(request), Proof.FORGED, form)
            more = replace(signed, body=signed.body + b"&Added=1")
            self.assertIs(self.webhook(more), Proof.FORGED)

    def test_no_downgrade(self) -> None:
        """The algorithm is the header's: a signature by the other one, good as it is, is forged."""
        weak, strong = self.signed(SHA1), self.signed(SHA256)
        mixed = {**strong.headers, HEADER: weak.headers[HEADER]}
        self.assertIs(self.webhook(replace(strong, headers=mixed)), Proof.FORGED)
        bare = {name: value for name, value in strong.headers.items() if name != SETTINGS_HEADER}
        self.assertIs(self.webhook(replace(strong, headers=bare)), Proof.FORGED)
        for stated in ("HMAC_SHA256", "hmac_sha256", " HMAC_SHA256 ", "HMAC_SHA256,algorithm=HMAC_SHA1"):
            request = replace(weak, headers={**weak.headers, SETTINGS_HEADER: f"key=k,algorithm={stated}"})
            self.assertIs(self.webhook(request), Proof.FORGED, stated)

    def test_unknown_algorithms(self) -> None:
        """Nothing that we do not know is taken for what we know."""
        for stated in (
            "HMAC_MD5",
            "HMAC_SHA512",
            "none",
            "HMAC_SHA1x",
            "HMAC_SHA1\x00",
            "\ud800",
            "x" * 10_000,
        ):
            for signed in (self.signed(SHA1), self.signed(SHA256)):
                headers = {**signed.headers, SETTINGS_HEADER: f"algorithm={stated}"}
                self.assertIs(self.webhook(replace(signed, headers=headers)), Proof.FORGED, stated)

    def test_algorithm_of(self) -> None:
        """The settings are read as twilio's own library reads them."""
        from twilio.request_validator import get_signature_algorithm

        for text in (
            "", "key=k", "algorithm=", "algorithm", "key=k,algorithm=HMAC_SHA256", "algorithm=\u2028",
            "algorithm = HMAC_SHA256 ,k=1",
            "Algorithm=HMAC_SHA256", "algorithm=,algorithm=HMAC_SHA256",
            "algorithm=HMAC_SHA256=1", ",,,",
        ):  # fmt: skip
            self.assertEqual(algorithm_of(text), get_signature_algorithm(text).upper(), text)

    @shows("T3")
    def test_upgrade(self) -> None:
        """The four ways Twilio may spell the socket's URL pass; another scheme, host or path does not."""
        request = SignedRequest("GET", UPGRADE, {})
        for algorithm in (SHA1, SHA256):
            for url in (
                UPGRADE, f"{UPGRADE}/", "wss://voice.example.com:443/telephony/ws",
                "wss://voice.example.com:443/telephony/ws/",
            ):  # fmt: skip
                signed = replace(request, headers=self.sign(url, {}, algorithm))
                self.assertIs(self.check.upgrade(signed, 0.0), Proof.GENUINE, url)
            for url in (
                UPGRADE.replace("wss", "https"), UPGRADE.replace("wss", "ws"), UPGRADE + "/x",
                f"{UPGRADE}?a=b",
                UPGRADE.replace("voice", "other"), UPGRADE.replace(".com", ".com:8443"), "", *flips(UPGRADE),
            ):  # fmt: skip
                signed = replace(request, headers=self.sign(url, {}, algorithm))
                self.assertIs(self.check.upgrade(signed, 0.0), Proof.FORGED, url)

    @shows("T3", "T28")
    def test_ipv6(self) -> None:
        """A literal address's colons are no port."""
        for ours, theirs in (
            ("wss://[2001:db8::1]/telephony/ws", "wss://[2001:db8::1]:443/telephony/ws/"),
            ("wss://[2001:db8::1]:443/telephony/ws", "wss://[2001:db8::1]/telephony/ws"),
        ):
            request = SignedRequest("GET", ours, self.sign(theirs))
            self.assertIs(self.check.upgrade(request, 0.0), Proof.GENUINE)

    @settings(max_examples=200, deadline=None)
    @given(
        form=st.dictionaries(st.text(max_size=6), st.text(max_size=12), max_size=5),
        query=st.text("ab=&%+?/", max_size=12),
        algorithm=st.sampled_from([SHA1, SHA256]),
    )
    def test_any_form(self, form: dict[str, str], query: str, algorithm: str) -> None:
        """What the vendor signs we take, and the vendor's library takes what we take."""
        from twilio.request_validator import RequestValidator

        url = URL + (f"?{query}" if query else "")
        request = post(form, url)
        headers = {**request.headers, **self.sign(url, form, algorithm)}
        self.assertIs(self.webhook(replace(request, headers=headers)), Proof.GENUINE)
        ours = signature(TOKEN, url, form.items(), algorithm)
        self.assertTrue(RequestValidator(TOKEN).validate(url, form, ours, algorithm))
