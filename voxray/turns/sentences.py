"""A model's streamed words, cut into pieces that can be spoken one by one, as early as is safe.

The first piece may end at a comma, so that the voice starts soon; the others end with their sentence. A
piece is given out with the delta that shows it is over. Models send words with the space in front, so the
stop in "for you." is only certain with the next delta, except that an ordinary word before it can be no
abbreviation, no number and no initial: then there is nothing to wait for.

(OpenAI's tokenizers and their kin keep the stop of "jane.doe" with the letters after it. A model that
sends it alone gets a pause in such a name.)

How the text was cut on its way changes at most where the pieces end, never the words. Lengths are in
characters.
"""

# The quotes, dashes and full-width marks below are meant: models write them.
# ruff: noqa: RUF001

from __future__ import annotations

import re

from voxray.turns.full_stops import Verdict, after_ellipsis, after_full_stop, is_ordinary, token_before
from voxray.turns.speakable import Speakable

_CLOSERS = "\"'”’»›)]}」』】）〉》"
_STOPS = ".!?…؟۔"
_BARE_STOPS = "。！？｡।॥"  # scripts that need no space after them
_CLAUSE = ",;:—–，、；：،-"
_CANDIDATE = re.compile(f"[{_STOPS}{_BARE_STOPS}\n{_CLAUSE}]")
_STOP_RUN = re.compile(f"[{_STOPS}{_BARE_STOPS}]+")
_CLOSER_RUN = re.compile(f"[{re.escape(_CLOSERS)}]*")
_LEFTOVER = re.compile(f"[{_STOPS}{_BARE_STOPS}{re.escape(_CLOSERS)}]+")
_SPACES = re.compile(r"\s+")
_SPACE_BEFORE_STOP = re.compile(r"\s+([,.;:!?…]+)(?=\s|\Z)")
_COMMA_CUT = re.compile(r"[,;:]\s|[，、；：،—]")


class SentenceSplitter:
    """One reply's splitter: feed the deltas, then flush; it may then be used for the next reply."""

    def __init__(
        self, first_clause_chars: int = 24, first_clause_words: int = 3, max_chars: int = 240
    ) -> None:
        """The first piece may be cut at a comma from `first_clause_chars` on (0: never)."""
        if max_chars < 2:
            raise ValueError("max_chars must be at least 2")
        self._first_chars = first_clause_chars
        self._first_words = first_clause_words
        self._max_chars = max_chars
        self._speakable = Speakable()
        self._reset()

    def _reset(self) -> None:
        self._text = ""
        self._scanned = 0  # nothing before this ends a piece
        self._first = bool(self._first_chars)
        self._glued = False  # the last cut was made before it was seen what follows

    def feed(self, delta: str) -> list[str]:
        """The pieces that are whole now: not empty, one line each."""
        text = self._speakable.feed(delta)
        return self._pieces(text, final=False) if text else []

    def flush(self) -> list[str]:
        """The end of the reply: what is left, in pieces."""
        pieces = self._pieces(self._speakable.flush(), final=True)
        self._reset()
        return pieces

    def _pieces(self, text: str, final: bool) -> list[str]:
        if self._glued and text:
            text = self._without_leftover(text)
        self._text += text
        pieces = []
        while self._text:
            end = self._next_end(final)
            if end is None:
                break
            piece = _tidy(self._text[:end])
            self._text = self._text[end:]
            self._scanned = 0
            if piece:
                pieces.append(piece)
                self._first = False
        return pieces

    def _without_leftover(self, text: str) -> str:
        """After a cut at a delta's end: the quote or the second mark that belonged to it."""
        leftover = _LEFTOVER.match(text)
        text = text[leftover.end() :] if leftover else text
        self._glued = not text
        return text

    # -- where the next piece ends --------------------------------------------
    def _next_end(self, final: bool) -> int | None:
        end = self._natural_end(final)
        if end is None and final:
            end = len(self._text)
        if (len(self._text) if end is None else end) > self._max_chars:
            return self._forced_end()
        if end is not None and end == len(self._text):
            self._glued = not final and not self._text[-1].isspace()
        return end

    def _natural_end(self, final: bool) -> int | None:
        text = self._text
        at = self._scanned
        while found := _CANDIDATE.search(text, at):
            at = found.start()
            char = found[0]
            if char == "\n":
                return at + 1
            if char in _CLAUSE:
                end = at + 1
                verdict = self._clause(at) if self._first else Verdict.NO
            else:
                run = _STOP_RUN.match(text, at)
                assert run
                end = _after_closers(text, run.end())
                verdict = self._stop(at, run.end(), end, final)
            if verdict is Verdict.CUT:
                return end
            if verdict is Verdict.WAIT:
                self._scanned = at
                return None
            at = end
        self._scanned = len(text)
        return None

    def _forced_end(self) -> int:
        """Too long without an end: at the last comma of the second half, else at the last space."""
        head = self._text[: self._max_chars]
        commas = [cut.end() for cut in _COMMA_CUT.finditer(head)]
        if commas and commas[-1] > self._max_chars // 2:
            return commas[-1]
        spaces = [cut.end() for cut in _SPACES.finditer(head)]
        return spaces[-1] if spaces else self._max_chars

    # -- verdicts --------------------------------------------------------------
    def _clause(self, at: int) -> Verdict:
        """May the first piece end with this comma, semicolon, colon or dash?"""
        text = self._text
        char, after = text[at], text[at + 1 : at + 2]
        before = text[:at].strip()
        if char in "，、；：":
            return Verdict.CUT if len(before) >= self._first_chars // 2 else Verdict.NO
        if len(before) < self._first_chars or len(before.split()) < self._first_words:
            return Verdict.NO
        if not after:
            # "1,000", "10:30" and "https://" are still possible; after a letter a comma is a comma.
            return Verdict.CUT if char in ",;—" and text[at - 1].isalpha() else Verdict.WAIT
        if char == "—":
            return Verdict.CUT
        if char in "-–" and not text[at - 1].isspace():
            return Verdict.NO
        return Verdict.CUT if after.isspace() else Verdict.NO

    def _stop(self, at: int, run_end: int, end: int, final: bool) -> Verdict:
        """Is the run of stops in text[at:run_end] the end of a sentence? Closing quotes go on to `end`."""
        text = self._text
        run = text[at:run_end]
        at_end = end == len(text)
        if any(stop in _BARE_STOPS for stop in run):
            return Verdict.CUT
        if not at_end and not text[end].isspace():
            return Verdict.NO  # 3.50, a.m, example.com, "Really?", he said
        if at_end and not final:
            certain = _is_certain(token_before(text, at), run) and not _is_open(text[:end])
            return Verdict.CUT if certain else Verdict.WAIT
        if any(stop not in ".…" for stop in run):
            return Verdict.CUT
        after = text[end:].lstrip()
        if len(run) > 1 or run == "…":
            return after_ellipsis(after, final)
        return after_full_stop(text[:at], after, final)


def _after_closers(text: str, at: int) -> int:
    closers = _CLOSER_RUN.match(text, at)
    return closers.end() if closers else at


def _is_open(text: str) -> bool:
    """Is a quotation or a bracket still to be closed? Its end belongs to the sentence."""
    return bool(text.count('"') % 2) or any(text.count(a) > text.count(b) for a, b in ("()", "“”", "«»"))


def _is_certain(token: str, run: str) -> bool:
    """Is this the end, whatever follows?"""
    if "…" in run or ".." in run:
        return False
    if run == ".":
        return is_ordinary(token)
    return "/" not in token and "@" not in token and not token.lower().startswith("www.")


def _tidy(piece: str) -> str:
    """One line; nothing when there is no word in it."""
    if not any(char.isalnum() for char in piece):
        return ""
    piece = _SPACES.sub(" ", piece).strip(" —–")
    return _SPACE_BEFORE_STOP.sub(r"\1", piece)
