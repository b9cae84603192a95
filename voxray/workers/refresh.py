"""Reading the configuration again, on SIGHUP, for all workers: by the parent, once, and then by each.

What the parent cannot read no worker hears of. Each builds of it what it serves with; where some can and some
cannot, those that could are given the old one again: all of them serve the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxray import logs
from voxray.config import Loaded
from voxray.errors import ConfigError, StoreUnavailable
from voxray.interfaces import Worker
from voxray.masking import secrets_in
from voxray.settings import Settings
from voxray.workers.crew import Crew
from voxray.workers.hand import Hand
from voxray.workers.orders import Orders

RELOAD_SECS = 120.0
"""For engines to start."""
LOADED, KEPT, GONE = "loaded", "kept", "gone"


class Manager(Protocol):
    """The service manager."""

    def reloading(self) -> None: ...

    def ready(self) -> None: ...


class Refresh:
    """One reading at a time; asked meanwhile, it reads once more."""

    log = Logger()

    def __init__(
        self, orders: Orders, settings: Settings, crew: Crew, files: Worker, manager: Manager
    ) -> None:
        """`orders` are those of any worker; `files` runs what blocks."""
        self._orders, self.settings = orders, settings
        self._crew, self._files, self._manager = crew, files, manager
        self._asked = False
        self._reading: Deferred[None] | None = None

    def orders_of(self, hand: Hand) -> Orders:
        """What a worker that starts is told."""
        hand.text = self._orders.text
        return replace(self._orders, number=hand.number)

    def caught_up(self, hand: Hand) -> None:
        """It serves; what was read while it started is new to it. A reading that goes on will see to it."""
        if hand.text != self._orders.text and self._reading is None:
            self._tell_later(hand)

    def reload(self) -> None:
        """Never raises, never blocks."""
        self._asked = True
        if self._reading is None:
            self._reading = Deferred.fromCoroutine(self._read_again())
            self._reading.addErrback(self._stumbled).addBoth(self._over)

    def stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    # -- inside ----------------------------------------------------------------
    async def _read_again(self) -> None:
        while self._asked:
            self._asked = False
            self._manager.reloading()
            await self._once()
            self._manager.ready()

    async def _once(self) -> None:
        try:
            text, loaded = await self._files.run(self._read)
        except ConfigError as error:
            self.log.error("SIGHUP: the configuration stays the old one: {reason}", reason=str(error))
            await self._tell_all(None)
            return
        for warning in loaded.warnings:
            self.log.warn("configuration: {text}", text=warning)
        outcomes = await self._tell_all(text)
        if LOADED not in outcomes:
            return
        if KEPT not in outcomes:
            self._adopt(text, loaded)
            return
        self.log.error("SIGHUP: not every worker can serve with it: all go back to the old configuration")
        await self._tell_all(self._orders.text, [hand for hand in self._crew.serving if hand.text == text])

    def _read(self) -> tuple[bytes, Loaded]:
        """Blocks. Raises ConfigError."""
        source = self._orders.source
        text = source.read()
        return text, source.load(text)

    def _adopt(self, text: bytes, loaded: Loaded) -> None:
        self._orders, self.settings = replace(self._orders, text=text), loaded.settings
        logs.choose(loaded.settings.logs)
        logs.conceal(secrets_in(loaded.settings))
        for hand in self._crew.serving:
            if hand.text != text:  # it was not asked, for it was still starting
                self._tell_later(hand)

    def _tell_later(self, hand: Hand) -> None:
        Deferred.fromCoroutine(self._tell(hand, self._orders.text)).addErrback(self._stumbled)

    async def _tell_all(self, text: bytes | None, hands: Sequence[Hand] | None = None) -> list[str]:
        told = self._crew.serving if hands is None else hands
        return list(await gatherResults([Deferred.fromCoroutine(self._tell(hand, text)) for hand in told]))

    async def _tell(self, hand: Hand, text: bytes | None) -> str:
        """What came of it. No text: there is nothing new, but certificates are read again."""
        said = {"text": None if text is None else text.decode("latin-1")}
        try:
            outcome: str = await hand.line.ask("reload", said, RELOAD_SECS)
        except StoreUnavailable:
            return GONE
        if outcome == LOADED and text is not None:
            hand.text = text
        return outcome

    def _stumbled(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("SIGHUP: reading the configuration failed", failure)

    def _over(self, result: None) -> None:
        self._reading = None
