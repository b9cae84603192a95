"""Makes the recorded callers in `voxray/data/callers` from free recordings in Debian and PyPI packages.

    cd DIR && apt-get download asterisk-core-sounds-en-wav pocketsphinx-testdata
    for deb in *.deb; do dpkg-deb -x $deb .; done
    python bench/make_callers.py DIR

and, in the environment it runs in: moonshine-voice==0.0.73 (for a public-domain reading) and libflite1
and flite (for the few synthetic sounds, which say so). No network. Cuts, gaps and texts are in the tables.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import wave
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, resample_poly

from voxray.providers.flite import Flite

OUT = Path(__file__).resolve().parent.parent / "voxray" / "data" / "callers"
ALLISON = "usr/share/asterisk/sounds/en_US_f_Allison"
SPHINX = "usr/share/pocketsphinx/test/data"
MARGIN_SECS = 0.1
LEVEL_DBOV = -20.0  # RMS of the speech itself
PEAK = 0.89  # -1 dBov
FRAME_SECS = 0.01

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Take:
    """One recording to make: parts are files, or (file, start, end) in seconds, joined by gaps."""

    id: str
    text: str
    kind: str  # question, answer, statement, backchannel, goodbye, noise
    voice: str
    parts: tuple[str | tuple[str, float, float], ...]
    gap_secs: float = 0.05


def allison(id: str, text: str, kind: str, *parts: str | tuple[str, float, float], gap: float = 0.05) -> Take:
    return Take(id, text, kind, "allison", parts, gap)


ASTERISK = (
    allison("hello", "Hello.", "statement", "hello"),
    allison("your-hours", "Hello. Your hours?", "question", "hello", "your", "hours", gap=0.12),
    allison("your-location", "Your location?", "question", "your", "location"),
    allison("your-telephone-number", "Your telephone number?", "question", "your", "telephone-number"),
    allison(
        "monday-at-ten", "Monday at ten o'clock.", "answer",
        "digits/day-1", "digits/at", "digits/10", "digits/oclock",
    ),
    allison(
        "tomorrow-at-nine", "Tomorrow at nine A.M.", "answer",
        "digits/tomorrow", "digits/at", "digits/9", "digits/a-m",
    ),
    allison(
        "for-thursday-at-two", "For Thursday at two P.M.", "answer",
        "for", "digits/day-4", "digits/at", "digits/2", "digits/p-m",
    ),
    allison("tuesday", "Tuesday.", "answer", "digits/day-2"),
    allison("eleven-thirty", "Eleven thirty A.M.", "answer", "digits/11", "digits/30", "digits/a-m"),
    allison("juliet", "Juliet.", "answer", "phonetic/j_p"),
    allison("victor", "Victor.", "answer", "phonetic/v_p"),
    allison("charlie", "Charlie.", "answer", "phonetic/c_p"),
    allison("this-is-correct", "If this is correct.", "answer", ("if-correct-press", 0.0, 1.14)),
    allison("no", "No.", "answer", "vm-no"),
    allison("thank-you", "Thank you.", "statement", "auth-thankyou"),
    allison("goodbye", "Goodbye.", "goodbye", "goodbye"),
    allison(
        "thank-you-goodbye", "Thank you. Goodbye.", "goodbye", "auth-thankyou", "goodbye", gap=0.18
    ),
    allison("one-moment-please", "One moment, please.", "statement", "one-moment-please"),
    allison("did-not-understand", "I'm sorry, I did not understand your response.", "statement", "vm-sorry"),
    allison("please-try-again", "Please try again.", "statement", "please-try-again"),
    allison("say-your-name", "At the tone, please say your name.", "question", "priv-recordintro"),
    allison(
        "customer-advocate", "To speak with a customer advocate.", "question",
        ("basic-pbx-ivr-main", 13.7, 15.53),
    ),
    allison("last-call", "Information about your last call.", "question", "info-about-last-call"),
    allison(
        "number-i-have", "The number I have is five five five oh one four two.", "statement",
        "vm-num-i-have", "digits/5", "digits/5", "digits/5", "digits/oh", "digits/1", "digits/4", "digits/2",
    ),
    allison("terribly-wrong", "Something is terribly wrong.", "statement", "something-terribly-wrong"),
    allison("weasels", "Weasels have eaten our phone system.", "statement", "tt-weasels"),
    allison("monkeys", "They have been carried away by monkeys.", "statement", "tt-monkeysintro"),
    allison("nobody-available", "Nobody is available to take your call at the moment.", "statement",
            "vm-nobodyavail"),
)  # fmt: skip

_AUSTEN = "librivox/sense_and_sensibility_01_austen_64kb-%s.wav"
POCKETSPHINX = (
    Take(
        "austen-dashwood",
        "And Mr. John Dashwood had then leisure to consider how much there might be prudently in his power"
        " to do for them.",
        "statement", "austen", (_AUSTEN % "0870",),
    ),
    Take("austen-young-man", "He was not an ill-disposed young man.", "statement", "austen",
         (_AUSTEN % "0880",)),
    Take(
        "austen-selfish", "Unless to be rather cold hearted and rather selfish is to be ill-disposed.",
        "statement", "austen", (_AUSTEN % "0890",),
    ),
    Take(
        "austen-respectable",
        "Had he married a more amiable woman, he might have been made still more respectable than he was.",
        "statement", "austen", (_AUSTEN % "0920",),
    ),
    Take("austen-amiable", "He might even have been made amiable himself.", "statement", "austen",
         (_AUSTEN % "0930",)),
    Take("cards-spades", "Eight of spades, four of clubs, seven of hearts.", "statement", "cards",
         ("cards/005.wav",)),
    Take("cards-queen", "Four, queen of clubs.", "statement", "cards", ("cards/002.wav",)),
    Take("go-forward", "Go forward ten meters.", "statement", "dhd", ("goforward.raw",)),
    Take("go-somewhere", "Go somewhere and do something.", "statement", "dhd", ("something.raw",)),
    Take("digits-29340", "Two nine three four zero.", "statement", "dhd", ("tidigits/dhd.2934z.raw",)),
)  # fmt: skip

TWO_CITIES = (
    ("dickens-times", "It was the best of times, it was the worst of times.", 1.05, 4.55),
    ("dickens-wisdom", "It was the age of wisdom.", 4.85, 6.35),
    ("dickens-foolishness", "It was the age of foolishness.", 6.5, 8.4),
    ("dickens-belief", "It was the epoch of belief.", 8.6, 10.35),
    ("dickens-incredulity", "It was the epoch of incredulity.", 10.6, 12.8),
    ("dickens-light", "It was the season of light.", 13.25, 14.85),
    ("dickens-darkness", "It was the season of darkness.", 14.95, 16.9),
    ("dickens-hope", "It was the spring of hope.", 17.35, 18.75),
    ("dickens-despair", "It was the winter of despair.", 18.8, 20.75),
    ("dickens-everything", "We had everything before us.", 21.05, 22.6),
    ("dickens-nothing", "We had nothing before us.", 22.6, 24.2),
    ("dickens-heaven", "We were all going direct to heaven.", 24.4, 26.25),
    ("dickens-other-way", "We were all going direct the other way.", 26.35, 28.4),
    ("dickens-period", "In short, the period was so far like the present period.", 28.9, 32.45),
)

HUMMED = (  # synthetic, from phones: given as words flite spells them out ("em em aitch em em")
    ("mm-hmm", "Mm-hmm.", "slt", "m m hh m m m"),
    ("uh-huh", "Uh-huh.", "rms", "ah hh ah"),
)
BACKCHANNELS = (  # synthetic: no free human recording was found in the packages
    ("okay", "Okay.", "awb", "okay"),
    ("right", "Right.", "slt", "right"),
)


def read_audio(path: Path) -> tuple[Samples, int]:
    """Mono samples in -1..1 and their rate; `.raw` is 16 kHz, 16 bit."""
    if path.suffix == ".raw":
        return np.fromfile(path, "<i2").astype(np.float64) / 32768, 16000
    with wave.open(str(path)) as file:
        data = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64) / 32768
        return data.reshape(-1, file.getnchannels()).mean(axis=1), file.getframerate()


def frame_levels(samples: Samples, rate: int) -> Samples:
    """RMS of each 10 ms."""
    size = int(FRAME_SECS * rate)
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    return np.asarray(np.sqrt((frames**2).mean(axis=1)) + 1e-9)


def trimmed(samples: Samples, rate: int) -> Samples:
    """The speech with 100 ms before and after it: of the recording where it has that much, else silence."""
    levels = frame_levels(samples, rate)
    around = np.convolve(levels, np.ones(3) / 3, "same")  # a click is no word
    loud = np.flatnonzero(around > np.percentile(levels, 95) * 0.05)
    size, margin = int(FRAME_SECS * rate), int(MARGIN_SECS * rate)
    first, last = int(loud[0]) * size, (int(loud[-1]) + 1) * size
    before, after = samples[max(0, first - margin) : first], samples[last : last + margin]
    silence_before, silence_after = np.zeros(margin - len(before)), np.zeros(margin - len(after))
    return np.concatenate((silence_before, before, samples[first:last], after, silence_after))


def levelled(samples: Samples, rate: int) -> Samples:
    """The speech (not its pauses) at -20 dBov, unless a peak forbids it."""
    levels = frame_levels(samples, rate)
    speech = levels[levels > levels.max() * 0.1]
    gain = 10 ** (LEVEL_DBOV / 20) / np.sqrt((speech**2).mean())
    return samples * min(gain, PEAK / np.abs(samples).max())


def at_rate(samples: Samples, rate: int, wanted: int) -> Samples:
    if rate == wanted:
        return samples
    common = gcd(rate, wanted)
    return np.asarray(resample_poly(samples, wanted // common, rate // common))


def joined(take: Take, root: Path, suffix: str) -> tuple[Samples, int]:
    pieces: list[Samples] = []
    rate = 0
    for part in take.parts:
        name, start, end = part if isinstance(part, tuple) else (part, 0.0, None)
        samples, rate = read_audio(root / (name + suffix))
        samples = samples[int(start * rate) : None if end is None else int(end * rate)]
        if len(take.parts) > 1:
            margin = int((MARGIN_SECS - 0.01) * rate)
            samples = trimmed(samples, rate)[margin:-margin]
            if pieces:
                pieces.append(np.zeros(int(take.gap_secs * rate)))
        pieces.append(samples)
    return np.concatenate(pieces), rate


class Shelf:
    """Writes the WAVs and remembers what goes into callers.json."""

    def __init__(self) -> None:
        self.entries: list[dict[str, object]] = []
        OUT.mkdir(parents=True, exist_ok=True)
        for old in OUT.glob("*.wav"):
            old.unlink()

    def put(
        self, id: str, text: str, kind: str, voice: str, samples: Samples, rate: int, human: bool = True
    ) -> None:
        finished = levelled(trimmed(samples, rate), rate)
        with wave.open(str(OUT / f"{id}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(np.round(finished * 32767).astype("<i2").tobytes())
        self.entries.append(
            {"id": id, "text": text, "kind": kind, "voice": voice, "human": human, "rate_hz": rate,
             "duration_secs": round(len(finished) / rate, 3)}
        )  # fmt: skip


def from_phones(phones: str, voice: str) -> tuple[Samples, int]:
    """By the program, the library's `speak` takes words only."""
    command = ["flite", "-voice", voice, "-p", f"pau {phones} pau", "-o", "/dev/stdout"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    start = raw.index(b"data") + 8  # the header's sizes are not to be trusted in a pipe
    count = (len(raw) - start) // 2
    rate = int.from_bytes(raw[24:28], "little")
    return np.frombuffer(raw[start : start + 2 * count], "<i2").astype(np.float64) / 32768, rate


def put_synthetic(shelf: Shelf) -> None:
    for id, text, voice, phones in HUMMED:
        hummed, rate = from_phones(phones, voice)
        shelf.put(id, text, "backchannel", f"flite-{voice}", hummed, rate, human=False)
    flite = Flite()
    for id, text, voice, words in BACKCHANNELS:
        spoken = flite.speak(words, voice)
        samples = spoken.samples.astype(np.float64) / 32768
        shelf.put(id, text, "backchannel", f"flite-{voice}", samples, spoken.rate_hz, human=False)
    shelf.put("cough", "", "noise", "synthetic", cough(8000), 8000, human=False)
    shelf.put("knock", "", "noise", "synthetic", knock(8000), 8000, human=False)


def cough(rate: int) -> Samples:
    """Two bursts of noise through a throat's resonances: sharp attack, 60 ms decay."""
    random = np.random.default_rng(1)
    time = np.arange(int(0.32 * rate)) / rate
    burst = random.standard_normal(len(time)) * np.exp(-time / 0.06) * np.minimum(1, time / 0.004)
    throat = sum(
        np.asarray(lfilter(*butter(2, (low, high), "band", fs=rate), burst)) * gain
        for low, high, gain in ((350, 800, 1.0), (1100, 1700, 0.7), (2300, 3200, 0.4))
    )
    return np.concatenate((throat, throat * 0.7))


def knock(rate: int) -> Samples:
    """A handset laid on a table: two damped 180 Hz thuds."""
    time = np.arange(int(0.16 * rate)) / rate
    thud = np.sin(2 * np.pi * 180 * time) * np.exp(-time / 0.02)
    return np.concatenate((thud, thud * 0.6))


def main(root: Path) -> None:
    shelf = Shelf()
    for take in ASTERISK:
        shelf.put(take.id, take.text, take.kind, take.voice, *joined(take, root / ALLISON, ".wav"))
    for take in POCKETSPHINX:
        shelf.put(take.id, take.text, take.kind, take.voice, *joined(take, root / SPHINX, ""))
    spec = importlib.util.find_spec("moonshine_voice")
    assert spec is not None and spec.origin is not None, "pip install moonshine-voice==0.0.73"
    reading, rate = read_audio(Path(spec.origin).parent / "assets" / "two_cities.wav")
    for id, text, start, end in TWO_CITIES:
        cut = reading[int(start * rate) : int(end * rate)]
        shelf.put(id, text, "statement", "dickens", at_rate(cut, rate, 16000), 16000)
    put_synthetic(shelf)
    index = {
        "_comment": "Recorded callers, made by bench/make_callers.py. Origins, licences: LICENSES.md.",
        "dialogues": {
            "appointment": ["your-hours", "monday-at-ten", "juliet", "this-is-correct", "thank-you-goodbye"]
        },
        "recordings": shelf.entries,
    }
    (OUT / "callers.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
