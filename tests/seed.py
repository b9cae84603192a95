"""The JSON blocks of the page Voxray implements, byte for byte, for every test that wants them.

Three are whole configurations. Four show one concern (TLS, the server's key, metrics, Redis) and name no
carrier: they are settings to add to the page's base configuration, and `whole()` adds them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

DATA = Path(__file__).parent / "data" / "seed"
BASE = "1-base"

ENVIRONMENT = MappingProxyType({"OPENAI_API_KEY": "sk-seed", "GROQ_API_KEY": "gsk-seed"})
"""The keys the blocks need. The TLS block also needs its two files: `VOXRAY_TLS_CERT_FILE` and
`VOXRAY_TLS_KEY_FILE`, the page's other way to name them, point a test at its own pair."""


@dataclass(frozen=True)
class SeedBlock:
    name: str
    text: str

    @property
    def document(self) -> dict[str, object]:
        document = json.loads(self.text)
        assert isinstance(document, dict)
        return document

    @property
    def is_complete(self) -> bool:
        """Whether it takes calls as it stands."""
        return "runner_transport" in self.document

    @property
    def needs_certificate(self) -> bool:
        return "tls_enable" in self.document

    def whole(self) -> str:
        """Itself when complete, else the base configuration with these settings added."""
        if self.is_complete:
            return self.text
        base = json.loads((DATA / f"{BASE}.json").read_text(encoding="utf-8"))
        return json.dumps({**base, **self.document})


def seed_blocks() -> list[SeedBlock]:
    """All of them, in the page's order."""
    return [SeedBlock(path.stem, path.read_text(encoding="utf-8")) for path in sorted(DATA.glob("*.json"))]
