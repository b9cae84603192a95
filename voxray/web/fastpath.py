"""Whole, unfragmented, masked text frames without Autobahn's frame machine; all else through it.

A call is 100 messages a second, and nearly all are one kind: final, masked, unfragmented text, ASCII,
well under the size limit, whole in one read. Those are cut out here with a dozen byte operations.
Anything else goes to Autobahn untouched, from the first byte of its frame: the handshake, pings,
closes, fragments, other opcodes and reserved bits, text that is not ASCII (Autobahn validates UTF-8),
lengths that are not minimal or over the limits (Autobahn ends those with 1009 or 1002), frames that
arrive in pieces and are large. So every rule of RFC 6455 is still enforced by Autobahn alone.

Traps: `self.data` holds the bytes of an unfinished frame for both paths; Autobahn's own entry formats
a debug line for every read, which costs more than the parsing; state is looked at again after every
message, for its receiver may have closed.
"""

from __future__ import annotations

from typing import Any

from autobahn.twisted.websocket import WebSocketServerProtocol

_FINAL_TEXT = 0x81
_MASKED = 0x80
_LENGTH_16 = 126  # the next two bytes are the length
_PATIENT_BYTES = 4096  # an unfinished frame up to this size waits here; larger ones grow inside Autobahn

# _REPEAT[k] * mask == the mask k times over: one multiplication instead of two copies.
_REPEAT = tuple(int.from_bytes(b"\1\0\0\0" * words, "little") for words in range(257))


def unmask(data: bytes, start: int, length: int) -> bytes:
    """The payload of `length` bytes at `start`, whose mask is the four bytes before it."""
    words = (length + 3) >> 2
    if words < 257:
        mask = int.from_bytes(data[start - 4 : start], "little") * _REPEAT[words]
    else:
        mask = int.from_bytes(data[start - 4 : start] * words, "little")
    masked = int.from_bytes(data[start : start + length], "little")
    return (masked ^ mask).to_bytes(words << 2, "little")[:length]


class FastTextProtocol(WebSocketServerProtocol):
    """An Autobahn server protocol whose common case is short. Subclasses implement `text_received`.

    `on("message")` listeners are not told of messages that took the short way.
    """

    # Autobahn's, which it annotates too narrowly or sets by name from the factory's options.
    state: int
    current_frame: Any
    inside_message: bool
    trafficStats: Any
    data: bytes
    transport: Any
    maxFramePayloadSize: int
    maxMessagePayloadSize: int

    _fast_limit = 0

    def connectionMade(self) -> None:
        super().connectionMade()
        limits = (self.maxFramePayloadSize, self.maxMessagePayloadSize)  # 0: none
        self._fast_limit = min([65_535, *filter(None, limits)])  # what a 16 bit length can say

    def text_received(self, payload: bytes) -> None:
        """One whole text message: valid UTF-8, within the size limits. Must not raise."""
        raise NotImplementedError

    def binary_received(self, payload: bytes) -> None:
        """One whole binary message. Must not raise."""
        raise NotImplementedError

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if isBinary:
            self.binary_received(payload)
        else:
            self.text_received(payload)

    # -- in --------------------------------------------------------------------
    def dataReceived(self, data: bytes) -> None:
        if self.state != self.STATE_OPEN or self.current_frame is not None or self.inside_message:
            self._dataReceived(data)
            return
        stats = self.trafficStats
        stats.incomingOctetsWireLevel += len(data)
        if self.data:
            data = self.data + data
        rest = self._take_texts(data)
        self.data = data[rest:] if rest else data
        if self.data and not (self.state == self.STATE_OPEN and self._may_wait(self.data)):
            self.consumeData()

    def _take_texts(self, data: bytes) -> int:
        """Delivers the plain text frames at the head of `data`; returns how many bytes they were."""
        position, end, limit, count, octets = 0, len(data), self._fast_limit, 0, 0
        while end - position >= 6 and data[position] == _FINAL_TEXT:
            length = data[position + 1] - _MASKED
            start = position + 6
            if length >= _LENGTH_16:
                if length > _LENGTH_16:
                    break  # a 64 bit length
                length = data[position + 2] << 8 | data[position + 3]
                start += 2
                if length < _LENGTH_16:
                    break  # not minimal: an error, and Autobahn's to answer
            stop = start + length
            if not 0 <= length <= limit or stop > end:
                break  # unmasked, too long, or not all here
            payload = unmask(data, start, length)
            if not payload.isascii():
                break
            position = stop
            count += 1
            octets += length
            self.text_received(payload)
            if self.state != self.STATE_OPEN:
                break
        self._count(count, octets)
        return position

    def _count(self, messages: int, octets: int) -> None:
        """Keeps Autobahn's statistics true, once a read."""
        stats = self.trafficStats
        stats.incomingWebSocketFrames += messages
        stats.incomingWebSocketMessages += messages
        stats.incomingOctetsWebSocketLevel += octets
        stats.incomingOctetsAppLevel += octets

    def _may_wait(self, rest: bytes) -> bool:
        """Whether `rest` is the beginning of a plain text frame that the next read may complete."""
        if rest[0] != _FINAL_TEXT:
            return False
        if len(rest) < 4:
            return len(rest) < 2 or _MASKED <= rest[1] <= _MASKED + _LENGTH_16
        length = rest[1] - _MASKED
        if length == _LENGTH_16:
            length = rest[2] << 8 | rest[3]
            return _LENGTH_16 <= length <= min(_PATIENT_BYTES, self._fast_limit) and len(rest) < 8 + length
        return 0 <= length < _LENGTH_16 and len(rest) < 6 + length

    # -- out -------------------------------------------------------------------
    def send_text(self, payload: bytes) -> None:
        """One unfragmented text message, header and payload in one write. Dropped unless open."""
        if self.state != self.STATE_OPEN:
            return
        size = len(payload)
        if size < _LENGTH_16:
            header = bytes((_FINAL_TEXT, size))
        elif size < 65_536:
            header = bytes((_FINAL_TEXT, _LENGTH_16, size >> 8, size & 255))
        else:
            self.sendMessage(payload)  # type: ignore[no-untyped-call]  # Autobahn's
            return
        self.transport.write(header + payload)
        stats = self.trafficStats
        stats.outgoingWebSocketMessages += 1
        stats.outgoingWebSocketFrames += 1
        stats.outgoingOctetsAppLevel += size
        stats.outgoingOctetsWebSocketLevel += size
        stats.outgoingOctetsWireLevel += size + len(header)
