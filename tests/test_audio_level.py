"""Levels and tones: what they measure and what they sound like."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

from voxray.audio import level, tones


def strongest_hz(samples: NDArray[np.int16], rate_hz: int, count: int) -> list[float]:
    """The `count` loudest frequencies, at least 100 Hz apart, in rising order."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size), 16_384))
    freqs = np.fft.rfftfreq(16_384, 1 / rate_hz)
    found: list[float] = []
    for index in np.argsort(spectrum)[::-1]:
        if all(abs(freqs[index] - other) > 100 for other in found):
            found.append(float(freqs[index]))
        if len(found) == count:
            break
    return sorted(found)


class Levels(SynchronousTestCase):
    def test_known(self) -> None:
        """Full scale is 1 and 0 dBov; a full sine is -3 dBov; silence is -127."""
        square = np.array([-32_768] * 100, np.int16)
        self.assertEqual((level.rms(square), level.peak(square), level.dbov(1.0)), (1.0, 1.0, 0.0))
        self.assertAlmostEqual(level.dbov(level.rms(tones.sine(1_000, 100, level=1.0))), -3.01, places=2)
        self.assertEqual(level.dbov(level.rms(np.zeros(160, np.int16))), -127.0)
        self.assertEqual(level.dbov(1e-30), -127.0)

    def test_nothing(self) -> None:
        """No samples have no level."""
        self.assertEqual((level.rms(np.zeros(0, np.int16)), level.peak(np.zeros(0, np.float32))), (0.0, 0.0))

    @given(st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=300))
    def test_int16_and_float_agree(self, values: list[int]) -> None:
        """Samples and their floats have the same level, never above the peak, never above 1."""
        samples = np.array(values, np.int16)
        floats = samples.astype(np.float32) / np.float32(32_768)
        self.assertAlmostEqual(level.rms(samples), level.rms(floats), places=5)
        self.assertEqual(level.peak(samples), level.peak(floats))
        expected = float(np.sqrt(np.square(samples.astype(np.float64)).mean()) / 32_768)
        self.assertAlmostEqual(level.rms(samples), expected, places=5)
        self.assertLessEqual(level.peak(samples), 1.0)

    @given(st.floats(-126, 0))
    def test_dbov_both_ways(self, level_dbov: float) -> None:
        """from_dbov undoes dbov."""
        self.assertAlmostEqual(level.dbov(level.from_dbov(level_dbov)), level_dbov, places=6)


class Tones(SynchronousTestCase):
    def test_sine(self) -> None:
        """Right length, right pitch, right peak."""
        tone = tones.sine(440, 250, 16_000, level=0.25)
        self.assertEqual((tone.size, tone.dtype), (4_000, np.int16))
        self.assertLess(abs(strongest_hz(tone, 16_000, 1)[0] - 440), 2)
        self.assertAlmostEqual(level.peak(tone), 0.25, places=3)

    def test_every_key(self) -> None:
        """Each of the sixteen keys is its own pair of tones, and no two keys share one."""
        self.assertEqual(sorted(tones.DTMF_HZ), sorted("0123456789*#ABCD"))
        self.assertEqual(len(set(tones.DTMF_HZ.values())), 16)
        self.assertEqual(tones.DTMF_HZ["5"], (770, 1336))
        self.assertEqual(tones.DTMF_HZ["#"], (941, 1477))
        for key, pair in tones.DTMF_HZ.items():
            got = strongest_hz(tones.dtmf(key, on_ms=100, off_ms=0), 8_000, 2)
            for freq_hz, wanted_hz in zip(got, pair, strict=True):
                self.assertLess(abs(freq_hz - wanted_hz), wanted_hz * 0.01)

    def test_sequence(self) -> None:
        """Keys follow each other with pauses; small letters are keys too; other signs are refused."""
        both = tones.dtmf("1a", on_ms=100, off_ms=50)
        self.assertEqual(both.size, 2 * 1_200)
        self.assertEqual(np.abs(both[800:1_200]).max(), 0)
        self.assertEqual(both[1_200:].tolist(), tones.dtmf("A", on_ms=100, off_ms=50).tolist())
        self.assertEqual(tones.dtmf("").size, 0)
        self.assertRaises(ValueError, tones.dtmf, "1 2")

    def test_loudest(self) -> None:
        """At full level nothing wraps round."""
        self.assertLessEqual(level.peak(tones.dtmf("1234567890", level=1.0)), 1.0)
        loud = tones.sine(1_000, 100, level=3.0).astype(int)
        self.assertEqual((loud.max(), loud.min()), (32_767, -32_768))

    def test_beep_is_soft(self) -> None:
        """The beep starts and ends from nothing and is quiet: no click, no fright."""
        beep = tones.beep()
        self.assertEqual(beep.size, 1_600)
        self.assertLess(max(abs(int(beep[0])), abs(int(beep[-1]))), 10)
        self.assertLess(np.abs(np.diff(beep.astype(int))).max(), 1_200)
        self.assertTrue(-30 < level.dbov(level.rms(beep)) < -20)
        self.assertLess(abs(strongest_hz(beep, 8_000, 1)[0] - 440), 3)
        self.assertEqual(tones.beep(rate_hz=24_000).size, 4_800)
