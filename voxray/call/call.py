"""One telephone call: holds its parts and forwards between them. Policy, sequence and text live elsewhere.

The socket tells it frames and, once, that it is gone; the registry tells it the time. Everything else it is
told by its own parts.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from voxray.audio.codec import codec_for
from voxray.call import machine
from voxray.call.conversation import Conversation
from voxray.call.dialogue import Dialogue
from voxray.call.ear import Ear
from voxray.call.ending import TRANSFERRED, Ending, Transfers
from voxray.call.exchange import Exchange
from voxray.call.floor import FloorState
from voxray.call.keypad import ENTER, Keypad
from voxray.call.keypress import KeyPress
from voxray.call.limits import Due, Longest
from voxray.call.mouth import Mouth
from voxray.call.pacer import Pacer
from voxray.call.pipeline import Pipeline
from voxray.call.report import TurnLog
from voxray.frames import Audio, CallInfo, Dtmf, EndCall, Frame, Mark, StreamStopped, Wire
from voxray.interfaces import ORDINARY_PACING, MediaSink


class Call:
    """One call; a `CallPort` for its socket and the core of its life's machine."""

    log = Logger()

    def __init__(
        self,
        info: CallInfo,
        wire: Wire,
        sink: MediaSink,
        exchange: Exchange,
        ended: Callable[[Call], None],
    ) -> None:
        """`ended` is called exactly once, when nothing of the call is left."""
        settings, clock, metrics = exchange.settings, exchange.clock, exchange.metrics
        agent, control = settings.agent, exchange.controls.get(info.carrier)
        self.info, self.started_at = info, clock.seconds()
        self._sink, self._exchange, self._on_ended = sink, exchange, ended
        self._reason = ""
        self._longest = Longest.of(agent.max_call_secs, info.max_secs)
        self._life, self._keypad = machine.machine(self), Keypad()
        self._pacer = Pacer(
            sink,
            wire.spoken,
            codec_for(wire.spoken).silence,
            lead_ms=settings.media.pace_lead_ms,
            pacing=exchange.pacings.get(info.carrier, ORDINARY_PACING),
            wake=lambda: exchange.beat.join(self._beat),
            rest=lambda: exchange.beat.leave(self._beat),
            audible=lambda now: self._dialogue.audible(now),
        )
        mouth = self._mouth = Mouth(self._pacer, wire.spoken, clock)
        keys = KeyPress(call=info, mouth=mouth, sink=sink, control=control, clock=clock)
        self._ending = Ending(
            call=info,
            mouth=mouth,
            sink=sink,
            control=control,
            transfers=Transfers(agent.transfers, exchange.transfer_url),
            clock=clock,
            metrics=metrics,
        )
        self._dialogue = Dialogue(
            pipeline=Pipeline(exchange.providers, mouth, info, clock, metrics, keys.press),
            mouth=mouth,
            conversation=Conversation(agent.system_prompt, info.body),
            phrases=exchange.phrases.on(wire.spoken),
            agent=agent,
            turns=settings.turns,
            clock=clock,
            metrics=metrics,
            finish=self.finish,
            transfer=self._life.transfer,
            report=TurnLog(info.call_id, metrics, settings.logs.transcripts).turn,
            hint=lambda text: self._ear.hint(text),
            pending_keys=self._keypad.take,
        )
        self._ear = Ear(
            wire=wire.heard,
            activity=exchange.activity,
            settings=settings.turns,
            listener=self._dialogue,
            agent_speaks=lambda: self._dialogue.state is FloorState.SPEAKING,
            clock=clock,
            crashed=self._crashed,
        )

    # -- the socket ----------------------------------------------------------
    @property
    def call_id(self) -> str:
        return self.info.call_id

    def begin(self) -> None:
        """The stream is accepted: greet."""
        sid = self.info.call_sid
        self.log.info("call {call_id}: started, {call_sid}", call_id=self.call_id, call_sid=sid)
        self._life.started()

    def receive(self, frame: Frame) -> None:
        """One frame, in the order of the wire."""
        kind = type(frame)
        if kind is Audio:
            self._ear.hear(frame.payload)  # type: ignore[union-attr]
        elif kind is Mark:
            self._pacer.mark_returned(frame.name, self._exchange.clock.seconds())  # type: ignore[union-attr]
        elif isinstance(frame, Dtmf):
            self._pressed(frame.digit)
        elif isinstance(frame, StreamStopped):
            self._end("caller_hangup")

    def disconnected(self, reason: str) -> None:
        """The socket is gone."""
        self._end(reason)

    # -- the registry --------------------------------------------------------
    def elapsed(self, now: float) -> None:
        """Called about twice a second."""
        try:
            self._elapsed(now)
        except Exception:  # noqa: BLE001 - our own fault ends this call alone
            self._crashed()

    def _elapsed(self, now: float) -> None:
        if not self._dialogue.callers_turn and (entry := self._keypad.elapsed(now)):
            self._dialogue.keys(entry)
        self._ear.elapsed(now)
        self._dialogue.elapsed(now)
        due = self._longest.due(now - self.started_at)
        if due is not Due.NOTHING and not self._reason:
            self.say_goodbye("max_duration")
        elif due is Due.END:
            self._life.finish()

    def say_goodbye(self, reason: str) -> None:
        """Ends the call politely: the goodbye phrase, then the hang-up. Not while it is handed over."""
        if self._ending.transferring:
            return
        self._reason = self._reason or reason
        self._dialogue.say(self._exchange.settings.agent.goodbye, EndCall(reason))

    def finish(self, reason: str) -> None:
        """Ends the call once what is being said was heard."""
        self._reason = self._reason or reason
        self._life.finish()

    def abort(self, code: int, reason: str) -> None:
        """Ends the call now: the daemon goes, or a fault of ours was found."""
        self._reason = self._reason or reason
        self._sink.close(code, reason)
        self._end(reason)

    @property
    def reason(self) -> str:
        """Why it ended, or is ending."""
        return self._reason

    def end_now(self, reason: str) -> None:
        """Ends the call without waiting for what is being said."""
        self._dialogue.hush()
        self.finish(reason)

    # -- the life's core -----------------------------------------------------
    def greet(self) -> None:
        if greeting := self._exchange.settings.agent.greeting:
            self._dialogue.say(greeting)

    def play_out(self) -> None:
        self._ear.close()  # nobody listens to the caller from here on
        self._ending.play_out(self._life.played_out)

    def hang_up(self) -> None:
        self._ending.hang_up()

    def ask_transfer(self, to: str) -> None:
        self._ending.transfer(to, self._life.transferred, self._life.refused)

    def hand_over(self) -> None:
        self._reason = TRANSFERRED
        self._ear.close()  # nobody listens or speaks here any more
        self._dialogue.stop()

    def go_on(self) -> None:
        self._dialogue.stay(self._exchange.settings.agent.transfer_apology)

    def clean_up(self) -> None:
        exchange = self._exchange
        try:
            self._ending.stop()
            self._ear.close()
            self._dialogue.stop()
        finally:  # whatever fails above: no beat and no place among the calls is kept
            exchange.beat.leave(self._beat)
            self._on_ended(self)
        exchange.metrics.underruns.inc(self._pacer.counts.underruns)
        exchange.metrics.calls_ended.labels(self._reason).inc()
        self.log.info(
            "call {call_id}: ended, {reason}, {seconds} s, {turns} turns, {underruns} underruns",
            call_id=self.call_id,
            reason=self._reason,
            seconds=round(exchange.clock.seconds() - self.started_at, 1),
            turns=self._dialogue.turns,
            underruns=self._pacer.counts.underruns,
        )

    # -- inside --------------------------------------------------------------
    def _pressed(self, digit: str) -> None:
        if digit != ENTER:
            self._dialogue.key_pressed()
        if entry := self._keypad.press(digit, self._exchange.clock.seconds()):
            self._dialogue.keys(entry)

    def _end(self, reason: str) -> None:
        self._reason = self._reason or self._ending.why(reason)
        self._life.ended()

    def _beat(self, now: float) -> None:
        try:
            self._pacer.tick(now)
        except Exception:  # noqa: BLE001 - a call without a voice is worse than none
            self._crashed()

    def _crashed(self) -> None:
        """Call in an `except` block: our own code failed where no socket would hear of it."""
        self.log.failure("call {call_id}: a fault of ours; this call ends", call_id=self.call_id)
        self._reason = self._reason or "error"
        self.abort(1011, "internal error")
