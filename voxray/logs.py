"""How log events are written: text for people, or one JSON object a line (`{"level","msg",…}`).

`choose` is called once the settings are known, and when they are read again; `observer` is what twistd calls
when it starts logging. A line is always one line: control characters of a stranger's making are escaped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, formatEvent
from zope.interface import provider

from voxray.call.record import FIELDS
from voxray.logsink import PatientLines
from voxray.settings import LogSettings

LEVELS = {"debug": LogLevel.debug, "info": LogLevel.info, "warn": LogLevel.warn, "error": LogLevel.error}

JSON_FIELDS = ("event", *FIELDS, "turn", "interrupted", "parts_ms", "heard", "replied")
"""Fields of our events that are copied into a JSON line."""

_chosen = LogSettings()
_name = ""


def choose(settings: LogSettings) -> None:
    """What the `observer` writes from now on."""
    global _chosen
    _chosen = settings


def be_called(name: str) -> None:
    """This process is one of several: its lines say which."""
    global _name
    _name = name


def observer() -> ILogObserver:
    """For twistd's `--logger`: writes to standard output what the settings ask for."""
    return make_observer(sys.stdout, lambda: _chosen)


def make_observer(stream: IO[str] | None, settings: Callable[[], LogSettings]) -> ILogObserver:
    """Writes events of the level and above to `stream`; the settings are asked at every event."""

    def to_line(event: LogEvent) -> str:
        return json_line(event) if settings().json else text_line(event)

    lines = PatientLines(stream, to_line)

    def write(event: LogEvent) -> None:
        level = event.get("log_level")
        if level is not None and level >= LEVELS[settings().level]:
            lines.write(to_line(event) + "\n")

    observing: ILogObserver = provider(ILogObserver)(write)
    return observing


def text_line(event: LogEvent) -> str:
    """2026-11-23T10:00:00+0000 [namespace#level] message; a traceback follows on lines of its own."""
    if _name:
        level = event.get("log_level")
        system = f"{event.get('log_namespace', '-')}#{level.name if level is not None else '-'}"
        event = {**event, "log_system": f"{_name} {system}"}
    first, _, rest = eventAsText(event, includeTimestamp=True, includeSystem=True).partition("\n")
    if not event.get("log_failure"):
        first, rest = first + ("\\n" + rest if rest else ""), ""
    return _safe(first) + ("\n" + rest if rest else "")


def json_line(event: LogEvent) -> str:
    """One object; `msg` is the formatted text, `traceback` is there when something failed."""
    level = event.get("log_level")
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(timespec="milliseconds"),
        "level": level.name if level is not None else "info",
        "msg": formatEvent(event),
        "source": event.get("log_namespace", ""),
    }
    if _name:
        line["worker"] = _name
    line |= {name: event[name] for name in JSON_FIELDS if name in event}
    if failure := event.get("log_failure"):
        line["traceback"] = failure.getTraceback()
    return json.dumps(line, default=str)


def _safe(text: str) -> str:
    """Control characters, and the two Unicode line ends, as escapes."""
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)
