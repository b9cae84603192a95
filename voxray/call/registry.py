"""The live calls: how many there may be, which there are, and the time told to each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol
from uuid import uuid4

from twisted.internet.interfaces import IReactorTime

from voxray.call.call import Call
from voxray.call.expected import Expectations, Expected, Key, Welcome
from voxray.call.metronome import Metronome
from voxray.call.reasons import EndReason
from voxray.frames import CallInfo, StreamStarted, Wire
from voxray.interfaces import MediaSink
from voxray.metrics import Metrics

CHECK_SECS = 0.5
"""How often a call is told the time: idle callers, longest duration, keypad pauses."""

MakeCall = Callable[[CallInfo, Wire, MediaSink, Callable[[Call], None]], Call]


def _no_agent(info: CallInfo, wire: Wire, sink: MediaSink, ended: Callable[[Call], None]) -> Call:
    raise RuntimeError("a call before `Registry.use`")  # nobody is admitted until then


class Watcher(Protocol):
    """Somebody who wants to know of calls."""

    def began(self, info: CallInfo) -> None: ...

    def ended(self, info: CallInfo, reason: str) -> None: ...


class Registry:
    """Admission and the list of calls."""

    def __init__(
        self,
        *,
        max_calls: int = 0,
        make_call: MakeCall = _no_agent,
        clock: IReactorTime,
        metrics: Metrics,
        expectations: Expectations | None = None,
    ) -> None:
        """`expectations` is told of calls that are over."""
        for reason in EndReason:
            metrics.calls_ended.labels(reason)  # a counter that begins at its first 1 has no increase
        self._max_calls = max_calls
        self._expectations = Expectations() if expectations is None else expectations
        self._make_call = make_call
        self._clock = clock
        self._metrics = metrics
        self._calls: dict[str, Call] = {}
        self._by_sid: dict[Key, Call] = {}
        self._check = Metronome(clock, CHECK_SECS)
        self._watchers: list[Watcher] = []
        self.ended = 0
        """Calls that are over."""

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._calls.values()))

    def use(self, max_calls: int, make_call: MakeCall) -> None:
        """Holds for calls from now on."""
        self._max_calls, self._make_call = max_calls, make_call

    def watch(self, watcher: Watcher) -> None:
        """`watcher` is told of every call that begins or ends from now on."""
        self._watchers.append(watcher)

    def admits(self) -> bool:
        """There is room for one more call."""
        return len(self._calls) < self._max_calls

    def live(self, carrier: str, call_sid: str) -> bool:
        """The carrier's call has a stream now."""
        return (carrier, call_sid) in self._by_sid

    def open(self, started: StreamStarted, sink: MediaSink, welcome: Welcome) -> Call | None:
        """The stream of a call began. None: no room."""
        if welcome.replaces and (before := self._by_sid.get((welcome.carrier, started.call_sid))):
            before.abort(1000, "replaced")
        if not self.admits():
            self._metrics.calls_refused.labels("max_calls").inc()
            return None
        call = self._make_call(_info(started, welcome), started.wire, sink, self._gone)
        self._calls[call.call_id] = call
        self._by_sid[_key(call)] = call
        self._metrics.calls_started.inc()
        if call.info.outbound:
            self._metrics.dials.labels("answered").inc()
        self._metrics.calls_active.set(len(self._calls))
        self._check.join(call.elapsed)
        for watcher in self._watchers:
            watcher.began(call.info)
        try:
            call.begin()
        except Exception:
            call.disconnected("error")  # its socket never had it, so nobody else would end it
            raise
        return call

    def lost(self, lease: str) -> None:
        """The call of that lease has a newer stream at another instance."""
        for call in self:
            if call.info.lease == lease:
                call.abort(1000, "replaced")

    def abort_all(self, code: int, reason: str) -> None:
        """Ends every call now."""
        for call in self:
            call.abort(code, reason)

    def _gone(self, call: Call) -> None:
        self._calls.pop(call.call_id, None)
        if self._by_sid.get(_key(call)) is call:
            del self._by_sid[_key(call)]
            self._expectations.ended(*_key(call), self._clock.seconds())
        self._check.leave(call.elapsed)
        self.ended += 1
        for watcher in self._watchers:
            watcher.ended(call.info, call.reason)
        self._metrics.calls_active.set(len(self._calls))


def _key(call: Call) -> Key:
    return call.info.carrier, call.info.call_sid


def _info(started: StreamStarted, welcome: Welcome) -> CallInfo:
    """What was announced, else what the stream says."""
    expected = welcome.expected or Expected(uuid4().hex, welcome.carrier, started.call_sid)
    parameters = dict(started.parameters)
    return CallInfo(
        call_id=expected.call_id,
        call_sid=started.call_sid,
        stream_sid=started.stream_sid,
        account_sid=started.account_sid,
        from_number=expected.from_number or parameters.get("from", ""),
        to_number=expected.to_number or parameters.get("to", ""),
        carrier=welcome.carrier,
        parameters=parameters,
        outbound=expected.outbound,
        verified=expected.verified,
        body=expected.body,
        max_secs=expected.max_secs,
        lease=welcome.lease,
    )
