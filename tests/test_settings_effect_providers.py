"""Keys of the providers, from the document to the request that a vendor on loopback sees."""

from __future__ import annotations

import base64
import re
from typing import Any, TypeVar

from twisted.internet import reactor

from tests.configs import loaded
from tests.provider_contract import CALL, MESSAGES, collect, utterance
from tests.test_provider_openai import HEARD, HELLO, PCM, RAW
from tests.vendor import CLOSE, Request, VendorTestCase, answer, chunked
from voxray import telephony
from voxray.catalog import build_providers
from voxray.config import from_document
from voxray.interfaces import Providers

T = TypeVar("T")
SID = "CA0123456789abcdef0123456789abcdef"


def field_of(request: Request, name: str) -> str:
    """A field of an upload; empty when it is not there."""
    found = re.search(rb'name="%b"\r\n\r\n(.*?)\r\n' % name.encode(), request.body)
    return found[1].decode() if found else ""


class Asked:
    """What the vendor was asked for each stage."""

    def __init__(self, stt: Request, llm: Request, tts: Request) -> None:
        self.stt, self.llm, self.tts = stt, llm, tts

    @property
    def vendors(self) -> tuple[str, ...]:
        """The first part of each path tells whose server it is meant for."""
        return tuple(request.path.split("/")[1] for request in (self.stt, self.llm, self.tts))

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(request.headers["authorization"] for request in (self.stt, self.llm, self.tts))


class KeyTests(VendorTestCase):
    """One server plays both vendors."""

    def setUp(self) -> None:
        super().setUp()
        root = self.base.removesuffix("/v1")
        self.document: dict[str, object] = {
            "base_urls": {"openai": f"{root}/openai/v1", "groq": f"{root}/groq/v1"},
            "api_keys": {"openai": "key-o", "groq": "key-g"},
        }

    def built(self, document: dict[str, object], **environ: str) -> Providers:
        made = from_document({**self.document, **document}, environ)
        nobody: Any = None
        return build_providers(made.settings, self.http, self.clock, nobody, nobody)

    async def asked(self, **document: object) -> Asked:
        """One request of each stage, by providers so configured."""
        providers = self.built(document)
        self.vendor.requests.clear()
        self.script([answer(HEARD)])
        await providers.stt.transcribe(utterance(), CALL)
        self.script(chunked(HELLO))
        await collect(providers.llm.reply(MESSAGES, CALL))
        self.script([answer(PCM, RAW)])
        await collect(providers.tts.synthesize("Hello.", CALL))
        return Asked(*self.vendor.requests)

    async def test_provider(self) -> None:
        """All three stages are asked of it; of OpenAI when nothing is said."""
        self.assertEqual((await self.asked(provider="groq")).vendors, ("groq", "groq", "groq"))
        self.assertEqual((await self.asked()).vendors, ("openai", "openai", "openai"))

    async def test_stt_provider(self) -> None:
        """This stage alone goes elsewhere."""
        self.assertEqual((await self.asked(stt_provider="groq")).vendors, ("groq", "openai", "openai"))

    async def test_llm_provider(self) -> None:
        """This stage alone goes elsewhere."""
        self.assertEqual((await self.asked(llm_provider="groq")).vendors, ("openai", "groq", "openai"))

    async def test_tts_provider(self) -> None:
        """This stage alone goes elsewhere."""
        self.assertEqual((await self.asked(tts_provider="groq")).vendors, ("openai", "openai", "groq"))

    async def test_model(self) -> None:
        """The language model's name is in its request, and in no other."""
        asked = await self.asked(model="gpt-mine")
        self.assertEqual(asked.llm.json["model"], "gpt-mine")
        self.assertNotIn(b"gpt-mine", asked.stt.body + asked.tts.body)
        self.assertEqual((await self.asked()).llm.json["model"], "gpt-4.1-mini")

    async def test_stt_model(self) -> None:
        """The transcriber's."""
        asked = await self.asked(stt_model="ears-1")
        self.assertEqual(field_of(asked.stt, "model"), "ears-1")
        self.assertNotIn(b"ears-1", asked.llm.body + asked.tts.body)
        self.assertEqual(field_of((await self.asked()).stt, "model"), "gpt-4o-transcribe")

    async def test_tts_model(self) -> None:
        """The voice's."""
        asked = await self.asked(tts_model="mouth-1")
        self.assertEqual(asked.tts.json["model"], "mouth-1")
        self.assertNotIn(b"mouth-1", asked.llm.body + asked.stt.body)
        self.assertEqual((await self.asked()).tts.json["model"], "gpt-4o-mini-tts")

    async def test_tts_voice(self) -> None:
        """Who speaks."""
        self.assertEqual((await self.asked(tts_voice="coral")).tts.json["voice"], "coral")
        self.assertEqual((await self.asked()).tts.json["voice"], "alloy")

    async def test_stt_language(self) -> None:
        """What is listened for; `language` when it is not set; with neither the vendor finds out."""
        for document, sent in (
            ({"stt_language": "hi-IN"}, "hi"),
            ({"stt_language": "hi-IN", "language": "de"}, "hi"),
            ({"language": "de"}, "de"),
            ({}, ""),
        ):
            self.assertEqual(field_of((await self.asked(**document)).stt, "language"), sent)

    async def test_api_keys(self) -> None:
        """Each vendor gets its own key, and nobody another's."""
        asked = await self.asked(llm_provider="groq")
        self.assertEqual(asked.keys, ("Bearer key-o", "Bearer key-g", "Bearer key-o"))

    async def test_base_urls(self) -> None:
        """A vendor is asked where the document says, with or without a last slash."""
        asked = await self.asked(base_urls={"openai": f"{self.base}/mine/"})
        paths = (asked.stt.path, asked.llm.path, asked.tts.path)
        wanted = ("audio/transcriptions", "chat/completions", "audio/speech")
        self.assertEqual(paths, tuple(f"/v1/mine/{path}" for path in wanted))


class CarrierTests(VendorTestCase):
    """Twilio's REST API, played by the same server."""

    def hang_up(self, **keys: str) -> Any:
        document = {"base_urls": {"twilio": self.base}, "api_keys": keys, "proxy_host": "h.example"}
        return telephony.lines(loaded(document).settings, reactor).controls.get("twilio")

    async def test_credentials(self) -> None:
        """With an account and its token calls are hung up there, by its rules; without, nobody is asked."""
        self.assertIsNone(self.hang_up())
        self.assertIsNone(self.hang_up(twilio_account_sid="AC1"))
        self.script([answer(b"{}", Connection="close"), CLOSE])
        await self.hang_up(twilio_account_sid="AC1", twilio_auth_token="token").hang_up(SID)
        (request,) = self.vendor.requests
        self.assertEqual(request.path, f"/v1/2010-04-01/Accounts/AC1/Calls/{SID}.json")
        sent = base64.b64encode(b"AC1:token").decode()
        self.assertEqual(request.headers["authorization"], f"Basic {sent}")
        self.assertEqual(request.body, b"Status=completed")
