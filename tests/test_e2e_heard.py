"""What the agent believes it said, against what came out of the earpiece: 20 interruptions on each carrier.

The real daemon; twenty calls at once, each interrupting a long answer at a random moment. The simulator
counts the samples that were played, marks and clears by its carrier's rules; the scripted voice tells by its
lengths which word that was. (It makes no pause at a comma, as people do: there are none.)
"""

from __future__ import annotations

import random
from typing import ClassVar

from twisted.internet import defer
from twisted.trial.unittest import TestCase

from tests.e2e_office import Deaf, OfficeTestCase, said
from voxray.simulator.result import CallResult
from voxray.simulator.script import Do, Script, Step
from voxray.simulator.wires.vocabulary import Quirks

CALLS = 20
LATE_MS = 250.0  # twenty at once: a word is as long
WORDS = (
    "We are open from Monday to Friday between eight and six. On Saturdays the doors close at noon. We rest "
    "on Sundays. On holidays you may leave a message that we answer on the first day after it."
)


def words_in(ms: float) -> int:
    """How many words are in so much of it, by halves: 60 ms a letter and 40 ms between words."""
    at, count = 0.0, 0
    for word in WORDS.split():
        count += at + 30.0 * len(word) <= ms
        at += 60.0 * len(word) + 40.0
    return count


class HeardTests(OfficeTestCase):
    """To within a word."""

    scenario: ClassVar = {
        "business": "Us",
        "facts": [{"id": "hours", "words": ["hours"], "answer": WORDS}],
        "lines": {"goodbye": "Bye then."},
    }

    spares = False

    async def heard_on(self, carrier: str) -> None:
        await self.open(carrier, Deaf("Your hours?"), max_calls=CALLS)
        seed = random.randrange(2**32)
        moments = [random.Random(f"{seed}-{number}").uniform(0.2, 5.0) for number in range(CALLS)]
        running = [defer.ensureDeferred(self.interrupted(moment)) for moment in moments]
        outcomes = await defer.DeferredList(running, consumeErrors=True)
        problems = [outcome.getTraceback() for good, outcome in outcomes if not good]
        self.assertEqual(problems, [])
        found: list[tuple[int, int, str]] = [outcome for _, outcome in outcomes]
        wrong = [told for known, truth, told in found if abs(known - truth) > 1]
        self.assertEqual((wrong, len(found)), ([], CALLS), f"seed {seed}")
        self.assertGreater(len({truth for _, truth, _ in found}), CALLS // 4)  # at different words

    async def interrupted(self, moment: float) -> tuple[int, int, str]:
        """One call; how many words its agent believes were heard, how many were, and a line about it."""
        script = Script(
            (
                said(Do.SAY, "your-hours", "Your hours?"),
                said(Do.BARGE_IN, "your-location", "Your location?", after=moment),
                Step(Do.HANG_UP),
            )
        )
        result = await self.measured(script)
        await self.record(result.ids.call_sid)
        [cut] = [e for e in self.of("turn", result.ids.call_sid) if e["interrupted"] and e["heard"]][:1]
        known, truth = cut["replied"].split(), words_in(result.turns[1].heard_ms)
        self.assertEqual(known, WORDS.split()[: len(known)])
        late = f"our own clock at worst {result.worst_tick_ms:.0f} ms late"
        heard = f"{result.turns[1].heard_ms:.0f} ms heard"
        return len(known), truth, f"after {moment:.2f} s: believes {len(known)} words, {heard}; {late}"

    async def measured(self, script: Script) -> CallResult:
        """A call whose measuring rod held still: a simulator that stood still itself played too late."""
        quirks = Quirks(clear_spares_message=self.spares)
        judged = await self.steady(lambda: self.plan(script, quirks), LATE_MS)
        assert judged.result is not None
        self.assertEqual(judged.result.clears, 1, judged.failures)
        return judged.result

    async def test_twilio(self) -> None:
        """Marks that a clear brings back at once do not count as heard."""
        await self.heard_on("twilio")

    async def test_telnyx(self) -> None:
        """The same by Telnyx's words."""
        await self.heard_on("telnyx")

    async def test_plivo(self) -> None:
        """Checkpoints that a clear drops never come back."""
        await self.heard_on("plivo")

    async def test_exotel(self) -> None:
        """Messages of 100 ms; nothing tells of a clear, which drops only what has not begun to play."""
        self.spares = True
        await self.heard_on("exotel")


class RulerTests(TestCase):
    def test_words_in(self) -> None:
        """The ruler itself: "We" is 120 ms, "are" from 160 to 340, "open" from 380."""
        self.assertEqual([words_in(ms) for ms in (0.0, 59.0, 60.0, 249.0, 250.0, 500.0)], [0, 0, 1, 1, 2, 3])
