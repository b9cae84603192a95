"""The media socket: who is let in, what ends a call and with which code, and that no call hears another."""

from __future__ import annotations

import json
import random
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.doors import OpenFactory
from tests.wsframes import BINARY, CLOSE, PING, PONG, close_code, frame, handshake, server_frames
from voxray.frames import Audio, Dtmf, Frame, Mark, StreamStarted, StreamStopped
from voxray.interfaces import MediaSink
from voxray.serializers.twilio import TwilioSerializer
from voxray.settings import MediaSettings
from voxray.web.media import END_REASONS, MediaFactory


class Recorder:
    """Counts by name and label."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def socket_opened(self) -> None:
        self._count("opened")

    def socket_closed(self, reason: str) -> None:
        assert reason in END_REASONS, reason
        self._count(f"closed {reason}")

    def message_ignored(self, reason: str) -> None:
        self._count(f"ignored {reason}")

    def message_bad(self, reason: str) -> None:
        self._count(f"bad {reason}")

    def audio_dropped(self) -> None:
        self._count("dropped")

    def callback_failed(self) -> None:
        self._count("failed")


class Call:
    """A call that writes down what it hears, and fails when told to."""

    call_id = "call-1"

    def __init__(self, started: StreamStarted, sink: MediaSink) -> None:
        self.started, self.sink = started, sink
        self.heard: list[Frame] = []
        self.ends: list[str] = []
        self.fails = False

    def receive(self, frame: Frame) -> None:
        if self.fails:
            raise RuntimeError("a bug in the call")
        self.heard.append(frame)

    def disconnected(self, reason: str) -> None:
        self.ends.append(reason)
        if self.fails:
            raise RuntimeError("a bug at the end")


class Transport(StringTransport):
    """A TCP transport whose end its protocol hears of, as the reactor would tell it."""

    protocol: Any = None
    aborted = False
    bufferSize = 65_536

    def unregisterProducer(self) -> None:
        self.producer = None

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()


class Peer:
    """One carrier's end of one socket."""

    def __init__(self, factory: MediaFactory, *headers: bytes) -> None:
        self.transport = Transport()
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(handshake(*headers))
        self.greeting, _, _ = self.transport.value().partition(b"\r\n\r\n")
        self.transport.clear()
        self._ended = False

    def raw(self, data: bytes) -> None:
        self.protocol.dataReceived(data)
        self.settle()

    def send(self, message: object) -> None:
        self.raw(frame(message if isinstance(message, bytes) else json.dumps(message).encode()))

    def settle(self) -> None:
        """Passes on that the connection is over, once."""
        if self.transport.disconnecting and not self._ended:
            self.lose()

    def lose(self) -> None:
        self._ended = True
        self.protocol.connectionLost(Failure(ConnectionLost()))

    @property
    def code(self) -> int | None:
        return close_code(server_frames(self.transport.value()))

    def messages(self) -> list[Any]:
        return [json.loads(f.payload) for f in server_frames(self.transport.value()) if f.opcode == 1]


def start(number: int = 1) -> dict[str, Any]:
    sid = f"{number:032x}"
    return {"event": "start", "start": {"streamSid": "MZ" + sid, "callSid": "CA" + sid}}


def media(payload: str = "AAAA") -> dict[str, Any]:
    return {"event": "media", "media": {"payload": payload}}


class MediaTestCase(SynchronousTestCase):
    """A factory, its clock, its calls."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.recorder = Recorder()
        self.calls: list[Call] = []
        self.refuse = False
        self.broken = False
        self.factory = OpenFactory(
            self.clock,
            MediaSettings(),
            TwilioSerializer,
            self.open_call,
            self.recorder,
            subprotocols=("ours",),
        )
        self.logged: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def tearDown(self) -> None:
        for socket in tuple(self.factory.sockets):
            socket.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.factory.sockets, set())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def open_call(self, started: StreamStarted, sink: MediaSink) -> Call | None:
        if self.broken:
            raise RuntimeError("a bug in opening")
        if self.refuse:
            return None
        self.calls.append(Call(started, sink))
        return self.calls[-1]

    def up(self) -> Peer:
        """A socket whose call is up."""
        peer = Peer(self.factory)
        peer.send(start(len(self.calls) + 1))
        return peer

    def pass_time(self, seconds: float, *peers: Peer) -> None:
        for _ in range(int(seconds)):
            self.clock.advance(1)
            for peer in peers:
                peer.settle()

    def warnings(self) -> list[dict[str, Any]]:
        return [e for e in self.logged if e["log_level"] == LogLevel.warn and "Medi" in e["log_namespace"]]


class HandshakeTests(MediaTestCase):
    """The upgrade."""

    @shows("T15")
    def test_no_compression(self) -> None:
        """permessage-deflate is never agreed to, and a compressed frame is 1002."""
        peer = Peer(self.factory, b"Sec-WebSocket-Extensions: permessage-deflate")
        self.assertTrue(peer.greeting.startswith(b"HTTP/1.1 101"))
        self.assertNotIn(b"Extensions", peer.greeting)
        peer.raw(frame(b"xx", rsv=4))
        self.assertEqual(peer.code, 1002)

    def test_subprotocol_only_when_offered(self) -> None:
        """Ours is echoed when it is offered; others, or none, are not."""
        for header, echoed in ((b"X: y", False), (b"Sec-WebSocket-Protocol: theirs, ours", True)):
            peer = Peer(self.factory, header)
            self.assertEqual(b"Sec-WebSocket-Protocol: ours" in peer.greeting, echoed)
        peer = Peer(self.factory, b"Sec-WebSocket-Protocol: theirs")
        self.assertTrue(peer.greeting.startswith(b"HTTP/1.1 101"))

    def test_no_names(self) -> None:
        """The answer does not say which software and version this is."""
        self.assertNotIn(b"utobahn", Peer(self.factory).greeting)

    @shows("T18")
    def test_socket_limit(self) -> None:
        """Above the limit the upgrade itself is refused with 503."""
        factory = OpenFactory(
            self.clock, MediaSettings(), TwilioSerializer, self.open_call, self.recorder, max_sockets=1
        )
        first, second = Peer(factory), Peer(factory)
        self.assertTrue(first.greeting.startswith(b"HTTP/1.1 101"))
        self.assertTrue(second.greeting.startswith(b"HTTP/1.1 503"))
        second.settle()
        first.lose()

    @shows("T17")
    def test_handshake_that_never_ends(self) -> None:
        """Ten seconds, by our clock."""
        transport = Transport()
        protocol = self.factory.buildProtocol(None)
        protocol.makeConnection(transport)
        protocol.dataReceived(b"GET / HTTP/1.1\r\n")
        self.clock.advance(10.1)
        self.assertTrue(transport.aborted)


class StartTests(MediaTestCase):
    """Before `start`."""

    def test_start_opens_the_call(self) -> None:
        """`connected` and `start` open one call, with the carrier's ids."""
        peer = Peer(self.factory)
        peer.send({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        self.assertEqual(self.calls, [])
        peer.send(start(7))
        self.assertEqual(self.calls[0].started.call_sid, "CA" + f"{7:032x}")

    @shows("T17")
    def test_ten_seconds(self) -> None:
        """No `start` in ten seconds is 1008, whatever else was sent."""
        peer = Peer(self.factory)
        peer.send({"event": "connected"})
        self.pass_time(9, peer)
        self.assertIsNone(peer.code)
        self.pass_time(1, peer)
        self.assertEqual(peer.code, 1008)

    @shows("T17", "F31")
    def test_twenty_messages(self) -> None:
        """Nor in twenty messages; none of them reaches a call."""
        peer = Peer(self.factory)
        for _ in range(19):
            peer.send(media())
        self.assertIsNone(peer.code)
        peer.send(media())
        self.assertEqual(peer.code, 1008)
        self.assertEqual(self.calls, [])
        self.assertEqual(self.recorder.counts["ignored before_start"], 20)

    @shows("F31")
    def test_early_messages_are_lost(self) -> None:
        """Media, keys, marks and `stop` before `start` do nothing, and the call comes up after them."""
        peer = Peer(self.factory)
        for message in (media(), {"event": "dtmf", "dtmf": {"digit": "1"}}, {"event": "stop"}):
            peer.send(message)
        peer.send(start())
        peer.send(media("/////w=="))
        self.assertEqual(self.calls[0].heard, [Audio(b"\xff" * 4)])

    def test_no_room(self) -> None:
        """A stream that is refused is closed with 1013."""
        self.refuse = True
        self.assertEqual(self.up().code, 1013)

    def test_foreign_codec(self) -> None:
        """A codec we cannot decode is said at once, not after ten seconds of silence."""
        peer = Peer(self.factory)
        message = start()
        message["start"]["mediaFormat"] = {"encoding": "audio/x-alaw", "sampleRate": 8000}
        peer.send(message)
        self.assertEqual(peer.code, 1003)

    @shows("F32")
    def test_second_start(self) -> None:
        """The same stream again is ignored; another one is 1008."""
        peer = self.up()
        peer.send(start(1))
        self.assertIsNone(peer.code)
        self.assertEqual(self.recorder.counts["ignored second_start"], 1)
        peer.send(start(2))
        self.assertEqual(peer.code, 1008)
        self.assertEqual(len(self.calls), 1)


class MessageTests(MediaTestCase):
    """During the call."""

    def test_frames_reach_the_call(self) -> None:
        """In order; what means nothing stays out."""
        peer = self.up()
        for message in (
            media(),
            {"event": "sparkle"},
            {"event": "dtmf", "dtmf": {"digit": "5"}},
            {"event": "connected"},
            {"event": "mark", "mark": {"name": "m"}},
            {"event": "media", "media": {"payload": "AAAA", "track": "outbound"}},
        ):
            peer.send(message)
        self.assertEqual(self.calls[0].heard, [Audio(b"\0\0\0"), Dtmf("5"), Mark("m")])
        self.assertEqual(self.recorder.counts["ignored unknown_event"], 1)
        self.assertEqual(self.recorder.counts["ignored outbound_track"], 1)

    def test_sink(self) -> None:
        """What the call sends is Twilio's JSON, with the stream's id."""
        peer = self.up()
        sink = self.calls[0].sink
        sink.send_audio(b"\xff\xff\xff")
        sink.send_mark("m")
        sink.send_clear()
        sid = "MZ" + f"{1:032x}"
        self.assertEqual(
            peer.messages(),
            [
                {"event": "media", "streamSid": sid, "media": {"payload": "////"}},
                {"event": "mark", "streamSid": sid, "mark": {"name": "m"}},
                {"event": "clear", "streamSid": sid},
            ],
        )

    @shows("F30")
    def test_bad_messages_are_counted_and_logged_once(self) -> None:
        """By reason; the call goes on, and each reason is one line."""
        peer = self.up()
        for _ in range(5):
            peer.send(b"{")
            peer.send(media("!!!!"))
        peer.raw(frame(b"\0\1", BINARY))
        peer.send(media())
        self.assertEqual(self.calls[0].heard, [Audio(b"\0\0\0")])
        self.assertEqual(
            {k: v for k, v in self.recorder.counts.items() if k.startswith("bad")},
            {"bad not_json": 5, "bad bad_base64": 5, "bad binary": 1},
        )
        self.assertEqual(sorted(e["reason"] for e in self.warnings()), ["bad_base64", "binary", "not_json"])
        self.assertEqual({e["call_id"] for e in self.warnings()}, {"call-1"})

    @shows("F30")
    def test_twenty_in_a_row(self) -> None:
        """Twenty bad messages in a row are 1008."""
        peer = self.up()
        for _ in range(19):
            peer.send(b"x")
        peer.send(media())
        for _ in range(19):
            peer.send(b"x")
        self.assertIsNone(peer.code)
        peer.send(b"x")
        self.assertEqual(peer.code, 1008)

    @shows("F30")
    def test_hundred_in_all(self) -> None:
        """A hundred in all as well, with good ones in between."""
        peer = self.up()
        for _ in range(99):
            peer.send(b"x")
            peer.send(media())
        self.assertIsNone(peer.code)
        peer.send(b"x")
        self.assertEqual(peer.code, 1008)

    @shows("T19")
    def test_flood(self) -> None:
        """500 at once are let pass, then 100 a second; more is 1008."""
        peer = self.up()
        for _ in range(499):
            peer.send(media())
        self.assertIsNone(peer.code)
        self.pass_time(1, peer)
        for _ in range(100):
            peer.send(media())
        self.assertIsNone(peer.code)
        peer.send(media())
        self.assertEqual(peer.code, 1008)
        self.assertEqual(len(self.calls[0].heard), 599)

    @shows("T19")
    def test_an_honest_hour(self) -> None:
        """50 a second never touches the limit."""
        peer = self.up()
        data = frame(json.dumps(media()).encode()) * 50
        for _ in range(600):
            peer.raw(data)
            self.pass_time(1, peer)
        self.assertIsNone(peer.code)

    @shows("T19", "F43")
    def test_ping_flood(self) -> None:
        """Pings cost what messages cost."""
        peer = self.up()
        peer.raw(frame(b"p", PING) * 499)
        self.assertIsNone(peer.code)
        peer.raw(frame(b"p", PING) * 2)
        self.assertEqual(peer.code, 1008)

    @shows("T13", "F36")
    def test_too_big(self) -> None:
        """One byte over 64 KiB is 1009; the limit itself is fine."""
        peer = self.up()
        peer.raw(frame(b" " * 65_536))
        self.assertIsNone(peer.code)
        peer.raw(frame(b" " * 65_537))
        self.assertEqual(peer.code, 1009)
        peer.raw(frame(b"\x03\xf1", CLOSE))
        self.assertEqual(self.calls[0].ends, ["protocol"])


class EndTests(MediaTestCase):
    """Every way a call ends: one end, the right code, nothing left."""

    @shows("F42")
    def test_stop(self) -> None:
        """The call hears of `stop`; the socket closes with 1000, and the peer has a second to agree."""
        peer = self.up()
        peer.send({"event": "stop", "stop": {}})
        self.assertEqual(self.calls[0].heard, [StreamStopped()])
        self.assertEqual(peer.code, 1000)
        peer.send(media())
        self.pass_time(2, peer)
        self.assertTrue(peer.transport.aborted)
        self.assertEqual(self.calls[0].ends, ["stop"])
        self.assertEqual(len(self.calls[0].heard), 1)

    @shows("F42")
    def test_stop_and_close(self) -> None:
        """The close frame that answers ours ends it without waiting."""
        peer = self.up()
        peer.send({"event": "stop"})
        peer.raw(frame(b"\x03\xe8", CLOSE))
        self.assertEqual(self.calls[0].ends, ["stop"])
        self.assertEqual(self.recorder.counts["closed stop"], 1)

    @shows("F42")
    def test_close_without_stop(self) -> None:
        """A close frame alone is an end like any other."""
        peer = self.up()
        peer.raw(frame(b"\x03\xe9", CLOSE))
        self.assertEqual(self.calls[0].ends, ["closed"])

    @shows("F42")
    def test_lost(self) -> None:
        """So is a connection that is just gone."""
        self.up().lose()
        self.assertEqual(self.calls[0].ends, ["lost"])

    def test_we_hang_up(self) -> None:
        """The sink closes with its code; afterwards it drops what it is given."""
        peer = self.up()
        sink = self.calls[0].sink
        sink.close(1000, "goodbye")
        sink.send_audio(b"late")
        sink.close(1001)
        frames = server_frames(peer.transport.value())
        self.assertEqual([(f.opcode, f.payload) for f in frames], [(CLOSE, b"\x03\xe8goodbye")])
        peer.raw(frame(b"\x03\xe8", CLOSE))
        sink.send_audio(b"later")
        sink.send_clear()
        self.assertEqual(self.calls[0].ends, ["hung_up"])

    def test_long_close_reason(self) -> None:
        """A reason is cut to 123 bytes without cutting a character."""
        peer = self.up()
        self.calls[0].sink.close(1000, "é" * 200)
        payload = server_frames(peer.transport.value())[0].payload
        self.assertEqual(payload[2:].decode(), "é" * 61)

    def test_close_all(self) -> None:
        """A drain's deadline closes every socket with 1001."""
        peers = [self.up(), self.up(), Peer(self.factory)]
        self.factory.close_all(1001, "going away")
        self.assertEqual([peer.code for peer in peers], [1001] * 3)
        for peer in peers:
            peer.lose()
        self.assertEqual([call.ends for call in self.calls], [["hung_up"]] * 2)

    @shows("F40")
    def test_dead_peer(self) -> None:
        """Fifteen seconds without a message of any kind; a pong is one."""
        peer = self.up()
        self.pass_time(14, peer)
        peer.raw(frame(b"", PONG))
        self.pass_time(14, peer)
        self.assertFalse(peer.transport.aborted)
        self.pass_time(2, peer)
        self.assertTrue(peer.transport.aborted)
        self.assertEqual(self.calls[0].ends, ["dead_peer"])

    @shows("F40")
    def test_pings(self) -> None:
        """A ping every ten seconds; a missing pong alone ends nothing."""
        peer = self.up()
        for _ in range(100):
            peer.send(media())
            self.pass_time(1, peer)
        pings = [f for f in server_frames(peer.transport.value()) if f.opcode == PING]
        self.assertEqual(len(pings), 10)
        self.assertIsNone(peer.code)

    @shows("F40", "F55")
    def test_stalled_reactor(self) -> None:
        """A minute in which we did not run is not the peer's silence."""
        peer = self.up()
        self.clock.advance(60)
        peer.settle()
        peer.send(media())
        self.assertFalse(peer.transport.aborted)
        self.assertEqual(len(self.calls[0].heard), 1)


class FaultTests(MediaTestCase):
    """Our own bugs end one call."""

    def test_call_raises(self) -> None:
        """1011, one log entry with the call's id, one count; the neighbour hears nothing of it."""
        peer, neighbour = self.up(), self.up()
        self.calls[0].fails = True
        for _ in range(3):
            peer.send(media())
        self.assertEqual(peer.code, 1011)
        neighbour.send(media())
        self.assertEqual((len(self.calls[1].heard), neighbour.code), (1, None))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(
            [e["call_id"] for e in self.logged if "callback failed" in str(e.get("log_format"))], ["call-1"]
        )
        peer.lose()
        self.assertEqual(self.calls[0].ends, ["error"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)  # disconnected() raised too
        self.assertEqual(self.recorder.counts["failed"], 2)

    def test_opening_raises(self) -> None:
        """A call that cannot be made is 1011, and no call is told of its end."""
        self.broken = True
        self.assertEqual(self.up().code, 1011)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_sending_raises(self) -> None:
        """The sink never raises, whatever it is given."""
        peer = self.up()
        self.calls[0].sink.send_audio("not bytes")  # type: ignore[arg-type]
        self.assertEqual(peer.code, 1011)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)


@shows("F41")
class SlowConsumerTests(MediaTestCase):
    """A peer that does not read."""

    def sent(self, peer: Peer) -> list[str]:
        events = [message["event"] for message in peer.messages()]
        peer.transport.clear()
        return events

    def test_rest_of_the_utterance_is_dropped(self) -> None:
        """Once unsent audio piles up, all until the next mark or clear goes; those two never do."""
        peer = self.up()
        sink = self.calls[0].sink
        self.assertLessEqual(peer.transport.bufferSize, 16_384)
        sink.send_audio(b"1")
        peer.transport.producer.pauseProducing()
        sink.send_audio(b"2")
        sink.send_mark("end")
        sink.send_audio(b"3")
        peer.transport.producer.resumeProducing()
        sink.send_audio(b"4")
        sink.send_clear()
        sink.send_audio(b"5")
        self.assertEqual(self.sent(peer), ["media", "mark", "clear", "media"])
        self.assertEqual(self.recorder.counts["dropped"], 3)

    def test_no_progress(self) -> None:
        """Ten seconds without room and the connection is aborted."""
        peer = self.up()
        peer.transport.producer.pauseProducing()
        for _ in range(9):
            peer.send(media())
            self.pass_time(1, peer)
        self.assertFalse(peer.transport.aborted)
        self.pass_time(1, peer)
        self.assertTrue(peer.transport.aborted)
        self.assertEqual(self.calls[0].ends, ["slow_consumer"])

    def test_progress(self) -> None:
        """Room in between starts the ten seconds anew."""
        peer = self.up()
        for _ in range(5):
            peer.transport.producer.pauseProducing()
            peer.send(media())
            self.pass_time(6, peer)
            peer.transport.producer.resumeProducing()
            self.pass_time(1, peer)
        self.assertFalse(peer.transport.aborted)


class InterleavedTests(MediaTestCase):
    """Two calls at once, one of them abused."""

    @shows("F39")
    def test_distinct_tones(self) -> None:
        """Each call hears its own tone alone, with equal ids on both, whatever nonsense is in between."""
        dice = random.Random(3)
        peers = [Peer(self.factory), Peer(self.factory)]
        for peer in peers:
            peer.send(start(1))  # the same streamSid and callSid: state is keyed by socket
        tones = [b"\x11" * 160, b"\x22" * 160]
        texts = ["ERER" * 53 + "EQ==", "IiIi" * 53 + "Ig=="]
        nonsense = [b"{", b"[]", b'{"event":"media","media":{"payload":"!!"}}', b'{"event":5}', b"null"]
        for _ in range(400):
            which = dice.randrange(2)
            data = frame(json.dumps(media(texts[which])).encode())
            if which == 0 and dice.random() < 0.2:
                data += frame(dice.choice(nonsense))
            cut = dice.randrange(len(data))
            for piece in (data[:cut], data[cut:]):
                peers[which].raw(piece)
                self.calls[which].sink.send_audio(tones[which])
            if dice.random() < 0.3:
                self.pass_time(1, *peers)
        for which in range(2):
            self.assertEqual(
                {f.payload for f in self.calls[which].heard if isinstance(f, Audio)}, {tones[which]}
            )
            self.assertEqual({m["media"]["payload"] for m in peers[which].messages()}, {texts[which]})
        self.assertEqual(sum(len(call.heard) for call in self.calls), 400)
        self.assertGreater(self.recorder.counts["bad not_json"], 5)
