"""Sounds for bench/turns.py and bench/vad.py: what callers say, and what must not pass for it.

People: the recordings in voxray/data/callers, and any 16 bit WAV under `$VOXRAY_SOUNDS/speech*/`.
Not speech: coughs, sneezes and the like under `$VOXRAY_SOUNDS/<kind>/` (people's), and what is synthetic
and says so in its kind: noise bursts shaped like coughs, hums by espeak-ng and flite, noises by numpy.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import wave
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, resample_poly, sosfilt

Signal = NDArray[np.float32]
RATE = 8000
CALLERS = Path(__file__).parent.parent / "voxray" / "data" / "callers"
SPEECH_DB = -26.0  # active level of telephone speech, dBov (ITU-T P.56 practice)
NOT_SPEECH = {"cough", "knock", "mm-hmm", "uh-huh"}
WORDS_NOT_TURNS = {"okay", "right"}  # back-channels when said over the agent

_MOBILE = butter(2, 80, "highpass", fs=RATE, output="sos")
_LANDLINE = butter(4, [300, 3400], "bandpass", fs=RATE, output="sos")


@dataclass(frozen=True, slots=True)
class Sound:
    kind: str
    name: str
    samples: Signal
    text: str = ""


def read_wav(source: Path | bytes) -> Signal:
    """16 bit WAV of any rate and channels -> mono float32 at 8 kHz. A header's sizes are not trusted."""
    raw = source if isinstance(source, bytes) else source.read_bytes()
    with wave.open(io.BytesIO(raw)) as reader:
        rate, channels = reader.getframerate(), reader.getnchannels()
        if reader.getsampwidth() != 2:
            raise ValueError("not 16 bit")
    start = raw.index(b"data") + 8
    pcm = np.frombuffer(raw[start : start + (len(raw) - start) // 2 * 2], "<i2").astype(np.float32) / 32768
    mono = pcm[: len(pcm) // channels * channels].reshape(-1, channels).mean(axis=1)
    common = gcd(RATE, rate)
    return np.asarray(resample_poly(mono, RATE // common, rate // common), np.float32)


def packet_levels(signal: Signal) -> Signal:
    count = len(signal) // 160
    return np.asarray(
        np.sqrt((signal[: count * 160].reshape(count, 160) ** 2).mean(axis=1) + 1e-12), np.float32
    )


def trim(signal: Signal, below_db: float = 20.0) -> Signal:
    """From the first 20 ms packet within `below_db` of the active level to the last such."""
    levels = packet_levels(signal)
    if not len(levels):
        return signal
    loud = np.nonzero(levels > np.percentile(levels, 90) * 10 ** (-below_db / 20))[0]
    return signal[loud[0] * 160 : (loud[-1] + 1) * 160]


def at_level(signal: Signal, db: float) -> Signal:
    levels = packet_levels(signal)
    active = np.sqrt((levels[levels > levels.max() * 0.1] ** 2).mean())
    return np.asarray(signal * (10 ** (db / 20) / active), np.float32)


def ulaw_coded(signal: Signal) -> Signal:
    """Through G.711 and back."""
    pcm = np.clip(np.round(signal * 32768), -32635, 32635).astype(int)
    magnitude = np.abs(pcm) + 132
    exponent = np.floor(np.log2(magnitude)).astype(int) - 7
    mantissa = (magnitude >> (exponent + 3)) & 15
    value = (((mantissa << 3) + 132) << exponent) - 132
    return np.asarray(np.where(pcm < 0, -value, value) / 32768, np.float32)


def over_the_phone(signal: Signal, landline: bool) -> Signal:
    return np.asarray(sosfilt(_LANDLINE if landline else _MOBILE, signal), np.float32)


def noise(kind: str, count: int, rng: np.random.Generator) -> Signal:
    """RMS 1: white, pink, hum (mains and harmonics), clicks, door (slams), babble (six of our voices)."""
    time = np.arange(count) / RATE
    if kind == "white":
        made = rng.standard_normal(count)
    elif kind == "pink":
        spectrum = rng.standard_normal(count // 2 + 1) + 1j * rng.standard_normal(count // 2 + 1)
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        spectrum[0] = 0
        made = np.fft.irfft(spectrum, count)
    elif kind == "hum":
        made = sum(np.sin(2 * np.pi * 50 * n * time) / n for n in range(1, 12))
    elif kind == "clicks":
        made = np.where(rng.random(count) < 0.001, rng.choice([-1.0, 1.0], count) * 20, 0.0)
        made = made + 0.02 * rng.standard_normal(count)
    elif kind == "door":
        made = 0.02 * rng.standard_normal(count)
        for start in rng.integers(0, max(count - 2400, 1), max(1, count // 12000)):
            length = min(2400, count - start)
            body = np.exp(-np.arange(length) / 350) * rng.standard_normal(length)
            made[start : start + length] += sosfilt(butter(2, 500, fs=RATE, output="sos"), body) * 12
    elif kind == "babble":
        voices = [s.samples for s in callers() if len(s.samples) > RATE]
        made = np.zeros(count)
        for pick in rng.choice(len(voices), 6, replace=False):
            voice = at_level(voices[pick], -20.0)
            turned = np.roll(np.resize(voice, count), int(rng.integers(count)))
            made += turned
    else:
        raise ValueError(kind)
    return np.asarray(made / (np.std(made) + 1e-9), np.float32)


NOISES = ("white", "pink", "hum", "clicks", "door", "babble")


def place(
    sound: Signal,
    rng: np.random.Generator,
    *,
    db: float,
    snr_db: float,
    landline: bool,
    tail_secs: float = 1.0,
) -> tuple[Signal, float]:
    """The sound on a line with pink noise, a random second into it, through u-law; and its onset in ms."""
    lead = int(rng.integers(RATE, RATE + 2560))
    whole = np.zeros(lead + len(sound) + int(tail_secs * RATE), np.float32)
    whole[lead : lead + len(sound)] = at_level(sound, db)
    whole += noise("pink", len(whole), rng) * 10 ** ((db - snr_db) / 20)
    return ulaw_coded(over_the_phone(whole, landline)), lead / 8


# -- collections ---------------------------------------------------------------
def callers(human: bool = True) -> list[Sound]:
    """The recordings that ship, without those that are no speech."""
    listing = json.loads((CALLERS / "callers.json").read_text())["recordings"]
    return [
        Sound("people", r["id"], read_wav(CALLERS / f"{r['id']}.wav"), r["text"])
        for r in listing
        if r["human"] is human and r["id"] not in NOT_SPEECH
    ]


def collected(limit: int = 60) -> list[Sound]:
    """What `$VOXRAY_SOUNDS` has; the directory's name is the kind."""
    root = os.environ.get("VOXRAY_SOUNDS", "")
    found: list[Sound] = []
    for folder in sorted(Path(root).iterdir()) if root else []:
        paths = sorted(folder.glob("*.wav"))
        some = paths[:: max(1, len(paths) // limit)][:limit]
        found += [Sound(folder.name, path.name, trim(read_wav(path))[: 4 * RATE]) for path in some]
    return found


def _espeak(text: str, voice: str, pitch: int, speed: int) -> Signal:
    command = ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(speed), "--stdout", text]
    return read_wav(subprocess.run(command, capture_output=True, check=True).stdout)


def _flite(phones: str, voice: str) -> Signal:
    command = ["flite", "-voice", voice, "-p", f"pau {phones} pau", "-o", "/dev/stdout"]
    return read_wav(subprocess.run(command, capture_output=True, check=True).stdout)


def hums() -> list[Sound]:
    """ "mhm" and "uh-huh" from phonemes: given as words, both engines spell them out ("em aitch em")."""
    made: list[Sound] = []
    espeak = {
        "mhm": ("[[m:m:]]", "[[m'mh'm]]", "[[m'm:hm:]]", "[[h'm:]]"),
        "uh-huh": ("[[,Vh'V]]", "[[,Vnh'Vn]]"),
    }
    flite = {
        "mhm": ("m m m hh m m m", "m m hh m m", "hh m m m m m"),
        "uh-huh": ("ah hh ah", "uh ah hh ah ah"),
    }
    if shutil.which("espeak-ng"):
        for kind, texts in espeak.items():
            for text in texts:
                for voice in ("en-us", "en-gb", "en-us+f2", "en-us+m3"):
                    for pitch, speed in ((30, 120), (50, 170), (70, 140)):
                        made.append(
                            Sound(
                                f"{kind} (espeak)",
                                f"{voice} {text}",
                                trim(_espeak(text, voice, pitch, speed)),
                            )
                        )
    if shutil.which("flite"):
        for kind, texts in flite.items():
            for text in texts:
                made += [
                    Sound(f"{kind} (flite)", f"{voice} {text}", trim(_flite(text, voice)))
                    for voice in ("rms", "slt", "awb", "kal16")
                ]
    return made


def coughs(rng: np.random.Generator, count: int = 60) -> list[Sound]:
    """Synthetic: one to three bursts, each an explosion of noise through a tract, with a voiced tail."""
    made = []
    for number in range(count):
        bursts = []
        for _ in range(int(rng.integers(1, 4))):
            length = int(rng.integers(1200, 3200))
            time = np.arange(length) / RATE
            envelope = np.minimum(time / 0.008, 1) * np.exp(-time / rng.uniform(0.04, 0.12))
            centre = rng.uniform(600, 1500)
            tract = butter(1, [centre * 0.6, min(centre * 1.7, 3800)], "bandpass", fs=RATE, output="sos")
            breath = sosfilt(tract, rng.standard_normal(length)) * 2 + 0.15 * rng.standard_normal(length)
            pitch = rng.uniform(120, 320) * (1 - 0.3 * time / time[-1])
            voiced = sosfilt(tract, np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / RATE)))
            tail = np.clip((time - 0.1) / 0.05, 0, 1) * rng.uniform(0, 0.8)
            bursts += [envelope * (breath + tail * voiced), np.zeros(int(rng.integers(400, 2400)))]
        made.append(Sound("cough (synthetic)", str(number), np.concatenate(bursts[:-1]).astype(np.float32)))
    return made


def shipped_noises() -> list[Sound]:
    """The cough, knock and hums among the callers."""
    return [Sound(f"{n} (shipped)", n, trim(read_wav(CALLERS / f"{n}.wav"))) for n in sorted(NOT_SPEECH)]


def pure_noises(rng: np.random.Generator) -> list[Sound]:
    """Three seconds of each noise, ten times, as it comes at 20 dB under speech."""
    return [Sound(f"noise: {kind}", str(n), noise(kind, 3 * RATE, rng)) for kind in NOISES for n in range(10)]
