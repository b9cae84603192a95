"""WAV files: written whole, read as they come.

Vendors stream WAV over HTTP before they know its length: sizes are 0, 0xFFFFFFFF or simply wrong, headers
are cut anywhere, and `LIST` or `fact` chunks may sit on either side of the audio. A `data` size of 0 or
near 2**31 or 2**32 means "until the end". (Microsoft's RIFF/WAVE; tags 1 PCM, 6 A-law, 7 u-law, 0xFFFE
extensible.)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxray.audio import g711
from voxray.frames import Encoding, MediaFormat

PCM = 1
ALAW = 6
MULAW = 7
_EXTENSIBLE = 0xFFFE
_BITS = {PCM: 16, ALAW: 8, MULAW: 8}
_ENCODINGS = {PCM: Encoding.L16, ALAW: Encoding.ALAW, MULAW: Encoding.ULAW}
_MAX_FMT_BYTES = 1024
_ENDLESS_FROM = 0x7FFF_0000  # espeak-ng writes 0x7FFFF000, ffmpeg 0xFFFFFFFF


class BadWav(ValueError):
    """Not a WAV, or one of a kind we do not read."""


@dataclass(frozen=True, slots=True)
class WavFormat:
    """The `fmt ` chunk; `tag` is 1, 6 or 7, also when the file says extensible."""

    rate_hz: int
    channels: int
    bits: int
    tag: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.bits // 8 * self.channels

    @property
    def media_format(self) -> MediaFormat:
        """For the codec; a MediaFormat is mono, so BadWav for more."""
        if self.channels != 1:
            raise BadWav(f"{self.channels} channels where one is wanted")
        return MediaFormat(_ENCODINGS[self.tag], self.rate_hz)


def wav_bytes(samples: NDArray[np.int16], rate_hz: int) -> bytes:
    """A 16 bit file of mono (n,) or multi-channel (n, channels) samples."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    body = samples.astype("<i2", copy=False).tobytes()
    return wav_header(rate_hz, channels, len(body)) + body


def wav_header(rate_hz: int, channels: int, data_bytes: int) -> bytes:
    """The 44 bytes before 16 bit audio; a recorder writes them again once it knows the length."""
    width = 2 * channels
    return b"RIFF%sWAVEfmt %sdata%s" % (
        struct.pack("<I", min(36 + data_bytes, 0xFFFF_FFFF)),
        struct.pack("<IHHIIHH", 16, PCM, channels, rate_hz, rate_hz * width, width, 16),
        struct.pack("<I", min(data_bytes, 0xFFFF_FFFF)),
    )


def _parse_format(body: bytes) -> WavFormat:
    if len(body) < 16:
        raise BadWav(f"a format of {len(body)} bytes")
    tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 26:
        (tag,) = struct.unpack_from("<H", body, 24)
    if bits != _BITS.get(tag):
        raise BadWav(f"unsupported: format tag {tag} with {bits} bits a sample")
    if not 1 <= channels <= 8 or not 1_000 <= rate_hz <= 192_000:
        raise BadWav(f"unsupported: {channels} channels at {rate_hz} Hz")
    return WavFormat(rate_hz, channels, bits, tag)


class WavReader:
    """Takes a file in pieces; gives its audio, in the file's own encoding, whole frames at a time."""

    def __init__(self) -> None:
        self.format: WavFormat | None = None
        self._buffer = b""
        self._in_data = False
        self._opened = False
        self._skip = 0  # bytes of a chunk nobody needs
        self._left: int | None = 0  # bytes of `data` to come; None: until the end

    def feed(self, data: bytes) -> list[bytes]:
        """The audio that is whole now. Raises BadWav; `format` is known once it returned audio."""
        self._buffer += data
        while not self._in_data:
            if not self._step():
                return []
        return self._audio()

    def _step(self) -> bool:
        """Takes one header or chunk off the buffer; False when more bytes are needed."""
        if self._skip:
            dropped = min(self._skip, len(self._buffer))
            self._buffer = self._buffer[dropped:]
            self._skip -= dropped
            return not self._skip and bool(self._buffer)
        if not self._opened:
            return self._open()
        if len(self._buffer) < 8:
            return False
        name, size = struct.unpack_from("<4sI", self._buffer)
        if name == b"data":
            self._begin_data(size)
            return True
        if name != b"fmt ":
            self._buffer = self._buffer[8:]
            self._skip = size + size % 2
            return True
        return self._take_format(size)

    def _open(self) -> bool:
        head = self._buffer[:12]
        if not b"RIFF".startswith(head[:4]) or not b"WAVE".startswith(head[8:12]):
            raise BadWav(f"not a WAV: begins with {head!r}")
        if len(head) < 12:
            return False
        self._buffer = self._buffer[12:]
        self._opened = True
        return True

    def _take_format(self, size: int) -> bool:
        if size > _MAX_FMT_BYTES:
            raise BadWav(f"a format of {size} bytes")
        end = 8 + size + size % 2
        if len(self._buffer) < end:
            return False
        self.format = _parse_format(self._buffer[8 : 8 + size])
        self._buffer = self._buffer[end:]
        return True

    def _begin_data(self, size: int) -> None:
        if self.format is None:
            raise BadWav("audio before its format")
        self._buffer = self._buffer[8:]
        self._in_data = True
        self._left = None if size == 0 or size >= _ENDLESS_FROM else size

    def _audio(self) -> list[bytes]:
        assert self.format is not None
        available = len(self._buffer) if self._left is None else min(len(self._buffer), self._left)
        whole = available - available % self.format.frame_bytes
        audio, self._buffer = self._buffer[:whole], self._buffer[whole:]
        if self._left is not None:
            self._left -= whole
            if self._left < self.format.frame_bytes:
                self._buffer, self._left = b"", 0  # trailing chunks say nothing we need
        return [audio] if audio else []


def read_wav(content: bytes) -> tuple[NDArray[np.int16], WavFormat]:
    """A whole file as int16: (n,) for mono, else (n, channels). Raises BadWav, also when it has no audio."""
    reader = WavReader()
    audio = b"".join(reader.feed(content))
    if reader.format is None or not audio:
        raise BadWav("no audio in it")
    decode = {
        PCM: lambda body: np.frombuffer(body, "<i2").astype(np.int16),
        ALAW: g711.alaw_to_linear,
        MULAW: g711.ulaw_to_linear,
    }[reader.format.tag]
    samples: NDArray[np.int16] = decode(audio)
    if reader.format.channels > 1:
        samples = samples.reshape(-1, reader.format.channels)
    return samples, reader.format
