"""The fast path gives exactly what plain Autobahn gives, whatever the bytes and however they are cut."""

from __future__ import annotations

import os
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.wsframes import BINARY, CLOSE, PING, PONG, TEXT, frame, handshake, server_frames
from voxray.web.fastpath import FastTextProtocol, unmask
from voxray.web.media import _Timers

LIMIT = 1000


class Plain(WebSocketServerProtocol):
    """Autobahn as it is, writing down what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, Any]] = []

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.heard.append(("binary" if isBinary else "text", payload))
        if payload == b"bye":
            self.sendClose(1000)

    def onPong(self, payload: bytes) -> None:
        self.heard.append(("pong", payload))

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.heard.append(("close", (wasClean, code)))


class Fast(FastTextProtocol):
    """Ours, writing down the same."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, Any]] = []

    def text_received(self, payload: bytes) -> None:
        self.heard.append(("text", payload))
        if payload == b"bye":
            self.sendClose(1000)

    def binary_received(self, payload: bytes) -> None:
        self.heard.append(("binary", payload))

    onPong = Plain.onPong
    onClose = Plain.onClose


class Transport(StringTransport):
    """Forgiving about producers, as TCP's transport is."""

    def unregisterProducer(self) -> None:
        self.producer = None


def run(kind: type[Any], reads: list[bytes], limit: int = LIMIT) -> tuple[Any, ...]:
    """Feeds the reads after a handshake; everything observable.

    Autobahn looks into a frame while it is unfinished, we do not: it counts its bytes and finds bad
    UTF-8 a read earlier. So there are no statistics of a connection that failed or stopped within a frame.
    """
    clock = Clock()
    factory = WebSocketServerFactory(server="", reactor=clock)
    factory._batched_timer = _Timers(clock)
    factory.setProtocolOptions(
        maxFramePayloadSize=limit, maxMessagePayloadSize=limit, failByDrop=False, openHandshakeTimeout=0
    )
    factory.protocol = kind
    protocol = factory.buildProtocol(None)
    transport = Transport()
    protocol.makeConnection(transport)
    protocol.dataReceived(handshake())
    transport.clear()
    for read in reads:
        protocol.dataReceived(read)
    unfinished = bool(protocol.data) or getattr(protocol, "current_frame", None) is not None
    stats = None if protocol.failedByMe or unfinished else protocol.trafficStats.__json__()
    state = (protocol.state, transport.disconnecting, protocol.wasClean)
    early = protocol.failedByMe and unfinished
    return protocol.heard, server_frames(transport.value()), state, stats, early


def compare(test: SynchronousTestCase, reads: list[bytes]) -> None:
    """Ours against Autobahn's, unless that failed within a frame we are still waiting for."""
    plain = run(Plain, reads)
    if not plain[-1]:
        test.assertEqual(run(Fast, reads), plain)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """The data in reads of these sizes, the rest as the last."""
    reads = []
    for size in sizes:
        if not data:
            break
        reads.append(data[:size])
        data = data[size:]
    return [*reads, data] if data else reads


masks = st.binary(min_size=4, max_size=4)
ascii_text = st.text(st.characters(max_codepoint=126), max_size=300).map(str.encode)
any_text = st.text(max_size=200).map(str.encode)
sizes = st.one_of(
    st.integers(0, 300), st.sampled_from([124, 125, 126, 127, 128, LIMIT - 1, LIMIT, LIMIT + 1])
)


@st.composite
def odd_frames(draw: Any) -> bytes:
    """Any frame at all: other opcodes, bits, lengths, no mask."""
    return frame(
        draw(st.binary(max_size=140)),
        draw(st.sampled_from([0, TEXT, BINARY, 3, CLOSE, PING, PONG, 11])),
        fin=draw(st.booleans()),
        mask=draw(st.one_of(st.none(), masks)),
        rsv=draw(st.sampled_from([0, 0, 0, 1, 4])),
        length_bits=draw(st.sampled_from([0, 0, 16, 64])),
    )


def fragments(parts: list[bytes]) -> bytes:
    """One text message in several frames."""
    last = len(parts) - 1
    return b"".join(frame(part, 0 if i else TEXT, fin=i == last) for i, part in enumerate(parts))


pieces = st.one_of(
    st.builds(frame, ascii_text, mask=masks),
    st.builds(frame, ascii_text, mask=masks),
    sizes.map(lambda size: frame(b"a" * size)),
    sizes.map(lambda size: frame(b"a" * size, length_bits=64)),
    st.builds(frame, any_text),
    st.builds(frame, st.binary(max_size=50)),
    st.builds(frame, st.binary(max_size=200), st.just(BINARY)),
    st.builds(frame, st.binary(max_size=125), st.sampled_from([PING, PONG])),
    st.lists(any_text, min_size=2, max_size=4).map(fragments),
    st.just(frame(b"bye")),
    st.just(frame(b"\x03\xe8", CLOSE)),
    st.just(frame(b"", declared=2**40)),
    st.just(frame(b"a" * 400, declared=2**56)),
    odd_frames(),
)
conversations = st.lists(pieces, max_size=12).map(b"".join)
cuts = st.lists(st.integers(1, 400), max_size=30)


@shows("F43")
class DifferentialTests(SynchronousTestCase):
    """`FastTextProtocol` beside Autobahn's own class."""

    @settings(
        max_examples=int(os.environ.get("VOXRAY_EXAMPLES", "400")),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(conversations, cuts)
    def test_same_as_autobahn(self, data: bytes, sizes: list[int]) -> None:
        """Same messages, same frames sent, same close, same statistics, for any bytes cut anywhere."""
        compare(self, cut(data, sizes))

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=400), cuts)
    def test_noise(self, data: bytes, sizes: list[int]) -> None:
        """Bytes that are no WebSocket at all end the same way."""
        compare(self, cut(data, sizes))

    def test_64_bit_lengths(self) -> None:
        """Frames of 64 KiB and more, whole or in pieces, beside small ones."""
        data = frame(b"b" * 65_536) + frame(b"small") + frame(b"c" * 127)
        for sizes in ([], [9, 4], [70_000]):
            reads = cut(data, sizes)
            self.assertEqual(run(Fast, reads, 65_536), run(Plain, reads, 65_536))
            self.assertEqual([len(payload) for _, payload in run(Fast, reads, 65_536)[0]], [65_536, 5, 127])

    def test_every_cut_of_two_messages(self) -> None:
        """Two plain messages arrive whole wherever the stream is cut in two."""
        data = frame(b"x" * 125) + frame(b"y" * 300)
        expected = [("text", b"x" * 125), ("text", b"y" * 300)]
        for where in range(len(data) + 1):
            self.assertEqual(run(Fast, [data[:where], data[where:]])[0], expected, where)

    def test_byte_by_byte(self) -> None:
        """A trickle is put together."""
        data = frame(b"hello") + frame(b"z" * 200)
        reads = [data[i : i + 1] for i in range(len(data))]
        self.assertEqual(run(Fast, reads)[0], [("text", b"hello"), ("text", b"z" * 200)])

    def test_large_frame_in_pieces(self) -> None:
        """A frame that is large and unfinished is not gathered by concatenation, and still arrives."""
        data = frame(b"q" * 60_000) + frame(b"after")
        reads = cut(data, [1000] * 70)
        self.assertEqual(run(Fast, reads, 65_536), run(Plain, reads, 65_536))
        self.assertEqual(run(Fast, reads, 65_536)[0][-1], ("text", b"after"))

    @shows("T13")
    def test_too_big_is_1009(self) -> None:
        """The size limit is Autobahn's to enforce, also for a frame that came whole."""
        huge = frame(b"a" * 400, declared=2**56)  # read as a 16 bit length, 256
        for reads in ([frame(b"a" * (LIMIT + 1))], [frame(b"ok") + frame(b"", declared=2**63 - 1)], [huge]):
            _, sent, *_ = run(Fast, reads)
            self.assertEqual([(f.opcode, f.payload[:2]) for f in sent], [(CLOSE, b"\x03\xf1")])

    def test_bad_utf8_is_1007(self) -> None:
        """Text that is not UTF-8 is refused though Autobahn sees none of the plain text."""
        _, sent, *_ = run(Fast, [frame(b"fine") + frame(b"\xff\xfe")])
        self.assertEqual(sent[0].payload[:2], b"\x03\xef")

    def test_nothing_is_heard_after_close(self) -> None:
        """Plain messages behind the one on which we closed take the same way as Autobahn's."""
        reads = [frame(b"one") + frame(b"bye") + frame(b"two")]
        self.assertEqual(run(Fast, reads), run(Plain, reads))


class UnmaskTests(SynchronousTestCase):
    """XOR by big integers."""

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=3000), masks, st.integers(0, 9))
    def test_inverse_of_masking(self, payload: bytes, mask: bytes, before: int) -> None:
        """Unmasking gives back what was masked, at any place and of any length, zeros included."""
        masked = bytes(byte ^ mask[i & 3] for i, byte in enumerate(payload))
        data = b"\x00" * before + mask + masked + b"tail"
        self.assertEqual(unmask(data, before + 4, len(payload)), payload)


class SendTextTests(SynchronousTestCase):
    """Our own way out."""

    def test_all_header_forms(self) -> None:
        """Short, 16 bit and 64 bit lengths are all read back, and counted as Autobahn counts them."""
        for size in (0, 1, 125, 126, 65_535, 65_536):
            both = []
            for send in (FastTextProtocol.send_text, Plain.sendMessage):
                factory = WebSocketServerFactory(server="", reactor=Clock())
                factory._batched_timer = _Timers(Clock())
                factory.protocol = Fast
                protocol = factory.buildProtocol(None)
                transport = Transport()
                protocol.makeConnection(transport)
                protocol.dataReceived(handshake())
                transport.clear()
                protocol.trafficStats.reset()
                send(protocol, b"t" * size)
                both.append((transport.value(), protocol.trafficStats.__json__()))
            self.assertEqual(both[0], both[1])
            self.assertEqual(server_frames(both[0][0])[0].payload, b"t" * size)

    def test_dropped_unless_open(self) -> None:
        """After a close frame nothing follows, and nothing is raised."""
        factory = WebSocketServerFactory(server="", reactor=Clock())
        factory._batched_timer = _Timers(Clock())
        factory.protocol = Fast
        protocol = factory.buildProtocol(None)
        transport = Transport()
        protocol.makeConnection(transport)
        protocol.dataReceived(handshake())
        protocol.sendClose(1000)
        transport.clear()
        protocol.send_text(b"late")
        self.assertEqual(transport.value(), b"")
