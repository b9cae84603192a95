"""An ear that falls behind: bounded, counted, and back in the conversation as soon as it can hear again."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.stalling import StallingActivity
from tests.test_call_call import QUIET, TONE
from tests.test_inference import HeldThread
from voxray.call.ear import Ear
from voxray.call.inlet import AT_ONCE, Inlet
from voxray.frames import ULAW_8K, Utterance
from voxray.inference import SileroVoiceActivity
from voxray.interfaces import VoiceActivity
from voxray.metrics import Metrics
from voxray.settings import TurnSettings
from voxray.turns.silero import SileroModel

PACKETS_A_MINUTE = 3_000
WINDOW_MS = 32.0


class Listener:
    """What the ear reports."""

    def __init__(self) -> None:
        self.turns: list[Utterance] = []
        self.started = 0

    def speech_started(self) -> None:
        self.started += 1

    def speech_paused(self, utterance: Utterance) -> None: ...

    def speech_piece(self, utterance: Utterance) -> None: ...

    def barge_in(self, onset_secs: float) -> None: ...

    def turn_ended(self, utterance: Utterance, speech_end: float) -> None:
        self.turns.append(utterance)


class EarCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.metrics, self.listener = Clock(), Metrics(), Listener()

    def ear(self, activity: VoiceActivity, **settings: Any) -> Ear:
        return Ear(
            wire=ULAW_8K,
            activity=activity,
            settings=TurnSettings(**settings),
            listener=self.listener,
            agent_speaks=lambda: False,
            clock=self.clock,
            crashed=lambda: self.fail("the ear failed"),
            metrics=self.metrics,
        )

    def value(self, name: str, stage: str = "vad") -> float:
        return self.metrics.registry.get_sample_value(name, {"stage": stage}) or 0.0

    @property
    def depth(self) -> float:
        return self.value("voxray_pipeline_queue_depth")

    @property
    def dropped(self) -> float:
        return self.value("voxray_pipeline_dropped_total")

    def silence(self, ear: Ear, packets: int) -> None:
        for number in range(packets):
            ear.hear(QUIET[number % len(QUIET)])


@shows("F55", "F59")
class StallTests(EarCase):
    def test_ten_minutes(self) -> None:
        """Memory and queue stay within the cap however long it lasts, and every packet is counted once."""
        activity = StallingActivity()
        ear = self.ear(activity, input_queue_cap=256)
        self.silence(ear, 100)
        self.assertEqual((self.depth, self.dropped), (0, 0))
        kept = len(ear._memory)
        activity.stuck = True
        self.silence(ear, 10 * PACKETS_A_MINUTE)
        self.assertEqual(self.depth, 256)
        self.assertEqual(len(activity.asked), AT_ONCE)
        most = kept + (256 * 20 + (AT_ONCE + 1) * 32) * 8
        self.assertLessEqual(len(ear._memory), most)
        at_the_detector = AT_ONCE * WINDOW_MS / 20
        self.assertAlmostEqual(self.dropped, 10 * PACKETS_A_MINUTE - 256 - at_the_detector, delta=2)
        self.assertEqual(ear.heard_ms, (100 + 10 * PACKETS_A_MINUTE) * 20)
        activity.go_on()
        self.assertEqual(self.depth, 0)
        self.silence(ear, 100)
        self.assertLess(len(ear._memory), kept + 8 * 500)

    def test_afterwards(self) -> None:
        """What waited is heard once the ear is back, what was dropped is in no utterance, and turns go on."""
        activity = StallingActivity()
        ear = self.ear(activity, input_queue_cap=100)
        self.silence(ear, 100)
        activity.stuck = True
        early = bytes([TONE[0] ^ 1]) * 160
        for _ in range(500):  # said while nobody heard, and too long ago
            ear.hear(early)
        for packet in [TONE] * 40 + QUIET[:40]:  # said just before the ear was back
            ear.hear(packet)
        self.assertEqual(self.listener.turns, [])
        activity.go_on()
        [turn] = self.listener.turns
        self.assertEqual(turn.payload.count(TONE), 40)
        self.assertLess(turn.payload.count(early[:1] * 160), 100)
        for packet in [TONE] * 30 + QUIET[:40]:
            ear.hear(packet)
        self.assertEqual(len(self.listener.turns), 2)
        self.assertEqual(self.listener.turns[1].payload.count(TONE), 30)
        self.assertEqual(self.depth, 0)

    def test_the_call_ends_meanwhile(self) -> None:
        """Its windows wait no more."""
        activity = StallingActivity()
        ear, other = self.ear(activity), self.ear(activity)
        activity.stuck = True
        self.silence(ear, 200)
        self.silence(other, 50)
        ear.close()
        self.silence(ear, 200)
        self.assertLess(self.depth, 51)
        other.close()
        self.assertEqual(self.depth, 0)
        activity.go_on()

    @shows("F59")
    def test_the_model(self) -> None:
        """Silero's thread is stuck for a minute: what it has is bounded, and then all is judged."""
        thread = HeldThread()
        model = SileroModel()
        activity = SileroVoiceActivity(self.clock, thread, load=lambda: model)  # type: ignore[arg-type]
        ear = self.ear(activity)
        self.silence(ear, PACKETS_A_MINUTE)
        self.assertLessEqual(len(activity._pending), AT_ONCE)
        self.assertEqual(len(thread.jobs), 1)
        self.assertEqual(self.depth, 256)
        while thread.jobs:
            thread.run()
            self.clock.advance(0.02)
        self.assertEqual(self.depth, 0)
        self.assertEqual(activity.windows, AT_ONCE + 160)


class InletTests(SynchronousTestCase):
    @given(st.lists(st.sampled_from(["put", "answer"]), max_size=200), st.integers(0, 20))
    def test_any_order(self, steps: list[str], cap: int) -> None:
        """Windows come out in order; those that are lost are the oldest that waited; the gauge is true."""
        metrics, fed, lost = Metrics(), [], []
        inlet = Inlet(fed.append, WINDOW_MS, cap, metrics)  # type: ignore[arg-type]
        number = 0
        for step in steps:
            if step == "put":
                expected = fed[-1] + 1 if fed else 0
                while expected in lost:
                    expected += 1
                if inlet.put(number):  # type: ignore[arg-type]
                    lost.append(expected)
                number += 1
            elif inlet.asked:
                inlet.answered()
            waiting = number - len(fed) - len(lost)
            self.assertEqual(metrics.backlog.vad_ms, waiting * WINDOW_MS)
            self.assertLessEqual(waiting, max(1, cap * 20 // 32))
        self.assertEqual(sorted(fed + lost), list(range(len(fed) + len(lost))))
        self.assertEqual(fed, sorted(fed))
