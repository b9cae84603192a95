"""What the commands print: plain lines, with colour on a terminal alone, and never a secret."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import IO

from voxray.masking import Masking


class Verdict(Enum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


_COLOURS = {Verdict.OK: "32", Verdict.WARN: "33", Verdict.FAIL: "31", Verdict.SKIP: "2"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: how it is, and what to do about it."""

    verdict: Verdict
    topic: str
    text: str
    remedy: str = ""

    @property
    def worded(self) -> str:
        return f"{self.text}; {self.remedy}" if self.remedy else self.text

    def document(self) -> dict[str, str]:
        """For JSON."""
        found = {"verdict": self.verdict.value, "topic": self.topic, "text": self.text}
        return found | ({"remedy": self.remedy} if self.remedy else {})


def failed(findings: Iterable[Finding]) -> bool:
    return any(finding.verdict is Verdict.FAIL for finding in findings)


def tally(findings: Iterable[Finding]) -> str:
    """`1 problem, 2 warnings`; a word for none."""
    verdicts = [finding.verdict for finding in findings]
    problems, warnings = verdicts.count(Verdict.FAIL), verdicts.count(Verdict.WARN)
    said = f"{problems} problem{'s' * (problems != 1)}" if problems else "no problem"
    return f"{said}, {warnings} warning{'s' * (warnings != 1)}" if warnings else said


# -- text that may hold anything -----------------------------------------------
def plain(text: str) -> str:
    """One line: control characters, and whatever moves a terminal, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _each_text(value: object, change: Callable[[str], str]) -> object:
    """`value` with every text in it changed; JSON's own escapes come after that."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _each_text(item, change) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_each_text(item, change) for item in value]
    return value


class Paper:
    """Where a command writes."""

    def __init__(self, stream: IO[str], environ: Mapping[str, str], masking: Masking | None = None) -> None:
        self._stream = stream
        self.masking = masking or Masking()
        terminal = stream.isatty() and environ.get("TERM") != "dumb"
        self._colours = terminal and not environ.get("NO_COLOR")

    def line(self, text: str = "") -> None:
        self._write(plain(self.masking(text)))

    def row(self, name: str, text: str) -> None:
        """A name and what it is."""
        self.line(f"{name:<12} {text}")

    def document(self, document: object) -> None:
        """As one line of JSON."""
        self._write(json.dumps(_each_text(document, self.masking)))

    def finding(self, finding: Finding) -> None:
        word, rest = f"{finding.verdict.value:<4}", f"  {finding.topic:<12} {finding.worded}"
        self._write(self._coloured(word, finding.verdict) + plain(self.masking(rest)))

    def _coloured(self, word: str, verdict: Verdict) -> str:
        return f"\x1b[{_COLOURS[verdict]}m{word}\x1b[0m" if self._colours else word

    def _write(self, text: str) -> None:
        self._stream.write(f"{text.rstrip()}\n")
        self._stream.flush()
