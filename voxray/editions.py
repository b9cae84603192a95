"""The editions there are: the one that new calls get, and those that running calls still live by.

An engine that several editions share is started with the first of them and stopped after the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from voxray.edition import Edition, Engine


class Editions:
    """A service's startable: starting it starts the first edition, stopping it stops all."""

    log = Logger()

    def __init__(self, first: Edition, install: Callable[[Edition], None]) -> None:
        """`install(edition)` makes it the one that new calls get, in one reactor turn."""
        self._install = install
        self.current = first
        self._old: list[Edition] = []
        self._stopped = False
        install(first)

    def __len__(self) -> int:
        return 1 + len(self._old)

    async def start(self) -> None:
        """The engines, then the phrases. Raises ProviderError or ConfigError."""
        await _start(self.current.engines)
        await self.current.prepare()

    async def change(self, edition: Edition) -> None:
        """New calls get `edition`. Raises ProviderError or ConfigError, and then nothing has changed."""
        own = [engine for engine in edition.engines if engine not in self._in_use()]
        try:
            await _start(own)
            await edition.prepare()
        except BaseException:
            edition.close()
            await self._stop(own)
            raise
        if self._stopped:
            edition.close()
            await self._stop(own)
            return
        before, self.current = self.current, edition
        self._old.append(before)
        self._install(edition)
        before.emptied = lambda: self._emptied(before)
        if not before.calls:
            self._emptied(before)

    async def stop(self) -> None:
        self._stopped = True
        engines = self._in_use()
        for edition in (*self._old, self.current):
            edition.close()
        self._old.clear()
        await self._stop(reversed(engines))

    # -- inside ----------------------------------------------------------------
    def _in_use(self) -> list[Engine]:
        """Each once, the oldest first."""
        found: list[Engine] = []
        for edition in (*self._old, self.current):
            found += [engine for engine in edition.engines if engine not in found]
        return found

    def _emptied(self, edition: Edition) -> None:
        """Its last call is over; it may hear of that while the call still cleans up."""
        if edition not in self._old:
            return
        self._old.remove(edition)
        edition.close()
        in_use = self._in_use()
        idle = [engine for engine in edition.engines if engine not in in_use]
        Deferred.fromCoroutine(self._stop(reversed(idle)))

    async def _stop(self, engines: Iterable[Engine]) -> None:
        """Each, whatever becomes of the others."""
        for engine in engines:
            try:
                await engine.stop()
            except Exception:  # noqa: BLE001
                self.log.failure("an engine could not be stopped")


async def _start(engines: Iterable[Engine]) -> None:
    for engine in engines:
        await engine.start()
