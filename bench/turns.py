"""How well turns are taken: barge-ins noticed, coughs and hums let pass, callers not cut off.

    python -m bench.turns [--words] [--roc]

Runs offline, faster than real time. Everything goes through u-law at 8 kHz, half over a landline's
300-3400 Hz, at -22, -26 or -30 dBov with pink noise 25 or 40 dB under it. Latency is from the first 20 ms
over -45 dBov to the end of the deciding window; batching and the wire are allowed 30 ms of the 300.
The callers are no part of what bench/fit_bargein.py fits on, nor are the kinds marked "held out" (other
seeds of the same models are, where it says so). The thresholds were chosen by figures like these.
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
IN_TIME_MS = 270.0  # of 300, 30 being allowed for batching and the wire
AUDIBLE = 10 ** (-45 / 20)
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
    """Media time; the caller has not been heard before, so their level is unknown."""
    detector = BargeInDetector(settings)
    for number, (probability, level, samples) in enumerate(windows):
        at_ms = (number + 1) * 32.0
        if detector.feed(probability, level, samples, at_ms) is Decision.INTERRUPT:
            return at_ms
    return None


def audible_ms(signal: Signal, placed_ms: float) -> float:
    """The first 20 ms of the sound over -45 dBov: a caller's first packet that anybody could notice."""
    for start in range(int(placed_ms * 8), len(signal) - 160, 160):
        if float(np.sqrt((signal[start : start + 160] ** 2).mean())) > AUDIBLE:
            return start / 8
    return placed_ms


def barge_in_table(cases: list[tuple[Sound, Windows, float]], people: set[str]) -> None:
    by_kind: dict[str, list[float | None]] = {}
    for sound, windows, onset in cases:
        at_ms = interrupted_at(windows, TurnSettings())
        by_kind.setdefault(sound.kind, []).append(None if at_ms is None else at_ms - onset)
    for kind, delays in sorted(by_kind.items(), key=lambda item: (item[0] not in people, item[0])):
        hits = np.array([d for d in delays if d is not None])
        line = f"  {kind:28s} n={len(delays):3d}  stops the agent {len(hits) / len(delays):6.1%}"
        if kind in people and len(hits):
            all_delays = np.array([np.inf if d is None else d for d in delays])
            in_time = (all_delays <= IN_TIME_MS).mean()
            p50, p95 = np.percentile(all_delays, [50, 95], method="higher")
            line += f"   after p50 {p50:.0f} p95 {p95:.0f} ms, within {IN_TIME_MS:.0f} ms {in_time:.1%}"
        print(line)


def roc(cases: list[tuple[Sound, Windows, float]], people: set[str]) -> None:
    chosen = bargein.TALK_LEAST
    print("\ntalk threshold: people stopped the agent (p95 ms) | others, worst kinds first")
    for threshold in sorted({-2.5, -2.0, chosen, -1.0, -0.5, 0.0}):
        bargein.TALK_LEAST = threshold
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
    bargein.TALK_LEAST = chosen


def barge_in(model: SileroModel, with_roc: bool) -> None:
    rng = np.random.default_rng(7)
    spoken = [Sound(s.kind, s.name, trimmed(s), s.text) for s in sounds.callers() if is_an_interruption(s)]
    # Each recording sixteen times, at other levels, onsets and noise: with three, luck moves p95 by 100 ms.
    spoken = [s for s in spoken for _ in range(16)]
    others = sounds.shipped_noises() * 5 + sounds.coughs(rng)
    others += [
        Sound(f"{s.kind}, held out", s.name, s.samples) for s in sounds.hums() if not sounds.is_for_fitting(s)
    ]
    others += [Sound(f"{s.kind}, other seeds", s.name, s.samples) for s in sounds.modelled(rng, 60)]
    extra = sounds.collected()
    cases: list[tuple[Sound, Signal, float]] = []
    for sound in spoken + others + extra:
        db, snr = float(rng.choice([-22, -26, -30])), float(rng.choice([25, 40]))
        landline = bool(rng.integers(2))
        signal, onset = sounds.place(sound.samples[: 4 * RATE], rng, db=db, snr_db=snr, landline=landline)
        cases.append((sound, signal, audible_ms(signal, onset)))
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


def with_pauses(
    rng: np.random.Generator, kind: str, least_secs: float, most_secs: float
) -> list[tuple[Sound, Signal, float]]:
    """Two recordings of one reader as one turn with a pause between: people's speech, our pauses."""
    clauses = [s for s in sounds.callers() if s.name.startswith(("dickens-", "austen-"))]
    made = []
    for first, second in pairwise(clauses):
        pause = np.zeros(int(rng.uniform(least_secs, most_secs) * RATE), np.float32)
        spoken = np.concatenate([sounds.trim(first.samples), pause, sounds.trim(second.samples)])
        signal, onset = sounds.place(spoken, rng, db=-26.0, snr_db=30.0, landline=False, tail_secs=3.0)
        name = f"{first.name}+{len(pause) / 8:.0f}ms"
        made.append((Sound(kind, name, spoken), signal, onset + len(spoken) / 8))
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
    turns += with_pauses(rng, "pause", 0.2, 0.5) + with_pauses(rng, "long pause", 0.5, 0.8)
    windows = windows_of(model, [signal for _, signal, _ in turns])
    words = " with early words" if transcribe else ""
    kinds = [sound.kind for sound, _, _ in turns]
    print(
        f"\nendpointing{words}: {len(turns)} turns, {kinds.count('pause')} with a pause of ours of 0.2-0.5 s"
        f" inside, {kinds.count('long pause')} with one of 0.5-0.8 s"
    )
    for stop_secs in (0.4, 0.5, 0.6, 0.7, 0.8, 1.0):
        settings = replace(TurnSettings(), stop_secs=stop_secs)
        cut, missed, waits = [], [], []
        cut_kinds: list[str] = []
        for (sound, signal, end_ms), w in zip(turns, windows, strict=True):
            ends = turn_of(w, signal, settings, transcribe)
            if not ends:
                missed.append(sound.name)
            elif ends[0] < end_ms:
                cut.append(sound.name)
                cut_kinds.append(sound.kind)
            else:
                waits.append(ends[0] - end_ms)
        p50, p95 = np.percentile(waits, [50, 95])
        total = len(turns)
        print(
            f"  stop_secs {stop_secs:.1f}: cut off {len(cut) / total:5.1%}"
            f" ({cut_kinds.count('pause')} in pauses, {cut_kinds.count('long pause')} in long ones)"
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
