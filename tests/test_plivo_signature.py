"""Plivo's signatures, by its published vectors and as its own library makes them."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.carriers.plivo_signature import (
    PlivoAuthenticity,
    signature_v1,
    signature_v2,
    signature_v3,
    verify,
    verify_upgrade,
)
from voxray.interfaces import Proof, SignedRequest

DATA = Path(__file__).parent / "data" / "plivo"
FORM = json.loads((DATA / "webhook.json").read_text())["request"]["form"]
TOKEN, NONCE = "Y2Q2ZDgxZmY5YWRiOTI5YmQ1Njg0MTAxZWIyOTc4", "31627761595286130198"
URL = "https://voice.example.com/?a=1"
V3, V2 = "x-plivo-signature-v3", "x-plivo-signature-v2"
HAVE_SDK = importlib.util.find_spec("plivo") is not None
NO_SDK = "the plivo package is not installed (make dev)"


@shows("T2")
class SignatureTests(SynchronousTestCase):
    """The vendor's published vectors, and what must not pass."""

    vectors: list[dict[str, Any]] = json.loads((DATA / "signatures.json").read_text())

    def signed(self, vector: dict[str, Any]) -> str:
        token, url, pairs = vector["auth_token"], vector["url"], list(vector.get("params", {}).items())
        if vector["scheme"] == "plivo-v3":
            return signature_v3(token, vector["method"], url, vector["nonce"], pairs)
        if vector["scheme"] == "plivo-v2":
            return signature_v2(token, url, vector["nonce"])
        self.assertEqual(vector["scheme"], "plivo-v1")
        return signature_v1(token, url, pairs)

    def test_vectors(self) -> None:
        """Every vector is computed as published."""
        self.assertEqual(len(self.vectors), 7)
        for vector in self.vectors:
            self.assertEqual(self.signed(vector), vector["signature"], vector["id"])

    def arguments(self, vector: dict[str, Any]) -> tuple[str, str, list[tuple[str, str]], dict[str, str]]:
        headers = {vector["header"]: vector["signature"], vector["nonce_header"]: vector["nonce"]}
        pairs = list(vector.get("params", {}).items())
        return vector.get("method", "POST"), vector["url"], pairs, headers

    def test_verified(self) -> None:
        """Each V3 and V2 passes, under the second of two tokens too, in lower-case headers, among others."""
        for vector in self.vectors:
            if vector["scheme"] == "plivo-v1":
                continue
            method, url, pairs, headers = self.arguments(vector)
            token, name = vector["auth_token"], vector["header"]
            self.assertTrue(verify([token], method, url, pairs, headers), vector["id"])
            self.assertTrue(verify(["other", token], method, url, pairs, headers))
            self.assertTrue(verify([token], method, url, pairs, {k.lower(): v for k, v in headers.items()}))
            listed = {**headers, name: f"AAAA, {headers[name]}"}
            self.assertTrue(verify([token], method, url, pairs, listed))
            main = {name.replace("-V", "-Ma-V"): headers[name], name: "AAAA"}
            self.assertTrue(verify([token], method, url, pairs, {**headers, **main}))

    def test_query_in_the_url(self) -> None:
        """A GET's parameters are signed the same whether they are told apart from the URL or not."""
        vector = next(v for v in self.vectors if v["id"] == "v3-get-query")
        method, url, pairs, headers = self.arguments(vector)
        whole = f"{url}&{urlencode(pairs, quote_via=quote)}"
        self.assertTrue(verify([vector["auth_token"]], method, whole, [], headers))
        self.assertTrue(verify([vector["auth_token"]], method, whole, pairs, headers))

    def test_anything_changed(self) -> None:
        """A byte of the signature or nonce, a parameter, the URL, method or token: each is refused."""
        vector = next(v for v in self.vectors if v["id"] == "v3-post-query")
        method, url, pairs, headers = self.arguments(vector)
        token, name, nonce = vector["auth_token"], vector["header"], vector["nonce_header"]
        good = headers[name]
        for i, char in enumerate(good):
            spoilt = good[:i] + ("A" if char != "A" else "B") + good[i + 1 :]
            self.assertFalse(verify([token], method, url, pairs, {**headers, name: spoilt}), i)
        wrong = [
            ([token], "GET", url, pairs, headers),
            ([token], method, url + "x", pairs, headers),
            ([token], method, url.replace("https", "http"), pairs, headers),
            ([token], method, url, pairs[1:], headers),
            ([token], method, url, [*pairs, ("A", "b")], headers),
            ([token + "x"], method, url, pairs, headers),
            ([], method, url, pairs, headers),
            ([""], method, url, pairs, headers),
            ([token], method, url, pairs, {**headers, nonce: "1"}),
            ([token], method, url, pairs, {**headers, nonce: ""}),
            ([token], method, url, pairs, {name: good}),
            ([token], method, url, pairs, {**headers, name: ""}),
            ([token], method, url, pairs, {**headers, name: ",,"}),
            ([token], method, url, pairs, {**headers, name: "é\ud800"}),
            ([token], method, url, pairs, {}),
        ]
        for arguments in wrong:
            self.assertFalse(verify(*arguments), arguments)

    def test_what_anybody_could_sign(self) -> None:
        """A signature under an empty token, or over no nonce, is none: the first is a secret nobody set."""
        url = "https://h.example/"
        for token, nonce in (("", "1"), ("token", "")):
            for version, made in (
                ("V3", signature_v3(token, "POST", url, nonce)),
                ("V2", signature_v2(token, url, nonce)),
            ):
                headers = {f"X-Plivo-Signature-{version}": made, f"X-Plivo-Signature-{version}-Nonce": nonce}
                self.assertFalse(verify([token], "POST", url, [], headers))

    def test_v3_decides(self) -> None:
        """Where a V3 signature was sent, a good V2 does not help; a V1 never does."""
        token, url = "token", "https://h.example/"
        v2 = {"X-Plivo-Signature-V2": signature_v2(token, url, "1"), "X-Plivo-Signature-V2-Nonce": "1"}
        self.assertTrue(verify([token], "POST", url, [], v2))
        bad_v3 = {"X-Plivo-Signature-V3": "AAAA", "X-Plivo-Signature-V3-Nonce": "1"}
        self.assertFalse(verify([token], "POST", url, [], {**v2, **bad_v3}))
        self.assertFalse(verify([token], "POST", url, [], {"X-Plivo-Signature": signature_v1(token, url)}))

    @shows("T3")
    def test_upgrade(self) -> None:
        """The upgrade is a GET under any of four schemes, and of no other host or path."""
        url = "wss://voice.example.com/telephony/ws"
        for scheme in ("https", "wss", "http", "ws"):
            signed = url.replace("wss", scheme)
            headers = {
                "X-Plivo-Signature-V3": signature_v3("token", "GET", signed, "99"),
                "X-Plivo-Signature-V3-Nonce": "99",
            }
            self.assertTrue(verify_upgrade(["token"], url, headers), scheme)
            self.assertFalse(verify_upgrade(["token"], url + "/x", headers))
            self.assertFalse(verify_upgrade(["token"], url.replace("voice", "other"), headers))
            self.assertFalse(verify_upgrade(["nekot"], url, headers))


NAMES = st.text("abAB019-_ .", min_size=1, max_size=6)
# Of a query the Python library reads each byte as a character of its own, so beyond ASCII it disagrees with
# Plivo's other libraries; of a form it does not.
ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


@shows("T2")
class VendorSignatureTests(SynchronousTestCase):
    """The vendor's own library says yes to what we sign, and no where we say no."""

    if not HAVE_SDK:
        skip = NO_SDK

    @settings(max_examples=400, deadline=None)
    @given(
        method=st.sampled_from(["GET", "POST"]),
        query=st.dictionaries(NAMES, ASCII, max_size=3),
        form=st.dictionaries(NAMES, st.one_of(ASCII, st.text(max_size=9)), max_size=4),
        nonce=st.text("0123456789", min_size=1, max_size=20),
    )
    def test_v3(self, method: str, query: dict[str, str], form: dict[str, str], nonce: str) -> None:
        """Any request: our V3 signature is valid there, and one of another token is not."""
        from plivo.utils import validate_v3_signature

        url = "https://voice.example.com/" + (f"?{urlencode(query)}" if query else "")
        for token, valid in (("token", True), ("other", False)):
            made = signature_v3(token, method, url, nonce, form.items())
            # It changes the parameters it is given.
            said = validate_v3_signature(method, url, nonce, "token", made, dict(form))
            self.assertEqual(said, valid)
            headers = {"X-Plivo-Signature-V3": made, "X-Plivo-Signature-V3-Nonce": nonce}
            self.assertEqual(verify(["token"], method, url, form.items(), headers), valid)

    def test_v2(self) -> None:
        """V2 too."""
        from plivo.utils import validate_signature

        url = "https://voice.example.com/x?a=b"
        self.assertTrue(validate_signature(url, "12345", signature_v2("token", url, "12345"), "token"))
        self.assertFalse(validate_signature(url, "12345", signature_v2("other", url, "12345"), "token"))


def flips(text: str) -> list[str]:
    """`text` with each of its characters changed, one at a time, in its lowest bit and in its case."""
    return [text[:i] + chr(ord(text[i]) ^ bit) + text[i + 1 :] for i in range(len(text)) for bit in (1, 0x20)]


@shows("T2")
class AuthenticityTests(SynchronousTestCase):
    """Webhooks and upgrades, signed by plivo's own functions."""

    if not HAVE_SDK:
        skip = NO_SDK

    def setUp(self) -> None:
        self.check = PlivoAuthenticity([TOKEN])

    def v3(self, method: str, url: str, form: dict[str, str]) -> dict[str, str]:
        """The headers that Plivo sends with V3."""
        from plivo.utils.signature_v3 import construct_get_url, construct_post_url, get_signature_v3

        construct = construct_get_url if method == "GET" else construct_post_url
        base = construct(url, dict(form)).decode()
        return {V3: get_signature_v3(TOKEN, base, NONCE).decode(), f"{V3}-nonce": NONCE}

    def signed(self, method: str = "POST", url: str = URL) -> SignedRequest:
        """A webhook, its parameters where its method has them."""
        if method == "GET":
            url = f"{url}&{urlencode(FORM)}"
            return SignedRequest(method, url, self.v3(method, url, {}))
        return SignedRequest(method, url, self.v3(method, url, FORM), urlencode(FORM).encode())

    def webhook(self, request: SignedRequest) -> Proof:
        return self.check.webhook(request, 0.0)

    def test_genuine(self) -> None:
        """By POST and by GET, in a list of signatures, by the main account's."""
        for method in ("POST", "GET"):
            signed = self.signed(method)
            good = signed.headers[V3]
            self.assertIs(self.webhook(signed), Proof.GENUINE)
            for headers in ({V3: f"AAAA,{good}"}, {V3: "AAAA", "x-plivo-signature-ma-v3": good}):
                request = replace(signed, headers={**signed.headers, **headers})
                self.assertIs(self.webhook(request), Proof.GENUINE)

    def test_rotation(self) -> None:
        """Either of two tokens will do; a third, or none, will not."""
        for tokens, proof in (
            (["x", TOKEN], Proof.GENUINE),
            ([TOKEN, "x"], Proof.GENUINE),
            (["x"], Proof.FORGED),
            ([""], Proof.FORGED),
        ):
            self.assertIs(PlivoAuthenticity(tokens).webhook(self.signed(), 0.0), proof)

    def test_v2(self) -> None:
        """An account that sends no V3 is believed by V2; where V3 was sent, V2 does not help."""
        v2 = {V2: signature_v2(TOKEN, URL, NONCE), f"{V2}-nonce": NONCE}
        request = SignedRequest("POST", URL, v2, urlencode(FORM).encode())
        self.assertIs(self.webhook(request), Proof.GENUINE)
        both = {**v2, V3: "AAAA", f"{V3}-nonce": NONCE}
        self.assertIs(self.webhook(replace(request, headers=both)), Proof.FORGED)

    def test_unsigned(self) -> None:
        """Without a signature, or with the legacy's alone, which is not taken, a request is unsigned."""
        signed = self.signed()
        v1 = {"x-plivo-signature": signature_v1(TOKEN, URL, FORM.items())}
        for headers in ({}, {f"{V3}-nonce": NONCE}, {V3: ""}, {V3: " , "}, {V2: ""}, v1):
            self.assertIs(self.webhook(replace(signed, headers=headers)), Proof.UNSIGNED)
        without_nonce = {V3: signed.headers[V3]}
        self.assertIs(self.webhook(replace(signed, headers=without_nonce)), Proof.FORGED)

    def test_anything_changed(self) -> None:
        """Each character of signature, nonce, URL and every parameter counts, and so does a form's method."""
        self.assertIs(self.webhook(replace(self.signed(), method="GET")), Proof.FORGED)
        for method in ("POST", "GET"):
            signed = self.signed(method)
            for name, value in signed.headers.items():
                for spoilt in flips(value):
                    request = replace(signed, headers={**signed.headers, name: spoilt})
                    self.assertIs(self.webhook(request), Proof.FORGED, (name, spoilt))
            for url in (*flips(URL), URL + "x", URL + "&b=1"):
                spoilt = signed.url.replace(URL, url)
                self.assertIs(self.webhook(replace(signed, url=spoilt)), Proof.FORGED, spoilt)
        signed = self.signed()
        for name, value in FORM.items():
            less = {k: v for k, v in FORM.items() if k != name}
            forms = [less, *({**FORM, name: spoilt} for spoilt in flips(value))]
            for form in (*forms, *({**less, spoilt: value} for spoilt in flips(name))):
                request = replace(signed, body=urlencode(form).encode())
                self.assertIs(self.webhook(request), Proof.FORGED, form)

    def test_a_body_cannot_hide(self) -> None:
        """Under the signature of a POST without parameters no body passes, whatever it says it is."""
        for content_type in ("application/x-www-form-urlencoded", "application/json", "text/plain", ""):
            headers = {"content-type": content_type, **self.v3("POST", URL, {})}
            request = SignedRequest("POST", URL, headers, b"CallUUID=1&From=1900")
            self.assertIs(self.webhook(request), Proof.FORGED, content_type)
            self.assertIs(self.webhook(replace(request, body=b"")), Proof.GENUINE)

    def test_upgrade(self) -> None:
        """A match under any scheme proves it; a mismatch proves nothing, so it is no forgery."""
        self.assertFalse(self.check.signs_upgrades)
        self.assertTrue(self.check.signs_urls)
        url = "wss://voice.example.com/telephony/ws"
        for scheme in ("https", "wss", "http", "ws"):
            request = SignedRequest("GET", url, self.v3("GET", url.replace("wss", scheme), {}))
            self.assertIs(self.check.upgrade(request, 0.0), Proof.GENUINE)
            self.assertIs(self.check.upgrade(replace(request, url=url + "/x"), 0.0), Proof.UNSIGNED)
        self.assertIs(self.check.upgrade(SignedRequest("GET", url, {}), 0.0), Proof.UNSIGNED)
        v2 = {V2: signature_v2(TOKEN, url, NONCE), f"{V2}-nonce": NONCE}
        self.assertIs(self.check.upgrade(SignedRequest("GET", url, v2), 0.0), Proof.UNSIGNED)
