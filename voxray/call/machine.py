"""The life of a call: ringing -> up -> draining -> leaving -> ended. One way, each door once.

*Draining* means: the agent has ended the call and its last words are being heard; then the carrier is told to
hang up, once, and we are *leaving*. Whatever happens, `ended` comes exactly once and cleans up.
"""

from __future__ import annotations

from typing import Protocol

from automat import TypeMachineBuilder


class Life(Protocol):
    """What can happen to a call."""

    def started(self) -> None:
        """The carrier's `start` was accepted."""

    def finish(self) -> None:
        """We want the call to end, once what is being said was heard."""

    def played_out(self) -> None:
        """The last words were heard, or their time has passed."""

    def ended(self) -> None:
        """The caller hung up, the socket went, or our hang-up took effect."""


class LifeCore(Protocol):
    """What the call does about it."""

    def greet(self) -> None: ...

    def play_out(self) -> None: ...

    def hang_up(self) -> None: ...

    def clean_up(self) -> None: ...


_builder = TypeMachineBuilder(Life, LifeCore)
ringing = _builder.state("ringing")
up = _builder.state("up")
draining = _builder.state("draining")
leaving = _builder.state("leaving")
ended = _builder.state("ended")


@ringing.upon(Life.started).to(up)
def _greet(life: Life, core: LifeCore) -> None:
    core.greet()


@up.upon(Life.finish).to(draining)
def _play_out(life: Life, core: LifeCore) -> None:
    core.play_out()


@draining.upon(Life.played_out).to(leaving)
def _hang_up(life: Life, core: LifeCore) -> None:
    core.hang_up()


@ringing.upon(Life.ended).to(ended)
def _never_began(life: Life, core: LifeCore) -> None:
    core.clean_up()


@up.upon(Life.ended).to(ended)
def _caller_left(life: Life, core: LifeCore) -> None:
    core.clean_up()


@draining.upon(Life.ended).to(ended)
def _left_before_the_end(life: Life, core: LifeCore) -> None:
    core.clean_up()


@leaving.upon(Life.ended).to(ended)
def _over(life: Life, core: LifeCore) -> None:
    core.clean_up()


ringing.upon(Life.finish).loop().returns(None)
ringing.upon(Life.played_out).loop().returns(None)
up.upon(Life.started).loop().returns(None)
up.upon(Life.played_out).loop().returns(None)
draining.upon(Life.started).loop().returns(None)
draining.upon(Life.finish).loop().returns(None)
leaving.upon(Life.started).loop().returns(None)
leaving.upon(Life.finish).loop().returns(None)
leaving.upon(Life.played_out).loop().returns(None)
ended.upon(Life.started).loop().returns(None)
ended.upon(Life.finish).loop().returns(None)
ended.upon(Life.played_out).loop().returns(None)
ended.upon(Life.ended).loop().returns(None)

machine = _builder.build()
