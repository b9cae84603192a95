"""What the simulator signs, the carriers' own libraries find genuine; what it signs with is never shown."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey
from plivo.utils import validate_signature, validate_v3_signature
from twilio.request_validator import RequestValidator, get_signature_algorithm
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.carrier_side import PUBLIC, STREAM, TOKEN_PATH, AgentSite, Got
from tests.dangers import shows
from voxray.simulator import cli
from voxray.simulator.caller import SimulatedCall
from voxray.simulator.carriers import CARRIERS
from voxray.simulator.client import place_call, upgrade
from voxray.simulator.masking import masked
from voxray.simulator.result import CallResult
from voxray.simulator.script import Do, Patience, Script, Step
from voxray.simulator.signing import (
    BadKey,
    Outgoing,
    PlivoSigner,
    Secrets,
    TelnyxSigner,
    TwilioSigner,
    outgoing,
    public_key,
)
from voxray.simulator.target import Target, new_ids
from voxray.simulator.wires.vocabulary import Quirks

TOKEN = "12345-token"
SEED = base64.b64encode(bytes(range(32))).decode()
HASTY = Patience(greeting=0.05)
VERIFY_KEY = SigningKey(bytes(range(32))).verify_key

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
forms = st.dictionaries(words, words, max_size=5)
urls = st.sampled_from(
    ["https://voice.example.com/", "https://voice.example.com:8443/a/b", "http://h.example/x"]
)


class SchemeTests(SynchronousTestCase):
    """Pure: request for request, against each vendor's validator."""

    @given(urls, forms, st.sampled_from(["GET", "POST"]), st.sampled_from(["", "sha256"]))
    def test_twilio(self, url: str, form: dict[str, str], method: str, scheme: str) -> None:
        """Any form, by both methods, under the auth token or a shared key; another token's is refused."""
        request = outgoing(method, url, form)
        headers = TwilioSigner(Secrets(TOKEN, shared_key="shared", scheme=scheme)).webhook(request)
        algorithm = get_signature_algorithm(headers.get("X-Twilio-Webhooks-Signature-Settings"))
        self.assertEqual(algorithm, "HMAC_SHA256" if scheme else "HMAC_SHA1")
        secret, sent = "shared" if scheme else TOKEN, headers["X-Twilio-Signature"]
        params = form if method == "POST" else {}
        self.assertTrue(RequestValidator(secret).validate(request.url, params, sent, algorithm))
        self.assertFalse(RequestValidator("other").validate(request.url, params, sent, algorithm))

    def test_twilio_upgrade(self) -> None:
        """The media socket's is over its wss:// URL, without parameters."""
        sent = TwilioSigner(Secrets(TOKEN)).upgrade(STREAM)["X-Twilio-Signature"]
        self.assertTrue(RequestValidator(TOKEN).validate(STREAM, {}, sent))
        self.assertFalse(RequestValidator(TOKEN).validate(STREAM.replace("wss", "https"), {}, sent))

    @given(urls, forms, st.sampled_from(["GET", "POST"]))
    def test_telnyx(self, url: str, form: dict[str, str], method: str) -> None:
        """Ed25519 over the time and the raw body, which a GET has none of."""
        request = outgoing(method, url, form)
        headers = TelnyxSigner(Secrets(private_key=SEED), lambda: 1_700_000_000.9).webhook(request)
        self.assertEqual(headers["telnyx-timestamp"], "1700000000")
        signed = base64.b64decode(headers["telnyx-signature-ed25519"])
        body = b"1700000000|" + (request.content if method == "POST" else b"")
        VerifyKey(base64.b64decode(public_key(SEED))).verify(body, signed)
        self.assertRaises(BadSignatureError, VERIFY_KEY.verify, body + b"x", signed)

    def test_telnyx_in_other_ways(self) -> None:
        """A GET may go unsigned, an upgrade always does; the public key is the seed's; bad keys are said."""
        signer = TelnyxSigner(Secrets(private_key=SEED, signs_get=False))
        self.assertEqual(signer.webhook(Outgoing("GET", "https://h/")), {})
        self.assertIn("telnyx-timestamp", signer.webhook(Outgoing("POST", "https://h/")))
        self.assertEqual(signer.upgrade(STREAM), {})
        self.assertEqual(base64.b64decode(public_key(SEED)), bytes(VERIFY_KEY))
        for bad in ("", "AAAA", "*", SEED + "AA"):
            self.assertRaises(BadKey, public_key, bad)

    plain = st.text("abcXYZ019 +&=%.-", min_size=1, max_size=8)

    @given(
        urls,
        st.dictionaries(plain, plain, max_size=4),
        st.dictionaries(plain, plain, max_size=3),
        st.sampled_from(["GET", "POST"]),
    )
    def test_plivo_v3(self, url: str, form: dict[str, str], query: dict[str, str], method: str) -> None:
        """With and without a query, by both methods, a nonce of its own each time."""
        request = outgoing(method, outgoing("GET", url, query).url, form)
        headers = PlivoSigner(Secrets(TOKEN)).webhook(request)
        nonce, sent = headers["X-Plivo-Signature-V3-Nonce"], headers["X-Plivo-Signature-V3"]
        params = dict(form) if method == "POST" else {}
        self.assertTrue(validate_v3_signature(method, request.url, nonce, TOKEN, sent, params))
        self.assertFalse(validate_v3_signature(method, request.url, nonce + "1", TOKEN, sent, params))
        self.assertEqual(headers["X-Plivo-Signature-Ma-V3"], sent)
        self.assertNotEqual(PlivoSigner(Secrets(TOKEN)).webhook(request)["X-Plivo-Signature-V3-Nonce"], nonce)

    def test_plivo_v2_and_the_upgrade(self) -> None:
        """V2 on request; the upgrade's is V3, of a GET over https, as the Node SDK checks it."""
        request = Outgoing("POST", "https://voice.example.com/x?a=1", {"b": "2"})
        headers = PlivoSigner(Secrets(TOKEN, scheme="v2")).webhook(request)
        self.assertNotIn("X-Plivo-Signature-V3", headers)
        nonce, sent = headers["X-Plivo-Signature-V2-Nonce"], headers["X-Plivo-Signature-V2"]
        self.assertTrue(validate_signature(request.url, nonce, sent, TOKEN))
        headers = PlivoSigner(Secrets(TOKEN)).upgrade(STREAM + "?b=1&a=2")
        nonce, sent = headers["X-Plivo-Signature-V3-Nonce"], headers["X-Plivo-Signature-V3"]
        dialled = STREAM.replace("wss", "https") + "?b=1&a=2"
        self.assertTrue(validate_v3_signature("GET", dialled, nonce, TOKEN, sent))

    def test_exotel(self) -> None:
        """Basic credentials on both; those in the stream's URL come first, unquoted."""
        target = Target(
            "http://127.0.0.1/", carrier="exotel", secrets=Secrets(user="Aladdin", password="open sesame")
        )
        wanted = {"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}
        self.assertEqual(target.signer.webhook(Outgoing("GET", "https://h/")), wanted)
        self.assertEqual(upgrade(target, "wss://h/ws")[1], wanted)
        _, headers = upgrade(target, "wss://KEY:a%20b@h/ws")
        self.assertEqual(base64.b64decode(headers["Authorization"].split()[1]), b"KEY:a b")

    def test_without_a_secret(self) -> None:
        """No secret, or none wanted: no header at all."""
        for carrier in CARRIERS:
            for kept in (Secrets(), Secrets(TOKEN, "k", SEED, "u", "p", scheme="none")):
                signer = Target("http://127.0.0.1/", carrier=carrier, secrets=kept).signer
                self.assertEqual(
                    (signer.webhook(Outgoing("POST", "https://h/")), signer.upgrade(STREAM)), ({}, {})
                )


class SocketTests(TestCase):
    """Over loopback: what arrives is signed as of the public URL, whatever was connected to."""

    kept = Secrets(TOKEN, private_key=SEED, user="u", password="p")

    async def call(self, carrier: str, **more: Any) -> tuple[AgentSite, CallResult]:
        site = AgentSite(self, carrier)
        target = Target(site.url, public_url=f"https://{PUBLIC}", carrier=carrier, secrets=self.kept, **more)
        ids = new_ids(target.account_sid, carrier)
        wire = target.side.wire(ids, target.numbers, Quirks())
        call = SimulatedCall(reactor, ids, Script((Step(Do.HANG_UP),)), wire=wire, patience=HASTY)
        self.addCleanup(call.hang_up)
        return site, await place_call(reactor, target, call)

    def genuine(self, carrier: str, got: Got) -> bool:
        """By the vendor's own library."""
        form = dict(parse_qsl(got.body.decode(), True))
        if carrier == "twilio":
            return bool(
                RequestValidator(TOKEN).validate(got.public_url, form, got.headers["x-twilio-signature"])
            )
        if carrier == "plivo":
            nonce, sent = got.headers["x-plivo-signature-v3-nonce"], got.headers["x-plivo-signature-v3"]
            return bool(validate_v3_signature(got.method, got.public_url, nonce, TOKEN, sent, form))
        if carrier == "exotel":
            return got.headers["authorization"] == "Basic dTpw"
        VERIFY_KEY.verify(
            got.headers["telnyx-timestamp"].encode() + b"|" + got.body,
            base64.b64decode(got.headers["telnyx-signature-ed25519"]),
        )
        return True

    async def test_webhook_and_upgrade(self) -> None:
        """All four, by both methods: the webhook and, where signed, the upgrade; the path stays whole."""
        for carrier in CARRIERS:
            for method in ("GET", "POST"):
                site, result = await self.call(carrier, method=method)
                self.assertEqual((result.ended_by, result.problems), ("caller", []))
                [got] = site.webhook.got
                self.assertEqual((got.method, got.headers["host"]), (method, PUBLIC))
                self.assertTrue(self.genuine(carrier, got), (carrier, method))
                [socket] = site.sockets
                self.assertEqual(socket.path, TOKEN_PATH)
                if carrier != "telnyx":
                    uri = TOKEN_PATH + ("?a=1" if carrier == "exotel" else "")
                    opened = Got("GET", uri, dict(socket.http_headers), b"")
                    if carrier == "twilio":
                        sent = opened.headers["x-twilio-signature"]
                        self.assertTrue(RequestValidator(TOKEN).validate(STREAM, {}, sent))
                    else:
                        self.assertTrue(self.genuine(carrier, opened), carrier)

    async def test_the_answers_parameters_come_back(self) -> None:
        """In `start`, on each carrier in its own place."""
        for carrier in CARRIERS:
            site, _ = await self.call(carrier)
            [socket] = site.sockets
            self.assertRegex(str(socket.got), "'a': '1'|a=1")


@shows("T10")
class SecrecyTests(SynchronousTestCase):
    def test_tokens_and_passwords_are_masked(self) -> None:
        """What follows /telephony/ws/ and a URL's credentials are dots, in a line and in a document."""
        for text in (f"calling {STREAM}", f'"{STREAM}"', f"<Stream url='{STREAM}'/>", f"no ({STREAM}) there"):
            self.assertNotIn("Nobody", masked(text))
            self.assertIn("/telephony/ws/...", masked(text))
        self.assertEqual(masked("wss://KEY:TOKEN@h/ws"), "wss://...@h/ws")
        self.assertEqual(masked("http://127.0.0.1/telephony/ws?x=1"), "http://127.0.0.1/telephony/ws?x=1")
        self.assertEqual(urlsplit(masked(STREAM)).hostname, PUBLIC)

    def test_the_screen_shows_none(self) -> None:
        """Whatever is printed goes through the mask."""
        shown: list[str] = []

        class Stream:
            write = staticmethod(shown.append)
            flush = staticmethod(lambda: None)

        cli.Screen(1, quiet=False, stream=Stream()).tell(f"calling {STREAM}")
        self.assertIsNone(re.search("Nobody", "".join(shown)))

    def test_no_secret_in_a_representation(self) -> None:
        """A Target in a traceback tells no keys."""
        shown = repr(
            Target("http://h/", auth_token=TOKEN, secrets=Secrets(TOKEN, "shared", SEED, "u", "pass"))
        )
        for secret in (TOKEN, "shared'", SEED, "pass'"):
            self.assertNotIn(secret, shown)
