"""What every store keeps to, in memory and in Redis alike: one suite for both."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred, gatherResults

from voxray.call.expected import Expected
from voxray.stores.forms import MAX_BYTES
from voxray.stores.ports import (
    CallBoard,
    HandOver,
    LiveCall,
    Replays,
    Reserved,
    Session,
    SessionStore,
    TokenLedger,
    Unstorable,
    Verdict,
)

SID = "CA0123456789abcdef0123456789abcdef"
FOREVER = 3_600.0


def live(number: int = 0, **fields: Any) -> LiveCall:
    made: dict[str, Any] = {
        "lease": uuid4().hex,
        "carrier": "twilio",
        "call_sid": f"CA{number}",
        "call_id": uuid4().hex,
        "node": "a",
    }
    return LiveCall(**{**made, **fields})


def announced(**fields: Any) -> Expected:
    made: dict[str, Any] = {
        "call_id": uuid4().hex,
        "carrier": "twilio",
        "call_sid": SID,
        "from_number": "+15551234567",
        "to_number": "+15557654321",
        "verified": True,
    }
    return Expected(**{**made, **fields})


async def together(*doing: Any) -> list[Any]:
    """All at once."""
    made: Any = gatherResults([Deferred.fromCoroutine(each) for each in doing], consumeErrors=True)
    return list(await made)


class _Contract:
    """A test case's other half."""

    assertEqual: Any
    assertTrue: Any
    assertFalse: Any
    assertIsNone: Any
    assertRaises: Any
    assertFailure: Any
    SHORT_SECS = 0.05

    async def lapse(self) -> None:
        """More than SHORT_SECS go by."""
        raise NotImplementedError

    async def refuses(self, doing: Any) -> None:
        try:
            await doing
        except Unstorable:
            return
        raise AssertionError("it was stored")


class SessionContract(_Contract):
    sessions: SessionStore

    async def test_put_and_get(self) -> None:
        """What was put is what is got, under its id alone, until it is deleted."""
        one, other = str(uuid4()), str(uuid4())
        session = Session({"name": "Zoë", "n": [1, {"deep": None}]}, True)
        await self.sessions.put(one, session, FOREVER)
        self.assertEqual(await self.sessions.get(one), session)
        self.assertIsNone(await self.sessions.get(other))
        await self.sessions.put(one, Session(), FOREVER)
        self.assertEqual(await self.sessions.get(one), Session({}, False))
        await self.sessions.delete(one)
        await self.sessions.delete(one)
        self.assertIsNone(await self.sessions.get(one))

    async def test_session_lapses(self) -> None:
        """After its time it is not found."""
        session_id = str(uuid4())
        await self.sessions.put(session_id, Session({"a": 1}), self.SHORT_SECS)
        await self.lapse()
        self.assertIsNone(await self.sessions.get(session_id))

    async def test_what_is_no_session(self) -> None:
        """Too long, not JSON or nested without end is refused before it is stored."""
        deep: dict[str, object] = {}
        for _ in range(2_000):
            deep = {"d": deep}
        for body in ({"long": "x" * MAX_BYTES}, {"set": {1}}, deep):
            session_id = str(uuid4())
            await self.refuses(self.sessions.put(session_id, Session(body), FOREVER))
            self.assertIsNone(await self.sessions.get(session_id))
        fits = Session({"long": "x" * (MAX_BYTES - 60)})
        await self.sessions.put(session_id, fits, FOREVER)
        self.assertEqual(await self.sessions.get(session_id), fits)


class ReplayContract(_Contract):
    replays: Replays

    async def test_once(self) -> None:
        """Of answers to one key the first stands, for everybody, until its time is over."""
        self.assertIsNone(await self.replays.before("k"))
        answers = [b"{%d}" % number for number in range(20)]
        given = await together(*(self.replays.once("k", answer, FOREVER) for answer in answers))
        self.assertEqual(set(given), {given[0]})
        self.assertEqual(await self.replays.before("k"), given[0])
        self.assertEqual(await self.replays.once("other\r\nFLUSHALL", b"x", self.SHORT_SECS), b"x")
        self.assertEqual(await self.replays.once("other\r\nFLUSHALL", b"y", FOREVER), b"x")
        await self.lapse()
        self.assertEqual(await self.replays.once("other\r\nFLUSHALL", b"y", FOREVER), b"y")


class TokenContract(_Contract):
    tokens: TokenLedger

    async def test_spend(self) -> None:
        """Once, and again only when it is forgotten."""
        self.assertTrue(await self.tokens.spend("n", self.SHORT_SECS))
        self.assertFalse(await self.tokens.spend("n", FOREVER))
        self.assertTrue(await self.tokens.spend("m", FOREVER))
        await self.lapse()
        self.assertTrue(await self.tokens.spend("n", FOREVER))
        self.assertFalse(await self.tokens.spend("m", FOREVER))


class HandOverContract(_Contract):
    handover: HandOver

    async def test_announced(self) -> None:
        """Found by carrier and its id as often as asked for, without the token; taken once."""
        told = announced(outbound=True, body={"a": [1]}, max_secs=60.0, token="secret")
        known = announced(call_id=told.call_id, outbound=True, body={"a": [1]}, max_secs=60.0)
        self.assertIsNone(await self.handover.get("twilio", SID))
        await self.handover.put(told, FOREVER)
        for _ in range(2):
            self.assertEqual(await self.handover.get("twilio", SID), known)
        self.assertIsNone(await self.handover.get("telnyx", SID))
        taken = await together(*(self.handover.take("twilio", SID) for _ in range(5)))
        self.assertEqual(sorted(map(str, taken)), sorted(map(str, [known, None, None, None, None])))
        self.assertIsNone(await self.handover.get("twilio", SID))

    async def test_told_again(self) -> None:
        """The newer word holds; what is old is forgotten."""
        first, second = announced(), announced(verified=False)
        await self.handover.put(first, FOREVER)
        await self.handover.put(second, self.SHORT_SECS)
        self.assertEqual(await self.handover.get("twilio", SID), second)
        await self.lapse()
        self.assertIsNone(await self.handover.take("twilio", SID))

    async def test_dialed(self) -> None:
        """A call of ours is found by our id, and by no carrier's."""
        dialed = announced(call_sid="", outbound=True)
        await self.handover.put(dialed, FOREVER, dial_id=dialed.call_id)
        self.assertEqual(await self.handover.get_dialed(dialed.call_id), dialed)
        self.assertIsNone(await self.handover.get_dialed("another"))
        for carrier in ("twilio", "", "dial"):
            self.assertIsNone(await self.handover.get(carrier, ""))
        self.assertEqual(await self.handover.take_dialed(dialed.call_id), dialed)
        self.assertIsNone(await self.handover.get_dialed(dialed.call_id))

    async def test_a_body_that_cannot_be_stored(self) -> None:
        """It is refused, not cut."""
        await self.refuses(self.handover.put(announced(body={"long": "x" * MAX_BYTES}), FOREVER))


class BoardContract(_Contract):
    """`self.board` never lapses in a test, `self.brief` after SHORT_SECS."""

    board: CallBoard
    brief: CallBoard

    async def test_admission(self) -> None:
        """So many places and no more; one that is released is another's."""
        calls = [live(number) for number in range(3)]
        got = [await self.board.reserve(call, 2, take_over=False) for call in calls]
        admitted = Verdict.ADMITTED
        expected = [Reserved(admitted, 1), Reserved(admitted, 2), Reserved(Verdict.FULL, 2)]
        self.assertEqual(got, expected)
        self.assertEqual(await self.board.reserve(calls[0], 2, take_over=False), Reserved(admitted, 2))
        await self.board.release(calls[0])
        await self.board.release(calls[0])
        self.assertEqual(await self.board.count(), 1)
        self.assertEqual(await self.board.reserve(calls[2], 2, take_over=False), Reserved(admitted, 2))

    async def test_exact(self) -> None:
        """200 ask at once for 50 places: exactly 50 get one."""
        asking = (self.board.reserve(live(number), 50, take_over=False) for number in range(200))
        got = await together(*asking)
        verdicts = [reserved.verdict for reserved in got]
        self.assertEqual((verdicts.count(Verdict.ADMITTED), verdicts.count(Verdict.FULL)), (50, 150))
        self.assertEqual(await self.board.count(), 50)

    async def test_a_second_stream(self) -> None:
        """Of one call is refused, unless it proved to own the call: then the first loses its place."""
        first, second = live(1, node="a"), live(1, node="b")
        await self.board.reserve(first, 1, take_over=False)
        refused = await self.board.reserve(second, 1, take_over=False)
        self.assertEqual(refused, Reserved(Verdict.LIVE, 1))
        taken = await self.board.reserve(second, 1, take_over=True)
        self.assertEqual(taken, Reserved(Verdict.ADMITTED, 1))
        await self.board.release(first)  # too late: the place is the second's
        self.assertEqual(await self.board.calls(), [second])
        renewed = await self.board.renew([first, live(2)])
        self.assertEqual((renewed.count, renewed.lost), (2, (first.lease,)))

    async def test_a_crashed_instance(self) -> None:
        """What is not renewed lapses and makes room."""
        await self.brief.reserve(live(1), 1, take_over=False)
        self.assertTrue(await self.brief.live("twilio", "CA1"))
        await self.lapse()
        self.assertFalse(await self.brief.live("twilio", "CA1"))
        self.assertEqual((await self.brief.count(), await self.brief.calls()), (0, []))
        got = await self.brief.reserve(live(2), 1, take_over=False)
        self.assertEqual(got, Reserved(Verdict.ADMITTED, 1))

    async def test_seen(self) -> None:
        """A call is known while it is live and when it is over; one whose stream was replaced is not over."""
        first, second = live(1), live(1)
        self.assertFalse(await self.board.seen("twilio", "CA1"))
        await self.board.reserve(first, 9, take_over=False)
        self.assertTrue(await self.board.seen("twilio", "CA1"))
        await self.board.reserve(second, 9, take_over=True)
        await self.board.release(first)
        self.assertTrue(await self.board.live("twilio", "CA1"))
        await self.board.release(second)
        self.assertFalse(await self.board.live("twilio", "CA1"))
        self.assertTrue(await self.board.seen("twilio", "CA1"))
        self.assertFalse(await self.board.seen("telnyx", "CA1"))
        got = await self.board.reserve(first, 9, take_over=False)
        self.assertEqual(got, Reserved(Verdict.ADMITTED, 1))
        other = live(2)
        await self.board.reserve(other, 9, take_over=False)
        await self.board.release(other, over=False)
        self.assertFalse(await self.board.seen("twilio", "CA2"))

    async def test_announced_again(self) -> None:
        """Calls that the board lost come back by being renewed, even over the limit."""
        mine = [live(number) for number in range(450)]
        self.assertEqual((await self.board.renew(mine)).count, 450)
        self.assertEqual((await self.board.renew(mine)).count, 450)
        self.assertEqual((await self.board.renew([])).count, 450)
        full = await self.board.reserve(live(999), 300, take_over=False)
        self.assertEqual(full, Reserved(Verdict.FULL, 450))

    async def test_what_is_shown(self) -> None:
        """Every call as its instance put it; found by carrier and id, or by ours where there is none."""
        one = live(1, outbound=True, began_at=1_700_000_000.5, node="host-1")
        nameless = live(2, call_sid="", carrier="exotel")
        for call in (one, nameless):
            await self.board.reserve(call, 9, take_over=False)
        shown = await self.board.calls()
        self.assertEqual(sorted(shown, key=str), sorted([one, nameless], key=str))
        self.assertTrue(await self.board.live("twilio", "CA1"))
        self.assertFalse(await self.board.live("telnyx", "CA1"))
