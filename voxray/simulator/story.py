"""The demo's story: what the caller says, what the daemon made of it, and whether that is the same.

Pure. The daemon's log has an event a turn (`heard`, `replied`, `parts_ms`, `interrupted`); the caller knows
what was in the recordings. A recording that is silent, or another than it should be, is heard as something
else, and then the demo fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from voxray.simulator.script import Do, Script, Step

LEAST_OVERLAP = 0.6  # of a line's words must have been understood
MISHEARD = 1  # lines of the story that may be: the recogniser gets one word in fifteen wrong
STAGES = ("endpoint", "stt", "llm", "sentence", "tts", "own", "total")

# Recordings of voxray/data/callers, and their words for when those are not there.
LINES: tuple[tuple[Do, str, str], ...] = (
    (Do.SAY, "your-hours", "Hello. Your hours?"),
    (Do.SAY, "monday-at-ten", "Monday at ten o'clock."),
    (Do.SAY, "victor", "Victor."),
    (Do.SAY, "this-is-correct", "If this is correct."),
    (Do.BARGE_IN, "your-location", "Your location?"),
    (Do.SAY, "thank-you-goodbye", "Thank you. Goodbye."),
)
BARGE_IN_AFTER_SECS = 1.2


def script(callers: Path) -> Script:
    """The demo's call, with the recordings in `callers`; lines without one are left to the local voice."""
    words = _words_of(callers)
    steps = []
    for do, name, text in LINES:
        recording = callers / f"{name}.wav"
        known = words.get(name, text) if recording.exists() else text
        secs = BARGE_IN_AFTER_SECS if do is Do.BARGE_IN else 0.0
        steps.append(Step(do, text=known, file=str(recording) if recording.exists() else "", secs=secs))
    return Script(tuple(steps), expect_hang_up=True)


def transcripts(callers: Path) -> tuple[str, ...]:
    """The words of every recording there is: what a swapped one may be heard as."""
    return tuple(text for text in _words_of(callers).values() if text)


def _words_of(callers: Path) -> dict[str, str]:
    """What is said in each recording."""
    index = callers / "callers.json"
    if not index.exists():
        return {}
    recordings = json.loads(index.read_text(encoding="utf-8"))["recordings"]
    return {each["id"]: each["text"] for each in recordings}


@dataclass(slots=True)
class Chapter:
    """One line of the caller's and what the daemon logged of it; turn 0 is the greeting."""

    said: str
    interrupts: bool = False
    heard: str = ""
    replied: str = ""
    interrupted: bool = False
    parts_ms: dict[str, float] = field(default_factory=dict)
    events: int = 0


class Story:
    """Joins the caller's lines with the daemon's events, in the order they happen."""

    def __init__(self, known: Sequence[str] = ()) -> None:
        """`known` are the words of all recordings."""
        self.known = known
        self.chapters = [Chapter("")]

    def line(self, step: Step) -> None:
        """The caller begins to say this."""
        self.chapters.append(Chapter(step.text, interrupts=step.do is Do.BARGE_IN))

    def event(self, event: Mapping[str, Any]) -> Chapter | None:
        """A turn of the daemon's; the chapter it belongs to. None for an event that is no turn."""
        if event.get("event") != "turn":
            return None
        chapter = self._of(bool(event.get("interrupted")))
        chapter.events += 1
        chapter.heard = f"{chapter.heard} {event.get('heard') or ''}".strip()
        chapter.replied = f"{chapter.replied} {event.get('replied') or ''}".strip()
        chapter.interrupted = chapter.interrupted or bool(event.get("interrupted"))
        chapter.parts_ms = _numbers(event.get("parts_ms")) or chapter.parts_ms
        return chapter

    def _of(self, interrupted: bool) -> Chapter:
        """A reply that was interrupted is told of while the next line is being said."""
        last = self.chapters[-1]
        if interrupted and last.interrupts and not last.events and len(self.chapters) > 1:
            return self.chapters[-2]
        return last

    def misheard(self) -> list[str]:
        """The lines the daemon did not understand, as sentences.

        One may be misheard, as people's are. It may not be silent, nor be heard as another recording.
        """
        doubtful: list[str] = []
        wrong: list[str] = []
        for chapter in self.chapters[1:]:
            share = overlap(chapter.said, chapter.heard)
            if share >= LEAST_OVERLAP:
                continue
            heard = f"{chapter.heard!r} was heard" if chapter.heard else "nothing was heard"
            sentence = f"the caller said {chapter.said!r}, {heard} ({share:.0%} of the words)"
            swapped = any(_same(text, chapter.heard) for text in self._others(chapter))
            (wrong if swapped or not chapter.heard else doubtful).append(sentence)
        return wrong + doubtful if wrong or len(doubtful) > MISHEARD else []

    def _others(self, chapter: Chapter) -> set[str]:
        lines = {each.said for each in self.chapters[1:]} | set(self.known)
        return lines - {chapter.said}


def _numbers(parts: object) -> dict[str, float]:
    if not isinstance(parts, Mapping):
        return {}
    return {str(name): float(ms) for name, ms in parts.items() if isinstance(ms, (int, float))}


_NUMBERS = dict(
    enumerate(
        (
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
        )
    )
)


def words_of(text: str) -> list[str]:
    """Lower case words; small numbers spelled, so that "10 o'clock" and "ten o'clock" are the same."""
    plain = re.sub(r"\b([ap])\.m\.?", r"\1m", text.lower().replace("\u2019", "'").replace("-", ""))
    plain = re.sub(r"\b(\d{1,2}):00\b", r"\1", plain)
    found = re.findall(r"[a-z]+(?:'[a-z]+)?|\d+", plain)
    return [_NUMBERS.get(int(word), word) if word.isdigit() else word for word in found]


def overlap(said: str, heard: str) -> float:
    """The share of the words said that were heard, in any order; a word may be a little off."""
    wanted, found = words_of(said), words_of(heard)
    if not wanted:
        return 1.0
    hits = 0
    for word in wanted:
        near = next((other for other in found if _alike(word, other)), None)
        if near is not None:
            found.remove(near)
            hits += 1
    return hits / len(wanted)


def _same(text: str, heard: str) -> bool:
    """As much of the one as of the other."""
    return min(overlap(text, heard), overlap(heard, text)) >= LEAST_OVERLAP


def _alike(word: str, other: str) -> bool:
    return word == other or SequenceMatcher(None, word, other).ratio() >= 0.75


def stages(parts_ms: Mapping[str, float]) -> str:
    """endpoint 600 + stt 120 + ... in one line."""
    return ", ".join(f"{name} {parts_ms[name]:.0f}" for name in STAGES if name in parts_ms)


def table_rows(chapters: Sequence[Chapter], at_ear_ms: Sequence[float | None]) -> list[list[str]]:
    """The latency table: what the caller waited, and where the time went (ms)."""
    rows = [["caller said", "agent heard", "at the ear", *STAGES]]
    for chapter, ear in zip(chapters, at_ear_ms, strict=False):
        cells = [f"{chapter.parts_ms[name]:.0f}" if name in chapter.parts_ms else "-" for name in STAGES]
        said = chapter.said or "(greeting)"
        rows.append([said[:28], chapter.heard[:28], "-" if ear is None else f"{ear:.0f}", *cells])
    return rows
