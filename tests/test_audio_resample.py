"""The resampler: the same bits whatever the packets, no clicks, no aliases, constant packet sizes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly
from twisted.trial.unittest import SynchronousTestCase

from voxray.audio import g711
from voxray.audio.resample import Resampler, _lowpass, _plan, resampled

RATIOS = [
    (src, dst)
    for src in (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
    for dst in (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
    if src != dst and (src in (8_000, 16_000) or dst in (8_000, 16_000))
]
Samples = NDArray[np.int16]


def noise(count: int, seed: int) -> Samples:
    """Full-scale noise: the worst a stream can be, clipping included."""
    return np.random.default_rng(seed).integers(-32_768, 32_768, count).astype(np.int16)


def tone(freq_hz: float, rate_hz: int, count: int, amplitude: float = 10_000) -> NDArray[np.float64]:
    return amplitude * np.sin(np.arange(count) * (2 * np.pi * freq_hz / rate_hz))


def as_int16(wave: NDArray[np.float64]) -> Samples:
    return np.rint(wave).astype(np.int16)


def level(samples: NDArray[np.float64] | Samples) -> float:
    return float(np.sqrt(np.square(samples.astype(np.float64)).mean()))


def residue_db(samples: Samples, freq_hz: float, rate_hz: int) -> tuple[float, float]:
    """(the tone's amplitude, how many dB all the rest is below it), by least squares on sine and cosine."""
    angle = np.arange(samples.size) * (2 * np.pi * freq_hz / rate_hz)
    basis = np.stack((np.sin(angle), np.cos(angle)), 1)
    wave = samples.astype(np.float64)
    weights = np.linalg.lstsq(basis, wave, rcond=None)[0]
    rest = wave - basis @ weights
    amplitude = float(np.hypot(*weights))
    return amplitude, float(20 * np.log10(level(basis @ weights) / level(rest)))


class Streaming(SynchronousTestCase):
    @settings(deadline=None)
    @given(
        st.sampled_from(RATIOS),
        st.lists(st.integers(0, 700), max_size=12),
        st.integers(0, 2**32 - 1),
    )
    def test_chunking_changes_no_bit(self, ratio: tuple[int, int], sizes: list[int], seed: int) -> None:
        """Any cutting of the input gives bit for bit what one long packet gives, flush included."""
        samples = noise(sum(sizes), seed)
        whole = Resampler(*ratio)
        expected = np.concatenate((whole.feed(samples), whole.flush()))
        pieces = Resampler(*ratio)
        got = [pieces.feed(piece) for piece in np.split(samples, np.cumsum(sizes))]
        self.assertEqual(np.concatenate((*got, pieces.flush())).tolist(), expected.tolist())

    def test_one_sample_at_a_time(self) -> None:
        """The extreme of it, for every ratio."""
        samples = noise(600, 3)
        for ratio in RATIOS:
            single = Resampler(*ratio)
            got = np.concatenate([single.feed(samples[i : i + 1]) for i in range(samples.size)])
            self.assertEqual(got.tolist(), Resampler(*ratio).feed(samples).tolist(), ratio)

    def test_constant_packets(self) -> None:
        """20 ms in, 20 ms out, from the first packet on, for every ratio."""
        for src_hz, dst_hz in RATIOS:
            resampler = Resampler(src_hz, dst_hz)
            sizes = {resampler.feed(noise(src_hz // 50, n)).size for n in range(20)}
            self.assertEqual(sizes, {dst_hz // 50}, (src_hz, dst_hz))

    def test_long_blocks(self) -> None:
        """A block so long that it is worked off in parts is no different from short ones."""
        samples = noise(24_000, 5)
        for ratio in ((24_000, 8_000), (44_100, 16_000), (8_000, 22_050)):
            packets = Resampler(*ratio)
            got = np.concatenate([packets.feed(packet) for packet in np.split(samples, 100)])
            self.assertEqual(got.tolist(), Resampler(*ratio).feed(samples).tolist(), ratio)

    def test_reset(self) -> None:
        """After reset, and after flush, the stream before leaves no trace."""
        samples = noise(777, 7)
        fresh = Resampler(22_050, 8_000).feed(samples).tolist()
        used = Resampler(22_050, 8_000)
        used.feed(noise(1_234, 8))
        used.reset()
        self.assertEqual(used.feed(samples).tolist(), fresh)
        used.flush()
        self.assertEqual(used.feed(samples).tolist(), fresh)

    def test_input_is_not_kept(self) -> None:
        """The caller may reuse its buffer: what is remembered is a copy."""
        samples = noise(320, 9)
        expected = Resampler(16_000, 8_000)
        expected.feed(samples)
        reused = Resampler(16_000, 8_000)
        scratch = samples.copy()
        reused.feed(scratch)
        scratch[:] = 0
        self.assertEqual(reused.feed(samples).tolist(), expected.feed(samples).tolist())

    def test_same_rate(self) -> None:
        """Nothing to do is done at once: same samples, no delay, empty flush."""
        resampler = Resampler(8_000, 8_000)
        samples = noise(160, 1)
        self.assertEqual(resampler.feed(samples).tolist(), samples.tolist())
        self.assertEqual((resampler.delay_ms, resampler.flush().size), (0.0, 0))

    def test_taps(self) -> None:
        """The filter is the one scipy designs from the same words."""
        expected = firwin(97, 0.95 / 3, window=("kaiser", 6.0))
        self.assertLess(np.abs(_lowpass(48, 0.95 / 3) - expected).max(), 1e-12)

    def test_sums_are_exact(self) -> None:
        """Why chunking changes no bit: taps are multiples of 2**-24, no sum outgrows float64."""
        for ratio in RATIOS:
            scaled = _plan(*ratio).matrices * 2.0**24
            self.assertTrue(np.array_equal(scaled, np.rint(scaled)), ratio)
            self.assertLess(np.abs(scaled).sum(axis=1).max() * 32_768, 2.0**53)

    def test_refused(self) -> None:
        """Rates that make no sense are refused when the resampler is made."""
        for ratio in ((0, 8_000), (8_000, -1), (8_000, 44_101)):
            self.assertRaises(ValueError, Resampler, *ratio)


class Delay(SynchronousTestCase):
    def test_stated_delay_is_true(self) -> None:
        """A pulse comes out delay_ms later, to the sample, and the delay is at most 2 ms."""
        for src_hz, dst_hz in RATIOS:
            resampler = Resampler(src_hz, dst_hz)
            self.assertLessEqual(resampler.delay_ms, 2.0)
            pulse = np.zeros(src_hz // 10, np.int16)
            at = src_hz // 20
            pulse[at] = 30_000
            peak = int(np.argmax(np.abs(resampler.feed(pulse))))
            expected = (at / src_hz + resampler.delay_ms / 1000) * dst_hz
            self.assertLess(abs(peak - expected), 1.0, (src_hz, dst_hz))

    def test_flush_gives_the_rest(self) -> None:
        """What went in last comes out with flush, which is as long as the delay."""
        for src_hz, dst_hz in RATIOS:
            resampler = Resampler(src_hz, dst_hz)
            samples = np.zeros(src_hz // 50, np.int16)
            samples[-1] = 30_000
            body, tail = resampler.feed(samples), resampler.flush()
            self.assertGreater(np.abs(tail).max(), 2 * np.abs(body).max(), (src_hz, dst_hz))
            self.assertLess(abs(tail.size - resampler.delay_ms * dst_hz / 1000), 4)

    def test_whole_recording(self) -> None:
        """`resampled` is aligned with its input: a sine comes out in phase, right length."""
        for src_hz, dst_hz in RATIOS:
            wave = as_int16(tone(500, src_hz, src_hz // 5))
            got = resampled(wave, src_hz, dst_hz)
            self.assertEqual(got.size, -(-wave.size * dst_hz // src_hz))
            ideal = tone(500, dst_hz, got.size)
            inner = slice(dst_hz // 100, -dst_hz // 100)  # the edges ring: the sine starts from nothing
            self.assertLess(np.abs(got - ideal)[inner].max(), 60, (src_hz, dst_hz))


class Quality(SynchronousTestCase):
    def test_speech_band_sines(self) -> None:
        """Across 200-3,400 Hz a sine keeps its level within 1 dB and all else stays 55 dB below it."""
        for src_hz, dst_hz in RATIOS:
            for freq_hz in (200.0, 440.0, 1_000.0, 2_500.0, 3_400.0):
                resampler = Resampler(src_hz, dst_hz)
                packets = np.split(as_int16(tone(freq_hz, src_hz, src_hz // 5)), 10)
                got = np.concatenate([resampler.feed(packet) for packet in packets])
                amplitude, below_db = residue_db(got[dst_hz // 100 :], freq_hz, dst_hz)
                self.assertLess(abs(20 * np.log10(amplitude / 10_000)), 1.0, (src_hz, dst_hz, freq_hz))
                self.assertGreater(below_db, 55, (src_hz, dst_hz, freq_hz))

    def test_aliases(self) -> None:
        """What 8 kHz cannot carry is gone, not folded into the voice: 50 dB down from 4.4 kHz on."""
        for src_hz in (16_000, 22_050, 24_000, 44_100, 48_000):
            for freq_hz in (4_400.0, 5_000.0, 6_300.0, 7_900.0):
                got = Resampler(src_hz, 8_000).feed(as_int16(tone(freq_hz, src_hz, src_hz // 4, 20_000)))
                down_db = 20 * np.log10(20_000 / np.sqrt(2) / max(level(got[100:]), 0.1))
                self.assertGreater(down_db, 50, (src_hz, freq_hz))

    def test_images(self) -> None:
        """Going up, nothing appears above 4.4 kHz: 50 dB below the tone that was there."""
        for dst_hz in (16_000, 24_000, 48_000):
            got = Resampler(8_000, dst_hz).feed(as_int16(tone(3_300, 8_000, 4_000)))
            spectrum = np.abs(np.fft.rfft(got[1_000:] * np.hanning(got.size - 1_000)))
            freqs = np.fft.rfftfreq(got.size - 1_000, 1 / dst_hz)
            self.assertLess(20 * np.log10(spectrum[freqs > 4_400].max() / spectrum.max()), -50, dst_hz)

    def test_speech_like_noise_against_scipy(self) -> None:
        """Band-limited noise agrees with scipy's one-shot resample_poly to 40 dB."""
        rng = np.random.default_rng(11)
        for src_hz, dst_hz in RATIOS:
            spectrum = np.fft.rfft(rng.standard_normal(src_hz))
            freqs = np.fft.rfftfreq(src_hz, 1 / src_hz)
            spectrum[(freqs < 200) | (freqs > 3_000)] = 0
            wave = np.fft.irfft(spectrum)
            wave *= 6_000 / np.abs(wave).max()
            got = resampled(as_int16(wave), src_hz, dst_hz)
            ideal = resample_poly(wave, dst_hz, src_hz, window=("kaiser", 10.0))
            inner = slice(dst_hz // 50, -dst_hz // 50)
            snr_db = 20 * np.log10(level(ideal[inner]) / level((got - ideal)[inner]))
            self.assertGreater(snr_db, 40, (src_hz, dst_hz))

    def test_level_of_nothing_and_all(self) -> None:
        """Silence stays silence; a constant stays within a bit of itself, on every phase; loud is clipped."""
        for src_hz, dst_hz in RATIOS:
            self.assertEqual(np.abs(Resampler(src_hz, dst_hz).feed(np.zeros(500, np.int16))).max(), 0)
            flat = Resampler(src_hz, dst_hz).feed(np.full(src_hz // 10, 10_000, np.int16))[dst_hz // 100 :]
            self.assertLess(np.abs(flat - 10_000.0).max(), 20, (src_hz, dst_hz))
            square = np.repeat(np.array([32_767, -32_768] * 20, np.int16), src_hz // 500)
            loud = Resampler(src_hz, dst_hz).feed(square)[dst_hz // 100 :]
            # Wrapped round instead of clipped, a plateau would hold samples of the other sign.
            self.assertEqual((loud.max(), loud.min()), (32_767, -32_768))
            self.assertLess(np.count_nonzero(np.diff(np.sign(loud))), 60)


class NoClicks(SynchronousTestCase):
    def test_a_thousand_packets(self) -> None:
        """A tone through u-law, 8 to 16 to 8 kHz and u-law again, 1,000 packets: only u-law's own noise."""
        freq_hz = 437.0
        sent = g711.linear_to_ulaw(as_int16(tone(freq_hz, 8_000, 160_000)))
        up, down = Resampler(8_000, 16_000), Resampler(16_000, 8_000)
        heard = b"".join(
            g711.linear_to_ulaw(down.feed(up.feed(g711.ulaw_to_linear(sent[at : at + 160]))))
            for at in range(0, len(sent), 160)
        )
        self.assertEqual(len(heard), len(sent))
        got = g711.ulaw_to_linear(heard)[160:]
        _, below_db = residue_db(got, freq_hz, 8_000)
        self.assertGreater(below_db, 33)
        # A click is short and wide: look at every packet by itself, above the tone.
        packets = got.reshape(-1, 160) * np.hanning(160)
        spectra = np.abs(np.fft.rfft(packets, axis=1))
        loudest_elsewhere = spectra[:, 20:].max(axis=1) / spectra[:, 5:15].max(axis=1)
        self.assertLess(20 * np.log10(loudest_elsewhere.max()), -33)

    def test_stateless_would_be_caught(self) -> None:
        """The same measure on packets resampled one by one finds the clicks: it can fail."""
        wave = as_int16(tone(437.0, 8_000, 16_000))
        clicky = np.concatenate([resample_poly(packet, 2, 1) for packet in np.split(wave, 100)])
        _, below_db = residue_db(clicky.astype(np.int16), 437.0, 16_000)
        self.assertLess(below_db, 33)
