"""The instruments, declared once. Names are the contract's where it has one, `voxray_*` where it has none.

Labels are bounded: stage, model, status and reasons from small sets, never an id of a call or a session.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_TURN = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


class Metrics:
    """One process's instruments, in their own registry."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...] = _LATENCY) -> Histogram:
            return Histogram(name, text, labels, registry=registry, buckets=buckets)

        # HTTP (contract, section 6)
        self.http_requests = counter(
            "http_requests_total", "HTTP requests answered", "method", "route", "status_code"
        )
        self.http_duration = histogram(
            "http_request_duration_seconds", "Time to answer an HTTP request", "method", "route"
        )
        self.http_active = gauge("http_active_connections", "Requests and media sockets open now", "route")
        self.http_errors = counter(
            "http_errors_total", "HTTP requests answered 4xx or 5xx", "method", "route", "error_type"
        )
        self.http_timeouts = counter("http_timeout_total", "Requests that took too long", "method", "route")

        # Stages (contract, section 6)
        stage = ("stage", "status", "model")
        self.stt_errors = counter("stt_errors_total", "Failed transcriptions", "error_type", "stage", "model")
        self.stt_first = histogram(
            "stt_time_to_first_token_seconds", "From the end of the turn to its transcript", *stage
        )
        self.stt_latency = histogram(
            "stt_transcription_latency_seconds", "From the request to its transcript", *stage
        )
        self.llm_errors = counter("llm_errors_total", "Failed replies", "error_type", "stage", "model")
        self.llm_first = histogram(
            "llm_time_to_first_token_seconds", "From the request to its first words", *stage
        )
        self.llm_latency = histogram(
            "llm_generation_latency_seconds", "From the request to the end of the reply", *stage
        )
        self.llm_gap = histogram(
            "llm_inter_token_latency_seconds", "Between two pieces of a reply", "stage", "model"
        )
        self.tts_errors = counter("tts_errors_total", "Failed syntheses", "error_type", "stage", "model")
        self.tts_first = histogram(
            "tts_time_to_first_audio_chunk_seconds", "From the request to its first audio", *stage
        )
        self.tts_latency = histogram(
            "tts_synthesis_latency_seconds", "From the request to the end of its audio", *stage
        )

        # Ours
        self.up = gauge("voxray_up", "1 while the daemon serves")
        self.draining = gauge("voxray_draining", "1 while calls finish and no new ones are taken")
        self.config_reloads = counter(
            "voxray_config_reload_total",
            "Times the configuration was read again: loaded, or kept because the new one cannot serve",
            "outcome",
        )
        self.config_loaded_at = gauge(
            "voxray_config_last_reload_success_timestamp_seconds",
            "When the configuration that new calls get was read",
        )
        self.calls_active = gauge("voxray_calls_active", "Calls with a media stream now")
        self.calls_started = counter("voxray_calls_started_total", "Calls whose stream started")
        self.calls_refused = counter("voxray_calls_refused_total", "Calls not taken", "reason")
        self.calls_ended = counter("voxray_calls_ended_total", "Calls that are over", "reason")
        self.turn_latency = histogram(
            "voxray_turn_latency_seconds",
            "Parts of a turn: endpoint, stt, llm, tts, own (all but vendors and endpointing), total",
            "stage",
            buckets=_TURN,
        )
        self.bargein = histogram(
            "voxray_bargein_seconds",
            "From the caller's first interrupting speech to our clear",
            buckets=_TURN,
        )
        self.interruptions = counter(
            "voxray_interruptions_total", "Barge-ins by what came of them", "outcome"
        )
        self.underruns = counter("voxray_playout_underruns_total", "Times a reply ran dry at the carrier")
        self.bad_messages = counter("voxray_bad_messages_total", "Media messages not understood", "reason")
        self.ignored_messages = counter("voxray_ignored_messages_total", "Media messages of no use", "reason")
        self.call_errors = counter("voxray_call_errors_total", "Faults of ours that ended a call", "where")
        self.closed_sockets = counter("voxray_media_closed_total", "Media sockets that are closed", "reason")
        self.dropped_audio = counter("voxray_dropped_audio_total", "Outbound messages dropped: peer too slow")
        self.hangups = counter("voxray_hangups_total", "Hang-ups asked of the carrier", "outcome")
        self.transfers = counter("voxray_transfers_total", "Transfers the agent asked for", "outcome")
        self.cdr_lost = counter("voxray_cdr_lost_total", "Call records that are missing in cdr_file")
        self.reactor_lag = histogram(
            "voxray_reactor_lag_seconds", "Lateness of a 100 ms timer", buckets=_LATENCY
        )
        self.auth_failures = counter(
            "voxray_auth_failures_total", "Webhooks and media sockets not let in", "where", "reason"
        )
        self.degraded = gauge("voxray_degraded", "1 while the process does without something", "what")
        self.store_failures = counter(
            "voxray_store_failures_total", "Questions that Redis did not answer", "reason"
        )
        self.store_poisoned = counter(
            "voxray_store_poisoned_total", "Values in Redis that we did not write", "what"
        )
        self.insecure = gauge(
            "voxray_insecure_config", "1 where the configuration leaves a door open", "what"
        )


class HttpRecorder:
    """HTTP as the site reports it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def request_started(self, route: str) -> None:
        self._metrics.http_active.labels(route).inc()

    def request_ended(self, route: str, method: str, status: int, seconds: float) -> None:
        m = self._metrics
        m.http_active.labels(route).dec()
        m.http_requests.labels(method, route, str(status)).inc()
        m.http_duration.labels(method, route).observe(seconds)
        if status >= 400:
            m.http_errors.labels(method, route, f"{status // 100}xx").inc()


class ConfigRecorder:
    """The configuration: read at the start, and again on SIGHUP."""

    def __init__(self, metrics: Metrics, wall_clock: Callable[[], float]) -> None:
        self._metrics, self._wall_clock = metrics, wall_clock
        for outcome in ("loaded", "kept"):
            metrics.config_reloads.labels(outcome)
        metrics.config_loaded_at.set(wall_clock())

    def reloaded(self, outcome: str) -> None:
        self._metrics.config_reloads.labels(outcome).inc()
        if outcome == "loaded":
            self._metrics.config_loaded_at.set(self._wall_clock())


class TlsRecorder:
    """The certificate; made where there is one, for a date of 0 would look like one that has expired."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._reloads = Counter(
            "voxray_tls_reload_total",
            "Times a new certificate was loaded, or kept out because it cannot serve",
            ("outcome",),
            registry=registry,
        )
        self._not_after = Gauge(
            "voxray_tls_not_after_timestamp_seconds",
            "When the certificate that new connections get expires",
            registry=registry,
        )
        for outcome in ("loaded", "kept"):
            self._reloads.labels(outcome)

    def reloaded(self, outcome: str) -> None:
        self._reloads.labels(outcome).inc()

    def serving_until(self, timestamp: float) -> None:
        self._not_after.set(timestamp)


class MediaRecorder:
    """Media sockets as they report themselves."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._active = metrics.http_active.labels("telephony_ws")
        self._dropped = metrics.dropped_audio

    def socket_opened(self) -> None:
        self._active.inc()

    def socket_closed(self, reason: str) -> None:
        self._active.dec()
        self._metrics.closed_sockets.labels(reason).inc()

    def message_ignored(self, reason: str) -> None:
        self._metrics.ignored_messages.labels(reason).inc()

    def message_bad(self, reason: str) -> None:
        self._metrics.bad_messages.labels(reason).inc()

    def audio_dropped(self) -> None:
        self._dropped.inc()

    def callback_failed(self) -> None:
        self._metrics.call_errors.labels("media").inc()


class StoreRecorder:
    """Redis as its connection and the stores report it."""

    def __init__(self, metrics: Metrics, what: str = "redis") -> None:
        self._metrics, self._what = metrics, what

    def failed(self, reason: str) -> None:
        self._metrics.store_failures.labels(reason).inc()

    def poisoned(self, what: str) -> None:
        self._metrics.store_poisoned.labels(what).inc()

    def degraded(self, whether: bool) -> None:
        self._metrics.degraded.labels(self._what).set(float(whether))
