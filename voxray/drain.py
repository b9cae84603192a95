"""Stopping without cutting anybody off: serving -> draining -> leaving -> cutting -> stopped.

*Draining*, after SIGTERM: the port stays open, new calls are sent elsewhere, those that are up or announced
go on until `drain_timeout_secs` are over. *Leaving*: whoever is left is told goodbye; nobody is let in any
more. *Cutting*: who did not hear that to its end is hung up on all the same. As soon as nobody is left the
daemon stops, from any of these. A second SIGTERM waits for no timeout, and makes the goodbye a short one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from automat import TypeMachineBuilder
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

GOODBYE_SECS = 5.0
"""For the goodbye and the hang-up that follows it."""

HURRIED_SECS = 1.0
"""The same after a second SIGTERM."""

CUT_SECS = 1.0
"""For the carrier's answer to the hang-ups of those who are cut off; then sockets are closed."""

LOOK_SECS = 0.1
TELL_SECS = 10.0
SLACK_SECS = 30.0
"""Beyond all that: sockets, records and engines take a moment to stop."""


# -- the states ----------------------------------------------------------------
class Stopping(Protocol):
    """What can happen to a daemon that serves."""

    def asked(self) -> None:
        """SIGTERM or SIGINT."""

    def time_up(self) -> None:
        """The state has lasted as long as it may."""

    def nobody_left(self) -> None:
        """No call is up, none is about to be."""


class Core(Protocol):
    """What is done about it."""

    def begin(self) -> None: ...

    def say_goodbye(self) -> None: ...

    def say_a_short_goodbye(self) -> None: ...

    def hurry(self) -> None: ...

    def cut(self) -> None: ...

    def stop(self) -> None: ...


_builder = TypeMachineBuilder(Stopping, Core)
serving = _builder.state("serving")
draining = _builder.state("draining")
leaving = _builder.state("leaving")
cutting = _builder.state("cutting")
stopped = _builder.state("stopped")


@serving.upon(Stopping.asked).to(draining)
def _begin(stopping: Stopping, core: Core) -> None:
    core.begin()


@draining.upon(Stopping.time_up).to(leaving)
def _say_goodbye(stopping: Stopping, core: Core) -> None:
    core.say_goodbye()


@draining.upon(Stopping.asked).to(leaving)
def _say_a_short_goodbye(stopping: Stopping, core: Core) -> None:
    core.say_a_short_goodbye()


@leaving.upon(Stopping.asked).to(leaving)
def _hurry(stopping: Stopping, core: Core) -> None:
    core.hurry()


@leaving.upon(Stopping.time_up).to(cutting)
def _cut(stopping: Stopping, core: Core) -> None:
    core.cut()


@cutting.upon(Stopping.time_up).to(stopped)
def _stop(stopping: Stopping, core: Core) -> None:
    core.stop()


@draining.upon(Stopping.nobody_left).to(stopped)
def _all_calls_are_over(stopping: Stopping, core: Core) -> None:
    core.stop()


@leaving.upon(Stopping.nobody_left).to(stopped)
def _all_have_left(stopping: Stopping, core: Core) -> None:
    core.stop()


@cutting.upon(Stopping.nobody_left).to(stopped)
def _all_are_cut(stopping: Stopping, core: Core) -> None:
    core.stop()


cutting.upon(Stopping.asked).loop().returns(None)
stopped.upon(Stopping.asked).loop().returns(None)
stopped.upon(Stopping.nobody_left).loop().returns(None)

machine = _builder.build()


# -- what is done in them --------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Left:
    """Whom a stop would hurt."""

    calls: int = 0
    streams: int = 0
    """Calls whose webhook was answered and whose stream is about to come."""
    requests: int = 0
    """Asked of carriers and of other instances, and not answered."""


class Household(Protocol):
    """The part of the daemon that calls and carriers see."""

    def left(self) -> Left: ...

    def begin(self, longest_secs: float) -> None:
        """No new calls are wanted; the whole stop takes `longest_secs` at most."""

    def say_goodbye(self) -> None:
        """To every call; each then hangs up."""

    def hang_up(self) -> None:
        """On every call, in the middle of a word."""

    def stop(self) -> None:
        """The process ends. Sockets that are still open are closed with 1001."""


class Drain:
    """The machine's core, with its timers. `asked` may come at any time, and any number of times."""

    log = Logger()

    def __init__(self, clock: IReactorTime, household: Household, timeout_secs: Callable[[], float]) -> None:
        """`timeout_secs()`: how long calls may go on; asked when draining begins."""
        self._clock, self._household, self._timeout_secs = clock, household, timeout_secs
        self.serving = True
        """New calls are taken."""
        self.admitting = True
        """Streams of calls that were announced are let in."""
        self._stopped = False
        self._machine = machine(self)
        self._began = 0.0
        self._told = 0.0
        self._timer: IDelayedCall | None = None
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    def asked(self) -> None:
        """SIGTERM or SIGINT, on the reactor's thread."""
        if self._stopped:
            self.log.info("already stopping")
        else:
            self._machine.asked()

    def close(self) -> None:
        """The daemon stops, for whatever reason; no timer of ours outlives it."""
        self.serving = self.admitting = False
        self._stopped = True
        self._cancel()
        if self._looking.running:
            self._looking.stop()

    # -- the machine's core ----------------------------------------------------
    def begin(self) -> None:
        self.serving = False
        self._began = self._told = self._clock.seconds()
        longest = self._timeout_secs()
        self._household.begin(longest + GOODBYE_SECS + CUT_SECS + SLACK_SECS)
        self._tell(longest)
        if self._household.left().calls:
            self.log.info("stopping: told once more, it says goodbye at once")
        self._after(longest)
        self._looking.start(LOOK_SECS).addErrback(self._stumbled)

    def say_goodbye(self) -> None:
        self._leave("the time is up", GOODBYE_SECS)

    def say_a_short_goodbye(self) -> None:
        self._leave("told again", HURRIED_SECS)

    def hurry(self) -> None:
        if self._timer is not None and self._timer.getTime() - self._clock.seconds() > HURRIED_SECS:
            self._after(HURRIED_SECS)

    def cut(self) -> None:
        self.log.warn("stopping: hanging up on {calls}", calls=_counted(self._household.left().calls))
        self._after(CUT_SECS)
        self._household.hang_up()

    def stop(self) -> None:
        left, secs = self._household.left().calls, self._clock.seconds() - self._began
        who = f"{_counted(left)} left" if left else "nobody is left"
        self.log.info("stopping: {who} after {secs:.1f} s", who=who, secs=secs)
        self.close()
        self._household.stop()

    # -- inside ----------------------------------------------------------------
    def _leave(self, why: str, secs: float) -> None:
        self.admitting = False
        calls = _counted(self._household.left().calls)
        self.log.warn("stopping: {why}; saying goodbye to {calls}", why=why, calls=calls)
        self._after(secs)
        self._household.say_goodbye()

    def _after(self, secs: float) -> None:
        self._cancel()
        self._timer = self._clock.callLater(secs, self._time_up)

    def _time_up(self) -> None:
        self._timer = None
        self._machine.time_up()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        left = self._household.left()
        if not (left.calls or left.requests or (self.admitting and left.streams)):
            self._machine.nobody_left()
        elif self.admitting and self._clock.seconds() - self._told >= TELL_SECS:
            assert self._timer is not None
            self._told = self._clock.seconds()
            self._tell(self._timer.getTime() - self._told)

    def _stumbled(self, failure: Failure) -> None:
        """A fault of ours; the timers go on, so the end still comes."""
        self.log.failure("stopping: looking who is left failed", failure)

    def _tell(self, secs: float) -> None:
        left = self._household.left()
        self.log.info(
            "stopping: no new calls; {calls} left, {streams} on the way, for at most {secs:.0f} s",
            calls=_counted(left.calls),
            streams=left.streams,
            secs=secs,
        )


def _counted(calls: int) -> str:
    return "1 call" if calls == 1 else f"{calls} calls"
