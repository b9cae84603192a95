"""One simulated telephone call: the carrier's side of a media stream, without the socket.

`SimulatedCall` is given a clock and a way to send; it is fed the agent's messages. 50 packets a second
leave for as long as the call lasts, noise or silence when the caller says nothing, by a clock that does not
drift: what is due is counted from the start of the stream, so a late tick sends what it missed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from voxray.simulator.g711 import PACKET_BYTES, SILENCE_BYTE
from voxray.simulator.line import SILENCE, Noise
from voxray.simulator.measure import PACKET_SECS, Measure, Turn
from voxray.simulator.performer import Act, Performer
from voxray.simulator.playout import Playout
from voxray.simulator.result import CallResult
from voxray.simulator.script import SPOKEN, Do, Patience, Script, Step
from voxray.simulator.twiml import StreamAnswer
from voxray.simulator.wires.twilio import CallerWire
from voxray.simulator.wires.vocabulary import (
    AgentMessage,
    CallIds,
    ClearAudio,
    PlayAudio,
    Quirks,
    SetMark,
    Wire,
    WireFault,
)

MAX_FAULTS = 20
DTMF_GAP_SECS = 0.25


class Clock(Protocol):
    """The reactor's or a test's; `seconds` must be monotonic."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> Any: ...


class SimulatedCall:
    """From `connected` to `stop`. `done` fires once, with the CallResult."""

    _log = Logger()

    def __init__(
        self,
        clock: Clock,
        ids: CallIds,
        script: Script,
        *,
        wire: Wire | None = None,
        quirks: Quirks | None = None,
        patience: Patience | None = None,
        parameters: Mapping[str, str] | None = None,
        noise: Noise | None = None,
        max_secs: float = 600.0,
        on_line: Callable[[Turn], None] | None = None,
        on_turn: Callable[[Turn], None] | None = None,
    ) -> None:
        """`wire` is the carrier's, Twilio's unless given; it decides what the rest of `quirks` means."""
        self.result = CallResult(ids, [])
        self.done: Deferred[CallResult] = Deferred()
        self._clock = clock
        self._wire = wire or CallerWire(
            account_sid=ids.account_sid, call_sid=ids.call_sid, stream_sid=ids.stream_sid
        )
        self._quirks = quirks or Quirks()
        self._patience = patience or Patience()
        self._performer = Performer(script, self._patience)
        self.parameters = dict(parameters or {})  # the answer's, sent in `start`
        self._noise = noise or Noise()
        self._max_secs = max_secs
        self._on_line = on_line  # told of a turn when the caller begins to speak
        self._on_turn = on_turn  # and when it is over
        self._measure = Measure()
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = clock  # type: ignore[assignment]  # Clock is all it uses
        self.started = 0.0  # the clock at `start`
        self._sent = 0
        self._line = b""
        self._keys: list[tuple[float, str]] = []
        self._sent_audio = bytearray()
        self._heard_audio = bytearray()
        self._analysed = 0
        self._marks_due = 0
        self._over = False
        self._running = False

    # -- the socket's side ---------------------------------------------------
    def answered(self, answer: StreamAnswer) -> None:
        """What the webhook was answered."""
        self.parameters.update(answer.parameters)
        self.result.warnings += answer.warnings
        self._wire.answered(answer.url, answer.attributes)

    def start(self, send: Callable[[str], None], close: Callable[[int], None]) -> None:
        """The socket is open. `send` takes one text message, `close` a close code."""
        self._send, self._close = send, close
        for text in self._wire.opening(self.parameters):
            send(text)
        self.started = self._clock.seconds()
        self._playout = Playout(self.started, marks_survive=self._wire.marks_survive_clear)
        self._running = True
        self._ticker.start(PACKET_SECS, now=False).addErrback(self._broken)

    def message(self, payload: bytes, is_binary: bool = False) -> None:
        """The agent sent a message."""
        if self._over or not self._running:
            return
        try:
            if is_binary:
                raise self._wire.binary()
            self._obey(self._wire.read(payload, self._clock.seconds()))
        except WireFault as fault:
            self._note(str(fault))
            for text in self._wire.refused(fault):
                self._send(text)
        for complaint in self._wire.complaints:
            self._note(complaint)
        self._wire.complaints.clear()

    def _note(self, fault: str) -> None:
        if len(self.result.faults) < MAX_FAULTS:
            self.result.faults.append(fault)

    def closed(self, code: int | None) -> None:
        """The socket is gone. The carrier runs the next verb; there is none, so the call is over."""
        self.result.close_code = code
        if not self._over:
            self._finish("agent-socket" if code == 1000 else "lost", hang_up=False)

    def refused(self, reason: str) -> None:
        """The handshake failed: there never was a stream."""
        if not self._over:
            self.result.problems.append(reason)
            self._finish("refused", hang_up=False)

    def hung_up_by_agent(self) -> None:
        """The agent ended the call through the carrier's REST API."""
        if not self._over:
            self._finish("agent", hang_up=True)

    def keys_from_agent(self, digits: str) -> None:
        """The agent pressed keys, by a message or through the REST API; the caller would hear them."""
        if not self._over:
            self.result.agent_keys += digits

    def hang_up(self, ended_by: str = "caller") -> None:
        """The caller (or the rig) ends the call."""
        if not self._over:
            self._finish(ended_by, hang_up=self._running)

    # -- the agent's messages ------------------------------------------------
    def _obey(self, message: AgentMessage) -> None:
        now = self._clock.seconds()
        if isinstance(message, PlayAudio):
            self.result.media_received += 1
            self._measure.media(len(message.payload) / 8000.0, now - self.started)
            self._playout.media(message.payload, now)
        elif isinstance(message, SetMark):
            self._playout.mark(message.name, now)
            if not self._playout.pending:
                self._listen()
        elif isinstance(message, ClearAudio):
            self._clear(now)
        else:
            self.keys_from_agent(message.digits)

    def _clear(self, now: float) -> None:
        self.result.clears += 1
        self._playout.clear(now)
        self._measure.clear(now - self.started)
        self._listen()
        for text in self._wire.cleared():
            self._send(text)

    def _echo(self, name: str, number: int) -> None:
        """The mark that is the call's `number`th to fall due, from 1."""
        if not self._quirks.marks or (number == 1 and not self._quirks.first_mark):
            return
        self.result.marks_echoed += 1
        self._measure.mark()
        self._send(self._wire.mark(name))

    def _listen(self) -> None:
        """Takes what was heard, answers marks, measures whole packets."""
        heard = self._playout.take()
        for name in heard.marks:
            self._marks_due += 1
            self._echo(name, self._marks_due)
        for gap in heard.gaps:
            self._measure.gap(gap)
        self._heard_audio += heard.audio
        while len(self._heard_audio) - self._analysed >= PACKET_BYTES:
            end = self._analysed + PACKET_BYTES
            self._measure.agent_packet(bytes(self._heard_audio[self._analysed : end]), end / 8000.0)
            self._analysed = end

    # -- the clock -----------------------------------------------------------
    def _tick(self) -> None:
        elapsed = self._clock.seconds() - self.started
        due = int(elapsed / PACKET_SECS + 1e-6)
        late_ms = (elapsed - (self._sent + 1) * PACKET_SECS) * 1000.0
        self.result.worst_tick_ms = max(self.result.worst_tick_ms, late_ms)
        while self._sent < due and not self._over:
            self._packet(self._sent + 1)

    def _packet(self, number: int) -> None:
        now = number * PACKET_SECS
        self._playout.advance(self.started + now)
        self._listen()
        act = self._performer.poll(now, self._measure.ears())
        if act is not None:
            self._perform(act, now)
        if self._over:
            return
        if now >= self._max_secs:
            self.result.problems.append(f"the call was cut at {self._max_secs:g} s")
            self._finish("timeout", hang_up=True)
            return
        self._press(now)
        payload = self._voice(now)
        self._sent = number
        self._sent_audio += payload
        for text in self._wire.voice(payload, number * 20):
            self._send(text)

    def _voice(self, now: float) -> bytes:
        if not self._line:
            return self._noise.packet()
        payload, self._line = self._line[:PACKET_BYTES], self._line[PACKET_BYTES:]
        if not self._line:
            self._performer.line_ended(now)
        return payload.ljust(PACKET_BYTES, bytes([SILENCE_BYTE]))

    def _press(self, now: float) -> None:
        while self._keys and self._keys[0][0] <= now:
            self._send(self._wire.dtmf(self._keys.pop(0)[1], round(now * 1000)))

    def _perform(self, act: Act, now: float) -> None:
        step = act.step
        if act.problem:
            self._measure.turn.problems.append(act.problem)
        if step.do in SPOKEN or step.do is Do.DTMF:
            self._next_turn(step, now)
        elif step.do in (Do.HANG_UP, Do.EXPECT_HANG_UP):
            self._finish("caller", hang_up=True)

    def _next_turn(self, step: Step, now: float) -> None:
        before = self._measure.turn
        if step.do is Do.DTMF:
            self._keys = [(now + n * DTMF_GAP_SECS, digit) for n, digit in enumerate(step.digits)]
            self._measure.keys_pressed(step, self._keys[-1][0])
        else:
            self._line = step.audio or SILENCE
            self._measure.line_began(step, now)
        self._tell(before)
        if self._on_line is not None:
            self._on_line(self._measure.turn)

    def _tell(self, turn: Turn) -> None:
        if self._on_turn is not None:
            self._on_turn(turn)

    # -- the end -------------------------------------------------------------
    def _finish(self, ended_by: str, *, hang_up: bool) -> None:
        self._over = True
        if self._ticker.running:
            self._ticker.stop()
        result = self.result
        result.ended_by = ended_by
        result.turns = self._measure.turns
        result.packets_sent = self._sent
        result.duration_secs = self._sent * PACKET_SECS
        result.caller_audio = bytes(self._sent_audio)
        result.agent_audio = bytes(self._heard_audio)
        if self._running:
            result.marks_set = self._playout.marks_set
            self._tell(self._measure.turn)
        if hang_up:
            for text in self._wire.ended():
                self._send(text)
            self._close(1000)
        result.undone = [step.label for step in self._performer.remaining]
        self.done.callback(result)

    def _broken(self, failure: Any) -> None:
        """A defect of ours must not look like a quiet agent."""
        self._log.failure("simulated call failed", failure=failure)
        self.result.problems.append(f"the simulator failed: {failure.getErrorMessage()}")
        if not self._over:
            self._finish("failed", hang_up=True)
