"""Telnyx's media stream messages, as the carrier writes and reads them.

Snake case, counters as strings, the stream's id at top level only. The audio is an RTP payload in the codec
of the call's leg, which the answer's `codec` can turn from one G.711 law into the other; the agent's is in
`bidirectionalCodec`. Media may come out of order. A message that is refused is answered with an `error`
event, and the stream goes on. Source: Telnyx's "Media Streaming over WebSockets" and its TeXML pages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

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

UNKNOWN_ERROR, MALFORMED_FRAME, INVALID_MEDIA = 100002, 100003, 100004
SHORTEST_MS, LONGEST_MS = 20, 30_000
_TITLES = {
    UNKNOWN_ERROR: "unknown_error",
    MALFORMED_FRAME: "malformed_frame",
    INVALID_MEDIA: "invalid_media",
}
_LATE_EVERY = 5
RECONNECTS = 3  # ours
CLIENT_STATE = "aGF2ZSBhIG5pY2UgZGF5ID1d"  # the documentation's example


class TelnyxWire(Wire):
    """One call's."""

    source = "Telnyx error"
    binary_code = UNKNOWN_ERROR

    def __init__(
        self,
        ids: CallIds,
        numbers: Numbers | None = None,
        quirks: Quirks | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`wall` is the time of day, for `occurred_at`."""
        super().__init__()
        self._ids, self._numbers = ids, numbers or Numbers()
        self._quirks = quirks or Quirks()
        self._wall, self._began = wall, 0.0
        self._late: list[tuple[int, str]] = []  # the chunk after which it leaves, and the message
        self.answered("", {})

    def reopened(self) -> None:
        super().reopened()
        self._late.clear()

    def next_stream(self, stream_sid: str) -> None:
        self._ids = self._ids.another_stream(stream_sid)

    def redials(self, code: int | None, tries: int) -> bool:
        """Also when the agent closed it, unless the answer said not to. How often is not documented."""
        return self._reconnects and code is not None and tries < RECONNECTS

    def answered(self, url: str, attributes: Mapping[str, str]) -> None:
        self._reconnects = attributes.get("enableReconnect", "true") != "false"
        asked = attributes.get("codec", "default")
        asked = asked if asked in ("PCMU", "PCMA") else "PCMU"
        self._theirs = Codec(self._quirks.leg_codec or asked, 8000)
        encoding = attributes.get("bidirectionalCodec", "PCMU")
        rate_hz = int(attributes.get("bidirectionalSamplingRate", "8000"))
        # RTP's L16 is big-endian
        self._agents = Codec(encoding, rate_hz if encoding == "L16" else 8000, big_endian=True)

    # -- to the agent --------------------------------------------------------
    def opening(self, parameters: Mapping[str, str]) -> list[str]:
        self._began = self._wall()
        return [text({"event": "connected", "version": "1.0.0"}), self.start(parameters)]

    def start(self, parameters: Mapping[str, str]) -> str:
        start = {
            "user_id": self._ids.account_sid,
            "call_control_id": self._ids.call_sid,
            "call_session_id": self._ids.session_id,
            "from": self._numbers.caller,
            "to": self._numbers.called,
            "tags": [],
            "client_state": CLIENT_STATE,
            "custom_parameters": dict(parameters),
            "media_format": {
                "encoding": self._theirs.encoding,
                "sample_rate": self._theirs.rate_hz,
                "channels": 1,
            },
        }
        message = {"event": "start", "sequence_number": self._next(), "start": start}
        return text(message | {"stream_id": self._ids.stream_sid})

    def voice(self, mulaw: bytes, timestamp_ms: int) -> list[str]:
        message = self.media(self._theirs.encode(mulaw), timestamp_ms)
        if self._quirks.reorder and self._chunk % _LATE_EVERY == 0:
            self._late.append((self._chunk + self._quirks.reorder, message))
            return []
        due = [late for after, late in self._late if after <= self._chunk]
        self._late = [each for each in self._late if each[0] > self._chunk]
        return [message, *due]

    def media(self, payload: bytes, timestamp_ms: int) -> str:
        """Built by hand, as it is sent 50 times a second."""
        self._chunk += 1
        return (
            f'{{"event":"media","sequence_number":"{self._next()}","media":{{"track":"inbound",'
            f'"chunk":"{self._chunk}","timestamp":"{timestamp_ms}","payload":"{base64_text(payload)}"}},'
            f'"stream_id":"{self._ids.stream_sid}"}}'
        )

    def dtmf(self, digit: str, timestamp_ms: int = 0) -> str:
        when = datetime.fromtimestamp(self._began + timestamp_ms / 1000, UTC)
        return text(
            {
                "event": "dtmf",
                "stream_id": self._ids.stream_sid,
                "occurred_at": f"{when:%Y-%m-%dT%H:%M:%S.%f}Z",
                "sequence_number": self._next(),
                "dtmf": {"digit": digit},
            }
        )

    def mark(self, name: str) -> str:
        return text(
            {
                "event": "mark",
                "stream_id": self._ids.stream_sid,
                "sequence_number": self._next(),
                "mark": {"name": name},
            }
        )

    def refused(self, fault: WireFault) -> list[str]:
        code = fault.code or UNKNOWN_ERROR
        payload = {"code": code, "title": _TITLES[code], "detail": fault.detail}
        return [text({"event": "error", "payload": payload, "stream_id": self._ids.stream_sid})]

    def withheld(self) -> list[str]:
        late = [message for _, message in self._late]
        self._late.clear()
        return late

    def stop(self) -> str:
        stop = {"user_id": self._ids.account_sid, "call_control_id": self._ids.call_sid}
        message = {"event": "stop", "sequence_number": self._next(), "stop": stop}
        return text(message | {"stream_id": self._ids.stream_sid})

    def _next(self) -> str:
        self._sequence += 1
        return str(self._sequence)

    # -- from the agent ------------------------------------------------------
    def read(self, message: bytes, now: float) -> AgentMessage:
        """No id is needed in any of them."""
        found = loaded(message)
        if isinstance(found, str):
            raise _fault(MALFORMED_FRAME, found)
        event = found.get("event")
        if event == "media":
            return PlayAudio(self._audio(member(found, "media", "payload")))
        if event == "clear":
            return ClearAudio()
        if event != "mark":
            raise _fault(UNKNOWN_ERROR, f"unknown event {event!r:.40}")
        name = member(found, "mark", "name")
        if name is None:
            raise _fault(MALFORMED_FRAME, "mark: no mark.name")
        return SetMark(name)

    def _audio(self, payload: str | None) -> bytes:
        if payload is None:
            raise _fault(MALFORMED_FRAME, "media: no media.payload")
        audio = decoded(payload)
        if audio is None:
            raise _fault(INVALID_MEDIA, "media: payload is not base64")
        length_ms = len(audio) / self._agents.bytes_per_ms
        if not SHORTEST_MS <= length_ms <= LONGEST_MS:
            raise _fault(
                MALFORMED_FRAME, f"media: {length_ms:g} ms of audio; a message has 20 ms to 30 s of it"
            )
        return self._agents.decode(audio)


def _fault(code: int, detail: str) -> WireFault:
    return WireFault(code, detail, TelnyxWire.source)
