"""Opus, mono: packets <-> linear PCM at 16 kHz, by libopus (RFC 6716). Telnyx has it; nobody else does.

Whatever rate a sender names, its packets can be decoded at ours. Both directions have memory: one decoder for
each stream that is heard, one encoder for each that is spoken, and packets in their order.

opuslib is what finds libopus and declares its functions. Those are called here directly: opuslib's own
wrappers make a list of numbers of every packet, and raise what is no ValueError. Without libopus (Debian:
libopus0) this module can be imported, and says so.
"""

from __future__ import annotations

from ctypes import POINTER, c_char_p, c_int, c_int16, c_int32, c_ubyte, create_string_buffer
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from voxray.audio.formats import OPUS_HZ

try:
    import opuslib
    import opuslib.api.ctl as ctl
    import opuslib.api.decoder as c_decoder
    import opuslib.api.encoder as c_encoder

    _parse: Any = opuslib.api.libopus.opus_packet_parse
    _parse.argtypes = (
        c_char_p,
        c_int32,
        POINTER(c_ubyte),
        POINTER(c_char_p),
        POINTER(c_int16),
        POINTER(c_int),
    )
    _parse.restype = c_int
except Exception:  # noqa: BLE001 - without the library opuslib raises just that
    _parse = None

RATE_HZ = OPUS_HZ
DELAY_MS = 6.5
"""How much later what was encoded comes out of a decoder."""
BITRATE = 32_000
"""Of what we send, in bits a second: twice what wideband speech needs, half of G.711."""
COMPLEXITY = 2
"""Of 10: a packet of 40 ms costs a third of what it would at libopus's own choice, and sounds the same."""
MAX_PACKET_MS = 120
MAX_CONCEALED_MS = 200
"""What is made up for lost packets, at most: a longer hole is no lost packet."""

_PER_MS = RATE_HZ // 1000
_MAX_SAMPLES = MAX_PACKET_MS * _PER_MS
_USUAL_SAMPLES = 20 * _PER_MS
_MAX_PACKET_BYTES = 4_000  # libopus's advice
_MAX_FRAMES = 48  # in one packet
_LITTLE_ENDIAN = np.dtype("<i2")


def available() -> bool:
    """Whether libopus and opuslib are installed. Without them nothing else here works."""
    return _parse is not None


def is_packet(data: bytes) -> bool:
    """Whether `data` is one whole Opus packet: then a decoder takes it, whatever the sound."""
    frames, sizes, toc, offset = None, (c_int16 * _MAX_FRAMES)(), c_ubyte(), c_int()
    return bool(data) and int(_parse(data, len(data), toc, frames, sizes, offset)) > 0


class OpusDecoder:
    """One stream that is heard."""

    def __init__(self) -> None:
        self._state = c_decoder.create_state(RATE_HZ, 1)
        finalize(self, c_decoder.destroy, self._state)
        self._samples = (c_int16 * _MAX_SAMPLES)()
        self._last = _USUAL_SAMPLES  # in the last packet

    def decode(self, packet: bytes) -> bytes:
        """One packet as little-endian L16. ValueError if it is none; the next one is as good as ever."""
        if not packet:
            raise ValueError("an empty Opus packet")  # to libopus that is a lost one
        decoded = self._run(packet, _MAX_SAMPLES, fec=False)
        self._last = len(decoded) // 2
        return decoded

    def conceal(self, packets: int, following: bytes) -> bytes:
        """What stands in for so many lost packets, each as long as the last one, within `MAX_CONCEALED_MS`.

        `following` is the packet after them: its sender may have put an echo of the last lost one in it.
        """
        packets = min(packets, max(1, MAX_CONCEALED_MS * _PER_MS // self._last))
        made_up = [self._run(None, self._last, fec=False) for _ in range(packets - 1)]
        return b"".join([*made_up, self._run(following, self._last, fec=True)])

    def _run(self, packet: bytes | None, room: int, *, fec: bool) -> bytes:
        size = len(packet) if packet else 0
        count = c_decoder.libopus_decode(self._state, packet or None, size, self._samples, room, int(fec))
        if count < 0:
            raise ValueError(f"not an Opus packet (libopus says {count})")
        samples: NDArray[np.int16] = np.ctypeslib.as_array(self._samples)[:count]
        return samples.astype(_LITTLE_ENDIAN, copy=False).tobytes()


class OpusEncoder:
    """One stream that is spoken."""

    def __init__(self) -> None:
        self._state = c_encoder.create_state(RATE_HZ, 1, opuslib.APPLICATION_VOIP)
        finalize(self, c_encoder.destroy, self._state)
        c_encoder.encoder_ctl(self._state, ctl.set_bitrate, BITRATE)
        c_encoder.encoder_ctl(self._state, ctl.set_complexity, COMPLEXITY)
        self._packet = create_string_buffer(_MAX_PACKET_BYTES)

    def encode(self, pcm: bytes) -> bytes:
        """Little-endian L16 as one packet: a multiple of 20 ms, up to 120. ValueError for other lengths."""
        samples = np.frombuffer(pcm, _LITTLE_ENDIAN).astype(np.int16)  # ValueError for half a sample
        if not samples.size or samples.size % _USUAL_SAMPLES or samples.size > _MAX_SAMPLES:
            raise ValueError(f"no Opus packet has {samples.size} samples")
        pointer = samples.ctypes.data_as(POINTER(c_int16))
        size = c_encoder.libopus_encode(self._state, pointer, samples.size, self._packet, _MAX_PACKET_BYTES)
        if size < 0:
            raise ValueError(f"libopus refuses to encode ({size})")
        return self._packet.raw[:size]

    def reset(self) -> None:
        """What was not sent is forgotten: the next packet begins a stream."""
        c_encoder.encoder_ctl(self._state, ctl.reset_state)
