"""The local agent's script: read from JSON, checked, and put into words. Pure but for `load`.

The shipped file documents the format in its own `_comment`. A mistake in a user's copy is a ConfigError
that names the file, the place and what to write instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from string import Formatter
from typing import Any

from voxray.errors import ConfigError
from voxray.frames import MAX_KEYS, keys_of

SHIPPED = "scenario-receptionist.json"
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "today", "tomorrow")
PLACEHOLDERS = frozenset({"agent", "business", "day", "time", "name", "said", "question"})


@dataclass(frozen=True, slots=True)
class Fact:
    """A question the agent can answer, and what it then does."""

    id: str
    words: tuple[str, ...]
    answer: str
    transfer: str = ""  # a name of the configuration's `transfers`
    press: str = ""  # keys


@dataclass(frozen=True, slots=True)
class Scenario:
    """All the agent knows. Hours are of the 24 hour clock; `closes` is the last a visit may begin."""

    agent: str
    business: str
    booking_words: tuple[str, ...]
    days: tuple[str, ...]
    opens: int
    closes: int
    facts: tuple[Fact, ...]
    lines: Mapping[str, str]

    def say(self, line: str, **values: str) -> str:
        """A line with its placeholders filled; those without a value are left out."""
        return self.fill(self.lines[line], **values)

    def fill(self, text: str, **values: str) -> str:
        known = {"agent": self.agent, "business": self.business, **values}
        return " ".join(text.format_map(dict.fromkeys(PLACEHOLDERS, "") | known).split())


def load(path: str = "", transfers: Collection[str] = ()) -> Scenario:
    """The scenario in a file; the shipped one when `path` is empty. Raises ConfigError.

    `transfers` are the names that its facts may transfer to.
    """
    shipped = json.loads((files("voxray") / "data" / SHIPPED).read_text("utf-8"))
    if not path:
        return parse(shipped, shipped, SHIPPED, transfers)
    try:
        own = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"scenario_file: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"scenario_file: {path} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"scenario_file: {path}, line {error.lineno}: {error.msg}") from error
    return parse(own, shipped, path, transfers)


def parse(own: Any, shipped: Mapping[str, Any], where: str, transfers: Collection[str] = ()) -> Scenario:
    """Checks `own`; what it leaves out comes from `shipped`. Raises ConfigError."""
    top = _table(own, shipped, where)
    if "business" not in own:
        raise ConfigError(f'{where}: "business" is missing: the name of your office')
    appointment = _table(top["appointment"], shipped["appointment"], f"{where}: appointment")
    opens, closes = (_hour(appointment[key], f"{where}: appointment.{key}") for key in ("opens", "closes"))
    if closes < opens:
        raise ConfigError(f"{where}: appointment.closes ({closes}) is before opens ({opens})")
    lines = _table(top["lines"], shipped["lines"], f"{where}: lines")
    return Scenario(
        agent=_text(top["agent"], f"{where}: agent"),
        business=_text(top["business"], f"{where}: business"),
        booking_words=_words(appointment["words"], f"{where}: appointment.words"),
        days=_days(appointment["days"], f"{where}: appointment.days"),
        opens=opens,
        closes=closes,
        facts=_facts(top["facts"], where, transfers),
        lines={key: _line(value, f"{where}: lines.{key}") for key, value in lines.items()},
    )


def _table(own: Any, shipped: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`own` over `shipped`, without comments; a key nobody knows is refused with the nearest known."""
    if not isinstance(own, dict):
        raise ConfigError(f"{where}: an object {{...}} is wanted, not {_kind(own)}")
    for key in own:
        if key not in shipped and not key.startswith("_"):
            near = get_close_matches(key, shipped, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(_plain(shipped))}"
            raise ConfigError(f"{where}: unknown key {key!r}{hint}")
    return {key: own.get(key, shipped[key]) for key in _plain(shipped)}


def _plain(table: Mapping[str, Any]) -> list[str]:
    return [key for key in table if not key.startswith("_")]


def _kind(value: Any) -> str:
    kinds: dict[type, str] = {
        str: "text",
        bool: "true/false",
        int: "a number",
        float: "a number",
        list: "a list",
    }
    return kinds.get(type(value), "null" if value is None else "an object")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{where}: some text is wanted" + ("" if value == "" else f", not {_kind(value)}"))
    return value.strip()


def _line(value: Any, where: str) -> str:
    text = _text(value, where)
    try:
        fields = [field[1:] for field in Formatter().parse(text) if field[1] is not None]
    except ValueError as error:
        raise ConfigError(f"{where}: {error}; a brace that is to be said is written twice") from error
    for name, spec, conversion in fields:
        if name not in PLACEHOLDERS or spec or conversion:
            known = ", ".join(f"{{{name}}}" for name in sorted(PLACEHOLDERS))
            raise ConfigError(f"{where}: unknown placeholder {{{name}}}; known are {known}")
    return text


def _list(value: Any, where: str, item: Callable[[Any, str], Any]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{where}: a list [...] is wanted, not {_kind(value)}")
    return tuple(item(each, f"{where}[{index}]") for index, each in enumerate(value))


def _words(value: Any, where: str) -> tuple[str, ...]:
    words: tuple[str, ...] = tuple(word.lower() for word in _list(value, where, _text))
    if not words:
        raise ConfigError(f"{where}: at least one word is wanted")
    return words


def _days(value: Any, where: str) -> tuple[str, ...]:
    days = _words(value, where)
    for day in days:
        if day not in DAYS:
            raise ConfigError(f"{where}: unknown day {day!r}; known are {', '.join(DAYS)}")
    return days


def _hour(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 23:
        raise ConfigError(f"{where}: an hour from 0 to 23 is wanted, not {value!r}")
    return value


_FACT = {"id": "", "words": [], "answer": "", "transfer": "", "press": ""}


def _facts(value: Any, where: str, transfers: Collection[str]) -> tuple[Fact, ...]:
    def fact(each: Any, place: str) -> Fact:
        table = _table(each, _FACT, place)
        return Fact(
            _text(table["id"], f"{place}.id"),
            _words(table["words"], f"{place}.words"),
            _line(table["answer"], f"{place}.answer"),
            _transfer(table["transfer"], f"{place}.transfer", transfers),
            _press(table["press"], f"{place}.press"),
        )

    return _list(value, f"{where}: facts", fact)


def _transfer(value: Any, where: str, transfers: Collection[str]) -> str:
    if value == "":
        return ""
    name = " ".join(_text(value, where).split())
    if name not in transfers:
        known = ", ".join(transfers) or "none"
        raise ConfigError(f"{where}: {name!r} is not a name in the configuration's transfers; known: {known}")
    return name


def _press(value: Any, where: str) -> str:
    if value == "":
        return ""
    keys = keys_of(_text(value, where))
    if not keys:
        raise ConfigError(f"{where}: 1 to {MAX_KEYS} of 0-9, *, #, A-D and w (half a second) are wanted")
    return keys
