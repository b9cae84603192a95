"""Server-sent events from whatever pieces the network hands over. Pure; no limit but its own.

After the WHATWG text (html.spec.whatwg.org, "9.2 Server-sent events"), with what vendors do beside it:
the last event may lack its blank line (`finish` delivers it), and an event larger than the cap is
dropped whole rather than failing the stream. Fields other than `event` and `data` are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_EVENT_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event: `name` is empty unless the server said `event:`."""

    data: str
    name: str = ""


class EventReader:
    """Feed it bytes, get events; how the bytes were cut makes no difference."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._parts: list[bytes] = []  # of a line whose end has not come
        self._held = 0  # bytes of that line, also those no longer kept
        self._after_cr = False  # a LF that comes next belongs to the CR before it
        self._at_start = True
        self._name = ""
        self._data: list[str] = []
        self._size = 0
        self._too_big = False
        self.dropped = 0
        """Events that were larger than the cap."""

    def feed(self, data: bytes) -> list[Event]:
        """The events completed by `data`."""
        if self._after_cr and data:
            self._after_cr = False
            if data[:1] == b"\n":
                data = data[1:]
        if b"\n" not in data and b"\r" not in data:
            self._hold(data)
            return []
        self._after_cr = data.endswith(b"\r")
        lines = data.splitlines()
        rest = b"" if data[-1:] in (b"\n", b"\r") else lines.pop()
        lines[0] = self._take(lines[0])
        events = [event for line in lines if (event := self._line(line)) is not None]
        self._hold(rest)
        return events

    def finish(self) -> list[Event]:
        """The stream is over: an event without its blank line still counts."""
        events = [self._line(self._take(b"")), self._dispatch()]
        return [event for event in events if event is not None]

    def _hold(self, piece: bytes) -> None:
        self._held += len(piece)
        if self._held <= self._max:
            self._parts.append(piece)
        else:
            self._parts.clear()  # too long already: only its length still matters

    def _take(self, last: bytes) -> bytes:
        """The line that ends with `last`; empty, and the event marked, when it was too long."""
        if not self._held:
            return last
        self._hold(last)
        whole, self._parts = b"".join(self._parts), []
        self._too_big = self._too_big or self._held > self._max
        self._held = 0
        return whole or b":"  # a long line is a comment, not the blank line that ends an event

    def _line(self, line: bytes) -> Event | None:
        too_long = len(line) > self._max
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        if too_long:
            self._too_big = True
            return None
        field, _, value = line.partition(b":")
        if field == b"data":
            self._add(value)
        elif field == b"event":
            self._name = value.removeprefix(b" ").decode("utf-8", "replace")[:256]
        return None

    def _add(self, value: bytes) -> None:
        self._size += len(value)
        if self._size > self._max:
            self._too_big = True
            self._data.clear()
        else:
            # A line is whole here, so no character is cut in two.
            self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))

    def _dispatch(self) -> Event | None:
        data, name, too_big = self._data, self._name, self._too_big
        self._data, self._name, self._size, self._too_big = [], "", 0, False
        if too_big:
            self.dropped += 1
            return None
        return Event("\n".join(data), name) if data else None
