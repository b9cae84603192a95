"""What the caller does: the steps of a call, and the performer that decides when each is due.

Pure; time is an argument, in seconds since the stream began. A caller is polite unless told otherwise:
every step but a barge-in and a back-channel waits until the agent has answered what was said last and has
been quiet for a moment (`settle_secs`). Every wait is bounded, and running into a bound is reported, not
hidden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import PurePath
from typing import Any

DTMF_DIGITS = frozenset("0123456789*#ABCD")


class Do(Enum):
    """The kinds of step; values are the words of a script file."""

    SAY = "say"
    BARGE_IN = "barge_in"
    BACKCHANNEL = "backchannel"
    WAIT = "wait"
    DTMF = "dtmf"
    HANG_UP = "hang_up"
    EXPECT_HANG_UP = "expect_hangup"


SPOKEN = frozenset({Do.SAY, Do.BARGE_IN, Do.BACKCHANNEL})


@dataclass(frozen=True, slots=True)
class Step:
    """One thing the caller does. `audio` (mu-law, 8 kHz) is filled in before the call begins."""

    do: Do
    text: str = ""  # what is said; with `file`, the recording's words, if known
    file: str = ""  # a recording to play instead of synthesized speech
    secs: float = 0.0  # wait: how long; barge_in, backchannel: seconds of agent speech before it
    digits: str = ""
    expect_reply: str = ""  # the reply must match this regular expression, case ignored
    max_latency_ms: float = 0.0  # 0: the call's
    audio: bytes = b""

    @property
    def label(self) -> str:
        """The step in a few words, for people."""
        if self.do is Do.DTMF:
            return f"keys {self.digits}"
        return self.text or PurePath(self.file).name or self.do.value


@dataclass(frozen=True, slots=True)
class Script:
    """A whole call."""

    steps: tuple[Step, ...] = ()
    expect_greeting: str = ""
    expect_hang_up: bool = False


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the caller waits, in seconds."""

    settle: float = 1.0  # of quiet before the agent is taken to have finished
    greeting: float = 5.0  # for the agent's first word; then the caller speaks first
    reply: float = 15.0
    hang_up: float = 20.0
    resume: float = 2.5  # of quiet after a back-channel: an agent that stopped for it may go on


class BadScript(Exception):
    """A script file or an option that makes no sense; the text says which step and why."""


# -- script files ------------------------------------------------------------
_FILE = re.compile(r"\.wav$", re.IGNORECASE)


def spoken(do: Do, words: str, **more: Any) -> Step:
    """A spoken step from "some words" or "recording.wav"."""
    if _FILE.search(words):
        return Step(do, file=words, **more)
    return Step(do, text=words, **more)


def keys(digits: str, **more: Any) -> Step:
    """A DTMF step; refuses what no telephone has."""
    pressed = digits.replace(" ", "").upper()
    if not pressed or not DTMF_DIGITS.issuperset(pressed):
        raise BadScript(f"dtmf {digits!r}: keys are 0-9, *, #, A-D")
    return Step(Do.DTMF, digits=pressed, **more)


def parse_script(document: object) -> Script:
    """A script file's JSON. Raises BadScript."""
    if not isinstance(document, Mapping):
        raise BadScript('a script is an object: {"steps": [...]}')
    unknown = set(document) - {"steps", "expect_greeting", "expect_hangup"}
    if unknown:
        raise BadScript(f"unknown key {sorted(map(str, unknown))[0]!r} in the script")
    steps = document.get("steps", [])
    if not isinstance(steps, list):
        raise BadScript('"steps" is a list')
    return Script(
        steps=tuple(_step(number, each) for number, each in enumerate(steps, 1)),
        expect_greeting=_pattern(document.get("expect_greeting", ""), "expect_greeting"),
        expect_hang_up=document.get("expect_hangup") is True,
    )


def _step(number: int, each: object) -> Step:
    try:
        return _parsed_step(each)
    except BadScript as error:
        raise BadScript(f"step {number}: {error}") from None


def _parsed_step(each: object) -> Step:
    if not isinstance(each, Mapping):
        raise BadScript('a step is an object such as {"say": "hello"}')
    verbs = [name for name in each if name == "play" or name in Do._value2member_map_]
    if len(verbs) != 1:
        raise BadScript("exactly one of say, play, barge_in, backchannel, wait, dtmf, hang_up, expect_hangup")
    unknown = set(each) - {verbs[0], "text", "after", "expect_reply", "max_latency_ms"}
    if unknown:
        raise BadScript(f"unknown key {sorted(map(str, unknown))[0]!r}")
    value = each[verbs[0]]
    if verbs[0] == "play":
        return Step(Do.SAY, file=_words(value), text=str(each.get("text", "")), **_expectations(each))
    do = Do(verbs[0])
    if do not in SPOKEN | {Do.DTMF} and {"expect_reply", "max_latency_ms"} & set(each):
        raise BadScript(f"nothing answers {verbs[0]!r}: expect a reply to what is said or pressed")
    if do is Do.DTMF:
        return keys(str(value), **_expectations(each))
    if do is Do.WAIT:
        return Step(do, secs=_secs(value, "wait"))
    if do not in SPOKEN:
        return Step(do)
    step = spoken(do, _words(value), secs=_secs(each.get("after", 1.0), "after"), **_expectations(each))
    return step if not step.file else replace(step, text=str(each.get("text", "")))


def _expectations(each: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "expect_reply": _pattern(each.get("expect_reply", ""), "expect_reply"),
        "max_latency_ms": _secs(each.get("max_latency_ms", 0.0), "max_latency_ms"),
    }


def _words(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadScript("needs words or the name of a WAV file")
    return value


def _secs(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 86_400:
        raise BadScript(f"{name!r} is a number, 0 or more")
    return float(value)


def _pattern(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise BadScript(f"{name!r} is a regular expression")
    try:
        re.compile(value)
    except re.error as error:
        raise BadScript(f"{name!r} {value!r}: {error}") from None
    return value
