"""From a document and the environment to typed values: environment over file over default.

Pure. `Reader` gathers what was given and from where; what is wrong in the file raises ConfigError at
once, what is doubtful becomes a warning.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from voxray.config.credentials import revealed
from voxray.config.hosts import base_url
from voxray.config.key import Key
from voxray.config.keys import GROUPS, KEYS, MAPS
from voxray.config.kinds import FALSE_WORDS, TRUE_WORDS, BadValue, Flag, header_text
from voxray.config.names import KEY_ALIASES, KEY_ENV, URL_ENV, nearest
from voxray.config.read import PATH_ENV, quoted
from voxray.config.transfers import Numbers
from voxray.errors import ConfigError

COMMENT = "_comment"
OTHER_VARIABLES = frozenset({PATH_ENV, "VOXRAY_STREAM_SECRET"})


@dataclass(slots=True)
class Reader:
    """What was given: typed values by key, the origin of each, the keys and URLs of the maps."""

    source: str
    """What to call the file in messages."""
    directory: str
    """Where relative paths of the file start."""
    cwd: str
    """Where those of variables and options start."""
    values: dict[str, object] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    api_keys: dict[str, str] = field(default_factory=dict)
    base_urls: dict[str, str] = field(default_factory=dict)
    credentials: str = ""
    """systemd's directory of secrets; empty: none."""
    mistakes: list[str] = field(default_factory=list)
    """Warnings that --strict turns into an error."""

    def read_document(self, document: Mapping[str, object]) -> None:
        """Raises ConfigError."""
        for name, value in document.items():
            known = self._known(name, (*KEYS, *GROUPS, *MAPS))
            if known in GROUPS:
                self._read_group(known, value)
            elif known in MAPS:
                self._read_map(known, value)
            elif known:
                self._take(KEYS[known], value)

    def _read_group(self, group: str, value: object) -> None:
        if value is None:
            return
        if not isinstance(value, dict):
            raise ConfigError(f'{group} must be an object, such as {{"{group}": {{...}}}}')
        prefix = f"{group}."
        members = [name.removeprefix(prefix) for name in KEYS if name.startswith(prefix)]
        for name, inner in value.items():
            known = self._known(name, members, prefix)
            if known:
                self._take(KEYS[prefix + known], inner)

    def _known(self, name: str, names: tuple[str, ...] | list[str], prefix: str = "") -> str:
        """`name` as we spell it, or "" after a warning. Capitals do not matter, as in Go."""
        if name.startswith(COMMENT):
            return ""
        if name in names and "." not in name:
            return name
        if name.lower() in names and "." not in name:
            self.mistakes.append(f'write {quoted(prefix + name)} in small letters: "{prefix}{name.lower()}"')
            return name.lower()
        if name in names:
            group, _, member = name.partition(".")
            hint = f'write {{"{group}": {{"{member}": ...}}}}'
        else:
            close = nearest(name, names, 1)
            hint = f'did you mean "{prefix}{close[0]}"?' if close else "no key is like it"
        self.mistakes.append(f"unknown key {quoted(prefix + name)}: {hint}")
        return ""

    def _take(self, key: Key, value: object) -> None:
        if value is None:  # as in Go, null leaves a key as it was
            return
        if key.secret:
            value = revealed(value, self.credentials, key.name)
        try:
            typed = key.kind.from_json(value)
        except BadValue as bad:
            raise ConfigError(f"{key.name} must be {bad}{_got(key, value)}") from None
        self._set(key, typed, "file", self.directory)

    def _set(self, key: Key, typed: object, origin: str, directory: str) -> None:
        if key.zero_unset and typed == 0:
            return
        if key.is_path and typed:
            typed = os.path.normpath(os.path.join(directory, str(typed)))
        self.values[key.name] = typed
        self.origins[key.name] = origin

    def override(self, name: str, text: str, origin: str) -> None:
        """From the command line: what cannot be used is an error. Raises ConfigError."""
        key = KEYS[name]
        try:
            self._set(key, key.kind.from_env(text), origin, self.cwd)
        except BadValue as bad:
            raise ConfigError(f"{origin} must be {bad} (got {quoted(text)})") from None

    # -- the environment -------------------------------------------------------
    def read_environment(self, environ: Mapping[str, str]) -> None:
        """An empty variable is an unset one. What cannot be used is ignored, with a warning: the contract.

        That goes for numbers; a wrong word (of a choice, a host) is refused. Raises ConfigError.
        """
        for key in KEYS.values():
            for variable in key.env_names:
                if environ.get(variable):
                    self._take_variable(key, variable, environ[variable])
                    break
        self._known_variables(environ)
        self._read_keys_and_urls(environ)

    def _take_variable(self, key: Key, variable: str, text: str) -> None:
        if isinstance(key.kind, Flag) and text.strip().lower() not in TRUE_WORDS | FALSE_WORDS:
            self.mistakes.append(f"{variable} is read as false: write true or false")
        if key.secret:
            text = str(revealed(text, self.credentials, variable))
        try:
            self._set(key, key.kind.from_env(text), variable, self.cwd)
        except BadValue as bad:
            if key.kind.word not in ("int", "number"):
                shown = "" if key.secret else f" (got {quoted(text)})"
                raise ConfigError(f"{variable} must be {bad}{shown}") from None
            self.mistakes.append(f"{variable} is ignored: it must be {bad}")

    def _known_variables(self, environ: Mapping[str, str]) -> None:
        """A slip of the keyboard in a variable's name would go unnoticed."""
        known = {v for key in KEYS.values() for v in key.env_names} | OTHER_VARIABLES
        for variable in sorted(environ):
            if not variable.startswith("VOXRAY_") or variable in known:
                continue
            if variable.startswith(("VOXRAY_PORT_", "VOXRAY_SERVICE_")):
                continue
            close = [
                v
                for v in nearest(variable, [k.lower() for k in known], 1)
                if len(variable) - len(v) in range(-2, 3)
            ]
            if close:
                self.mistakes.append(f"unknown variable {quoted(variable)}: did you mean {close[0].upper()}?")

    def _read_keys_and_urls(self, environ: Mapping[str, str]) -> None:
        for name, variables in KEY_ENV.items():
            for variable in variables:
                if environ.get(variable, "").strip():
                    self._take_key(name, environ[variable], variable)
                    break
        for name, variable in URL_ENV.items():
            if environ.get(variable, "").strip():
                self._take_url(name, environ[variable], variable)

    # -- the maps --------------------------------------------------------------
    def _read_map(self, which: str, value: object) -> None:
        if value is None:
            return
        if not isinstance(value, dict):
            raise ConfigError(f'{which} must be an object, such as {{"openai": "..."}}')
        known = tuple(KEY_ENV) + tuple(KEY_ALIASES) if which == "api_keys" else tuple(URL_ENV)
        for name, inner in value.items():
            spelled = self._known(name, known, f"{which}.")
            if not spelled or inner is None or inner == "":
                continue
            if which == "api_keys":
                self._take_key(KEY_ALIASES.get(spelled, spelled), inner, f"api_keys.{spelled}")
            else:
                self._take_url(spelled, inner, f"base_urls.{spelled}")

    def _take_key(self, name: str, value: object, origin: str) -> None:
        try:
            text = header_text(revealed(value, self.credentials, origin))
        except BadValue as bad:
            raise ConfigError(f"{origin} must be {bad}") from None
        if text:
            self.api_keys[name] = text
            self.origins[f"api_keys.{name}"] = origin

    def _take_url(self, name: str, value: object, origin: str) -> None:
        try:
            self.base_urls[name] = base_url(value)
        except BadValue as bad:
            raise ConfigError(f"{origin} must be {bad}") from None
        self.origins[f"base_urls.{name}"] = origin


def _got(key: Key, value: object) -> str:
    if key.secret or (
        isinstance(key.kind, Numbers) and isinstance(value, dict)
    ):  # its complaints name the place
        return ""
    if isinstance(value, dict | list):
        return f" (got {'an object' if isinstance(value, dict) else 'a list'})"
    if isinstance(value, str):
        return f" (got {quoted(value)})"
    if isinstance(value, int) and abs(value) > 10**18:  # str() of a huge int is an error of its own
        return ""
    return f" (got {str(value).lower()})"
