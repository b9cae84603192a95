"""Whether to ask a vendor again, and when. Pure: the caller brings the clock and the dice.

The delay follows what the OpenAI and Anthropic SDKs do; the budget is ours: after about 1.5 s of
silence a caller says "hello?", so then another provider or an apology is the better answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from voxray.errors import ErrorKind, ProviderError

_FIRST_SECS = 0.5
_LONGEST_SECS = 8.0
_JITTER = 0.25
_BELIEVABLE_SECS = 60.0  # a longer Retry-After is no plan, as in the vendors' SDKs


_BY_STATUS = {
    401: ErrorKind.AUTH,
    402: ErrorKind.QUOTA,
    403: ErrorKind.AUTH,
    408: ErrorKind.TIMEOUT,
    409: ErrorKind.OVERLOADED,
    429: ErrorKind.RATE,
    498: ErrorKind.OVERLOADED,  # Groq: no flexible capacity left
}


def kind_of_status(status: int) -> ErrorKind:
    """What an HTTP status that is not a success means."""
    if status >= 500:
        return ErrorKind.OVERLOADED
    default = ErrorKind.BAD_REQUEST if status >= 400 else ErrorKind.BAD_ANSWER
    return _BY_STATUS.get(status, default)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How far one request may be tried again.

    `budget_secs` bounds the time from the first try to the start of the last one; when the vendor named
    the delay itself, `asked_budget_secs` does. Delays are spread, so that calls do not come back all at once.
    """

    answered: int = 2  # tries after an answer that says "later" (429, 5xx)
    unanswered: int = 1  # tries after a connection that gave no byte at all
    budget_secs: float = 1.5
    asked_budget_secs: float = 2.0


NEVER = RetryPolicy(answered=0, unanswered=0)
ON_A_CALL = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Failure:
    """One try that failed: what it was, and what the vendor said about trying again."""

    error: ProviderError
    answered: bool  # bytes came back
    should_retry: bool | None = None  # x-should-retry


def delay_before_retry(
    policy: RetryPolicy, failure: Failure, tries: int, elapsed_secs: float, dice: float
) -> float | None:
    """Seconds to wait before the next try, None to give up. `tries` were made; `dice` is in 0..1."""
    wanted = failure.error.retry if failure.should_retry is None else failure.should_retry
    if failure.answered and not failure.error.status:
        return None  # cut off in mid-answer: what we asked for may have been done
    if not wanted or tries > (policy.answered if failure.answered else policy.unanswered):
        return None
    asked = failure.error.retry_after_secs
    if not failure.answered:
        delay, budget = 0.0, policy.budget_secs  # a dead connection in the pool: the next one is fresh
    elif asked > 0:
        budget = policy.asked_budget_secs
        delay = asked + dice * min(asked * _JITTER, max(0.0, budget - elapsed_secs - asked))
    else:
        backoff = min(_FIRST_SECS * 2.0 ** (tries - 1), _LONGEST_SECS)
        delay, budget = backoff * (1 - _JITTER * dice), policy.budget_secs
    return delay if elapsed_secs + delay <= budget else None


def retry_after(headers: Mapping[str, str], now: datetime) -> float:
    """Seconds the vendor asks us to wait; 0 when it does not say, or says nothing believable.

    `retry-after-ms` wins over `retry-after`, which is seconds (a fraction is allowed) or an HTTP date.
    """
    if (ms := _number(headers.get("retry-after-ms", ""))) is not None:
        return _believable(ms / 1000)
    raw = headers.get("retry-after", "")
    if (secs := _number(raw)) is not None:
        return _believable(secs)
    try:
        then = parsedate_to_datetime(raw)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return _believable((then - now).total_seconds())


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """What `x-should-retry` says, if anything."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _believable(secs: float) -> float:
    return secs if 0 < secs <= _BELIEVABLE_SECS else 0.0  # NaN fails both comparisons
