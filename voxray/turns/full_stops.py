"""Does this full stop end a sentence? English abbreviations, initials, list numbers; pure functions.

Verdicts lean towards NO: a sentence cut late is spoken a moment later, one cut early is spoken wrongly.
"""

# The quotes and dashes below are meant: models write them.
# ruff: noqa: RUF001

from __future__ import annotations

import re
from enum import Enum


class Verdict(Enum):
    """What a character that might end a piece turned out to be."""

    CUT = "cut"
    NO = "no"
    WAIT = "wait"  # what comes next decides


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# All in lower case, without the final stop. A name, or more of the same thing, always follows these:
_NEVER_LAST = _words(
    "dr mr mrs ms prof rev gen sen rep gov capt col lt sgt maj cpl hon messrs mme mlle pres supt mt vs viz cf"
    " e.g i.e eg ie incl"
)
# These may end a sentence, but only if the next word is one that begins sentences:
_SELDOM_LAST = _words(
    "st ave blvd rd ln hwy pkwy sq ct pl inc ltd co corp llc bros etc jr sr esq ft al dept assn univ"
)
# A number or a small word follows these; a capital begins a sentence:
_BEFORE_NUMBERS = _words(
    "no nos vol fig figs ext pp pg ch sec min mins hr hrs approx apt ste rm tel est max oz lb lbs kg km cm mm"
    " in mi yd yds mph jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri"
    " sat sun www"
)
_NOT_ORDINARY = _NEVER_LAST | _SELDOM_LAST | _BEFORE_NUMBERS
# Short words a sentence may well end with; others of under three letters may be abbreviations:
_SHORT_WORDS = _words("it me us so do go on up to be we he my is by of at if as or")
# Words that begin a sentence after "p.m.", "U.S." or "Main St."; no names, no months:
_STARTERS = _words(
    "the a an we our i i'm i'll i've i'd you your you're it it's its this that that's these those there"
    " there's they their he she his her my please thank thanks would could can do does did is are was were"
    " shall should have has how what what's when where which who why if in for but and so or then also after"
    " before once yes no okay ok sure great let let's just all any as to not now here here's"
)

_OPENERS = "\"'“‘([{«—–-"
_LAST_TOKEN = re.compile(r"\S*\Z")
_ORDINARY = re.compile(r"[^\W\d_]+(?:['’‐—–-][^\W\d_]+)*\Z")
_DOTTED = re.compile(r"(?:[^\W\d_]{1,3}\.)+[^\W\d_]{1,3}\Z")  # a.m, U.S, Ph.D
_LIST_NUMBER = re.compile(r"(?:\A|\n|[:;,.!?]\s)\s*(?:(?:and|or)\s+)?\(?\d{1,2}\Z")
_NEXT_WORD = re.compile(r"[\"'“‘(\[«]*([^\W\d_]+(?:['’][^\W\d_]+)*)")


def token_before(text: str, at: int) -> str:
    """What stands before position `at`, back to the last space, without opening quotes."""
    token = _LAST_TOKEN.search(text[max(0, at - 60) : at])
    return token[0].lstrip(_OPENERS) if token else ""


def is_ordinary(token: str) -> bool:
    """A word in small letters that is no abbreviation: a full stop after it needs no look ahead."""
    if not _ORDINARY.match(token) or not token.islower() or token in _NOT_ORDINARY:
        return False
    return len(token) >= 3 or token in _SHORT_WORDS


def after_ellipsis(after: str, final: bool) -> Verdict:
    """Trailing off, or pausing: a small letter goes on. `after` has no space in front."""
    if not after:
        return Verdict.CUT if final else Verdict.WAIT
    return Verdict.NO if after[0].islower() else Verdict.CUT


def after_full_stop(before: str, after: str, final: bool) -> Verdict:
    """A single full stop with a space after it, or at the very end; `after` begins beyond the space."""
    token = token_before(before, len(before))
    if is_ordinary(token):
        return Verdict.CUT
    word = token.lower()
    if word in _NEVER_LAST or _LIST_NUMBER.search(before):
        return Verdict.NO
    if word in _BEFORE_NUMBERS:
        if not after:
            return Verdict.CUT if final else Verdict.WAIT
        return Verdict.NO if after[0].isdigit() or after[0].islower() else Verdict.CUT
    if word in _SELDOM_LAST or _DOTTED.match(token) or (len(token) == 1 and token.isalpha()):
        return _if_starter(after, final)
    return Verdict.CUT


def _if_starter(after: str, final: bool) -> Verdict:
    word = _NEXT_WORD.match(after)
    if word is None:
        return Verdict.WAIT if not after.strip(_OPENERS) and not final else Verdict.NO
    if word.end() == len(after) and not final:
        return Verdict.WAIT
    starts = word[1].lower().replace("’", "'") in _STARTERS
    return Verdict.CUT if starts and word[1][0].isupper() else Verdict.NO
