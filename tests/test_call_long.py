"""A call of sixty-five minutes: its audio keeps time, its memory stays small, and it leaves one record."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, cast

from prometheus_client import CollectorRegistry, Counter
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.house import InlineWorker
from tests.test_call_call import Line, human, make_settings
from voxray.call.call import Call
from voxray.call.conversation import MAX_MESSAGES
from voxray.call.expected import Welcome
from voxray.call.pacer import PACKET_MS
from voxray.cdr import CallRecords
from voxray.frames import ULAW_8K, Dtmf, Mark, StreamStarted, StreamStopped, TextDelta

MINUTES = 65
SENTENCE = human("dickens-wisdom")
WORD_MS = 100.0
REPLY = "This sentence is ten words long, if one counts well. " * 12
STORY = "This sentence is ten words long, if one counts well. " * 280  # four minutes and forty seconds
STORY_AT = 50  # the minute that asks for it, and the four after it
EPOCH = 1_795_428_000.0 - 100.0  # 2026-11-23T10:00:00Z when the call begins
LEAD_MS = 200.0
NETWORK_SECS = 0.06


class Carrier:
    """The other end: plays what comes in real time, and returns each mark when it is reached. Keeps no audio.

    `ahead_ms` is how much more audio it has been sent of the current reply than could be played by now.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.call: Call | None = None
        self.sent_ms = self.reply_ms = 0.0
        self.replies = 0
        self.ahead_ms: list[float] = []
        self.plays_until = 0.0
        self._reply_began = 0.0

    def send_audio(self, payload: bytes) -> None:
        now = self._clock.seconds()
        if now > self.plays_until + 0.001:
            self.replies += 1
            self._reply_began = self.plays_until = now
            self.reply_ms = 0.0
            self.ahead_ms = []
        ms = len(payload) / ULAW_8K.bytes_per_ms
        self.sent_ms += ms
        self.reply_ms += ms
        self.plays_until += ms / 1000
        self.ahead_ms.append(self.reply_ms - (now - self._reply_began) * 1000)

    def send_mark(self, name: str) -> None:
        now = self._clock.seconds()
        self._clock.callLater(max(0.0, self.plays_until - now) + NETWORK_SECS, self._echo, name)

    def _echo(self, name: str) -> None:
        if self.call is not None:
            self.call.receive(Mark(name))

    def send_clear(self) -> None:
        raise AssertionError("nobody interrupts")

    def send_keys(self, digits: str) -> bool:
        return False

    def close(self, code: int = 1000, reason: str = "") -> None: ...


def weight(call: Call, *others: object) -> int:
    """Bytes of everything the call holds, and holds alone; `others` are not looked into."""
    seen = {id(other) for other in others}
    waiting: list[Any] = [call]
    total = 0
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(
            thing, type | ModuleType | FunctionType | BuiltinFunctionType | Logger
        ):
            continue
        seen.add(id(thing))
        total += sys.getsizeof(thing)
        waiting += gc.get_referents(thing)
    return total


@shows("F56")
class LongCallTests(SynchronousTestCase):
    """Simulated: the clock, the carrier and the vendors, who answer at once. Real: the call, with every one
    of the 195,000 packets it hears, the energy detector, the endpointer, the conversation, the pacer, the
    record and its file. There is no WebSocket: packets come as frames.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        clock = Clock()
        worker = InlineWorker(cast(Any, clock), "files", 1)
        lost = Counter("lost", "", registry=CollectorRegistry())
        records = CallRecords(str(self.path), worker, clock, lambda: EPOCH + self.line.clock.seconds(), lost)
        self.line = line = Line(settings=make_settings(greeting=""), records=records)
        self.carrier = Carrier(line.clock)
        call = line.registry.open(
            StreamStarted("MZ1", "CA1", "AC1", ULAW_8K), self.carrier, Welcome("twilio")
        )
        assert call is not None
        self.call = self.carrier.call = call

    def minute(self, number: int) -> None:
        """The caller says something, is answered, and presses a key half a minute later; or hears a story."""
        line, call = self.line, self.call
        ends = 100.0 + 60.0 * (number + 1)
        if number not in range(STORY_AT + 1, STORY_AT + 5):
            line.hear(call, SENTENCE)
            line.silence(call, 1.0)
            line.llm.replies.append([TextDelta(STORY if number == STORY_AT else REPLY)])
            line.stt.answer(f"This is minute {number}.")
        if number not in range(STORY_AT, STORY_AT + 5):
            line.silence(call, 30.0)
            line.llm.replies.append([TextDelta("Noted, thank you.")])
            call.receive(Dtmf("7"))
            call.receive(Dtmf("#"))
        line.silence(call, ends - line.clock.seconds())
        for kept in (line.stt.asked, line.llm.asked, line.tts.said):
            cast(list[object], kept).clear()

    def weight(self) -> int:
        line, shared = self.line, self.line.exchange
        settings = shared.settings
        return weight(
            self.call,
            *(shared, line.clock, line.registry, self.carrier),
            *(getattr(shared, name) for name in shared.__slots__),
            *(getattr(settings, name) for name in settings.__slots__),
            *shared.providers.all,
        )

    def test_sixty_five_minutes(self) -> None:
        """No audio is early, late or missing to the last packet, nothing grows, one record of 3,900 s."""
        carrier, pacer = self.carrier, self.call._pacer
        weights = []
        for number in range(MINUTES):
            self.minute(number)
            if number >= STORY_AT:
                weights.append(self.weight())
            if number == STORY_AT + 4:
                # Between a packet short of the lead and the lead, from the first second to the last.
                steady = carrier.ahead_ms[10:]
                self.assertGreater(len(steady), 6_900)
                self.assertLess(max(steady), LEAD_MS + 1.0)
                self.assertGreater(min(steady), LEAD_MS - PACKET_MS - 1.0)
        spoken_ms = WORD_MS * (60 * len(REPLY.split()) + len(STORY.split()) + 60 * 3)
        self.assertEqual((carrier.sent_ms, carrier.replies), (spoken_ms, 121))
        self.assertAlmostEqual(pacer._buffer_end, carrier.plays_until, delta=PACKET_MS / 1000)
        self.assertEqual((pacer.counts.underruns, pacer.counts.marks_unknown), (0, 0))
        self.assertEqual(pacer.counts.marks_returned, pacer.counts.marks_sent)

        self.assertEqual(len(self.call._dialogue._conversation), MAX_MESSAGES)
        self.assertLess(len(self.call._ear._memory), 4_000 * ULAW_8K.bytes_per_ms)
        self.assertEqual((pacer.queued_ms, len(pacer._pending), len(self.call._mouth._pieces)), (0.0, 0, 0))
        self.assertLess(max(weights[-5:]) - min(weights[-5:]), 4_096)
        self.assertLess(max(weights), 512 * 1024)

        self.call.receive(StreamStopped())
        [line] = self.path.read_text(encoding="ascii").splitlines()
        record = json.loads(line)
        self.assertEqual(
            {name: record[name] for name in ("duration_secs", "heard_secs", "spoken_secs", "turns", "dtmf")},
            {"duration_secs": 3900.0, "heard_secs": 3900.0, "spoken_secs": 1018.0, "turns": 121, "dtmf": 120},
        )
        dates = (record["started_at"], record["ended_at"])
        self.assertEqual(dates, ("2026-11-23T10:00:00.000Z", "2026-11-23T11:05:00.000Z"))
        self.assertLess(record["latency_ms"]["max"], 1_200)  # the time that passes before the test answers
        self.assertEqual(len(self.line.registry), 0)
        self.line.clock.advance(1)
        self.assertEqual(self.line.clock.getDelayedCalls(), [])
