"""Keys the caller presses, gathered into one entry: ended by `#`, or by two seconds without a key. Pure.

An entry may be a secret number: it reaches the conversation as it is, and everything else masked.
"""

from __future__ import annotations

import re

PAUSE_SECS = 2.0
MAX_DIGITS = 32

ENTER = "#"
_NOTE = "DTMF: "
"""How keys reach the model (the contract's prefix)."""

_NOTED = re.compile(rf"(?<={_NOTE})[0-9A-D*#]+")


def note(digits: str) -> str:
    """The keys as the model is told of them."""
    return f"{_NOTE}{digits}"


def masked(text: str) -> str:
    """`text` with stars for the keys in it, for whoever else reads what was said."""
    return _NOTED.sub(lambda found: "*" * len(found[0]), text)


class Keypad:
    """Feed it keys and the time; it answers with an entry when one is complete."""

    def __init__(self) -> None:
        self._digits = ""
        self._last = 0.0
        self.pressed = 0
        """Keys, in all."""

    def press(self, digit: str, now: float) -> str | None:
        """One key. Returns the entry that it completes, without the `#`."""
        self._last = now
        self.pressed += 1
        if digit == ENTER:
            return self.take() or None
        self._digits += digit
        return self.take() if len(self._digits) >= MAX_DIGITS else None

    def elapsed(self, now: float) -> str | None:
        """Called now and then: returns the entry that the pause completed."""
        if self._digits and now - self._last >= PAUSE_SECS:
            return self.take()
        return None

    def take(self) -> str:
        """What was pressed so far, entered or not."""
        digits, self._digits = self._digits, ""
        return digits
