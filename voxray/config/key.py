"""One row of the table of keys."""

from __future__ import annotations

from dataclasses import dataclass

from voxray.config.kinds import FilePath, Kind, Options


@dataclass(frozen=True, slots=True)
class Key:
    """Everything there is to know of a key. The parser and the documentation both read this."""

    name: str
    """As in the file; a dot stands for an object within."""
    kind: Kind
    default: object
    about: str
    field: str = ""
    """The path in `Settings`, such as `server.port`; empty when a rule in `assemble` uses it."""
    env: tuple[str, ...] | None = None
    """The variables that override it, the first one set wins; None: VOXRAY_ and the name in capitals."""
    later: str = ""
    """Why it has no effect yet; empty: it works."""
    proof: str = ""
    """The trial id of the test that shows its effect on a call or on the daemon."""
    restart: bool = False
    """It holds for the life of the process: reading the configuration again does not change it."""
    secret: bool = False
    """The value is never shown."""
    zero_unset: bool = False
    """0 asks for the default, as in Go, where 0 and absent are the same."""
    shown_default: str = ""
    """For the documentation, where the default depends on other keys."""

    @property
    def env_names(self) -> tuple[str, ...]:
        if self.env is not None:
            return self.env
        return () if isinstance(self.kind, Options) else (f"VOXRAY_{self.name.replace('.', '_').upper()}",)

    @property
    def is_path(self) -> bool:
        return isinstance(self.kind, FilePath)


@dataclass(frozen=True, slots=True)
class Section:
    """Keys that belong together, for the documentation."""

    title: str
    keys: tuple[Key, ...]
