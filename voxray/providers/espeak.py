"""eSpeak NG through its C library (Debian: libespeak-ng1; GPL-3): the voice of last resort.

Fast (0.3 ms to the first sample) and robotic; used when flite is not there. Blocking, and with global
state: one lock serves the whole process.

Constants and the callback's shape are those of espeak-ng's `speak_lib.h`.
"""

from __future__ import annotations

import ctypes
from threading import Lock

import numpy as np

from voxray.errors import ErrorKind, ProviderError
from voxray.providers.flite import Spoken

REMEDY = "apt-get install libespeak-ng1 espeak-ng-data"

_SYNCHRONOUS = 2
_BUFFER_MS = 60
_UTF8 = 1
_POS_CHARACTER = 1
_DONT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: without it, missing data ends the process
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

_LOCK = Lock()


class Espeak:
    """The library, initialized once. Raises ProviderError(UNAVAILABLE) without it."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libespeak-ng.so.1")
        except OSError as error:
            raise ProviderError("local", ErrorKind.UNAVAILABLE, f"espeak-ng is missing: {REMEDY}") from error
        self._pieces: list[bytes] = []
        self._callback = _Callback(self._take)  # kept: the library holds only the address
        with _LOCK:
            self._rate_hz = int(self._library.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, None, _DONT_EXIT))
        if self._rate_hz <= 0:
            raise ProviderError("local", ErrorKind.UNAVAILABLE, f"espeak-ng has no voices: {REMEDY}")

    def speak(self, text: str, language: str = "en-us") -> Spoken:
        """All of `text`, at 22,050 Hz."""
        data = text.replace("\0", " ").encode()
        with _LOCK:
            self._library.espeak_SetSynthCallback(self._callback)
            if self._library.espeak_SetVoiceByName(language.lower().encode()) != 0:
                raise ProviderError("local", ErrorKind.UNAVAILABLE, f"espeak-ng has no voice {language!r}")
            self._pieces.clear()
            status = self._library.espeak_Synth(
                data, ctypes.c_size_t(len(data) + 1), 0, _POS_CHARACTER, 0, _UTF8, None, None
            )
            if status != 0:
                raise ProviderError("local", ErrorKind.BAD_ANSWER, f"espeak-ng failed ({status})")
            return Spoken(np.frombuffer(b"".join(self._pieces), np.int16), self._rate_hz)

    def _take(self, samples: object, count: int, _events: object) -> int:
        """Called by the library, in `speak`'s thread. 0: go on."""
        if samples and count > 0:
            self._pieces.append(ctypes.string_at(samples, count * 2))  # type: ignore[arg-type]
        return 0
