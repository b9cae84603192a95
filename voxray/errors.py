"""Every exception Voxray raises on purpose: whose fault it is, and whether to try again.

VoxrayError
├── ConfigError          the owner's: said at start in one line, exit status 1
├── BadMessage           the carrier's (or a stranger's): counted by reason, the call goes on
├── ProviderError        an STT, LLM or TTS vendor's; `kind` says which, `retry` whether it may pass
├── CarrierError         the carrier's REST API refused or did not answer
└── StoreUnavailable     Redis is away, late or refuses: do without, or answer 503
"""

from __future__ import annotations

from enum import Enum


class VoxrayError(Exception):
    """The root; `str()` is a sentence fit for a log line, without secrets."""


class ConfigError(VoxrayError):
    """A setting is wrong; the text says which and what to write instead."""


class BadMessage(VoxrayError):
    """A message that is not the protocol. `reason` is one of a small set of labels."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class ErrorKind(Enum):
    """Why a provider failed, and so what helps."""

    AUTH = "auth"  # key refused: never retry
    QUOTA = "quota"  # out of credit: never retry, fail over
    RATE = "rate"  # too many requests: retry after a moment
    BAD_REQUEST = "bad_request"  # our fault: never retry
    OVERLOADED = "overloaded"  # 5xx: retry once or twice
    TRANSPORT = "transport"  # refused, reset, TLS, cut off: retry
    TIMEOUT = "timeout"  # no answer in time: retry
    BAD_ANSWER = "bad_answer"  # an answer that is not the protocol: do not retry
    UNAVAILABLE = "unavailable"  # a local engine is missing or broken: do not retry
    PAUSED = "paused"  # it failed lately and was not asked at all: do not retry


RETRYABLE = frozenset({ErrorKind.RATE, ErrorKind.OVERLOADED, ErrorKind.TRANSPORT, ErrorKind.TIMEOUT})


class ProviderError(VoxrayError):
    """A vendor (or a local engine) failed. Never carries a key or a caller's words.

    `of_call`: for what was asked on this call, such as words that a vendor's filter will not answer.
    """

    def __init__(
        self,
        provider: str,
        kind: ErrorKind,
        detail: str,
        *,
        status: int = 0,
        retry_after_secs: float = 0.0,
        of_call: bool = False,
    ) -> None:
        super().__init__(f"{provider}: {kind.value}: {detail}")
        self.provider = provider
        self.kind = kind
        self.status = status
        self.retry_after_secs = retry_after_secs
        self._of_call = of_call

    @property
    def retry(self) -> bool:
        return self.kind in RETRYABLE

    @property
    def tells_of_vendor(self) -> bool:
        """Another call would fare no better. One caller's words must not take the vendor from all others."""
        no_such_model = self.status == 404
        return not self._of_call and (self.kind is not ErrorKind.BAD_REQUEST or no_such_model)


class CarrierError(VoxrayError):
    """The carrier's REST API failed; `status` is 0 when it did not answer, or was not asked (`sent`)."""

    def __init__(self, carrier: str, detail: str, *, status: int = 0, sent: bool = True) -> None:
        super().__init__(f"{carrier}: {detail}")
        self.carrier = carrier
        self.status = status
        self.sent = sent


class StoreUnavailable(VoxrayError):
    """What is kept outside this process cannot be had now. `reason` is one of a small set of labels."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the store is not available: {reason}")
        self.reason = reason
