"""`voxray print-config`: every key with its value and where that comes from; no secret among them."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from voxray.cli.given import Given, given
from voxray.cli.report import Finding, Paper, Verdict
from voxray.config.key import Key
from voxray.config.keys import KEYS
from voxray.errors import ConfigError
from voxray.masking import HIDDEN, Masking

_SECRET_NAME = re.compile(r"key|token|secret|passw|auth|credential|cookie|dsn", re.IGNORECASE)
_SECRET_OPTION = re.compile(r"^(--?[\w-]*(?:key|token|secret|passw|auth)[\w-]*)(?:=.*)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One key as it stands. `origin` is default, file, variable or option; `by` names the latter two."""

    name: str
    value: object
    origin: str
    by: str = ""


def run(options: argparse.Namespace) -> int:
    """The exit status."""
    try:
        found = given(options, os.environ)
    except ConfigError as error:
        Paper(sys.stderr, os.environ).finding(Finding(Verdict.FAIL, "config", str(error)))
        return 1
    masking = Masking(found.secrets)
    paper, aside = (Paper(stream, os.environ, masking) for stream in (sys.stdout, sys.stderr))
    for text in (*found.loaded.warnings, *found.notes):
        aside.finding(Finding(Verdict.WARN, "config", text))
    shown = list(entries(found))
    if options.json:
        keys = {each.name: {"value": each.value, "origin": each.origin, "by": each.by} for each in shown}
        paper.document({"file": found.path, "keys": keys})
        return 0
    paper.line(f"# {found.path}")
    width = max(len(each.name) for each in shown)
    for each in shown:
        source = f"{each.origin} {each.by}".rstrip()
        paper.line(f"{each.name:<{width}}  {json.dumps(each.value, ensure_ascii=False)}  ({source})")
    return 0


def entries(found: Given) -> Iterator[Entry]:
    """In the order of the documentation."""
    origins = found.loaded.origins
    for key in KEYS.values():
        yield Entry(key.name, shown(key, value_of(key, found)), *_origin(origins.get(key.name, "")))
    providers = found.settings.providers
    for name in providers.api_keys:
        yield Entry(f"api_keys.{name}", HIDDEN, *_origin(origins.get(f"api_keys.{name}", "")))
    for name, url in providers.base_urls.items():
        yield Entry(f"base_urls.{name}", url, *_origin(origins.get(f"base_urls.{name}", "")))


def value_of(key: Key, found: Given) -> object:
    """What the daemon goes by; of a key that only has its say in another one's value, what was given."""
    if not key.field:
        return found.loaded.given.get(key.name, key.default)
    value: object = found.settings
    for name in key.field.split("."):
        value = getattr(value, name)
    return value


def shown(key: Key, value: object) -> object:
    """Fit for JSON and for anybody's eyes."""
    if key.secret:
        return HIDDEN if value else "" if isinstance(value, str) else []
    return _without_secrets(value)


def _without_secrets(value: object) -> object:
    """Options of plugins and tools may hold some under names of their own."""
    if isinstance(value, Mapping):
        return {
            name: HIDDEN if _SECRET_NAME.search(str(name)) and item else _without_secrets(item)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return _arguments([_without_secrets(item) for item in value])
    return value


def _arguments(items: list[object]) -> list[object]:
    """`--token=X` and `--token X`."""
    result: list[object] = []
    secret_next = False
    for item in items:
        option = _SECRET_OPTION.match(item) if isinstance(item, str) else None
        if option is not None:
            bare = option[1] == item
            result.append(item if bare else f"{option[1]}={HIDDEN}")
            secret_next = bare
            continue
        result.append(HIDDEN if secret_next else item)
        secret_next = False
    return result


def _origin(origin: str) -> tuple[str, str]:
    if not origin:
        return "default", ""
    if origin == "file" or origin.startswith(("api_keys.", "base_urls.")):
        return "file", ""
    return ("option", origin) if origin.startswith("--") else ("variable", origin)
