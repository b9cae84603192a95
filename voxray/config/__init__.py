"""The owner's configuration: a JSON file and the environment, made into `voxray.settings.Settings`.

The table of keys is in `keys`; `read` reads the file (`source`: which one), `values` types what was given,
`assemble` applies defaults and rules, `checks` refuses what cannot work. Imports neither twisted nor numpy: a
mistake is reported at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import MappingProxyType

from voxray.config.assemble import assemble
from voxray.config.checks import check
from voxray.config.credentials import DIRECTORY_ENV
from voxray.config.read import choose_path, parse_document, read_document
from voxray.config.values import Reader
from voxray.errors import ConfigError
from voxray.settings import Settings

__all__ = ["Loaded", "from_document", "load", "wants_json"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of it."""

    settings: Settings
    warnings: tuple[str, ...]
    origins: Mapping[str, str]
    """key -> "file", the variable or the option that set it; absent: the default."""
    given: Mapping[str, object] = field(repr=False)
    """key -> its value, of those that were set, before rules that join several keys; secrets too."""


def installed(package: str) -> bool:
    """Whether a top-level package is there; it is not imported."""
    return find_spec(package) is not None


def load(
    path: str | None,
    environ: Mapping[str, str],
    *,
    overrides: Mapping[str, str] | None = None,
    strict: bool = False,
    installed: Callable[[str], bool] = installed,
    cwd: str = "",
    text: bytes | None = None,
) -> Loaded:
    """Reads `path` (None: VOXRAY_CONFIG, else /etc/voxray.json). Raises ConfigError.

    `overrides` maps keys to texts from the command line; they win over the environment. `cwd` is where
    relative paths in those two start; empty: the working directory. `text`: what was read of the file before.
    """
    mistakes: list[str] = []
    cwd = cwd or os.getcwd()
    chosen = choose_path(path, environ, cwd)
    if text is None:
        document = read_document(chosen, mistakes.append)
    else:
        document = parse_document(text, chosen, mistakes.append)
    reader = Reader(
        chosen,
        os.path.dirname(chosen),
        cwd,
        credentials=environ.get(DIRECTORY_ENV, ""),
        mistakes=mistakes,
    )
    return _finish(reader, document, environ, overrides or {}, strict, installed)


def wants_json(path: str | None, environ: Mapping[str, str]) -> bool:
    """Whether even a configuration that is refused asks for `json_logs`, as far as it can be read."""
    if said := environ.get("VOXRAY_JSON_LOGS"):
        return said.strip().lower() in ("1", "true")
    try:
        return read_document(choose_path(path, environ), lambda text: None).get("json_logs") is True
    except ConfigError:
        return False


def from_document(
    document: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    directory: str = "/",
    strict: bool = False,
    installed: Callable[[str], bool] = installed,
) -> Loaded:
    """The same from an object already parsed, such as a test's. Raises ConfigError."""
    reader = Reader("the configuration", directory, directory, credentials=environ.get(DIRECTORY_ENV, ""))
    return _finish(reader, document, environ, {}, strict, installed)


def _finish(
    reader: Reader,
    document: Mapping[str, object],
    environ: Mapping[str, str],
    overrides: Mapping[str, str],
    strict: bool,
    installed: Callable[[str], bool],
) -> Loaded:
    reader.read_document(document)
    reader.read_environment(environ)
    for name, text in overrides.items():
        reader.override(name, text, f"--{OPTION_OF.get(name, name)}")
    if strict and reader.mistakes:
        raise ConfigError(f"--strict: {'; '.join(reader.mistakes)}")
    settings = assemble(reader, installed)
    warnings = (*reader.mistakes, *check(settings, reader))
    origins, given = MappingProxyType(dict(reader.origins)), MappingProxyType(dict(reader.values))
    return Loaded(settings, warnings, origins, given)


OPTION_OF = MappingProxyType({"runner_transport": "transport", "proxy_host": "proxy"})
"""The command line's names for keys; others are called the same."""
