"""The instruments, declared once. Names are the contract's where it has one, `voxray_*` where it has none.

Labels are bounded: stage, model, status and reasons from small sets, never an id of a call or a session.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from platform import python_version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from voxray import __version__
from voxray.guards import Guards

MakeCounter = Callable[..., Counter]
MakeGauge = Callable[..., Gauge]
MakeHistogram = Callable[..., Histogram]
_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_INGRESS = ("http", "ingress")
"""`stage` and `direction`, as the contract has them."""
_TURN = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


@dataclass(slots=True)
class Backlog:
    """Callers' audio that waits for a stage, of all calls, in ms. Plain numbers: there are many windows."""

    vad_ms: float = 0.0
    stt_ms: float = 0.0


class _Make:
    """Instruments in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)

    def histogram(
        self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = _LATENCY
    ) -> Histogram:
        return Histogram(name, text, labels, registry=self._registry, buckets=buckets)


class Metrics:
    """One process's instruments, in their own registry."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series beside each of a counter's, of use to nobody here
        self.registry = CollectorRegistry()
        make = _Make(self.registry)
        self._declare_http(make.counter, make.gauge, make.histogram)
        self._declare_stages(make.counter, make.gauge, make.histogram)
        self._declare_calls(make.counter, make.gauge, make.histogram)
        self._declare_service(make.counter, make.gauge, make.histogram)

    def _declare_http(self, counter: MakeCounter, gauge: MakeGauge, histogram: MakeHistogram) -> None:
        """Contract, section 6; its labels `session_id` and `model` are always empty there, and left out."""
        request = ("method", "route", "status_code", "stage", "direction", "status")
        self.http_requests = counter("http_requests_total", "HTTP requests answered", *request)
        self.http_duration = histogram(
            "http_request_duration_seconds", "Time to answer an HTTP request", *request
        )
        self.http_active = gauge(
            "http_active_connections", "Requests and media sockets open now", "route", "stage", "direction"
        )
        self.http_errors = counter(
            "http_errors_total", "HTTP requests answered 4xx or 5xx", "method", "route", "error_type"
        )
        self.http_timeouts = counter(
            "http_timeout_total", "Connections cut for being too slow", "method", "route"
        )

    def _declare_stages(self, counter: MakeCounter, gauge: MakeGauge, histogram: MakeHistogram) -> None:
        """Contract, section 6."""
        stage = ("stage", "status", "model")
        self.stt_errors = counter("stt_errors_total", "Failed transcriptions", "error_type", "stage", "model")
        self.stt_fallback = counter(
            "stt_fallback_total", "Turns that another provider took", "stage", "model"
        )
        self.stt_first = histogram(
            "stt_time_to_first_token_seconds", "From the request to the first of its words", *stage
        )
        self.stt_latency = histogram(
            "stt_transcription_latency_seconds", "From the request to its transcript", *stage
        )
        self.stt_lag = histogram(
            "stt_streaming_lag_seconds", "From the caller's last word to its transcript", "direction", "model"
        )
        self.llm_errors = counter("llm_errors_total", "Failed replies", "error_type", "stage", "model")
        self.llm_retries = counter("llm_retries_total", "Requests that were tried again", "stage", "model")
        self.llm_fallback = counter(
            "llm_fallback_total", "Replies that another provider gave", "stage", "model"
        )
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
        self.tts_fallback = counter(
            "tts_fallback_total", "Sentences that another provider spoke", "stage", "model"
        )
        self.tts_first = histogram(
            "tts_time_to_first_audio_chunk_seconds", "From the request to its first audio", *stage
        )
        self.tts_latency = histogram(
            "tts_synthesis_latency_seconds",
            "From the request to the end of its audio, less the time in which we read none",
            *stage,
        )
        self.tts_lag = histogram(
            "tts_streaming_lag_seconds",
            "How far a sentence's audio fell behind being spoken, at worst",
            "direction",
            "model",
        )

        # Recordings (contract, section 6; none are made yet)
        self.recording_enqueued = counter("recording_jobs_enqueued_total", "Recordings to be uploaded")
        self.recording_success = counter("recording_jobs_success_total", "Recordings that were uploaded")
        self.recording_failed = counter("recording_jobs_failed_total", "Recordings that are lost")
        self.recording_depth = gauge("recording_queue_depth", "Recordings that wait for their upload")

    def _declare_calls(self, counter: MakeCounter, gauge: MakeGauge, histogram: MakeHistogram) -> None:
        self.calls_active = gauge("voxray_calls_active", "Calls with a media stream now")
        self.calls_started = counter("voxray_calls_started_total", "Calls whose stream started")
        self.calls_refused = counter("voxray_calls_refused_total", "Calls not taken", "reason")
        for reason in ("max_calls", "draining"):
            self.calls_refused.labels(reason)
        self.calls_ended = counter("voxray_calls_ended_total", "Calls that are over", "reason")
        self.turn_latency = histogram(
            "voxray_turn_latency_seconds",
            "Parts of a turn: endpoint, stt, llm, sentence, tts, own (neither vendor nor endpointing), total",
            "stage",
            buckets=_TURN,
        )
        for part in ("endpoint", "stt", "llm", "sentence", "tts", "own", "total"):
            self.turn_latency.labels(part)
        self.bargein = histogram(
            "voxray_bargein_seconds",
            "From the caller's first interrupting speech to our clear",
            buckets=_TURN,
        )
        self.interruptions = counter(
            "voxray_interruptions_total", "Barge-ins by what came of them", "outcome"
        )
        self.failed_turns = counter(
            "voxray_failed_turns_total", "Turns that a provider's failure spoiled", "outcome"
        )
        self.holds = counter("voxray_holds_total", "Times a caller had to be told to wait", "what")
        self.input_dropped = counter(
            "voxray_pipeline_dropped_total",
            "Packets (20 ms) of callers' audio that waited too long for a stage and were dropped",
            "stage",
        )
        self.backlog = backlog = Backlog()
        depth = gauge(
            "voxray_pipeline_queue_depth",
            "Packets (20 ms) of callers' audio that wait for a stage, of all calls",
            "stage",
        )
        depth.labels("vad").set_function(lambda: round(backlog.vad_ms / 20))
        depth.labels("stt").set_function(lambda: round(backlog.stt_ms / 20))
        for each in ("vad", "stt"):
            self.input_dropped.labels(each)
        self.dials = counter("voxray_dials_total", "Calls that we placed, by what came of them", "outcome")
        self.underruns = counter("voxray_playout_underruns_total", "Times a reply ran dry at the carrier")
        self.bad_messages = counter("voxray_bad_messages_total", "Media messages not understood", "reason")
        self.ignored_messages = counter("voxray_ignored_messages_total", "Media messages of no use", "reason")
        self.call_errors = counter("voxray_call_errors_total", "Faults of ours that ended a call", "where")
        self.call_errors.labels("media")
        self.closed_sockets = counter("voxray_media_closed_total", "Media sockets that are closed", "reason")
        self.dropped_audio = counter("voxray_dropped_audio_total", "Outbound messages dropped: peer too slow")
        self.hangups = counter("voxray_hangups_total", "Hang-ups asked of the carrier", "outcome")
        self.transfers = counter("voxray_transfers_total", "Transfers the agent asked for", "outcome")

    def _declare_service(self, counter: MakeCounter, gauge: MakeGauge, histogram: MakeHistogram) -> None:
        build = gauge("voxray_build_info", "Always 1; what is running", "version", "python")
        build.labels(__version__, python_version()).set(1)
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
        self.cdr_lost = counter("voxray_cdr_lost_total", "Call records that are missing in cdr_file")
        self.reactor_lag = histogram(
            "voxray_reactor_lag_seconds", "Lateness of a 100 ms timer", buckets=_LATENCY
        )
        self.guards = Guards(self.registry)
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
        self._metrics.http_active.labels(route, *_INGRESS).inc()

    def request_ended(self, route: str, method: str, status: int, seconds: float) -> None:
        m = self._metrics
        m.http_active.labels(route, *_INGRESS).dec()
        outcome = (str(status), *_INGRESS, "error" if status >= 400 else "success")
        m.http_requests.labels(method, route, *outcome).inc()
        if (
            400 <= status < 500
        ):  # a stranger may ask everything by every method: that is not a page of its own
            m.http_duration.labels("other", "other", *outcome).observe(seconds)
        else:
            m.http_duration.labels(method, route, *outcome).observe(seconds)
        if status >= 400:
            m.http_errors.labels(method, route, f"{status // 100}xx").inc()

    def timed_out(self, route: str, method: str) -> None:
        self._metrics.http_timeouts.labels(method, route).inc()


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


class CrewMetrics:
    """Of a parent and its workers; made where there are several."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.workers = Gauge("voxray_workers", "Processes that serve", registry=registry)
        self.restarts = Counter(
            "voxray_worker_restarts_total", "Workers that died and were started again", registry=registry
        )
        self.missed = Counter(
            "voxray_worker_metrics_missed_total",
            "Times a worker did not tell its metrics in time",
            registry=registry,
        )


class MediaRecorder:
    """Media sockets as they report themselves."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._active = metrics.http_active.labels("telephony_ws", *_INGRESS)
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
