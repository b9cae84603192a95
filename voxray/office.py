"""What the telephone side remembers whatever the configuration says by now.

Calls announced and calls dialled, spent tokens, sockets, orders: all of that outlives a reload. The rest is
made anew for each edition, in `telephony`. Part of the composition root.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from voxray.call.dials import Dial, Dials
from voxray.call.expected import Expectations
from voxray.call.reasons import EndReason, reason_of
from voxray.call.record import CallRecord, Records
from voxray.call.registry import Registry
from voxray.frames import CallInfo
from voxray.guards import CrowdRecorder
from voxray.metrics import MediaRecorder, Metrics
from voxray.overload import Overload
from voxray.settings import MediaSettings, Settings
from voxray.stores.shared import Shared
from voxray.vigil import Vigil
from voxray.web.calls import Replays
from voxray.web.colleagues import Colleagues
from voxray.web.crowd import Crowd
from voxray.web.dialing import Dialer
from voxray.web.forwarded import networks
from voxray.web.handovers import Handovers
from voxray.web.media import MediaFactory
from voxray.web.peers import Peers
from voxray.web.tokens import DIAL, StreamTokens

KEY_BYTES = 32
NEVER_UP = (
    EndReason.NO_ANSWER,
    EndReason.BUSY,
    EndReason.CANCELED,
    EndReason.FAILED,
    EndReason.SHUTDOWN,
)
"""What becomes of calls that we place and that nobody takes."""


class Office:
    """One for the process."""

    def __init__(
        self,
        reactor: Any,
        wall_clock: Callable[[], float],
        client: Any,
        metrics: Metrics,
        records: Records,
        shared: Shared | None = None,
        secret: bytes = b"",
        colleagues: Colleagues | None = None,
    ) -> None:
        """`client`, treq-like, asks the carriers' APIs. `shared`: with other instances, or processes.

        `secret` signs tokens where the configuration has none; empty: a random one.
        """
        self._wall_clock, self._shared = wall_clock, shared
        self.colleagues = colleagues
        """The processes on the same port."""
        self._given_secret = secret
        self._secret = ""
        self.client = client
        self.expectations, self.dials = Expectations(), Dials()
        self.handovers = Handovers("", reactor.seconds, lambda call_id: self.dials.get(call_id) is not None)
        self.tokens = StreamTokens(self._random_secret(), self.expectations.ttl_secs)
        self.sockets = MediaFactory(reactor, MediaSettings(), MediaRecorder(metrics))
        self.crowd, self.overload = Crowd(CrowdRecorder(metrics.guards)), Overload()
        self.vigil = Vigil(reactor, metrics, self.overload)
        self.replays: Replays = OrderedDict()
        self.peers = None if shared is None else self._with_peers(reactor, shared)
        self.dialer = Dialer(
            {},
            "",
            "",
            self.dials,
            self,
            reactor,
            room=lambda: False,
            longest_secs=0.0,
            over=_recorder(records, reactor.seconds, metrics),
            peers=self.peers,
        )

    def _with_peers(self, reactor: Any, shared: Shared) -> Peers:
        peers = Peers(
            shared,
            self.dials,
            self.expectations,
            token_secs=self.expectations.ttl_secs,
            clock=reactor.seconds,
            wall_clock=self._wall_clock,
        )
        self.handovers.note = peers.note_transfer
        return peers

    def _random_secret(self) -> bytes:
        return self._given_secret or secrets.token_bytes(KEY_BYTES)

    def watch(self, registry: Registry) -> None:
        """Of the calls there are, everybody here is told."""
        registry.watch(self.dialer)
        if self.peers is not None and self._shared is not None:
            registry.watch(self.peers)
            self._shared.lost = registry.lost

    def use(self, settings: Settings) -> None:
        """Holds for calls from now on. `dialer` is told by who has built the carriers."""
        calls = settings.calls
        if calls.stream_secret != self._secret:
            key = calls.stream_secret.encode() or self._random_secret()
            self.tokens.sign_with(key, self._wall_clock())
            self._secret = calls.stream_secret
        self.tokens.ttl_secs = self.expectations.ttl_secs = calls.stream_token_secs
        if self.peers is not None and self._shared is not None:
            self.peers.token_secs, self._shared.standing.limit = calls.stream_token_secs, calls.max_calls
        self.handovers.proxy_host = settings.server.proxy_host
        self.sockets.use(settings.media)
        self.crowd.use(settings.limits, networks(settings.server.trusted_proxies))

    def dial_token(self, dial_id: str, carrier: str, ring_secs: float) -> str:
        """For the stream of a call that we place, whose carrier's id nobody knows yet."""
        return self.tokens.mint(carrier, f"{DIAL}{dial_id}", self._wall_clock() + ring_secs)


def _recorder(records: Records, clock: Callable[[], float], metrics: Metrics) -> Callable[[Dial], None]:
    """Calls of ours that never were up are recorded too."""
    for outcome in ("answered", *NEVER_UP):
        metrics.dials.labels(outcome)

    def over(dial: Dial) -> None:
        info = CallInfo(
            dial.dial_id,
            call_sid=dial.call_sid,
            from_number=dial.from_number,
            to_number=dial.to,
            carrier=dial.carrier,
            outbound=True,
        )
        now = records.date()
        begun = now - (clock() - dial.began)
        reason = reason_of(dial.reason, EndReason.FAILED)
        metrics.dials.labels(reason).inc()
        records.keep(CallRecord(info, reason, begun, now))

    return over
