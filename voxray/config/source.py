"""Where a configuration comes from: a file, and the words of the command line. Read as often as asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from voxray import config
from voxray.config.read import choose_path, read_bytes


@dataclass(frozen=True, slots=True)
class Source:
    """`path` None: as the environment says; `cwd` is where relative paths start."""

    path: str | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False
    cwd: str = ""

    def read(self) -> bytes:
        """What is in the file now. Raises ConfigError."""
        return read_bytes(choose_path(self.path, os.environ, self.cwd or os.getcwd()))

    def load(self, text: bytes | None = None) -> config.Loaded:
        """What `text` says, or the file where it is None. Raises ConfigError."""
        return config.load(
            self.path, os.environ, overrides=self.overrides, strict=self.strict, cwd=self.cwd, text=text
        )
