"""What a call was like: turns, latencies, interruptions, gaps. Pure; times in seconds since the stream began.

A *turn* begins when the caller begins to speak (turn 0, the greeting, when the stream begins) and lasts
until the next. Latency is taken at the ear: from the caller's last audible packet to the first audible
packet out of the playback buffer, so the agent's lead and its leading silence count. Audible means an RMS
over -46 dBFS in 20 ms. How much of a reply was heard is counted in samples, whatever it sounds like.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from voxray.simulator.g711 import PACKET_BYTES, RATE_HZ, SILENCE_BYTE, decode
from voxray.simulator.performer import Ears
from voxray.simulator.playout import Gap, Spoken
from voxray.simulator.script import SPOKEN, Do, Step

PACKET_SECS = 0.02
AUDIBLE_RMS = 0.005  # -46 dBFS
_SILENCE = bytes([SILENCE_BYTE]) * PACKET_BYTES
_BREATH_SECS = 0.1  # quiet shorter than this is inside a word
_PAUSE_SECS = 1.0  # audio that has been silence for so long is no longer the turn before
_LONGEST_GAP_SECS = 1.0  # a dry buffer for longer is a pause, not a stutter


def level(packet: bytes) -> float:
    """Linear RMS of a mu-law packet, 0..1."""
    if not packet or packet == _SILENCE:
        return 0.0
    samples = decode(packet).astype(np.float32)
    return float(np.sqrt(np.mean(samples * samples))) / 32768.0


def audible_span(audio: bytes) -> tuple[float, float]:
    """First and last moment of a recording that is speech; (0, 0) if none is.

    Relative to the recording's own level as well: a breath 26 dB below the voice is not the end of a
    sentence.
    """
    levels = [level(audio[at : at + PACKET_BYTES]) for at in range(0, len(audio), PACKET_BYTES)]
    floor = max(AUDIBLE_RMS, 0.05 * max(levels, default=0.0))
    loud = [number for number, each in enumerate(levels) if each >= floor]
    if not loud:
        return 0.0, 0.0
    return loud[0] * PACKET_SECS, (loud[-1] + 1) * PACKET_SECS


@dataclass(slots=True)
class Turn:
    """One turn as the caller lived it; None where it did not happen."""

    number: int
    kind: str
    said: str
    began: float
    step: Step | None = None
    speech_began: float | None = None  # the caller's first audible packet
    speech_ended: float | None = None  # and the last
    first_media: float | None = None  # first media message of the reply
    reply_began: float | None = None
    reply_ended: float | None = None
    cut_off: bool = False  # the agent began before the caller had finished
    clear_at: float | None = None
    stopped_at: float | None = None  # the agent went quiet after the caller spoke over it
    stale_secs: float = 0.0  # media that came after the clear while the caller was still speaking
    gaps: list[Gap] = field(default_factory=list)
    marks: int = 0
    problems: list[str] = field(default_factory=list)
    heard: str | None = None  # the agent's words, transcribed
    audio: Spoken = field(default_factory=Spoken)  # the reply's, as it fared in the playback buffer

    @property
    def spoken(self) -> bool:
        """Whether the caller spoke (keys may be answered one by one)."""
        return self.step is not None and self.step.do in SPOKEN

    @property
    def answers(self) -> bool:
        """Whether the agent's speech in this turn is an answer; it is not after the greeting or an "mhm"."""
        return self.step is not None and self.step.do is not Do.BACKCHANNEL

    @property
    def latency_ms(self) -> float | None:
        """Last audible packet of the caller's to the first audible of the reply; for a greeting from the
        start.
        """
        if self.reply_began is None or self.cut_off:
            return None
        if self.step is None:
            return (self.reply_began - self.began) * 1000.0
        since = self.speech_ended if self.answers else None
        return None if since is None else max(0.0, (self.reply_began - since) * 1000.0)

    @property
    def clear_ms(self) -> float | None:
        """First audible packet of a barge-in to the clear that answered it."""
        if self.clear_at is None or self.speech_began is None:
            return None
        return (self.clear_at - self.speech_began) * 1000.0

    @property
    def heard_ms(self) -> float:
        """How much of the reply's audio came out of the earpiece, its own pauses included, gaps not."""
        return self.audio.played * 1000.0 / RATE_HZ

    @property
    def dropped_ms(self) -> float:
        """How much of it a clear threw away."""
        return self.audio.dropped * 1000.0 / RATE_HZ

    @property
    def gap_ms(self) -> float:
        return sum(gap.length_secs for gap in self.gaps) * 1000.0


class Measure:
    """Fed packet by packet and event by event, in order of time."""

    def __init__(self) -> None:
        self.turns = [Turn(0, "greeting", "", 0.0)]
        self._quiet_since: float | None = 0.0
        self._carried = False  # the agent's audio is still that of the turn before
        self._spoken_secs = 0.0

    @property
    def turn(self) -> Turn:
        return self.turns[-1]

    def ears(self) -> Ears:
        """What the performer needs to know."""
        return Ears(self._quiet_since, self.turn.reply_began, self._spoken_secs)

    def line_began(self, step: Step, now: float) -> Turn:
        """The caller begins to speak; a new turn."""
        first, last = audible_span(step.audio)
        talking = self._quiet_since is None
        turn = Turn(len(self.turns), step.do.value, step.label, now, step, now + first, now + last)
        self.turns.append(turn)
        self._carried = talking
        self._spoken_secs = 0.0
        return turn

    def keys_pressed(self, step: Step, now: float) -> Turn:
        """Keys are a turn of their own; its reply counts from the last key."""
        turn = Turn(len(self.turns), step.do.value, step.label, now, step, now, now)
        self.turns.append(turn)
        self._carried = self._quiet_since is None
        self._spoken_secs = 0.0
        return turn

    @property
    def speaking(self) -> Turn:
        """The turn whose reply the agent's audio is that arrives now: until a clear, the one spoken over."""
        carried = self._carried and self.turn.clear_at is None
        return self.turns[-2] if carried else self.turn

    def agent_packet(self, packet: bytes, now: float, dry: bool = True) -> None:
        """20 ms that ended at `now` came out of the playback buffer; `dry`: there is nothing more in it."""
        began = now - PACKET_SECS
        if level(packet) < AUDIBLE_RMS:
            self._agent_quiet(began, dry)
            return
        self._quiet_since = None
        owner = self.turns[-2] if self._carried else self.turn
        owner.reply_ended = now
        if self._carried:
            return
        self._spoken_secs += PACKET_SECS
        if owner.reply_began is None:
            owner.reply_began = began
            early = began < (owner.speech_ended or 0.0) - PACKET_SECS
            owner.cut_off = early and owner.spoken and owner.answers

    def _agent_quiet(self, began: float, dry: bool) -> None:
        """A pause between two sentences is not the end of a reply that is still being played."""
        if self._quiet_since is None:
            self._quiet_since = began
        if not self._carried:
            return
        quiet = began - self._quiet_since
        if self.turn.clear_at is not None or quiet >= (_BREATH_SECS if dry else _PAUSE_SECS):
            self._carried = False
            self.turn.stopped_at = self._quiet_since

    def media(self, length_secs: float, now: float) -> None:
        """A media message came."""
        turn = self.turn
        if turn.clear_at is not None and turn.speech_ended is not None and now < turn.speech_ended:
            turn.stale_secs += length_secs
        elif turn.first_media is None and not self._carried:
            turn.first_media = now

    def clear(self, now: float) -> None:
        """A clear came. The first of a turn answers its barge-in."""
        if self.turn.clear_at is None:
            self.turn.clear_at = now

    def mark(self) -> None:
        self.turn.marks += 1

    def gap(self, gap: Gap) -> None:
        """The playback buffer ran dry and was filled again."""
        if self.turn.began <= gap.start_secs and 0.005 <= gap.length_secs <= _LONGEST_GAP_SECS:
            self.turn.gaps.append(gap)
