"""What a caller's line carries between words."""

from __future__ import annotations

from voxray.simulator.g711 import PACKET_BYTES, SILENCE_BYTE

SILENCE = bytes([SILENCE_BYTE]) * PACKET_BYTES


class Noise:
    """A caller's line between words: endless packets. Digital silence when none is given."""

    def __init__(self, audio: bytes = b"") -> None:
        self._packets = [audio[at : at + PACKET_BYTES] for at in range(0, len(audio), PACKET_BYTES)]
        self._packets = [each for each in self._packets if len(each) == PACKET_BYTES] or [SILENCE]
        self._next = 0

    def packet(self) -> bytes:
        self._next = (self._next + 1) % len(self._packets)
        return self._packets[self._next]
