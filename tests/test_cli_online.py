"""`voxray check --online`, against vendors and carriers on loopback."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor

from tests.cli import Screen
from tests.configs import settings as settings_of
from tests.test_cli_plan import KEYS
from tests.vendor import CLOSE, HANG, Step, VendorTestCase, answer
from voxray.cli import online
from voxray.cli.report import Finding, Paper, Verdict
from voxray.httpstream import Deadlines

THE_REACTOR: Any = reactor
MODELS = ("gpt-4o-transcribe", "gpt-4.1-mini", "gpt-4o-mini-tts")
KEY = "sk-proj-0123456789abcdef"


def listing(*models: str) -> list[Step]:
    return [answer(json.dumps({"data": [{"id": model} for model in models]}).encode())]


class OnlineCase(VendorTestCase):
    """What the reactor is asked for is real; the far side is a script."""

    def setUp(self) -> None:
        super().setUp()
        self.screen = Screen()

    async def tries(self, document: dict[str, object]) -> list[Finding]:
        settings = settings_of({"vad_type": "energy", **document})
        findings = await online.tries(THE_REACTOR, settings, Paper(self.screen, {}))
        await self.until(lambda: not self.vendor.open)
        said = self.screen.getvalue() + "".join(each.worded for each in findings)
        for secret in (KEY, *(value for value in KEYS.values() if len(value) > 8)):
            self.assertNotIn(secret, said)
        return findings

    async def one(self, document: dict[str, object]) -> Finding:
        (finding,) = await self.tries(document)
        return finding


class VendorTests(OnlineCase):
    """Providers: the list of models, asked once for all stages."""

    async def ask(self, *script: Step, **more: object) -> Finding:
        if script:
            self.script(list(script))
        document = {"provider": "openai", "runner_transport": "", "base_urls": {"openai": self.base}}
        return await self.one({**document, "api_keys": {"openai": KEY}, **more})

    async def test_good(self) -> None:
        """One request with the key, for three stages; who is asked is told meanwhile."""
        found = await self.ask(*listing(*MODELS))
        self.assertEqual((found.verdict, found.topic, found.text), (Verdict.OK, "openai", "the key is good"))
        (request,) = self.vendor.requests
        self.assertEqual((request.method, request.path), ("GET", "/v1/models"))
        self.assertEqual(request.headers["authorization"], f"Bearer {KEY}")
        self.assertEqual(self.screen.getvalue(), f"asking openai at {self.base} ...\n")

    async def test_unknown_model(self) -> None:
        """The key is good, and the model that a call would ask for is not there."""
        found = await self.ask(*listing(*MODELS), model="gpt-9")
        self.assertEqual(found.verdict, Verdict.WARN)
        self.assertIn("does not have gpt-9", found.text)

    async def test_refused(self) -> None:
        """The vendor repeats half the key; we repeat none of it, and name the variable."""
        body = {"error": {"code": "invalid_api_key", "message": f"Incorrect API key provided: {KEY}"}}
        found = await self.ask(answer(json.dumps(body).encode(), status=401))
        self.assertEqual(found.verdict, Verdict.FAIL)
        self.assertIn("HTTP 401", found.text)
        self.assertIn("OPENAI_API_KEY", found.remedy)

    async def test_out_of_credit(self) -> None:
        """Says so."""
        body = {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}
        found = await self.ask(answer(json.dumps(body).encode(), status=429))
        self.assertEqual((found.verdict, found.remedy), (Verdict.FAIL, "see to the account's credit"))
        self.assertEqual(len(self.vendor.requests), 1)

    async def test_not_the_dialect(self) -> None:
        """A page, a list of something else: base_urls points to the wrong place."""
        for body in (b"<html>hello</html>", b"[]", b'{"data": 7}', b'{"data": [1]}', b"{}"):
            found = await self.ask(answer(body, "text/html"))
            self.assertEqual(found.verdict, Verdict.FAIL)
            self.assertIn("base_urls", found.text)

    async def test_down(self) -> None:
        """Nobody there, somebody who hangs up, somebody who says nothing: once each, and bounded."""
        found = await self.ask(base_urls={"openai": "http://127.0.0.1:1/v1"})
        self.assertIn("transport", found.text)
        self.patch(online, "DEADLINES", Deadlines(connect=1.0, first_byte=0.05, gap=0.05, total=0.2))
        for script in ([CLOSE], [HANG]):
            found = await self.ask(*script)
            self.assertEqual(found.verdict, Verdict.FAIL)
            self.assertIn("is this machine online", found.remedy)
        self.assertEqual(len(self.vendor.requests), 2)

    async def test_each_vendor(self) -> None:
        """Two vendors are two questions; what runs here is none. A server without a key is asked too."""
        self.script(*[listing("whisper-large-v3-turbo"), listing("gpt-4.1-mini")])
        found = await self.tries(
            {
                "runner_transport": "",
                "stt_provider": "groq",
                "llm_provider": "openai",
                "tts_provider": "local",
                "base_urls": {"openai": self.base, "groq": self.base},
                "api_keys": {"openai": KEY, "groq": KEY},
            }
        )
        self.assertEqual(
            [(each.topic, each.verdict) for each in found], [("groq", Verdict.OK), ("openai", Verdict.OK)]
        )


class CarrierTests(OnlineCase):
    """Carriers in service, by their REST APIs."""

    async def ask(self, carrier: str, *script: Step, **more: object) -> list[Finding]:
        self.script(list(script))
        root = self.base.removesuffix("/v1")
        document = {
            "runner_transport": carrier,
            "proxy_host": "bot.example.com",
            "base_urls": dict.fromkeys(("twilio", "telnyx", "plivo", "exotel"), root),
        }
        return await self.tries({**document, **more})

    async def test_all(self) -> None:
        """Each that is in service, with its own request."""
        found = await self.ask("auto", answer(b"{}"), api_keys=KEYS)
        self.assertEqual({each.verdict for each in found}, {Verdict.OK})
        self.assertEqual([each.topic for each in found], ["twilio", "telnyx", "plivo", "exotel"])
        self.assertEqual({request.method for request in self.vendor.requests}, {"GET"})
        self.assertEqual(len(self.vendor.requests), 4)

    async def test_refused(self) -> None:
        """The status, and which variables to look at."""
        (found,) = await self.ask("twilio", answer(b"{}", status=401), api_keys=_only("twilio"))
        self.assertEqual(found.verdict, Verdict.FAIL)
        self.assertEqual(found.remedy, "are TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN right?")

    async def test_trial(self) -> None:
        """Good, with a doubt."""
        (found,) = await self.ask("twilio", answer(b'{"type": "Trial"}'), api_keys=_only("twilio"))
        self.assertEqual(found.verdict, Verdict.WARN)

    async def test_down(self) -> None:
        """No answer is said to be none."""
        (found,) = await self.ask("plivo", CLOSE, api_keys=_only("plivo"))
        self.assertEqual(found.verdict, Verdict.FAIL)
        self.assertIn("online", found.remedy)

    async def test_without_credentials(self) -> None:
        """Is not tried, and what is missing is named."""
        for carrier, missing in (
            ("twilio", "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"),
            ("exotel", "EXOTEL_ACCOUNT_SID and EXOTEL_API_KEY and EXOTEL_API_TOKEN"),
        ):
            (found,) = await self.ask(carrier, HANG)
            self.assertEqual((found.verdict, found.topic), (Verdict.SKIP, carrier))
            self.assertIn(missing, found.text)
        self.assertEqual(self.vendor.requests, [])


def _only(carrier: str) -> dict[str, str]:
    return {name: value for name, value in KEYS.items() if name.startswith(carrier)}
