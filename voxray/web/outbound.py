"""The way to the caller's ear over one socket: bounded, and silent about its troubles to the call.

A peer that stops reading must cost neither memory nor minutes of stale audio. The pacer releases in
real time, so what is unsent is late. Above about a second of it (`unsent_ms`) the rest of the utterance is
dropped (single packets missing would sound worse), marks and clears still go, and a peer that has not drained
that second after ten more (`stuck_secs`) is gone. The kernel's own buffer would hide minutes, so SO_SNDBUF is
set.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from voxray.frames import ULAW_8K, MediaFormat
from voxray.interfaces import Serializer
from voxray.web.kernel import descriptor_of

SECOND_BYTES = 16_384  # a second of u-law in Twilio's JSON is 50 messages of about 310 bytes


class Socket(Protocol):
    """What is needed of the WebSocket."""

    def send_text(self, payload: bytes) -> None: ...

    def end(self, code: int, why: str, text: str = "") -> None: ...

    def crashed(self) -> None: ...


class DropCounter(Protocol):
    """The part of `media.MediaRecorder` used here."""

    def audio_dropped(self) -> None: ...


@implementer(IPushProducer)
class Outbound:
    """`interfaces.MediaSink` over a WebSocket, and the producer its transport throttles."""

    def __init__(
        self,
        websocket: Socket,
        serializer: Serializer,
        recorder: DropCounter,
        *,
        unsent_ms: float = 1_000.0,
        stuck_secs: float = 10.0,
    ) -> None:
        self._unsent_bytes = round(SECOND_BYTES * unsent_ms / 1_000)
        self._stuck_secs = stuck_secs
        self._socket = websocket
        self._serializer = serializer
        self._recorder = recorder
        self._paused = False
        self._paused_secs = 0.0
        self._utterance_cut = False
        self._descriptor: Any = None

    def attach(self, transport: Any, send_buffer_bytes: int) -> None:
        """Takes the transport from the HTTP channel that accepted it."""
        descriptor = descriptor_of(transport)
        with suppress(AttributeError, OSError):  # not a TCP socket
            descriptor.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        descriptor.bufferSize = self._unsent_bytes
        self._descriptor = descriptor
        transport.unregisterProducer()
        transport.registerProducer(self, True)

    def carry(self, media_format: MediaFormat) -> None:
        """What will be sent, now that it is known: linear PCM is more bytes to the second."""
        seconds_of_ulaw = max(1.0, media_format.bytes_per_ms / ULAW_8K.bytes_per_ms)
        self._descriptor.bufferSize = round(self._unsent_bytes * seconds_of_ulaw)

    def stuck(self, elapsed_secs: float) -> bool:
        """To be asked at every tick; whether nothing more can be hoped for of this peer."""
        self._paused_secs = self._paused_secs + elapsed_secs if self._paused else 0.0
        return self._paused_secs >= self._stuck_secs

    # -- MediaSink -------------------------------------------------------------
    def send_audio(self, payload: bytes) -> None:
        if self._paused:
            self._utterance_cut = True
        if self._utterance_cut:
            self._recorder.audio_dropped()
            return
        try:
            self._socket.send_text(self._serializer.media(payload))
        except Exception:  # noqa: BLE001 - a sink never raises; see interfaces
            self._socket.crashed()

    def send_mark(self, name: str) -> None:
        """A mark ends an utterance: the next one is sent again, if there is room."""
        self._utterance_cut = False
        try:
            self._socket.send_text(self._serializer.mark(name))
        except Exception:  # noqa: BLE001
            self._socket.crashed()

    def send_clear(self) -> None:
        self._utterance_cut = False
        try:
            self._socket.send_text(self._serializer.clear())
        except Exception:  # noqa: BLE001
            self._socket.crashed()

    def send_keys(self, digits: str) -> bool:
        try:
            message = self._serializer.keys(digits)
            if message is None:
                return False
            self._socket.send_text(message)
        except Exception:  # noqa: BLE001
            self._socket.crashed()
        return True

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._socket.end(code, "hung_up", reason)

    # -- IPushProducer: the transport's view -----------------------------------
    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False

    def stopProducing(self) -> None:
        """The connection is lost; the socket hears of it by itself."""
