"""Trying somebody's credentials: the port behind `voxray check --online`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from voxray.interfaces import CallControl


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of it, in words for the owner. `doubt`: the credentials are good, and yet look at this."""

    text: str
    doubt: str = ""


class Account(CallControl, Protocol):
    """A carrier's REST API under one account's credentials."""

    async def probe(self) -> Probed:
        """Asks for something that is cheap and changes nothing. Raises CarrierError."""
