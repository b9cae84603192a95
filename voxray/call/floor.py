"""Who has the floor: the agent is listening, thinking or speaking.

The caller may speak in any of these; what that does is decided in `turns/bargein` and `call/dialogue`. The
machine only keeps the three apart, so that nothing thinks twice or speaks without having the floor.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from automat import TypeMachineBuilder


class FloorState(Enum):
    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"


class Floor(Protocol):
    """What changes who speaks."""

    def think(self) -> None:
        """The caller's turn is over: a reply is being made."""

    def speak(self) -> None:
        """The first audio of a reply goes out."""

    def rest(self) -> None:
        """The reply was heard to its end, was interrupted, or there is none."""


class FloorCore(Protocol):
    """Told on every change of state."""

    def floor_is(self, state: FloorState) -> None: ...


_builder = TypeMachineBuilder(Floor, FloorCore)
listening = _builder.state("listening")
thinking = _builder.state("thinking")
speaking = _builder.state("speaking")


@listening.upon(Floor.think).to(thinking)
def _think(floor: Floor, core: FloorCore) -> None:
    core.floor_is(FloorState.THINKING)


@thinking.upon(Floor.speak).to(speaking)
def _speak(floor: Floor, core: FloorCore) -> None:
    core.floor_is(FloorState.SPEAKING)


@listening.upon(Floor.speak).to(speaking)
def _speak_unasked(floor: Floor, core: FloorCore) -> None:
    core.floor_is(FloorState.SPEAKING)


@thinking.upon(Floor.rest).to(listening)
def _nothing_to_say(floor: Floor, core: FloorCore) -> None:
    core.floor_is(FloorState.LISTENING)


@speaking.upon(Floor.rest).to(listening)
def _said(floor: Floor, core: FloorCore) -> None:
    core.floor_is(FloorState.LISTENING)


listening.upon(Floor.rest).loop().returns(None)
thinking.upon(Floor.think).loop().returns(None)
speaking.upon(Floor.think).loop().returns(None)
speaking.upon(Floor.speak).loop().returns(None)

machine = _builder.build()
