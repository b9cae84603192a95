"""What the carriers' wires have in common: what an agent can ask for, ids, quirks, and what a wire does.

A wire is one call's. What the caller says comes in as mu-law at 8 kHz, 20 ms at a time, and leaves as that
carrier's messages, each the text to send; what the agent sends is read as strictly as the carrier reads it.
Numbers of milliseconds count from the start of the stream.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

PACKET_MS = 20


# -- what the agent asks for -------------------------------------------------
@dataclass(frozen=True, slots=True)
class PlayAudio:
    """The agent's voice: mu-law at 8 kHz, whatever it was on the wire."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class SetMark:
    """Tell when everything before this was played."""

    name: str


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """Drop what is buffered."""


@dataclass(frozen=True, slots=True)
class SendKeys:
    """Press keys towards the caller."""

    digits: str


AgentMessage: TypeAlias = PlayAudio | SetMark | ClearAudio | SendKeys


class WireFault(Exception):
    """The agent sent what the carrier would refuse: it was not obeyed. `code` is the carrier's, if any."""

    def __init__(self, code: int, detail: str, source: str = "") -> None:
        super().__init__(f"{detail} ({source} {code})" if code else f"{detail} ({source})")
        self.code = code
        self.detail = detail


# -- what a call is like -----------------------------------------------------
@dataclass(frozen=True, slots=True)
class CallIds:
    """The carrier's ids for one call."""

    account_sid: str
    call_sid: str
    stream_sid: str
    session_id: str = ""  # Telnyx alone has one

    def another_stream(self, stream_sid: str) -> CallIds:
        """Of the same call."""
        return replace(self, stream_sid=stream_sid)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Who calls whom, as some carriers say in `start`."""

    caller: str = "+15558675310"
    called: str = "+15017122661"


@dataclass(frozen=True, slots=True)
class Quirks:
    """How this call differs from the carrier's good day."""

    marks: bool = True  # False: no mark ever comes back
    first_mark: bool = True  # False: the first one does not (seen on Plivo)
    marks_after_clear: bool | None = (
        None  # whether those a clear overtakes come back; None: the carrier's way
    )
    clear_spares_message: bool = False  # a clear lets the message that is being played end
    start_delay_secs: float = 0.0  # from the socket's opening to `start`
    junk: bool = False  # what nobody can read comes before `start`
    stop: bool | None = None  # whether there is a `stop`; None: the carrier's way
    close_after_stop: bool = True  # False: the agent must close
    webhook_twice: bool = False  # asked again, and the second answer obeyed
    duplicate_socket: bool = False  # a second socket for the same call, with its own `start`
    drop_after_secs: float = 0.0  # the socket is lost so long after `start`; 0: it is not
    redials: bool = True  # Telnyx, Plivo: dial again after a loss, as they do
    leg_codec: str = ""  # Telnyx: heard whatever the answer asks for; empty: that, or PCMU
    reorder: int = 0  # Telnyx: every fifth packet comes so many packets late
    rate_hz: int = 0  # Exotel: 8000, 16000 or 24000; 0: what the stream's URL says
    camel_case: bool = False  # Exotel: the spelling of its Connect calls


class Wire:
    """One call's messages. The base is a carrier that takes what it is given and acknowledges nothing."""

    source = ""  # the name in a fault's text
    binary_code = 0
    marks_survive_clear = True
    """Whether a clear makes the marks it overtakes come back."""
    sends_stop = True

    def __init__(self) -> None:
        self.complaints: list[str] = []
        """Faults in what the agent sent that the carrier puts up with; the reader empties it."""
        self._sequence = self._chunk = 0

    def reopened(self) -> None:
        """Another socket: it counts from the beginning."""
        self._sequence = self._chunk = 0

    def next_stream(self, stream_sid: str) -> None:
        """The same call gets another stream, because a document says so."""

    def redials(self, code: int | None, tries: int) -> bool:
        """Whether the carrier dials again after a loss with this close code (None: there was no socket), when
        it has done so `tries` times.
        """
        return False

    def answered(self, url: str, attributes: Mapping[str, str]) -> None:
        """The webhook's answer: what it says of the stream beside the parameters."""

    def opening(self, parameters: Mapping[str, str]) -> list[str]:
        """What is sent when the socket opens; `parameters` are the answer's."""
        raise NotImplementedError

    def voice(self, mulaw: bytes, timestamp_ms: int) -> list[str]:
        """20 ms of the caller's voice; `timestamp_ms` is the end of it."""
        raise NotImplementedError

    def dtmf(self, digit: str, timestamp_ms: int = 0) -> str:
        raise NotImplementedError

    def mark(self, name: str) -> str:
        """Everything before this mark was played."""
        raise NotImplementedError

    def cleared(self) -> list[str]:
        """The acknowledgement of a clear."""
        return []

    def refused(self, fault: WireFault) -> list[str]:
        """What the carrier says to a message it refuses."""
        return []

    def binary(self) -> WireFault:
        """The agent sent a binary message; all four carriers' are text."""
        return WireFault(self.binary_code, "a binary message", self.source)

    def ended(self, stop: bool | None = None) -> list[str]:
        """What is sent before the socket closes; `stop` says whether that is, if not the carrier's way."""
        wanted = self.sends_stop if stop is None else stop
        return [*self.withheld(), self.stop()] if wanted else self.withheld()

    def withheld(self) -> list[str]:
        """What was kept back for later, all at once."""
        return []

    def stop(self) -> str:
        """The last message, where there is one."""
        raise NotImplementedError

    def read(self, message: bytes, now: float) -> AgentMessage:
        """One text message of the agent's, at `now` seconds. Raises WireFault and nothing else."""
        raise NotImplementedError


# -- JSON --------------------------------------------------------------------
def text(message: Mapping[str, Any]) -> str:
    return json.dumps(message, separators=(",", ":"))


def base64_text(payload: bytes) -> str:
    return base64.b64encode(payload).decode("ascii")


def loaded(message: bytes) -> dict[str, Any] | str:
    """The object of a message, or why it is none."""
    try:
        found = json.loads(message)
    except (ValueError, RecursionError):
        return "not JSON"
    return found if isinstance(found, dict) else "not a JSON object"


def member(message: Mapping[str, Any], name: str, key: str) -> str | None:
    """message[name][key] when that is text."""
    inner = message.get(name)
    value = inner.get(key) if isinstance(inner, dict) else None
    return value if isinstance(value, str) else None


def decoded(payload: str) -> bytes | None:
    """Base64, strictly; None when it is not."""
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        return None
