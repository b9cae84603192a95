"""The caller's voice: recordings and synthesized lines become mu-law at 8 kHz before the call begins.

Everything is made in advance so that nothing but sending happens while a call is measured. Recordings are
whole files, so they are resampled in one piece, without a stream's compromises.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxray.frames import CallInfo, Encoding, MediaFormat
from voxray.interfaces import Synthesizer
from voxray.simulator import g711
from voxray.simulator.script import SPOKEN, BadScript, Do, Step

CALLERS = Path(__file__).parents[1] / "data" / "callers"
HUMMED = {"mhm": "mm-hmm.wav", "mm-hmm": "mm-hmm.wav", "uh-huh": "uh-huh.wav"}
"""Back-channels that a voice would spell out ("M, H, M"): the shipped ones are played, which are hummed."""

MAX_RECORDING_SECS = 120.0
_NOISE_SECS = 4.0


def load_wav(path: Path) -> bytes:
    """A PCM16 WAV of any rate, mono or stereo (mixed), as mu-law. Raises BadScript."""
    try:
        with wave.open(str(path), "rb") as reader:
            rate, channels, width = reader.getframerate(), reader.getnchannels(), reader.getsampwidth()
            if width != 2:
                raise BadScript(f"{path}: {8 * width} bit samples; 16 bit PCM is needed")
            if not 4000 <= rate <= 192_000:
                raise BadScript(f"{path}: a rate of {rate} Hz; 4000 to 192000 is needed")
            frames = reader.readframes(int(rate * MAX_RECORDING_SECS))
    except OSError as error:
        raise BadScript(f"{path}: {error.strerror or error}") from None
    except (EOFError, wave.Error) as error:
        raise BadScript(f"{path}: not a WAV file: {error or 'it ends early'}") from None
    samples = np.frombuffer(frames[: len(frames) // (2 * channels) * 2 * channels], dtype="<i2")
    mono = samples.reshape(-1, channels).astype(np.float64).mean(axis=1)
    if not mono.size:
        raise BadScript(f"{path}: no audio in it")
    return g711.encode(_at_8k(mono, rate))


def to_mulaw(payload: bytes, media_format: MediaFormat) -> bytes:
    """A synthesizer's audio as mu-law."""
    if media_format.encoding is Encoding.ULAW and media_format.rate_hz == g711.RATE_HZ:
        return payload
    if media_format.encoding is not Encoding.L16:
        raise BadScript(f"a voice that speaks {media_format.encoding.value} cannot be the caller's")
    samples = np.frombuffer(payload[: len(payload) // 2 * 2], dtype="<i2").astype(np.float64)
    return g711.encode(_at_8k(samples, media_format.rate_hz))


def _at_8k(samples: NDArray[np.float64], rate_hz: int) -> NDArray[np.int16]:
    if rate_hz != g711.RATE_HZ and samples.size:
        from scipy.signal import resample_poly  # a second's import, seldom needed

        shared = gcd(rate_hz, g711.RATE_HZ)
        samples = resample_poly(samples, g711.RATE_HZ // shared, rate_hz // shared)
    return np.clip(np.round(samples), -32768, 32767).astype(np.int16)


def line_noise(level_dbfs: float, seed: int = 1) -> bytes:
    """Four seconds of white noise, the same for the same seed: what a quiet line sounds like."""
    scale = 32768.0 * 10 ** (level_dbfs / 20.0)
    samples = np.random.default_rng(seed).normal(0.0, scale, int(_NOISE_SECS * g711.RATE_HZ))
    return g711.encode(np.clip(np.round(samples), -32768, 32767).astype(np.int16))


async def prepare(steps: Sequence[Step], synthesizer: Synthesizer | None) -> tuple[Step, ...]:
    """The steps with their audio. Raises BadScript."""
    return tuple([await _prepared(step, synthesizer) for step in steps])


async def _prepared(step: Step, synthesizer: Synthesizer | None) -> Step:
    if step.do not in SPOKEN or step.audio:
        return step
    nod = HUMMED.get(step.text.strip(" .").lower()) if step.do is Do.BACKCHANNEL else None
    if step.file or nod:
        path = Path(step.file) if step.file else CALLERS / str(nod)
        return replace(step, audio=load_wav(path))
    if synthesizer is None:
        raise BadScript(f"no voice to say {step.text!r:.60} with; play a WAV file instead")
    return replace(step, audio=await _synthesized(step.text, synthesizer))


async def _synthesized(text: str, synthesizer: Synthesizer) -> bytes:
    """One line. The pieces are joined before they are resampled, so there are no seams."""
    pieces: list[bytes] = []
    spoken_format: MediaFormat | None = None
    async with aclosing(synthesizer.synthesize(text, CallInfo("caller"))) as speech:
        async for piece in speech:
            spoken_format = piece.media_format
            pieces.append(piece.payload)
    if spoken_format is None:
        raise BadScript(f"the voice made no sound of {text!r:.60}")
    return to_mulaw(b"".join(pieces), spoken_format)
