"""The stores in a real Redis: the contract, the Go project's form, and what others may have written there."""

from __future__ import annotations

import json
from uuid import uuid4

from tests.dangers import shows
from tests.redis_server import RedisTestCase
from tests.store_contract import (
    FOREVER,
    BoardContract,
    HandOverContract,
    ReplayContract,
    SessionContract,
    TokenContract,
    live,
    together,
)
from voxray.stores.forms import MAX_BYTES, digest
from voxray.stores.link import RedisLink
from voxray.stores.ports import Reserved, Session, Verdict
from voxray.stores.redis import RedisBoard, RedisHandOver, RedisReplays, RedisSessions, RedisTokens


class StoresCase(RedisTestCase):
    """All of them, on one server."""

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.redis = self.server()
        self.connected = await self.linked(self.redis.url)
        self.use(self.connected)

    def use(self, link: RedisLink) -> None:
        poisoned = self.counted.poisoned
        self.sessions, self.replays = RedisSessions(link, poisoned), RedisReplays(link, poisoned)
        self.tokens, self.handover = RedisTokens(link), RedisHandOver(link, poisoned)
        self.board, self.brief = RedisBoard(link, poisoned), RedisBoard(link, poisoned, self.short_secs)

    short_secs = 0.05


class RedisTests(SessionContract, ReplayContract, TokenContract, HandOverContract, BoardContract, StoresCase):
    """Time is Redis's."""

    SHORT_SECS = StoresCase.short_secs

    async def lapse(self) -> None:
        await self.pause(self.SHORT_SECS * 2)


class TwoInstancesTests(StoresCase):
    """Two links, one Redis."""

    async def test_one_token(self) -> None:
        """Two instances compete for each of 1,000 tokens: exactly one wins each."""
        other = RedisTokens(await self.linked(self.redis.url))
        for start in range(0, 1_000, 100):
            nonces = [f"n{number}" for number in range(start, start + 100)]
            racers = [store.spend(nonce, FOREVER) for nonce in nonces for store in (self.tokens, other)]
            won = await together(*racers)
            self.assertEqual([sum(won[i : i + 2]) for i in range(0, 200, 2)], [1] * 100)

    @shows("F58")
    async def test_exact_admission(self) -> None:
        """200 ask at once, half of each instance, for 50 places: exactly 50 get one."""
        other = RedisBoard(await self.linked(self.redis.url), self.counted.poisoned)
        boards = (self.board, other)
        asking = (boards[n % 2].reserve(live(n), 50, take_over=False) for n in range(200))
        verdicts = [reserved.verdict for reserved in await together(*asking)]
        self.assertEqual((verdicts.count(Verdict.ADMITTED), verdicts.count(Verdict.FULL)), (50, 150))

    @shows("F24")
    async def test_after_a_restart(self) -> None:
        """An empty Redis has forgotten our scripts too, and is told them again."""
        await self.board.reserve(live(), 1, take_over=False)
        self.redis.cli("SCRIPT", "FLUSH")
        self.redis.cli("FLUSHALL")
        got = await self.board.reserve(live(), 1, take_over=False)
        self.assertEqual(got, Reserved(Verdict.ADMITTED, 1))


class GoTests(StoresCase):
    """The contract's form, both ways."""

    async def test_written(self) -> None:
        """Key, names and types are the Go project's; the time to live is the one asked for."""
        session_id = str(uuid4())
        await self.sessions.put(session_id, Session({"agent": "tea"}, True), 3_600)
        key = f"voxray:session:{session_id}"
        written = json.loads(self.redis.cli("GET", key))
        self.assertEqual(written, {"Body": {"agent": "tea"}, "EnableDefaultIceServers": True})
        self.assertIn(int(self.redis.cli("TTL", key)), (3_599, 3_600))

    async def test_read(self) -> None:
        """What Go writes is understood: a body that was not given is null there."""
        for text, session in (
            ('{"Body":{"a":1},"EnableDefaultIceServers":true}', Session({"a": 1}, True)),
            ('{"Body":null,"EnableDefaultIceServers":false}', Session({}, False)),
        ):
            session_id = str(uuid4())
            self.redis.cli("SET", f"voxray:session:{session_id}", text)
            self.assertEqual(await self.sessions.get(session_id), session)


@shows("T21", "F25")
class PoisonTests(StoresCase):
    """F25, T21: values that others wrote."""

    async def test_sessions(self) -> None:
        """Not found, and counted; a value of 5 MB is not even fetched."""
        values = [
            "[]",
            "null",
            '{"Body":1}',
            '{"Body":{},"EnableDefaultIceServers":"yes"}',
            "{",
            "\x01\xff binary",
            '{"Body":{"a":NaN}}',
            "[" * 5_000,
        ]
        for value in values:
            session_id = str(uuid4())
            self.redis.cli("SET", f"voxray:session:{session_id}", value)
            self.assertIsNone(await self.sessions.get(session_id), value)
        self.assertEqual(self.counted.poison, ["session"] * len(values))
        self.redis.cli("SETRANGE", f"voxray:session:{session_id}", "5000000", "x")
        self.assertIsNone(await self.sessions.get(session_id))
        self.redis.cli("LPUSH", "voxray:session:list", "x")
        self.assertIsNone(await self.sessions.get("list"))
        self.assertEqual(len(self.counted.poison), len(values) + 2)
        self.assertEqual((self.connected.up, self.counted.reasons), (True, []))

    async def test_announced_calls(self) -> None:
        """Not found, and counted; taking one clears it away."""
        key = f"voxray:expected:{digest('twilio', 'CA1')}"
        for value in ('{"call_id":"c"}', "[]"):
            self.redis.cli("SET", key, value)
            self.assertIsNone(await self.handover.get("twilio", "CA1"))
            self.assertIsNone(await self.handover.take("twilio", "CA1"))
            self.assertEqual(self.redis.cli("EXISTS", key), "0")
        self.redis.cli("LPUSH", key, "x")
        self.assertIsNone(await self.handover.take("twilio", "CA1"))
        self.assertEqual(self.counted.poison, ["expected"] * 5)

    async def test_replays(self) -> None:
        """A key of another type is written anew; an endless answer is cut to what may be there."""
        key = f"voxray:replay:{digest('k')}"
        self.redis.cli("LPUSH", key, "x")
        self.assertIsNone(await self.replays.before("k"))
        self.assertEqual(await self.replays.once("k", b"mine", FOREVER), b"mine")
        self.redis.cli("SETRANGE", key, "5000000", "x")
        self.assertEqual(len(await self.replays.once("k", b"mine", FOREVER)), MAX_BYTES + 1)
        self.assertEqual(len(await self.replays.before("k") or b""), MAX_BYTES + 1)

    async def test_the_board(self) -> None:
        """Keys of another type are replaced; what is no call is not shown; what never lapses is dropped."""
        self.redis.cli("SET", "voxray:{calls}:until", "x")
        self.redis.cli("SET", "voxray:{calls}:about", "x")
        call = live()
        got = await self.board.reserve(call, 1, take_over=False)
        self.assertEqual(got, Reserved(Verdict.ADMITTED, 1))
        [member] = self.redis.cli("ZRANGE", "voxray:{calls}:until", "0", "0").split()
        score = self.redis.cli("ZSCORE", "voxray:{calls}:until", member)
        for member, value in (("a", "y" * 33 + "[]"), ("b", "z" * 9_999), ("c", "short")):
            self.redis.cli("ZADD", "voxray:{calls}:until", score, member)
            self.redis.cli("HSET", "voxray:{calls}:about", member, value)
        self.assertEqual(await self.board.calls(), [call])
        self.assertEqual(self.counted.poison, ["live", "live"])
        for number in range(50):
            self.redis.cli("ZADD", "voxray:{calls}:until", "inf", f"m{number}")
        self.assertEqual(await self.board.count(), 4)
