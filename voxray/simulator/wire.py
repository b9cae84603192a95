"""Twilio's media stream messages, as the carrier writes and reads them.

`CallerWire` makes what Twilio sends: every counter and timestamp a string, `mediaFormat` numbers numbers,
one `sequenceNumber` over all events after `connected`. `parse` reads what an agent sends, and is as strict
as Twilio, which answers a mistake with a warning in its debugger (31950, 31951) and otherwise ignores the
message. Source: Twilio's "Media Streams - WebSocket messages".
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

BINARY_MESSAGE = 31950
BAD_MESSAGE = 31951


@dataclass(frozen=True, slots=True)
class PlayAudio:
    """The agent's voice: raw mu-law at 8 kHz."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class SetMark:
    """Echo this name when everything before it was played."""

    name: str


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """Drop what is buffered."""


AgentMessage: TypeAlias = PlayAudio | SetMark | ClearAudio


class WireFault(Exception):
    """The agent sent something Twilio would refuse; `code` is the number in Twilio's debugger."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{detail} (Twilio warning {code})")
        self.code = code


def _text(message: Mapping[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))


class CallerWire:
    """The messages of one call, in order; each method returns the text to send."""

    def __init__(self, *, account_sid: str, call_sid: str, stream_sid: str) -> None:
        self.account_sid = account_sid
        self.call_sid = call_sid
        self.stream_sid = stream_sid
        self._sequence = 0
        self._chunk = 0

    def _next(self) -> str:
        self._sequence += 1
        return str(self._sequence)

    def connected(self) -> str:
        return _text({"event": "connected", "protocol": "Call", "version": "1.0.0"})

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
        return _text(
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
        encoded = base64.b64encode(payload).decode("ascii")
        return (
            f'{{"event":"media","sequenceNumber":"{self._next()}","media":{{"track":"inbound",'
            f'"chunk":"{self._chunk}","timestamp":"{timestamp_ms}","payload":"{encoded}"}},'
            f'"streamSid":"{self.stream_sid}"}}'
        )

    def dtmf(self, digit: str) -> str:
        return _text(
            {
                "event": "dtmf",
                "streamSid": self.stream_sid,
                "sequenceNumber": self._next(),
                "dtmf": {"track": "inbound_track", "digit": digit},
            }
        )

    def mark(self, name: str) -> str:
        return _text(
            {
                "event": "mark",
                "sequenceNumber": self._next(),
                "streamSid": self.stream_sid,
                "mark": {"name": name},
            }
        )

    def stop(self) -> str:
        return _text(
            {
                "event": "stop",
                "sequenceNumber": self._next(),
                "stop": {"accountSid": self.account_sid, "callSid": self.call_sid},
                "streamSid": self.stream_sid,
            }
        )


def parse(message: bytes, stream_sid: str) -> AgentMessage:
    """Reads one text message of the agent's. Raises WireFault and nothing else."""
    try:
        found = json.loads(message)
    except (ValueError, RecursionError):
        raise WireFault(BAD_MESSAGE, "not JSON") from None
    if not isinstance(found, dict):
        raise WireFault(BAD_MESSAGE, "not a JSON object")
    event = found.get("event")
    if event not in ("media", "mark", "clear"):
        raise WireFault(BAD_MESSAGE, f"unknown event {event!r:.40}")
    if found.get("streamSid") != stream_sid:
        raise WireFault(BAD_MESSAGE, f"{event}: streamSid is missing or not this stream's")
    if event == "media":
        return PlayAudio(_payload(found.get("media")))
    if event == "mark":
        return SetMark(_name(found.get("mark")))
    return ClearAudio()


def _payload(media: object) -> bytes:
    payload = media.get("payload") if isinstance(media, dict) else None
    if not isinstance(payload, str):
        raise WireFault(BAD_MESSAGE, "media: no media.payload")
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise WireFault(BAD_MESSAGE, "media: payload is not base64") from None


def _name(mark: object) -> str:
    name = mark.get("name") if isinstance(mark, dict) else None
    if not isinstance(name, str):
        raise WireFault(BAD_MESSAGE, "mark: no mark.name")
    return name
