"""From a file to a JSON object, or one line that says where it is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping

from voxray.errors import ConfigError

SIZE_MAX = 4 * 1024 * 1024
DEFAULT_PATH = "/etc/voxray.json"
PATH_ENV = "VOXRAY_CONFIG"


def choose_path(option: str | None, environ: Mapping[str, str], cwd: str = "") -> str:
    """The option, else VOXRAY_CONFIG, else /etc/voxray.json; absolute. Raises ConfigError."""
    path = option or environ.get(PATH_ENV) or DEFAULT_PATH
    if "\0" in path:
        raise ConfigError("the configuration's path holds a NUL character")
    return os.path.abspath(os.path.join(cwd, path))


def read_document(path: str, warn: Callable[[str], None]) -> dict[str, object]:
    """The top-level object of the file. Raises ConfigError."""
    return parse_document(read_bytes(path), path, warn)


def read_bytes(path: str) -> bytes:
    """Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            data = file.read(SIZE_MAX + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration at {path}: name one with --config FILE or {PATH_ENV}"
        ) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from None
    if len(data) > SIZE_MAX:
        raise ConfigError(f"{path} is larger than {SIZE_MAX >> 20} MiB: that is no configuration")
    return data


def parse_document(data: bytes, path: str, warn: Callable[[str], None]) -> dict[str, object]:
    """Raises ConfigError; `warn` hears of keys that are there twice (the last one holds)."""

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        result: dict[str, object] = {}
        for name, value in items:
            if name in result and not name.startswith("_comment"):
                warn(f"{quoted(name)} is there more than once in {path}: the last one holds")
            result[name] = value
        return result

    def constant(name: str) -> object:
        raise ConfigError(f"{path}: {name} is not JSON: write a number")

    try:
        text = data.decode("utf-8-sig")  # some editors write a byte order mark
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8: save the file in that encoding") from None
    try:
        document = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        where = f"{path}, line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{where}: not JSON: {_explain(text, error)}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None
    except ValueError:
        raise ConfigError(f"{path}: a number with thousands of digits") from None
    if not isinstance(document, dict):
        raise ConfigError(f'{path} must hold one JSON object, such as {{"runner_transport": "twilio"}}')
    return document


def _explain(text: str, error: json.JSONDecodeError) -> str:
    """The usual slips in words; else the decoder's own."""
    if not text.strip():
        return 'the file is empty: it must hold an object, such as {"runner_transport": "twilio"}'
    rest, before = text[error.pos : error.pos + 2], text[: error.pos].rstrip()
    if rest.startswith(("//", "/*", "#")):
        return 'JSON has no comments: use a key such as "_comment"'
    if rest.startswith("'"):
        return "strings take double quotes"
    if before.endswith(",") and rest[:1] in ("}", "]"):
        return "remove the comma before the closing bracket"
    return error.msg[:1].lower() + error.msg[1:]


def quoted(text: str, limit: int = 60) -> str:
    """A name or value from the file, fit for one line: JSON, ASCII, cut short."""
    shown = json.dumps(text)
    return shown if len(shown) <= limit else f'{shown[: limit - 4]}..."'
