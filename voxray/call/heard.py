"""What the caller heard, in words: the reply's text laid along its audio.

A model must not believe it said what a barge-in cut off. The position comes from the pacer; within a
piece of speech, words are laid out by their length, for want of word times from the synthesizer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(r"\S+\s*")
_PAUSE_CHARS = 4
"""A comma or stop lasts about as long as this many characters of speech."""


@dataclass(slots=True)
class Spoken:
    """Some speech: `text` from `start_ms` to `end_ms` of the generation's audio; end 0 while it grows."""

    text: str
    start_ms: float
    end_ms: float = 0.0


def heard_text(pieces: Sequence[Spoken], heard_ms: float, pushed_ms: float) -> str:
    """The words that had begun and mostly come out at `heard_ms`."""
    said = [part for piece in pieces if (part := _heard_of(piece, heard_ms, pushed_ms))]
    return " ".join(said)


def unheard_text(pieces: Sequence[Spoken], heard_ms: float, pushed_ms: float) -> str:
    """The rest, from the beginning of the word that was cut."""
    rest = []
    for piece in pieces:
        heard = _heard_of(piece, heard_ms, pushed_ms)
        if left := piece.text[len(heard) :].strip():
            rest.append(left)
    return " ".join(rest)


def _heard_of(piece: Spoken, heard_ms: float, pushed_ms: float) -> str:
    end_ms = piece.end_ms or _estimated_end(piece, pushed_ms)
    if heard_ms >= end_ms:
        return piece.text
    if heard_ms <= piece.start_ms or end_ms <= piece.start_ms:
        return ""
    share = (heard_ms - piece.start_ms) / (end_ms - piece.start_ms)
    words = _WORD.findall(piece.text)
    weights = [_weight(word) for word in words]
    budget, taken = share * sum(weights), 0
    for weight in weights:
        if budget < weight / 2:  # a word is heard once half of it was
            break
        budget -= weight
        taken += 1
    return "".join(words[:taken]).rstrip()


def _estimated_end(piece: Spoken, pushed_ms: float) -> float:
    """A piece still being synthesized: about 65 ms a character, and no less than what is there."""
    return max(piece.start_ms + 65.0 * len(piece.text), pushed_ms)


def _weight(word: str) -> float:
    bare = word.rstrip()
    return len(bare) + 1 + (_PAUSE_CHARS if bare.endswith((",", ".", "?", "!", ";", ":")) else 0)
