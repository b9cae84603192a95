"""The people a call may be connected to: a name -> a number in E.164, or a SIP URI. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from voxray.config.kinds import BadValue, plain_text
from voxray.config.read import quoted

MAX_NAMES = 100
"""The language model is told of all of them, every turn."""

MAX_NAME_CHARS = 64
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SIP = re.compile(r"sips?:[A-Za-z0-9_.!~*'()&=+$;?/%-]+@[A-Za-z0-9.:\[\]-]+(?:;[A-Za-z0-9_.!~*'()&=+$%;-]*)?")
_MAX_SIP_CHARS = 255


@dataclass(frozen=True, slots=True)
class Numbers:
    """Names and numbers; in the environment `sales=+14155550100,desk=sip:desk@pbx.example.com`."""

    word: str = "object"

    def from_json(self, value: object) -> object:
        if not isinstance(value, dict):
            raise BadValue('an object of names and numbers, such as {"sales": "+14155550100"}')
        return _numbers((name, number) for name, number in value.items() if not name.startswith("_comment"))

    def from_env(self, text: str) -> object:
        pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
        return _numbers((name, number.strip()) for name, _, number in pairs)


def _numbers(pairs: Iterable[tuple[str, object]]) -> object:
    found: dict[str, str] = {}
    for given, number in pairs:
        name = " ".join(plain_text(given).split())
        if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable():
            raise BadValue(f"numbers under names of 1 to {MAX_NAME_CHARS} characters, not {quoted(given)}")
        if name in found:
            raise BadValue(f"numbers under different names: {quoted(name, MAX_NAME_CHARS)} is there twice")
        if not _is_number(number):
            raise BadValue(
                f'numbers such as "+14155550100" or "sip:desk@example.com", which that of '
                f"{quoted(name, MAX_NAME_CHARS)} is not"
            )
        found[name] = str(number)
    if len(found) > MAX_NAMES:
        raise BadValue(f"at most {MAX_NAMES} names and numbers")
    return MappingProxyType(found)


def _is_number(number: object) -> bool:
    if not isinstance(number, str):
        return False
    sip = len(number) <= _MAX_SIP_CHARS and _SIP.fullmatch(number) is not None
    return sip or _E164.fullmatch(number) is not None
