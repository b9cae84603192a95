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
from scipy.signal import butter, lfilter, resample_poly, sosfilt

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


# -- our own voice: pulses through resonances ------------------------------------
def _resonant(signal: NDArray[np.float64], hz: float, width_hz: float) -> NDArray[np.float64]:
    radius = np.exp(-np.pi * width_hz / RATE)
    poles = [1.0, -2 * radius * np.cos(2 * np.pi * hz / RATE), radius * radius]
    return np.asarray(lfilter([sum(poles)], poles, signal))


def _pulses(pitch_hz: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    phase = (np.cumsum(pitch_hz) / RATE) % 1.0
    opened = np.where(phase < 0.6, np.sin(np.pi * phase / 0.6) ** 2, 0.0)
    return np.asarray(np.diff(opened, prepend=0.0) + 0.02 * rng.standard_normal(len(opened)) * opened)


def murmur(rng: np.random.Generator) -> Signal:
    """ "mhm": one or two humps of a closed mouth's murmur, the pitch gliding, a puff or a dip between."""
    first, second, gap = (
        int(rng.integers(900, 2400)),
        int(rng.integers(1200, 3200)),
        int(rng.integers(0, 1000)),
    )
    if rng.random() < 0.3:
        envelope = np.hanning(first + second) ** 0.5
        gap = 0
    else:
        dip, last = np.full(gap, rng.uniform(0, 0.3)), np.hanning(second) ** 0.5 * rng.uniform(0.6, 1.3)
        envelope = np.concatenate([np.hanning(first) ** 0.5, dip, last])
    count = len(envelope)
    pitch = rng.uniform(85, 260) * np.linspace(1, rng.uniform(0.85, 1.4), count)
    source = _pulses(pitch, rng)
    made = _resonant(source, rng.uniform(220, 330), rng.uniform(60, 120))
    made = made + rng.uniform(0.01, 0.08) * _resonant(source, rng.uniform(900, 1200), 150)
    made = (made + rng.uniform(0.005, 0.05) * _resonant(source, rng.uniform(2000, 2500), 250)) * envelope
    if gap > 100:
        puff = np.zeros(count)
        puff[first : first + gap] = np.hanning(gap) * rng.standard_normal(gap)
        puff *= rng.uniform(0, 0.25) * np.abs(made).max()
        made = made + sosfilt(butter(1, [400, 2500], "bandpass", fs=RATE, output="sos"), puff)
    return np.asarray(made, np.float32)


def voiced_cough(rng: np.random.Generator) -> Signal:
    """One to three: a burst, breath through an open throat and often some voice at the end."""
    parts = []
    size = rng.uniform(0.85, 1.25)
    for _ in range(int(rng.integers(1, 4))):
        burst, breath = int(rng.uniform(0.02, 0.06) * RATE), int(rng.uniform(0.08, 0.25) * RATE)
        tail = int(rng.uniform(0.04, 0.15) * RATE) if rng.random() < 0.6 else 0
        fading = rng.uniform(0.2, 0.5) * np.exp(-np.arange(breath) / (0.6 * breath))
        loud = np.concatenate([np.exp(-np.arange(burst) / (0.4 * burst)), fading, np.zeros(tail)])
        source = loud * rng.standard_normal(len(loud))
        if tail:
            pitch = rng.uniform(120, 350) * np.linspace(1, rng.uniform(0.6, 0.9), tail)
            source[burst + breath :] += _pulses(pitch, rng) * np.hanning(tail) * rng.uniform(0.3, 1.5)
        for hz, width in ((650, 150), (1250, 200), (2600, 300)):
            source = 0.6 * _resonant(source, hz * size, width) + 0.4 * source
        parts += [source, np.zeros(int(rng.uniform(0.05, 0.35) * RATE))]
    return np.asarray(np.concatenate(parts[:-1]), np.float32)


def throat_cleared(rng: np.random.Generator) -> Signal:
    """A rough, low, irregular voice with noise in it, once or twice."""
    parts = []
    for _ in range(int(rng.integers(1, 3))):
        count = int(rng.uniform(0.15, 0.4) * RATE)
        wander = 1 + 0.25 * lfilter([0.02], [1, -0.98], rng.standard_normal(count))
        pitch = np.abs(rng.uniform(40, 110) * np.linspace(1, rng.uniform(0.7, 1.2), count) * wander)
        source = _pulses(pitch, rng) * 3 + rng.uniform(0.1, 0.5) * rng.standard_normal(count)
        source = source * np.hanning(count) ** 0.6
        for hz, width in ((450, 150), (1100, 200), (2300, 300)):
            source = 0.7 * _resonant(source, hz * rng.uniform(0.9, 1.1), width) + 0.3 * source
        parts += [source, np.zeros(int(rng.uniform(0.03, 0.2) * RATE))]
    return np.asarray(np.concatenate(parts[:-1]), np.float32)


def thump(rng: np.random.Generator) -> Signal:
    """Knocks: a damped tone with a click."""
    parts = []
    for _ in range(int(rng.integers(1, 5))):
        time = np.arange(int(rng.uniform(0.08, 0.4) * RATE)) / RATE
        body = np.sin(2 * np.pi * rng.uniform(60, 700) * time) * np.exp(-time / rng.uniform(0.01, 0.06))
        click = 0.3 * rng.standard_normal(len(time)) * np.exp(-time / rng.uniform(0.005, 0.03))
        parts += [body + click, np.zeros(int(rng.uniform(0.02, 0.3) * RATE))]
    return np.asarray(np.concatenate(parts), np.float32)


def modelled(rng: np.random.Generator, count: int) -> list[Sound]:
    """`count` of each: all synthetic."""
    kinds = {"mhm (model)": murmur, "cough (model)": voiced_cough, "throat (model)": throat_cleared}
    made = [Sound(kind, str(n), make(rng)) for kind, make in kinds.items() for n in range(count)]
    return made + [Sound("knock (model)", str(n), thump(rng)) for n in range(count // 2)]


def is_for_fitting(hum: Sound) -> bool:
    """Half of the synthesizers' voices; the bench reports on the other half."""
    return hum.name.startswith(("en-us [[", "en-us+m3", "rms", "kal16"))
