"""Calls that we placed: from the dial until the stream is here, or it is known that none will come. Pure.

Time is an argument, monotonic seconds. What became of them is remembered for an hour.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from voxray.call.expected import Expected

KEPT_SECS = 3_600.0
MAX_KEPT = 1_000


class DialState(Enum):
    DIALING = "dialing"  # it rings, or is about to
    UP = "up"  # the stream is here: it is a call like any other
    ENDED = "ended"  # and it is over
    FAILED = "failed"  # no stream will come


@dataclass(frozen=True, slots=True)
class Dial:
    """One call that we placed. `reason` is why it failed or ended."""

    dial_id: str  # and the id of the call that comes of it
    carrier: str
    to: str
    from_number: str
    body: Mapping[str, object] = field(default_factory=dict, repr=False)
    max_secs: float = 0.0
    state: DialState = DialState.DIALING
    reference: str = ""  # the carrier's, for giving it up
    call_sid: str = ""
    reason: str = ""
    began: float = 0.0

    def expected(self) -> Expected:
        """The call, as those at the door have to know it: our number calls theirs."""
        return Expected(
            self.dial_id,
            self.carrier,
            self.call_sid,
            from_number=self.from_number,
            to_number=self.to,
            outbound=True,
            body=self.body,
            max_secs=self.max_secs,
            over=self.state not in (DialState.DIALING, DialState.UP),
        )


class Dials:
    """All of them, by our id."""

    def __init__(self) -> None:
        self._dials: OrderedDict[str, Dial] = OrderedDict()

    @property
    def dialing(self) -> list[Dial]:
        """Those that ring."""
        return [dial for dial in self._dials.values() if dial.state is DialState.DIALING]

    def get(self, dial_id: str) -> Dial | None:
        return self._dials.get(dial_id)

    def expected(self, dial_id: str) -> Expected | None:
        """For the door: a call of ours."""
        dial = self._dials.get(dial_id)
        return dial.expected() if dial is not None else None

    def begin(self, dial: Dial, now: float) -> None:
        self._dials[dial.dial_id] = replace(dial, began=now)
        self._prune(now)

    def placed(self, dial_id: str, reference: str, call_sid: str) -> Dial:
        """The carrier took it. Its stream may have been faster than its answer."""
        dial = self._dials[dial_id]
        dial = self._dials[dial_id] = replace(dial, reference=reference, call_sid=dial.call_sid or call_sid)
        return dial

    def answered(self, dial_id: str, call_sid: str) -> None:
        """Its stream is here."""
        dial = self._dials.get(dial_id)
        if dial is not None and dial.state is DialState.DIALING:
            self._dials[dial_id] = replace(dial, state=DialState.UP, call_sid=call_sid)

    def ended(self, dial_id: str, reason: str) -> None:
        """The call that came of it is over; nothing for one that we did not place."""
        if (dial := self._dials.get(dial_id)) is not None:
            self._dials[dial_id] = replace(dial, state=DialState.ENDED, reason=reason)

    def fail(self, dial_id: str, reason: str) -> Dial | None:
        """No stream will come; the dial as it now is. None: it was up, or had failed before."""
        dial = self._dials.get(dial_id)
        if dial is None or dial.state is not DialState.DIALING:
            return None
        failed = self._dials[dial_id] = replace(dial, state=DialState.FAILED, reason=reason)
        return failed

    def _prune(self, now: float) -> None:
        """Old ones go, and the oldest of too many; never one that rings or is up."""
        for dial_id, dial in tuple(self._dials.items()):
            old = now - dial.began > KEPT_SECS or len(self._dials) > MAX_KEPT
            if not old:
                break
            if dial.state not in (DialState.DIALING, DialState.UP):
                del self._dials[dial_id]
