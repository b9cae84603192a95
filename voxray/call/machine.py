"""The life of a call: ringing -> up -> draining -> leaving -> ended. One way, each door once (but one).

*Draining* means: the agent has ended the call and its last words are being heard; then the carrier is told to
hang up, once, and we are *leaving*. *Transferring* means: the carrier is asked to connect the caller to
somebody else; if it will not, the call is up again, and that is the exception; else it is *handed over*: no
more ours to hang up.
Whatever happens, `ended` comes exactly once and cleans up.
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

    def transfer(self, to: str) -> None:
        """The caller is to be connected to somebody else; what was said with it was heard."""

    def transferred(self) -> None:
        """The carrier does it, or will once we close."""

    def refused(self) -> None:
        """It cannot be done; nothing has changed."""

    def ended(self) -> None:
        """The caller hung up, the socket went, or our hang-up took effect."""


class LifeCore(Protocol):
    """What the call does about it."""

    def greet(self) -> None: ...

    def play_out(self) -> None: ...

    def hang_up(self) -> None: ...

    def ask_transfer(self, to: str) -> None: ...

    def hand_over(self) -> None: ...

    def go_on(self) -> None: ...

    def clean_up(self) -> None: ...


_builder = TypeMachineBuilder(Life, LifeCore)
ringing = _builder.state("ringing")
up = _builder.state("up")
draining = _builder.state("draining")
leaving = _builder.state("leaving")
transferring = _builder.state("transferring")
handed_over = _builder.state("handed_over")
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


@up.upon(Life.transfer).to(transferring)
def _ask_transfer(life: Life, core: LifeCore, to: str) -> None:
    core.ask_transfer(to)


@transferring.upon(Life.transferred).to(handed_over)
def _hand_over(life: Life, core: LifeCore) -> None:
    core.hand_over()


@transferring.upon(Life.refused).to(up)
def _go_on(life: Life, core: LifeCore) -> None:
    core.go_on()


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


@transferring.upon(Life.ended).to(ended)
def _left_or_taken(life: Life, core: LifeCore) -> None:
    core.clean_up()


@handed_over.upon(Life.ended).to(ended)
def _taken(life: Life, core: LifeCore) -> None:
    core.clean_up()


ringing.upon(Life.finish).loop().returns(None)
ringing.upon(Life.played_out).loop().returns(None)
up.upon(Life.started).loop().returns(None)
up.upon(Life.played_out).loop().returns(None)
draining.upon(Life.started).loop().returns(None)
draining.upon(Life.finish).loop().returns(None)
draining.upon(Life.transfer).loop().returns(None)
transferring.upon(Life.started).loop().returns(None)
transferring.upon(Life.finish).loop().returns(None)
transferring.upon(Life.played_out).loop().returns(None)
transferring.upon(Life.transfer).loop().returns(None)
leaving.upon(Life.started).loop().returns(None)
leaving.upon(Life.finish).loop().returns(None)
leaving.upon(Life.played_out).loop().returns(None)
leaving.upon(Life.transfer).loop().returns(None)
handed_over.upon(Life.started).loop().returns(None)
handed_over.upon(Life.finish).loop().returns(None)
handed_over.upon(Life.played_out).loop().returns(None)
handed_over.upon(Life.transfer).loop().returns(None)
ended.upon(Life.started).loop().returns(None)
ended.upon(Life.finish).loop().returns(None)
ended.upon(Life.played_out).loop().returns(None)
ended.upon(Life.transfer).loop().returns(None)
ended.upon(Life.transferred).loop().returns(None)
ended.upon(Life.refused).loop().returns(None)
ended.upon(Life.ended).loop().returns(None)

machine = _builder.build()
