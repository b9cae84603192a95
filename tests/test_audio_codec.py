"""Codecs by format, and the carry for samples cut in two."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.audio import g711
from voxray.audio.codec import RATES_HZ, OddByteCarry, codec_for
from voxray.frames import ULAW_8K, Encoding, MediaFormat

FORMATS = [MediaFormat(encoding, rate_hz) for encoding in Encoding for rate_hz in RATES_HZ]
L16_16K = MediaFormat(Encoding.L16, 16_000)


class Codecs(SynchronousTestCase):
    def test_ulaw_at_8_khz(self) -> None:
        """The carrier's format: a byte a sample, eight a millisecond, 0xFF for silence."""
        codec = codec_for(ULAW_8K)
        self.assertEqual(codec.media_format, ULAW_8K)
        self.assertEqual((codec.bytes_per_ms, codec.sample_width, codec.silence), (8, 1, b"\xff"))
        self.assertEqual(codec.silent(20), b"\xff" * 160)
        self.assertEqual(codec.duration_ms(bytes(160)), 20.0)
        self.assertEqual(codec.decode(b"\x00").tolist(), [-32_124])
        self.assertEqual(codec.encode(np.array([-32_124], np.int16)), b"\x00")

    def test_alaw(self) -> None:
        """A-law is not u-law: its own silence, its own tables."""
        codec = codec_for(MediaFormat(Encoding.ALAW, 8_000))
        self.assertEqual(codec.silence, b"\xd5")
        self.assertEqual(codec.decode(b"\x2a").tolist(), [-32_256])
        self.assertEqual(codec.to_float(b"\x2a").tolist(), [-32_256 / 32_768])

    def test_l16_is_little_endian(self) -> None:
        """L16 samples are little-endian, two bytes each."""
        codec = codec_for(L16_16K)
        self.assertEqual(codec.decode(b"\x01\x80\xff\x7f").tolist(), [-32_767, 32_767])
        self.assertEqual(codec.encode(np.array([1, -2], np.int16)), b"\x01\x00\xfe\xff")
        self.assertEqual(codec.to_float(b"\x00\x80").tolist(), [-1.0])
        self.assertEqual((codec.bytes_per_ms, codec.silent(1)), (32, bytes(32)))

    @shows("F35")
    def test_half_a_sample(self) -> None:
        """An odd number of L16 bytes is an error, not a shifted stream."""
        codec = codec_for(L16_16K)
        self.assertRaises(ValueError, codec.decode, b"abc")
        self.assertRaises(ValueError, codec.to_float, b"a")

    def test_odd_rates(self) -> None:
        """At 22.05 kHz a millisecond is no whole number of samples, but 20 ms are."""
        codec = codec_for(MediaFormat(Encoding.L16, 22_050))
        self.assertEqual(codec.bytes_in(20), 882)
        self.assertEqual(len(codec.silent(20)), 882)
        self.assertEqual(codec.bytes_in(1), 44)

    def test_unsupported(self) -> None:
        """A rate we do not speak is refused in words that name it."""
        error = self.assertRaises(ValueError, codec_for, MediaFormat(Encoding.ULAW, 8_001))
        self.assertIn("8001 Hz", str(error))

    def test_same_codec(self) -> None:
        """Asking again costs nothing: the codec is the same object."""
        self.assertIs(codec_for(ULAW_8K), codec_for(MediaFormat(Encoding.ULAW, 8_000)))

    @given(st.sampled_from(FORMATS), st.binary(max_size=400))
    def test_every_payload(self, media_format: MediaFormat, payload: bytes) -> None:
        """Any whole payload decodes to samples that decode again the same after a round trip."""
        codec = codec_for(media_format)
        payload = payload[: len(payload) // codec.sample_width * codec.sample_width]
        samples = codec.decode(payload)
        self.assertEqual(samples.dtype, np.int16)
        self.assertEqual(samples.size * codec.sample_width, len(payload))
        self.assertEqual(codec.decode(codec.encode(samples)).tolist(), samples.tolist())
        self.assertEqual((codec.to_float(payload) * 32_768).tolist(), samples.astype(float).tolist())

    def test_silence_is_quiet(self) -> None:
        """The silence of every format decodes to (next to) nothing."""
        for media_format in FORMATS:
            codec = codec_for(media_format)
            self.assertLessEqual(np.abs(codec.decode(codec.silent(20))).max(), 8, media_format)
            self.assertEqual(codec.encode(np.zeros(1, np.int16)), codec.silence)

    def test_functions_are_the_tables(self) -> None:
        """No layer of ours between the codec and the table look-up: it is on the path of every packet."""
        self.assertIs(codec_for(ULAW_8K).to_float, g711.ulaw_to_float)


class Carry(SynchronousTestCase):
    @shows("F35")
    @given(st.lists(st.binary(max_size=7)), st.integers(1, 4))
    def test_nothing_lost(self, pieces: list[bytes], width: int) -> None:
        """Whole samples come out at once, in order; only part of one sample is ever held."""
        carry = OddByteCarry(width)
        given_out = b""
        taken = 0
        for piece in pieces:
            out = carry.feed(piece)
            taken += len(piece)
            given_out += out
            self.assertEqual(len(out) % width, 0)
            self.assertEqual(len(given_out), taken // width * width)
            self.assertEqual(carry.held, taken % width)
        self.assertEqual(given_out, b"".join(pieces)[: len(given_out)])
