"""The limits that hold, by the names of their keys: what `/metrics` shows of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

from voxray.config.keys import KEYS
from voxray.config.keys_limits import LIMITS, SOCKETS
from voxray.http import DEADLINES
from voxray.metrics import Metrics
from voxray.settings import Settings

BESIDE = (
    *("max_calls", "max_call_secs", "drain_timeout_secs", "stream_token_secs"),
    *("max_request_body_bytes", "session_ttl_secs", "pace_lead_ms"),
)
"""Keys of other sections that are limits."""


def show(metrics: Metrics, settings: Settings) -> None:
    """Sets the gauge."""
    for name, value in limits_of(settings):
        metrics.guards.limits.labels(name).set(value)


def limits_of(settings: Settings) -> Iterator[tuple[str, float]]:
    """Numbers alone; what a provider is given to answer is the same for all and no key."""
    for key in (*LIMITS.keys, *SOCKETS.keys, *(KEYS[name] for name in BESIDE)):
        value = attrgetter(key.field)(settings)
        if isinstance(value, int | float):
            yield key.name, float(value)
    for phase in ("connect", "first_byte", "gap", "total"):
        yield f"provider_{phase}_secs", float(getattr(DEADLINES, phase))
