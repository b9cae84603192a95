"""The caller's voice, from packets to what it means for the turn: windows, stretches of speech, utterances.

A packet is only appended here; work is done once a window (32 ms) is complete. Time is media time: a burst
after a network stall does not shorten a pause. Audio is remembered in the wire's codec, and only as far back
as an utterance may begin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from twisted.internet.interfaces import IReactorTime

from voxray.audio.codec import OddByteCarry, codec_for
from voxray.audio.formats import HEARING_HZ, heard_as
from voxray.audio.resample import Resampler
from voxray.call.inlet import Inlet
from voxray.frames import MediaFormat, Utterance
from voxray.interfaces import VoiceActivity
from voxray.metrics import Metrics
from voxray.settings import TurnSettings
from voxray.turns.bargein import BargeInDetector, Decision
from voxray.turns.endpointing import Endpointer, TurnEnded, TurnEvent, TurnPaused, TurnPiece

_SLACK_MS = 1000.0
"""Kept beyond the pre-speech padding: the detector's answers come a little after the audio."""


class EarListener(Protocol):
    """Who is told."""

    def speech_started(self) -> None: ...

    def speech_paused(self, utterance: Utterance) -> None: ...

    def speech_piece(self, utterance: Utterance) -> None: ...

    def barge_in(self, onset_secs: float) -> None: ...

    def turn_ended(self, utterance: Utterance, speech_end: float) -> None: ...


class Ear:
    """One call's ear."""

    def __init__(
        self,
        *,
        wire: MediaFormat,
        activity: VoiceActivity,
        settings: TurnSettings,
        listener: EarListener,
        agent_speaks: Callable[[], bool],
        clock: IReactorTime,
        crashed: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        """`crashed` is called in an `except` block: a fault of ours on the way from window to turn."""
        self._wire, self._settings, self._listener = wire, settings, listener
        self._agent_speaks, self._clock, self._crashed = agent_speaks, clock, crashed
        self._samples = _samples_of(wire)
        self._whole = OddByteCarry(wire.sample_bytes)
        self._per_ms = wire.bytes_per_ms
        self._endpointer = Endpointer(settings)
        self._bargein = BargeInDetector(settings, HEARING_HZ)
        self._detector = activity.open(HEARING_HZ, self._window)
        window = self._detector.window_samples * wire.rate_hz // HEARING_HZ
        self._window_bytes = window * wire.sample_bytes
        self._window_ms = self._window_bytes / self._per_ms
        self._inlet = Inlet(self._ask, self._window_ms, settings.input_queue_cap, metrics)
        self._pending = bytearray()  # less than a window
        self._memory = bytearray()  # audio from `_memory_ms` on
        self._memory_ms = 0.0
        self._received_ms = 0.0
        self._judged_ms = 0.0
        self._dropped_ms = 0.0  # and not in the above: the ear was too far behind
        self._cut_ms = -1.0  # where the last piece of a long turn ended: no padding before the next
        self._last_packet = clock.seconds()
        self._agent_spoke = False
        self._closed = False

    @property
    def heard_ms(self) -> float:
        """All audio that came, silence too."""
        return self._received_ms + self._dropped_ms

    def hear(self, payload: bytes) -> None:
        """A packet of any size, even one that ends in the middle of a sample."""
        if self._closed:
            return
        payload = self._whole.feed(payload)
        self._received_ms += len(payload) / self._per_ms
        self._last_packet = self._clock.seconds()
        self._memory += payload
        pending = self._pending
        pending += payload
        size = self._window_bytes
        while len(pending) >= size and not self._closed:
            window = bytes(pending[:size])
            del pending[:size]
            if self._inlet.put(window):
                self._cut_out()

    def hint(self, text: str) -> None:
        """What the caller seems to have said so far."""
        self._endpointer.hint(text)

    def elapsed(self, now: float) -> None:
        """A stalled stream must not keep a turn open for ever."""
        stalled = now - self._last_packet
        if self._closed or not self._endpointer.in_turn or stalled < self._settings.stop_timeout_secs:
            return
        if (event := self._endpointer.force_end(self._judged_ms)) is not None:
            self._act(event)

    def close(self) -> None:
        """Nothing is heard any more."""
        if not self._closed:
            self._closed = True
            self._detector.close()
            self._inlet.close()
            self._memory.clear()

    # -- inside --------------------------------------------------------------
    def _window(self, probability: float, level: float, samples: NDArray[np.float32]) -> None:
        """The detector's answer for the next window in order."""
        if self._closed:
            return
        try:
            self._judge(probability, level, samples)
        except Exception:  # noqa: BLE001 - the detector would go on, and the call stay deaf
            self._crashed()
        else:
            self._inlet.answered()

    def _ask(self, window: bytes) -> None:
        self._detector.feed(self._samples(window))

    def _cut_out(self) -> None:
        """The oldest window that the detector does not have was dropped: no utterance has it either."""
        at = int(self._judged_ms + self._inlet.asked * self._window_ms - self._memory_ms) * self._per_ms
        del self._memory[at : at + self._window_bytes]
        self._received_ms -= self._window_ms
        self._dropped_ms += self._window_ms

    def _judge(self, probability: float, level: float, samples: NDArray[np.float32]) -> None:
        start_ms = self._judged_ms
        end_ms = self._judged_ms = start_ms + self._window_ms
        self._listen_for_barge_in(probability, level, samples, end_ms)
        for event in self._endpointer.feed(probability, level, start_ms, end_ms):
            self._act(event)
        if not self._endpointer.in_turn:
            self._forget(end_ms - self._settings.pre_speech_ms - _SLACK_MS)

    def _listen_for_barge_in(
        self, probability: float, level: float, samples: NDArray[np.float32], end_ms: float
    ) -> None:
        if self._agent_speaks() != self._agent_spoke:
            self._agent_spoke = not self._agent_spoke
            self._bargein.reset()
        if not self._agent_spoke:
            self._bargein.overhear(probability, level, samples)
            return
        if self._bargein.feed(probability, level, samples, end_ms) is Decision.INTERRUPT:
            onset_ms = self._bargein.started_ms
            self._listener.barge_in((self._received_ms - (onset_ms or end_ms)) / 1000)

    def _act(self, event: TurnEvent) -> None:
        if self._closed:  # by what the event before this one led to
            return
        if isinstance(event, TurnEnded):
            behind = (self._received_ms - event.end_ms) / 1000
            utterance = self._utterance(event.start_ms, event.end_ms)
            self._cut_ms = -1.0
            self._listener.turn_ended(utterance, self._clock.seconds() - behind)
        elif isinstance(event, TurnPaused):
            self._listener.speech_paused(self._utterance(event.start_ms, event.end_ms))
        elif isinstance(event, TurnPiece):
            self._listener.speech_piece(self._utterance(event.start_ms, event.end_ms, event.end_ms))
            self._cut_ms = event.end_ms
            self._forget(event.end_ms)
        else:
            self._listener.speech_started()

    def _utterance(self, start_ms: float, end_ms: float, until_ms: float | None = None) -> Utterance:
        """Speech with the padding before it; up to `until_ms`, or to what has been judged."""
        per_ms = self._per_ms
        padding = 0.0 if start_ms == self._cut_ms else self._settings.pre_speech_ms
        first = int(max(0.0, start_ms - padding - self._memory_ms)) * per_ms
        last = int((self._judged_ms if until_ms is None else until_ms) - self._memory_ms) * per_ms
        return Utterance(bytes(self._memory[first:last]), self._wire, start_ms, end_ms)

    def _forget(self, before_ms: float) -> None:
        """Drops audio older than `before_ms`, half a second or more at a time."""
        surplus = int(before_ms - self._memory_ms)
        if surplus >= _SLACK_MS / 2:
            del self._memory[: surplus * self._per_ms]
            self._memory_ms += surplus


def _samples_of(wire: MediaFormat) -> Callable[[bytes], NDArray[np.float32]]:
    """Windows of the wire's bytes, in order -> samples at `HEARING_HZ`. ValueError: no such codec."""
    codec = codec_for(wire)
    if not heard_as(wire).resamples:
        return codec.to_float
    resampler = Resampler(wire.rate_hz, HEARING_HZ)
    return lambda window: resampler.feed(codec.decode(window)).astype(np.float32) * np.float32(1 / 32_768)
