"""Model work off the reactor thread: one voice activity model for all callers.

Detectors submit windows on the reactor thread; about every 20 ms those that are waiting go to one worker
thread as one batch, and the answers come back in one call on the reactor thread. Never more than one batch
is in flight; a caller has at most one window in a batch, so that answers keep their order. With few callers
there is nothing to gain by waiting and a window goes at once. Without windows there is no timer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxray.errors import ConfigError
from voxray.interfaces import Clock, SpeechDetector, SpeechWindow
from voxray.turns.silero import WINDOW, SileroModel
from voxray.turns.vad import EnergyVad

TICK_SECS = 0.02
FEW_CALLS = 2

Samples = NDArray[np.float32]
Job = Callable[[], Any]
Done = Callable[[Any], None]  # the job's result, or a Failure


class CallsFromThreads(Protocol):
    """The part of IReactorFromThreads used here."""

    def callFromThread(self, callable: Callable[..., Any], *args: Any) -> Any: ...


class JobThread(Protocol):
    """Runs jobs one after the other, somewhere else; `done` is called on the reactor thread."""

    def submit(self, job: Job, done: Done) -> None: ...

    def stop(self) -> None: ...


class InferenceThread:
    """One thread of our own. Cheaper than the reactor's pool (no lock, no team), and its jobs keep order."""

    def __init__(self, reactor: CallsFromThreads, name: str = "inference") -> None:
        self._reactor = reactor
        self._name = name
        self._jobs: SimpleQueue[tuple[Job, Done] | None] = SimpleQueue()
        self._thread: Thread | None = None

    def submit(self, job: Job, done: Done) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put((job, done))

    def stop(self, timeout_secs: float = 2.0) -> None:
        """Finishes what is queued and ends the thread. Answers not yet delivered may be lost."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(timeout_secs)
            self._thread = None

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done = item
            try:
                result = job()
            except BaseException:  # noqa: BLE001 - it is handed to `done`
                result = Failure()
            self._reactor.callFromThread(done, result)


class _Detector:
    """One caller: a slot in the model, and the callback. Implements SpeechDetector."""

    __slots__ = ("_owner", "closed", "fallback", "fresh", "on_window", "rate_hz", "slot", "window_samples")

    def __init__(self, owner: SileroVoiceActivity, rate_hz: int, slot: int, on_window: SpeechWindow) -> None:
        self._owner = owner
        self.rate_hz = rate_hz
        self.slot = slot
        self.on_window = on_window
        self.window_samples = WINDOW[rate_hz]
        self.fresh = True
        self.closed = False
        self.fallback: EnergyVad | None = None

    def feed(self, samples: Samples) -> None:
        if not self.closed:
            self._owner.submit(self, samples)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._owner.release(self)


_Pending = tuple[_Detector, Samples]
_Plan = list[tuple[int, list[_Pending], list[int]]]  # rate, windows, slots that begin a caller


class SileroVoiceActivity:
    """Silero for every call of the process; implements VoiceActivity.

    `clock` drives the batching, `thread` runs the model. When the model fails on a batch (it never did),
    those windows are judged by their energy: a caller is never unheard.
    """

    def __init__(
        self, clock: Clock, thread: JobThread, *, load: Callable[[], SileroModel] = SileroModel
    ) -> None:
        self._clock = clock
        self._thread = thread
        self._load = load
        self._model: SileroModel | None = None  # touched by the thread only
        self._pending: list[_Pending] = []
        self._free: dict[int, list[int]] = {rate: [] for rate in WINDOW}
        self._slots = dict.fromkeys(WINDOW, 0)
        self._open = 0
        self._busy = False
        self._held_back = False  # a second window of one caller waits for this batch to end
        self._tick: Any = None
        self.batches = 0
        self.windows = 0
        self.model_failures = 0
        self.callback_errors = 0

    _log = Logger()

    # -- life ----------------------------------------------------------------
    async def start(self) -> None:
        """Loads the model on the thread. Raises ProviderError(UNAVAILABLE)."""
        loaded: Deferred[None] = Deferred()
        self._thread.submit(self._ready, lambda result: loaded.callback(result))
        await loaded

    async def stop(self) -> None:
        """Ends the thread; what is still waiting gets no answer."""
        self._pending.clear()
        self._cancel_tick()
        self._thread.stop()

    def _ready(self) -> None:
        if self._model is None:
            self._model = self._load()

    # -- for the detectors ---------------------------------------------------
    def open(self, rate_hz: int, on_window: SpeechWindow) -> SpeechDetector:
        """A detector for one more caller; `on_window` is called on the reactor thread."""
        if rate_hz not in WINDOW:
            raise ConfigError(f"Silero hears 8000 or 16000 Hz, not {rate_hz}")
        free = self._free[rate_hz]
        if free:
            slot = free.pop()
        else:
            slot = self._slots[rate_hz]
            self._slots[rate_hz] += 1
        self._open += 1
        return _Detector(self, rate_hz, slot, on_window)

    def release(self, detector: _Detector) -> None:
        # The slot may be given away at once: the next owner's first window resets it, on the thread,
        # after any batch that still carries the old owner.
        self._open -= 1
        self._free[detector.rate_hz].append(detector.slot)
        self._pending = [item for item in self._pending if item[0] is not detector]
        if not self._pending:
            self._cancel_tick()

    def submit(self, detector: _Detector, samples: Samples) -> None:
        if len(samples) != detector.window_samples:
            raise ValueError(f"a window has {detector.window_samples} samples, not {len(samples)}")
        self._pending.append((detector, samples))
        if self._busy:
            return  # the end of the batch sees to it
        if self._open <= FEW_CALLS:
            self._dispatch()
        elif self._tick is None:
            self._tick = self._clock.callLater(TICK_SECS, self._on_tick)

    # -- batching ------------------------------------------------------------
    def _cancel_tick(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    def _on_tick(self) -> None:
        self._tick = None
        if not self._busy and self._pending:
            self._dispatch()

    def _dispatch(self) -> None:
        self._cancel_tick()
        batch, later, seen = [], [], set()
        for item in self._pending:
            if item[0] in seen:
                later.append(item)
            else:
                seen.add(item[0])
                batch.append(item)
        self._pending = later
        self._held_back = bool(later)
        work = [(rate, part) for rate in WINDOW if (part := [i for i in batch if i[0].rate_hz == rate])]
        plan = [(rate, part, [d.slot for d, _ in part if d.fresh]) for rate, part in work]
        for detector in seen:
            detector.fresh = False
        self._busy = True
        self.batches += 1
        self._thread.submit(lambda: self._infer(plan), lambda result: self._finished(batch, plan, result))

    def _infer(
        self, plan: list[tuple[int, list[_Pending], list[int]]]
    ) -> list[tuple[list[float], list[float]]]:
        """On the thread."""
        self._ready()
        assert self._model is not None
        answers = []
        for rate_hz, part, fresh in plan:
            found = self._model.run(rate_hz, [d.slot for d, _ in part], fresh, [s for _, s in part])
            answers.append((found[0].tolist(), found[1].tolist()))
        return answers

    def _finished(self, batch: list[_Pending], plan: _Plan, result: Any) -> None:
        self._busy = False
        if isinstance(result, Failure):
            self._failed(result)
            self._deliver((d, s, *_by_energy(d, s)) for d, s in batch)
        else:
            for (_, part, _), (probabilities, levels) in zip(plan, result, strict=True):
                self._deliver(
                    (d, s, p, lv) for (d, s), p, lv in zip(part, probabilities, levels, strict=True)
                )
        if self._pending and not self._busy:
            if self._held_back or self._open <= FEW_CALLS:
                self._dispatch()
            elif self._tick is None:
                self._tick = self._clock.callLater(TICK_SECS, self._on_tick)

    def _deliver(self, answers: Iterable[tuple[_Detector, Samples, float, float]]) -> None:
        for detector, samples, probability, level in answers:
            if detector.closed:
                continue
            self.windows += 1
            try:
                detector.on_window(probability, level, samples)
            except Exception:  # noqa: BLE001 - one call's trouble is not another's
                self.callback_errors += 1
                self._log.failure("voice activity: a call's callback failed")

    def _failed(self, failure: Failure) -> None:
        self.model_failures += 1
        if self.model_failures == 1:
            self._log.failure("voice activity: the model failed; judging by energy", failure=failure)


def _by_energy(detector: _Detector, samples: Samples) -> tuple[float, float]:
    if detector.fallback is None:
        detector.fallback = EnergyVad(detector.rate_hz)
    return detector.fallback.feed(samples)
