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
    Authenticity,
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


# -- carriers ------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Carrier:
    """All that is particular to one carrier.

    `control` is None without its credentials; `client` there is treq-like, `reactor` for time-outs.
    `authenticity` is None without `secret`, which names what to configure; it raises ConfigError.
    """

    documents: Callable[[Settings], AnswerDocuments]
    serializer: Callable[[Settings], Serializer]
    control: Callable[[Settings, Any, Any], CallControl | None]
    authenticity: Callable[[Settings], Authenticity | None]
    secret: str
    pacing: Pacing = ORDINARY_PACING
    parameters: bool = False  # `<Parameter>`s of the answer come back in `start`
    static_streams: bool = False  # streams may come to an address that no webhook gave out
    challenge: str = ""  # WWW-Authenticate of a refused upgrade


def _key(settings: Settings, name: str) -> str:
    return settings.providers.api_keys.get(name, "")


def _either(settings: Settings, name: str) -> tuple[str, ...]:
    """A secret that may be two during its rotation, separated by a comma; the first is the one we use."""
    return tuple(part for part in _key(settings, name).split(",") if part)


def _base_url(settings: Settings, name: str, default: str) -> str:
    return settings.providers.base_urls.get(name, "") or default


def _twilio() -> Carrier:
    from voxray.carriers.twilio import API_URL, TwilioControl, TwilioDocuments
    from voxray.carriers.twilio_signature import TwilioAuthenticity
    from voxray.serializers.twilio import TwilioSerializer

    def control(settings: Settings, client: Any, reactor: Any) -> CallControl | None:
        sid, tokens = _key(settings, "twilio_account_sid"), _either(settings, "twilio_auth_token")
        base_url = _base_url(settings, "twilio", API_URL)
        return TwilioControl(client, reactor, sid, tokens[0], base_url) if sid and tokens else None

    def authenticity(settings: Settings) -> Authenticity | None:
        tokens = _either(settings, "twilio_auth_token")
        return TwilioAuthenticity(tokens) if tokens else None

    return Carrier(
        documents=lambda _: TwilioDocuments(),
        serializer=lambda _: TwilioSerializer(),
        control=control,
        authenticity=authenticity,
        secret="api_keys.twilio_auth_token",
        parameters=True,
    )


def _exotel() -> Carrier:
    """Messages of 100 ms in whole 320 bytes, one at a time: with a lead of less than two of them there are
    never two to send at once, and bursts are said to make Exotel drop the call. 50 ms are left for lateness.
    """
    from voxray.carriers.exotel import API_URL, ExotelAuthenticity, ExotelControl, ExotelDocuments
    from voxray.serializers.exotel import ExotelSerializer

    def control(settings: Settings, client: Any, reactor: Any) -> CallControl:
        """There is one without credentials: it says that closing the socket is a transfer."""
        account, base_url = _key(settings, "exotel_account_sid"), _base_url(settings, "exotel", API_URL)
        key, token = _key(settings, "exotel_api_key"), _key(settings, "exotel_api_token")
        return ExotelControl(client, reactor, account, key, token, base_url)

    def authenticity(settings: Settings) -> Authenticity | None:
        user, password = _key(settings, "exotel_ws_user"), _key(settings, "exotel_ws_password")
        return ExotelAuthenticity(user, password) if user and password else None

    return Carrier(
        documents=lambda _: ExotelDocuments(),
        serializer=lambda _: ExotelSerializer(),
        control=control,
        authenticity=authenticity,
        secret="api_keys.exotel_ws_user and api_keys.exotel_ws_password",
        pacing=Pacing(message_ms=100, unit_bytes=320, max_lead_ms=150.0),
        static_streams=True,
        challenge='Basic realm="voxray"',
    )


def _telnyx() -> Carrier:
    from voxray.carriers.telnyx import API_URL, TelnyxControl, TelnyxDocuments
    from voxray.carriers.telnyx_signature import TelnyxAuthenticity
    from voxray.serializers.telnyx import TelnyxSerializer

    def control(settings: Settings, client: Any, reactor: Any) -> CallControl | None:
        api_key, base_url = _key(settings, "telnyx_api_key"), _base_url(settings, "telnyx", API_URL)
        account, application = _key(settings, "telnyx_account_sid"), _key(settings, "telnyx_application_sid")
        ids = {"account_sid": account, "application_sid": application}
        return TelnyxControl(client, reactor, api_key, base_url, **ids) if api_key else None

    def authenticity(settings: Settings) -> Authenticity | None:
        keys = _either(settings, "telnyx_public_key")
        try:
            return TelnyxAuthenticity(keys) if keys else None
        except ValueError as error:
            raise ConfigError(f"api_keys.telnyx_public_key: {error}") from None

    return Carrier(
        documents=lambda _: TelnyxDocuments(),
        serializer=lambda settings: TelnyxSerializer(l16_big_endian=settings.media.l16_byte_order == "big"),
        control=control,
        authenticity=authenticity,
        secret="api_keys.telnyx_public_key",
        parameters=True,
    )


def _plivo() -> Carrier:
    from voxray.carriers.plivo import API_URL, PlivoControl, PlivoDocuments
    from voxray.carriers.plivo_signature import PlivoAuthenticity
    from voxray.serializers.plivo import PlivoSerializer

    def control(settings: Settings, client: Any, reactor: Any) -> CallControl | None:
        auth_id, tokens = _key(settings, "plivo_auth_id"), _either(settings, "plivo_auth_token")
        base_url = _base_url(settings, "plivo", API_URL)
        return PlivoControl(client, reactor, auth_id, tokens[0], base_url) if auth_id and tokens else None

    def authenticity(settings: Settings) -> Authenticity | None:
        tokens = _either(settings, "plivo_auth_token")
        return PlivoAuthenticity(tokens) if tokens else None

    return Carrier(
        documents=lambda _: PlivoDocuments(),
        serializer=lambda _: PlivoSerializer(),
        control=control,
        authenticity=authenticity,
        secret="api_keys.plivo_auth_token",
    )


CARRIERS: Mapping[str, Callable[[], Carrier]] = MappingProxyType(
    {"twilio": _twilio, "telnyx": _telnyx, "plivo": _plivo, "exotel": _exotel}
)


def build_carrier(name: str) -> Carrier:
    """Raises ConfigError for a name that is not built."""
    maker = CARRIERS.get(name)
    if maker is None:
        raise ConfigError(f'runner_transport: "{name}" is not built; built: {", ".join(sorted(CARRIERS))}')
    return maker()
