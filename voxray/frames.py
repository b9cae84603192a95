"""The vocabulary inside Voxray: what a serializer makes of a message, and what the stages exchange.

A *message* is one WebSocket message; a *frame* is what it means. Frames are immutable values; audio
payloads stay in the wire's codec until a stage needs samples.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias


class Encoding(Enum):
    """How audio bytes are to be read. Values are the words used in our logs and settings."""

    ULAW = "mulaw"
    ALAW = "alaw"
    L16 = "l16"  # signed 16 bit linear PCM, little-endian


@dataclass(frozen=True, slots=True)
class MediaFormat:
    """A codec and its rate; always mono."""

    encoding: Encoding
    rate_hz: int

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample."""
        return 2 if self.encoding is Encoding.L16 else 1

    @property
    def bytes_per_ms(self) -> int:
        """Bytes of one millisecond of audio: 8 for G.711 at 8 kHz, 32 for L16 at 16 kHz."""
        return self.rate_hz * self.sample_bytes // 1000


ULAW_8K = MediaFormat(Encoding.ULAW, 8000)


@dataclass(frozen=True, slots=True)
class Wire:
    """A call's audio in both directions: the caller's voice and ours."""

    heard: MediaFormat
    spoken: MediaFormat


# -- from the carrier --------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Connected:
    """The carrier's greeting on a new socket; carries nothing we need."""


@dataclass(frozen=True, slots=True)
class StreamStarted:
    """The media stream is up. Ids are the carrier's own spelling.

    `media_format` is the caller's voice; `send_format` is what the carrier plays, where that is another.
    """

    stream_sid: str
    call_sid: str
    account_sid: str
    media_format: MediaFormat
    parameters: Mapping[str, str] = field(default_factory=dict)
    send_format: MediaFormat | None = None

    @property
    def wire(self) -> Wire:
        """Both directions."""
        return Wire(self.media_format, self.send_format or self.media_format)


@dataclass(frozen=True, slots=True)
class Audio:
    """The caller's voice, in the wire's codec. `timestamp_ms` is the carrier's media clock, if sent."""

    payload: bytes
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Dtmf:
    """One key pressed by the caller: 0-9, *, #, A-D."""

    digit: str


@dataclass(frozen=True, slots=True)
class Mark:
    """The carrier says: everything before the mark of this name was played (or cleared)."""

    name: str


@dataclass(frozen=True, slots=True)
class StreamStopped:
    """The carrier ends the stream."""

    reason: str = "stop"


@dataclass(frozen=True, slots=True)
class Ignored:
    """A well-formed message that means nothing to us; `reason` is a bounded label for metrics.

    `complaint`: it says that something we sent was refused; the owner should know.
    """

    reason: str
    complaint: bool = False


Frame: TypeAlias = Connected | StreamStarted | Audio | Dtmf | Mark | StreamStopped | Ignored


# -- between the stages ------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Utterance:
    """What the caller said in one turn, as audio.

    `payload` is in `media_format`; `start_ms` and `end_ms` are media time since the stream began, of the
    speech itself (the payload has padding before it).
    """

    payload: bytes
    media_format: MediaFormat
    start_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was understood. Empty text: nothing intelligible."""

    text: str
    final: bool = True
    language: str = ""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Some more of the model's reply."""

    text: str


@dataclass(frozen=True, slots=True)
class EndCall:
    """The model wants the call to end once what it said was heard."""

    reason: str = "agent"


@dataclass(frozen=True, slots=True)
class Transfer:
    """The model wants the caller connected to somebody else once what it said was heard.

    `to` is a name of the configuration's `transfers`: a model may only call those.
    """

    to: str


@dataclass(frozen=True, slots=True)
class PressKeys:
    """The model wants keys pressed towards the other end: 0-9, *, #, A-D; `w` waits half a second."""

    digits: str


ReplyEvent: TypeAlias = TextDelta | EndCall | Transfer | PressKeys
Sequel: TypeAlias = EndCall | Transfer
"""What is done once what was said with it was heard."""

MAX_KEYS = 64
"""Pressed in one reply."""

_KEYS = re.compile(r"[0-9*#A-Dw]{1,64}")
_KEY_SPELLINGS = str.maketrans({",": "w", "W": "w", **dict.fromkeys(" -.()")})


def keys_of(text: str) -> str:
    """`text` as `PressKeys` has it: no spaces and hyphens, a comma is a pause. "": it is no such thing."""
    keys = text[: 4 * MAX_KEYS].upper().translate(_KEY_SPELLINGS)
    return keys if _KEYS.fullmatch(keys) else ""


@dataclass(frozen=True, slots=True)
class Speech:
    """A piece of synthesized audio: whole samples in `media_format`."""

    payload: bytes
    media_format: MediaFormat


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the conversation: role is "system", "user" or "assistant"."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class CallInfo:
    """Who is calling: ours and the carrier's ids, the numbers as the carrier wrote them.

    `verified`: the carrier's id was learnt from a webhook whose signature was right, or from our own dial;
    only then is the carrier's REST API asked anything about it.
    """

    call_id: str
    call_sid: str = ""
    stream_sid: str = ""
    from_number: str = ""
    to_number: str = ""
    carrier: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    outbound: bool = False
    verified: bool = False
    account_sid: str = ""
    body: Mapping[str, object] = field(
        default_factory=dict
    )  # what `POST /api/v1/calls` was given for the agent
    max_secs: float = 0.0  # this call's own limit; 0: the configuration's
    lease: str = ""  # of its place among all instances' calls; empty: there is one instance


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """What the carrier's webhook says of a call that is about to open its media socket.

    `over`: it only tells that the call has ended, and is answered with these words and nothing else.
    """

    call_sid: str
    from_number: str
    to_number: str
    over: bytes | None = None
