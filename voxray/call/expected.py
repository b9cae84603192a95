"""Calls whose stream is awaited, and calls that are over: what webhooks and our own dials told of them.

Pure: time is an argument, monotonic seconds. Everything is bounded in number and age, because in an open
configuration a stranger may announce calls by the thousand.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MAX_EXPECTED = 2_000
MAX_OVER = 20_000
COMING_SECS = 5.0
"""A carrier that was told where to open the stream does so within a second or two, or never."""
OVER_SECS = 3_600.0
"""A webhook of a call that ended so lately is a replay, and opens no stream."""

Key = tuple[str, str]
"""Carrier and the carrier's id of the call: two carriers may use one id."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A call that will open its stream. `token` is what was put into the answer, "" for none."""

    call_id: str  # ours
    carrier: str
    call_sid: str
    from_number: str = ""
    to_number: str = ""
    verified: bool = False  # a signed webhook, or our own dial, told of it
    token: str = field(default="", repr=False)
    outbound: bool = False
    body: Mapping[str, object] = field(default_factory=dict, repr=False)
    max_secs: float = 0.0
    over: bool = False  # a call of ours that has ended, or never began: only its status may still come

    @property
    def key(self) -> Key:
        return self.carrier, self.call_sid


@dataclass(frozen=True, slots=True)
class Welcome:
    """A stream that may become a call. `replaces`: it proved to own the live call of the same id."""

    carrier: str
    expected: Expected | None = None
    replaces: bool = False
    nonce: str = field(default="", repr=False)  # of the token that was spent for it
    nonce_secs: float = 0.0  # how long that token would have been good
    lease: str = ""  # of its place among all instances' calls


class Expectations:
    """The calls announced, and those that are over."""

    def __init__(self, ttl_secs: float = 120.0) -> None:
        self.ttl_secs = ttl_secs
        self._expected: OrderedDict[Key, tuple[Expected, float]] = OrderedDict()
        self._over: dict[int, float] = {}  # by hash, in the order of their ends: a third of the memory

    def __len__(self) -> int:
        return len(self._expected)

    def add(self, expected: Expected, now: float) -> None:
        """A stream of this call will come; told again, the newer word holds."""
        self._expected[expected.key] = (expected, now)
        self._expected.move_to_end(expected.key)
        self._prune(now)

    def get(self, carrier: str, call_sid: str, now: float) -> Expected | None:
        """What is known of a call whose stream has not come yet."""
        self._prune(now)
        found = self._expected.get((carrier, call_sid))
        return found[0] if found else None

    def announced(self, call_id: str) -> bool:
        """The call of our id has had its webhook: somebody is on the line."""
        return any(expected.call_id == call_id for expected, _ in self._expected.values())

    def on_their_way(self, now: float) -> int:
        """Calls whose webhook was answered a moment ago: their streams are about to come."""
        return sum(1 for _ in self._lately(now))

    def coming(self, now: float) -> int:
        """Of those the incoming ones with a signed webhook: each will take a place."""
        return sum(expected.verified and not expected.outbound for expected in self._lately(now))

    def _lately(self, now: float) -> Iterator[Expected]:
        for expected, at in reversed(self._expected.values()):
            if now - at > COMING_SECS:
                return
            yield expected

    def began(self, carrier: str, call_sid: str) -> None:
        """Its stream is here."""
        self._expected.pop((carrier, call_sid), None)

    def ended(self, carrier: str, call_sid: str, now: float) -> None:
        """The call is over."""
        key = hash((carrier, call_sid))  # 64 bits, with a secret of the process's: no two calls have one
        self._over.pop(key, None)
        self._over[key] = now
        if len(self._over) > MAX_OVER:
            del self._over[next(iter(self._over))]

    def is_over(self, carrier: str, call_sid: str, now: float) -> bool:
        """It ended within the last hour, as far as is remembered."""
        ended = self._over.get(hash((carrier, call_sid)))
        return ended is not None and now - ended < OVER_SECS

    def _prune(self, now: float) -> None:
        while self._expected:
            _, (_, at) = next(iter(self._expected.items()))
            if now - at <= self.ttl_secs and len(self._expected) <= MAX_EXPECTED:
                return
            self._expected.popitem(last=False)
