"""How sessions, announced calls and live calls are written down, and read with distrust. Pure.

Redis is shared: what is read may be anybody's writing. A reader checks size, shape and types, and raises
`Poisoned`; it never trusts a value further than the shape. Never pickle.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from voxray.call.expected import Expected
from voxray.serializers.strictjson import dumps, loads
from voxray.stores.ports import LiveCall, Session, Unstorable

MAX_BYTES = 65_536
"""Of one session or announced call."""
MAX_LIVE_BYTES = 2_048
"""Of what the board says of one call."""
_MAX_ID_CHARS = 256
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


class Poisoned(Exception):
    """A stored value that we did not write."""


def is_session_id(text: str) -> bool:
    """A canonical UUID. `uuid.UUID` would also take braces, `urn:` and none of the dashes."""
    return _UUID.fullmatch(text) is not None


def digest(*words: str) -> str:
    """For keys made of a stranger's words: any length and any characters become 32 hexadecimal digits."""
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest()[:32]


# -- sessions ----------------------------------------------------------------
def session_text(session: Session) -> bytes:
    """As the Go project writes it. Raises Unstorable."""
    return _text(
        {"Body": dict(session.body), "EnableDefaultIceServers": session.enable_default_ice_servers},
        MAX_BYTES,
    )


def session_of(text: bytes) -> Session:
    """Go writes a body that was not given as null. Raises Poisoned."""
    value = _object(text, MAX_BYTES)
    body, servers = value.get("Body"), value.get("EnableDefaultIceServers", False)
    if not isinstance(body, dict | None) or not isinstance(servers, bool):
        raise Poisoned("not a session")
    return Session(body or {}, servers)


# -- announced calls ---------------------------------------------------------
def expected_text(expected: Expected) -> bytes:
    """Without its token: who reads Redis must not be able to take a caller's stream. Raises Unstorable."""
    return _text(
        {
            "call_id": expected.call_id,
            "carrier": expected.carrier,
            "call_sid": expected.call_sid,
            "from": expected.from_number,
            "to": expected.to_number,
            "verified": expected.verified,
            "outbound": expected.outbound,
            "body": dict(expected.body),
            "max_secs": expected.max_secs,
        },
        MAX_BYTES,
    )


def expected_of(text: bytes) -> Expected:
    """Raises Poisoned."""
    value = _object(text, MAX_BYTES)
    body, max_secs = value.get("body"), value.get("max_secs")
    if not isinstance(body, dict) or isinstance(max_secs, bool) or not isinstance(max_secs, int | float):
        raise Poisoned("not an announced call")
    return Expected(
        call_id=_word(value, "call_id", least=1),
        carrier=_word(value, "carrier", least=1),
        call_sid=_word(value, "call_sid"),
        from_number=_word(value, "from"),
        to_number=_word(value, "to"),
        verified=_flag(value, "verified"),
        outbound=_flag(value, "outbound"),
        body=body,
        max_secs=max(0.0, float(max_secs)),
    )


# -- live calls --------------------------------------------------------------
def live_text(call: LiveCall) -> bytes:
    """Without the caller's number: the board is for counting and for finding. Raises Unstorable."""
    return _text(
        {
            "lease": call.lease,
            "carrier": call.carrier,
            "call_sid": call.call_sid,
            "call_id": call.call_id,
            "node": call.node,
            "outbound": call.outbound,
            "began_at": call.began_at,
        },
        MAX_LIVE_BYTES,
    )


def live_of(text: bytes) -> LiveCall:
    """Raises Poisoned."""
    value = _object(text, MAX_LIVE_BYTES)
    began_at = value.get("began_at")
    if isinstance(began_at, bool) or not isinstance(began_at, int | float):
        raise Poisoned("not a live call")
    return LiveCall(
        lease=_word(value, "lease", least=1),
        carrier=_word(value, "carrier"),
        call_sid=_word(value, "call_sid"),
        call_id=_word(value, "call_id", least=1),
        node=_word(value, "node"),
        outbound=_flag(value, "outbound"),
        began_at=float(began_at),
    )


# -- JSON --------------------------------------------------------------------
def _text(value: dict[str, Any], most: int) -> bytes:
    try:
        text = dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise Unstorable("it is not plain JSON, or nested too deep") from error
    if len(text) > most:
        raise Unstorable(f"it is over {most} bytes of JSON")
    return text


def _object(text: bytes, most: int) -> dict[str, Any]:
    if len(text) > most:
        raise Poisoned("too long")
    try:
        value = loads(text)
    except (ValueError, RecursionError):
        raise Poisoned("not JSON") from None
    if not isinstance(value, dict):
        raise Poisoned("not an object")
    return value


def _word(value: Mapping[str, Any], name: str, *, least: int = 0) -> str:
    word = value.get(name)
    if not isinstance(word, str) or not least <= len(word) <= _MAX_ID_CHARS:
        raise Poisoned(f"{name} is no word")
    return word


def _flag(value: Mapping[str, Any], name: str) -> bool:
    flag = value.get(name)
    if not isinstance(flag, bool):
        raise Poisoned(f"{name} is no flag")
    return flag
