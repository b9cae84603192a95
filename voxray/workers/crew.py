"""The workers there are: each is started, watched, and started again when it dies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from voxray.workers.desk import Desk
from voxray.workers.hand import BEAT_SECS, Hand, Spawn, State
from voxray.workers.line import Answers, Line
from voxray.workers.restarts import Restarts

START_SECS = 120.0
"""A worker that is started again and is not ready by then hangs."""
GRACE_SECS = 10.0
"""For a worker that hangs to be killed, before the watchdog is left to starve."""


class Chief(Protocol):
    """What the crew cannot decide."""

    def answers(self, hand: Hand) -> Answers:
        """What that worker may ask."""

    def lost(self, hand: Hand, calls: int) -> None:
        """It died, and with it so many calls."""


class Crew:
    """All of them, by number from 1."""

    log = Logger()

    def __init__(
        self, count: int, spawn: Spawn, clock: IReactorTime, chief: Chief, watchdog_secs: float = 0.0
    ) -> None:
        """`watchdog_secs`: who does not answer for so long is killed; 0: nobody is."""
        self._spawn, self._clock, self._chief, self._watchdog_secs = spawn, clock, chief, watchdog_secs
        self._restarts = {number: Restarts() for number in range(1, count + 1)}
        self._waiting: dict[int, IDelayedCall] = {}
        self._hands: dict[int, Hand] = {}
        self._ended = False
        self.desk = Desk(clock.seconds, lambda: self.serving)
        self._beats = LoopingCall(self._beat)
        self._beats.clock = clock

    # -- who there is ----------------------------------------------------------
    def __iter__(self) -> Iterator[Hand]:
        """Those whose process lives."""
        return iter(tuple(self._hands.values()))

    def __len__(self) -> int:
        return len(self._hands)

    @property
    def count(self) -> int:
        """How many there should be."""
        return len(self._restarts)

    @property
    def serving(self) -> list[Hand]:
        return [hand for hand in self if hand.serving]

    @property
    def complete(self) -> bool:
        return len(self.serving) == self.count

    @property
    def calls(self) -> int:
        """By their last word."""
        return sum(hand.calls for hand in self)

    @property
    def alive(self) -> bool:
        """None hangs; or it is being killed, and there is hope still."""
        longest = self._watchdog_secs + GRACE_SECS
        return all(hand.silent_secs() < longest for hand in self)

    # -- hiring ----------------------------------------------------------------
    def start(self) -> None:
        self._beats.start(BEAT_SECS, now=False)
        for number in self._restarts:
            self._hire(number)

    def stop(self) -> None:
        """Nobody is started again."""
        self._ended = True
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()

    def close(self) -> None:
        """All are gone."""
        if self._beats.running:
            self._beats.stop()

    def _hire(self, number: int) -> None:
        self._waiting.pop(number, None)
        hand = Hand(number, self._clock, self)
        self._hands[number] = hand
        line = Line(self._clock, {**self.desk.answers(hand), **self._chief.answers(hand)})
        try:
            hand.spawn(self._spawn, line)
        except OSError as error:
            hand.line = line
            hand.ended(error.strerror or type(error).__name__)
        else:
            self.log.info("worker {number} is process {pid}", number=number, pid=hand.pid)

    # -- hand.Boss -------------------------------------------------------------
    def gone(self, hand: Hand) -> None:
        del self._hands[hand.number]
        forgetting = Deferred.fromCoroutine(self.desk.forget(hand))
        forgetting.addCallback(lambda calls: self._chief.lost(hand, max(calls, hand.calls)))
        forgetting.addErrback(lambda failure: self.log.failure("forgetting a worker failed", failure))

    def said(self, hand: Hand, text: str) -> None:
        self.log.info("{node}: {text}", node=hand.node, text=text)

    def replace(self, hand: Hand) -> float:
        """Starts another in its place, after the seconds that it returns."""
        pause = self._restarts[hand.number].pause_secs(self._clock.seconds() - hand.born_at)
        if not self._ended:
            self.desk.metrics.restarts.inc()
            self._waiting[hand.number] = self._clock.callLater(pause, self._hire, hand.number)
        return pause

    # -- watching --------------------------------------------------------------
    def _beat(self) -> None:
        for hand in self:
            hand.beat()
            if self._watchdog_secs:
                self._watch(hand)

    def _watch(self, hand: Hand) -> None:
        age = self._clock.seconds() - hand.born_at
        again = self._restarts[hand.number].deaths > 0
        if hand.silent_secs() >= self._watchdog_secs:
            self._abort(hand, "has not answered", hand.silent_secs())
        elif again and hand.state is State.STARTING and age >= START_SECS:
            self._abort(hand, "is not ready", age)

    def _abort(self, hand: Hand, what: str, secs: float) -> None:
        if hand.abort():
            text = "worker {number} {what} for {secs:.0f} s: it is killed"
            self.log.error(text, number=hand.number, what=what, secs=secs)
