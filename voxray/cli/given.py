"""The configuration as the daemon would have it: the same file, variables and options.

A service has other variables than the shell that a command is typed in: those of `--env-file`, or those of
the package's service where its own configuration is asked for.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from voxray import config
from voxray.config.credentials import DIRECTORY_ENV
from voxray.config.read import DEFAULT_PATH, choose_path
from voxray.errors import ConfigError
from voxray.masking import secrets_in
from voxray.settings import Settings

SERVICE_VARIABLES = "/etc/default/voxray"
SERVICE_CREDENTIALS = "/etc/voxray/credentials"
OPTIONS = {"transport": "runner_transport", "port": "port", "proxy": "proxy_host"}
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Given:
    """A configuration that the daemon would take."""

    path: str
    loaded: config.Loaded
    environ: Mapping[str, str]
    notes: tuple[str, ...] = ()
    """What could not be looked at, and so may differ for the daemon."""

    @property
    def settings(self) -> Settings:
        return self.loaded.settings

    @property
    def secrets(self) -> list[str]:
        return secrets_in(self.settings)


def given(options: argparse.Namespace, environ: Mapping[str, str]) -> Given:
    """Raises ConfigError."""
    path = choose_path(options.config, environ)
    notes: list[str] = []
    seen = dict(environ) | _service(options.env_file, path, notes)
    if DIRECTORY_ENV not in seen and os.path.isdir(SERVICE_CREDENTIALS):
        seen[DIRECTORY_ENV] = SERVICE_CREDENTIALS
    typed = {key: getattr(options, option) for option, key in OPTIONS.items()}
    overrides = {key: value for key, value in typed.items() if value is not None}
    strict = bool(getattr(options, "strict", False))
    return Given(path, config.load(path, seen, overrides=overrides, strict=strict), seen, tuple(notes))


# -- a file of variables -----------------------------------------------------------
def _service(named: str | None, path: str, notes: list[str]) -> dict[str, str]:
    """The variables of `--env-file`; without it the service's, where this is its configuration."""
    if named:
        try:
            return variables(_read(named))
        except OSError as error:
            raise ConfigError(f"--env-file: cannot read {named!a}: {error.strerror}") from None
    if path != DEFAULT_PATH:
        return {}
    try:
        return variables(_read(SERVICE_VARIABLES))
    except FileNotFoundError:
        return {}
    except OSError as error:
        notes.append(
            f"{SERVICE_VARIABLES}: {error.strerror}: the service may have keys that are not seen here"
        )
        return {}


def _read(path: str) -> str:
    with Path(path).open("rb") as file:
        return file.read(_MAX_BYTES).decode("utf-8", "replace")


def variables(text: str) -> dict[str, str]:
    """As systemd reads it: NAME=VALUE a line, quotes around values, comments with # or ;. Pure."""
    found: dict[str, str] = {}
    for line in text.replace("\\\n", "").splitlines():
        name, equals, value = line.strip().partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name or name[0] in "#;" or "\0" in line:
            continue
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        found[name] = value
    return found
