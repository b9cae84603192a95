"""For the tests of the local engines: the recordings, the telephone in between, and word error rate."""

from __future__ import annotations

import ctypes
import json
import re
from collections.abc import Callable, Coroutine, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from twisted.internet.defer import Deferred

from voxray.audio.codec import codec_for
from voxray.audio.resample import resampled
from voxray.audio.wav import read_wav
from voxray.frames import ULAW_8K, CallInfo, Utterance

T = TypeVar("T")
CALL = CallInfo("test")
CALLERS = files("voxray") / "data" / "callers"
_COUNT = (
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
_NUMBERS = {word: number for number, word in enumerate(_COUNT)}


class InlineWorker:
    """A worker without threads."""

    async def run(self, work: Callable[[], T]) -> T:
        return work()


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that waits for nothing."""
    results: list[T] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(coroutine).addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    return results[0]


def missing(*libraries: str) -> str:
    """Why a test is to be skipped; "" when the C libraries are there."""
    for name in libraries:
        try:
            ctypes.CDLL(name)
        except OSError:
            return f"{name} is not installed"
    return ""


@cache
def index() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CALLERS / "callers.json").read_text("utf-8"))
    return loaded


def recording(id: str) -> tuple[NDArray[np.int16], int]:
    samples, wav = read_wav((CALLERS / f"{id}.wav").read_bytes())
    return samples, wav.rate_hz


def by_telephone(samples: NDArray[np.int16], rate_hz: int, pad_secs: float = 0.4) -> Utterance:
    """As an utterance arrives: u-law at 8 kHz, with the silence around it that the turn detector keeps."""
    codec = codec_for(ULAW_8K)
    pad = codec.silent(pad_secs * 1000)
    payload = pad + codec.encode(resampled(samples, rate_hz, 8000)) + pad
    return Utterance(payload, ULAW_8K, 0.0, codec.duration_ms(payload))


def words(text: str) -> list[str]:
    """For comparing: lower case, numbers as digits, no marks."""
    text = re.sub(r"\b([ap])\.? ?m\b\.?", r"\1m", text.lower().replace("'", ""))
    text = re.sub(r"(\d)(?=\d)", r"\1 ", re.sub(r"[^a-z0-9]+", " ", text)).replace("1 0", "10")
    return [str(_NUMBERS.get("zero" if word == "oh" else word, word)) for word in text.split()]


def word_errors(meant: Sequence[str], heard: Sequence[str]) -> int:
    """Substitutions, insertions and deletions (Levenshtein, by words)."""
    row = list(range(len(heard) + 1))
    for line, wanted in enumerate(meant, 1):
        before, row[0] = row[0], line
        for column, got in enumerate(heard, 1):
            before, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, before + (wanted != got)),
            )
    return row[-1]


def word_error_rate(pairs: Sequence[tuple[str, str]]) -> float:
    """Over all pairs of (meant, heard)."""
    errors = sum(word_errors(words(meant), words(heard)) for meant, heard in pairs)
    return errors / sum(len(words(meant)) for meant, _ in pairs)
