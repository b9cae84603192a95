"""Voice activity for many calls at once: the same answers as alone, in order, each to its own call."""

import threading

import numpy as np
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.dangers import shows
from tests.test_turns_bargein import recording
from voxray.errors import ConfigError, ErrorKind, ProviderError
from voxray.inference import TICK_SECS, InferenceThread, SileroVoiceActivity
from voxray.turns.silero import SILENT_WINDOWS, SileroModel
from voxray.turns.vad import EnergyVoiceActivity


class HeldThread:
    """A JobThread that runs its jobs when told to."""

    def __init__(self) -> None:
        self.jobs = []
        self.stopped = False

    def submit(self, job, done) -> None:
        self.jobs.append((job, done))

    def stop(self) -> None:
        self.stopped = True

    def run(self) -> None:
        job, done = self.jobs.pop(0)
        try:
            result = job()
        except Exception:  # noqa: BLE001 - what InferenceThread does
            result = Failure()
        done(result)


def windows(sound, size=256):
    return [sound[at : at + size].astype(np.float32) for at in range(0, len(sound) - size + 1, size)]


class SileroCase(SynchronousTestCase):
    model = SileroModel()

    def setUp(self) -> None:
        self.clock = Clock()
        self.thread = HeldThread()
        self.activity = SileroVoiceActivity(self.clock, self.thread, load=lambda: self.model)

    def open(self, rate_hz=8000):
        """A detector and the list its answers go to."""
        answers = []
        detector = self.activity.open(rate_hz, lambda p, level, samples: answers.append((p, level, samples)))
        return detector, answers

    def settle(self) -> None:
        """Runs batches and ticks until nothing is left to do."""
        while self.thread.jobs or self.clock.getDelayedCalls():
            if self.thread.jobs:
                self.thread.run()
            else:
                self.clock.advance(TICK_SECS)


class BatchTests(SileroCase):
    def test_as_if_alone(self) -> None:
        """Five calls that come and go get the probabilities each would get alone."""
        sound = recording("dickens-times")
        parts = [windows(sound[start : start + 256 * 30]) for start in (0, 900, 2000, 3333, 5000)]
        alone = []
        for part in parts:
            detector, answers = self.open()
            for window in part:
                detector.feed(window)
                self.settle()
            detector.close()
            alone.append(answers)
        together = [self.open() for _ in parts]
        for turn in range(30 + 2 * len(parts)):
            for number, ((detector, _), part) in enumerate(zip(together, parts, strict=True)):
                if 0 <= turn - 2 * number < len(part):  # each starts two windows after the one before
                    detector.feed(part[turn - 2 * number])
            self.settle()
        for single, (_, answers) in zip(alone, together, strict=True):
            self.assertEqual(len(answers), 30)
            np.testing.assert_allclose([p for p, _, _ in answers], [p for p, _, _ in single], atol=1e-4)
            np.testing.assert_allclose([lv for _, lv, _ in answers], [lv for _, lv, _ in single], atol=1e-6)
        self.assertGreater(max(p for p, _, _ in alone[0]), 0.9)

    def test_several_windows_of_one_call(self) -> None:
        """Windows that pile up are answered in order, one a batch, with the same result."""
        part = windows(recording("dickens-times"))[:20]
        detector, single = self.open()
        for window in part:
            detector.feed(window)
            self.settle()
        detector.close()
        detector, answers = self.open()
        for window in part:
            detector.feed(window)
        self.settle()
        self.assertTrue(all(a[2] is w for a, w in zip(answers, part, strict=True)))
        np.testing.assert_allclose([a[0] for a in answers], [s[0] for s in single], atol=1e-4)

    @shows("F59")
    def test_one_batch_in_flight(self) -> None:
        """While a batch runs nothing else is sent; what came meanwhile is the next batch."""
        calls = [self.open() for _ in range(4)]
        for detector, _ in calls:
            detector.feed(np.zeros(256, np.float32))
        self.assertEqual(self.thread.jobs, [])
        self.clock.advance(TICK_SECS)
        self.assertEqual(len(self.thread.jobs), 1)
        for detector, _ in calls:
            detector.feed(np.zeros(256, np.float32))
        self.clock.advance(1.0)
        self.assertEqual(len(self.thread.jobs), 1)
        self.settle()
        self.assertEqual(self.activity.batches, 2)
        self.assertTrue(all(len(answers) == 2 for _, answers in calls))

    def test_few_calls_do_not_wait(self) -> None:
        """With two calls or fewer a window goes to the model at once."""
        detector, answers = self.open()
        detector.feed(np.zeros(256, np.float32))
        self.thread.run()
        self.assertEqual(len(answers), 1)

    def test_no_timer_when_idle(self) -> None:
        """No call, or no window waiting: no delayed call."""
        calls = [self.open() for _ in range(4)]
        self.assertEqual(self.clock.getDelayedCalls(), [])
        calls[0][0].feed(np.zeros(256, np.float32))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        calls[0][0].close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_both_rates(self) -> None:
        """8 and 16 kHz calls share a process; another rate is refused."""
        sound = recording("dickens-times")
        narrow, heard = self.open(8000)
        wide, also = self.open(16000)
        for window in windows(sound)[:20]:
            narrow.feed(window)
            wide.feed(np.repeat(window, 2))
        self.settle()
        self.assertEqual((len(heard), len(also)), (20, 20))
        self.assertGreater(max(p for p, _, _ in heard), 0.9)
        self.assertGreater(max(p for p, _, _ in also), 0.7)
        self.assertRaises(ConfigError, self.open, 44100)

    def test_a_wrong_window(self) -> None:
        """A window of another size is a programming error, said at once and to its caller only."""
        detector, _ = self.open()
        self.assertRaises(ValueError, detector.feed, np.zeros(160, np.float32))


class CloseTests(SileroCase):
    def test_close_in_flight(self) -> None:
        """A call that ends while its window is with the model hears nothing; others do."""
        (one, gone), (two, heard) = self.open(), self.open()
        one.feed(np.zeros(256, np.float32))
        two.feed(np.zeros(256, np.float32))
        one.close()
        one.close()
        one.feed(np.zeros(256, np.float32))
        self.settle()
        self.assertEqual((len(gone), len(heard)), (0, 1))

    def test_a_slot_is_clean_for_its_next_call(self) -> None:
        """A call that takes over a slot, even with a batch in flight, starts from nothing."""
        part = windows(recording("dickens-times"))[:10]
        fresh, expected = self.open()
        for window in part:
            fresh.feed(window)
        self.settle()
        fresh.close()
        old, _ = self.open()
        for window in windows(recording("austen-amiable"))[:30]:
            old.feed(window)
            self.settle()
        old.feed(part[3])  # in flight while the slot changes hands
        old.close()
        new, answers = self.open()
        for window in part:
            new.feed(window)
        self.settle()
        np.testing.assert_allclose([p for p, _, _ in answers], [p for p, _, _ in expected], atol=1e-4)

    def test_slots_are_used_again(self) -> None:
        """A thousand calls one after the other need one slot."""
        for _ in range(1000):
            self.open()[0].close()
        self.assertEqual(self.activity._slots[8000], 1)

    def test_stop(self) -> None:
        """Stopping drops what waits, the timer and the thread."""
        for detector, _ in [self.open() for _ in range(4)]:
            detector.feed(np.zeros(256, np.float32))
        self.successResultOf(Deferred.fromCoroutine(self.activity.stop()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(self.thread.stopped)


class FaultTests(SileroCase):
    def test_a_callback_that_raises(self) -> None:
        """One call's exception is logged and counted; the other calls of the batch get their answers."""
        bad = self.activity.open(8000, lambda *answer: 1 / 0)
        good, answers = self.open()
        bad.feed(np.zeros(256, np.float32))
        good.feed(np.zeros(256, np.float32))
        self.settle()
        self.assertEqual(len(answers), 1)
        self.assertEqual(self.activity.callback_errors, 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_callback_that_closes_another_call(self) -> None:
        """A call closed during delivery gets no answer from the same batch."""
        calls = []
        first = self.activity.open(8000, lambda *answer: calls[1][0].close())
        calls.append((first, []))
        calls.append(self.open())
        calls.append(self.open())
        for detector, _ in calls:
            detector.feed(np.zeros(256, np.float32))
        self.settle()
        self.assertEqual([len(answers) for _, answers in calls[1:]], [0, 1])

    def test_a_model_that_fails(self) -> None:
        """When a run fails the windows are judged by energy: speech is heard, and it is logged once."""

        class Broken:
            def run(self, *work):
                raise RuntimeError("broken")

        self.model = Broken()
        detector, answers = self.open()
        for window in windows(recording("dickens-times"))[:40]:
            detector.feed(window)
        self.settle()
        self.assertEqual(len(answers), 40)
        self.assertGreater(sum(p > 0.7 for p, _, _ in answers), 10)
        self.assertEqual(self.activity.model_failures, 40)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    @shows("F61")
    def test_no_runtime(self) -> None:
        """A model that cannot be loaded is said at start, with a remedy."""

        def missing():
            raise ProviderError("silero", ErrorKind.UNAVAILABLE, "not installed")

        activity = SileroVoiceActivity(self.clock, self.thread, load=missing)
        starting = Deferred.fromCoroutine(activity.start())
        self.thread.run()
        self.assertIs(self.failureResultOf(starting, ProviderError).value.kind, ErrorKind.UNAVAILABLE)


class SilenceTests(SileroCase):
    def test_digital_silence_costs_nothing_and_changes_nothing(self) -> None:
        """After some windows of digital silence the model rests; speech after it is heard as without rest."""
        part = windows(recording("dickens-times"))[:30]
        silence = [np.zeros(256, np.float32)] * 100
        heard = []
        for rest in (silence[: SILENT_WINDOWS - 1], silence):
            detector, answers = self.open()
            for window in [*part, *rest, *part]:
                detector.feed(window)
            self.settle()
            detector.close()
            heard.append([p for p, _, _ in answers[-30:]])
        self.assertLess(abs(sum(p > 0.7 for p in heard[0]) - sum(p > 0.7 for p in heard[1])), 3)
        self.assertGreater(sum(p > 0.7 for p in heard[1]), 15)


class ContractTests(SileroCase):
    """What any VoiceActivity does: the suite for both."""

    def both(self):
        return (("silero", self.activity), ("energy", EnergyVoiceActivity()))

    def judge(self, activity, sound):
        answers = []
        detector = activity.open(8000, lambda p, level, samples: answers.append(p))
        self.assertEqual(detector.window_samples, 256)
        for window in windows(sound):
            detector.feed(window)
            self.settle()
        detector.close()
        return np.array(answers)

    def noise(self, level, count=16000):
        return (np.random.default_rng(8).standard_normal(count) * level).astype(np.float32)

    def test_silence(self) -> None:
        """Digital silence and a quiet line are no speech."""
        for name, activity in self.both():
            for sound in (np.zeros(16000, np.float32), self.noise(0.0005)):
                self.assertLess(self.judge(activity, sound).max(), 0.5, name)

    def test_speech(self) -> None:
        """Of the loud windows of a person's speech over a quiet line most are speech."""
        sound = recording("dickens-times")
        sound = sound * (0.05 / np.sqrt((sound**2).mean()))
        loud = np.array([np.sqrt((w**2).mean()) > 0.02 for w in windows(sound)])
        for name, activity in self.both():
            lead = self.noise(0.0005, 256 * 30)
            found = self.judge(activity, np.concatenate([lead, sound + self.noise(0.0005, len(sound))]))[30:]
            self.assertGreater((found[: len(loud)][loud] > 0.7).mean(), 0.85, name)

    def test_noise(self) -> None:
        """White noise 20 dB under speech is speech in at most 5 % of the windows, from the first on."""
        for name, activity in self.both():
            self.assertLessEqual((self.judge(activity, self.noise(0.005)) > 0.7).mean(), 0.05, name)

    def test_closed(self) -> None:
        """No callback after close, and closing twice is harmless."""
        for name, activity in self.both():
            answers = []
            detector = activity.open(8000, lambda *answer, to=answers: to.append(answer))
            detector.close()
            detector.close()
            detector.feed(np.zeros(256, np.float32))
            self.settle()
            self.assertEqual(answers, [], name)


class ThreadTests(TestCase):
    """The real thread, with the real reactor."""

    def setUp(self) -> None:
        self.thread = InferenceThread(reactor)
        self.addCleanup(self.thread.stop)

    def test_elsewhere_and_back(self):
        """A job runs off the reactor thread; its result, or its failure, arrives on it."""
        here = threading.get_ident()
        found = Deferred()
        results = []

        def done(result) -> None:
            results.append((result, threading.get_ident()))
            if len(results) == 2:
                found.callback(None)

        def check(_) -> None:
            self.assertNotEqual(results[0][0], here)
            self.assertIsInstance(results[1][0], Failure)
            self.assertEqual([where for _, where in results], [here, here])

        self.thread.submit(threading.get_ident, done)
        self.thread.submit(lambda: 1 / 0, done)
        return found.addCallback(check)

    def test_the_whole_way(self):
        """A window of a real call through the real model and back."""
        activity = SileroVoiceActivity(reactor, self.thread)
        answered = Deferred()
        starting = Deferred.fromCoroutine(activity.start())

        def started(_):
            detector = activity.open(8000, lambda p, level, samples: answered.callback((p, level)))
            detector.feed(np.full(256, 0.5, np.float32))
            return answered

        def check(answer) -> None:
            self.assertTrue(0.0 <= answer[0] <= 1.0)
            self.assertAlmostEqual(answer[1], 0.5, places=4)

        return starting.addCallback(started).addCallback(check)
