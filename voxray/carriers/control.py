"""What the carriers' call controls share: what is checked before anything is sent.

Call ids come from streams that anybody may have opened, numbers from a model that a caller talks to. Both go
into requests that carry the owner's credentials, so both are matched whole first.
"""

from __future__ import annotations

import math
import re
from urllib.parse import quote

from voxray.carriers.rest import Answer, Rest
from voxray.errors import CarrierError
from voxray.interfaces import Ability, Dialed, DialOrder
from voxray.probing import Probed

_NUMBER = re.compile(r"\+?[0-9]{3,15}", re.ASCII)  # E.164, or as a country dials it
_SIP = re.compile(
    r"sips?:[A-Za-z0-9._~+%!*'()-]{1,64}@[A-Za-z0-9.-]{1,128}(?::[0-9]{1,5})?"
    r"(?:;[A-Za-z0-9._~=-]{1,40}){0,4}",
    re.ASCII,
)
_KEYS = re.compile(r"[0-9A-D*#wW]{1,64}", re.ASCII)  # w waits half a second, W a whole one


class Control:
    """`probing.Account` of a carrier that can do nothing; each overrides what its own can.

    What is refused here is refused before anything was sent, and always as CarrierError.
    """

    abilities: frozenset[Ability] = frozenset()

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    async def hang_up(self, call_sid: str) -> None:
        raise self._refusal("it has no request for a hang-up")

    async def transfer(self, call_sid: str, to: str, document_url: str) -> None:
        raise self._refusal("it has no request for a transfer")

    async def press_keys(self, call_sid: str, digits: str) -> None:
        raise self._refusal("it has no request for pressing keys")

    async def dial(self, order: DialOrder) -> Dialed:
        raise self._refusal("it cannot be asked to dial")

    async def cancel(self, reference: str) -> None:
        raise self._refusal("it has no request for giving up a call")

    async def probe(self) -> Probed:
        raise self._refusal("its credentials cannot be tried")

    def _refusal(self, why: str) -> CarrierError:
        return CarrierError(self._rest.carrier, f"{why}: nothing was sent", sent=False)

    def _segment(self, call_id: str, shape: re.Pattern[str]) -> str:
        """A call's id as one segment of a path."""
        if shape.fullmatch(call_id) is None:
            raise self._refusal("not a call id of this carrier's")
        return quote(call_id, safe="")

    def _number(self, text: str, *, sip: bool = False) -> str:
        """A number to call or to call from; with `sip` a SIP URI too."""
        if _NUMBER.fullmatch(text) or (sip and _SIP.fullmatch(text)):
            return text
        raise self._refusal("not a telephone number")

    def _keys(self, digits: str) -> str:
        if _KEYS.fullmatch(digits) is None:
            raise self._refusal("not keys of a telephone")
        return digits

    def _id_in(self, answer: Answer, found: object, shape: re.Pattern[str]) -> str:
        """The id that a placed call's answer should have given."""
        if isinstance(found, str) and shape.fullmatch(found):
            return found
        raise CarrierError(
            self._rest.carrier, f"dial answered {answer.status} without a call id", status=answer.status
        )


def whole_secs(secs: float, least: int, most: int) -> int:
    """Carriers take whole seconds, within bounds of their own."""
    return max(least, math.ceil(min(secs, most)))
