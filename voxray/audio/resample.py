"""Sample rates converted as the audio comes, without clicks: a polyphase FIR that remembers.

Whatever the packets are, the output is the same bits as for one long packet: the taps are multiples of
2**-24 and samples are 16 bits, so every sum is exact in float64 and the order of the additions cannot
matter. 20 ms packets always give the same number of samples, the first included. The price is a delay of
2 ms when either side is 8 kHz, 1 ms when the lower side is 16 kHz.

How it is fast (`bench/audio.py`): sixteen outputs are the product of a matrix with a run of inputs, so a
block of audio is one BLAS call on overlapping rows: 27 us for 100 ms of 24 kHz, where
`sliding_window_view @ taps` takes 87, `scipy.signal.upfirdn` 74 and `resample_poly` 104. Blocks beat
packets: the fixed part of a call (about 12 us) is most of a 20 ms packet's cost.

The filter: Kaiser (beta 6), 16 periods of the lower rate either side, -6 dB at 0.95 of its Nyquist
frequency; 3.4 kHz, the end of the telephone's band, passes 8 kHz whole, and what would alias below it is
60 dB down.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import numpy as np
from numpy.typing import NDArray

_HALF_PERIODS = 16
_KAISER_BETA = 6.0
_ROLLOFF = 0.95
_TAP_SCALE = float(2**24)
_OUTPUTS_AT_ONCE = 16  # 8 to 32 cost the same within noise; more wastes products on zeros
# OpenBLAS starts threads above 4 * 65,536 products; a busy second thread would disturb every call.
_PRODUCTS_AT_ONCE = 262_144


@dataclass(frozen=True)
class _Plan:
    """A ratio's constants. A *period* is `down` inputs and `up` outputs.

    Outputs are made in rows of whole periods; where periods are long (22.05 kHz: 441 inputs), a row is made
    in groups, so that no product is much wider than the filter. Group g looks at the inputs from g * `step`
    on, in each row.
    """

    up: int
    down: int
    half: int  # taps either side of the middle, at the rate up * src
    history: int  # inputs needed from before a row
    row_in: int  # inputs by which rows are apart
    row_out: int  # outputs of one row
    step: int  # inputs by which groups are apart
    matrices: NDArray[np.float64]  # groups x inputs of a group (history first) x outputs of a group
    rows_at_once: int

    @property
    def row_width(self) -> int:
        """All the inputs one row looks at."""
        groups, width = self.matrices.shape[:2]
        return int((groups - 1) * self.step + width)


def _lowpass(half: int, cutoff: float) -> NDArray[np.float64]:
    """Kaiser-windowed sinc, 1.0 at DC; `cutoff` as a share of Nyquist. scipy's firwin, without its import."""
    ideal = np.sinc(cutoff * np.arange(-half, half + 1)) * np.kaiser(2 * half + 1, _KAISER_BETA)
    taps: NDArray[np.float64] = ideal / ideal.sum()
    return taps


@lru_cache(maxsize=64)
def _plan(src_hz: int, dst_hz: int) -> _Plan:
    common = gcd(src_hz, dst_hz)
    up, down = dst_hz // common, src_hz // common
    half = _HALF_PERIODS * max(up, down)
    taps = _lowpass(half, _ROLLOFF / max(up, down)) * up
    taps = np.rint(taps * _TAP_SCALE) / _TAP_SCALE
    row_out = max(1, _OUTPUTS_AT_ONCE // up) * up
    size = min(_divisors(row_out), key=lambda divisor: abs(divisor - _OUTPUTS_AT_ONCE))
    output = np.arange(row_out).reshape(-1, 1, size)
    step = size * down // up
    first = np.arange(len(output))[:, None, None] * step
    history = (2 * half) // up
    width = history + int((output * down // up - first).max()) + 1
    # Output m takes input i with tap m * down - i * up, where there is such a tap.
    tap = output * down - (first + np.arange(width)[:, None] - history) * up
    inside = (tap >= 0) & (tap <= 2 * half)
    matrices = np.where(inside, taps[np.where(inside, tap, 0)], 0.0)
    at_once = max(1, _PRODUCTS_AT_ONCE // (width * size))
    return _Plan(up, down, half, history, row_out // up * down, row_out, step, matrices, at_once)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


class Resampler:
    """One direction of one stream. Rates in Hz; ratios with a period over 1,000 samples are refused."""

    def __init__(self, src_hz: int, dst_hz: int) -> None:
        if min(src_hz, dst_hz) <= 0:
            raise ValueError(f"cannot resample {src_hz} Hz to {dst_hz} Hz")
        common = gcd(src_hz, dst_hz)
        if max(src_hz, dst_hz) // common > 1_000:
            raise ValueError(f"cannot resample {src_hz} Hz to {dst_hz} Hz: no small ratio")
        self.src_hz = src_hz
        self.dst_hz = dst_hz
        self._plan = None if src_hz == dst_hz else _plan(src_hz, dst_hz)
        self.reset()

    def reset(self) -> None:
        """Forgets the stream: the next packet is its first."""
        # History, then the inputs since the current period began; `_done` of its outputs were given out.
        self._kept: NDArray[np.float64] = np.zeros(self._plan.history if self._plan else 0)
        self._done = 0

    @property
    def delay_ms(self) -> float:
        """How much later the output is than the input."""
        return self._plan.half / (self._plan.up * self.src_hz) * 1000 if self._plan else 0.0

    def feed(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """All the output that needs no later input: ceil(inputs so far * dst / src) samples in all."""
        plan = self._plan
        if plan is None:
            return samples
        kept = self._kept.size
        fresh = kept - plan.history + samples.size  # inputs since the period began
        outputs = -(-fresh * plan.up // plan.down)
        rows = -(-outputs // plan.row_out)
        # Zeros to the end of the last row: they touch only outputs that are not given out yet.
        padded = np.zeros(max(plan.history + fresh, (rows - 1) * plan.row_in + plan.row_width))
        padded[:kept] = self._kept
        padded[kept : kept + samples.size] = samples
        result = self._filtered(plan, padded, rows)[self._done : outputs]
        periods = fresh // plan.down
        start = periods * plan.down
        self._kept = padded[start : plan.history + fresh].copy()
        self._done = outputs - periods * plan.up
        return result

    def flush(self) -> NDArray[np.int16]:
        """What the delay still holds back; the resampler is then as new."""
        plan = self._plan
        if plan is None:
            return np.zeros(0, np.int16)
        tail = self.feed(np.zeros(-(-plan.half // plan.up), np.int16))
        self.reset()
        return tail

    @staticmethod
    def _filtered(plan: _Plan, padded: NDArray[np.float64], rows: int) -> NDArray[np.int16]:
        groups, width, size = plan.matrices.shape
        item = padded.itemsize
        overlapping: NDArray[np.float64] = np.ndarray(
            (groups, rows, width),
            np.float64,
            buffer=padded,
            strides=(plan.step * item, plan.row_in * item, item),
        )
        result = np.empty((groups, rows, size))
        for first in range(0, rows, plan.rows_at_once):
            some = slice(first, first + plan.rows_at_once)
            np.matmul(overlapping[:, some].copy(), plan.matrices, out=result[:, some])
        np.rint(result, out=result)
        np.minimum(result, 32_767.0, out=result)
        np.maximum(result, -32_768.0, out=result)
        return result.astype(np.int16).transpose(1, 0, 2).ravel()


def resampled(samples: NDArray[np.int16], src_hz: int, dst_hz: int) -> NDArray[np.int16]:
    """A whole recording at once, the delay taken out: ceil(inputs * dst / src) samples."""
    if src_hz == dst_hz:
        return samples
    resampler = Resampler(src_hz, dst_hz)
    plan = _plan(src_hz, dst_hz)
    # The delay is whole samples of the lower rate. Going up that may be part of an output: lead zeros in
    # until it is not.
    delay = plan.half // plan.up
    lead = -delay % plan.down if plan.up > plan.down else 0
    skip = (lead * plan.up + plan.half) // plan.down
    size = -(-samples.size * plan.up // plan.down)
    padded = np.concatenate((np.zeros(lead, np.int16), samples))
    return np.concatenate((resampler.feed(padded), resampler.flush()))[skip : skip + size]
