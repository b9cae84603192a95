"""The settings as the program uses them: parsed once, typed, frozen. `voxray.config` makes them.

Durations are in seconds unless the name says ms. Names of the configuration's keys are in
`docs/configuration.md`; these are grouped by who reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TlsSettings:
    enable: bool = False
    cert_file: str = ""
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where we listen and what we let in."""

    host: str = ""  # empty: all interfaces
    port: int = 8080
    proxy_host: str = ""  # the public host (a port is tolerated); empty: the request's Host
    tls: TlsSettings = field(default_factory=TlsSettings)
    cors_allowed_origins: tuple[str, ...] | None = None  # None: any
    max_request_body_bytes: int = 262_144
    server_api_keys: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    metrics_enabled: bool = True
    metrics_bind: str = ""


@dataclass(frozen=True, slots=True)
class StageSettings:
    """One of stt, llm, tts."""

    provider: str
    model: str = ""  # empty: the provider's default
    language: str = ""
    voice: str = ""
    fallback: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    stt: StageSettings
    llm: StageSettings
    tts: StageSettings
    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    base_urls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """Who speaks when."""

    vad_type: str = "silero"  # or "energy"
    vad_confidence: float = 0.7
    vad_start_secs: float = 0.2  # key vad_start_secs_vad: speech this long is speech
    vad_stop_secs: float = 0.2  # silence this long ends a stretch of speech
    vad_min_volume: float = 0.0  # linear RMS; 0: the detector's own floor decides
    vad_threshold: float = 0.02  # energy detector: the least RMS that can be speech
    pre_speech_ms: float = 500.0  # audio kept before the trigger
    stop_secs: float = 0.6  # turn_stop_secs: counted from the last speech
    max_duration_secs: float = 8.0  # turn_max_duration_secs: then the turn is cut into pieces for STT
    stop_timeout_secs: float = 5.0  # user_turn_stop_timeout_secs: no audio at all for so long ends the turn
    allow_interruptions: bool = True
    interruption_strategy: str = ""  # "", "min_words", "none"
    min_words: int = 1
    resume_false_interruption: bool = True


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What the agent is told, and says of itself."""

    system_prompt: str = ""
    greeting: str = ""
    language: str = "en"
    goodbye: str = ""  # said before we end a call that ran too long or stayed silent
    idle_prompt: str = ""
    idle_prompts_max: int = 2
    apology: str = ""  # said when a provider fails
    user_idle_timeout_secs: float = 0.0  # 0: off
    max_call_secs: float = 14_400.0
    scenario_file: str = ""  # the local agent's script; empty: the receptionist that ships


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """The socket and the pacing."""

    pace_lead_ms: float = 200.0  # audio kept queued at the carrier
    max_message_bytes: int = 65_536
    start_timeout_secs: float = 10.0
    max_messages_before_start: int = 20
    ping_interval_secs: float = 20.0
    dead_peer_secs: float = 30.0  # no message of any kind
    send_buffer_bytes: int = 32_768  # SO_SNDBUF


@dataclass(frozen=True, slots=True)
class CallSettings:
    max_calls: int = 200
    carrier: str = ""  # runner_transport
    telephony_auth: str = "auto"
    drain_timeout_secs: float = 300.0
    cdr_file: str = ""


@dataclass(frozen=True, slots=True)
class LogSettings:
    level: str = "info"
    json: bool = False
    transcripts: bool = False  # log_transcripts


@dataclass(frozen=True, slots=True)
class Settings:
    server: ServerSettings
    providers: ProviderSettings
    turns: TurnSettings
    agent: AgentSettings
    media: MediaSettings
    calls: CallSettings
    logs: LogSettings
