"""Which rates we think in, and what stands between two formats. Knows no numpy: `voxray check` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from voxray.frames import Encoding, MediaFormat

HEARING_HZ = 8000
"""What windows are judged at, whatever the wire's rate: the detectors' thresholds and the weights of
`turns.bargein` were fitted on telephone audio. Resampling makes windows 2 ms late."""

OPUS_HZ = 16_000
"""What Opus is decoded to and encoded from; see `audio.opus`."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """From one format to another: nothing, or samples and back, at another rate or not."""

    source: MediaFormat
    target: MediaFormat

    @property
    def needed(self) -> bool:
        """Otherwise the bytes pass as they are."""
        return self.source != self.target

    @property
    def resamples(self) -> bool:
        return self.source.rate_hz != self.target.rate_hz


def heard_as(wire: MediaFormat) -> Conversion:
    """From the wire to the ear's windows."""
    return Conversion(wire, MediaFormat(Encoding.L16, HEARING_HZ))
