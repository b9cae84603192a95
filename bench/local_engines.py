"""The local engines side by side: word errors, CPU, and how long a caller waits.

    python bench/local_engines.py [--threads 2]

STT on the recorded humans, over u-law: as shipped (16 kHz by our resampler, the library's voice detector
off) next to the other ways of using the same model. TTS: every line of the scenario in every voice. CPU is
process time, so that a busy machine blurs it less; latency is wall time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.local_speech import by_telephone, index, recording, word_error_rate
from voxray.audio.codec import codec_for
from voxray.audio.resample import resampled
from voxray.frames import ULAW_8K, Utterance
from voxray.providers import moonshine, scenario
from voxray.providers.espeak import Espeak
from voxray.providers.flite import VOICES, Flite, Spoken
from voxray.providers.local_stt import tidy
from voxray.providers.local_tts import finished
from voxray.providers.moonshine import Moonshine, SpeechGate

Hear = Callable[[Utterance], str]


def wide(utterance: Utterance) -> NDArray[np.float32]:
    samples = codec_for(ULAW_8K).decode(utterance.payload)
    return resampled(samples, 8000, 16_000).astype(np.float32) / np.float32(32_768)


def shipped() -> Hear:
    gate, model = SpeechGate(), Moonshine()

    def hear(utterance: Utterance) -> str:
        samples = wide(utterance)
        return tidy(model.transcribe(samples)) if gate.holds_speech(samples, 16_000) else ""

    return hear


def at_8k() -> Hear:
    """The library's own upsampling."""
    model = Moonshine()
    original = moonshine.RATE_HZ

    def hear(utterance: Utterance) -> str:
        moonshine.RATE_HZ = 8000
        try:
            return tidy(model.transcribe(codec_for(ULAW_8K).to_float(utterance.payload)))
        finally:
            moonshine.RATE_HZ = original

    return hear


def with_its_detector() -> Hear:
    """The library's own voice detector on."""
    before = dict(moonshine._OPTIONS)
    moonshine._OPTIONS.pop("vad_threshold")
    try:
        model = Moonshine()
    finally:
        moonshine._OPTIONS.update(before)
    return lambda utterance: tidy(model.transcribe(wide(utterance)))


def with_hiss(id: str) -> Utterance:
    """The recording on a line that is not quite silent: white noise at -61 dBov, also before and after."""
    samples, rate = recording(id)
    around = np.zeros(int(0.4 * rate))
    whole = np.concatenate((around, samples, around))
    hiss = np.random.default_rng(3).standard_normal(whole.size) * 30
    return by_telephone(np.rint(whole + hiss).astype(np.int16), rate, 0.0)


def stt(ways: dict[str, Hear]) -> None:
    calls = [
        (entry["text"], by_telephone(*recording(entry["id"])))
        for entry in index()["recordings"]
        if entry["human"]
    ]
    audio = sum(codec_for(ULAW_8K).duration_ms(call.payload) for _, call in calls) / 1000
    print(f"STT: {len(calls)} human utterances, {audio:.0f} s with 0.4 s of silence at both ends")
    print(f"{'':24}{'WER':>7}{'RTF cpu':>9}{'median ms':>11}{'worst ms':>10}{'WER with hiss':>15}")
    hissing = [(e["text"], with_hiss(e["id"])) for e in index()["recordings"] if e["human"]]
    for name, hear in ways.items():
        hear(calls[0][1])
        waits, pairs, cpu = [], [], time.process_time()
        for text, call in calls:
            began = time.perf_counter()
            pairs.append((text, hear(call)))
            waits.append((time.perf_counter() - began) * 1000)
        cpu = time.process_time() - cpu
        hiss = word_error_rate([(text, hear(call)) for text, call in hissing])
        figures = f"{word_error_rate(pairs):7.3f}{cpu / audio:9.3f}{statistics.median(waits):11.0f}"
        print(f"{name:24}{figures}{max(waits):10.0f}{hiss:15.3f}")


def _all(hear: Hear, calls: list[Utterance]) -> None:
    for call in calls:
        hear(call)


def throughput(threads: int) -> None:
    """Do more models at once help? The engine uses all cores for one utterance already."""
    calls = [by_telephone(*recording(e["id"])) for e in index()["recordings"] if e["human"]][:20]
    audio = sum(codec_for(ULAW_8K).duration_ms(call.payload) for call in calls) / 1000
    for count in range(1, threads + 1):
        hearers = [shipped() for _ in range(count)]
        began = time.perf_counter()
        workers = [threading.Thread(target=_all, args=(hearers[n], calls[n::count])) for n in range(count)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        took = time.perf_counter() - began
        print(f"STT with {count} thread(s): {audio / took:.1f} s of audio a second")


def tts() -> None:
    own = scenario.load()
    values = {"day": "Monday", "time": "10 AM", "name": "Victor", "said": "good morning", "question": ""}
    lines = [own.fill(text, **values) for text in own.lines.values()]
    hear = shipped()
    flite, espeak = Flite(), Espeak()
    voices: dict[str, Callable[[str], Spoken]] = {
        **{voice: lambda text, voice=voice: flite.speak(text, voice) for voice in VOICES},
        "espeak": espeak.speak,
    }
    print(f"\nTTS: {len(lines)} lines; WER is the recognizer's above, after u-law")
    print(f"{'':24}{'WER':>7}{'RTF cpu':>9}{'median ms':>11}{'worst ms':>10}")
    for name, speak in voices.items():
        speak("ready")
        waits, pairs, cpu, audio = [], [], 0.0, 0.0
        for line in lines:
            began, cpu_began = time.perf_counter(), time.process_time()
            spoken = speak(line)
            samples = finished(spoken)
            cpu += time.process_time() - cpu_began
            waits.append((time.perf_counter() - began) * 1000)
            audio += samples.size / spoken.rate_hz
            pairs.append((line, hear(by_telephone(samples, spoken.rate_hz))))
        figures = f"{word_error_rate(pairs):7.3f}{cpu / audio:9.3f}{statistics.median(waits):11.0f}"
        print(f"{name:24}{figures}{max(waits):10.0f}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--threads", type=int, default=2, help="models at once, for the throughput table")
    chosen = options.parse_args()
    stt({"as shipped": shipped(), "8 kHz to the library": at_8k(), "its own VAD on": with_its_detector()})
    throughput(chosen.threads)
    tts()


if __name__ == "__main__":
    main()
