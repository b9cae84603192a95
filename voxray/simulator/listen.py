"""Hears what the agent said: there is no text on a telephone line, so its audio is transcribed here.

After the call, never during it: a speech model on the same cores would slow the agent that is being measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from voxray.errors import VoxrayError
from voxray.frames import ULAW_8K, CallInfo, Utterance
from voxray.interfaces import Transcriber
from voxray.simulator.g711 import PACKET_BYTES, RATE_HZ, SILENCE_BYTE
from voxray.simulator.measure import AUDIBLE_RMS, Turn, level

_PAD_SECS = 0.3
_PIECE_SECS = 12.0  # speech models are trained on sentences; longer replies are cut at a quiet place


async def transcribe_turns(turns: Sequence[Turn], heard: bytes, transcriber: Transcriber) -> list[str]:
    """Fills in `Turn.heard`. `heard` is the whole call's playback (mu-law). Returns what went wrong."""
    problems: list[str] = []
    for turn in turns:
        if turn.reply_began is None or turn.reply_ended is None:
            continue
        audio = _between(heard, turn.reply_began, turn.reply_ended)
        try:
            texts = [await _text(piece, transcriber) for piece in pieces(audio)]
        except VoxrayError as error:
            problems.append(f"turn {turn.number}: the reply could not be transcribed: {error}")
            continue
        turn.heard = " ".join(text for text in texts if text)
    return problems


def pieces(audio: bytes) -> list[bytes]:
    """Cuts at the quietest packet of the last third whenever a piece would be too long."""
    found: list[bytes] = []
    longest = int(_PIECE_SECS * RATE_HZ)
    while len(audio) > longest:
        cut = _quietest(audio, longest * 2 // 3, longest)
        found.append(audio[:cut])
        audio = audio[cut:]
    return [*found, audio]


def _quietest(audio: bytes, start: int, end: int) -> int:
    places = range(start, end - PACKET_BYTES, PACKET_BYTES)
    return min(places, key=lambda at: level(audio[at : at + PACKET_BYTES])) + PACKET_BYTES // 2


def _between(heard: bytes, began_secs: float, ended_secs: float) -> bytes:
    """The audible stretch, with silence (not its neighbours' words) round it."""
    stretch = heard[int(began_secs * RATE_HZ) : int(ended_secs * RATE_HZ)]
    silence = bytes([SILENCE_BYTE]) * int(_PAD_SECS * RATE_HZ)
    return silence + stretch + silence


async def _text(audio: bytes, transcriber: Transcriber) -> str:
    if level(audio) < AUDIBLE_RMS / 4:
        return ""
    utterance = Utterance(audio, ULAW_8K, 0.0, len(audio) * 1000.0 / RATE_HZ)
    return (await transcriber.transcribe(utterance, CallInfo("caller"))).text.strip()
