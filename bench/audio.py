"""What the audio path costs: CPU microseconds a call, each step beside the obvious way of doing it.

    python -m bench.audio [--quick]

CPU time, best of several batches; both sides in turns within one run, so the ratio can be trusted when
the microseconds cannot. "naive" is what one would write first: the stdlib, numpy without tables, or
scipy's resample_poly on every packet by itself, with the same taps (it also clicks).
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly, upfirdn

from voxray.audio import g711, level
from voxray.audio.resample import Resampler
from voxray.turns.sentences import SentenceSplitter

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        import audioop
    except ImportError:  # gone from Python 3.13
        audioop = None

Work = Callable[[], object]
RATIOS = (
    (24_000, 8_000),
    (16_000, 8_000),
    (8_000, 16_000),
    (22_050, 8_000),
    (48_000, 8_000),
    (44_100, 16_000),
)
REPLY = "Thank you for calling Bright Smile Dental, this is Anna. We are open from 9 a.m. to 5 p.m. today. "


@dataclass(frozen=True)
class Row:
    step: str
    ours: Work
    naive: Work | None
    naive_name: str


def _noise(count: int) -> NDArray[np.int16]:
    return (3_000 * np.random.default_rng(1).standard_normal(count)).astype(np.int16)


def _codecs() -> list[Row]:
    pcm = _noise(160)
    raw, ulaw, alaw = pcm.tobytes(), g711.linear_to_ulaw(pcm), g711.linear_to_alaw(pcm)
    old = audioop
    return [
        Row(
            "20 ms u-law to int16",
            lambda: g711.ulaw_to_linear(ulaw),
            old and (lambda: np.frombuffer(old.ulaw2lin(ulaw, 2), np.int16)),
            "audioop",
        ),
        Row(
            "20 ms u-law to float32",
            lambda: g711.ulaw_to_float(ulaw),
            old and (lambda: np.frombuffer(old.ulaw2lin(ulaw, 2), np.int16).astype(np.float32) / 32_768),
            "audioop, then numpy",
        ),
        Row(
            "20 ms int16 to u-law",
            lambda: g711.linear_to_ulaw(pcm),
            old and (lambda: old.lin2ulaw(raw, 2)),
            "audioop",
        ),
        Row(
            "20 ms A-law to int16",
            lambda: g711.alaw_to_linear(alaw),
            old and (lambda: old.alaw2lin(alaw, 2)),
            "audioop",
        ),
        Row(
            "20 ms int16 to A-law",
            lambda: g711.linear_to_alaw(pcm),
            old and (lambda: old.lin2alaw(raw, 2)),
            "audioop",
        ),
        Row(
            "20 ms level (RMS)",
            lambda: level.rms(pcm),
            lambda: float(np.sqrt(np.mean((pcm / 32_768) ** 2))),
            "numpy in float64",
        ),
    ]


def _resamplers() -> list[Row]:
    rows = []
    for src_hz, dst_hz in RATIOS:
        for ms in (20, 100, 200):
            block = _noise(src_hz * ms // 1000)
            rows.append(_against_scipy(f"{ms} ms {src_hz} to {dst_hz} Hz", src_hz, dst_hz, block))
    block = _noise(2_400)
    taps = firwin(97, 0.95 / 3, window=("kaiser", 6.0))
    padded = np.concatenate((np.zeros(96), block))
    ours = Resampler(24_000, 8_000)
    return [
        *rows,
        Row(
            "100 ms 24000 to 8000 Hz",
            lambda: ours.feed(block),
            lambda: upfirdn(taps, padded, 1, 3),
            "upfirdn alone",
        ),
        Row(
            "100 ms 24000 to 8000 Hz",
            lambda: ours.feed(block),
            lambda: sliding_window_view(padded, 97)[::3] @ taps,
            "sliding windows alone",
        ),
    ]


def _against_scipy(step: str, src_hz: int, dst_hz: int, block: NDArray[np.int16]) -> Row:
    ours = Resampler(src_hz, dst_hz)
    common = math.gcd(src_hz, dst_hz)
    up, down = dst_hz // common, src_hz // common
    taps = firwin(32 * max(up, down) + 1, 0.95 / max(up, down), window=("kaiser", 6.0))
    return Row(
        step,
        lambda: ours.feed(block),
        lambda: resample_poly(block.astype(np.float64), up, down, window=taps).astype(np.int16),
        "resample_poly, taps given",
    )


def _others() -> list[Row]:
    block = _noise(2_400)
    down = Resampler(24_000, 8_000)
    words = REPLY.replace(" ", "\0 ").split("\0")

    def sentences() -> None:
        splitter = SentenceSplitter()
        for word in words:
            splitter.feed(word)
        splitter.flush()

    return [
        Row("100 ms of a reply: 24 kHz to u-law", lambda: g711.linear_to_ulaw(down.feed(block)), None, ""),
        Row(
            "a resampler for a new call",
            lambda: Resampler(24_000, 8_000),
            lambda: firwin(97, 0.3),
            "its taps designed",
        ),
        Row(f"sentences, a reply of {len(words)} words", sentences, None, ""),
    ]


def _batch_us(work: Work, count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - start) / count * 1e6


def cost_us(works: list[Work], batch_secs: float, batches: int) -> list[float]:
    """The best CPU time of each, the works taking turns."""
    counts = [max(1, int(batch_secs * 1e6 / max(1.0, _batch_us(work, 20)))) for work in works]
    best = [float("inf")] * len(works)
    for _ in range(batches):
        best = [
            min(so_far, _batch_us(*pair))
            for so_far, pair in zip(best, zip(works, counts, strict=True), strict=True)
        ]
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the time, noisier")
    quick = parser.parse_args().quick
    out = sys.stdout.write
    out(f"{'step':38} {'ours us':>8} {'naive us':>9} {'ratio':>6}  naive way\n")
    for row in (*_codecs(), *_resamplers(), *_others()):
        works = [row.ours] if row.naive is None else [row.ours, row.naive]
        costs = cost_us(works, 0.005 if quick else 0.03, 3 if quick else 7)
        if row.naive is None:
            out(f"{row.step:38} {costs[0]:8.1f}\n")
        else:
            ratio = costs[0] / costs[1]
            out(f"{row.step:38} {costs[0]:8.1f} {costs[1]:9.1f} {ratio:6.2f}  {row.naive_name}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
