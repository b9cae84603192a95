"""One simulated telephone call: the carrier's side of a media stream, without the socket.

`SimulatedCall` is given a clock and a way to send; it is fed the agent's messages. 50 packets a second
leave for as long as the call lasts, noise or silence when the caller says nothing, by a clock that does not
drift: what is due is counted from the start of the stream, so a late tick sends what it missed. Where the
carrier dials again after a loss the call goes on meanwhile, unheard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from voxray.simulator.channel import Channel, Clock
from voxray.simulator.earpiece import Earpiece
from voxray.simulator.g711 import PACKET_BYTES, SILENCE_BYTE
from voxray.simulator.line import SILENCE, Noise
from voxray.simulator.measure import PACKET_SECS, Measure, Turn
from voxray.simulator.performer import Act, Performer
from voxray.simulator.result import CallResult
from voxray.simulator.script import SPOKEN, Do, Patience, Script, Step
from voxray.simulator.twiml import StreamAnswer
from voxray.simulator.wires.twilio import CallerWire
from voxray.simulator.wires.vocabulary import (
    AgentMessage,
    CallIds,
    Quirks,
    SendKeys,
    Wire,
    WireFault,
)

MAX_FAULTS = 20
DTMF_GAP_SECS = 0.25
REDIAL_SECS = 0.5  # ours; no carrier says how long it waits


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
        self.quirks = quirks or Quirks()
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
        self.started = 0.0  # the clock at the first `start`
        self.redial: Callable[[], None] | None = None  # opens another socket, for a carrier that dials again
        self.next_verb: Callable[[], None] | None = None  # does what the answer says is next
        self._lost_at = 0.0
        self.on_begun: Callable[[], None] | None = None  # told of every `start`
        self._channel = Channel(clock, self._wire, self.quirks, self._begun)
        self._abort: Callable[[], None] | None = None
        self._later: list[Any] = []
        self._sent = self._stream_from = 0  # packets; the present stream's timestamps count from the second
        self._line = b""
        self._keys: list[tuple[float, str]] = []
        self._sent_audio = bytearray()
        self._ear: Earpiece | None = None  # from the first `start` on
        self._over = False

    # -- the socket's side ---------------------------------------------------
    def answered(self, answer: StreamAnswer) -> None:
        """What the webhook was answered."""
        self.parameters.update(answer.parameters)
        self.result.warnings += answer.warnings
        self._wire.answered(answer.url, answer.attributes)

    def start(
        self,
        send: Callable[[str], None],
        close: Callable[[int], None],
        abort: Callable[[], None] | None = None,
    ) -> None:
        """The socket is open, or another one after a loss. `send` takes one text message, `close` a close
        code; `abort` loses the socket.
        """
        self._abort = abort
        if self._over:
            close(1000)
        else:
            self._channel.opened(send, close, self.parameters)

    def _begun(self) -> None:
        """`start` has been sent."""
        if self.quirks.drop_after_secs and self._abort is not None and self._ear is None:
            self._wait(self.quirks.drop_after_secs, self._abort)
        self._stream_from = self._sent
        if self._lost_at:
            self.result.reattached.append(self._clock.seconds() - self._lost_at)
            self._lost_at = 0.0
        if self._ear is None:
            self.started = self._clock.seconds()
            self._ear = Earpiece(
                self.started, self._wire, self.quirks, self._channel, self._measure, self.result
            )
            self._ticker.start(PACKET_SECS, now=False).addErrback(self._broken)
        if self.on_begun is not None:
            self.on_begun()

    def _wait(self, secs: float, then: Callable[[], None]) -> None:
        self._later.append(self._clock.callLater(secs, then))

    def message(self, payload: bytes, is_binary: bool = False) -> None:
        """The agent sent a message."""
        if self._over or not self._channel.up:
            return
        try:
            if is_binary:
                raise self._wire.binary()
            self._obey(self._wire.read(payload, self._clock.seconds()))
        except WireFault as fault:
            self._note(str(fault))
            for text in self._wire.refused(fault):
                self._channel.send(text)
        for complaint in self._wire.complaints:
            self._note(complaint)
        self._wire.complaints.clear()

    def _note(self, fault: str) -> None:
        if len(self.result.faults) < MAX_FAULTS:
            self.result.faults.append(fault)

    def closed(self, code: int | None) -> None:
        """The socket is gone. The carrier dials again, or runs the next verb; without one it is over."""
        self.result.close_codes.append(code)
        self._channel.lost()
        if self._over or self._dials_again(code):
            return
        if self.next_verb is not None:
            self._lost_at = self._clock.seconds()
            self.next_verb()
        else:
            self.document_over()

    def document_over(self) -> None:
        """There is nothing more to do in the agent's document."""
        if not self._over:
            self._finish("agent-socket" if self.result.close_code == 1000 else "lost")

    def next_stream(self, answer: StreamAnswer, stream_sid: str) -> None:
        """The document connects the call again."""
        self._wire.next_stream(stream_sid)
        self.answered(answer)

    def refused(self, reason: str) -> None:
        """The handshake failed: there never was a stream, or it does not go on."""
        self._channel.lost()
        if not self._over and not self._dials_again(None):
            self.result.problems.append(reason)
            self._finish("lost" if self._ear else "refused")

    def _dials_again(self, code: int | None) -> bool:
        redial = self.redial
        if redial is None or not (self.quirks.redials and self._wire.redials(code, self.result.redials)):
            return False
        self.result.redials += 1
        self._wait(REDIAL_SECS, redial)
        return True

    def hung_up_by_agent(self) -> None:
        """The agent ended the call through the carrier's REST API."""
        if self.result.ended_by == "transferred":
            self.result.problems.append("the agent hung up a call that it had transferred")
        if not self._over:
            self._finish("agent")

    def transferred(self, to: str, problem: str = "") -> None:
        """The agent had the carrier connect the caller to somebody else: the stream is over, the call not."""
        if not self._over:
            self.result.transferred_to = to
            self.result.problems += [problem] if problem else []
            self._finish("transferred")

    def keys_from_agent(self, digits: str) -> None:
        """The agent pressed keys, by a message or through the REST API; the caller would hear them."""
        if not self._over:
            self.result.agent_keys += digits

    def hang_up(self, ended_by: str = "caller") -> None:
        """The caller (or the rig) ends the call."""
        if not self._over:
            self._finish(ended_by)

    def _obey(self, message: AgentMessage) -> None:
        if isinstance(message, SendKeys):
            self.keys_from_agent(message.digits)
        elif self._ear is not None:
            self._ear.obey(message, self._clock.seconds())

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
        assert self._ear is not None
        self._ear.advance(self.started + now)
        act = self._performer.poll(now, self._measure.ears())
        if act is not None:
            self._perform(act, now)
        if self._over:
            return
        if now >= self._max_secs:
            self.result.problems.append(f"the call was cut at {self._max_secs:g} s")
            self._finish("timeout")
            return
        self._press(now)
        payload = self._voice(now)
        self._sent = number
        self._sent_audio += payload
        if self._channel.up:
            for text in self._wire.voice(payload, (number - self._stream_from) * 20):
                self._channel.send(text)

    def _voice(self, now: float) -> bytes:
        if not self._line:
            return self._noise.packet()
        payload, self._line = self._line[:PACKET_BYTES], self._line[PACKET_BYTES:]
        if not self._line:
            self._performer.line_ended(now)
        return payload.ljust(PACKET_BYTES, bytes([SILENCE_BYTE]))

    def _press(self, now: float) -> None:
        while self._keys and self._keys[0][0] <= now:
            self._channel.send(self._wire.dtmf(self._keys.pop(0)[1], round(now * 1000)))

    def _perform(self, act: Act, now: float) -> None:
        step = act.step
        if act.problem:
            self._measure.turn.problems.append(act.problem)
        if step.do in SPOKEN or step.do is Do.DTMF:
            self._next_turn(step, now)
        elif step.do in (Do.HANG_UP, Do.EXPECT_HANG_UP):
            self._finish("caller")

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
    def _finish(self, ended_by: str) -> None:
        self._over = True
        for each in self._later:
            if each.active():
                each.cancel()
        if self._ticker.running:
            self._ticker.stop()
        result = self.result
        result.ended_by = ended_by
        result.turns = self._measure.turns
        result.packets_sent = self._sent
        result.duration_secs = self._sent * PACKET_SECS
        result.caller_audio = bytes(self._sent_audio)
        if self._ear is not None:
            result.agent_audio, result.marks_set = self._ear.audio, self._ear.marks_set
            self._tell(self._measure.turn)
        self._channel.end()
        result.undone = [step.label for step in self._performer.remaining]
        self.done.callback(result)

    def _broken(self, failure: Any) -> None:
        """A defect of ours must not look like a quiet agent."""
        self._log.failure("simulated call failed", failure=failure)
        self.result.problems.append(f"the simulator failed: {failure.getErrorMessage()}")
        if not self._over:
            self._finish("failed")
