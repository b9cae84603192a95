"""From utterances to words: in the order they were spoken, and nothing runs on after the end."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeModel, FakeSynthesizer, FakeTranscriber, RecordingSink
from voxray.call.hearing import Hearing
from voxray.call.inlet import Uploads
from voxray.call.mouth import Mouth
from voxray.call.pacer import Pacer
from voxray.call.pipeline import Pipeline
from voxray.call.times import TurnTimes
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import ULAW_8K, CallInfo, Transcript, Utterance
from voxray.interfaces import Providers
from voxray.metrics import Metrics
from voxray.settings import TurnSettings


async def no_keys(digits: str) -> bool:
    """The wire of these tests has none."""
    return False


class HearingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.stt, clock = FakeTranscriber(), Clock()
        mouth = Mouth(Pacer(RecordingSink(), ULAW_8K, b"\xff"), ULAW_8K, clock)
        providers = Providers(self.stt, FakeModel(), FakeSynthesizer())
        self.understood: list[str] = []
        self.metrics = Metrics()
        self.hearing = Hearing(
            pipeline=Pipeline(providers, mouth, CallInfo("call-1"), clock, self.metrics, no_keys),
            uploads=Uploads(TurnSettings(), self.metrics),
            eager=False,
            understood=lambda text, times: self.understood.append(text),
            not_understood=lambda: self.understood.append("(failed)"),
            hint=lambda text: None,
        )
        self.addCleanup(self.hearing.stop)

    def turns(self, count: int) -> list[Deferred[Transcript]]:
        """So many, the transcriber asked about each."""
        for number in range(count):
            utterance = Utterance(b"\xff" * 8000, ULAW_8K, 1000.0 * number, 1000.0 * number + 800)
            self.hearing.turn_over(utterance, TurnTimes())
        return [waiting for _, waiting in self.stt.asked]

    def test_in_the_order_spoken(self) -> None:
        """Whichever transcript comes first; one that fails keeps its place."""
        first, second, third = self.turns(3)
        third.callback(Transcript("third"))
        second.errback(ProviderError("fake", ErrorKind.TIMEOUT, "slow"))
        self.assertEqual((self.understood, self.hearing.busy), ([], True))
        first.callback(Transcript("first"))
        self.assertEqual((self.understood, self.hearing.busy), (["first", "(failed)", "third"], False))

    def test_the_end(self) -> None:
        """Every transcription is given up, those too whose turn is not the next to be understood."""
        self.turns(3)
        self.hearing.stop()
        self.assertEqual((self.stt.cancelled, self.understood, self.hearing.busy), (3, [], False))

    def test_too_much_waits(self) -> None:
        """A transcriber slower than speech: what it has is bounded, the rest is not understood."""
        length_ms = 4_000.0
        for number in range(10):
            begun = number * length_ms
            utterance = Utterance(b"\xff" * 32_000, ULAW_8K, begun, begun + length_ms)
            self.hearing.turn_over(utterance, TurnTimes())
        asked = len(self.stt.asked)
        self.assertEqual(asked, 7)  # three of the longest turns, 8.5 s each, and 5.12 s
        self.assertEqual(self.metrics.backlog.stt_ms, 7 * length_ms)
        dropped = self.metrics.registry.get_sample_value
        self.assertEqual(dropped("voxray_pipeline_dropped_total", {"stage": "stt"}), 3 * 200)
        for _, waiting in list(self.stt.asked):
            waiting.callback(Transcript("words"))
        self.assertEqual(self.understood, ["words"] * 7 + ["(failed)"] * 3)
        self.assertEqual((self.metrics.backlog.stt_ms, self.hearing.busy), (0, False))
        self.turns(1)
        self.assertEqual(len(self.stt.asked), asked + 1)

    def test_given_up(self) -> None:
        """What the transcriber was asked and need not answer any more does not wait."""
        self.turns(2)
        self.assertEqual(self.metrics.backlog.stt_ms, 2_000)
        self.hearing.stop()
        self.assertEqual(self.metrics.backlog.stt_ms, 0)
