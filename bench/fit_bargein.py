"""Fits the weights of voxray/turns/bargein.py. Prints them, and figures for voices left out.

    cd DIR && apt-get download asterisk-core-sounds-{it,ru,fr}-wav asterisk-prompt-{es-co,fr-armelle} \
        asterisk-prompt-it-menardi-wav ktuberling-data && for deb in *.deb; do dpkg-deb -x $deb .; done
    python -m bench.fit_bargein DIR        (needs sox with Vorbis and GSM, flite and espeak-ng)

People: six recorded voices of Asterisk prompts (CC BY-SA 3.0, GPL-2, BSD-like) and KDE's ktuberling, one
or more speakers in each of some 20 languages (GPL-2+): Debian's main archive. Not people: all synthetic
(bench/sounds.py), because no freely licensed recordings of coughs or hums were found in packages. The callers
in voxray/data/callers are no part of it: bench/turns.py reports on them.

Each sound is a bag of windows: a person's is judged by its best window within the deadline, a noise's by its
best window ever (soft maximum). Kinds and speakers count alike.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from bench import sounds
from bench.sounds import Signal, Sound
from bench.turns import Windows, audible_ms, windows_of
from voxray.settings import TurnSettings
from voxray.turns import bargein
from voxray.turns.bargein import BargeInDetector, _Heard, evidence
from voxray.turns.silero import SileroModel

Array = NDArray[np.float64]
ASTERISK = ("it_IT_m_Carlo", "ru_RU_f_IvrvoiceRU", "fr_CA_f_June", "it_IT_f_Menardi", "es", "fr")
SAME_AS_ANOTHER = ("sr@latin", "sr@ijekavian", "sr@ijekavianlatin")
DEADLINE_MS = 258.0
SHARPNESS = 3.0
RIDGE = 1e-3
NO_VOICE = ("cough", "throat", "knock")


@dataclass(slots=True)
class Bag:
    kind: str
    person: bool
    rows: list[tuple[float, Array, Array]]  # ms after the onset, VOICE, TALK


class Collector(BargeInDetector):
    """Decides nothing, keeps what it would have judged."""

    rows: list[tuple[float, Array, Array]]

    def _decide(self, heard: list[_Heard], at_ms: float) -> bool:
        found = evidence(heard)
        if found is not None:
            self.rows.append((at_ms, *found))
        return False


def decoded(path: Path) -> Signal:
    command = ["sox", str(path), "-t", "wav", "-b", "16", "-c", "1", "-r", "8000", "-"]
    return sounds.read_wav(subprocess.run(command, capture_output=True, check=True).stdout)


def some(
    paths: list[Path], kind: str, count: int, least_secs: float, rng: np.random.Generator
) -> list[Sound]:
    found: list[Sound] = []
    for number in rng.permutation(len(paths)):
        path = sorted(paths)[number]
        if "beep" in path.name or "tone" in path.name or path.stat().st_size < 1000:
            continue
        signal = sounds.trim(decoded(path))
        if len(signal) > least_secs * sounds.RATE:
            found.append(Sound(kind, path.name, signal[: 4 * sounds.RATE]))
        if len(found) == count:
            break
    return found


def people(root: Path, rng: np.random.Generator) -> list[Sound]:
    found: list[Sound] = []
    for voice in ASTERISK:
        folder = root / "usr/share/asterisk/sounds" / voice
        found += some([*folder.glob("*.wav"), *folder.glob("*.gsm")], voice, 40, 0.8, rng)
    for folder in sorted((root / "usr/share/ktuberling/sounds").iterdir()):
        if folder.is_dir() and folder.name not in SAME_AS_ANOTHER:
            found += some([*folder.glob("*.ogg"), *folder.glob("*.wav")], f"kt-{folder.name}", 14, 0.3, rng)
    return found


def bags_of(model: SileroModel, items: list[Sound], person: bool, rng: np.random.Generator) -> list[Bag]:
    signals, onsets = [], []
    for sound in items:
        db, snr = float(rng.choice([-22, -26, -30])), float(rng.choice([25, 40]))
        signal, onset = sounds.place(
            sound.samples, rng, db=db, snr_db=snr, landline=bool(rng.integers(2)), tail_secs=0.5
        )
        signals.append(signal)
        onsets.append(audible_ms(signal, onset))
    found = windows_of(model, signals)
    return [
        Bag(s.kind, person, collected(w, onset)) for s, w, onset in zip(items, found, onsets, strict=True)
    ]


def collected(windows: Windows, onset_ms: float) -> list[tuple[float, Array, Array]]:
    detector = Collector(TurnSettings())
    detector.rows = []
    for number, (probability, level, samples) in enumerate(windows):
        detector.feed(probability, level, samples, (number + 1) * 32.0)
    return [(at_ms - onset_ms, voice, talk) for at_ms, voice, talk in detector.rows]


def fit(bags: list[Bag], which: int) -> tuple[Array, float]:
    """Logistic regression over bags; `which` is 1 for VOICE, 2 for TALK."""
    kept, rows, bag_of = [], [], []
    for bag in bags:
        mine = [row[which] for row in bag.rows if not bag.person or row[0] <= DEADLINE_MS]
        if mine:
            bag_of += [len(kept)] * len(mine)
            kept.append(bag)
            rows += mine
    matrix, owner = np.array(rows), np.array(bag_of)
    mean, deviation = matrix.mean(0), matrix.std(0) + 1e-9
    scaled = np.column_stack([np.ones(len(matrix)), (matrix - mean) / deviation])
    starts = np.searchsorted(owner, np.arange(len(kept)))
    sign = np.where([bag.person for bag in kept], 1.0, -1.0)
    share = shares(kept)

    def loss(weights: Array) -> tuple[float, Array]:
        scores = scaled @ weights
        most = np.maximum.reduceat(scores, starts)
        soft = np.exp(SHARPNESS * (scores - most[owner]))
        sums = np.add.reduceat(soft, starts)
        margin = sign * (most + np.log(sums) / SHARPNESS)
        slope = -sign / (1 + np.exp(margin)) * share
        gradient = scaled.T @ (slope[owner] * soft / sums[owner])
        ridge = 2 * RIDGE * np.concatenate([[0.0], weights[1:]])
        return float((share * np.logaddexp(0, -margin)).sum() + ridge @ weights / 2), gradient + ridge

    best = minimize(loss, np.zeros(scaled.shape[1]), jac=True, method="L-BFGS-B").x
    weights = best[1:] / deviation
    return weights, float(best[0] - weights @ mean)


def shares(bags: list[Bag]) -> Array:
    """People and the others weigh alike, and each speaker or kind like any other."""
    pairs = [(bag.person, bag.kind) for bag in bags]
    kinds = {person: len({k for p, k in pairs if p is person}) for person in (True, False)}
    return np.array([0.5 / kinds[pair[0]] / pairs.count(pair) for pair in pairs])


def fit_both(bags: list[Bag]) -> None:
    """Into the module."""
    bargein.VOICE_WEIGHTS, bargein.VOICE_BIAS = fit(
        [b for b in bags if b.person or b.kind.startswith(NO_VOICE)], 1
    )
    bargein.TALK_WEIGHTS, bargein.TALK_BIAS = fit(
        [b for b in bags if b.person or b.kind.startswith("mhm")], 2
    )


def stopped_ms(bag: Bag) -> float:
    for after_ms, voice, talk in bag.rows:
        more = bargein.LATE if after_ms > 32.0 * (bargein.KEPT + 1) else 0.0
        if bargein.is_talk(voice, talk, more):
            return after_ms
    return np.inf


def report(bags: list[Bag], title: str) -> None:
    delays = np.array([stopped_ms(b) for b in bags if b.person])
    print(f"{title}: {len(delays)} barge-ins, within 270 ms {(delays <= 270).mean():.1%}", end="")
    for kind in sorted({b.kind for b in bags if not b.person}):
        hits = [np.isfinite(stopped_ms(b)) for b in bags if b.kind == kind]
        print(f"   {kind} {np.mean(hits):.1%}", end="")
    print()


def main(root: Path) -> None:
    rng = np.random.default_rng(3)
    model = SileroModel()
    bags = bags_of(model, people(root, rng), True, rng)
    hums = [s for s in sounds.hums() if s.kind.startswith("mhm") and sounds.is_for_fitting(s)]
    bags += bags_of(model, sounds.modelled(rng, 150) + sounds.coughs(rng) + hums, False, rng)
    kinds = sorted({b.kind for b in bags})
    left_out: list[float] = []
    for fold in range(5):
        fit_both([b for b in bags if not b.person or kinds.index(b.kind) % 5 != fold])
        left_out += [stopped_ms(b) for b in bags if b.person and kinds.index(b.kind) % 5 == fold]
    in_time = np.mean(np.array(left_out) <= 270)
    print(f"speakers left out, in five parts: {len(left_out)} barge-ins, within 270 ms {in_time:.1%}")
    fit_both(bags)
    report(bags, "all, in-sample")
    for name in ("VOICE", "TALK"):
        weights = ", ".join(f"{w:.2f}" for w in getattr(bargein, f"{name}_WEIGHTS"))
        print(f"{name}_WEIGHTS = np.array([{weights}])\n{name}_BIAS = {getattr(bargein, f'{name}_BIAS'):.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
