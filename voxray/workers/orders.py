"""What a parent tells a worker at its start: all that it could not read, or draw, for itself and be sure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from voxray.config import Loaded
from voxray.config.source import Source


@dataclass(frozen=True, slots=True)
class Orders:
    """`text` is the configuration in force, `first` the one that the parent began with.

    Keys that only a restart changes keep the values of `first`, also in a worker that starts years later.
    """

    number: int
    source: Source
    first: bytes = field(repr=False)
    text: bytes = field(repr=False)
    secret: bytes = field(repr=False)
    """Signs the tokens of media sockets, where none is configured."""

    @property
    def node(self) -> str:
        return node_of(self.number)

    def before(self) -> Loaded:
        """What the parent began with. Raises ConfigError."""
        return self.source.load(self.first)

    def said(self) -> dict[str, object]:
        """For the line."""
        source = self.source
        return {
            "number": self.number,
            "path": source.path,
            "overrides": dict(source.overrides),
            "strict": source.strict,
            "cwd": source.cwd,
            "first": self.first.decode("latin-1"),
            "text": self.text.decode("latin-1"),
            "secret": self.secret.hex(),
        }

    @classmethod
    def heard(cls, said: Mapping[str, Any]) -> Orders:
        """From the line."""
        source = Source(said["path"], said["overrides"], said["strict"], said["cwd"])
        first, text = said["first"].encode("latin-1"), said["text"].encode("latin-1")
        return cls(said["number"], source, first, text, bytes.fromhex(said["secret"]))


def node_of(number: int) -> str:
    """What a worker is called, in the log and on the board."""
    return f"w{number}"
