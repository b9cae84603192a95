"""The live calls: how many there may be, which there are, and the time told to each of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from uuid import uuid4

from twisted.internet.interfaces import IReactorTime

from voxray.call.call import Call
from voxray.call.metronome import Metronome
from voxray.frames import CallInfo, IncomingCall, StreamStarted, Wire
from voxray.interfaces import MediaSink
from voxray.metrics import Metrics

CHECK_SECS = 0.5
"""How often a call is told the time: idle callers, longest duration, keypad pauses."""

ANNOUNCED_SECS = 60.0
MAX_ANNOUNCED = 2000
"""What a webhook said is kept so long, for so many calls; a stranger cannot make it grow."""

MakeCall = Callable[[CallInfo, Wire, MediaSink, Callable[[Call], None]], Call]


class Registry:
    """Admission and the list of calls."""

    def __init__(
        self, *, max_calls: int, carrier: str, make_call: MakeCall, clock: IReactorTime, metrics: Metrics
    ) -> None:
        self._max_calls = max_calls
        self._carrier = carrier
        self._make_call = make_call
        self._clock = clock
        self._metrics = metrics
        self._calls: dict[str, Call] = {}
        self._announced: OrderedDict[str, tuple[IncomingCall, float]] = OrderedDict()
        self._check = Metronome(clock, CHECK_SECS)
        self.ended = 0
        """Calls that are over."""

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._calls.values()))

    def admits(self) -> bool:
        """There is room for one more call."""
        return len(self._calls) < self._max_calls

    def announce(self, incoming: IncomingCall) -> None:
        """A webhook told of a call whose stream will follow."""
        now = self._clock.seconds()
        self._announced[incoming.call_sid] = (incoming, now)
        self._announced.move_to_end(incoming.call_sid)
        while self._announced and self._stale(now):
            self._announced.popitem(last=False)

    def open(self, started: StreamStarted, sink: MediaSink) -> Call | None:
        """The stream of a call began. None: no room."""
        if not self.admits():
            self._metrics.calls_refused.labels("max_calls").inc()
            return None
        call = self._make_call(self._info(started), started.wire, sink, self._gone)
        self._calls[call.call_id] = call
        self._metrics.calls_started.inc()
        self._metrics.calls_active.set(len(self._calls))
        self._check.join(call.elapsed)
        try:
            call.begin()
        except Exception:
            call.disconnected("error")  # its socket never had it, so nobody else would end it
            raise
        return call

    def abort_all(self, code: int, reason: str) -> None:
        """Ends every call now."""
        for call in self:
            call.abort(code, reason)

    def _stale(self, now: float) -> bool:
        _, (_, at) = next(iter(self._announced.items()))
        return now - at > ANNOUNCED_SECS or len(self._announced) > MAX_ANNOUNCED

    def _info(self, started: StreamStarted) -> CallInfo:
        announced, _ = self._announced.pop(started.call_sid, (None, 0.0))
        parameters = dict(started.parameters)
        return CallInfo(
            call_id=uuid4().hex,
            call_sid=started.call_sid,
            stream_sid=started.stream_sid,
            from_number=announced.from_number if announced else parameters.get("from", ""),
            to_number=announced.to_number if announced else parameters.get("to", ""),
            carrier=self._carrier,
            parameters=parameters,
            account_sid=started.account_sid,
        )

    def _gone(self, call: Call) -> None:
        self._calls.pop(call.call_id, None)
        self._check.leave(call.elapsed)
        self.ended += 1
        self._metrics.calls_active.set(len(self._calls))
