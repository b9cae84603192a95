"""Vendors that fail are left alone for a while: one circuit for each endpoint, shared by all calls.

Closed, it counts failures in a row; after some of them, or at once when the key is refused, it opens and
nothing is asked, so that a turn fails at once instead of after a timeout. After a pause one request is let
through to see: it closes the circuit, or opens it for another pause.

`Breaker` is pure, with the time as an argument. `Circuits` outlives editions: an endpoint that stays the same
(URL, key, stage and model) keeps its circuit when the configuration is read again.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from twisted.logger import Logger

from voxray.errors import ErrorKind, ProviderError

WINDOW_SECS = 30.0
"""Failures longer ago say nothing about now."""

LONG_PAUSES = 4.0
"""A key or an account does not mend itself within seconds: so many pauses for these."""

LONGEST_ASKED_SECS = 60.0
_AT_ONCE = frozenset({ErrorKind.AUTH, ErrorKind.QUOTA})


@dataclass(frozen=True, slots=True)
class Limits:
    """How many failures in a row open a circuit (0: none ever), and for how long."""

    failures: int = 3
    pause_secs: float = 15.0


class Breaker:
    """One endpoint's state."""

    __slots__ = ("_failed_at", "_limits", "_probing", "_until")

    def __init__(self, limits: Callable[[], Limits] = Limits) -> None:
        self._limits = limits
        self._failed_at: deque[float] = deque(maxlen=100)  # in a row, while closed
        self._until: float | None = None  # open until then, and from then on half open
        self._probing = False

    @property
    def is_closed(self) -> bool:
        """Requests are let through."""
        return self._until is None

    def doubtful(self, now: float) -> bool:
        """Open, or it has failed of late and not worked since."""
        return not self.is_closed or bool(self._failed_at and now - self._failed_at[-1] <= WINDOW_SECS)

    def admit(self, now: float) -> bool:
        """Whether to ask now. Its outcome is told by one of the three below."""
        if self._until is None or not self._limits().failures:
            return True
        if now < self._until:
            return False
        # One at a time; a probe of which nothing is heard for a whole pause is taken for lost.
        self._probing, self._until = True, now + self._limits().pause_secs
        return True

    def worked(self) -> bool:
        """A request went well. Whether that closed the circuit."""
        was_open, self._until, self._probing = self._until is not None, None, False
        self._failed_at.clear()
        return was_open

    def failed(self, kind: ErrorKind, now: float, asked_secs: float = 0.0) -> bool:
        """One did not; the vendor wants `asked_secs` of peace. Whether that opened it, which was closed."""
        limits = self._limits()
        if not limits.failures:
            return False
        pause = max(limits.pause_secs, min(asked_secs, LONGEST_ASKED_SECS))
        if kind in _AT_ONCE:
            pause = max(pause, limits.pause_secs * LONG_PAUSES)
        if self._until is not None:
            if self._probing:  # else a straggler from before it opened
                self._probing, self._until = False, now + pause
            return False
        self._failed_at.append(now)
        while now - self._failed_at[0] > WINDOW_SECS:
            self._failed_at.popleft()
        if len(self._failed_at) < limits.failures and kind not in _AT_ONCE:
            return False
        self._failed_at.clear()
        self._until = now + pause
        return True

    def abandoned(self, now: float) -> None:
        """Neither: the caller hung up, or the fault was ours. What should have told has not: soon again."""
        if self._probing:
            self._probing, self._until = False, now + self._limits().pause_secs / 2


class Recorder(Protocol):
    """Who counts."""

    def provider_up(self, stage: str, model: str, up: bool) -> None: ...

    def provider_gone(self, stage: str, model: str) -> None: ...

    def provider_paused(self, stage: str, model: str, kind: str) -> None: ...


class _Nobody:
    def provider_up(self, stage: str, model: str, up: bool) -> None: ...

    def provider_gone(self, stage: str, model: str) -> None: ...

    def provider_paused(self, stage: str, model: str, kind: str) -> None: ...


class Circuit:
    """One endpoint, as every call of the process asks it."""

    log = Logger()

    def __init__(self, owner: Circuits, provider: str, stage: str, model: str) -> None:
        self.provider, self.stage, self.model = provider, stage, model
        self.serving = 0
        """Adapters that were started and not stopped."""
        self._owner = owner
        self._breaker = Breaker(lambda: owner.limits)

    @property
    def up(self) -> bool:
        return self._breaker.is_closed

    @property
    def doubtful(self) -> bool:
        """It failed of late: nothing is asked of it that need not be."""
        return self._breaker.doubtful(self._owner.seconds())

    def check(self) -> None:
        """Before each request. Raises ProviderError(PAUSED): it is not to be asked now."""
        if not self._breaker.admit(self._owner.seconds()):
            raise ProviderError(self.provider, ErrorKind.PAUSED, "not asked, for it has failed lately")

    def failed(self, error: ProviderError) -> bool:
        """A request failed. Whether it may be asked again."""
        now = self._owner.seconds()
        if error.kind is ErrorKind.PAUSED:
            return False
        if not error.tells_of_vendor:
            self._breaker.abandoned(now)
        elif self._breaker.failed(error.kind, now, error.retry_after_secs):
            text = "{provider}: {stage} {model} is not asked for a while: {kind}"
            where = {"provider": self.provider, "stage": self.stage, "model": self.model}
            self.log.warn(text, kind=error.kind.value, **where)
            self._owner.opened(self, error.kind)
        return self._breaker.is_closed

    def worked(self) -> None:
        """A request went well."""
        if self._breaker.worked():
            text = "{provider}: {stage} {model} answers again"
            self.log.info(text, provider=self.provider, stage=self.stage, model=self.model)
            self._owner.closed(self)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Round a request and the reading of its answer: what comes of it is counted, once."""
        try:
            yield
        except ProviderError as error:
            self.failed(error)
            raise
        except BaseException:  # cancelled, closed, or a fault of ours
            self._breaker.abandoned(self._owner.seconds())
            raise
        self.worked()

    # -- the adapters' lives ---------------------------------------------------
    def serve(self) -> None:
        """An adapter that asks here was started."""
        self.serving += 1
        self._owner.shown(self)

    def retire(self) -> None:
        """It was stopped."""
        self.serving -= 1
        if self.serving <= 0:
            self._owner.drop(self)


class Circuits:
    """All endpoints of the process."""

    def __init__(self, seconds: Callable[[], float], recorder: Recorder | None = None) -> None:
        self.seconds = seconds
        self.limits = Limits()
        self._recorder: Recorder = recorder or _Nobody()
        self._circuits: dict[tuple[str, ...], Circuit] = {}

    def of(self, provider: str, stage: str, model: str, url: str, key: str = "") -> Circuit:
        """The circuit of requests for `model` to `url` with `key`; of a stage's adapter, or of none ("")."""
        digest = hashlib.sha256(key.encode()).hexdigest() if key else ""
        where = (provider, stage, model, url, digest)
        if where not in self._circuits:
            self._circuits[where] = Circuit(self, provider, stage, model)
        return self._circuits[where]

    def doubtful(self, provider: str, but: Circuit) -> bool:
        """Something else of this vendor's has failed of late."""
        others = (each for each in self._circuits.values() if each.provider == provider and each is not but)
        return any(each.doubtful for each in others)

    # -- what the circuits tell --------------------------------------------------
    def opened(self, circuit: Circuit, kind: ErrorKind) -> None:
        if circuit.stage:
            self._recorder.provider_paused(circuit.stage, circuit.model, kind.value)
        self.shown(circuit)

    def closed(self, circuit: Circuit) -> None:
        self.shown(circuit)

    def shown(self, circuit: Circuit) -> None:
        """The gauge follows it while it serves. Of two with one name the later one is what new calls get."""
        same = self._serving(circuit.stage, circuit.model)
        if same and same[-1] is circuit:
            self._recorder.provider_up(circuit.stage, circuit.model, circuit.up)

    def drop(self, circuit: Circuit) -> None:
        """Nobody asks there any more."""
        self._circuits = {where: each for where, each in self._circuits.items() if each is not circuit}
        if left := self._serving(circuit.stage, circuit.model):
            self.shown(left[-1])
        else:
            self._recorder.provider_gone(circuit.stage, circuit.model)

    def _serving(self, stage: str, model: str) -> list[Circuit]:
        every = self._circuits.values()
        return [each for each in every if each.serving > 0 and (each.stage, each.model) == (stage, model)]
