"""Takes secrets out of texts: out of what the commands print, and out of every log line, whoever wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from voxray.settings import Settings

HIDDEN = "(hidden)"
LEAST_SECRET_CHARS = 6
"""A shorter one would be found inside of innocent words."""

_KEY_LIKE = re.compile(r"\b(?:sk|gsk|pk|xai|csk)[-_][A-Za-z0-9_-]{12,}")
_USERINFO = re.compile(r"(?<=://)[^/\s\"']*@")


class Masking:
    """Those that are known, what looks like a key, and users in URLs."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        parts = {part for secret in secrets for part in (secret, *secret.split(","))}
        known = {form for part in parts if len(part) >= LEAST_SECRET_CHARS for form in _forms(part)}
        self._known = sorted(known, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, HIDDEN)
        return _KEY_LIKE.sub(HIDDEN, _USERINFO.sub(f"{HIDDEN}@", text))


def secrets_in(settings: Settings) -> list[str]:
    """Every secret of the settings."""
    found = [
        *settings.providers.api_keys.values(),
        *settings.server.server_api_keys,
        *settings.server.metrics_keys,
        settings.calls.stream_secret,
        settings.stores.redis_url,
        settings.transcripts.dsn,
        settings.rooms.daily_dialin_webhook_secret,
    ]
    return [secret for secret in found if secret]


def _forms(secret: str) -> tuple[str, str]:
    """As it is, and as JSON writes it."""
    return secret, json.dumps(secret)[1:-1]
