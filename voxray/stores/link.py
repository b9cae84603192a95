"""The one connection to Redis: kept up, watched, and never waited for longer than half a second.

While it is down every question is refused at once. A server that does not answer in time (stopped,
swapping, behind a dead network) counts as down: the connection is dropped and made anew, with growing and
random pauses of at most 0.8 s, so that both losing it and finding it again are noticed within two seconds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, Protocol, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as Late
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxray.errors import StoreUnavailable
from voxray.stores.replies import Lost, Meaning, Refusal, Reply, Word

OP_SECS = 0.5
HELLO_SECS = 1.0
"""For TLS, user and password, and the first ping."""
PING_SECS = 0.5
FIRST_PAUSE_SECS = 0.05
LONGEST_PAUSE_SECS = 0.8
STEADY_SECS = 5.0
"""A connection that held so long is a good one: after it the pauses begin anew."""
LOUD_EVERY_SECS = 60.0


class Wire(Protocol):
    """One connection."""

    lost: Deferred[None]

    def ask(self, *words: Word) -> Coroutine[Any, Any, Reply]:
        """Raises Refusal, Lost."""

    def abort(self) -> None: ...


Connect = Callable[[], Coroutine[Any, Any, Wire]]
"""Opens a connection to where Redis is now, and introduces us. Raises any Exception."""


class LinkRecorder(Protocol):
    """What the metrics want to know."""

    def failed(self, reason: str) -> None:
        """A question was not answered; a bounded label."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, which Redis runs as one step."""

    source: str

    @property
    def digest(self) -> str:
        return sha1(self.source.encode("ascii"), usedforsecurity=False).hexdigest()


def pause_secs(failures: int, dice: float) -> float:
    """Before the next try; `dice` is in 0..1, so that instances do not come back all at once."""
    longest = min(LONGEST_PAUSE_SECS, FIRST_PAUSE_SECS * 2.0 ** min(failures, 10))
    return longest * (0.5 + dice / 2)


class RedisLink:
    """Asks Redis, and knows whether it is there."""

    log = Logger()

    def __init__(
        self,
        name: str,
        connect: Connect,
        clock: IReactorTime,
        recorder: LinkRecorder,
        *,
        dice: Callable[[], float] = random.random,
    ) -> None:
        """`name` is for the log: an address without its password."""
        self._name, self._connect, self._clock, self._recorder = name, connect, clock, recorder
        self._dice = dice
        self._wire: Wire | None = None
        self._over: Deferred[str] | None = None
        self._keeping: Deferred[None] | None = None
        self._watchers: list[Callable[[bool], None]] = []
        self._told: dict[str, float] = {}
        self._away = False
        self._pings = LoopingCall(self._ping)
        self._pings.clock = clock

    @property
    def up(self) -> bool:
        """It answered lately."""
        return self._wire is not None

    def watch(self, watcher: Callable[[bool], None]) -> None:
        """`watcher(up)` is called at every change from now on."""
        self._watchers.append(watcher)

    # -- for the daemon ------------------------------------------------------
    async def start(self) -> None:
        """Begins to connect. Nobody waits for it: calls do without."""
        self._keeping = Deferred.fromCoroutine(self._keep())
        self._keeping.addErrback(self._stumbled)

    async def stop(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()

    # -- asking --------------------------------------------------------------
    async def ask(self, *words: Word) -> Reply:
        """One command. Raises StoreUnavailable, and Refusal for what the caller may make sense of."""
        wire = self._wire
        if wire is None:
            raise self._failed("down")
        try:
            return await _within(OP_SECS, wire.ask(*words), self._clock)
        except Late:
            self._end(wire, "it does not answer")
            raise self._failed("timeout") from None
        except Lost:
            raise self._failed("lost") from None
        except Refusal as refusal:
            self._refused(wire, refusal)
            raise

    async def run(self, script: Script, keys: Sequence[str], *words: Word) -> Reply:
        """A script, sent whole only when Redis does not know it yet."""
        rest = (len(keys), *keys, *words)
        try:
            return await self.ask("EVALSHA", script.digest, *rest)
        except Refusal as refusal:
            if refusal.meaning is not Meaning.NO_SCRIPT:
                raise
        return await self.ask("EVAL", script.source, *rest)

    def _refused(self, wire: Wire, refusal: Refusal) -> None:
        """Raises StoreUnavailable unless the caller may make sense of it."""
        meaning, code = refusal.meaning, refusal.code
        if meaning in (Meaning.TYPE, Meaning.NO_SCRIPT):
            return
        if meaning is Meaning.STALE:
            self._end(wire, f"it says {code}")
        elif meaning is Meaning.AUTH:
            self._complain_of_auth(code)
        else:
            self._loudly(code, "Redis at {name} refuses with {code}", code=code)
        raise self._failed(meaning.value) from None

    def _failed(self, reason: str) -> StoreUnavailable:
        self._recorder.failed(reason)
        return StoreUnavailable(reason)

    # -- staying connected ---------------------------------------------------
    async def _keep(self) -> None:
        failures = 0
        while True:
            try:
                wire = await self._connect()
            except CancelledError:
                raise
            except Refusal as refusal:
                if refusal.meaning is Meaning.AUTH:
                    self._complain_of_auth(refusal.code)
                self._note_away(f"it says {refusal.code}")
            except Lost as error:
                self._note_away(str(error))
            except Exception as error:  # noqa: BLE001 - a hundred kinds, and all mean the same
                self._note_away(type(error).__name__)
            else:
                began = self._clock.seconds()
                self._note_away(await self._while_up(wire))
                if self._clock.seconds() - began >= STEADY_SECS:
                    failures = 0
            await deferLater(cast(Any, self._clock), pause_secs(failures, self._dice()))
            failures += 1

    async def _while_up(self, wire: Wire) -> str:
        """Until it is lost; why."""
        over = self._over = Deferred()
        wire.lost.addCallback(lambda _: self._end(wire, "the connection was lost"))
        if not over.called:
            self._wire = wire
            self._pings.start(PING_SECS, now=False)
            self._away = False
            self.log.info("Redis at {name} is there", name=self._name)
            self._tell(True)
        try:
            return await over
        finally:
            wire.abort()
            if self._wire is not None:
                self._wire = None
                self._pings.stop()
                self._tell(False)

    def _end(self, wire: Wire, why: str) -> None:
        over = self._over
        if (self._wire is None or self._wire is wire) and over is not None and not over.called:
            over.callback(why)

    def _ping(self) -> None:
        if (wire := self._wire) is not None:
            pinging = Deferred.fromCoroutine(self._answers(wire))
            pinging.addErrback(lambda failure: self.log.failure("pinging Redis failed", failure))

    async def _answers(self, wire: Wire) -> None:
        try:
            await _within(OP_SECS, wire.ask("PING"), self._clock)
        except Late:
            self._end(wire, "it does not answer")
        except Lost:
            pass
        except Refusal as refusal:
            self._end(wire, f"it says {refusal.code}")

    # -- telling -------------------------------------------------------------
    def _tell(self, up: bool) -> None:
        for watcher in self._watchers:
            try:
                watcher(up)
            except Exception:  # noqa: BLE001 - the connection outlives its watchers' faults
                self.log.failure("a watcher of Redis failed")

    def _note_away(self, why: str) -> None:
        """Once for each time it goes; of every other try only who debugs wants to know."""
        tell = self.log.debug if self._away else self.log.warn
        self._away = True
        tell("Redis at {name} is away: {why}", name=self._name, why=why)

    def _complain_of_auth(self, code: str) -> None:
        text = (
            "Redis at {name} does not let us in, or not do what we must ({code}): "
            "check user and password in redis_url, and what that user may do"
        )
        self._loudly("auth", text, code=code)

    def _loudly(self, kind: str, text: str, **fields: str) -> None:
        """An error for the owner, once a minute for each kind."""
        now = self._clock.seconds()
        if now - self._told.get(kind, -LOUD_EVERY_SECS) >= LOUD_EVERY_SECS:
            self._told[kind] = now
            self.log.error(text, name=self._name, **fields)

    def _stumbled(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("the connection to Redis is given up", failure)


def _within(secs: float, asking: Coroutine[Any, Any, Reply], clock: IReactorTime) -> Deferred[Reply]:
    return Deferred.fromCoroutine(asking).addTimeout(secs, clock)
