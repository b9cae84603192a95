"""What a model writes, as it can be said: no markdown, no emoji, no thoughts.

A stream filter: what cannot be decided yet (half a tag, a lone asterisk at the end of a delta) waits for
the next delta, so however the text is cut the result is the same. What it removes: `<think>` blocks,
emphasis, headings, bullets, quotes, code marks (their content is said), table bars, link targets (their
text is said), emoji and their joiners. What it leaves: numbers of lists, `*` and `#` where they can mean
the telephone's keys, `_` within names, `*` between numbers.
"""

from __future__ import annotations

import re

_PICTURES = (
    "\U0001f000-\U0001faff\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u2022"
)
# Selectors, keycap, tags, zero-width space, soft hyphen, byte order mark.
_INVISIBLE = "\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f\u200b\u00ad\ufeff"
_JOINER = "\u200d"  # within emoji; but letters of Indian scripts are joined with it too
_PICTURE = re.compile(f"[{_PICTURES}]")
_INVISIBLE_ONE = re.compile(f"[{_INVISIBLE}]")
_PLAIN = re.compile(f"[^<*_`~|\\[\n{_PICTURES}{_INVISIBLE}{_JOINER}]+")

_OPEN_THOUGHT = re.compile(r"<think(?:ing)?>", re.I)
_CLOSE_THOUGHT = re.compile(r"</think(?:ing)?>", re.I)
_THOUGHT_TAGS = ("<think>", "<thinking>", "</think>", "</thinking>")
_LONGEST_TAG = max(map(len, _THOUGHT_TAGS))

_LINK = re.compile(r"\[([^\[\]\n]{0,200})\]\([^()\n]{0,500}\)")
_LINK_BEGUN = re.compile(r"\[[^\[\]\n]{0,200}(?:\](?:\([^()\n]{0,500})?)?\Z")
_FENCE = re.compile(r"`{3,}[\w+#.-]{0,20}[ \t]*(?=\n)")
_FENCE_BEGUN = re.compile(r"`+(?:[\w+#.-]{0,20}[ \t]*)?\Z")
_HEADING = re.compile(r"#{1,6}[ \t]")
_BULLET = re.compile(r"[-+>][ \t]")


class Speakable:
    """One reply's filter: feed the deltas, then flush."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._held = ""
        self._thinking = False
        self._line_start = True
        self._before = "\n"  # the last character read, removed or not

    def feed(self, delta: str) -> str:
        return self._filter(self._held + delta, final=False)

    def flush(self) -> str:
        """The rest; the filter is then as new."""
        rest = self._filter(self._held, final=True)
        self._reset()
        return rest

    def _filter(self, text: str, final: bool) -> str:
        out: list[str] = []
        at = 0
        while at < len(text):
            plain = None if self._thinking or self._line_start else _PLAIN.match(text, at)
            if plain:
                said, end = plain[0], plain.end()
            else:
                step = self._step(text, at, final)
                if step is None:
                    break
                said, end, text = step
            out.append(said)
            if end > at:
                self._before = text[end - 1]
            at = end
        self._held = text[at:]
        return "".join(out)

    def _step(self, text: str, at: int, final: bool) -> tuple[str, int, str] | None:
        """(what is said, where to go on, the text) for what begins at `at`; None: more is needed."""
        if self._thinking:
            return self._thought(text, at, final)
        char = text[at]
        if char == "<":
            return self._tag(text, at, final)
        if char in "*_~`" or (char == "#" and self._line_start):
            return self._run(text, at, final)
        if char == "[":
            return self._link(text, at, final)
        if self._line_start and char in "-+>":
            if at + 1 == len(text) and not final:
                return None
            bullet = _BULLET.match(text, at)
            self._line_start = bool(bullet) and char == ">"  # a quote may hold a list
            return "" if bullet else char, at + 1, text
        return self._single(char), at + 1, text

    def _single(self, char: str) -> str:
        if char == "\n":
            self._line_start = True
            return char
        if _INVISIBLE_ONE.match(char):
            return ""
        if char == _JOINER:
            return "" if _PICTURE.match(self._before) or _INVISIBLE_ONE.match(self._before) else char
        if char == "|" or _PICTURE.match(char):
            return " "
        if not char.isspace():
            self._line_start = False
        return char

    def _thought(self, text: str, at: int, final: bool) -> tuple[str, int, str] | None:
        end = _CLOSE_THOUGHT.search(text, at)
        if end:
            self._thinking = False
            return "", end.end(), text
        tail = len(text) if final else max(at, len(text) - _LONGEST_TAG)
        return ("", tail, text) if tail > at else None

    def _tag(self, text: str, at: int, final: bool) -> tuple[str, int, str] | None:
        opening = _OPEN_THOUGHT.match(text, at)
        # A close without an opening: the vendor kept the first half of the thought to itself.
        tag = opening or _CLOSE_THOUGHT.match(text, at)
        if tag:
            self._thinking = bool(opening)
            return "", tag.end(), text
        rest = text[at : at + _LONGEST_TAG].lower()
        if not final and any(tag.startswith(rest) for tag in _THOUGHT_TAGS):
            return None
        self._line_start = False
        return "<", at + 1, text

    def _link(self, text: str, at: int, final: bool) -> tuple[str, int, str] | None:
        link = _LINK.match(text, at)
        if link:  # its text is read again: it may hold emphasis of its own
            return "", at + 1, text[: at + 1] + link[1] + text[link.end() :]
        if not final and _LINK_BEGUN.match(text, at):
            return None
        self._line_start = False
        return "[", at + 1, text

    def _run(self, text: str, at: int, final: bool) -> tuple[str, int, str] | None:
        """A run of one markdown character, judged by what is on either side."""
        char = text[at]
        end = at
        while end < len(text) and text[end] == char:
            end += 1
        if end == len(text) and not final:
            return None
        after = text[end : end + 1] or "\n"
        if char == "`":
            return self._code(text, at, end, final)
        if char == "#":
            self._line_start = False
            return ("", end, text) if _HEADING.match(text, at) else (text[at:end], end, text)
        line_start, self._line_start = self._line_start, False
        if char == "*":
            bullet = line_start and after.isspace()
            kept = end - at == 1 and not bullet and _keeps_star(self._before, after)
        elif char == "_":
            kept = end - at < 3 and not _is_emphasis(self._before, after)
        else:
            kept = end - at == 1
        return (text[at:end] if kept else ""), end, text

    def _code(self, text: str, at: int, end: int, final: bool) -> tuple[str, int, str] | None:
        if self._line_start and end - at >= 3:
            fence = _FENCE.match(text, at)
            if fence:  # with the language's name
                return "", fence.end(), text
            if not final and _FENCE_BEGUN.match(text, at):
                return None
        return "", end, text


def _keeps_star(before: str, after: str) -> bool:
    """A product, or the key: "2*3", "press * or #", "dial *67"."""
    if before.isdigit() and after.isdigit():
        return True
    return before.isspace() and (after.isdigit() or after.isspace() or after in ".,;:!?)")


def _is_emphasis(before: str, after: str) -> bool:
    """Underscores round a word, not within one."""
    if before.isspace():
        return not after.isspace()
    return not (before.isalnum() and after.isalnum())
