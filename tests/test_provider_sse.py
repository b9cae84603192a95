"""Server-sent events: the WHATWG rules, vendors' habits, and any cutting gives the same events."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.providers.sse import Event, EventReader

LINES = st.one_of(
    st.binary(max_size=12).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b"")),
    st.text(max_size=8).map(lambda t: b"data: " + t.replace("\r", "").replace("\n", "").encode()),
    st.sampled_from([b"", b"", b"data:", b"data", b"event: x", b":", b": keep-alive", b"id: 7", b"retry: 5"]),
    st.integers(25, 40).map(lambda n: b"data: " + b"x" * n),
)
STREAMS = st.tuples(
    st.booleans(),
    st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=20),
    st.booleans(),
).map(
    lambda t: (
        (b"\xef\xbb\xbf" if t[0] else b"")
        + b"".join(line + end for line, end in t[1])
        + (b"data: rest" if t[2] else b"")
    )
)


def read(pieces: list[bytes], cap: int = 1 << 20) -> tuple[list[Event], int]:
    reader = EventReader(cap)
    events = [event for piece in pieces for event in reader.feed(piece)]
    return events + reader.finish(), reader.dropped


def by_the_book(stream: bytes, cap: int) -> tuple[list[Event], int]:
    """The same rules, written for a whole stream at once, a character at a time where ends are found."""
    lines, line, i = [], b"", 0
    while i < len(stream):
        c = stream[i : i + 1]
        if c in (b"\n", b"\r"):
            lines.append(line)
            line = b""
            i += 2 if stream[i : i + 2] == b"\r\n" else 1
        else:
            line += c
            i += 1
    lines.append(line)
    lines += [b""] if line else []
    events, data, name, bad, dropped = [], [], "", False, 0
    for n, raw in enumerate(lines):
        text = raw[3:] if n == 0 and raw.startswith(b"\xef\xbb\xbf") else raw
        if not text:
            if bad:
                dropped += 1
            elif data:
                events.append(Event("\n".join(d.decode("utf-8", "replace") for d in data), name))
            data, name, bad = [], "", False
            continue
        if len(raw) > cap:
            bad = True
        key, _, value = text.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if key == b"data":
            data.append(value)
        elif key == b"event":
            name = value.decode("utf-8", "replace")
    return events, dropped


@shows("F6")
class CutTests(SynchronousTestCase):
    @settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
    @given(STREAMS, st.lists(st.integers(0, 400), max_size=8))
    def test_any_cut(self, stream: bytes, cuts: list[int]) -> None:
        """However a stream is cut, its events are those of the book; long lines drop their event alone."""
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        pieces = [stream[a:b] for a, b in pairwise(edges)]
        self.assertEqual(read(pieces), by_the_book(stream, 1 << 20))

    @settings(max_examples=500, deadline=None)
    @given(STREAMS)
    def test_every_byte(self, stream: bytes) -> None:
        """Byte by byte and all at once are the same, also where the cap bites."""
        single = [stream[i : i + 1] for i in range(len(stream))]
        self.assertEqual(read(single, 32), read([stream], 32))


@shows("F6")
class HabitTests(SynchronousTestCase):
    def events(self, *pieces: bytes) -> list[str]:
        return [event.data for event in read(list(pieces))[0]]

    def test_line_ends(self) -> None:
        """LF, CRLF and CR end lines; a CRLF cut in two is still one end."""
        self.assertEqual(
            self.events(b"data: a\n\ndata: b\r\n\r\ndata: c\r\rdata: d\r", b"\n\r", b"\n"), [*"abcd"]
        )
        reader = EventReader()
        self.assertEqual(reader.feed(b"data: a\r"), [])
        self.assertEqual(reader.feed(b"\ndata: b\n"), [])
        self.assertEqual(reader.feed(b"\n"), [Event("a\nb")])

    def test_no_space_and_many_lines(self) -> None:
        """The space after the colon is optional; several data lines make one event."""
        self.assertEqual(self.events(b"data:a\ndata: b\ndata:  c\n\n"), ["a\nb\n c"])

    def test_comments(self) -> None:
        """Keep-alives are no events."""
        self.assertEqual(self.events(b": keep-alive\n\n:\n\ndata: a\n\n"), ["a"])

    def test_last_event_without_blank_line(self) -> None:
        """The end of the stream ends the event, and the line."""
        self.assertEqual(self.events(b"data: a\n\ndata: b"), ["a", "b"])

    def test_name(self) -> None:
        """`event:` names the event it stands in, and no other."""
        self.assertEqual(read([b"event: x\ndata: a\n\ndata: b\n\n"])[0], [Event("a", "x"), Event("b")])

    def test_split_character(self) -> None:
        """A character cut in two is whole again."""
        data = "data: Grüße €\n\n".encode()
        for at in range(len(data)):
            self.assertEqual(self.events(data[:at], data[at:]), ["Grüße €"])

    def test_bad_utf8(self) -> None:
        """Bytes that are no UTF-8 are replaced, not raised."""
        self.assertEqual(self.events(b"data: a\xff\n\n"), ["a�"])

    def test_huge_line(self) -> None:
        """A 5 MB line drops its event, is not kept in memory, and the next event is read."""
        reader = EventReader()
        for _ in range(500):
            self.assertEqual(reader.feed(b"data: " + b"x" * 10_000), [])
            self.assertLess(sum(map(len, reader._parts)), 1_100_000)
        self.assertEqual(reader.feed(b"\n\ndata: after\n\n"), [Event("after")])
        self.assertEqual(reader.dropped, 1)

    def test_huge_event(self) -> None:
        """Many lines that are too much together are dropped as well."""
        reader = EventReader(1000)
        self.assertEqual(reader.feed((b"data: " + b"x" * 90 + b"\n") * 50 + b"\ndata: b\n\n"), [Event("b")])
        self.assertEqual(reader.dropped, 1)
