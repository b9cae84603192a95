"""Writes contrib/grafana/voxray.json, the dashboard that Grafana imports.

    python scripts/dashboard.py           rewrite it
    python scripts/dashboard.py --check   exit status 1 if it is not current

The panels are the table below: what is asked of Prometheus, by which legend, in which unit. The rest of the
file is the same for all of them. The data source is a variable, so that the import asks for it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent.parent / "contrib" / "grafana" / "voxray.json"
SOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
SCHEMA_VERSION = 38  # Grafana 10; later ones migrate it
IN = 'instance=~"$instance"'
RATE = "$__rate_interval"
FAILED = 'status="error"'


@dataclass(frozen=True)
class Panel:
    """`queries` are expression and legend."""

    title: str
    about: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    width: int = 8


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


def rate(metric: str, by: str = "", *more: str) -> str:
    labels = ", ".join((IN, *more))
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{labels}}}[{RATE}]))"


def quantiles(metric: str, by: str = "", *more: str) -> tuple[tuple[str, str], ...]:
    """p50 and p95."""
    labels, name = ", ".join((IN, *more)), f" {{{{{by}}}}}" if by else ""
    inner = f"sum by (le{f', {by}' if by else ''}) (rate({metric}_bucket{{{labels}}}[{RATE}]))"
    return tuple((f"histogram_quantile({q / 100}, {inner})", f"p{q}{name}") for q in (50, 95))


def p95(metric: str, legend: str, percent: int = 95) -> tuple[str, str]:
    inner = f"sum by (le) (rate({metric}_bucket{{{IN}}}[{RATE}]))"
    return f"histogram_quantile({percent / 100}, {inner})", legend


def per_stage(suffix: str, by: str) -> tuple[tuple[str, str], ...]:
    return tuple((rate(f"{s}_{suffix}", by), f"{s} {{{{{by}}}}}") for s in ("stt", "llm", "tts"))


CALLS = Row(
    "Calls",
    (
        Panel(
            "Calls now",
            "Calls with a media stream, and those that are about to have one.",
            "short",
            (
                (f"sum (voxray_calls_active{{{IN}}})", "active"),
                (f"sum (voxray_calls_expected{{{IN}}})", "expected"),
                (f"sum (voxray_dials_ringing{{{IN}}})", "ringing"),
            ),
        ),
        Panel(
            "Calls that began, were refused",
            "Refused ones hear busy, or go to the carrier's fallback.",
            "cps",
            (
                (rate("voxray_calls_started_total"), "began"),
                (rate("voxray_calls_refused_total", "reason"), "refused: {{reason}}"),
            ),
        ),
        Panel(
            "Why calls ended",
            "docs/cdr.md says what each reason means.",
            "cps",
            ((rate("voxray_calls_ended_total", "reason"), "{{reason}}"),),
        ),
        Panel(
            "Calls that we placed",
            "By what came of them.",
            "cps",
            ((rate("voxray_dials_total", "outcome"), "{{outcome}}"),),
        ),
        Panel(
            "Media sockets closed",
            "Other than stop and hung_up: carriers or networks.",
            "cps",
            ((rate("voxray_media_closed_total", "reason"), "{{reason}}"),),
        ),
        Panel(
            "Hang-ups and transfers",
            "As the carrier's API answered.",
            "cps",
            (
                (rate("voxray_hangups_total", "outcome"), "hang-up: {{outcome}}"),
                (rate("voxray_transfers_total", "outcome"), "transfer: {{outcome}}"),
            ),
        ),
    ),
)

LATENCY = Row(
    "Latency",
    (
        Panel(
            "From the caller's last word to our first",
            "What a caller feels.",
            "s",
            quantiles("voxray_turn_latency_seconds", "", 'stage="total"'),
        ),
        Panel(
            "Parts of a turn",
            "endpoint: waiting to be sure that the caller is done; own: ours alone.",
            "s",
            quantiles("voxray_turn_latency_seconds", "stage", 'stage!="total"'),
        ),
        Panel(
            "Speech recognised",
            "From the request to the words.",
            "s",
            quantiles("stt_time_to_first_token_seconds", "model"),
        ),
        Panel(
            "First words of a reply",
            "From the request to the model's first token.",
            "s",
            quantiles("llm_time_to_first_token_seconds", "model"),
        ),
        Panel(
            "First audio of a sentence",
            "From the request to the voice's first audio.",
            "s",
            quantiles("tts_time_to_first_audio_chunk_seconds", "model"),
        ),
        Panel(
            "Whole answers",
            "To the end of the transcript, the reply, the sentence; the 95th percentile.",
            "s",
            (
                p95("stt_transcription_latency_seconds", "stt"),
                p95("llm_generation_latency_seconds", "llm"),
                p95("tts_synthesis_latency_seconds", "tts"),
            ),
        ),
        Panel(
            "Between two tokens",
            "A reply that comes in fits and starts.",
            "s",
            quantiles("llm_inter_token_latency_seconds", "model"),
        ),
        Panel(
            "Behind",
            "Words behind the speech; speech behind being spoken. The 95th percentile.",
            "s",
            (p95("stt_streaming_lag_seconds", "transcript"), p95("tts_streaming_lag_seconds", "voice")),
        ),
    ),
)

BARGE_IN = Row(
    "Interruptions and sound",
    (
        Panel(
            "Barge-in",
            "From the caller's first interrupting word to our silence.",
            "s",
            quantiles("voxray_bargein_seconds"),
        ),
        Panel(
            "Interruptions",
            "false: the agent went on; ignored: a hm that did not count.",
            "cps",
            ((rate("voxray_interruptions_total", "outcome"), "{{outcome}}"),),
        ),
        Panel(
            "Replies that ran dry",
            "The caller heard a gap in a sentence.",
            "cps",
            (
                (rate("voxray_playout_underruns_total"), "underruns"),
                (rate("voxray_dropped_audio_total"), "dropped: the carrier does not read"),
            ),
        ),
        Panel(
            "Audio that waits",
            "Packets of callers' audio, of all calls.",
            "short",
            ((f"sum by (stage) (voxray_pipeline_queue_depth{{{IN}}})", "{{stage}}"),),
        ),
        Panel(
            "Audio that was dropped",
            "Packets that waited for too long.",
            "cps",
            ((rate("voxray_pipeline_dropped_total", "stage"), "{{stage}}"),),
        ),
    ),
)

PROVIDERS = Row(
    "Providers",
    (
        Panel(
            "Errors by stage",
            "A caller hears an apology, or nothing.",
            "cps",
            per_stage("errors_total", "error_type"),
        ),
        Panel("Errors by model", "", "cps", per_stage("errors_total", "model")),
        Panel(
            "Share of requests that failed",
            "Of all, by stage.",
            "percentunit",
            tuple(
                (f"{rate(m, '', FAILED)} / {rate(m)}", stage)
                for stage, m in (
                    ("stt", "stt_transcription_latency_seconds_count"),
                    ("llm", "llm_generation_latency_seconds_count"),
                    ("tts", "tts_synthesis_latency_seconds_count"),
                )
            ),
        ),
        Panel(
            "Tried again, or elsewhere",
            "",
            "cps",
            ((rate("llm_retries_total", "model"), "retry {{model}}"), *per_stage("fallback_total", "model")),
        ),
        Panel(
            "Connections to vendors",
            "Those that stay after the calls are billed by some.",
            "short",
            ((f"sum (voxray_provider_sockets{{{IN}}})", "open"),),
        ),
    ),
)

ERRORS = Row(
    "Errors",
    (
        Panel(
            "Faults of ours",
            "Each ended a call; the log has the traceback.",
            "cps",
            ((rate("voxray_call_errors_total", "where"), "{{where}}"),),
        ),
        Panel(
            "Not let in",
            "Webhooks and sockets without a valid signature or token.",
            "cps",
            ((rate("voxray_auth_failures_total", "where, reason"), "{{where}}: {{reason}}"),),
        ),
        Panel(
            "Messages not understood",
            "From carriers.",
            "cps",
            (
                (rate("voxray_bad_messages_total", "reason"), "bad: {{reason}}"),
                (rate("voxray_ignored_messages_total", "reason"), "ignored: {{reason}}"),
            ),
        ),
        Panel(
            "Lost",
            "Call records that are not in cdr_file, and lines that are not in the log.",
            "cps",
            ((rate("voxray_cdr_lost_total"), "records"), (rate("voxray_log_lines_lost_total"), "log lines")),
        ),
        Panel(
            "Configuration",
            "kept: the new one cannot serve, see the log.",
            "short",
            (
                (f"sum by (outcome) (increase(voxray_config_reload_total{{{IN}}}[$__range]))", "{{outcome}}"),
                (f"max by (what) (voxray_insecure_config{{{IN}}})", "insecure: {{what}}"),
            ),
        ),
        Panel(
            "The certificate expires in",
            "Nothing here: no TLS of our own.",
            "s",
            ((f"min (voxray_tls_not_after_timestamp_seconds{{{IN}}}) - time()", "expires"),),
            kind="stat",
        ),
    ),
)

HTTP = Row(
    "HTTP",
    (
        Panel(
            "Requests",
            "",
            "reqps",
            ((rate("http_requests_total", "route, status_code"), "{{route}} {{status_code}}"),),
        ),
        Panel(
            "Errors",
            "",
            "reqps",
            ((rate("http_errors_total", "route, error_type"), "{{route}} {{error_type}}"),),
        ),
        Panel("Time to answer", "", "s", quantiles("http_request_duration_seconds", "route")),
        Panel(
            "Open now",
            "Requests, and media sockets.",
            "short",
            ((f"sum by (route) (http_active_connections{{{IN}}})", "{{route}}"),),
        ),
        Panel(
            "Too slow",
            "Connections cut in the middle of a request or answer.",
            "reqps",
            ((rate("http_timeout_total", "route"), "{{route}}"),),
        ),
    ),
)

REACTOR = Row(
    "Reactor",
    (
        Panel(
            "Lag",
            "Lateness of a 100 ms timer: above 20 ms calls begin to sound bad.",
            "s",
            (*quantiles("voxray_reactor_lag_seconds"), p95("voxray_reactor_lag_seconds", "p99", 99)),
        ),
        Panel(
            "Timers",
            "",
            "short",
            ((f"sum by (instance) (voxray_reactor_delayed_calls{{{IN}}})", "{{instance}}"),),
        ),
        Panel(
            "Waiting for a thread",
            "",
            "short",
            ((f"sum by (pool) (voxray_worker_queue_depth{{{IN}}})", "{{pool}}"),),
        ),
    ),
)

STORES = Row(
    "Stores",
    (
        Panel(
            "Doing without",
            "1 while something is down.",
            "short",
            ((f"max by (instance, what) (voxray_degraded{{{IN}}})", "{{instance}} {{what}}"),),
        ),
        Panel(
            "Redis is there",
            "Nothing here: sessions are in memory.",
            "short",
            ((f"min by (instance) (voxray_store_up{{{IN}}})", "{{instance}}"),),
        ),
        Panel(
            "Not answered by Redis",
            "",
            "cps",
            (
                (rate("voxray_store_failures_total", "reason"), "{{reason}}"),
                (rate("voxray_store_poisoned_total", "what"), "not ours: {{what}}"),
            ),
        ),
    ),
)

PROCESS = Row(
    "Process",
    (
        Panel("Memory", "", "bytes", ((f"process_resident_memory_bytes{{{IN}}}", "{{instance}}"),)),
        Panel(
            "CPU",
            "1 is one core.",
            "percentunit",
            ((rate("process_cpu_seconds_total", "instance"), "{{instance}}"),),
        ),
        Panel(
            "Open descriptors",
            "Of those that there may be.",
            "percentunit",
            ((f"process_open_fds{{{IN}}} / process_max_fds{{{IN}}}", "{{instance}}"),),
        ),
        Panel(
            "Running",
            "",
            "none",
            ((f"voxray_build_info{{{IN}}}", "{{instance}}: {{version}}, Python {{python}}"),),
            kind="stat",
        ),
        Panel(
            "Since", "", "s", ((f"time() - process_start_time_seconds{{{IN}}}", "{{instance}}"),), kind="stat"
        ),
        Panel(
            "Serving",
            "1: up, 0: not; draining: 1 while no new calls are taken.",
            "none",
            ((f"voxray_up{{{IN}}}", "{{instance}}"), (f"voxray_draining{{{IN}}}", "{{instance}} draining")),
            kind="stat",
        ),
    ),
)

ROWS = (CALLS, LATENCY, BARGE_IN, PROVIDERS, ERRORS, HTTP, REACTOR, STORES, PROCESS)


def panels(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows one under the other, three panels beside each other."""
    made: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        place = {"h": 1, "w": 24, "x": 0, "y": top}
        made.append(
            {
                "id": len(made) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        top += 1
        for number, each in enumerate(row.panels):
            place = {"h": 8, "w": each.width, "x": number % 3 * 8, "y": top + number // 3 * 8}
            made.append(panel(each, len(made) + 1, place))
        top += (len(row.panels) + 2) // 3 * 8
    return made


def panel(each: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": each.kind,
        "title": each.title,
        "description": each.about,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": each.unit, "min": 0}, "overrides": []},
        "options": _options(each.kind),
        "targets": [
            {"refId": chr(65 + i), "datasource": SOURCE, "expr": expr, "legendFormat": legend, "range": True}
            for i, (expr, legend) in enumerate(each.queries)
        ],
    }


def _options(kind: str) -> dict[str, Any]:
    if kind == "stat":
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "auto",
            "colorMode": "none",
            "graphMode": "none",
        }
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def dashboard() -> dict[str, Any]:
    name = {"name": "DS_PROMETHEUS", "label": "Prometheus"}
    return {
        "__inputs": [
            {
                **name,
                "description": "",
                "type": "datasource",
                "pluginId": "prometheus",
                "pluginName": "Prometheus",
            }
        ],
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.0.0"},
            {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
            {"type": "panel", "id": "timeseries", "name": "Time series", "version": ""},
            {"type": "panel", "id": "stat", "name": "Stat", "version": ""},
        ],
        "annotations": {"list": []},
        "description": "Calls, latencies and health of Voxray. Made by scripts/dashboard.py.",
        "editable": True,
        "graphTooltip": 1,
        "id": None,
        "links": [],
        "panels": panels(ROWS),
        "refresh": "30s",
        "schemaVersion": SCHEMA_VERSION,
        "tags": ["voxray", "telephony"],
        "templating": {
            "list": [
                {
                    "name": "instance",
                    "label": "Instance",
                    "type": "query",
                    "datasource": SOURCE,
                    "query": {"query": "label_values(voxray_up, instance)", "refId": "instance"},
                    "definition": "label_values(voxray_up, instance)",
                    "includeAll": True,
                    "allValue": ".+",
                    "multi": True,
                    "refresh": 2,
                    "sort": 1,
                    "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
                    "hide": 0,
                    "options": [],
                    "regex": "",
                    "skipUrlSync": False,
                }
            ]
        },
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "timezone": "",
        "title": "Voxray",
        "uid": "voxray",
        "version": 1,
        "weekStart": "",
    }


def main() -> int:
    text = json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"
    if "--check" in sys.argv[1:]:
        current = PATH.is_file() and PATH.read_text(encoding="utf-8") == text
        if not current:
            print(f"{PATH.name} is not current: run python scripts/dashboard.py")
        return 0 if current else 1
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
