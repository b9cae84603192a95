"""What the agent says, as the caller gets it: played back, marks answered, measured."""

from __future__ import annotations

from voxray.simulator.channel import Channel
from voxray.simulator.g711 import PACKET_BYTES, RATE_HZ
from voxray.simulator.measure import Measure
from voxray.simulator.playout import Playout
from voxray.simulator.result import CallResult
from voxray.simulator.wires.vocabulary import AgentMessage, ClearAudio, PlayAudio, Quirks, SetMark, Wire


class Earpiece:
    """One call's, from the first `start` on; `now` is the caller's clock."""

    def __init__(
        self,
        started: float,
        wire: Wire,
        quirks: Quirks,
        channel: Channel,
        measure: Measure,
        result: CallResult,
    ) -> None:
        survive = quirks.marks_after_clear
        self._playout = Playout(
            started,
            marks_survive=wire.marks_survive_clear if survive is None else survive,
            spares_message=quirks.clear_spares_message,
        )
        self._started = started
        self._wire, self._quirks, self._channel = wire, quirks, channel
        self._measure, self._result = measure, result
        self._audio = bytearray()
        self._analysed = 0
        self._marks_due = 0

    @property
    def audio(self) -> bytes:
        """Everything that was heard, mu-law; silence included."""
        return bytes(self._audio)

    @property
    def marks_set(self) -> int:
        return self._playout.marks_set

    def obey(self, message: AgentMessage, now: float) -> None:
        """A message of the agent's; pressing keys is not among what is done here."""
        if isinstance(message, PlayAudio):
            self._result.media_received += 1
            self._measure.media(len(message.payload) / RATE_HZ, now - self._started)
            self._playout.media(message.payload, now, self._measure.speaking.audio)
        elif isinstance(message, SetMark):
            self._playout.mark(message.name, now)
            if not self._playout.pending:
                self._listen()
        elif isinstance(message, ClearAudio):
            self._clear(now)

    def _clear(self, now: float) -> None:
        self._result.clears += 1
        self._playout.clear(now)
        self._measure.clear(now - self._started)
        self._listen()
        for text in self._wire.cleared():
            self._channel.send(text)

    def advance(self, now: float) -> None:
        """Plays up to `now`."""
        self._playout.advance(now)
        self._listen()

    def _listen(self) -> None:
        """Takes what was heard, answers marks, measures whole packets."""
        heard = self._playout.take()
        for name in heard.marks:
            self._marks_due += 1
            self._echo(name, self._marks_due)
        for gap in heard.gaps:
            self._measure.gap(gap)
        self._audio += heard.audio
        while len(self._audio) - self._analysed >= PACKET_BYTES:
            packet = bytes(self._audio[self._analysed : self._analysed + PACKET_BYTES])
            self._analysed += PACKET_BYTES
            self._measure.agent_packet(packet, self._analysed / RATE_HZ, not self._playout.pending)

    def _echo(self, name: str, number: int) -> None:
        """The mark that is the call's `number`th to fall due, from 1."""
        if not self._quirks.marks or (number == 1 and not self._quirks.first_mark):
            return
        self._result.marks_echoed += 1
        self._measure.mark()
        self._channel.send(self._wire.mark(name))
