"""Which carrier asks, by the names of its webhook's parameters: for one URL that serves several. Pure.

Sources: each carrier's list of them. Nothing here proves anything: a stranger can write these names too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_TWILIO_SID = re.compile(r"CA[0-9a-f]{32}", re.ASCII)
_TELNYX_SID = re.compile(r"v[0-9]:.+", re.ASCII)
_TELNYX_FIELDS = ("CallSidLegacy", "ConnectionId")
_EXOTEL_FIELDS = ("CallFrom", "CallTo")


def carrier_of_webhook(form: Mapping[str, str]) -> str:
    """The carrier whose parameters these are; "" for nobody's."""
    sid = form.get("CallSid", "")
    if form.get("CallUUID"):
        return "plivo"
    if _TELNYX_SID.fullmatch(sid) or _any(form, _TELNYX_FIELDS):
        return "telnyx"
    if _any(form, _EXOTEL_FIELDS) and not _any(form, ("From", "To")):
        return "exotel"  # whose pages print ids like Twilio's
    if _TWILIO_SID.fullmatch(sid):
        return "twilio"
    return "exotel" if _any(form, _EXOTEL_FIELDS) else ""


def _any(form: Mapping[str, str], names: tuple[str, ...]) -> bool:
    return any(form.get(name) for name in names)
