"""Keys of the server: where it listens, what it lets in, what it logs."""

from __future__ import annotations

from voxray.config.hosts import Address, Host
from voxray.config.key import Key, Section
from voxray.config.kinds import (
    Choice,
    FilePath,
    Flag,
    Networks,
    Number,
    Secrets,
    Text,
    Texts,
    Whole,
    WholeChoice,
)
from voxray.config.names import AUTHS, CARRIERS

BIG = 2**31 - 1
TELNYX_CODECS = ("PCMU", "PCMA", "L16", "OPUS")
PLIVO_TYPES = ("audio/x-mulaw;rate=8000", "audio/x-l16;rate=8000", "audio/x-l16;rate=16000")

SERVER = Section(
    "Where it listens",
    (
        Key("host", Host(), "", "address to listen on; empty: all; `localhost` is 127.0.0.1", "server.host",
            env=("VOXRAY_HOST", "HOST"),
            proof="tests.test_settings_effect_server.ListeningTests.test_host", restart=True),
        Key("port", Whole(0, 65535), 8080, "port to listen on; 0: the default", "server.port",
            env=("VOXRAY_PORT", "PORT"), zero_unset=True,
            proof="tests.test_settings_effect_server.ListeningTests.test_port", restart=True),
        Key("runner_port", Whole(0, 65535), 0, "another name for `port` in the Go project",
            "legacy.runner_port", later="write `port` instead"),
        Key("proxy_host", Host(with_port=True), "",
            "the public host name, without scheme or slash: carriers are told to connect to "
            "`wss://{proxy_host}/telephony/ws`; empty: the request's Host", "server.proxy_host",
            proof="tests.test_settings_effect_server.WebhookTests.test_proxy_host"),
        Key("tls_enable", Flag(), False, "serve HTTPS and WSS ourselves", "server.tls.enable",
            proof="tests.test_settings_effect_server.TlsTests.test_pair", restart=True),
        Key("tls_cert_file", FilePath(), "", "certificate chain, PEM", "server.tls.cert_file",
            proof="tests.test_settings_effect_server.TlsTests.test_pair"),
        Key("tls_key_file", FilePath(), "", "its private key, PEM, without a pass phrase",
            "server.tls.key_file",
            proof="tests.test_settings_effect_server.TlsTests.test_pair"),
        Key("trusted_proxies", Networks(), (),
            "addresses and blocks of the proxies in front, whose X-Forwarded-For, -Proto and -Host are "
            "believed; everybody else's are ignored", "server.trusted_proxies",
            proof="tests.test_settings_effect_proxies.HeaderTests.test_trusted_proxies"),
        Key("proxy_protocol", Flag(), False,
            "every connection begins with a PROXY header (version 1 or 2) and comes from one of "
            "`trusted_proxies`; others are dropped", "server.proxy_protocol",
            proof="tests.test_settings_effect_proxies.LineTests.test_proxy_protocol", restart=True),
        Key("workers", Whole(1, 1024), 1,
            "processes that share the port and the calls, one for each core; more than 1: a parent that runs "
            "no calls, and so many workers ([operations.md](operations.md#several-processes))",
            "server.workers",
            proof="tests.test_e2e_workers.CallsTests.test_calls_over_two_workers", restart=True),
    ),
)  # fmt: skip

ACCESS = Section(
    "What it lets in",
    (
        Key("server_api_key", Secrets(), (),
            "key or keys that `/start`, `/sessions/*`, `/webrtc/offer`, `/ws` and `/api/v1/calls` ask "
            "for; the carriers' webhook is not among them", "server.server_api_keys", secret=True,
            proof="tests.test_calls_api.KeyTests.test_server_api_key"),
        Key("telephony_auth", Choice(AUTHS), "auto",
            "how webhooks and media sockets are authenticated: `signature`, `token` of each call, `both`, "
            "`off`; `auto` is `both` as soon as the carrier's secret is set, else `off` with a warning",
            "calls.telephony_auth", proof="tests.test_settings_effect_trust.ModeTests.test_telephony_auth"),
        Key("stream_secret", Text(), "",
            "signs the tokens of media sockets; instances behind one address share it; empty: random at each "
            "start", "calls.stream_secret", secret=True,
            proof="tests.test_settings_effect_trust.ModeTests.test_stream_secret"),
        Key("stream_token_secs", Number(5.0, 3_600.0), 120.0, "life of such a token",
            "calls.stream_token_secs",
            proof="tests.test_settings_effect_trust.ModeTests.test_stream_token_secs"),
        Key("max_request_body_bytes", Whole(0, BIG), 262_144, "largest request body; 0: the default",
            "server.max_request_body_bytes", env=("VOXRAY_MAX_BODY_BYTES",), zero_unset=True,
            proof="tests.test_settings_effect_server.WebhookTests.test_max_request_body_bytes"),
        Key("cors_allowed_origins", Texts(), None,
            "origins that browsers may call from; absent: any; `[]`: none", "server.cors_allowed_origins",
            env=("VOXRAY_CORS_ORIGINS",),
            proof="tests.test_settings_effect_stores.SessionTests.test_cors_allowed_origins"),
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
        Key("metrics_bind", Address(), "",
            "serve `/metrics` on this host:port, over plain HTTP, and on `port` no more",
            "server.metrics_bind", restart=True,
            proof="tests.test_settings_effect_limits.MetricsTests.test_metrics_bind"),
        Key("metrics_key", Secrets(), (),
            "key or keys that `/metrics` asks for, by `Authorization: Bearer` or `X-API-Key`; empty: none",
            "server.metrics_keys", secret=True,
            proof="tests.test_settings_effect_limits.MetricsTests.test_metrics_key"),
        Key("metrics.audio_sample_rate", Number(0.0, 1.0), 0.0, "reserved in the Go project",
            "legacy.audio_sample_rate", later="it never had one"),
        Key("legacy_errors", Flag(), False, "errors without envelope", "legacy.legacy_errors",
            later="errors are always enveloped"),
    ),
)  # fmt: skip

CALLS = Section(
    "Calls",
    (
        Key("runner_transport", Choice(("", "auto", *CARRIERS)), "",
            "the carrier that calls come from; `auto`: any of the four, each request tells by its shape; "
            "empty: no calls, and `/` is a status page", "calls.carrier",
            proof="tests.test_settings_effect_server.WebhookTests.test_runner_transport"),
        Key("max_calls", Whole(1, 100_000), 200,
            "calls at once, of all workers together; more are refused as busy; with `session_store: redis` "
            "of all instances",
            "calls.max_calls",
            proof="tests.test_settings_effect_server.WebhookTests.test_max_calls"),
        Key("caller_id", Text(), "", "our number, for calls that `POST /api/v1/calls` places without `from`",
            "calls.caller_id", proof="tests.test_calls_api.KeyTests.test_caller_id"),
        Key("max_call_secs", Number(1.0), 14_400.0, "longest call", "agent.max_call_secs",
            proof="tests.test_settings_effect_agent.EndTests.test_max_call_secs"),
        Key("rtc_max_duration_secs", Number(negative_is_off=True), 0.0,
            "the Go project's name for it; the shorter of the two holds; 0: off",
            proof="tests.test_settings_effect_agent.EndTests.test_rtc_max_duration_secs"),
        Key("drain_timeout_secs", Number(0.0, 86_400.0), 300.0,
            "on SIGTERM, how long calls may go on before they are told goodbye; 0: not at all",
            "calls.drain_timeout_secs",
            proof="tests.test_settings_effect_server.StopTests.test_drain_timeout_secs"),
        Key("reattach", Flag(), False,
            "Twilio, Telnyx: callers whose stream went with a daemon that crashed come back, get a new one "
            "and begin anew ([how](carriers/twilio.md#after-a-crash)); needs the carrier's secret and its "
            "REST API", "calls.reattach",
            proof="tests.test_reattach.KeyTests.test_reattach"),
        Key("pace_lead_ms", Number(20.0, 5_000.0), 200.0,
            "audio kept queued at the carrier; with Exotel never more than 150",
            "media.pace_lead_ms",
            proof="tests.test_settings_effect_media.PacingTests.test_pace_lead_ms"),
        Key("telnyx_codec", Choice(TELNYX_CODECS, tuple((codec.lower(), codec) for codec in TELNYX_CODECS)),
            "PCMU", "what Telnyx is asked for. What we send is in it; the caller comes in it if his leg is "
            "in it, or Telnyx converts (PCMU and PCMA into each other), else in his leg's own codec",
            "media.telnyx_codec",
            proof="tests.test_settings_effect_media.FormatTests.test_telnyx_codec"),
        Key("plivo_content_type", Choice(PLIVO_TYPES), "audio/x-mulaw;rate=8000",
            "what Plivo is asked for, both ways", "media.plivo_content_type",
            proof="tests.test_settings_effect_media.FormatTests.test_plivo_content_type"),
        Key("exotel_sample_rate", WholeChoice((8000, 16_000, 24_000)), 8000,
            "what Exotel's dynamic address is answered with, and what a stream has that does not say; in a "
            "static address write `?sample-rate=` yourself", "media.exotel_sample_rate",
            proof="tests.test_settings_effect_media.FormatTests.test_exotel_sample_rate"),
        Key("l16_byte_order", Choice(("", "big", "little")), "",
            "of the linear PCM that Telnyx and Plivo send and play; neither documents it; empty: big for "
            "Telnyx, little for Plivo", "media.l16_byte_order",
            proof="tests.test_settings_effect_media.FormatTests.test_l16_byte_order"),
    ),
)  # fmt: skip

STORES = Section(
    "Sessions, queues and stores",
    (
        Key("session_store", Choice(("memory", "redis"), (("", "memory"),)), "memory",
            "where sessions are kept; `redis`: in Redis, for all instances that share it",
            "stores.session_store", restart=True,
            proof="tests.test_settings_effect_stores.SessionTests.test_session_store"),
        Key("redis_url", Text(), "",
            "needed for `session_store: redis`: `redis://`, `rediss://` (TLS), `unix://` or "
            "`redis+sentinel://` ([docs/redis.md](redis.md))", "stores.redis_url", secret=True, restart=True,
            proof="tests.test_settings_effect_stores.SessionTests.test_redis_url"),
        Key("session_ttl_secs", Whole(0, BIG), 3600, "life of a session; 0: the default",
            "stores.session_ttl_secs", zero_unset=True,
            proof="tests.test_settings_effect_stores.SessionTests.test_session_ttl_secs"),
        Key("pipeline_input_queue_cap", Whole(0, 1_000_000), 256,
            "packets (20 ms) of one caller's audio that may wait for the ear, and as many for the "
            "transcriber; the socket is read all the same, and what waited longest is dropped "
            "([metrics.md](metrics.md#audio-that-waits)); 0: the default", "turns.input_queue_cap",
            zero_unset=True,
            proof="tests.test_settings_effect_stores.QueueTests.test_pipeline_input_queue_cap"),
        Key("ws_write_coalesce_ms", Whole(0, 10_000), 0, "gather `/ws` messages for so long; 0: off",
            "stores.ws_write_coalesce_ms", later="`/ws` is not served"),
        Key("ws_write_coalesce_max_frames", Whole(0, 10_000), 10, "gather at most so many; 0: the default",
            "stores.ws_write_coalesce_max_frames", zero_unset=True, later="`/ws` is not served"),
    ),
)  # fmt: skip
