"""WAV written and read, in any pieces, with the sizes vendors really send."""

from __future__ import annotations

import contextlib
import io
import struct
import wave

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxray.audio import g711
from voxray.audio.wav import ALAW, MULAW, PCM, BadWav, WavFormat, WavReader, read_wav, wav_bytes, wav_header
from voxray.frames import ULAW_8K, Encoding, MediaFormat

SAMPLES = np.array([0, 1, -1, 32_767, -32_768, 1_234], np.int16)


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def fmt(tag: int = PCM, channels: int = 1, rate_hz: int = 8_000, bits: int = 16, extra: bytes = b"") -> bytes:
    width = channels * bits // 8
    return chunk(
        b"fmt ", struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * width, width, bits) + extra
    )


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


class Writing(SynchronousTestCase):
    def test_mono_as_the_stdlib_reads_it(self) -> None:
        """The stdlib finds our rate, width and samples."""
        with wave.open(io.BytesIO(wav_bytes(SAMPLES, 16_000))) as reader:
            self.assertEqual(reader.getparams()[:4], (1, 2, 16_000, 6))
            self.assertEqual(reader.readframes(99), SAMPLES.tobytes())

    def test_stereo(self) -> None:
        """Columns become channels, left first."""
        both = np.stack((SAMPLES, SAMPLES[::-1]), 1)
        with wave.open(io.BytesIO(wav_bytes(both, 8_000))) as reader:
            self.assertEqual(reader.getparams()[:4], (2, 2, 8_000, 6))
            self.assertEqual(reader.readframes(99), both.tobytes())

    def test_endless_header(self) -> None:
        """A size that does not fit is written as the largest that does."""
        self.assertEqual(wav_header(8_000, 1, 2**32)[-4:], b"\xff" * 4)


class Reading(SynchronousTestCase):
    def read(self, content: bytes) -> tuple[bytes, WavFormat | None]:
        reader = WavReader()
        return b"".join(reader.feed(content)), reader.format

    @given(st.data())
    def test_any_cutting(self, data: st.DataObject) -> None:
        """Cut anywhere, header included, the audio is the same, in whole frames, and nothing after it."""
        audio = data.draw(st.binary(max_size=60))
        channels = data.draw(st.integers(1, 3))
        audio = audio[: len(audio) // (2 * channels) * 2 * channels]
        size = data.draw(st.sampled_from([len(audio), 0, 0xFFFF_FFFF, 0x7FFF_F000]))
        after = chunk(b"LIST", b"odd") if audio and size == len(audio) else b""
        content = riff(
            chunk(b"JUNK", b"abc"),
            fmt(channels=channels),
            chunk(b"fact", b"1234"),
            chunk(b"data", audio, size),
        )
        content += after
        cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=8)))
        reader = WavReader()
        got = b""
        for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True):
            pieces = reader.feed(content[a:b])
            self.assertTrue(all(piece and len(piece) % (2 * channels) == 0 for piece in pieces))
            got += b"".join(pieces)
        self.assertEqual(got, audio)
        self.assertEqual(reader.format, WavFormat(8_000, channels, 16, PCM))

    def test_audio_at_once(self) -> None:
        """What is there of the audio comes out at once, not with the file's end."""
        reader = WavReader()
        content = wav_bytes(SAMPLES, 8_000)
        self.assertEqual(reader.feed(content[:43]), [])
        self.assertEqual(reader.feed(content[43:47]), [content[44:46]])
        self.assertEqual(reader.feed(content[47:48]), [content[46:48]])

    def test_g711(self) -> None:
        """Tags 6 and 7 are A-law and u-law, and say so to the codec."""
        audio, form = self.read(riff(fmt(MULAW, bits=8), chunk(b"data", b"\xff\x00")))
        assert form
        self.assertEqual((audio, form.media_format), (b"\xff\x00", ULAW_8K))
        _, form = self.read(riff(fmt(ALAW, bits=8), chunk(b"data", b"\xff\x00")))
        assert form
        self.assertEqual(form.media_format, MediaFormat(Encoding.ALAW, 8_000))

    def test_extensible(self) -> None:
        """The extensible tag hides the real one in its GUID."""
        extra = struct.pack("<HHI", 22, 16, 4) + struct.pack("<H", PCM) + bytes(14)
        _, form = self.read(riff(fmt(0xFFFE, extra=extra), chunk(b"data", b"ab")))
        self.assertEqual(form, WavFormat(8_000, 1, 16, PCM))

    def test_not_a_wav(self) -> None:
        """What is no WAV is refused with its first bytes; JSON and MP3 are what vendors send instead."""
        for content in (b'{"error": "no"}', b"ID3\x04", b"RIFF\0\0\0\0AVI LIST", b"RIFX\0\0\0\0WAVE"):
            self.assertRaises(BadWav, WavReader().feed, content)
        self.assertTrue(issubclass(BadWav, ValueError))

    def test_unsupported(self) -> None:
        """Kinds we do not read, and headers that make no sense, are refused."""
        for header in (
            fmt(bits=24),
            fmt(bits=8),
            fmt(tag=3, bits=32),
            fmt(tag=MULAW),
            fmt(channels=0),
            fmt(channels=9),
            fmt(rate_hz=0),
            fmt(extra=bytes(2_000)),
            chunk(b"fmt ", b"short"),
            b"",
        ):
            self.assertRaises(BadWav, WavReader().feed, riff(header, chunk(b"data", b"ab")))

    def test_stereo_is_no_media_format(self) -> None:
        """A MediaFormat is mono; a stereo file says so instead of playing at half the speed."""
        self.assertRaises(BadWav, lambda: WavFormat(8_000, 2, 16, PCM).media_format)

    @given(st.binary(max_size=200), st.booleans())
    def test_garbage(self, garbage: bytes, after_header: bool) -> None:
        """No bytes raise anything but BadWav."""
        content = riff(fmt()) + garbage if after_header else garbage
        with contextlib.suppress(BadWav):
            WavReader().feed(content)

    @given(st.lists(st.integers(-32_768, 32_767), min_size=1), st.sampled_from([8_000, 22_050]))
    def test_round_trip(self, values: list[int], rate_hz: int) -> None:
        """What was written is read."""
        samples, form = read_wav(wav_bytes(np.array(values, np.int16), rate_hz))
        self.assertEqual((samples.tolist(), form.rate_hz), (values, rate_hz))

    def test_whole_files(self) -> None:
        """Stereo keeps its channels, u-law is decoded, and no audio is an error."""
        both = np.stack((SAMPLES, SAMPLES[::-1]), 1)
        self.assertEqual(read_wav(wav_bytes(both, 8_000))[0].tolist(), both.tolist())
        codes = bytes(range(256))
        samples, _ = read_wav(riff(fmt(MULAW, bits=8), chunk(b"data", codes)))
        self.assertEqual(samples.tolist(), g711.ulaw_to_linear(codes).tolist())
        for content in (wav_bytes(SAMPLES[:0], 8_000), b"", riff(fmt())):
            self.assertRaises(BadWav, read_wav, content)
