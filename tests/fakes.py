"""Small stand-ins for the tests of `voxray.call`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class RecordingSink:
    """A `MediaSink` that remembers what went out, in order, and how much of it was audio."""

    sent: list[tuple[str, object]] = field(default_factory=list)
    closed: tuple[int, str] | None = None

    def send_audio(self, payload: bytes) -> None:
        self.sent.append(("audio", payload))

    def send_mark(self, name: str) -> None:
        self.sent.append(("mark", name))

    def send_clear(self) -> None:
        self.sent.append(("clear", None))

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = self.closed or (code, reason)

    @property
    def audio(self) -> bytes:
        return b"".join(p for kind, p in self.sent if kind == "audio" and isinstance(p, bytes))

    @property
    def marks(self) -> list[str]:
        return [str(name) for kind, name in self.sent if kind == "mark"]

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.sent]
