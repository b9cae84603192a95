"""What a value may be: each kind reads one JSON value or one environment string, or says why not.

Pure and total: a reader returns the typed value or raises `BadValue` whose text completes the
sentence "<key> must be ...". The traps of Python's JSON are met here: `true` is an int, NaN and
1e999 are floats, a whole number may have a thousand digits, a string may hold half a character.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from voxray.config.names import nearest

TRUE_WORDS = frozenset({"true", "1"})
FALSE_WORDS = frozenset({"false", "0"})
SECONDS_MAX = 31_536_000.0  # a year: longer is a slip of the keyboard


class BadValue(Exception):
    """The text says what the value must be."""


class Kind(Protocol):
    """How to read a value; `word` names the type in the documentation."""

    @property
    def word(self) -> str: ...

    def from_json(self, value: object) -> object:
        """Raises BadValue."""

    def from_env(self, text: str) -> object:
        """Raises BadValue."""


def words(names: tuple[str, ...]) -> str:
    """'"a", "b" or "c"', for people."""
    quoted = [f'"{name}"' for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def plain_text(value: object) -> str:
    """A string that can be written to a log, a header or a file."""
    if not isinstance(value, str):
        raise BadValue("a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadValue("text (it holds half of a surrogate pair)") from None
    if "\0" in value:
        raise BadValue("text without NUL characters")
    return value


@dataclass(frozen=True, slots=True)
class Text:
    """Any text."""

    word: str = "string"

    def from_json(self, value: object) -> object:
        return plain_text(value)

    def from_env(self, text: str) -> object:
        return self.from_json(text)


@dataclass(frozen=True, slots=True)
class FilePath:
    """A path; the loader makes it absolute, from the directory of the file that names it."""

    word: str = "path"

    def from_json(self, value: object) -> object:
        return plain_text(value)

    def from_env(self, text: str) -> object:
        return self.from_json(text)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words, in any case; `""` stands for the default where it is listed."""

    options: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...] = ()

    @property
    def word(self) -> str:
        return " \\| ".join(f"`{option}`" if option else '""' for option in self.options)

    def from_json(self, value: object) -> object:
        text = plain_text(value).strip().lower()
        text = dict(self.aliases).get(text, text)
        if text in self.options:
            return text
        close = nearest(text, self.options)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        raise BadValue(f"{words(self.options)}{hint}")

    def from_env(self, text: str) -> object:
        return self.from_json(text)


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false. In the environment `true` (any case) and `1` are true, all else is false."""

    word: str = "bool"

    def from_json(self, value: object) -> object:
        if not isinstance(value, bool):
            raise BadValue("true or false, without quotes")
        return value

    def from_env(self, text: str) -> object:
        return text.strip().lower() in TRUE_WORDS


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number between two bounds, both allowed."""

    low: int
    high: int
    word: str = "int"

    def from_json(self, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise BadValue(f"a whole number from {self.low} to {self.high}")
        return value

    def from_env(self, text: str) -> object:
        try:
            return self.from_json(int(text.strip()))
        except ValueError:  # also for more digits than int() reads
            return self.from_json(None)


@dataclass(frozen=True, slots=True)
class WholeChoice:
    """One of a few whole numbers."""

    options: tuple[int, ...]

    @property
    def word(self) -> str:
        return " \\| ".join(f"`{option}`" for option in self.options)

    def from_json(self, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int) or value not in self.options:
            *others, last = map(str, self.options)
            raise BadValue(f"{', '.join(others)} or {last}")
        return value

    def from_env(self, text: str) -> object:
        try:
            return self.from_json(int(text.strip()))
        except ValueError:
            return self.from_json(None)


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number between two bounds, both allowed; `negative_is_off` reads less than 0 as 0."""

    low: float = 0.0
    high: float = SECONDS_MAX
    negative_is_off: bool = False
    word: str = "number"

    def from_json(self, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._bad()
        try:
            number = float(value)
        except OverflowError:
            raise self._bad() from None
        if self.negative_is_off and number < 0 and math.isfinite(number):
            return 0.0
        if not self.low <= number <= self.high:  # NaN is in no range
            raise self._bad()
        return number

    def from_env(self, text: str) -> object:
        try:
            return self.from_json(float(text.strip()))
        except ValueError:
            raise self._bad() from None

    def _bad(self) -> BadValue:
        return BadValue(f"a number from {self.low:g} to {self.high:g}")


@dataclass(frozen=True, slots=True)
class Texts:
    """A list of strings; in the environment, separated by commas."""

    one_will_do: bool = False  # a single string stands for a list of one

    @property
    def word(self) -> str:
        return "string or list" if self.one_will_do else "list of strings"

    def from_json(self, value: object) -> object:
        if self.one_will_do and isinstance(value, str):
            value = [value] if value.strip() else []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise BadValue('a list of strings, such as ["a", "b"]')
        return tuple(item.strip() for item in map(plain_text, value) if item.strip())

    def from_env(self, text: str) -> object:
        return self.from_json(text.split(","))


@dataclass(frozen=True, slots=True)
class Secrets:
    """A key or several; in the environment always one, commas and all."""

    word: str = "string or list"

    def from_json(self, value: object) -> object:
        keys = Texts(one_will_do=True).from_json(value)
        assert isinstance(keys, tuple)
        return tuple(header_text(key) for key in keys)

    def from_env(self, text: str) -> object:
        return self.from_json(text)


@dataclass(frozen=True, slots=True)
class Networks:
    """Addresses or CIDR blocks."""

    word: str = "list of addresses"

    def from_json(self, value: object) -> object:
        items = Texts().from_json(value)
        assert isinstance(items, tuple)
        for item in items:
            try:
                ipaddress.ip_network(item, strict=False)
            except ValueError:
                raise BadValue('a list of addresses or blocks, such as ["10.0.0.0/8", "127.0.0.1"]') from None
        return items

    def from_env(self, text: str) -> object:
        return self.from_json(text.split(","))


@dataclass(frozen=True, slots=True)
class Options:
    """A name -> any JSON value; frozen all the way down. Not from the environment."""

    word: str = "object"

    def from_json(self, value: object) -> object:
        if not isinstance(value, dict):
            raise BadValue('an object, such as {"name": {...}}')
        return frozen(value)

    def from_env(self, text: str) -> object:
        raise BadValue("set in the file")


def header_text(value: object) -> str:
    """A credential: it travels in HTTP headers, so printable ASCII only. Raises BadValue."""
    if not isinstance(value, str):
        raise BadValue("a string")
    text = value.strip()
    if not all("!" <= c <= "~" for c in text):
        raise BadValue("printable ASCII without spaces (was it pasted whole?)")
    return text


def frozen(value: object) -> object:
    """A JSON value that cannot be changed: objects as read-only mappings, lists as tuples."""
    if isinstance(value, dict):
        return MappingProxyType(
            {str(k): frozen(v) for k, v in value.items() if not str(k).startswith("_comment")}
        )
    if isinstance(value, list):
        return tuple(frozen(item) for item in value)
    return value
