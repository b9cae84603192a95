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
    ORDINARY_PACING,
    AnswerDocuments,
    CallControl,
    ChatModel,
    Clock,
    Pacing,
    Providers,
    Serializer,
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

    return OpenAIChat(parts.http, parts.host(stage.provider), model=stage.model)


def _llm_local(parts: Parts, stage: StageSettings) -> ChatModel:
    from voxray.providers.local_llm import ReceptionistModel

    return ReceptionistModel(cast(Any, parts.clock), parts.settings.agent.scenario_file)


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


# -- carriers ------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Carrier:
    """All that is particular to one carrier.

    `control` is None without its credentials; `client` there is treq-like, `reactor` for time-outs.
    `serializer` is given the query of the socket's URL, the first of each name.
    """

    documents: Callable[[Settings], AnswerDocuments]
    serializer: Callable[[Settings, Mapping[str, str]], Serializer]
    control: Callable[[Settings, Any, Any], CallControl | None]
    pacing: Pacing = ORDINARY_PACING


def _twilio() -> Carrier:
    from voxray.carriers.twilio import API_URL, TwilioControl, TwilioDocuments
    from voxray.serializers.twilio import TwilioSerializer

    def control(settings: Settings, client: Any, reactor: Any) -> CallControl | None:
        keys = settings.providers.api_keys
        sid, token = keys.get("twilio_account_sid", ""), keys.get("twilio_auth_token", "")
        base_url = settings.providers.base_urls.get("twilio", API_URL)
        return TwilioControl(client, reactor, sid, token, base_url) if sid and token else None

    return Carrier(lambda _: TwilioDocuments(), lambda *_: TwilioSerializer(), control)


def _exotel() -> Carrier:
    """Messages of 100 ms in whole 320 bytes, one at a time: with a lead of less than two of them there are
    never two to send at once, and bursts are said to make Exotel drop the call. 50 ms are left for lateness.
    """
    from voxray.carriers.exotel import ExotelDocuments
    from voxray.serializers.exotel import ExotelSerializer, asked_rate

    def serializer(settings: Settings, query: Mapping[str, str]) -> Serializer:
        return ExotelSerializer(rate_hz=asked_rate(query, settings.media.exotel_sample_rate))

    return Carrier(
        documents=lambda settings: ExotelDocuments(settings.media.exotel_sample_rate),
        serializer=serializer,
        control=lambda settings, client, reactor: None,
        pacing=Pacing(message_ms=100, unit_bytes=320, max_lead_ms=150.0),
    )


def _telnyx() -> Carrier:
    from voxray.audio import opus
    from voxray.carriers.telnyx import API_URL, TelnyxControl, TelnyxDocuments
    from voxray.serializers.telnyx import TelnyxSerializer

    def control(settings: Settings, client: Any, reactor: Any) -> CallControl | None:
        api_key = settings.providers.api_keys.get("telnyx_api_key", "")
        base_url = settings.providers.base_urls.get("telnyx", API_URL)
        return TelnyxControl(client, reactor, api_key, base_url) if api_key else None

    def documents(settings: Settings) -> AnswerDocuments:
        codec = settings.media.telnyx_codec
        if codec == "OPUS" and not opus.available():
            raise ConfigError("telnyx_codec: OPUS needs libopus (Debian: libopus0) and the package opuslib")
        return TelnyxDocuments(codec)

    def serializer(settings: Settings, query: Mapping[str, str]) -> Serializer:
        media = settings.media
        return TelnyxSerializer(codec=media.telnyx_codec, l16_big_endian=media.l16_byte_order != "little")

    return Carrier(documents, serializer, control)


def _plivo() -> Carrier:
    from voxray.carriers.plivo import API_URL, PlivoControl, PlivoDocuments
    from voxray.serializers.plivo import PlivoSerializer

    def control(settings: Settings, client: Any, reactor: Any) -> CallControl | None:
        keys = settings.providers.api_keys
        auth_id, token = keys.get("plivo_auth_id", ""), keys.get("plivo_auth_token", "")
        base_url = settings.providers.base_urls.get("plivo", API_URL)
        return PlivoControl(client, reactor, auth_id, token, base_url) if auth_id and token else None

    def serializer(settings: Settings, query: Mapping[str, str]) -> Serializer:
        media = settings.media
        big_endian = media.l16_byte_order == "big"
        return PlivoSerializer(content_type=media.plivo_content_type, l16_big_endian=big_endian)

    return Carrier(lambda settings: PlivoDocuments(settings.media.plivo_content_type), serializer, control)


CARRIERS: Mapping[str, Callable[[], Carrier]] = MappingProxyType(
    {"twilio": _twilio, "telnyx": _telnyx, "plivo": _plivo, "exotel": _exotel}
)


def build_carrier(name: str) -> Carrier:
    """Raises ConfigError for a name that is not built."""
    maker = CARRIERS.get(name)
    if maker is None:
        raise ConfigError(f'runner_transport: "{name}" is not built; built: {", ".join(sorted(CARRIERS))}')
    return maker()
