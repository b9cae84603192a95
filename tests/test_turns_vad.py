"""Windows to stretches of speech: the energy detector and the gate."""

import itertools
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxray.settings import TurnSettings
from voxray.turns.vad import EnergyVad, SpeechGate, SpeechStarted, SpeechStopped

WINDOW_MS = 32.0
SETTINGS = TurnSettings()


def run(gate, probabilities, level=0.1):
    events = []
    for number, probability in enumerate(probabilities):
        event = gate.feed(probability, level, number * WINDOW_MS, (number + 1) * WINDOW_MS)
        if event is not None:
            events.append(event)
    return events


class GateTests(SynchronousTestCase):
    def test_a_stretch(self) -> None:
        """Speech is said to start at its first window and to stop at its last."""
        events = run(SpeechGate(SETTINGS), [0.0] * 3 + [0.9] * 10 + [0.0] * 10)
        self.assertEqual([type(e) for e in events], [SpeechStarted, SpeechStopped])
        self.assertEqual(events[0].start_ms, 3 * WINDOW_MS)
        self.assertEqual(events[1].end_ms, 13 * WINDOW_MS)
        self.assertLessEqual(events[0].at_ms - events[0].start_ms, 200)
        self.assertLessEqual(events[1].at_ms - events[1].end_ms, 200 + WINDOW_MS)

    def test_a_blip_is_nothing(self) -> None:
        """Two windows over the threshold neither open the gate nor move the last speech."""
        gate = SpeechGate(SETTINGS)
        run(gate, [0.9] * 10 + [0.0] * 10)
        last = gate.last_speech_ms
        for number, probability in enumerate([0.9, 0.9, 0.0], start=20):
            self.assertIsNone(gate.feed(probability, 0.1, number * WINDOW_MS, (number + 1) * WINDOW_MS))
        self.assertEqual(gate.last_speech_ms, last)

    def test_hysteresis(self) -> None:
        """Speech goes on a little under the threshold, but does not begin there."""
        under = SETTINGS.vad_confidence - 0.1
        self.assertEqual(run(SpeechGate(SETTINGS), [under] * 30), [])
        self.assertEqual(len(run(SpeechGate(SETTINGS), [0.9] * 8 + [under] * 30)), 1)

    def test_quiet_speech_under_the_least_volume(self) -> None:
        """`vad_min_volume` silences what is less loud, however sure the detector is."""
        gate = SpeechGate(replace(SETTINGS, vad_min_volume=0.05))
        self.assertEqual(run(gate, [1.0] * 30, level=0.04), [])

    @given(st.lists(st.floats(0, 1), max_size=200))
    def test_starts_and_stops_alternate(self, probabilities) -> None:
        """Whatever comes in, starts and stops take turns and time does not run backwards."""
        events = run(SpeechGate(SETTINGS), probabilities)
        for number, event in enumerate(events):
            self.assertIsInstance(event, (SpeechStarted, SpeechStopped)[number % 2])
        times = [e.start_ms if isinstance(e, SpeechStarted) else e.end_ms for e in events]
        self.assertTrue(all(a <= b for a, b in itertools.pairwise(times)), times)
        self.assertTrue(all(a.at_ms < b.at_ms for a, b in itertools.pairwise(events)))


class EnergyTests(SynchronousTestCase):
    def feed(self, vad, level, windows, rng):
        return [vad.feed(rng.standard_normal(256).astype(np.float32) * level)[0] for _ in range(windows)]

    def test_telephone_levels(self) -> None:
        """Speech as loud as telephone speech (-26 dBov) over a quiet line is heard at once."""
        vad, rng = EnergyVad(8000), np.random.default_rng(1)
        self.assertLess(max(self.feed(vad, 0.0005, 30, rng)), 0.1)
        self.assertGreater(min(self.feed(vad, 0.05, 5, rng)), 0.9)

    def test_a_steady_noise_is_learnt(self) -> None:
        """Three seconds after a steady noise sets in it is no speech any more; what stands out of it is."""
        vad, rng = EnergyVad(8000), np.random.default_rng(2)
        self.feed(vad, 0.02, 94, rng)
        self.assertLess(max(self.feed(vad, 0.02, 30, rng)), 0.5)
        self.assertGreater(min(self.feed(vad, 0.15, 5, rng)), 0.9)

    def test_the_floor_falls_again(self) -> None:
        """When the noise ends, quiet speech is heard again within a few windows."""
        vad, rng = EnergyVad(8000), np.random.default_rng(3)
        self.feed(vad, 0.05, 100, rng)
        self.feed(vad, 0.001, 20, rng)
        self.assertGreater(min(self.feed(vad, 0.02, 3, rng)), 0.9)

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
    def test_answers_are_probabilities(self, levels) -> None:
        """Any level gives a probability between 0 and 1."""
        vad = EnergyVad(8000)
        for level in levels:
            probability, heard = vad.feed(np.full(256, level, np.float32))
            self.assertTrue(0.0 <= probability <= 1.0)
            self.assertAlmostEqual(heard, level, places=4)
