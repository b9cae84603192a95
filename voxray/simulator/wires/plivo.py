"""Plivo's audio stream messages, as the carrier writes and reads them.

There is no `connected` and, on most calls, no `stop`: `start` is the first message and the close of the
socket the last. Counters are JSON numbers, timestamps strings, and the stream's id is inside `start` in the
first message and at top level in all others. `clearAudio` is acknowledged by `clearedAudio`; checkpoints
that it overtakes are never answered. Source: Plivo's "Audio Streaming" pages and the models of its SDKs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voxray.simulator.sound import Codec
from voxray.simulator.wires.vocabulary import (
    AgentMessage,
    CallIds,
    ClearAudio,
    PlayAudio,
    SendKeys,
    SetMark,
    Wire,
    WireFault,
    base64_text,
    decoded,
    loaded,
    text,
)

MULAW, L16 = "audio/x-mulaw", "audio/x-l16"
CONTENT_TYPES = {
    "audio/x-mulaw;rate=8000": (MULAW, 8000),
    "audio/x-l16;rate=8000": (L16, 8000),
    "audio/x-l16;rate=16000": (L16, 16_000),
}
DEFAULT_CONTENT_TYPE = "audio/x-mulaw;rate=8000"  # Plivo's pages disagree on it
RETRIES = 2
_KEYS = frozenset("0123456789*#ABCDabcdwW")


class PlivoWire(Wire):
    """One call's."""

    source = "Plivo"
    marks_survive_clear = False
    sends_stop = False

    def __init__(self, ids: CallIds) -> None:
        super().__init__()
        self._ids = ids
        self.answered("", {})

    def redials(self, code: int | None, tries: int) -> bool:
        """A connection that fails or is dropped is tried twice more."""
        return code != 1000 and tries < RETRIES

    def answered(self, url: str, attributes: Mapping[str, str]) -> None:
        """The contentType rules both directions, for the whole stream."""
        wanted = attributes.get("contentType", DEFAULT_CONTENT_TYPE).replace(" ", "")
        self._content_type, self._rate_hz = CONTENT_TYPES[wanted]
        encoding = "PCMU" if self._content_type == MULAW else "L16"
        self._theirs, self._agents = Codec(encoding, self._rate_hz), Codec(encoding, self._rate_hz)

    # -- to the agent --------------------------------------------------------
    def opening(self, parameters: Mapping[str, str]) -> list[str]:
        return [self.start(parameters)]

    def start(self, parameters: Mapping[str, str]) -> str:
        start = {
            "callId": self._ids.call_sid,
            "streamId": self._ids.stream_sid,
            "accountId": self._ids.account_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": self._content_type, "sampleRate": self._rate_hz},
        }
        headers = ";".join(f"{name}={value}" for name, value in parameters.items())
        message = {"event": "start", "sequenceNumber": self._next(), "start": start}
        return text(message | {"extra_headers": headers})

    def voice(self, mulaw: bytes, timestamp_ms: int) -> list[str]:
        return [self.media(self._theirs.encode(mulaw), timestamp_ms)]

    def media(self, payload: bytes, timestamp_ms: int) -> str:
        """Built by hand, as it is sent 50 times a second."""
        self._chunk += 1
        return (
            f'{{"event":"media","sequenceNumber":{self._next()},"streamId":"{self._ids.stream_sid}",'
            f'"media":{{"track":"inbound","timestamp":"{timestamp_ms}","chunk":{self._chunk},'
            f'"payload":"{base64_text(payload)}"}},"extra_headers":""}}'
        )

    def dtmf(self, digit: str, timestamp_ms: int = 0) -> str:
        pressed = {"track": "inbound", "digit": digit, "timestamp": str(timestamp_ms)}
        return text(self._message("dtmf") | {"dtmf": pressed, "extra_headers": ""})

    def mark(self, name: str) -> str:
        return text(self._message("playedStream") | {"name": name})

    def stop(self) -> str:
        """Not sent unless asked for: only the Java SDK knows it, and its shape is that SDK's."""
        return text(self._message("stop") | {"reason": "callended"})

    def cleared(self) -> list[str]:
        return [text(self._message("clearedAudio"))]

    def _message(self, event: str) -> dict[str, Any]:
        return {"event": event, "sequenceNumber": self._next(), "streamId": self._ids.stream_sid}

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    # -- from the agent ------------------------------------------------------
    def read(self, message: bytes, now: float) -> AgentMessage:
        found = loaded(message)
        if isinstance(found, str):
            raise _fault(found)
        event = found.get("event")
        if event == "playAudio":
            return PlayAudio(self._audio(found))
        if event == "sendDTMF":
            return SendKeys(_keys(found.get("dtmf")))
        if event not in ("checkpoint", "clearAudio"):
            raise _fault(f"unknown event {event!r:.40}")
        if found.get("streamId") != self._ids.stream_sid:
            raise _fault(f"{event}: streamId is missing or not this stream's")
        if event == "clearAudio":
            return ClearAudio()
        name = found.get("name")
        if not isinstance(name, str):
            raise _fault("checkpoint: no name")
        return SetMark(name)

    def _audio(self, found: Mapping[str, Any]) -> bytes:
        """`streamId` may be left out here; the format may not be, or be another than the answer's."""
        media = found.get("media")
        if not isinstance(media, dict):
            raise _fault("playAudio: no media")
        if found.get("streamId", self._ids.stream_sid) != self._ids.stream_sid:
            raise _fault("playAudio: streamId is not this stream's")
        kind, rate = media.get("contentType"), media.get("sampleRate")
        if kind != self._content_type or str(rate) != str(self._rate_hz):
            wanted = f"{self._content_type} at {self._rate_hz}"
            raise _fault(f"playAudio: {kind!r:.60} at {rate!r:.20}; the answer said {wanted}")
        payload = media.get("payload")
        audio = decoded(payload) if isinstance(payload, str) else None
        if audio is None:
            raise _fault("playAudio: payload is missing or not base64")
        return self._agents.decode(audio)


def _keys(digits: object) -> str:
    if not isinstance(digits, str) or not digits or not _KEYS.issuperset(digits):
        raise _fault(f"sendDTMF: {digits!r:.40} are no keys")
    return digits


def _fault(detail: str) -> WireFault:
    return WireFault(0, detail, PlivoWire.source)
