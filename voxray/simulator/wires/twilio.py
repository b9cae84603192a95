"""Twilio's media stream messages, as the carrier writes and reads them.

`CallerWire` makes what Twilio sends: every counter and timestamp a string, `mediaFormat` numbers numbers,
one `sequenceNumber` over all events after `connected`. `parse` reads what an agent sends, and is as strict
as Twilio, which answers a mistake with a warning in its debugger (31950, 31951) and otherwise ignores the
message. Source: Twilio's "Media Streams - WebSocket messages".
"""

from __future__ import annotations

from collections.abc import Mapping

from voxray.simulator.wires.vocabulary import (
    AgentMessage,
    ClearAudio,
    PlayAudio,
    SetMark,
    Wire,
    WireFault,
    base64_text,
    decoded,
    loaded,
    member,
    text,
)

BINARY_MESSAGE = 31950
BAD_MESSAGE = 31951
_WARNING = "Twilio warning"


class CallerWire(Wire):
    """The messages of one call, in order; each method returns the text to send."""

    source = _WARNING
    binary_code = BINARY_MESSAGE

    def __init__(self, *, account_sid: str, call_sid: str, stream_sid: str) -> None:
        super().__init__()
        self.account_sid = account_sid
        self.call_sid = call_sid
        self.stream_sid = stream_sid

    def _next(self) -> str:
        self._sequence += 1
        return str(self._sequence)

    def next_stream(self, stream_sid: str) -> None:
        self.stream_sid = stream_sid

    def opening(self, parameters: Mapping[str, str]) -> list[str]:
        return [self.connected(), self.start(parameters)]

    def voice(self, mulaw: bytes, timestamp_ms: int) -> list[str]:
        return [self.media(mulaw, timestamp_ms)]

    def read(self, message: bytes, now: float) -> AgentMessage:
        return parse(message, self.stream_sid)

    def connected(self) -> str:
        return text({"event": "connected", "protocol": "Call", "version": "1.0.0"})

    def start(self, parameters: Mapping[str, str]) -> str:
        """`parameters` are the `<Parameter>`s of the answer."""
        start = {
            "accountSid": self.account_sid,
            "streamSid": self.stream_sid,
            "callSid": self.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": dict(parameters),
        }
        return text(
            {
                "event": "start",
                "sequenceNumber": self._next(),
                "start": start,
                "streamSid": self.stream_sid,
            }
        )

    def media(self, payload: bytes, timestamp_ms: int) -> str:
        """One packet of the caller's voice; built by hand, as it is sent 50 times a second."""
        self._chunk += 1
        return (
            f'{{"event":"media","sequenceNumber":"{self._next()}","media":{{"track":"inbound",'
            f'"chunk":"{self._chunk}","timestamp":"{timestamp_ms}","payload":"{base64_text(payload)}"}},'
            f'"streamSid":"{self.stream_sid}"}}'
        )

    def dtmf(self, digit: str, timestamp_ms: int = 0) -> str:
        return text(
            {
                "event": "dtmf",
                "streamSid": self.stream_sid,
                "sequenceNumber": self._next(),
                "dtmf": {"track": "inbound_track", "digit": digit},
            }
        )

    def mark(self, name: str) -> str:
        return text(
            {
                "event": "mark",
                "sequenceNumber": self._next(),
                "streamSid": self.stream_sid,
                "mark": {"name": name},
            }
        )

    def stop(self) -> str:
        return text(
            {
                "event": "stop",
                "sequenceNumber": self._next(),
                "stop": {"accountSid": self.account_sid, "callSid": self.call_sid},
                "streamSid": self.stream_sid,
            }
        )


def parse(message: bytes, stream_sid: str) -> AgentMessage:
    """Reads one text message of the agent's. Raises WireFault and nothing else."""
    found = loaded(message)
    if isinstance(found, str):
        raise _fault(found)
    event = found.get("event")
    if event not in ("media", "mark", "clear"):
        raise _fault(f"unknown event {event!r:.40}")
    if found.get("streamSid") != stream_sid:
        raise _fault(f"{event}: streamSid is missing or not this stream's")
    if event == "media":
        return PlayAudio(_payload(member(found, "media", "payload")))
    if event == "mark":
        return SetMark(_name(member(found, "mark", "name")))
    return ClearAudio()


def _fault(detail: str) -> WireFault:
    return WireFault(BAD_MESSAGE, detail, _WARNING)


def _payload(payload: str | None) -> bytes:
    if payload is None:
        raise _fault("media: no media.payload")
    audio = decoded(payload)
    if audio is None:
        raise _fault("media: payload is not base64")
    return audio


def _name(name: str | None) -> str:
    if name is None:
        raise _fault("mark: no mark.name")
    return name
