"""What the four carriers' proofs of authenticity share, Exotel's password, and how settings make them."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.configs import settings as configured
from tests.dangers import shows
from voxray import catalog_carriers
from voxray.carriers.exotel import ExotelAuthenticity
from voxray.carriers.plivo_signature import PlivoAuthenticity, signature_v2
from voxray.carriers.signing import MAX_FIELDS, form, unpacked
from voxray.carriers.telnyx_signature import TelnyxAuthenticity
from voxray.carriers.twilio_signature import TwilioAuthenticity, signature
from voxray.config.names import KEY_ENV
from voxray.errors import ConfigError
from voxray.interfaces import Authenticity, Proof, SignedRequest

PUBLIC_KEY = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
SECRETS = {
    "twilio": {"twilio_auth_token": "12345"},
    "telnyx": {"telnyx_public_key": PUBLIC_KEY},
    "plivo": {"plivo_auth_token": "12345"},
    "exotel": {"exotel_ws_user": "Aladdin", "exotel_ws_password": "open-sesame"},
}
CHECKS: tuple[Authenticity, ...] = (
    TwilioAuthenticity(["12345", "\ud800"]),
    TelnyxAuthenticity([PUBLIC_KEY]),
    PlivoAuthenticity(["12345", "\ud800"]),
    ExotelAuthenticity("Aladdin", "open sesame"),
)
HEADERS = (
    "x-twilio-signature", "x-twilio-webhooks-signature-settings", "telnyx-timestamp",
    "telnyx-signature-ed25519",
    "x-plivo-signature-v3", "x-plivo-signature-v3-nonce", "x-plivo-signature-ma-v3", "x-plivo-signature-v2",
    "x-plivo-signature-v2-nonce", "authorization", "content-type",
)  # fmt: skip
URLS = (
    "https://voice.example.com/", "wss://[::1]:443/x", "https://[", "https://h:port/", "https://h:99999/", "",
    "\ud800", "//", "https://h/?bodySHA256=" + "0" * 64, "https://u:p@h/", "x" * 100_000, "https://h/\r\n",
)  # fmt: skip
BODIES = (
    b"",
    b"a=b",
    b"\xff\xfe",
    b"%ff=%00&=&&=",
    b"{}",
    b"&" * 100_000,
    b"a" * 200_000,
    "é=\u2028".encode(),
)
ANY = st.text(st.characters(exclude_categories=()), max_size=40)


@shows("T2")
class NonsenseTests(SynchronousTestCase):
    """Nothing that a stranger sends is taken, or raises."""

    @settings(max_examples=300, deadline=None)
    @given(
        method=st.sampled_from(["GET", "POST", "HEAD", "", "é", "\ud800"]),
        url=st.sampled_from(URLS) | ANY,
        headers=st.dictionaries(st.sampled_from(HEADERS), ANY | st.just("application/json")),
        body=st.sampled_from(BODIES) | st.binary(max_size=60),
        now=st.floats(),
    )
    def test_anything(self, method: str, url: str, headers: dict[str, str], body: bytes, now: float) -> None:
        """Any method, URL, headers, body and clock: every check answers, and not with yes."""
        request = SignedRequest(method, url, headers, body)
        for check in CHECKS:
            for judge in (check.webhook, check.upgrade):
                self.assertIn(judge(request, now), (Proof.UNSIGNED, Proof.FORGED, Proof.STALE))

    def test_huge(self) -> None:
        """All that a server would let through in each header and in the URL, and a megabyte of body."""
        for text in ("A" * 100_000, "," * 100_000, "Basic " + "é" * 100_000, "\ud800" * 100_000):
            request = SignedRequest(
                "POST", f"https://h/?{text}", dict.fromkeys(HEADERS, text), b"&=" * 500_000
            )
            for check in CHECKS:
                for judge in (check.webhook, check.upgrade):
                    self.assertIn(judge(request, 0.0), (Proof.UNSIGNED, Proof.FORGED))

    def test_empty(self) -> None:
        """A request without headers is unsigned for every carrier."""
        for check in CHECKS:
            for judge in (check.webhook, check.upgrade):
                self.assertIs(judge(SignedRequest("GET", "https://h/", {}), 0.0), Proof.UNSIGNED)


class FormTests(SynchronousTestCase):
    """The parameters that are signed are those that are acted on."""

    def test_form(self) -> None:
        """Decoded, empty values too, in order, each as often as it came."""
        pairs = form(b"b=%2B1+x&a=&b=2&=z&c&%C3%A9=%e2%82%ac")
        self.assertEqual(pairs, [("b", "+1 x"), ("a", ""), ("b", "2"), ("", "z"), ("c", ""), ("é", "€")])

    def test_unpacked(self) -> None:
        """One spelling of base64, and nothing for anything else."""
        self.assertEqual(unpacked("QUI="), b"AB")
        for text in ("QUI", "QUJ=", "QUI=\n", " QUI=", "QU-I", "é", "\ud800", "====", "QUI=QUI="):
            self.assertEqual(unpacked(text), b"", text)

    def test_too_many(self) -> None:
        """More parameters than any carrier sends are not looked at, and prove nothing."""
        self.assertEqual(len(form(b"&".join([b"a=b"] * MAX_FIELDS)) or ()), MAX_FIELDS)
        body, url = b"&".join([b"a=b"] * (MAX_FIELDS + 1)), "https://h/"
        self.assertIsNone(form(body))
        twilio = {"x-twilio-signature": signature("12345", url, [("a", "b")])}
        v2 = "x-plivo-signature-v2"
        plivo = {v2: signature_v2("12345", url, "1"), f"{v2}-nonce": "1"}
        for check, headers in ((CHECKS[0], twilio), (CHECKS[2], plivo)):
            few = SignedRequest("POST", url, headers, b"a=b")
            self.assertIs(check.webhook(few, 0.0), Proof.GENUINE)
            self.assertIs(check.webhook(replace(few, body=body), 0.0), Proof.FORGED)


class ExotelTests(SynchronousTestCase):
    """HTTP Basic, from the applet's URL."""

    check = ExotelAuthenticity("Aladdin", "open sesame")
    good = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # the RFC's example

    def judged(self, sent: str) -> set[Proof]:
        request = SignedRequest("GET", "wss://h/telephony/ws", {"authorization": sent})
        return {self.check.webhook(request, 0.0), self.check.upgrade(request, 0.0)}

    def test_genuine(self) -> None:
        """On the webhook and on the upgrade; the scheme's case does not matter."""
        for sent in (self.good, self.good.replace("Basic", "basic"), self.good.replace(" ", "  ")):
            self.assertEqual(self.judged(sent), {Proof.GENUINE})
        self.assertTrue(self.check.signs_upgrades)
        self.assertFalse(self.check.signs_urls)

    @shows("T2")
    def test_forged(self) -> None:
        """Another user, password, scheme or spelling; each character of the credentials."""
        pairs = (
            b"Aladdin:open sesame ",
            b"aladdin:open sesame",
            b"Aladdin:",
            b":open sesame",
            b"Aladdin",
            b":",
            b"",
        )
        texts = [f"Basic {b64encode(pair).decode()}" for pair in pairs]
        texts += [
            self.good.replace("Basic", "Bearer"),
            "Basic",
            "Basic ",
            "Basic é",
            self.good[6:],
            "Basic \ud800",
        ]
        texts += [
            f"{self.good}, {self.good}",
            self.good.rstrip("="),
            self.good.replace("Q==", "R=="),
            "x" * 10_000,
        ]
        for i in range(6, len(self.good)):
            for bit in (1, 0x20):
                texts.append(self.good[:i] + chr(ord(self.good[i]) ^ bit) + self.good[i + 1 :])
        for sent in texts:
            self.assertEqual(self.judged(sent), {Proof.FORGED}, sent[:60])

    def test_unsigned(self) -> None:
        """No credentials at all."""
        self.assertEqual(self.judged(""), {Proof.UNSIGNED})

    def test_beyond_ascii(self) -> None:
        """Credentials are UTF-8."""
        check = ExotelAuthenticity("héloïse", "пароль")
        sent = b64encode("héloïse:пароль".encode()).decode()
        request = SignedRequest("GET", "https://h/", {"authorization": f"Basic {sent}"})
        self.assertIs(check.webhook(request, 0.0), Proof.GENUINE)


class CatalogTests(SynchronousTestCase):
    """As the settings make them."""

    def built(self, name: str, **api_keys: str) -> Authenticity | None:
        made = configured({"runner_transport": name, "proxy_host": "h.example", "api_keys": api_keys})
        return catalog_carriers.build_carrier(name).authenticity(made)

    def test_with_the_secret_and_without(self) -> None:
        """Each carrier's is there with its secret and not without; the name of the secret is a key's."""
        for name, secret in SECRETS.items():
            self.assertIsNone(self.built(name))
            check = self.built(name, **secret)
            assert check is not None
            self.assertTrue(check.advice)
            for missing in secret:
                self.assertIsNone(self.built(name, **{**secret, missing: ""}))
            named = re.findall(r"api_keys\.(\w+)", catalog_carriers.build_carrier(name).secret)
            self.assertEqual(set(named), set(secret))
            self.assertLessEqual(set(named), set(KEY_ENV))

    def test_what_is_signed(self) -> None:
        """Who signs URLs needs our public one; whose upgrades are surely signed may be held to it."""
        what = {}
        for name, secret in SECRETS.items():
            check = self.built(name, **secret)
            assert check is not None
            what[name] = (check.signs_urls, check.signs_upgrades)
        expected = {
            "twilio": (True, True),
            "telnyx": (False, False),
            "plivo": (True, False),
            "exotel": (False, True),
        }
        self.assertEqual(what, expected)

    def test_rotation(self) -> None:
        """Two tokens by a comma: both are believed, and the first is the one we use ourselves."""
        url = "https://voice.example.com/"
        check = self.built("twilio", twilio_auth_token=",new,old,")
        assert check is not None
        for token, proof in (("new", Proof.GENUINE), ("old", Proof.GENUINE), ("", Proof.FORGED)):
            request = SignedRequest("GET", url, {"x-twilio-signature": signature(token, url)})
            self.assertIs(check.webhook(request, 0.0), proof)
        self.assertIsNone(self.built("twilio", twilio_auth_token=","))
        self.assertIsNotNone(self.built("telnyx", telnyx_public_key=f"{PUBLIC_KEY},{PUBLIC_KEY}"))
        for name, account in (("twilio", "twilio_account_sid"), ("plivo", "plivo_auth_id")):
            keys = {account: "A", f"{name}_auth_token": "new,old"}
            made = configured({"runner_transport": name, "proxy_host": "h", "api_keys": keys})
            control: Any = catalog_carriers.build_carrier(name).control(made, None, Clock())
            self.assertEqual(control._rest._auth, ("A", "new"))

    def test_a_bad_key(self) -> None:
        """A public key that is none is the owner's to mend, and the line says which."""
        with self.assertRaisesRegex(
            ConfigError, "api_keys.telnyx_public_key: a Telnyx public key is 32 bytes"
        ):
            self.built("telnyx", telnyx_public_key="x")

    def test_exotel_is_always_there(self) -> None:
        """Its control needs no credentials to say that closing transfers; its address can be another."""
        for keys, base_urls, url in (
            ({}, {}, "https://api.in.exotel.com/v1/Accounts//Calls"),
            ({"exotel_account_sid": "a"}, {"exotel": "http://127.0.0.1:9/"}, "http://127.0.0.1:9/v1/Accounts/a/Calls"),
        ):  # fmt: skip
            document = {"runner_transport": "exotel", "api_keys": keys, "base_urls": base_urls}
            control: Any = catalog_carriers.build_carrier("exotel").control(
                configured(document), None, Clock()
            )
            self.assertEqual(control._calls_url, url)


class HeaderTests(SynchronousTestCase):
    """One request under the wrong carrier's eyes."""

    @shows("T2")
    def test_of_another(self) -> None:
        """What proves a request to one carrier is nothing to the others."""
        url = "https://h/"
        request = SignedRequest("GET", url, {"x-twilio-signature": signature("12345", url)})
        self.assertEqual([check.webhook(request, 0.0) for check in CHECKS][1:], [Proof.UNSIGNED] * 3)
        basic = replace(request, headers={"authorization": ExotelTests.good})
        self.assertEqual([check.webhook(basic, 0.0) for check in CHECKS][:3], [Proof.UNSIGNED] * 3)
