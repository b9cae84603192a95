"""How log events are written: text for people, or one JSON object a line (`{"time","level","msg",…}`).

`choose` is called once the settings are known, and when they are read again; `observer` is what twistd calls
when it starts logging. An event is always one line, of bounded length: control characters of a stranger's
making, and the line ends of tracebacks, are escaped. Secrets of the configuration are taken out by value, for
libraries and exceptions do not know that they are some.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import IO, Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, formatEvent
from zope.interface import provider

from voxray.call.record import FIELDS
from voxray.logsink import LOSSES, PatientLines
from voxray.masking import Masking
from voxray.settings import LogSettings

LEVELS = {"debug": LogLevel.debug, "info": LogLevel.info, "warn": LogLevel.warn, "error": LogLevel.error}

JSON_FIELDS = ("event", *FIELDS, "turn", "interrupted", "parts_ms", "heard", "replied")
"""Fields of our events that are copied into a JSON line."""

MAX_CHARS = 8_192
"""Of a message, or of one of its fields."""
MAX_TRACEBACK_CHARS = 32_768

_chosen = LogSettings()
_name = ""
_secrets: set[str] = set()
_masking = Masking()


def choose(settings: LogSettings) -> None:
    """What the `observer` writes from now on."""
    global _chosen
    _chosen = settings


def conceal(secrets: Iterable[str]) -> None:
    """Never to be written; those of before are not forgotten, for running calls keep theirs."""
    global _masking
    _secrets.update(secrets)
    _masking = Masking(_secrets)


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
        return _masking(json_line(event) if settings().json else text_line(event))

    lines = PatientLines(stream, to_line)

    def write(event: LogEvent) -> None:
        level = event.get("log_level")
        if level is not None and level >= LEVELS[settings().level]:
            lines.write(to_line(event) + "\n")

    observing: ILogObserver = provider(ILogObserver)(write)
    return observing


def lost() -> int:
    """Lines that nobody took, since the start."""
    return LOSSES.lines


def text_line(event: LogEvent) -> str:
    """2026-11-23T10:00:00+0000 [namespace#level] message; line ends, a traceback's too, are written \\n."""
    if _name:
        level = event.get("log_level")
        system = f"{event.get('log_namespace', '-')}#{level.name if level is not None else '-'}"
        event = {**event, "log_system": f"{_name} {system}"}
    text = eventAsText(event, includeTraceback=False, includeTimestamp=True, includeSystem=True)
    line = _safe(_cut(text))
    if failure := event.get("log_failure"):
        line += "\\n" + _safe(_traceback(failure))
    return line


def json_line(event: LogEvent) -> str:
    """One object; `msg` is the formatted text, `traceback` is there when something failed."""
    level = event.get("log_level")
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(timespec="milliseconds"),
        "level": level.name if level is not None else "info",
        "msg": _cut(formatEvent(event)),
        "source": _cut(_source(event)),
    }
    if _name:
        line["worker"] = _name
    line |= {name: event[name] for name in JSON_FIELDS if name in event}
    if failure := event.get("log_failure"):
        line["traceback"] = _traceback(failure)
    return json.dumps(_plain(line), allow_nan=False)


def early_line(text: str) -> str:
    """For what is wrong before there is a log: the text, or an object like the log's."""
    if not _chosen.json:
        return f"voxray: {text}"
    now = time.time()
    return json_line(
        {
            "log_format": "{text}",
            "text": text,
            "log_time": now,
            "log_level": LogLevel.critical,
            "log_namespace": "voxray",
        }
    )


def _source(event: LogEvent) -> str:
    """Who says it; Twisted's older modules have a system instead of a name."""
    name = event.get("log_namespace", "")
    return str(event.get("log_system") or name) if name in ("", "log_legacy") else str(name)


def _cut(text: str) -> str:
    """What a stranger may make of one line has an end."""
    over = len(text) - MAX_CHARS
    return text if over <= 0 else f"{text[:MAX_CHARS]}... ({over} more)"


def _traceback(failure: Any) -> str:
    """Its end says most."""
    try:
        return str(failure.getTraceback().strip()[-MAX_TRACEBACK_CHARS:])
    except Exception as error:  # noqa: BLE001 - an exception that cannot be shown is one, too
        return f"(no traceback: {type(error).__name__})"


def _plain(value: Any, depth: int = 3) -> Any:
    """What JSON has a form for; anything else as text. Lone halves of characters are none."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth and isinstance(value, dict):
        return {_plain(str(name)): _plain(_short(part), depth - 1) for name, part in value.items()}
    if depth and isinstance(value, (list, tuple)):
        return [_plain(_short(part), depth - 1) for part in value]
    return _plain(_cut(_shown(value)))


def _short(value: Any) -> Any:
    return _cut(value) if isinstance(value, str) and len(value) > MAX_TRACEBACK_CHARS else value


def _shown(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a line less would be worse
        return f"({type(value).__name__}: {type(error).__name__})"


def _safe(text: str) -> str:
    """Control characters, and the two Unicode line ends, as escapes."""
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in text)
