"""The caller's mu-law <-> what a carrier's wire carries: A-law, linear PCM at 8, 16 or 24 kHz.

Its own reading of ITU-T G.711's A-law, made as `g711` makes mu-law: the decoder from the standard, the
encoder from the decoder. A `Codec` is one direction of one call: its filter goes on from packet to packet,
so there is no click between two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxray.simulator import g711

Signal = NDArray[np.float64]
_TAPS_A_PHASE = 24
_KNOWN = {("PCMU", 8000), ("PCMA", 8000), *(("L16", rate) for rate in (8000, 16_000, 24_000))}


def _alaw_decoded(code: int) -> int:
    """Every other bit inverted; then sign (set: positive), three bits of segment, four of step."""
    bits = code ^ 0x55
    step, segment = (bits & 0x0F) << 4, (bits >> 4) & 0x07
    magnitude = step + 8 if segment == 0 else (step + 0x108) << (segment - 1)
    return magnitude if bits & 0x80 else -magnitude


ALAW: NDArray[np.int16] = np.array([_alaw_decoded(code) for code in range(256)], dtype=np.int16)


def alaw_encode(samples: NDArray[np.int16]) -> bytes:
    """Samples to the A-law codes whose values are nearest."""
    order = np.argsort(ALAW, kind="stable")
    levels = ALAW[order].astype(np.int64)
    edges = (levels[1:] + levels[:-1] + 1) // 2
    return order[np.searchsorted(edges, samples.astype(np.int64), side="right")].astype(np.uint8).tobytes()


_TO_ALAW = alaw_encode(g711.decode(bytes(range(256))))
_TO_MULAW = g711.encode(ALAW)


def supported(encoding: str, rate_hz: int) -> bool:
    return (encoding, rate_hz) in _KNOWN


class Codec:
    """One direction of a wire. `encoding` is PCMU, PCMA or L16; raises ValueError for what it has not."""

    def __init__(self, encoding: str, rate_hz: int = 8000, *, big_endian: bool = False) -> None:
        if not supported(encoding, rate_hz):
            raise ValueError(f"{encoding} at {rate_hz} Hz")
        self.encoding, self.rate_hz = encoding, rate_hz
        self.bytes_per_ms = rate_hz // 1000 * (2 if encoding == "L16" else 1)
        self._dtype = ">i2" if big_endian else "<i2"
        self._factor = rate_hz // g711.RATE_HZ
        self._taps = _low_pass(self._factor)
        self._history = np.zeros(self._taps.size - 1)
        self._phase = 0

    def encode(self, mulaw: bytes) -> bytes:
        """From mu-law at 8 kHz."""
        if self.encoding == "PCMU":
            return mulaw
        if self.encoding == "PCMA":
            return mulaw.translate(_TO_ALAW)
        stuffed = np.zeros(len(mulaw) * self._factor)
        stuffed[:: self._factor] = g711.decode(mulaw).astype(np.float64) * self._factor
        return _rounded(self._filtered(stuffed)).astype(self._dtype).tobytes()

    def decode(self, payload: bytes) -> bytes:
        """To mu-law at 8 kHz. Half a sample at the end is dropped."""
        if self.encoding == "PCMU":
            return payload
        if self.encoding == "PCMA":
            return payload.translate(_TO_MULAW)
        samples = np.frombuffer(payload[: len(payload) // 2 * 2], dtype=self._dtype).astype(np.float64)
        found = self._filtered(samples)
        kept = found[self._phase :: self._factor]
        self._phase = (self._phase - found.size) % self._factor
        return g711.encode(_rounded(kept))

    def _filtered(self, samples: Signal) -> Signal:
        if self._factor == 1 or not samples.size:
            return samples
        line = np.concatenate((self._history, samples))
        self._history = line[samples.size :]
        return np.convolve(line, self._taps, mode="valid")


def _rounded(samples: Signal) -> NDArray[np.int16]:
    return np.clip(np.round(samples), -32768, 32767).astype(np.int16)


def _low_pass(factor: int) -> Signal:
    """A windowed sinc with its edge at 4 kHz, unity gain; nothing to filter at 8 kHz."""
    if factor == 1:
        return np.ones(1)
    reach = _TAPS_A_PHASE * factor // 2
    taps = np.sinc(np.arange(-reach, reach + 1) / factor) * np.hamming(2 * reach + 1)
    return np.asarray(taps / taps.sum(), dtype=np.float64)
