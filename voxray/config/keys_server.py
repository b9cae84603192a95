"""Keys of the server: where it listens, what it lets in, what it logs."""

from __future__ import annotations

from voxray.config.hosts import Address, Host
from voxray.config.key import Key, Section
from voxray.config.kinds import Choice, FilePath, Flag, Networks, Number, Secrets, Text, Texts, Whole
from voxray.config.names import AUTHS, CARRIERS

BIG = 2**31 - 1
SESSIONS = "sessions (`/start`) are not built yet"

SERVER = Section(
    "Where it listens",
    (
        Key("host", Host(), "", "address to listen on; empty: all; `localhost` is 127.0.0.1", "server.host",
            env=("VOXRAY_HOST", "HOST"),
            proof="tests.test_settings_effect_server.ListeningTests.test_host"),
        Key("port", Whole(0, 65535), 8080, "port to listen on; 0: the default", "server.port",
            env=("VOXRAY_PORT", "PORT"), zero_unset=True,
            proof="tests.test_settings_effect_server.ListeningTests.test_port"),
        Key("runner_port", Whole(0, 65535), 0, "another name for `port` in the Go project",
            "legacy.runner_port", later="write `port` instead"),
        Key("proxy_host", Host(with_port=True), "",
            "the public host name, without scheme or slash: carriers are told to connect to "
            "`wss://{proxy_host}/telephony/ws`; empty: the request's Host", "server.proxy_host",
            proof="tests.test_settings_effect_server.WebhookTests.test_proxy_host"),
        Key("tls_enable", Flag(), False, "serve HTTPS and WSS ourselves", "server.tls.enable",
            proof="tests.test_settings_effect_server.TlsTests.test_pair"),
        Key("tls_cert_file", FilePath(), "", "certificate chain, PEM", "server.tls.cert_file",
            proof="tests.test_settings_effect_server.TlsTests.test_pair"),
        Key("tls_key_file", FilePath(), "", "its private key, PEM, without a pass phrase",
            "server.tls.key_file",
            proof="tests.test_settings_effect_server.TlsTests.test_pair"),
        Key("trusted_proxies", Networks(), (), "proxies whose X-Forwarded-* are believed",
            "server.trusted_proxies", later="X-Forwarded-* headers are ignored"),
        Key("workers", Whole(1, 1024), 1, "processes sharing the port", "server.workers",
            later="one process runs"),
    ),
)  # fmt: skip

ACCESS = Section(
    "What it lets in",
    (
        Key("server_api_key", Secrets(), (),
            "key or keys that `/start`, `/sessions/*`, `/webrtc/offer`, `/ws` and `/api/v1/calls` ask "
            "for; the carriers' webhook is not among them", "server.server_api_keys", secret=True,
            later="none of the paths that it guards is served"),
        Key("telephony_auth", Choice(AUTHS), "auto", "how webhooks and media sockets are authenticated",
            "calls.telephony_auth", later="nothing is checked"),
        Key("max_request_body_bytes", Whole(0, BIG), 262_144, "largest request body; 0: the default",
            "server.max_request_body_bytes", env=("VOXRAY_MAX_BODY_BYTES",), zero_unset=True,
            proof="tests.test_settings_effect_server.WebhookTests.test_max_request_body_bytes"),
        Key("cors_allowed_origins", Texts(), None,
            "origins that browsers may call from; absent: any; `[]`: none", "server.cors_allowed_origins",
            env=("VOXRAY_CORS_ORIGINS",), later="no CORS headers are sent"),
    ),
)  # fmt: skip

WATCH = Section(
    "What it tells",
    (
        Key("log_level", Choice(("debug", "info", "warn", "error"), (("", "info"), ("warning", "warn"),)),
            "info", "least level that is logged", "logs.level",
            proof="tests.test_startup.OptionsTests.test_log"),
        Key("json_logs", Flag(), False, "one JSON object a line", "logs.json",
            proof="tests.test_startup.OptionsTests.test_log"),
        Key("log_transcripts", Flag(), False, "log what is said (personal data!)", "logs.transcripts",
            proof="tests.test_settings_effect_server.WatchTests.test_log_transcripts"),
        Key("cdr_file", FilePath(), "",
            "a JSON line for each ended call is appended to it ([cdr.md](cdr.md)); the numbers are whole "
            "(personal data!)", "calls.cdr_file",
            proof="tests.test_settings_effect_server.WatchTests.test_cdr_file"),
        Key("metrics_enabled", Flag(), True, "false: `/metrics` answers 204", "server.metrics_enabled",
            proof="tests.test_settings_effect_server.WatchTests.test_metrics_enabled"),
        Key("metrics_bind", Address(), "", "serve `/metrics` on this host:port alone",
            "server.metrics_bind", later="`/metrics` is served on `port`"),
        Key("metrics.audio_sample_rate", Number(0.0, 1.0), 0.0, "reserved in the Go project",
            "legacy.audio_sample_rate", later="it never had one"),
        Key("legacy_errors", Flag(), False, "errors without envelope", "legacy.legacy_errors",
            later="errors are always enveloped"),
    ),
)  # fmt: skip

CALLS = Section(
    "Calls",
    (
        Key("runner_transport", Choice(("", *CARRIERS)), "",
            "the carrier that calls come from; empty: no calls, and `/` is a status page", "calls.carrier",
            proof="tests.test_settings_effect_server.WebhookTests.test_runner_transport"),
        Key("max_calls", Whole(1, 100_000), 200, "calls at once; more are refused as busy",
            "calls.max_calls",
            proof="tests.test_settings_effect_server.WebhookTests.test_max_calls"),
        Key("max_call_secs", Number(1.0), 14_400.0, "longest call", "agent.max_call_secs",
            proof="tests.test_settings_effect_agent.EndTests.test_max_call_secs"),
        Key("rtc_max_duration_secs", Number(negative_is_off=True), 0.0,
            "the Go project's name for it; the shorter of the two holds; 0: off",
            proof="tests.test_settings_effect_agent.EndTests.test_rtc_max_duration_secs"),
        Key("drain_timeout_secs", Number(0.0, 86_400.0), 300.0, "on SIGTERM, how long calls may go on",
            "calls.drain_timeout_secs", later="calls end at once when the daemon stops"),
        Key("pace_lead_ms", Number(20.0, 5_000.0), 200.0,
            "audio kept queued at the carrier; with Exotel never more than 150",
            "media.pace_lead_ms",
            proof="tests.test_settings_effect_media.PacingTests.test_pace_lead_ms"),
        Key("l16_byte_order", Choice(("big", "little")), "big",
            "of the linear PCM that Telnyx sends for some calls; it does not say which",
            "media.l16_byte_order",
            proof="tests.test_settings_effect_media.FormatTests.test_l16_byte_order"),
        Key("max_message_bytes", Whole(1_024, 16_777_216), 65_536,
            "largest WebSocket message from a carrier", "media.max_message_bytes",
            proof="tests.test_settings_effect_media.ConductTests.test_max_message_bytes"),
        Key("start_timeout_secs", Number(0.1, 600.0), 10.0, "from the socket's opening to `start`",
            "media.start_timeout_secs",
            proof="tests.test_settings_effect_media.ConductTests.test_start_timeout_secs"),
        Key("max_messages_before_start", Whole(1, 10_000), 20, "messages before `start`",
            "media.max_messages_before_start",
            proof="tests.test_settings_effect_media.ConductTests.test_max_messages_before_start"),
        Key("ping_interval_secs", Number(0.0, 3_600.0), 20.0, "WebSocket pings; 0: none",
            "media.ping_interval_secs",
            proof="tests.test_settings_effect_media.ConductTests.test_ping_interval_secs"),
        Key("dead_peer_secs", Number(1.0, 3_600.0), 30.0,
            "no message of any kind for so long ends the call", "media.dead_peer_secs",
            proof="tests.test_settings_effect_media.ConductTests.test_dead_peer_secs"),
        Key("send_buffer_bytes", Whole(4_096, 4_194_304), 32_768, "SO_SNDBUF of the media socket",
            "media.send_buffer_bytes",
            proof="tests.test_settings_effect_media.ConductTests.test_send_buffer_bytes"),
    ),
)  # fmt: skip

STORES = Section(
    "Sessions, queues and stores",
    (
        Key("session_store", Choice(("memory", "redis"), (("", "memory"),)), "memory",
            "where sessions are kept", "stores.session_store", later=SESSIONS),
        Key("redis_url", Text(), "", "needed for `session_store: redis`", "stores.redis_url", secret=True,
            later=SESSIONS),
        Key("session_ttl_secs", Whole(0, BIG), 3600, "life of a session; 0: the default",
            "stores.session_ttl_secs", zero_unset=True, later=SESSIONS),
        Key("pipeline_input_queue_cap", Whole(0, 1_000_000), 256,
            "audio packets that may wait; 0: the default", "stores.pipeline_input_queue_cap",
            zero_unset=True, later="no audio waits in a queue of its own"),
        Key("ws_write_coalesce_ms", Whole(0, 10_000), 0, "gather `/ws` messages for so long; 0: off",
            "stores.ws_write_coalesce_ms", later="`/ws` is not served"),
        Key("ws_write_coalesce_max_frames", Whole(0, 10_000), 10, "gather at most so many; 0: the default",
            "stores.ws_write_coalesce_max_frames", zero_unset=True, later="`/ws` is not served"),
    ),
)  # fmt: skip
