"""What voice activity costs and hears: Silero batched, Silero alone, energy.

    python -m bench.vad

Cost is CPU time of this process on one core. Hearing: short words of people (one to a second long) that
open the gate, by `vad_start_secs`; and windows of noise 20 dB under speech that pass for speech.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import process_time

import numpy as np

from bench import sounds
from bench.sounds import RATE, Signal
from bench.turns import windows_of
from voxray.settings import TurnSettings
from voxray.turns.acoustics import WindowShape
from voxray.turns.silero import WINDOW, SileroModel
from voxray.turns.vad import EnergyVad, SpeechGate, SpeechStarted

SIZE = WINDOW[RATE]


def timed(work: Callable[[], object], times: int = 200) -> float:
    work()
    started = process_time()
    for _ in range(times):
        work()
    return (process_time() - started) / times * 1e6


def cost(model: SileroModel) -> None:
    rng = np.random.default_rng(1)
    print("cost of a window of 32 ms at 8 kHz, us")
    for batch in (1, 4, 16, 56, 100):
        parts = [np.asarray(rng.standard_normal(SIZE) * 0.05, np.float32) for _ in range(batch)]
        slots = list(range(batch))
        each = timed(lambda s=slots, p=parts: model.run(RATE, s, [], p)) / batch  # type: ignore[misc]
        print(f"  Silero, {batch:3d} at once: {each:6.1f}")
    quiet = [np.zeros(SIZE, np.float32)] * 56
    for _ in range(10):
        model.run(RATE, list(range(56)), [], quiet)
    resting = timed(lambda: model.run(RATE, list(range(56)), [], quiet)) / 56
    print(f"  Silero, digital silence: {resting:6.1f}")
    energy, shape = EnergyVad(RATE), WindowShape()
    window = np.asarray(rng.standard_normal(SIZE) * 0.05, np.float32)
    print(f"  energy:                  {timed(lambda: energy.feed(window), 2000):6.1f}")
    print(f"  barge-in's features:     {timed(lambda: shape.feed(0.9, 0.05, window), 2000):6.1f}")


def opens(probabilities: list[tuple[float, float]], settings: TurnSettings) -> bool:
    gate = SpeechGate(settings)
    return any(
        isinstance(gate.feed(p, level, n * 32.0, n * 32.0 + 32.0), SpeechStarted)
        for n, (p, level) in enumerate(probabilities)
    )


def hearing(model: SileroModel) -> None:
    rng = np.random.default_rng(2)
    signals: list[Signal] = []
    for sound in sounds.callers():
        spoken = sounds.trim(sound.samples)
        if len(spoken) <= RATE:
            signals += [
                sounds.place(spoken, rng, db=db, snr_db=25.0, landline=db == -26.0)[0]
                for db in (-22.0, -26.0, -30.0)
            ]
    judged = [[(p, level) for p, level, _ in w] for w in windows_of(model, signals)]
    by_energy = []
    for signal in signals:
        vad = EnergyVad(RATE)
        by_energy.append([vad.feed(signal[at : at + SIZE]) for at in range(0, len(signal) - SIZE, SIZE)])
    print(f"\nshort words heard, of {len(signals)}")
    for start_secs in (0.1, 0.15, 0.2, 0.25, 0.3):
        settings = replace(TurnSettings(), vad_start_secs=start_secs)
        rates = [np.mean([opens(one, settings) for one in every]) for every in (judged, by_energy)]
        print(f"  vad_start_secs {start_secs:.2f}: Silero {rates[0]:6.1%}  energy {rates[1]:6.1%}")
    print("\nwindows of noise 20 dB under speech (-46 dBov, from the call's first window) taken for speech")
    for kind in sounds.NOISES:
        level = 10 ** ((sounds.SPEECH_DB - 20) / 20)
        noise = sounds.ulaw_coded(np.asarray(sounds.noise(kind, 10 * RATE, rng) * level, np.float32))
        silero = [p > TurnSettings().vad_confidence for p, _, _ in windows_of(model, [noise])[0]]
        vad = EnergyVad(RATE)
        energy = [vad.feed(noise[at : at + SIZE])[0] > 0.7 for at in range(0, len(noise) - SIZE, SIZE)]
        print(f"  {kind:7s} Silero {np.mean(silero):6.1%}  energy {np.mean(energy):6.1%}")


def main() -> None:
    model = SileroModel()
    cost(model)
    hearing(model)


if __name__ == "__main__":
    main()
