"""The dialogue of one call: who speaks when. What the ear reports becomes turns, turns become answers.

This is policy only: `hearing` makes words of audio, `answering` makes audio of words, the floor says whose
turn it is.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from voxray.call import floor
from voxray.call.answering import Answering, Cut
from voxray.call.conversation import Conversation
from voxray.call.floor import FloorState
from voxray.call.hearing import Hearing
from voxray.call.inlet import Uploads
from voxray.call.keypad import masked, note
from voxray.call.mouth import Mouth
from voxray.call.patience import Idle, Patience
from voxray.call.phrases import Phrases
from voxray.call.pipeline import Pipeline
from voxray.call.times import TurnReport, TurnTimes
from voxray.frames import Sequel, Transfer, Utterance
from voxray.metrics import Metrics
from voxray.settings import AgentSettings, TurnSettings
from voxray.turns.backchannel import Verdict, is_backchannel, words_decide

RESUME_AFTER_SECS = 1.2
"""A barge-in that brought no turn for so long was a false one: the agent goes on."""


class Dialogue:
    """One call's conversation."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        mouth: Mouth,
        conversation: Conversation,
        phrases: Phrases,
        agent: AgentSettings,
        turns: TurnSettings,
        clock: IReactorTime,
        metrics: Metrics,
        finish: Callable[[str], None],
        transfer: Callable[[str], None],
        report: Callable[[TurnReport], None],
        hint: Callable[[str], None],
        pending_keys: Callable[[], str] = lambda: "",
    ) -> None:
        """`finish(reason)` ends the call; `transfer(to)` hands it over, or `stay` is called.

        `hint(text)` tells the endpointer what an early transcript says.

        `pending_keys()` takes the keys pressed and not yet entered: they go with what is said next.
        """
        self._mouth, self._conversation = mouth, conversation
        self._agent, self._turns = agent, turns
        self._clock, self._metrics = clock, metrics
        self._finish, self._transfer = finish, transfer
        self._report, self._pending_keys = report, pending_keys
        self._answering = Answering(
            pipeline=pipeline,
            mouth=mouth,
            conversation=conversation,
            phrases=phrases,
            clock=clock,
            said=self._said,
            failed=self._answer_failed,
        )
        self._hearing = Hearing(
            pipeline=pipeline,
            uploads=Uploads(turns, metrics),
            eager=turns.eager_transcription,
            understood=self._understood,
            not_understood=self._not_understood,
            hint=hint,
        )
        self._patience = Patience(mouth, phrases, agent, metrics)
        self._floor = floor.machine(self)
        self.state = FloorState.LISTENING
        self.turns = 0
        self.interruptions = 0  # by voice, false ones too
        self._idle = Idle(agent, clock.seconds())
        self._times = TurnTimes()
        self._heard_words = ""
        self._cut: Cut | None = None
        self._later: list[str] = []  # said while interruptions were not allowed, or a transfer was asked
        self._callers_turn = False  # from the first speech to the turn's end, pauses included
        self._leaving = False  # the call is being hung up, or given up: what is said now is the last of it
        self._waiting = False  # a transfer was asked for: nothing new is begun until it is refused
        self._over = False
        self._replying = False  # to the caller: what is said unasked is no proof that turns go well

    # -- what the call asks --------------------------------------------------
    def say(self, text: str, then: Sequel | None = None) -> None:
        """The agent says this of its own accord, at once; `then` is done when it was heard."""
        if self._deaf:
            return
        self._drop_answer()
        self._times, self._replying = TurnTimes(), False
        self._patience.begins(self._clock.seconds())
        self._floor.think()
        self._answering.say(text, then)

    def stay(self, text: str) -> None:
        """The call could not be handed over: it goes on, with `text` and then what was said meanwhile."""
        self._waiting = False
        if self._leaving:
            self._leaving = False
            self._make_amends()
        else:
            self.say(text)

    def hush(self) -> None:
        """Stops what is being said, for good."""
        if not self._over:
            self._drop_answer()

    def key_pressed(self) -> None:
        """One key: the agent stops, for what it says is not listened to. The entry follows."""
        if self.state is FloorState.SPEAKING and self._turns.interruptible and not self._deaf:
            self._interrupt()
            self._cut = None
            self._metrics.interruptions.labels("real").inc()
        self._idle.spoke(self._clock.seconds())

    def keys(self, digits: str) -> None:
        """The caller's keypad entry is a turn of its own."""
        if not self._deaf:
            self._cut = None
            self._patience.begins(self._clock.seconds())
            self._answer(note(digits), TurnTimes())

    @property
    def callers_turn(self) -> bool:
        """The caller is speaking, pausing for breath, or being understood."""
        return self._callers_turn or self._hearing.busy

    def leave(self) -> None:
        """The call is being hung up: what is being said is the last of it, whatever the caller does."""
        self._leaving = True
        self._mouth.release()

    def stop(self) -> None:
        """The call is over: cancel everything."""
        self._over = True
        self._hearing.stop()
        if self._answering.busy:
            self._interrupt()

    def elapsed(self, now: float) -> None:
        """Called about twice a second: slow answers, false interruptions and idle callers."""
        if self._deaf or self._waiting or self._callers_turn:
            return
        if self._hearing.busy or self._answering.busy:
            self._wait(now)
        elif self._cut is not None and now - self._cut.at > RESUME_AFTER_SECS:
            self._resume()
        elif self.state is FloorState.LISTENING and (prompt := self._idle.due(now)):
            self.say(*prompt)

    def _wait(self, now: float) -> None:
        """The caller waits, or listens."""
        if self._answering.pressing:
            self._patience.begins(now)
        elif self.state is FloorState.SPEAKING or not self._patience.exhausted(now):
            self._patience.elapsed(now)
        elif not self._answering.busy:
            self._hearing.stop()
            self._not_understood()
        elif self._replying:
            self._answering.give_up()

    def audible(self, now: float) -> None:
        """The first packet of an answer is leaving."""
        self._times.audible = self._times.audible or now  # keys pressed in a reply cut it in two
        self._floor.speak()

    # -- what the ear reports ------------------------------------------------
    def speech_started(self) -> None:
        self._callers_turn = True
        self._hearing.resumed()
        if self.state is FloorState.THINKING or (
            self.state is FloorState.LISTENING and self._mouth.silent_since(self._clock.seconds()) is None
        ):
            self._mouth.hold()  # do not talk into the caller's second thought

    def speech_paused(self, utterance: Utterance) -> None:
        """Speech stopped for a moment: perhaps the turn is over."""
        self._idle.quiet(self._clock.seconds())
        if not self._over:
            self._hearing.paused(utterance)

    def speech_piece(self, utterance: Utterance) -> None:
        """The caller has been speaking for long: transcribe what there is, the turn goes on."""
        if not self._over:
            self._hearing.piece(utterance)

    def barge_in(self, onset_secs: float) -> None:
        """The caller speaks over the agent and means it, since `onset_secs` ago by the audio."""
        if self.state is FloorState.SPEAKING and not self._deaf and not self._mouth.pressing:
            self._interrupt()
            self.interruptions += 1
            self._metrics.bargein.observe(onset_secs)

    def turn_ended(self, utterance: Utterance, speech_end: float) -> None:
        """The caller's turn is over; `speech_end` is when its last speech reached us."""
        if self._over:
            return
        self._callers_turn = False
        self._idle.spoke(now := self._clock.seconds())
        self._patience.begins(speech_end)
        self._hearing.turn_over(utterance, TurnTimes(speech_end=speech_end, turn_end=now))

    # -- the floor's core ----------------------------------------------------
    def floor_is(self, state: FloorState) -> None:
        self.state = state
        if state is FloorState.LISTENING:
            self._idle.quiet(self._clock.seconds())

    # -- deciding ------------------------------------------------------------
    @property
    def _deaf(self) -> bool:
        """Nothing the caller does makes another answer."""
        return self._over or self._leaving

    def _understood(self, text: str, times: TurnTimes) -> None:
        """What the words mean for the floor."""
        if self._deaf:
            return
        language = self._agent.language
        idle_words = not text or is_backchannel(text, language)
        if self._cut is not None:
            if idle_words and self._turns.resume_false_interruption:
                self._resume()
                return
            self._cut = None
            self._metrics.interruptions.labels("real").inc()
        elif self.state is FloorState.SPEAKING:
            if not self._turns.interruptible:
                if not idle_words:
                    self._later.append(text)
                return
            if words_decide(text, self._turns, language) is Verdict.RESUME:
                self._metrics.interruptions.labels("ignored").inc()
                return
            self.interruptions += 1
            self._metrics.interruptions.labels("by_words").inc()
        elif idle_words and self.state is FloorState.THINKING:
            self._mouth.release()
            return
        if text:
            if keys := self._pending_keys():
                text = f"{note(keys)}. {text}"
            self._answer(text, times)
        else:
            self._mouth.release()

    def _not_understood(self) -> None:
        """The transcriber failed. Mid-answer nobody needs to know."""
        if not self._deaf and not self._waiting and self.state is not FloorState.SPEAKING:
            self._cut = None
            self._drop_answer()
            self._make_amends()

    def _answer(self, text: str, times: TurnTimes) -> None:
        if self._waiting:
            self._later.append(text)
            return
        self._drop_answer()
        self._conversation.caller_said(text)
        self.turns += 1
        self._times, self._heard_words, self._replying = times, masked(text), True
        self._floor.think()
        self._answering.reply(times)

    def _resume(self) -> None:
        """It was no interruption: say what was not heard. What was to follow, follows."""
        cut, self._cut = self._cut, None
        assert cut is not None
        self._metrics.interruptions.labels("false").inc()
        rest = cut.unheard if self._turns.resume_false_interruption else ""
        if rest or cut.then:
            self.say(rest, cut.then)

    # -- an answer's three ends ----------------------------------------------
    def _said(self, words: str, then: Sequel | None) -> None:
        self._tell(words, interrupted=False)
        self._patience.answered(self._replying)
        self._floor.rest()
        if then is not None:
            self._leave(then)
        elif self._later:
            text, self._later = " ".join(self._later), []
            self._answer(text, TurnTimes())

    def _interrupt(self) -> None:
        """All of a barge-in, in one reactor turn."""
        self._cut = self._answering.cut()
        self._tell(self._cut.heard, interrupted=True)
        if self.state is FloorState.SPEAKING:
            self._patience.answered(self._replying)
        self._floor.rest()

    def _drop_answer(self) -> None:
        """Another answer takes the place of the one being made."""
        if self._answering.busy:
            self._interrupt()
            self._cut = None
        elif self._mouth.held:  # a sound that broke a silence, and that the caller spoke into
            self._mouth.silence()

    def _answer_failed(self, words: str, then: Sequel | None) -> None:
        self._tell(words, interrupted=True)
        self._floor.rest()
        if then is not None:
            self._leave(then)
        else:
            self._make_amends()

    def _leave(self, then: Sequel) -> None:
        if isinstance(then, Transfer):
            self._waiting = True
            self._transfer(then.to)
        else:
            self.leave()
            self._finish(then.reason)

    def _make_amends(self) -> None:
        if self._deaf:
            return
        self._mouth.release()
        amends = self._patience.amends()
        self._leaving = amends.then is not None
        if amends.text or amends.then:
            self._times, self._replying = TurnTimes(), False
            self._floor.think()
            self._answering.apologise(amends.text, amends.then)

    def _tell(self, replied: str, *, interrupted: bool) -> None:
        heard, self._heard_words = self._heard_words, ""
        if not heard and not replied:
            return
        self._report(TurnReport(self.turns, heard, replied, interrupted, self._times.parts_ms()))
