"""The list of providers: the configuration's and ours are the same, and importing it is cheap."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxray import catalog, catalog_carriers
from voxray.config import names
from voxray.errors import ConfigError
from voxray.http import HttpClient
from voxray.interfaces import Providers
from voxray.settings import (
    AgentSettings,
    CallSettings,
    LogSettings,
    MediaSettings,
    ProviderSettings,
    ServerSettings,
    Settings,
    StageSettings,
    TurnSettings,
)


def settings(name: str, **providers: Any) -> Settings:
    stages = ProviderSettings(StageSettings(name), StageSettings(name), StageSettings(name))
    return Settings(
        ServerSettings(),
        replace(stages, **providers),
        TurnSettings(),
        AgentSettings(),
        MediaSettings(),
        CallSettings(),
        LogSettings(),
    )


class CatalogTests(SynchronousTestCase):
    def build(self, of: Settings) -> Providers:
        clock: Any = Clock()
        worker: Any = None
        return catalog.build_providers(of, HttpClient(clock), clock, worker, worker)

    def test_same_names(self) -> None:
        """What the configuration takes for built is what can be built."""
        self.assertEqual(
            {stage: frozenset(built) for stage, built in names.BUILT.items()}, dict(catalog.BUILT)
        )
        self.assertEqual(frozenset(names.CARRIERS_BUILT), frozenset(catalog_carriers.CARRIERS))

    def test_vendors(self) -> None:
        """Each vendor of the dialect gets its own address, key and defaults."""
        for name, base_url, models in (
            ("openai", "https://api.openai.com/v1", ("gpt-4o-transcribe", "gpt-4.1-mini", "gpt-4o-mini-tts")),
            (
                "groq",
                "https://api.groq.com/openai/v1",
                ("whisper-large-v3-turbo", "openai/gpt-oss-120b", "canopylabs/orpheus-v1-english"),
            ),
        ):
            built: Any = self.build(settings(name, api_keys={name: "k1", "other": "k2"}))
            parts = (built.stt, built.llm, built.tts)
            self.assertEqual(tuple(part.model for part in parts), models)
            for part in parts:
                self.assertEqual((part.name, part._host.base_url, part._host.api_key), (name, base_url, "k1"))

    def test_settings_reach_them(self) -> None:
        """Model, language, voice and base URL are the owner's where given."""
        of = settings(
            "openai",
            stt=StageSettings("openai", model="a", language="hi-IN"),
            llm=StageSettings("openai", model="b"),
            tts=StageSettings("openai", model="c", voice="d"),
            base_urls={"openai": "http://127.0.0.1:9/v1"},
        )
        built: Any = self.build(of)
        self.assertEqual((built.stt.model, built.llm.model, built.tts.model, built.tts.voice), tuple("abcd"))
        self.assertEqual(built.tts._host.base_url, "http://127.0.0.1:9/v1")
        self.assertIn((b"language", b"hi"), built.stt._fields)

    def test_scripted(self) -> None:
        """The scripted ones need nothing at all."""
        built = self.build(settings("scripted"))
        self.assertEqual({built.stt.name, built.llm.name, built.tts.name}, {"scripted"})

    def test_unknown(self) -> None:
        """A name that is not built is refused by stage and name."""
        with self.assertRaises(ConfigError) as caught:
            self.build(settings("openai", tts=StageSettings("acme")))
        self.assertIn('tts_provider: "acme"', str(caught.exception))

    def test_cheap_import(self) -> None:
        """Importing the list imports no vendor, no Twisted, no model."""
        code = (
            "import sys, voxray.catalog; h = ('twisted', 'onnxruntime', 'voxray.providers', 'voxray.http');"
            "print([m for m in sys.modules if m.startswith(h)])"
        )
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        self.assertEqual(out.stdout.strip(), "[]")
