"""The names an owner may write for providers, carriers and plugins, and which of them are built.

Known and not built is said as such; anything else is refused with the nearest known names.
`voxray.catalog` maps the built ones to classes, and a test there keeps the two lists the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from types import MappingProxyType

STT, LLM, TTS = "stt", "llm", "tts"
STAGES = (STT, LLM, TTS)
DEFAULT_PROVIDER = "openai"

KNOWN = MappingProxyType(
    {
        STT: (
            *(
                "openai",
                "groq",
                "local",
                "scripted",
                "sarvam",
                "elevenlabs",
                "aws",
                "google",
                "whisper",
                "camb",
            ),
            *("gradium", "soniox", "deepgram", "cartesia", "assemblyai"),
        ),
        LLM: (
            *(
                "openai",
                "groq",
                "local",
                "scripted",
                "grok",
                "cerebras",
                "aws",
                "mistral",
                "deepseek",
                "anthropic",
            ),
            *(
                "google",
                "google_vertex",
                "ollama",
                "qwen",
                "asyncai",
                "fish",
                "inworld",
                "minimax",
                "moondream",
            ),
            "openpipe",
        ),
        TTS: (
            *(
                "openai",
                "groq",
                "local",
                "scripted",
                "sarvam",
                "elevenlabs",
                "aws",
                "google",
                "hume",
                "inworld",
            ),
            *("minimax", "neuphonic", "xtts", "deepgram", "cartesia"),
        ),
    }
)
BUILT = MappingProxyType(
    {
        STT: ("openai", "groq", "local", "scripted"),
        LLM: ("openai", "groq", "local", "scripted"),
        TTS: ("openai", "groq", "local", "scripted"),
    }
)
ALL_PROVIDERS = tuple(dict.fromkeys(name for stage in STAGES for name in KNOWN[stage]))

CARRIERS = ("twilio", "telnyx", "plivo", "exotel", "daily", "livekit", "webrtc")
CARRIERS_BUILT = ("twilio", "telnyx", "plivo", "exotel")

AUTO = "auto"  # runner_transport: any of the built ones

AUTHS = ("auto", "off", "signature", "token", "both")

# What a carrier signs its requests with, in `api_keys`: all of these, or nothing can be checked.
SECRETS_OF = MappingProxyType(
    {
        "twilio": ("twilio_auth_token",),
        "telnyx": ("telnyx_public_key",),
        "plivo": ("plivo_auth_token",),
        "exotel": ("exotel_ws_user", "exotel_ws_password"),
    }
)
SIGNS_URLS = ("twilio", "plivo")
"""Carriers whose signature covers the URL they dialled: without `proxy_host` it could not match."""

PLUGINS = (
    *("interruption_controller", "vad", "audio_buffer", "audio_filter", "frame_filter", "function_filter"),
    *("identity_filter", "null_filter", "stt_mute_filter", "wake_check_filter", "wake_notifier_filter"),
    *("external_chain", "rtvi", "echo", "logger", "aggregator", "dtmf_aggregator", "llmtext"),
)

# Providers built today that cannot be asked without a key, and the name of that key in `api_keys`.
KEY_OF = MappingProxyType({"openai": "openai", "groq": "groq"})

# With which of `api_keys` a carrier hangs up for us; Exotel cannot be asked to.
HANG_UP_KEYS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "twilio": ("twilio_account_sid", "twilio_auth_token"),
        "telnyx": ("telnyx_api_key",),
        "plivo": ("plivo_auth_id", "plivo_auth_token"),
    }
)

# And with which it places a call.
DIAL_KEYS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        **HANG_UP_KEYS,
        "telnyx": ("telnyx_api_key", "telnyx_account_sid", "telnyx_application_sid"),
        "exotel": ("exotel_account_sid", "exotel_api_key", "exotel_api_token"),
    }
)

# Carriers that can be told to ask again once a stream is over.
COMES_BACK = frozenset({"twilio", "telnyx"})

# name in `api_keys` -> environment variables, the first one set wins
KEY_ENV: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "twilio_account_sid": ("TWILIO_ACCOUNT_SID",),
        "twilio_auth_token": ("TWILIO_AUTH_TOKEN",),
        "telnyx_api_key": ("TELNYX_API_KEY",),
        "telnyx_public_key": ("TELNYX_PUBLIC_KEY",),
        "telnyx_account_sid": ("TELNYX_ACCOUNT_SID",),
        "telnyx_application_sid": ("TELNYX_APPLICATION_SID",),
        "plivo_auth_id": ("PLIVO_AUTH_ID",),
        "plivo_auth_token": ("PLIVO_AUTH_TOKEN",),
        "exotel_account_sid": ("EXOTEL_ACCOUNT_SID",),
        "exotel_api_key": ("EXOTEL_API_KEY",),
        "exotel_api_token": ("EXOTEL_API_TOKEN",),
        "exotel_ws_user": ("EXOTEL_WS_USER",),
        "exotel_ws_password": ("EXOTEL_WS_PASSWORD",),
        "daily_api_key": ("DAILY_API_KEY",),
        "daily_room_url": ("DAILY_ROOM_URL",),
        "livekit_api_key": ("LIVEKIT_API_KEY",),
        "livekit_api_secret": ("LIVEKIT_API_SECRET",),
        "openai": ("OPENAI_API_KEY",),
        "groq": ("GROQ_API_KEY",),
        "anthropic": ("ANTHROPIC_API_KEY",),
        "sarvam": ("SARVAM_API_KEY",),
        "xai": ("XAI_API_KEY",),
        "cerebras": ("CEREBRAS_API_KEY",),
        "elevenlabs": ("ELEVENLABS_API_KEY",),
        "deepgram": ("DEEPGRAM_API_KEY",),
        "cartesia": ("CARTESIA_API_KEY",),
        "assemblyai": ("ASSEMBLYAI_API_KEY",),
        "aws": ("AWS_SECRET_ACCESS_KEY",),
        "aws_access_key_id": ("AWS_ACCESS_KEY_ID",),
        "aws_region": ("AWS_REGION",),
        "mistral": ("MISTRAL_API_KEY",),
        "deepseek": ("DEEPSEEK_API_KEY",),
        "google": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        "google_cloud_project": ("GOOGLE_CLOUD_PROJECT",),
        "google_cloud_location": ("GOOGLE_CLOUD_LOCATION",),
        "ollama": ("OLLAMA_API_KEY",),
        "qwen": ("DASHSCOPE_API_KEY", "QWEN_API_KEY"),
        "whisper": ("WHISPER_API_KEY",),
        "asyncai": ("ASYNC_AI_API_KEY",),
        **{
            name: (f"{name.upper()}_API_KEY",)
            for name in (
                *(
                    "camb",
                    "fish",
                    "gradium",
                    "hume",
                    "inworld",
                    "minimax",
                    "moondream",
                    "neuphonic",
                    "openpipe",
                ),
                *("soniox", "xtts"),
            )
        },
    }
)
KEY_ALIASES = MappingProxyType(
    {"google_project": "google_cloud_project", "google_location": "google_cloud_location"}
)

# name in `base_urls` -> environment variable: <NAME>_BASE_URL but where the contract has another
_OTHER_URL_ENV = {
    "qwen": "DASHSCOPE_BASE_URL",
    "soniox": "SONIOX_WS_URL",
    "asyncai": "ASYNC_AI_BASE_URL",
    "daily": "DAILY_API_URL",
    "livekit": "LIVEKIT_URL",
}
URL_ENV = MappingProxyType(
    {
        name: _OTHER_URL_ENV.get(name, f"{name.upper()}_BASE_URL")
        for name in (*(n for n in ALL_PROVIDERS if n not in ("local", "scripted")), *CARRIERS)
        if name != "webrtc"
    }
)


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names most like `name`, best first; perhaps none."""
    return difflib.get_close_matches(name[:80].lower(), [k for k in known if k], n=count, cutoff=0.6)
