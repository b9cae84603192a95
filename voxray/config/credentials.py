"""Secrets that systemd hands over as files: "credential:NAME" is written instead of the secret.

systemd reads what LoadCredential= names, as root, and puts copies where only the service can read them,
$CREDENTIALS_DIRECTORY; see systemd.exec(5). Our unit loads every file of /etc/voxray/credentials, and systemd
puts "voxray_" before their names: both spellings are found.
"""

from __future__ import annotations

import os
import re

from voxray.config.read import quoted
from voxray.errors import ConfigError

PREFIX = "credential:"
DIRECTORY_ENV = "CREDENTIALS_DIRECTORY"
UNIT_PREFIX = "voxray_"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")
SIZE_MAX = 16_384


def revealed(value: object, directory: str, what: str) -> object:
    """`value`, or the secret that it names; in lists too. `what` is the key. Raises ConfigError."""
    if isinstance(value, list):
        return [revealed(item, directory, what) for item in value]
    if not isinstance(value, str) or not value.strip().startswith(PREFIX):
        return value
    name = value.strip().removeprefix(PREFIX)
    if NAME.fullmatch(name) is None:
        raise ConfigError(f"{what}: {quoted(name)} is no name of a credential: letters, digits, _ . and -")
    if not directory:
        raise ConfigError(
            f"{what} names the credential {name}, but there are none: systemd gives them to a service, with "
            "LoadCredential=; elsewhere write the key itself or set its variable"
        )
    return _read(name, directory, what)


def _read(name: str, directory: str, what: str) -> str:
    for spelled in (name, UNIT_PREFIX + name):
        try:
            with open(os.path.join(directory, spelled), "rb") as file:
                data = file.read(SIZE_MAX + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigError(f"{what}: credential {name} cannot be read: {error.strerror}") from None
        return _text(data, name, what)
    raise ConfigError(
        f"{what}: systemd passed no credential {name}: put it into /etc/voxray/credentials/{name} and restart"
    )


def _text(data: bytes, name: str, what: str) -> str:
    """An editor's newline at the end is no part of the secret."""
    try:
        text = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        text = ""
    if not text or len(data) > SIZE_MAX:
        raise ConfigError(f"{what}: credential {name} is empty, not text or over {SIZE_MAX >> 10} KiB")
    return text
