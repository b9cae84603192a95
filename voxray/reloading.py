"""Reading the configuration again, on SIGHUP, while calls go on.

It is read and checked as at the start, by the same command line, and everything in it is built and started
before anything is changed: what cannot serve is kept out with one line in the log. New calls get the new
edition; running calls keep theirs. Keys that hold for the life of the process are named, and stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxray import logs
from voxray.config import Loaded
from voxray.config.key import Key
from voxray.config.keys import KEYS
from voxray.edition import Edition
from voxray.errors import ConfigError, ProviderError
from voxray.interfaces import Worker
from voxray.masking import secrets_in
from voxray.settings import Settings


class Shelf(Protocol):
    """The part of `editions.Editions` used here."""

    current: Edition

    async def change(self, edition: Edition) -> None: ...


class ReloadRecorder(Protocol):
    """What the metrics want to know; `outcome` is "loaded" or "kept"."""

    def reloaded(self, outcome: str) -> None: ...


class Manager(Protocol):
    """The service manager, who wants to know when a reload begins and ends."""

    def reloading(self) -> None: ...

    def ready(self) -> None: ...


class Reloader:
    """One reading at a time; asked meanwhile, it reads once more."""

    log = Logger()

    def __init__(
        self,
        load: Callable[[], Loaded],
        build: Callable[[Settings, Edition], Edition],
        editions: Shelf,
        worker: Worker,
        manager: Manager,
        recorder: ReloadRecorder,
        serving: Callable[[], bool],
    ) -> None:
        """`load` blocks, so `worker` runs it; `build(settings, before)` does not."""
        self._load, self._build, self._editions = load, build, editions
        self._worker, self._manager, self._recorder = worker, manager, recorder
        self._serving = serving
        self._asked = False
        self._came_of_it = ""
        self._reading: Deferred[None] | None = None

    def reload(self) -> None:
        """SIGHUP. Never raises, never blocks."""
        if not self._serving():
            self.log.info("SIGHUP: the configuration is not read again: the daemon is not serving")
            return
        self._asked = True
        if self._reading is None:
            self._reading = Deferred.fromCoroutine(self._read_again())
            self._reading.addErrback(self._unless_stopped).addBoth(self._over)

    async def read_again(self, fresh: bool) -> str:
        """The same, waited for: "loaded" or "kept". Not `fresh`: somebody else has found it wanting."""
        if not fresh:
            self._recorder.reloaded("kept")
            return "kept"
        self._came_of_it = "kept"
        self.reload()
        if self._reading is not None:
            over: Deferred[None] = Deferred()
            self._reading.addBoth(lambda _: over.callback(None))
            await over
        return self._came_of_it

    def stop(self) -> None:
        """The daemon ends."""
        if self._reading is not None:
            self._reading.cancel()

    # -- inside ----------------------------------------------------------------
    async def _read_again(self) -> None:
        while self._asked:
            self._asked = False
            self._manager.reloading()
            self._came_of_it = await self._outcome()
            self._recorder.reloaded(self._came_of_it)
            if self._serving():
                self._manager.ready()

    async def _outcome(self) -> str:
        before = self._editions.current.settings
        try:
            loaded = await self._worker.run(self._load)
            settings = with_lasting(loaded.settings, before)
            logs.conceal(secrets_in(settings))
            await self._editions.change(self._build(settings, self._editions.current))
        except CancelledError:
            raise
        except (ConfigError, ProviderError) as error:
            self.log.error("SIGHUP: the configuration stays the old one: {reason}", reason=str(error))
            return "kept"
        except Exception:  # noqa: BLE001 - a fault of ours must not cost the daemon its calls
            self.log.failure("SIGHUP: the configuration stays the old one")
            return "kept"
        self._tell(loaded, before)
        logs.choose(settings.logs)
        return "loaded"

    def _tell(self, loaded: Loaded, before: Settings) -> None:
        for warning in loaded.warnings:
            self.log.warn("configuration: {text}", text=warning)
        if lasting := [key.name for key in changed(loaded.settings, before) if key.restart]:
            text = "SIGHUP: only a restart changes {keys}; until then the old value holds"
            self.log.warn(text, keys=", ".join(lasting))
        self.log.info("SIGHUP: new calls get the new configuration")

    def _unless_stopped(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("SIGHUP: reading the configuration failed", failure)

    def _over(self, result: None) -> None:
        self._reading = None


# -- what has changed: pure ------------------------------------------------------
def changed(new: Settings, old: Settings) -> Iterable[Key]:
    """The keys that lead to another value."""
    return [key for key in KEYS.values() if key.field and _at(new, key.field) != _at(old, key.field)]


def with_lasting(new: Settings, old: Settings) -> Settings:
    """`new`, but with the values of `old` where only a restart changes them."""
    for key in changed(new, old):
        if key.restart:
            new = _put(new, key.field, _at(old, key.field))
    return new


def _at(settings: Any, path: str) -> Any:
    for name in path.split("."):
        settings = getattr(settings, name)
    return settings


def _put(settings: Any, path: str, value: object) -> Any:
    name, _, rest = path.partition(".")
    inner = _put(getattr(settings, name), rest, value) if rest else value
    return dataclasses.replace(settings, **{name: inner})
