"""Flite, the small speech synthesizer, through its C library (Debian: libflite1; BSD-like licence).

Blocking: call it in a worker thread. A sentence costs about 15 ms of CPU a second of speech, on one
core. Flite keeps global state while it synthesizes, so one lock serves the whole process; ctypes
releases the GIL during the call.

The structure is `cst_wave` of flite 2.x (include/cst_wave.h).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ErrorKind, ProviderError

REMEDY = "apt-get install libflite1"
_LOCK = Lock()


@dataclass(frozen=True, slots=True)
class Spoken:
    """Mono samples as a synthesizer made them: unlevelled, with its own silence at both ends."""

    samples: NDArray[np.int16]
    rate_hz: int


class _Wave(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


VOICES = {"rms": "cmu_us_rms", "slt": "cmu_us_slt", "awb": "cmu_us_awb", "kal16": "cmu_us_kal16"}


class Flite:
    """The library and the voices asked for so far. Raises ProviderError(UNAVAILABLE) without it."""

    def __init__(self) -> None:
        try:
            # The voices find the core's symbols only when those are global.
            self._core = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
            for name in ("libflite_usenglish.so.1", "libflite_cmulex.so.1"):
                ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise ProviderError("local", ErrorKind.UNAVAILABLE, f"flite is missing: {REMEDY}") from error
        self._core.flite_init.argtypes = []
        self._core.flite_text_to_wave.restype = ctypes.POINTER(_Wave)
        self._core.flite_text_to_wave.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
        self._core.delete_wave.restype = None
        self._core.delete_wave.argtypes = [ctypes.POINTER(_Wave)]
        with _LOCK:
            self._core.flite_init()
        self._voices: dict[str, int] = {}

    def load(self, voice: str) -> int:
        """The voice's handle; takes some 10 ms the first time."""
        with _LOCK:
            if voice not in self._voices:
                self._voices[voice] = self._register(voice)
            return self._voices[voice]

    def speak(self, text: str, voice: str = "rms") -> Spoken:
        """All of `text`, at the voice's own rate (16 kHz for these voices)."""
        handle = self.load(voice)
        with _LOCK:
            wave = self._core.flite_text_to_wave(_for_flite(text), handle)
            if not wave:
                raise ProviderError("local", ErrorKind.BAD_ANSWER, "flite made no audio")
            try:
                return _copied(wave.contents)
            finally:
                self._core.delete_wave(wave)

    def _register(self, voice: str) -> int:
        if voice not in VOICES:
            names = ", ".join(VOICES)
            raise ProviderError(
                "local", ErrorKind.UNAVAILABLE, f"no flite voice {voice!r}; there are {names}"
            )
        name = VOICES[voice]
        try:
            register = getattr(ctypes.CDLL(f"libflite_{name}.so.1"), f"register_{name}")
        except (OSError, AttributeError) as error:
            raise ProviderError(
                "local", ErrorKind.UNAVAILABLE, f"flite's voice {voice} is missing: {REMEDY}"
            ) from error
        register.restype, register.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
        handle = register(None)
        if not handle:
            raise ProviderError("local", ErrorKind.UNAVAILABLE, f"flite's voice {voice} does not load")
        return int(handle)


_PLAIN = str.maketrans({"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-"})
_PLAIN |= {0x2014: " - ", 0x2026: "...", 0x00A3: " pounds ", 0x20AC: " euros ", 0x00B0: " degrees "}


def _for_flite(text: str) -> bytes:
    """Flite reads bytes, and English letters only: typographic marks become plain, accents go."""
    from unicodedata import normalize

    return normalize("NFKD", text.translate(_PLAIN)).encode("ascii", "ignore").replace(b"\0", b" ")


def _copied(wave: _Wave) -> Spoken:
    count = wave.num_samples * wave.num_channels
    if count <= 0:
        return Spoken(np.zeros(0, np.int16), int(wave.sample_rate))
    samples = np.ctypeslib.as_array(wave.samples, shape=(count,)).astype(np.int16, copy=True)
    return Spoken(samples[:: wave.num_channels], int(wave.sample_rate))
