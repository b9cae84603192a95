"""Requests by the thousand, in one segment or on many connections: a turn has its share, and order holds."""

from __future__ import annotations

import json

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.house import House, Line
from tests.test_media_socket import start
from tests.test_web_http import HttpTestCase
from tests.wsframes import frame, handshake
from voxray.web.share import SHARE_SECS, Share

GET = b"GET /health HTTP/1.1\r\nHost: a\r\nX-Request-ID: %d\r\n\r\n"


class Creeping(Clock):
    """Time passes while somebody works: a millisecond each time it is asked for."""

    def seconds(self) -> float:
        self.rightNow += 0.001
        return super().seconds()

    def turn(self) -> None:
        """As a reactor's: what is called later in it is called in the next."""
        due, self.calls = (
            [call for call in self.calls if call.time <= self.rightNow],
            [call for call in self.calls if call.time > self.rightNow],
        )
        for call in due:
            call.called = 1
            call.func(*call.args)


@shows("T18", "T30")
class ShareTests(SynchronousTestCase):
    def test_turns(self) -> None:
        """What is over the share waits for the next turn, in order; at the end there is no timer left."""
        clock = Creeping()
        share, done = Share(clock), []  # type: ignore[var-annotated]
        now = [share.take(lambda n=n: done.append(n)) for n in range(20)]  # type: ignore[misc]
        a_turn = round(SHARE_SECS / 0.001)
        self.assertEqual(now, [True] * a_turn + [False] * (20 - a_turn))
        self.assertEqual(done, list(range(a_turn)))
        turns = 0
        while clock.getDelayedCalls():
            clock.turn()
            turns += 1
        self.assertEqual((done, turns), (list(range(20)), 4))

    def test_no_overtaking(self) -> None:
        """Who comes while others wait waits behind them, though the new turn has its share."""
        clock = Creeping()
        share, done = Share(clock), []  # type: ignore[var-annotated]
        for n in range(6):
            share.take(lambda n=n: done.append(n))  # type: ignore[misc]
        share._spent_secs = 0.0
        self.assertFalse(share.take(lambda: done.append(6)))
        clock.turn()
        self.assertEqual(done, list(range(7)))


@shows("T18", "T30")
class PipelineTests(HttpTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Creeping()
        self.site = self.make_site(self.registry)

    def ids(self, transport: object) -> list[int]:
        """Of the answers, in the order in which they came."""
        heads = transport.value().decode().lower().split("x-request-id: ")[1:]  # type: ignore[attr-defined]
        return [int(head.partition("\r\n")[0]) for head in heads]

    def settle(self) -> int:
        turns = 0
        while self.site.share._waiting:
            self.clock.turn()
            turns += 1
        return turns

    def test_one_segment(self) -> None:
        """A hundred requests in one read take many turns; somebody else's is answered between them."""
        channel, transport = self.connect()
        channel.dataReceived(b"".join(GET % n for n in range(100)))
        self.assertLess(len(self.ids(transport)), 10)
        other, others = self.connect()
        other.dataReceived(GET % 7)
        for _ in range(3):
            self.clock.turn()
        self.assertEqual(self.ids(others), [7])
        self.assertLess(len(self.ids(transport)), 30)
        self.assertGreater(self.settle(), 10)
        self.assertEqual(self.ids(transport), list(range(100)))

    def test_order(self) -> None:
        """Bodies, half requests, and what comes while others wait: all is read in the order it was sent."""
        channel, transport = self.connect()
        post = b"POST /start HTTP/1.1\r\nHost: a\r\nX-Request-ID: %d\r\nContent-Length: 26\r\n\r\n"
        whole = b"".join(
            (post % n + b"GET /evil HTTP/1.1\r\n\r\n1234") if n % 2 else GET % n for n in range(60)
        )
        for cut in range(0, len(whole), 97):
            channel.dataReceived(whole[cut : cut + 97])
            if cut % 3 == 0:
                self.clock.turn()
        self.settle()
        self.assertEqual(self.ids(transport), list(range(60)))
        self.assertEqual(transport.value().count(b"HTTP/1.1 "), 60)

    def test_gone(self) -> None:
        """A connection that ends while its request waits costs nothing more."""
        channel, transport = self.connect()
        channel.dataReceived(b"".join(GET % n for n in range(20)))
        channel.connectionLost(None)
        answered = len(self.ids(transport))
        self.settle()
        self.assertEqual(len(self.ids(transport)), answered)
        self.assertEqual((self.recorder.active, len(self.site.crowd)), (0, 0))

    def test_much_behind(self) -> None:
        """What comes behind a request that waits is not read for ever."""
        channel, transport = self.connect()
        channel.dataReceived(b"".join(GET % n for n in range(10)))
        self.assertTrue(channel._waits)
        channel.dataReceived(b"x" * 20_000)
        self.assertEqual(transport.producerState, "paused")


class UpgradeTests(SynchronousTestCase):
    def test_upgrade_waits(self) -> None:
        """An upgrade whose turn has not come, with frames behind it in two reads: nothing is lost."""
        house = House(self, {"greeting": ""})
        site = house.site
        while not hasattr(site, "share"):
            site = site.wrappedFactory
        site.share._spent_secs = 1.0
        message = frame(json.dumps(start(1)).encode())
        line = Line(house)
        line.raw(handshake() + message[:5])
        line.raw(message[5:])
        self.assertEqual(line.transport.value(), b"")
        house.reactor.advance(0)
        self.assertIn(b" 101 ", line.transport.value()[:20])
        self.assertEqual(len(house.daemon._parts.registry), 1)
        line.lose()
