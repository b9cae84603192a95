"""Exotel's media stream messages, as the carrier writes and reads them.

Linear PCM (16 bit, little-endian) at 8, 16 or 24 kHz, 100 ms a message. Snake case; some of its products
spell the same keys in camel case. What the agent sends should be a multiple of 320 bytes, else the player
waits 20 ms, and come no faster than it is played, else calls drop: neither is refused, both are complained
of. Nothing acknowledges a clear, and whether the marks it overtakes come back is not documented; here they
do not. Source: Exotel's AgentStream and Voicebot applet pages, its Agent-Stream samples.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from voxray.simulator.sound import Codec
from voxray.simulator.wires.vocabulary import (
    AgentMessage,
    CallIds,
    ClearAudio,
    Numbers,
    PlayAudio,
    Quirks,
    SetMark,
    Wire,
    WireFault,
    base64_text,
    decoded,
    loaded,
    member,
    text,
)

RATES = (8000, 16_000, 24_000)
MESSAGE_PACKETS = 5  # of 20 ms
BLOCK_BYTES = 320
MAX_BYTES = 100_000
MAX_LEAD_SECS = 1.0  # ours: the documentation says only "do not send a burst"
_SNAKE = re.compile(r"_([a-z])")


def rate_of(url: str) -> int:
    """The rate a stream's URL asks for; 8000 without. Raises ValueError."""
    query = parse_qs(urlsplit(url).query)
    [asked] = query.get("sample-rate") or query.get("sample_rate") or ["8000"]
    if asked not in map(str, RATES):
        raise ValueError(f"sample-rate={asked!r:.20}; Exotel has 8000, 16000 and 24000")
    return int(asked)


class ExotelWire(Wire):
    """One call's."""

    source = "Exotel"
    marks_survive_clear = False

    def __init__(self, ids: CallIds, numbers: Numbers | None = None, quirks: Quirks | None = None) -> None:
        super().__init__()
        self._ids, self._numbers = ids, numbers or Numbers()
        self._quirks = quirks or Quirks()
        self._packets = bytearray()  # mu-law, not yet a whole message
        self._plays_until = 0.0
        self._hasty = False
        self._sid = self._spelt("stream_sid")
        self.answered("", {})

    def reopened(self) -> None:
        super().reopened()
        self._packets.clear()

    def answered(self, url: str, attributes: Mapping[str, str]) -> None:
        rate_hz = self._quirks.rate_hz or rate_of(url)
        self._theirs, self._agents = Codec("L16", rate_hz), Codec("L16", rate_hz)

    def _spelt(self, key: str) -> str:
        return _SNAKE.sub(lambda found: found[1].upper(), key) if self._quirks.camel_case else key

    # -- to the agent --------------------------------------------------------
    def opening(self, parameters: Mapping[str, str]) -> list[str]:
        return [text({"event": "connected"}), self.start(parameters)]

    def start(self, parameters: Mapping[str, str]) -> str:
        rate_hz = self._theirs.rate_hz
        start = {
            self._sid: self._ids.stream_sid,
            self._spelt("call_sid"): self._ids.call_sid,
            self._spelt("account_sid"): self._ids.account_sid,
            "from": self._numbers.caller,
            "to": self._numbers.called,
            self._spelt("custom_parameters"): dict(parameters),
            self._spelt("media_format"): {
                "encoding": "base64",  # it names the transport, not the codec
                self._spelt("sample_rate"): str(rate_hz),
                self._spelt("bit_rate"): f"{rate_hz * 16 // 1000}kbps",
            },
        }
        return text(self._message("start") | {"start": start})

    def voice(self, mulaw: bytes, timestamp_ms: int) -> list[str]:
        self._packets += mulaw
        if len(self._packets) < MESSAGE_PACKETS * len(mulaw):
            return []
        message = self.media(self._theirs.encode(bytes(self._packets)), timestamp_ms)
        self._packets.clear()
        return [message]

    def media(self, payload: bytes, timestamp_ms: int) -> str:
        """100 ms of linear PCM; `timestamp_ms` is the end of it."""
        self._chunk += 1
        media = {"chunk": str(self._chunk), "timestamp": str(timestamp_ms), "payload": base64_text(payload)}
        return text(self._message("media") | {"media": media})

    def dtmf(self, digit: str, timestamp_ms: int = 0) -> str:
        return text(self._message("dtmf") | {"dtmf": {"digit": digit, "duration": "100"}})

    def mark(self, name: str) -> str:
        return text(self._message("mark") | {"mark": {"name": name}})

    def stop(self) -> str:
        stop = {
            self._spelt("call_sid"): self._ids.call_sid,
            self._spelt("account_sid"): self._ids.account_sid,
            "reason": "callended",
        }
        return text(self._message("stop") | {"stop": stop})

    def _message(self, event: str) -> dict[str, Any]:
        self._sequence += 1
        sequence = {self._spelt("sequence_number"): str(self._sequence)}
        return {"event": event} | sequence | {self._sid: self._ids.stream_sid}

    # -- from the agent ------------------------------------------------------
    def read(self, message: bytes, now: float) -> AgentMessage:
        found = loaded(message)
        if isinstance(found, str):
            raise _fault(found)
        event = found.get("event")
        if event not in ("media", "mark", "clear"):
            raise _fault(f"unknown event {event!r:.40}")
        if found.get(self._sid) != self._ids.stream_sid:
            self._complain(f"{event}: no {self._sid}, the spelling of this stream's start, or another's")
        if event == "media":
            return PlayAudio(self._audio(member(found, "media", "payload"), now))
        if event == "clear":
            self._plays_until = now
            return ClearAudio()
        name = member(found, "mark", "name")
        if name is None:
            raise _fault("mark: no mark.name")
        return SetMark(name)

    def _audio(self, payload: str | None, now: float) -> bytes:
        audio = decoded(payload) if payload is not None else None
        if audio is None:
            raise _fault("media: payload is missing or not base64")
        if len(audio) > MAX_BYTES:
            raise _fault(f"media: {len(audio)} bytes; at most {MAX_BYTES}")
        if len(audio) % BLOCK_BYTES:
            self._complain(f"media: {len(audio)} bytes are no multiple of {BLOCK_BYTES}: a gap of 20 ms")
        self._paced(len(audio) / self._agents.bytes_per_ms / 1000, now)
        return self._agents.decode(audio)

    def _paced(self, length_secs: float, now: float) -> None:
        """Complains once of each burst."""
        self._hasty = self._hasty and self._plays_until > now
        self._plays_until = max(self._plays_until, now) + length_secs
        lead = self._plays_until - now
        if lead > MAX_LEAD_SECS and not self._hasty:
            self._hasty = True
            self._complain(f"media: {lead:.1f} s ahead of real time; a burst can end the call")

    def _complain(self, detail: str) -> None:
        self.complaints.append(f"{detail} ({self.source})")


def _fault(detail: str) -> WireFault:
    return WireFault(0, detail, ExotelWire.source)
