"""When each step of a script is due, given what the caller hears. Pure; time is an argument, in seconds."""

from __future__ import annotations

from dataclasses import dataclass

from voxray.simulator.script import SPOKEN, Do, Patience, Script, Step


@dataclass(frozen=True, slots=True)
class Ears:
    """What the caller hears of the agent at one moment. Times in seconds since the stream began."""

    quiet_since: float | None  # None: the agent is speaking
    spoke_since: float | None  # first word of the agent's present turn to speak; None: not yet
    spoken_secs: float  # how long the agent has been audible in it

    def quiet_for(self, now: float) -> float:
        return 0.0 if self.quiet_since is None else now - self.quiet_since


@dataclass(frozen=True, slots=True)
class Act:
    """Do this step now; `problem` says what went wrong on the way to it."""

    step: Step
    problem: str = ""


_END = Step(Do.HANG_UP)


class Performer:
    """Walks through a script. `poll` at every packet; `line_ended` when a spoken step has been said."""

    def __init__(self, script: Script, patience: Patience) -> None:
        self._patience = patience
        last = Step(Do.EXPECT_HANG_UP) if script.expect_hang_up else _END
        steps = list(script.steps)
        if not steps or steps[-1].do not in (Do.HANG_UP, Do.EXPECT_HANG_UP):
            steps.append(last)
        self._steps = steps
        self._index = 0
        self._entered = 0.0  # when the present step began to wait
        self._floor_at: float | None = None  # when the floor became the caller's
        self._problem = ""  # of getting it
        self._awaits_reply = True  # the greeting counts as one
        self._first = True
        self._speaking = False
        self._after_backchannel = False

    @property
    def remaining(self) -> list[Step]:
        """What was not done yet; hanging up does not count."""
        return [step for step in self._steps[self._index :] if step.do not in (Do.HANG_UP, Do.EXPECT_HANG_UP)]

    def line_ended(self, now: float) -> None:
        """The line given out last has been said."""
        self._speaking = False
        self._entered = now

    def poll(self, now: float, ears: Ears) -> Act | None:
        """What to do now, if anything; at most one act a call."""
        if self._speaking or self._index >= len(self._steps):
            return None
        step = self._steps[self._index]
        if step.do in (Do.BARGE_IN, Do.BACKCHANNEL):
            return self._over_the_agent(step, now, ears)
        if step.do is Do.EXPECT_HANG_UP:
            return self._expect_hang_up(step, now)
        if self._floor_at is None:
            problem = self._floor(now, ears)
            if problem is None:
                return None
            self._floor_at, self._problem = now, problem
        if step.do is Do.WAIT and now - self._floor_at < step.secs:
            return None
        return self._done(Act(step, self._problem), now)

    def _floor(self, now: float, ears: Ears) -> str | None:
        """None: not ours yet; else what went wrong while waiting (mostly nothing: "")."""
        if ears.spoke_since is None and self._awaits_reply:
            limit = self._patience.greeting if self._first else self._patience.reply
            if now - self._entered < limit:
                return None
            return "" if self._first else f"no reply within {limit:g} s"
        if ears.quiet_since is None:
            if now - self._entered < 4 * self._patience.reply:
                return None
            return f"the agent spoke for more than {4 * self._patience.reply:g} s"
        settle = self._patience.settle if not self._after_backchannel else self._patience.resume
        return "" if ears.quiet_for(now) >= settle else None

    def _over_the_agent(self, step: Step, now: float, ears: Ears) -> Act | None:
        if ears.quiet_since is None and ears.spoken_secs >= step.secs:
            return self._done(Act(step), now)
        if ears.spoke_since is None:
            if now - self._entered < self._patience.reply:
                return None
            return self._done(Act(step, f"no speech to talk over within {self._patience.reply:g} s"), now)
        if ears.quiet_for(now) < self._patience.settle:
            return None
        return self._done(Act(step, f"the agent spoke for less than {step.secs:g} s"), now)

    def _expect_hang_up(self, step: Step, now: float) -> Act | None:
        if now - self._entered < self._patience.hang_up:
            return None
        return self._done(Act(step, f"the agent did not hang up within {self._patience.hang_up:g} s"), now)

    def _done(self, act: Act, now: float) -> Act:
        self._index += 1
        self._entered = now
        self._floor_at = None
        self._first = False
        expects = bool(act.step.expect_reply or act.step.max_latency_ms)
        self._awaits_reply = act.step.do in (Do.SAY, Do.BARGE_IN) or (act.step.do is Do.DTMF and expects)
        self._speaking = act.step.do in SPOKEN
        self._after_backchannel = act.step.do is Do.BACKCHANNEL
        return act
