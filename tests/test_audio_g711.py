"""G.711 against the stdlib's audioop on everything there is, and what a round trip costs."""

from __future__ import annotations

import warnings
from types import ModuleType

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxray.audio import g711

audioop: ModuleType | None
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import audioop
except ImportError:
    audioop = None

NO_AUDIOOP = None if audioop else "this Python has no audioop (gone since 3.13)"
EVERY_CODE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32_768, 32_768).astype(np.int16)


def sine(freq_hz: float, amplitude: float, count: int = 8_000) -> np.ndarray:
    return np.rint(amplitude * np.sin(np.arange(count) * (2 * np.pi * freq_hz / 8_000))).astype(np.int16)


def snr_db(wanted: np.ndarray, got: np.ndarray) -> float:
    error = got.astype(np.float64) - wanted
    return float(10 * np.log10(np.square(wanted.astype(np.float64)).sum() / np.square(error).sum()))


class AgainstAudioop(SynchronousTestCase):
    skip = NO_AUDIOOP

    def test_ulaw_decode(self) -> None:
        """Every u-law code means the sample audioop says."""
        assert audioop
        self.assertEqual(
            g711.ulaw_to_linear(EVERY_CODE).astype("<i2").tobytes(), audioop.ulaw2lin(EVERY_CODE, 2)
        )

    def test_alaw_decode(self) -> None:
        """Every A-law code means the sample audioop says."""
        assert audioop
        self.assertEqual(
            g711.alaw_to_linear(EVERY_CODE).astype("<i2").tobytes(), audioop.alaw2lin(EVERY_CODE, 2)
        )

    def test_ulaw_encode(self) -> None:
        """Every sample gets the u-law code audioop gives it: the low two bits go before the sign."""
        assert audioop
        self.assertEqual(g711.linear_to_ulaw(EVERY_SAMPLE), audioop.lin2ulaw(EVERY_SAMPLE.tobytes(), 2))

    def test_alaw_encode(self) -> None:
        """Every sample gets the A-law code audioop gives it."""
        assert audioop
        self.assertEqual(g711.linear_to_alaw(EVERY_SAMPLE), audioop.lin2alaw(EVERY_SAMPLE.tobytes(), 2))


class Known(SynchronousTestCase):
    """Values of the standard that hold also where audioop is gone."""

    def test_silence(self) -> None:
        """The silence codes are what a zero sample becomes, and decode to (next to) nothing."""
        nothing = np.zeros(1, np.int16)
        self.assertEqual(g711.linear_to_ulaw(nothing), bytes([g711.ULAW_SILENCE]))
        self.assertEqual(g711.linear_to_alaw(nothing), bytes([g711.ALAW_SILENCE]))
        self.assertEqual(g711.ulaw_to_linear(bytes([g711.ULAW_SILENCE])).tolist(), [0])
        self.assertEqual(g711.alaw_to_linear(bytes([g711.ALAW_SILENCE])).tolist(), [8])

    def test_extremes(self) -> None:
        """The loudest codes of both laws and signs."""
        self.assertEqual(g711.ulaw_to_linear(b"\x00\x80").tolist(), [-32_124, 32_124])
        self.assertEqual(g711.alaw_to_linear(b"\x2a\xaa").tolist(), [-32_256, 32_256])
        loudest = np.array([-32_768, 32_767], np.int16)
        self.assertEqual(g711.linear_to_ulaw(loudest), b"\x00\x80")
        self.assertEqual(g711.linear_to_alaw(loudest), b"\x2a\xaa")

    def test_floats_are_the_samples(self) -> None:
        """The float tables are the int16 tables over 32,768, as float32."""
        for floats, linear in (
            (g711.ulaw_to_float(EVERY_CODE), g711.ulaw_to_linear(EVERY_CODE)),
            (g711.alaw_to_float(EVERY_CODE), g711.alaw_to_linear(EVERY_CODE)),
        ):
            self.assertEqual(floats.dtype, np.float32)
            self.assertEqual((floats * 32_768).tolist(), linear.astype(float).tolist())

    def test_recoding_is_stable(self) -> None:
        """Decoding and encoding again changes no code, but u-law's negative zero, which becomes zero."""
        self.assertEqual(
            g711.linear_to_ulaw(g711.ulaw_to_linear(EVERY_CODE)), EVERY_CODE.replace(b"\x7f", b"\xff")
        )
        self.assertEqual(g711.linear_to_alaw(g711.alaw_to_linear(EVERY_CODE)), EVERY_CODE)

    def test_nothing(self) -> None:
        """No bytes are no samples."""
        self.assertEqual(g711.ulaw_to_linear(b"").size, 0)
        self.assertEqual(g711.linear_to_ulaw(np.zeros(0, np.int16)), b"")

    def test_views(self) -> None:
        """A slice with a stride encodes as its copy does."""
        every_third = EVERY_SAMPLE[::3]
        self.assertEqual(g711.linear_to_ulaw(every_third), g711.linear_to_ulaw(every_third.copy()))


class Quality(SynchronousTestCase):
    @given(
        freq_hz=st.floats(200, 3_400).filter(lambda f: min(abs(f % 50), 50 - f % 50) > 1),
        amplitude=st.floats(3_000, 30_000),
    )
    def test_sine_round_trip(self, freq_hz: float, amplitude: float) -> None:
        """A sine at telephone levels survives either law with at least 33 dB to the noise."""
        wanted = sine(freq_hz, amplitude)
        self.assertGreaterEqual(snr_db(wanted, g711.ulaw_to_linear(g711.linear_to_ulaw(wanted))), 33)
        self.assertGreaterEqual(snr_db(wanted, g711.alaw_to_linear(g711.linear_to_alaw(wanted))), 33)
