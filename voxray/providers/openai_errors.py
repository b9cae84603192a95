"""What a vendor of the OpenAI dialect means by an error. Pure.

The words we pass on are the vendor's `code`, `type` and `param`, and its message unless that may quote
what we sent: a caller's words or a key must not reach a log.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from voxray.errors import ErrorKind
from voxray.retries import kind_of_status

MAX_WORDS = 200
_QUOTA = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    }
)
_BUSY = frozenset({"server_error", "server_is_overloaded", "slow_down", "queue_exceeded", "overloaded_error"})
# Parameters that hold what the caller or the owner said; a complaint about them may repeat it.
_OURS = frozenset({"", "messages", "input", "prompt", "file", "instructions", "tools"})
# Complaints about load, limits and bills, not about what was sent.
_NOT_OUR_WORDS = frozenset({ErrorKind.OVERLOADED, ErrorKind.RATE, ErrorKind.QUOTA, ErrorKind.TIMEOUT})
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_KEY = re.compile(r"\b(?:sk|gsk|pk|xai|csk)[-_][^\s\"',]*|Bearer\s+\S+", re.IGNORECASE)


def explain(status: int, body: bytes) -> tuple[ErrorKind, str]:
    """A refused request: its kind, and a few words for the log."""
    if 300 <= status < 400:
        return ErrorKind.BAD_ANSWER, f"HTTP {status}: redirects are not followed"
    error = error_in(_parsed(body))
    kind = _kind(status, error)
    words = _words(kind, status, error)
    return kind, f"HTTP {status}: {words}" if words else f"HTTP {status}"


def explain_event(event: dict[str, Any]) -> tuple[ErrorKind, str] | None:
    """An error inside an answer that began well (status 200); None when it holds none."""
    error = error_in(event)
    if error is None:
        return None
    status = event.get("status_code")
    kind = _kind(status if isinstance(status, int) else 0, error)
    return kind, _words(kind, 0, error) or "an error without words"


def error_in(answer: Any) -> dict[str, Any] | None:
    """The error object of an answer. Some hosts put strings where OpenAI has an object."""
    if not isinstance(answer, dict):
        return None
    error = answer.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str) and error:
        return {"message": error, "code": answer.get("code")}
    if answer.get("object") == "error":
        return answer
    return None


def _kind(status: int, error: dict[str, Any] | None) -> ErrorKind:
    names = (
        {error.get(key) for key in ("code", "type") if isinstance(error.get(key), str)} if error else set()
    )
    if names & _QUOTA:
        return ErrorKind.QUOTA
    if status:
        return kind_of_status(status)
    if names & _BUSY:
        return ErrorKind.OVERLOADED
    if "rate_limit_exceeded" in names:
        return ErrorKind.RATE
    return ErrorKind.AUTH if "invalid_api_key" in names else ErrorKind.BAD_ANSWER


def _words(kind: ErrorKind, status: int, error: dict[str, Any] | None) -> str:
    if error is None:
        return ""
    parts = [_clean(error.get(key), 60) for key in ("code", "type", "param")]
    if not _may_quote_us(kind, status, error):
        parts.append(_clean(error.get("message"), MAX_WORDS))
    return ", ".join(dict.fromkeys(part for part in parts if part))[:MAX_WORDS]


def _may_quote_us(kind: ErrorKind, status: int, error: dict[str, Any]) -> bool:
    if kind is ErrorKind.AUTH:
        return True  # OpenAI repeats the key, only partly masked
    if kind in _NOT_OUR_WORDS or status == 404:
        return False
    param = error.get("param")
    return re.split(r"[.\[]", param if isinstance(param, str) else "")[0] in _OURS


def _clean(value: object, limit: int) -> str:
    text = value if isinstance(value, str) else ""
    return _KEY.sub("(key)", _UNPRINTABLE.sub(" ", text[: 4 * limit])).strip()[:limit]


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
