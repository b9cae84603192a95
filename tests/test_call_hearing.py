"""From utterances to words: in the order they were spoken, and nothing runs on after the end."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import FakeModel, FakeSynthesizer, FakeTranscriber, RecordingSink
from voxray.call.hearing import Hearing
from voxray.call.mouth import Mouth
from voxray.call.pacer import Pacer
from voxray.call.pipeline import Pipeline
from voxray.call.times import TurnTimes
from voxray.errors import ErrorKind, ProviderError
from voxray.frames import ULAW_8K, CallInfo, Transcript, Utterance
from voxray.interfaces import Providers
from voxray.metrics import Metrics


async def no_keys(digits: str) -> bool:
    """The wire of these tests has none."""
    return False


class HearingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.stt, clock = FakeTranscriber(), Clock()
        mouth = Mouth(Pacer(RecordingSink(), ULAW_8K, b"\xff"), ULAW_8K, clock)
        providers = Providers(self.stt, FakeModel(), FakeSynthesizer())
        self.understood: list[str] = []
        self.hearing = Hearing(
            pipeline=Pipeline(providers, mouth, CallInfo("call-1"), clock, Metrics(), press=no_keys),
            eager=False,
            understood=lambda text, times: self.understood.append(text),
            not_understood=lambda: self.understood.append("(failed)"),
            hint=lambda text: None,
        )

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
