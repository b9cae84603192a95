"""Names in the configuration -> providers and carriers: the only lists of them.

Importing this module is cheap: each vendor's code is imported when it is first built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from voxray.errors import ConfigError
from voxray.frames import Encoding, MediaFormat
from voxray.interfaces import (
    ChatModel,
    Clock,
    Providers,
    Synthesizer,
    Transcriber,
    Worker,
)
from voxray.probing import Probed
from voxray.settings import Settings, StageSettings

if TYPE_CHECKING:
    from voxray.http import HttpClient
    from voxray.httpstream import Deadlines
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


# -- for the command line ----------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Offered:
    """One stage as it will be: what the settings leave open is the provider's choice.

    `host`: the URL that it is asked at; empty: it is on this machine. `audio`: what a transcriber is given or
    a synthesizer gives; None: of the one the line's own format, of the other what its answers say.
    """

    provider: str
    model: str
    voice: str = ""
    host: str = ""
    audio: MediaFormat | None = None


def offered(stage: str, settings: Settings) -> Offered:
    """The provider of "stt", "llm" or "tts", as `build_providers` would build it; builds nothing."""
    from voxray.providers import offers

    chosen: StageSettings = getattr(settings.providers, stage)
    name = chosen.provider
    if name == "scripted":
        return Offered(name, offers.SCRIPTED_MODEL, audio=offers.TONES if stage == "tts" else None)
    if name == "local":
        return _offered_here(stage, chosen, settings.agent.scenario_file)
    host = settings.providers.base_urls.get(name, "") or BASE_URLS[name]
    if stage == "tts":
        speech = offers.SPEECH.get(name, offers.SPEECH["openai"])
        voice = chosen.voice or speech.voice
        return Offered(name, chosen.model or speech.model, voice, host, speech.media_format)
    defaults, other = (
        (offers.CHAT_MODELS, offers.OTHER_CHAT_MODEL)
        if stage == "llm"
        else (offers.TRANSCRIPTION_MODELS, offers.OTHER_TRANSCRIPTION_MODEL)
    )
    return Offered(name, chosen.model or defaults.get(name, other), host=host)


def _offered_here(stage: str, chosen: StageSettings, scenario_file: str) -> Offered:
    from voxray.providers import offers

    if stage == "llm":
        return Offered("local", PurePath(scenario_file).stem if scenario_file else "receptionist")
    if stage == "stt":
        return Offered("local", offers.MOONSHINE_MODEL, audio=MediaFormat(Encoding.L16, offers.MOONSHINE_HZ))
    voice = chosen.voice or offers.LOCAL_VOICE
    espeak = voice.partition(":")[0] == "espeak"
    return Offered("local", voice, voice, audio=offers.ESPEAK if espeak else offers.FLITE)


def rehearse(settings: Settings) -> None:
    """What a provider would find wrong with the settings while it is built. Raises ConfigError."""
    if settings.providers.llm.provider == "local":
        from voxray.providers import scenario

        scenario.load(settings.agent.scenario_file, settings.agent.transfers)


@dataclass(frozen=True, slots=True)
class HostProbe:
    """One vendor, tried: the key, and whether it has the models that it will be asked for."""

    host: Host
    models: tuple[str, ...]

    async def probe(self, http: HttpClient, deadlines: Deadlines) -> Probed:
        """Raises ProviderError."""
        known = await self.host.models(http, deadlines)
        unknown = [model for model in self.models if known and model not in known]
        doubt = f"its list of models does not have {', '.join(unknown)}" if unknown else ""
        return Probed("the key is good" if self.host.api_key else "it answers", doubt)


def host_probes(settings: Settings) -> list[HostProbe]:
    """The vendors that the settings use, each once."""
    from voxray.providers.openai_api import Host

    models: dict[tuple[str, str], list[str]] = {}
    for stage in ("stt", "llm", "tts"):
        found = offered(stage, settings)
        if found.host:
            models.setdefault((found.provider, found.host), []).append(found.model)
    keys = settings.providers.api_keys
    return [
        HostProbe(Host(name, url, keys.get(name, "")), tuple(dict.fromkeys(wanted)))
        for (name, url), wanted in models.items()
    ]
