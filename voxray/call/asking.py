"""What the carrier's REST API may be asked: only what it can do, and of a call that it has vouched for."""

from __future__ import annotations

from voxray.frames import CallInfo
from voxray.interfaces import Ability, CallControl


def able(control: CallControl | None, ability: Ability) -> bool:
    """The carrier can do it, without being asked anything."""
    return control is not None and ability in control.abilities


def why_not(control: CallControl | None, call: CallInfo, ability: Ability) -> str:
    """Why it is not asked, for the log; "": it may be.

    An id that only a stream has told may be a stranger's invention, or another caller's.
    """
    if control is None:
        return "there are no credentials for the carrier's API"
    if not call.verified:
        return "the call is not verified by a signed webhook"
    return "" if able(control, ability) else "the carrier's API has no such request"
