"""What Redis answers, and what an error reply means for the connection and for us. Pure."""

from __future__ import annotations

import re
from enum import Enum
from typing import TypeAlias

Word: TypeAlias = bytes | str | int
Reply: TypeAlias = bytes | str | int | list["Reply"] | None


class Lost(Exception):
    """The connection went before the answer came; the text says why, without secrets."""


class Meaning(Enum):
    """Of an error reply."""

    STALE = "stale"  # a replica, or not yet loaded: this is not the server to talk to, now
    AUTH = "auth"  # it does not know us, or does not let us do this
    WRITE = "write"  # full, or refusing writes: what is read is still good
    TYPE = "type"  # the key holds something else: somebody else's writing
    NO_SCRIPT = "no_script"
    OTHER = "other"


_MEANINGS = {
    "READONLY": Meaning.STALE,
    "LOADING": Meaning.STALE,
    "MASTERDOWN": Meaning.STALE,
    "UNBLOCKED": Meaning.STALE,
    "NOAUTH": Meaning.AUTH,
    "WRONGPASS": Meaning.AUTH,
    "NOPERM": Meaning.AUTH,
    "OOM": Meaning.WRITE,
    "MISCONF": Meaning.WRITE,
    "NOREPLICAS": Meaning.WRITE,
    "WRONGTYPE": Meaning.TYPE,
    "NOSCRIPT": Meaning.NO_SCRIPT,
}
_CODE = re.compile(r"[A-Z]{2,20}", re.ASCII)
_INSIDE_SCRIPT = re.compile(r" -([A-Z]{2,20}) ", re.ASCII)  # before version 7 the code is quoted in mid-text


class Refusal(Exception):
    """An error reply. `code` is its first word; the rest may quote what was asked, and is dropped."""

    def __init__(self, text: str) -> None:
        code = text.partition(" ")[0]
        quoted = _INSIDE_SCRIPT.search(text)
        if code not in _MEANINGS and quoted is not None:
            code = quoted[1]
        self.code = code if _CODE.fullmatch(code) else "ERR"
        self.meaning = _MEANINGS.get(self.code, Meaning.OTHER)
        super().__init__(self.code)
