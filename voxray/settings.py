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
    server_api_keys: tuple[str, ...] = field(default=(), repr=False)
    trusted_proxies: tuple[str, ...] = ()  # addresses or CIDR blocks
    proxy_protocol: bool = False  # every connection comes from one of them, with a PROXY header
    metrics_enabled: bool = True
    metrics_bind: str = ""  # host:port; empty: on `port`
    metrics_keys: tuple[str, ...] = field(default=(), repr=False)  # empty: /metrics asks for none
    workers: int = 1


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What strangers may cost, and when no more calls are taken. Deadlines are absolute."""

    header_timeout_secs: float = 10.0  # from the accepted connection, TLS handshake included
    body_timeout_secs: float = 15.0
    response_timeout_secs: float = 30.0  # until the peer has read it
    keepalive_timeout_secs: float = 60.0  # from one answer to the next request's last header
    max_header_bytes: int = 16_384
    max_headers: int = 100
    max_pending_connections: int = 200  # that are no calls
    max_connections_per_ip: int = 20  # of those; 0: no limit
    connection_exempt: tuple[str, ...] = ("127.0.0.0/8", "::1/128")  # whose are not counted
    max_lag_ms: float = 100.0  # 0: no limit
    overload_response: str = "busy"  # or "503"
    stall_log_secs: float = 0.5  # 0: stalls are not looked for


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
    base_urls: Mapping[str, str] = field(default_factory=dict)  # provider or carrier -> URL, no last slash
    soniox_model: str = ""
    google_tts_language: str = ""


@dataclass(frozen=True, slots=True)
class CircuitSettings:
    """When a vendor's endpoint that fails is left alone."""

    failures: int = 3  # in a row; 0: never
    pause_secs: float = 15.0


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """Who speaks when."""

    detection: str = "none"  # or "silence"; a phone call treats both alike
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
    input_queue_cap: int = 256  # pipeline_input_queue_cap: packets (20 ms) of a caller's audio that may wait
    eager_transcription: bool = True  # transcribe when speech pauses, before the turn is surely over

    @property
    def interruptible(self) -> bool:
        """The caller may cut the agent off."""
        return self.allow_interruptions and self.interruption_strategy != "none"


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What the agent is told, and says of itself."""

    system_prompt: str = ""
    greeting: str = ""
    language: str = "en"
    goodbye: str = "Thank you for calling. Goodbye."  # before we end a call
    idle_prompt: str = "Are you still there?"
    idle_prompts_max: int = 2
    apology: str = "I'm sorry, I have a technical problem. Please say that again."  # a provider failed
    hold_phrase: str = "One moment, please."  # an answer takes long; empty: a soft beep
    hold_after_secs: float = 3.0  # of silence while the caller waits; 0: never
    answer_timeout_secs: float = 12.0  # from the end of a turn to the first sound of its answer
    on_provider_failure: str = "hangup"  # or "transfer", "apologise": after so many failed turns in a row
    failed_turns_max: int = 3
    failure_goodbye: str = "I'm sorry, we have a technical problem. Please call again later. Goodbye."
    failure_transfer: str = ""  # a name in `transfers`
    failure_handover: str = "I'm sorry, we have a technical problem. I am connecting you to somebody."
    transfers: Mapping[str, str] = field(default_factory=dict)  # name -> E.164 number or SIP URI
    transfer_apology: str = "I'm sorry, I can't put you through right now. What else can I do for you?"
    user_idle_timeout_secs: float = 0.0  # 0: off
    max_call_secs: float = 14_400.0
    scenario_file: str = ""  # the local agent's script, absolute; empty: the receptionist that ships


@dataclass(frozen=True, slots=True)
class MediaSettings:
    """The socket and the pacing."""

    pace_lead_ms: float = 200.0  # audio kept queued at the carrier
    l16_byte_order: str = ""  # "big" or "little"; empty: Telnyx's is big, Plivo's little
    telnyx_codec: str = "PCMU"  # or PCMA, L16, OPUS
    plivo_content_type: str = "audio/x-mulaw;rate=8000"  # or audio/x-l16 at 8000 or 16000
    exotel_sample_rate: int = 8000  # or 16000, 24000
    max_message_bytes: int = 65_536
    start_timeout_secs: float = 10.0
    max_messages_before_start: int = 20
    first_media_timeout_secs: float = 30.0  # after `start`
    partial_message_timeout_secs: float = 10.0  # from a message's first byte to its last
    ping_interval_secs: float = 10.0  # 0: no pings
    dead_peer_secs: float = 15.0  # no message of any kind
    max_messages_per_sec: float = 100.0  # sustained; a call is 50
    max_messages_burst: float = 500.0
    send_buffer_bytes: int = 32_768  # SO_SNDBUF
    max_unsent_audio_ms: float = 1_000.0
    slow_consumer_secs: float = 10.0  # with so much unsent


@dataclass(frozen=True, slots=True)
class CallSettings:
    max_calls: int = 200
    carrier: str = ""  # runner_transport; "auto": each request tells
    caller_id: str = ""  # our number, for calls that we place
    telephony_auth: str = "auto"
    stream_secret: str = field(default="", repr=False)  # signs stream tokens; empty: random at each start
    stream_token_secs: float = 120.0
    drain_timeout_secs: float = 300.0
    reattach: bool = False  # callers come back after a crash
    cdr_file: str = ""  # absolute; empty: none


@dataclass(frozen=True, slots=True)
class LogSettings:
    level: str = "info"
    json: bool = False
    transcripts: bool = False  # log_transcripts


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Sessions and queues."""

    session_store: str = "memory"  # or "redis"
    redis_url: str = field(default="", repr=False)
    session_ttl_secs: int = 3600
    # read by nothing yet
    ws_write_coalesce_ms: int = 0
    ws_write_coalesce_max_frames: int = 10


# -- parsed, but read by nothing yet: docs/configuration.md says so of each key ----------------
@dataclass(frozen=True, slots=True)
class RecordingSettings:
    enable: bool = False
    bucket: str = ""
    base_path: str = "recordings/"
    format: str = "wav"
    worker_count: int = 2
    queue_cap: int = 32
    max_retries: int = 3
    shutdown_upload_timeout_secs: int = 0


@dataclass(frozen=True, slots=True)
class TranscriptSettings:
    enable: bool = False
    driver: str = ""  # "postgres" or "mysql"
    dsn: str = field(default="", repr=False)
    table_name: str = "call_transcripts"


@dataclass(frozen=True, slots=True)
class McpSettings:
    command: str = ""
    args: tuple[str, ...] = ()
    tools_filter: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExtensionSettings:
    plugins: tuple[str, ...] = ()
    plugin_options: Mapping[str, object] = field(default_factory=dict)
    mcp: McpSettings = field(default_factory=McpSettings)


@dataclass(frozen=True, slots=True)
class RoomSettings:
    transport: str = ""
    webrtc_ice_servers: tuple[str, ...] = ()
    dialin: bool = False
    daily_dialin_webhook_secret: str = field(default="", repr=False)
    livekit_room_name: str = ""


@dataclass(frozen=True, slots=True)
class LegacySettings:
    """Keys of the Go project that have no effect here, and will not have one."""

    runner_port: int = 0
    audio_sample_rate: float = 0.0
    legacy_errors: bool = False
    vad_start_secs: float = 0.0
    vad_batch_size: int = 1
    turn_async: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    server: ServerSettings
    providers: ProviderSettings
    turns: TurnSettings
    agent: AgentSettings
    media: MediaSettings
    calls: CallSettings
    logs: LogSettings
    limits: LimitSettings = field(default_factory=LimitSettings)
    stores: StoreSettings = field(default_factory=StoreSettings)
    circuits: CircuitSettings = field(default_factory=CircuitSettings)
    recording: RecordingSettings = field(default_factory=RecordingSettings)
    transcripts: TranscriptSettings = field(default_factory=TranscriptSettings)
    extensions: ExtensionSettings = field(default_factory=ExtensionSettings)
    rooms: RoomSettings = field(default_factory=RoomSettings)
    legacy: LegacySettings = field(default_factory=LegacySettings)
