"""The offline model's stream: tokens in time, the end of the call after them."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.local_speech import CALL, finish
from voxray.errors import ConfigError
from voxray.frames import EndCall, Message, PressKeys, ReplyEvent, TextDelta, Transfer
from voxray.providers.local_llm import ReceptionistModel


async def collect(model: ReceptionistModel, text: str, into: list[ReplyEvent]) -> None:
    async for event in model.reply([Message("user", text)], CALL):
        into.append(event)  # noqa: PERF401  # a test looks at what came so far


class ReceptionistModelTests(SynchronousTestCase):
    """`reply`, under a clock."""

    def test_streams_in_time(self) -> None:
        """The first token comes at once, the others each after its delay; together they are the text."""
        clock, events = Clock(), list[ReplyEvent]()
        done = Deferred.fromCoroutine(collect(ReceptionistModel(clock), "Hello", events))
        self.assertEqual(events, [TextDelta("Hello!")])
        clock.advance(0.0049)
        self.assertEqual(len(events), 1)
        clock.advance(0.0002)
        self.assertEqual(events[1:], [TextDelta(" How")])
        clock.pump([0.005] * 6)
        self.successResultOf(done)
        self.assertEqual(
            "".join(e.text for e in events if isinstance(e, TextDelta)), "Hello! How can I help you?"
        )

    def test_goodbye_ends_the_call(self) -> None:
        """EndCall comes last, and only after a goodbye."""
        model = ReceptionistModel(Clock(), token_secs=0)
        events: list[ReplyEvent] = []
        finish(collect(model, "Goodbye.", events))
        self.assertEqual([e for e in events if isinstance(e, EndCall)], [events[-1]])
        self.assertGreater(len(events), 3)

    def test_transfer_and_keys(self) -> None:
        """What a fact has done comes after its answer: the keys, then the transfer, and no hang-up."""
        path = Path(self.mktemp()).absolute()
        fact = {"id": "x", "words": ["person"], "answer": "Yes.", "transfer": "desk", "press": "1 2"}
        path.write_text(json.dumps({"business": "B", "facts": [fact]}), encoding="utf-8")
        model = ReceptionistModel(Clock(), str(path), token_secs=0, transfers={"desk": "+14155550100"})
        events: list[ReplyEvent] = []
        finish(collect(model, "A person please.", events))
        self.assertEqual(events, [TextDelta("Yes."), PressKeys("12"), Transfer("desk")])
        self.assertRaises(ConfigError, ReceptionistModel, Clock(), str(path))

    def test_cancelled(self) -> None:
        """A reply that is cancelled leaves no timer behind."""
        clock, events = Clock(), list[ReplyEvent]()
        reply = Deferred.fromCoroutine(collect(ReceptionistModel(clock), "Hello", events))
        reply.addErrback(lambda failure: None)
        reply.cancel()
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual(len(events), 1)

    def test_bad_scenario(self) -> None:
        """A scenario that cannot be read is refused when the model is made, before any call."""
        self.assertRaises(ConfigError, ReceptionistModel, Clock(), "/no/such/scenario.json")
