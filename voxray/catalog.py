"""Names in the configuration -> providers and carriers: the only lists of them.

Importing this module is cheap: each vendor's code is imported when it is first built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from voxray.errors import ConfigError
from voxray.interfaces import (
    ChatModel,
    Clock,
    Providers,
    Synthesizer,
    Transcriber,
    Worker,
)
from voxray.settings import Settings, StageSettings

if TYPE_CHECKING:
    from voxray.http import HttpClient
    from voxray.providers.openai_api import Host

F = TypeVar("F")
BASE_URLS: Mapping[str, str] = MappingProxyType(
    {"openai": "https://api.openai.com/v1", "groq": "https://api.groq.com/openai/v1"}
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What providers are made of: everything the process has one of."""

    settings: Settings
    http: HttpClient
    clock: Clock
    worker: Worker
    voice_worker: Worker  # its own: a reply must not queue behind other callers' transcriptions

    def host(self, name: str) -> Host:
        """Where a vendor of the OpenAI dialect is, and our key there."""
        from voxray.providers.openai_api import Host

        providers = self.settings.providers
        base_url = providers.base_urls.get(name, "") or BASE_URLS[name]
        return Host(name, base_url, providers.api_keys.get(name, ""))


def _stt_openai(parts: Parts, stage: StageSettings) -> Transcriber:
    from voxray.providers.stt_openai import OpenAITranscriber

    host = parts.host(stage.provider)
    return OpenAITranscriber(parts.http, host, model=stage.model, language=stage.language)


def _stt_local(parts: Parts, stage: StageSettings) -> Transcriber:
    from voxray.providers.local_stt import MoonshineTranscriber

    return MoonshineTranscriber(parts.worker)


def _stt_scripted(parts: Parts, stage: StageSettings) -> Transcriber:
    from voxray.providers.scripted import ScriptedTranscriber

    return ScriptedTranscriber(parts.clock)


def _llm_openai(parts: Parts, stage: StageSettings) -> ChatModel:
    from voxray.providers.llm_openai import OpenAIChat

    transfers = tuple(parts.settings.agent.transfers)
    return OpenAIChat(parts.http, parts.host(stage.provider), model=stage.model, transfers=transfers)


def _llm_local(parts: Parts, stage: StageSettings) -> ChatModel:
    from voxray.providers.local_llm import ReceptionistModel

    agent = parts.settings.agent
    return ReceptionistModel(cast(Any, parts.clock), agent.scenario_file, transfers=agent.transfers)


def _llm_scripted(parts: Parts, stage: StageSettings) -> ChatModel:
    from voxray.providers.scripted import ScriptedChat

    return ScriptedChat(parts.clock)


def _tts_openai(parts: Parts, stage: StageSettings) -> Synthesizer:
    from voxray.providers.tts_openai import OpenAISpeech

    return OpenAISpeech(parts.http, parts.host(stage.provider), model=stage.model, voice=stage.voice)


def _tts_local(parts: Parts, stage: StageSettings) -> Synthesizer:
    from voxray.providers.local_tts import LocalSpeech

    return LocalSpeech(parts.voice_worker, stage.voice)


def _tts_scripted(parts: Parts, stage: StageSettings) -> Synthesizer:
    from voxray.providers.scripted import ToneSynthesizer

    return ToneSynthesizer(parts.clock)


STT: Mapping[str, Callable[[Parts, StageSettings], Transcriber]] = MappingProxyType(
    {"openai": _stt_openai, "groq": _stt_openai, "local": _stt_local, "scripted": _stt_scripted}
)
LLM: Mapping[str, Callable[[Parts, StageSettings], ChatModel]] = MappingProxyType(
    {"openai": _llm_openai, "groq": _llm_openai, "local": _llm_local, "scripted": _llm_scripted}
)
TTS: Mapping[str, Callable[[Parts, StageSettings], Synthesizer]] = MappingProxyType(
    {"openai": _tts_openai, "groq": _tts_openai, "local": _tts_local, "scripted": _tts_scripted}
)
BUILT: Mapping[str, frozenset[str]] = MappingProxyType(
    {"stt": frozenset(STT), "llm": frozenset(LLM), "tts": frozenset(TTS)}
)


def build_providers(
    settings: Settings, http: HttpClient, clock: Clock, worker: Worker, voice_worker: Worker
) -> Providers:
    """The three the settings name. Raises ConfigError for a name that is not built."""
    parts = Parts(settings, http, clock, worker, voice_worker)
    stages = settings.providers
    return Providers(
        stt=_named(STT, "stt", stages.stt)(parts, stages.stt),
        llm=_named(LLM, "llm", stages.llm)(parts, stages.llm),
        tts=_named(TTS, "tts", stages.tts)(parts, stages.tts),
    )


def _named(makers: Mapping[str, F], stage: str, wanted: StageSettings) -> F:
    maker = makers.get(wanted.provider)
    if maker is None:
        built = ", ".join(sorted(makers))
        raise ConfigError(f'{stage}_provider: "{wanted.provider}" is not built; built: {built}')
    return maker
