"""What instances know together, and what one does alone: on a clock, and over a Redis that comes and goes."""

from __future__ import annotations

import signal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.redis_server import THE_REACTOR, RedisTestCase
from tests.store_contract import announced, live, together
from voxray.errors import StoreUnavailable
from voxray.stores.forms import MAX_BYTES
from voxray.stores.link import RedisLink
from voxray.stores.memory import MemoryBoard, MemoryHandOver, MemoryReplays, MemoryTokens
from voxray.stores.ports import OVER_SECS, RENEW_SECS, TTL_SECS, LiveCall, Verdict
from voxray.stores.redis import RedisBoard, RedisHandOver, RedisReplays, RedisTokens
from voxray.stores.shared import Common, Shared, Standing


class Away:
    """Stands before a store, and can be away."""

    def __init__(self, inner: Any, outage: list[bool]) -> None:
        self._inner, self._outage = inner, outage

    def __getattr__(self, name: str) -> Any:
        async def asked(*args: Any, **options: Any) -> Any:
            if self._outage:
                raise StoreUnavailable("down")
            return await getattr(self._inner, name)(*args, **options)

        return asked


def kept_in_memory(clock: Clock, outage: list[bool]) -> tuple[MemoryBoard, Common]:
    """What instances share, in this process; away for as long as `outage` holds something."""
    seconds = clock.seconds
    board = MemoryBoard(seconds)
    kept = (MemoryTokens(seconds), MemoryHandOver(seconds), board, MemoryReplays(seconds))
    return board, Common(*(Away(store, outage) for store in kept))


class Instances(SynchronousTestCase):
    """Several in one process, over one set of stores."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.outage: list[bool] = []
        self.board, self.common = kept_in_memory(self.clock, self.outage)
        self.degraded: dict[str, list[bool]] = {}
        self.lost: list[str] = []
        self.a, self.b = self.instance("a"), self.instance("b")

    def instance(self, node: str, limit: int = 2) -> Shared:
        told = self.degraded.setdefault(node, [])
        made = Shared(
            self.common, node=node, limit=limit, clock=self.clock, degraded=told.append, lost=self.lost.append
        )
        self.now(made.start())
        made.link_changed(True)
        self.addCleanup(lambda: self.now(made.stop()))
        return made

    def now(self, asking: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(asking))

    def enter(self, instance: Shared, call: LiveCall, take_over: bool = False) -> Verdict:
        verdict = self.now(instance.enter(call, take_over=take_over))
        assert isinstance(verdict, Verdict)
        return verdict

    def count(self) -> Any:
        return self.now(self.board.count())


class TogetherTests(Instances):
    def test_tokens(self) -> None:
        """One of two."""
        self.assertTrue(self.now(self.a.spend("n", 60)))
        self.assertFalse(self.now(self.b.spend("n", 60)))

    def test_announced(self) -> None:
        """What one was told, the other finds; a call without the carrier's id cannot be found."""
        told = announced()
        self.a.announce(told, 60)
        self.assertEqual(self.now(self.b.announced(told.carrier, told.call_sid)), told)
        self.b.came(told.carrier, told.call_sid)
        self.assertIsNone(self.now(self.b.announced(told.carrier, told.call_sid)))
        self.a.announce(announced(call_sid=""), 60)
        self.assertIsNone(self.now(self.b.announced("twilio", "")))

    def test_a_body_too_large(self) -> None:
        """The call goes on; the owner hears why only one instance knows its body."""
        self.a.announce(announced(body={"x": "y" * MAX_BYTES}), 60)
        self.assertIsNone(self.now(self.b.announced("twilio", announced().call_sid)))

    def test_dialed(self) -> None:
        """Where the stream comes it is known; where it was dialled it then no longer rings."""
        dialed = announced(call_sid="", outbound=True)
        self.a.announce_dial(dialed, 300)
        self.assertTrue(self.now(self.a.rings_still(dialed.call_id)))
        self.assertEqual(self.now(self.b.dialed(dialed.call_id)), dialed)
        self.b.dial_came(dialed.call_id)
        self.assertFalse(self.now(self.a.rings_still(dialed.call_id)))

    def test_notes(self) -> None:
        """A minute long."""
        self.a.note("k", "+15551234567")
        self.assertEqual(self.now(self.b.noted("k")), "+15551234567")
        self.clock.advance(60)
        self.assertIsNone(self.now(self.b.noted("k")))

    def test_places(self) -> None:
        """The limit is of all together; each knows, from the last word it had, whether there is room."""
        calls = [live(number) for number in range(3)]
        self.assertEqual(self.enter(self.a, calls[0]), Verdict.ADMITTED)
        self.assertEqual(self.enter(self.b, calls[1]), Verdict.ADMITTED)
        self.assertEqual(self.enter(self.b, calls[2]), Verdict.FULL)
        self.assertFalse(self.b.room(1))
        self.assertTrue(self.a.room(1))  # it has not heard yet
        self.clock.advance(RENEW_SECS)
        self.assertFalse(self.a.room(1))
        self.a.leave(calls[0].lease)
        self.a.leave(calls[0].lease)
        self.assertEqual(self.enter(self.b, calls[2]), Verdict.ADMITTED)

    def test_staying(self) -> None:
        """Calls stay on the board while their instance lives, and no longer."""
        self.enter(self.a, live(1))
        self.enter(self.b, live(2))
        self.clock.pump([RENEW_SECS] * 20)
        self.assertEqual(self.count(), 2)
        self.now(self.a.stop())
        self.clock.pump([1.0] * int(TTL_SECS))
        self.assertEqual(self.count(), 1)

    @shows("F38")
    def test_a_newer_stream_elsewhere(self) -> None:
        """The older one is told within a beat, and gives nothing back."""
        older, newer = live(1, node="a"), live(1, node="b")
        self.enter(self.a, older)
        self.assertEqual(self.enter(self.b, newer), Verdict.LIVE)
        self.assertEqual(self.enter(self.b, newer, take_over=True), Verdict.ADMITTED)
        self.clock.advance(RENEW_SECS)
        self.assertEqual(self.lost, [older.lease])
        self.a.leave(older.lease)
        self.assertEqual(self.count(), 1)

    def test_seen(self) -> None:
        """A call is not new to anybody while it is live, nor for an hour after."""
        call = live(1)
        self.enter(self.a, call)
        self.assertTrue(self.now(self.b.seen("twilio", "CA1")))
        self.a.leave(call.lease)
        self.assertTrue(self.now(self.b.seen("twilio", "CA1")))
        self.clock.advance(OVER_SECS)
        self.assertFalse(self.now(self.b.seen("twilio", "CA1")))

    @shows("F53")
    def test_started_again(self) -> None:
        """An instance that crashed forgets its calls when it starts again: their carriers may ask anew."""
        self.enter(self.a, live(1, node="a"))
        self.enter(self.b, live(2, node="b"))
        self.now(self.a.stop())
        again = self.instance("a")
        self.assertEqual([call.node for call in self.now(self.board.calls())], ["b"])
        self.assertFalse(self.now(again.seen("twilio", "CA1")))
        self.assertTrue(self.now(again.seen("twilio", "CA2")))


@shows("F21")
class AloneTests(Instances):
    """While Redis is away."""

    def go(self) -> None:
        self.outage.append(True)
        for instance in (self.a, self.b):
            instance.link_changed(False)

    def come(self) -> None:
        self.outage.clear()
        for instance in (self.a, self.b):
            instance.link_changed(True)

    def test_nothing_is_refused_for_it(self) -> None:
        """Tokens are good, calls are not known elsewhere, and each process has the whole of the places."""
        self.go()
        self.assertTrue(self.now(self.a.spend("n", 60)))
        self.assertIsNone(self.now(self.a.announced("twilio", "CA1")))
        self.assertIsNone(self.now(self.a.dialed("d")))
        self.assertFalse(self.now(self.a.seen("twilio", "CA1")))
        self.assertFalse(self.now(self.a.rings_still("d")))
        self.assertIsNone(self.now(self.a.noted("k")))
        self.a.announce(announced(), 60)
        self.a.note("k", "x")
        for instance in (self.a, self.b):
            got = [self.enter(instance, live(number)) for number in range(3)]
            self.assertEqual(got, [Verdict.ADMITTED, Verdict.ADMITTED, Verdict.FULL])
            self.assertFalse(instance.room(2))

    def test_back(self) -> None:
        """Every live call is on the board again, over the limit or not; what ended meanwhile is not."""
        before, ends = live(1), live(2)
        self.enter(self.a, before)
        self.enter(self.a, ends)
        self.go()
        self.a.leave(ends.lease)
        during = [live(number) for number in (3, 4, 5)]
        self.enter(self.a, during[0])
        for call in during[1:]:
            self.enter(self.b, call)
        self.clock.advance(TTL_SECS)  # and Redis was started empty
        self.come()
        leases = {call.lease for call in self.now(self.board.calls())}
        self.assertEqual(leases, {before.lease, *(call.lease for call in during)})
        self.assertEqual(self.enter(self.a, live(6)), Verdict.FULL)

    def test_it_is_told(self) -> None:
        """At each change, and degraded until Redis is first found."""
        self.assertEqual(self.degraded["a"], [True, False])
        self.go()
        self.clock.pump([RENEW_SECS] * 5)
        self.come()
        self.assertEqual(self.degraded["a"], [True, False, True, False])

    def test_refused_writes(self) -> None:
        """A Redis that is there and takes nothing is as good as away; it is tried at every beat."""
        self.outage.append(True)
        self.assertEqual(self.enter(self.a, live(1)), Verdict.ADMITTED)
        self.assertEqual(self.degraded["a"], [True, False, True])
        self.outage.clear()
        self.clock.advance(RENEW_SECS)
        self.assertEqual((self.degraded["a"], self.count()), ([True, False, True, False], 1))


class StandingTests(SynchronousTestCase):
    @given(st.integers(1, 50), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)) | st.none()))
    def test_room(self, limit: int, events: list[tuple[int, int] | None]) -> None:
        """Alone the limit is our own; together the others' calls take of it; never more room than alone."""
        standing = Standing(limit)
        for event in events:
            if event is None:
                standing.failed()
            else:
                standing.counted(*event)
            for own in (0, limit - 1, limit):
                self.assertFalse(standing.room(own) and own >= limit)
                if event is None:
                    self.assertEqual(standing.room(own), own < limit)
                elif event[0] >= event[1]:
                    self.assertEqual(standing.room(own), event[0] - event[1] + own < limit)


class OverRedisTests(RedisTestCase):
    """Two instances, a real Redis."""

    def instance(self, link: RedisLink, node: str, limit: int = 4) -> Shared:
        poisoned = self.counted.poisoned
        common = Common(
            RedisTokens(link),
            RedisHandOver(link, poisoned),
            RedisBoard(link, poisoned),
            RedisReplays(link, poisoned),
        )
        made = Shared(common, node=node, limit=limit, clock=THE_REACTOR, degraded=lambda whether: None)
        link.watch(made.link_changed)
        Deferred.fromCoroutine(made.start())
        self.addCleanup(lambda: Deferred.fromCoroutine(made.stop()))
        return made

    async def outage(self, begin: Any, end: Any) -> None:
        """Calls before, during and after; then the board is right again."""
        redis = self.server()
        links = [self.link(redis.url), self.link(redis.url)]
        a, b = self.instance(links[0], "a"), self.instance(links[1], "b")
        await self.until(lambda: not (a.standing.degraded or b.standing.degraded))
        before = [live(1), live(2)]
        self.assertEqual(await a.enter(before[0], take_over=False), Verdict.ADMITTED)
        self.assertEqual(await b.enter(before[1], take_over=False), Verdict.ADMITTED)
        begin(redis)
        during = [live(number) for number in range(10, 30)]
        got = await together(*(a.enter(call, take_over=False) for call in during))
        self.assertEqual(got.count(Verdict.ADMITTED), 3)  # its own limit is 4
        self.assertTrue(await a.spend("n", 60))
        self.assertTrue(await b.spend("n", 60))
        b.leave(before[1].lease)
        end(redis)
        await self.until(lambda: not (a.standing.degraded or b.standing.degraded))
        await self.until(lambda: redis.cli("ZCARD", "voxray:{calls}:until") >= "4")
        self.assertEqual(await b.enter(live(99), take_over=False), Verdict.FULL)
        for call in [before[0], *during]:
            a.leave(call.lease)
        await self.until(lambda: redis.cli("ZCARD", "voxray:{calls}:until") == "0")
        got = await together(*(b.enter(live(200 + n), take_over=False) for n in range(9)))
        self.assertEqual(got.count(Verdict.ADMITTED), 4)

    @shows("F21", "F24")
    async def test_killed(self) -> None:
        """And started empty."""
        await self.outage(lambda redis: redis.kill(), lambda redis: redis.start())

    @shows("F24")
    async def test_full(self) -> None:
        """-OOM: it is there, and takes nothing."""
        await self.outage(
            lambda redis: redis.cli("CONFIG", "SET", "maxmemory", "1"),
            lambda redis: redis.cli("CONFIG", "SET", "maxmemory", "0"),
        )

    @shows("F22")
    async def test_a_place_asked_of_a_stopped_redis(self) -> None:
        """It grants it when it goes on, when nobody waits any more: the place is a live call's, or lapses."""
        redis = self.server()
        link = self.link(redis.url)
        a = self.instance(link, "a")
        await self.until(lambda: not a.standing.degraded)
        redis.signal(signal.SIGSTOP)
        call = live(1)
        self.assertEqual(await a.enter(call, take_over=False), Verdict.ADMITTED)
        redis.signal(signal.SIGCONT)
        await self.until(lambda: not a.standing.degraded)
        self.assertEqual(redis.cli("ZCARD", "voxray:{calls}:until"), "1")
        a.leave(call.lease)
        await self.until(lambda: redis.cli("ZCARD", "voxray:{calls}:until") == "0")
