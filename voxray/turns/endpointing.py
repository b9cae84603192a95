"""When is the caller's turn over? From windows of audio (and early words) to turns. Pure, in media time.

`stop_secs` of silence after the last speech end a turn, the detector's own stop time included. Silence
after unfinished words ("my number is", a comma, digits being dictated) is waited out longer. A long turn is
cut into pieces for the transcriber, in a breath where there is one, and stays one turn.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from voxray.settings import TurnSettings
from voxray.turns.backchannel import words_of
from voxray.turns.vad import SpeechGate, SpeechStarted, SpeechStopped

UNFINISHED_WAIT_SECS = 1.4
CUT_FROM = 0.75  # of the greatest duration: from here on any silent window will do for a cut


class Completeness(Enum):
    """How an utterance sounds by its words."""

    UNFINISHED = "unfinished"
    UNKNOWN = "unknown"
    FINISHED = "finished"


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_DANGLING = _set(
    "a an the and but or so because if when while that which who whose to of for from with at in on by about"
    " into than as is are was were am be my your his her our their its i we they he she i'm i'd i'll we're"
    " it's um uh er erm hmm like would could can will should want need have has maybe well also then plus"
    " number's name's"
)
# Words that can end a sentence though they are on the list: "I think so", "yes I am", "yes it is".
_SHORT_ANSWERS = _set(
    "yes no yeah yep nope sure okay ok right correct exactly thanks goodbye bye please hello hi"
)
_CAN_END = re.compile(
    r"\b(?:(?:think|hope|guess|told me|said) so|(?:yes|no|sure|think)[ ,]+(?:i|we|it|they|you|he|she) \w+"
    r"|(?:yes|no|sure)[ ,]+(?:i|we|they|he|she) \w+|come in|log in|hold on|go on|turn (?:it )?on|what for"
    r"|who (?:is|am|are) (?:it|i|this|that)|i want to|i'd like to|don't want to|i do|as well"
    r"|good[- ]by)[.?!]?$"
)
_LEAD_IN = re.compile(
    r"\b(?:number|name|address|code|date of birth|birthday|e-?mail|zip|postcode)(?: is| was|'s)?[.,:]?$"
)
_DIGITS = _set("zero oh one two three four five six seven eight nine ten double triple")
_PHONE_DIGITS = 7  # a dictated number shorter than this goes on


def completeness(text: str) -> Completeness:
    """What the words of a transcript say about going on. English; other languages by punctuation only."""
    stripped = text.strip()
    words = words_of(stripped)
    if not words:
        return Completeness.UNKNOWN
    if stripped.endswith((",", "-", "–", "—", "...", "…", ":")):  # noqa: RUF001
        return Completeness.UNFINISHED
    lower = stripped.lower()
    if stripped.endswith("?"):
        return Completeness.FINISHED
    if _LEAD_IN.search(lower) or _dictating(words):
        return Completeness.UNFINISHED
    if words[-1] in _DANGLING and not _CAN_END.search(lower):
        return Completeness.UNFINISHED
    if words[-1] in _SHORT_ANSWERS or (len(words) >= 3 and stripped.endswith((".", "!"))):
        return Completeness.FINISHED
    return Completeness.UNKNOWN


def _dictating(words: list[str]) -> bool:
    """Ends in a run of digits: at least three, too few for a telephone number, and not a year."""
    count = tokens = 0
    for word in reversed(words):
        if word in _DIGITS:
            count += 1
        elif word.isdigit() and len(word) <= 4:
            count += len(word)
        else:
            break
        tokens += 1
    return 3 <= count < _PHONE_DIGITS and (tokens > 1 or count == 3)


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The caller began to speak at `start_ms`."""

    start_ms: float
    at_ms: float


@dataclass(frozen=True, slots=True)
class TurnPaused:
    """Silence since `end_ms`: a good moment to transcribe early (`start_ms` to `end_ms`) and `hint`."""

    start_ms: float
    end_ms: float
    at_ms: float


@dataclass(frozen=True, slots=True)
class TurnResumed:
    """The caller goes on after a pause: an early transcript is out of date."""

    at_ms: float


@dataclass(frozen=True, slots=True)
class TurnPiece:
    """The turn grew too long: transcribe this much of it; it goes on."""

    start_ms: float
    end_ms: float
    at_ms: float


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The turn is over. `start_ms`..`end_ms` is what no TurnPiece had; empty when they had it all."""

    start_ms: float
    end_ms: float
    at_ms: float


TurnEvent: TypeAlias = TurnStarted | TurnPaused | TurnResumed | TurnPiece | TurnEnded


class Endpointer:
    """One call's turns. Feed it every window, in order."""

    def __init__(self, settings: TurnSettings) -> None:
        self._gate = SpeechGate(settings)
        self._stop_ms = settings.stop_secs * 1000.0
        self._unfinished_ms = max(settings.stop_secs, UNFINISHED_WAIT_SECS) * 1000.0
        self._max_ms = settings.max_duration_secs * 1000.0
        self._wait_ms = self._stop_ms
        self._piece_ms: float | None = None  # where the part of the turn begins that no piece has

    @property
    def speaking(self) -> bool:
        """Speech is heard right now (by the gate)."""
        return self._gate.open

    @property
    def in_turn(self) -> bool:
        """Between TurnStarted and TurnEnded."""
        return self._piece_ms is not None

    def feed(self, probability: float, level: float, start_ms: float, end_ms: float) -> tuple[TurnEvent, ...]:
        """One window, which lasted from `start_ms` to `end_ms` of media time."""
        event = self._gate.feed(probability, level, start_ms, end_ms)
        if event is None and self._piece_ms is None:
            return ()
        events: list[TurnEvent] = []
        if isinstance(event, SpeechStarted):
            events.append(self._started(event))
        elif isinstance(event, SpeechStopped):
            assert self._piece_ms is not None
            begin = min(self._piece_ms, event.end_ms)
            events.append(TurnPaused(begin, max(begin, event.end_ms), end_ms))
        assert self._piece_ms is not None
        if self._over(end_ms, (end_ms - start_ms) / 2):
            events.append(self._end(end_ms))
        elif self._too_long(end_ms):
            events.append(TurnPiece(self._piece_ms, end_ms, end_ms))
            self._piece_ms = end_ms
        return tuple(events)

    def hint(self, text: str) -> Completeness:
        """The words said up to this pause. Holds until the caller goes on; no effect while they speak."""
        found = completeness(text)
        if self._piece_ms is not None and not self._gate.open:
            self._wait_ms = self._unfinished_ms if found is Completeness.UNFINISHED else self._stop_ms
        return found

    def force_end(self, at_ms: float) -> TurnEnded | None:
        """No audio comes any more (the call's timer says so): the turn ends as it stands."""
        return None if self._piece_ms is None else self._end(at_ms)

    def _started(self, event: SpeechStarted) -> TurnEvent:
        self._wait_ms = self._stop_ms
        if self._piece_ms is not None:
            return TurnResumed(event.at_ms)
        self._piece_ms = event.start_ms
        return TurnStarted(event.start_ms, event.at_ms)

    def _over(self, now_ms: float, slack_ms: float) -> bool:
        """Silent for long enough; a stretch that is just beginning (or a gate still open) holds it.

        Time comes in whole windows: the nearest one will do (`slack_ms` is half a window), not the next.
        """
        if self._gate.open or self._gate.speech_start_ms is not None:
            return False
        return now_ms - self._gate.last_speech_ms >= self._wait_ms - slack_ms

    def _too_long(self, now_ms: float) -> bool:
        assert self._piece_ms is not None
        length = now_ms - self._piece_ms
        if length >= self._max_ms:
            return True
        breath = self._gate.open and self._gate.last_speech_ms < now_ms
        return breath and length >= self._max_ms * CUT_FROM

    def _end(self, now_ms: float) -> TurnEnded:
        assert self._piece_ms is not None
        begin, self._piece_ms = self._piece_ms, None
        self._wait_ms = self._stop_ms
        if self._gate.open:
            self._gate.reset()
        return TurnEnded(begin, max(begin, self._gate.last_speech_ms), now_ms)
