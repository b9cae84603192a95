"""How well turns are taken: barge-ins noticed, coughs and hums let pass, callers not cut off.

    python -m bench.turns [--words] [--roc]

Runs offline, faster than real time. Everything goes through u-law at 8 kHz, half over a landline's
300-3400 Hz, at -22, -26 or -30 dBov with pink noise 25 or 40 dB under it. Latency is from the sound's onset
to the end of the deciding window; batching adds up to 25 ms, and the first packet comes 20 ms after onset.
`--words`: early transcripts by the local transcriber extend the wait (needs moonshine-voice).
What is synthetic says so in its kind. See bench/sounds.py for `$VOXRAY_SOUNDS`, further recordings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from time import perf_counter

import numpy as np

from bench import sounds
from bench.sounds import RATE, Signal, Sound
from voxray.settings import TurnSettings
from voxray.turns import bargein
from voxray.turns.bargein import BargeInDetector, Decision
from voxray.turns.endpointing import Endpointer, TurnEnded, TurnPaused
from voxray.turns.silero import SileroModel

WINDOW = 256
Windows = list[tuple[float, float, Signal]]


def windows_of(model: SileroModel, signals: list[Signal]) -> list[Windows]:
    """Silero over all signals, 64 at a time as one batch."""
    found: list[Windows] = [[] for _ in signals]
    order = sorted(range(len(signals)), key=lambda n: len(signals[n]))
    for first in range(0, len(order), 64):
        group = order[first : first + 64]
        for at in range(len(signals[group[-1]]) // WINDOW):
            live = [(s, n) for s, n in enumerate(group) if (at + 1) * WINDOW <= len(signals[n])]
            slots = [s for s, _ in live]
            parts = [signals[n][at * WINDOW : (at + 1) * WINDOW] for _, n in live]
            probabilities, levels = model.run(RATE, slots, slots if at == 0 else [], parts)
            for (_, n), p, level, part in zip(live, probabilities, levels, parts, strict=True):
                found[n].append((float(p), float(level), part))
    return found


def interrupted_at(windows: Windows, settings: TurnSettings) -> float | None:
    detector = BargeInDetector(settings)
    for number, (probability, level, samples) in enumerate(windows):
        at_ms = (number + 1) * 32.0
        if detector.feed(probability, level, samples, at_ms) is Decision.INTERRUPT:
            return at_ms
    return None


def barge_in_table(cases: list[tuple[Sound, Windows, float]], people: set[str]) -> None:
    by_kind: dict[str, list[float | None]] = {}
    for sound, windows, onset in cases:
        at_ms = interrupted_at(windows, TurnSettings())
        by_kind.setdefault(sound.kind, []).append(None if at_ms is None else at_ms - onset)
    for kind, delays in sorted(by_kind.items(), key=lambda item: (item[0] not in people, item[0])):
        hits = np.array([d for d in delays if d is not None])
        line = f"  {kind:28s} n={len(delays):3d}  stops the agent {len(hits) / len(delays):6.1%}"
        if kind in people and len(hits):
            in_time = (hits <= 300).sum() / len(delays)
            p50, p95 = np.percentile(hits, [50, 95])
            line += f"   after p50 {p50:.0f} p95 {p95:.0f} ms, within 300 ms {in_time:.1%}"
        print(line)


def roc(cases: list[tuple[Sound, Windows, float]], people: set[str]) -> None:
    chosen = bargein.THRESHOLD
    print("\nthreshold: people stopped the agent (p95 ms) | others, worst kinds first")
    for threshold in sorted({-1.0, -0.5, 0.0, chosen, 0.5, 1.0, 2.0}):
        bargein.THRESHOLD = threshold
        rates: dict[str, list[float | None]] = {}
        for sound, windows, onset in cases:
            at_ms = interrupted_at(windows, TurnSettings())
            rates.setdefault(sound.kind, []).append(None if at_ms is None else at_ms - onset)
        hits = [d for kind in people for d in rates.get(kind, []) if d is not None]
        total = sum(len(rates.get(kind, [])) for kind in people)
        others = sorted(
            (
                (sum(d is not None for d in ds) / len(ds), kind)
                for kind, ds in rates.items()
                if kind not in people
            ),
            reverse=True,
        )
        worst = ", ".join(f"{kind} {rate:.0%}" for rate, kind in others[:6])
        print(f"  {threshold:5.2f}: {len(hits) / total:.1%} ({np.percentile(hits, 95):.0f}) | {worst}")
    bargein.THRESHOLD = chosen


def barge_in(model: SileroModel, with_roc: bool) -> None:
    rng = np.random.default_rng(7)
    spoken = [Sound(s.kind, s.name, trimmed(s), s.text) for s in sounds.callers() if is_an_interruption(s)]
    # Each recording three times, at other levels, onsets and noise.
    spoken = [s for s in spoken for _ in range(3)]
    others = sounds.shipped_noises() * 5 + sounds.coughs(rng) + sounds.hums()
    extra = sounds.collected()
    cases: list[tuple[Sound, Signal, float]] = []
    for sound in spoken + others + extra:
        db, snr = float(rng.choice([-22, -26, -30])), float(rng.choice([25, 40]))
        landline = bool(rng.integers(2))
        signal, onset = sounds.place(sound.samples[: 4 * RATE], rng, db=db, snr_db=snr, landline=landline)
        cases.append((sound, signal, onset))
    for sound in sounds.pure_noises(rng):
        level = sounds.SPEECH_DB - 20.0
        quiet = np.zeros(RATE, np.float32)
        signal = np.concatenate([quiet, sound.samples * 10 ** (level / 20), quiet])
        cases.append((sound, sounds.ulaw_coded(np.asarray(signal, np.float32)), 1000.0))
    people = {s.kind for s in spoken + extra if s.kind == "people" or s.kind.startswith("speech")}
    windows = windows_of(model, [signal for _, signal, _ in cases])
    judged = [(sound, w, onset) for (sound, _, onset), w in zip(cases, windows, strict=True)]
    print("barge-in, while the agent speaks")
    barge_in_table(judged, people)
    if with_roc:
        roc(judged, people)


def trimmed(sound: Sound) -> Signal:
    return sounds.trim(sound.samples)


def is_an_interruption(sound: Sound) -> bool:
    return sound.name not in sounds.WORDS_NOT_TURNS


# -- endpointing -----------------------------------------------------------------
Transcribe = Callable[[Signal], str]


def turn_of(
    windows: Windows, signal: Signal, settings: TurnSettings, transcribe: Transcribe | None
) -> list[float]:
    """The media times at which turns ended."""
    endpointer = Endpointer(settings)
    ends: list[float] = []
    for number, (probability, level, _) in enumerate(windows):
        for event in endpointer.feed(probability, level, number * 32.0, number * 32.0 + 32.0):
            if isinstance(event, TurnEnded):
                ends.append(event.at_ms)
            elif isinstance(event, TurnPaused) and transcribe is not None:
                begin = max(0.0, event.start_ms - settings.pre_speech_ms)
                endpointer.hint(transcribe(signal[int(begin * 8) : int(event.at_ms * 8)]))
    return ends


def with_pauses(rng: np.random.Generator) -> list[tuple[Sound, Signal, float]]:
    """Two recordings of one reader as one turn with 0.2 to 0.8 s between: people's speech, our pauses."""
    clauses = [s for s in sounds.callers() if s.name.startswith(("dickens-", "austen-"))]
    made = []
    for first, second in pairwise(clauses):
        pause = np.zeros(int(rng.uniform(0.2, 0.8) * RATE), np.float32)
        spoken = np.concatenate([sounds.trim(first.samples), pause, sounds.trim(second.samples)])
        signal, onset = sounds.place(spoken, rng, db=-26.0, snr_db=30.0, landline=False, tail_secs=3.0)
        name = f"{first.name}+{len(pause) / 8:.0f}ms"
        made.append((Sound("pause", name, spoken), signal, onset + len(spoken) / 8))
    return made


def endpointing(model: SileroModel, transcribe: Transcribe | None) -> None:
    rng = np.random.default_rng(11)
    turns: list[tuple[Sound, Signal, float]] = []
    extra = [s for s in sounds.collected() if s.kind.startswith("speech")]
    for sound in sounds.callers() + extra:
        spoken = sounds.trim(sound.samples)
        landline = bool(rng.integers(2))
        signal, onset = sounds.place(spoken, rng, db=-26.0, snr_db=30.0, landline=landline, tail_secs=3.0)
        turns.append((sound, signal, onset + len(spoken) / 8))
    turns += with_pauses(rng)
    windows = windows_of(model, [signal for _, signal, _ in turns])
    words = " with early words" if transcribe else ""
    paused = sum(sound.kind == "pause" for sound, _, _ in turns)
    print(f"\nendpointing{words}: {len(turns)} turns, {paused} of them with a pause of ours inside")
    for stop_secs in (0.4, 0.5, 0.6, 0.7, 0.8, 1.0):
        settings = replace(TurnSettings(), stop_secs=stop_secs)
        cut, missed, waits = [], [], []
        cut_in_pause = 0
        for (sound, signal, end_ms), w in zip(turns, windows, strict=True):
            ends = turn_of(w, signal, settings, transcribe)
            if not ends:
                missed.append(sound.name)
            elif ends[0] < end_ms:
                cut.append(sound.name)
                cut_in_pause += sound.kind == "pause"
            else:
                waits.append(ends[0] - end_ms)
        p50, p95 = np.percentile(waits, [50, 95])
        total = len(turns)
        print(
            f"  stop_secs {stop_secs:.1f}: cut off {len(cut) / total:5.1%} ({cut_in_pause} in our pauses)"
            f"  not heard {len(missed) / total:5.1%}"
            f"  last word to turn's end p50 {p50:.0f} p95 {p95:.0f} ms   {', '.join((cut + missed)[:4])}"
        )


def local_transcriber() -> Transcribe:
    from moonshine_voice.moonshine_api import ModelArch
    from moonshine_voice.transcriber import Transcriber
    from moonshine_voice.utils import get_model_path

    engine = Transcriber(str(get_model_path("tiny-en")), ModelArch.TINY)
    known: dict[bytes, str] = {}

    def transcribe(signal: Signal) -> str:
        key = signal.tobytes()
        if key not in known:
            lines = engine.transcribe_without_streaming(signal.tolist(), RATE).lines
            known[key] = " ".join(line.text for line in lines)
        return known[key]

    return transcribe


def main(arguments: Iterable[str]) -> None:
    parser = argparse.ArgumentParser(description="How well turns are taken.")
    parser.add_argument("--words", action="store_true", help="use early transcripts (moonshine-voice)")
    parser.add_argument("--roc", action="store_true", help="the barge-in threshold's trade-off")
    options = parser.parse_args(list(arguments))
    started = perf_counter()
    model = SileroModel()
    barge_in(model, options.roc)
    endpointing(model, None)
    if options.words:
        endpointing(model, local_transcriber())
    print(f"\n{perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
