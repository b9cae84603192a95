"""Moonshine tiny-en, the speech recognizer of PyPI's `moonshine-voice`, through its C library.

Blocking: call it in a worker thread (ctypes releases the GIL). The package's own
`transcribe_without_streaming` wants a list of Python floats; here the samples are handed over as they lie.

The library's own voice detector is switched off (`vad_threshold` 0): an utterance comes cut out already,
and cutting it again costs word errors (.062 against .046 of our recordings' words, `bench/local_engines.py`).
Without it the model makes a word of any noise ("You"), so `SpeechGate` listens first.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ErrorKind, ProviderError
from voxray.providers.offers import MOONSHINE_HZ
from voxray.turns.silero import WINDOW, SileroModel

PACKAGE = "moonshine-voice"
VERSION = "0.0.73"  # the last release we know that carries its model; later ones download it
REMEDY = f"pip install {PACKAGE}=={VERSION}"
RATE_HZ = MOONSHINE_HZ

_API_VERSION = 20_000  # MOONSHINE_HEADER_VERSION
_TINY = 0  # ModelArch.TINY
_OPTIONS = {
    "vad_threshold": "0.0",
    "vad_max_segment_duration": "60",
    "identify_speakers": "false",
    "return_audio_data": "false",
}
# The library takes whole hops of 512 samples and drops the rest: a word's end, without this.
_TAIL = np.zeros(512, np.float32)


def _unavailable(what: str) -> ProviderError:
    return ProviderError("local", ErrorKind.UNAVAILABLE, f"{what}: {REMEDY}")


class Moonshine:
    """One loaded model, some 100 MB. Thread-safe: one utterance at a time."""

    def __init__(self) -> None:
        """Loads it (0.2 s). Raises ProviderError(UNAVAILABLE)."""
        self._api, model = _package()
        self._library = self._api._MoonshineLib().lib
        self._lock = Lock()
        options, count, _keep = self._api.moonshine_options_array(_OPTIONS)
        self._handle: int | None = None
        handle = self._library.moonshine_load_transcriber_from_files(
            str(model).encode(), _TINY, options, count, _API_VERSION
        )
        if handle < 0:
            raise _unavailable(f"moonshine does not load its model ({self._said(handle)})")
        self._handle = handle

    def transcribe(self, samples: NDArray[np.float32]) -> str:
        """The words in 16 kHz samples of -1..1. Raises ProviderError(BAD_ANSWER)."""
        audio = np.concatenate((samples, _TAIL), dtype=np.float32)
        found = ctypes.POINTER(self._api.TranscriptC)()
        with self._lock:
            if self._handle is None:
                raise _unavailable("moonshine was closed")
            status = self._library.moonshine_transcribe_without_streaming(
                self._handle,
                audio.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
                audio.size,
                RATE_HZ,
                0,
                ctypes.byref(found),
            )
            if status != 0:
                raise ProviderError("local", ErrorKind.BAD_ANSWER, f"moonshine: {self._said(status)}")
            return _words(found)  # the library's memory: only good until its next call

    def close(self) -> None:
        """Waits for the utterance being transcribed."""
        with self._lock:
            if self._handle is not None:
                self._library.moonshine_free_transcriber(self._handle)
                self._handle = None

    def _said(self, status: int) -> str:
        text = self._library.moonshine_error_to_string(status)
        return text.decode("utf-8", "replace") if text else str(status)


def _package() -> tuple[Any, Path]:
    """The package's table of C functions and its model's directory; sounddevice is not touched."""
    try:
        api = importlib.import_module("moonshine_voice.moonshine_api")
        found = importlib.metadata.version(PACKAGE)
    except ImportError as error:
        raise _unavailable("moonshine is not installed") from error
    except Exception as error:  # its own import-time ABI check, a missing libstdc++, ...
        raise _unavailable(f"moonshine does not load ({type(error).__name__})") from error
    model = Path(str(api.__file__)).parent / "assets" / "tiny-en"
    if not model.is_dir():
        raise _unavailable(f"moonshine-voice {found} carries no model")
    return api, model


def _words(found: Any) -> str:
    if not found:
        return ""
    lines = found.contents.lines[: found.contents.line_count]
    texts = (ctypes.string_at(line.text).decode("utf-8", "replace") for line in lines if line.text)
    return " ".join(text for text in texts if text)


class SpeechGate:
    """Is there a voice at all? Silero over the utterance, until it has heard 100 ms of speech.

    Some 4 ms a second of audio looked at. On our recordings every human one passes; noise, tones, coughs
    and knocks stay under 0.05 a window. Used under the caller's lock or in one thread.
    """

    WINDOWS = 3
    PROBABILITY = 0.5

    def __init__(self) -> None:
        self._model = SileroModel()
        self._lock = Lock()

    def holds_speech(self, samples: NDArray[np.float32], rate_hz: int) -> bool:
        """`rate_hz` is 8000 or 16000."""
        size, heard = WINDOW[rate_hz], 0
        with self._lock:
            for start in range(0, samples.size - size + 1, size):
                fresh = [0] if start == 0 else []
                window = samples[start : start + size]
                probabilities, _levels = self._model.run(rate_hz, [0], fresh, [window])
                heard += float(probabilities[0]) > self.PROBABILITY
                if heard == self.WINDOWS:
                    return True
        return False
