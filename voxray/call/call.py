"""One telephone call: holds its parts and forwards between them. Policy, sequence and text live elsewhere.

The socket tells it frames and, once, that it is gone; the registry tells it the time. Everything else it is
told by its own parts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from twisted.logger import Logger

from voxray.audio.codec import codec_for
from voxray.call import machine
from voxray.call.account import Account
from voxray.call.conversation import Conversation
from voxray.call.dialogue import Dialogue
from voxray.call.ending import Ending, Transfers
from voxray.call.exchange import Exchange
from voxray.call.floor import FloorState
from voxray.call.keypad import ENTER, Keypad
from voxray.call.keypress import KeyPress
from voxray.call.limits import Due, Longest
from voxray.call.mouth import Mouth
from voxray.call.pacer import Pacer
from voxray.call.pipeline import Pipeline
from voxray.call.reasons import EndReason, reason_of
from voxray.frames import Audio, CallInfo, Dtmf, EndCall, Frame, Mark, StreamStopped, Wire
from voxray.interfaces import ORDINARY_PACING, MediaSink


class Call:
    """One call; a `CallPort` for its socket and the core of its life's machine."""

    log = Logger()
    _reason: EndReason | None = None  # the first that was given

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
        self._longest = Longest.of(agent.max_call_secs, info.max_secs)
        self._life, self._keypad = machine.machine(self), Keypad()
        self._account = Account(info, wire, exchange)
        self._pacer = Pacer(
            sink,
            wire.spoken,
            codec_for(wire.spoken).silence,
            lead_ms=settings.media.pace_lead_ms,
            pacing=exchange.pacings.get(info.carrier, ORDINARY_PACING),
            wake=lambda: exchange.beat.join(self._beat),
            rest=lambda: exchange.beat.leave(self._beat),
            audible=lambda now: self._dialogue.audible(now),
            underran=metrics.underruns.inc,
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
            report=self._account.turn,
            hint=lambda text: self._ear.hint(text),
            pending_keys=self._keypad.take,
        )
        self._ear = exchange.ear(
            wire.heard,
            listener=self._dialogue,
            agent_speaks=lambda: self._dialogue.state is FloorState.SPEAKING,
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
            self._mouth.mark_returned(frame.name)  # type: ignore[union-attr]
        elif isinstance(frame, Dtmf):
            self._pressed(frame.digit)
        elif isinstance(frame, StreamStopped):
            self._end(EndReason.CALLER_HANGUP)

    def disconnected(self, reason: str) -> None:
        """The socket is gone."""
        self._end(reason_of(reason, EndReason.ERROR))

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
            self.say_goodbye(EndReason.MAX_DURATION)
        elif due is Due.END:
            self._life.finish()

    def say_goodbye(self, reason: str) -> None:
        """Ends the call politely: the goodbye phrase, then the hang-up. Not while it is handed over."""
        if not self._ending.transferring:
            self._because(reason_of(reason, EndReason.AGENT))
            self._dialogue.say(self._exchange.settings.agent.goodbye, EndCall(reason))

    def finish(self, reason: str) -> None:
        """Ends the call once what is being said was heard."""
        self._because(reason_of(reason, EndReason.AGENT))
        self._life.finish()

    def cut_short(self, reason: str) -> None:
        """Hangs up now, in the middle of a word."""
        self.end_now(reason)
        self._life.played_out()

    def abort(self, code: int, reason: str) -> None:
        """Ends the call now: the daemon goes, or a fault of ours was found."""
        self._because(reason_of(reason, EndReason.ERROR))
        self._sink.close(code, reason)
        self._life.ended()

    @property
    def reason(self) -> str:
        """Why it ended, or is ending."""
        return self._reason or ""

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
        self._dialogue.leave()
        self._ending.play_out(self._life.played_out)

    def hang_up(self) -> None:
        self._ending.hang_up(self.reason)

    def ask_transfer(self, to: str) -> None:
        self._ending.transfer(to, self._life.transferred, self._life.refused)

    def hand_over(self) -> None:
        self._reason = EndReason.TRANSFERRED
        self._ear.close()  # nobody listens or speaks here any more
        self._dialogue.stop()

    def go_on(self) -> None:
        if self._reason:  # somebody ended the call while the carrier was asked
            self._life.finish()
            return
        self._dialogue.stay(self._exchange.settings.agent.transfer_apology)

    def clean_up(self) -> None:
        with ExitStack() as steps:  # the last is taken first, and each whatever becomes of the others
            steps.callback(self._close_account)
            steps.callback(self._on_ended, self)
            steps.callback(self._exchange.beat.leave, self._beat)
            steps.callback(self._dialogue.stop)
            steps.callback(self._ear.close)
            steps.callback(self._ending.stop)

    def _close_account(self) -> None:
        self._account.close(
            self._reason or EndReason.ERROR,
            turns=self._dialogue.turns,
            interruptions=self._dialogue.interruptions,
            keys=self._keypad.pressed,
            heard_ms=self._ear.heard_ms,
            sent=self._pacer.counts,
        )

    # -- inside --------------------------------------------------------------
    def _pressed(self, digit: str) -> None:
        if digit != ENTER:
            self._dialogue.key_pressed()
        if entry := self._keypad.press(digit, self._exchange.clock.seconds()):
            self._dialogue.keys(entry)

    def _because(self, reason: EndReason) -> None:
        self._reason = self._reason or reason

    def _end(self, reason: EndReason) -> None:
        self._because(self._ending.why(reason))
        self._life.ended()

    def _beat(self, now: float) -> None:
        try:
            self._pacer.tick(now)
        except Exception:  # noqa: BLE001 - a call without a voice is worse than none
            self._crashed()

    def _crashed(self) -> None:
        """Call in an `except` block: our own code failed where no socket would hear of it."""
        self.log.failure("call {call_id}: a fault of ours; this call ends", call_id=self.call_id)
        self._because(EndReason.ERROR)
        self.abort(1011, "internal error")
