"""The audio formats that the carriers are asked for, by their own names for them. Knows no numpy."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from voxray.audio.formats import OPUS_HZ
from voxray.frames import ULAW_8K, Encoding, MediaFormat

TELNYX: Mapping[str, MediaFormat] = MappingProxyType(
    {
        "PCMU": ULAW_8K,
        "PCMA": MediaFormat(Encoding.ALAW, 8000),
        "L16": MediaFormat(Encoding.L16, 16_000),
        "OPUS": MediaFormat(Encoding.L16, OPUS_HZ),
    }
)
"""What we say is in, by the codec that `carriers.telnyx` asks for: Opus is linear PCM until it leaves."""

PLIVO: Mapping[str, MediaFormat] = MappingProxyType(
    {
        "audio/x-mulaw;rate=8000": ULAW_8K,
        "audio/x-l16;rate=8000": MediaFormat(Encoding.L16, 8000),
        "audio/x-l16;rate=16000": MediaFormat(Encoding.L16, 16_000),
    }
)
"""Both ways, by the `contentType` of the answer document."""
