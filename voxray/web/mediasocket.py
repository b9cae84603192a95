"""The media socket: a carrier's WebSocket <-> a serializer <-> one call.

It lets in what the protocol allows, counts the rest by reason, and keeps one call's trouble from
every other: whatever our own code raises below a callback is logged once, counted, and ends that call
alone with 1011. Close codes: 1000 after `stop` or our hang-up, 1003 a codec we cannot decode, 1008
misconduct, no `start` or one that may not be, 1009 too big (Autobahn), 1011 our fault, 1013 no room for
another call.
"""

from __future__ import annotations

import math
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from voxray.errors import BadMessage
from voxray.frames import Audio, Connected, Frame, Ignored, StreamStarted, StreamStopped
from voxray.interfaces import CallPort, Declined, Guest
from voxray.settings import MediaSettings
from voxray.web.conduct import Conduct
from voxray.web.crowd import Place
from voxray.web.fastpath import FastTextProtocol
from voxray.web.outbound import Outbound
from voxray.web.waiting import Waiting

if TYPE_CHECKING:
    from voxray.web.media import MediaFactory

NORMAL, UNSUPPORTED, POLICY, INTERNAL, TRY_LATER = 1000, 1003, 1008, 1011, 1013

END_REASONS = (
    "stop",  # the carrier said so
    "hung_up",  # we closed it
    "closed",  # the peer's close frame, without `stop`
    "lost",  # the connection went without a word
    "dead_peer",  # no message of any kind for a while
    "slow_consumer",  # it does not read
    "policy",  # misconduct
    "protocol",  # not RFC 6455, or over its size limits
    "refused",  # no room for its call
    "untrusted",  # no token, or not this call's
    "error",  # our own fault
)


class MediaRecorder(Protocol):
    """What the metrics want to know of media sockets; labels are bounded."""

    def socket_opened(self) -> None: ...

    def socket_closed(self, reason: str) -> None: ...

    def message_ignored(self, reason: str) -> None: ...

    def message_bad(self, reason: str) -> None: ...

    def audio_dropped(self) -> None: ...

    def callback_failed(self) -> None: ...


class MediaProtocol(FastTextProtocol):
    """One carrier's socket. Made by `MediaFactory`."""

    _log = Logger()
    factory: MediaFactory
    closeHandshakeTimeoutCall: Any

    def __init__(
        self, guest: Guest, settings: MediaSettings, *, client: str = "", request_id: str = ""
    ) -> None:
        super().__init__()
        self._client, self._request_id = client, request_id
        self._guest = guest
        self._serializer = guest.serializer
        self._settings = settings
        self._conduct = Conduct(settings.max_messages_per_sec, settings.max_messages_burst)
        self.place: Place | None = None
        """Among the connections that are no calls, until it is one."""
        self._call: CallPort | None = None
        self._waiting: Waiting | None = None  # between `start` and the answer to it
        self._opening: Deferred[None] | None = None
        self._stream_sid = ""
        self._outbound: Outbound | None = None
        self._why = ""  # set once the end has begun
        self._age_secs = 0.0
        self._mute, self._mute_secs = True, 0.0  # until the first audio; how long its call has been so
        self._ping_due_secs = settings.ping_interval_secs or math.inf

    @property
    def deciding(self) -> bool:
        """Its `start` is in, and whether it may be a call is not known yet."""
        return self._waiting is not None

    # -- Autobahn calls --------------------------------------------------------
    def onConnect(self, request: Any) -> Any:
        """Echoes a subprotocol only if it was offered and is one of ours."""
        self.peer = self._client or self.peer  # behind a proxy Autobahn knows the proxy alone
        chosen = next((name for name in self.factory.protocols if name in request.protocols), None)
        return chosen, {"X-Request-ID": self._request_id} if self._request_id else {}

    def onOpen(self) -> None:
        try:
            self._open()
        except Exception:  # noqa: BLE001 - Autobahn would lose it in a Deferred
            self.crashed()

    def _open(self) -> None:
        settings = self._settings
        self._outbound = Outbound(
            self,
            self._serializer,
            self.factory.recorder,
            unsent_ms=settings.max_unsent_audio_ms,
            stuck_secs=settings.slow_consumer_secs,
        )
        self._outbound.attach(self.transport, self._settings.send_buffer_bytes)
        self.factory.opened(self)

    def text_received(self, payload: bytes) -> None:
        self._conduct.spent += 1
        if self._why:
            return
        try:
            if self._conduct.flooding:
                self.end(POLICY, "policy", "too many messages")
                return
            self._heard(self._serializer.decode(payload))
        except BadMessage as problem:
            self._bad(problem)
        except Exception:  # noqa: BLE001
            self.crashed()

    def binary_received(self, payload: bytes) -> None:
        self._conduct.spent += 1
        if not self._why:
            self._bad(BadMessage("binary"))

    def onPing(self, payload: bytes) -> None:
        self._conduct.spent += 1
        if self._conduct.flooding:
            self.end(POLICY, "policy", "too many pings")
        else:
            super().onPing(payload)

    def onPong(self, payload: bytes) -> None:
        self._conduct.spent += 1

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self.place is not None:
            self.place.leave()
        if self.closeHandshakeTimeoutCall is not None:  # Autobahn leaves it running after a lost connection
            self.closeHandshakeTimeoutCall.cancel()
            self.closeHandshakeTimeoutCall = None
        if self._outbound is None:
            return  # never open, or closed before
        self._outbound = None
        why = self._why or ("protocol" if self.failedByMe else "closed" if wasClean else "lost")
        if self._opening is not None:
            self._opening.cancel()
        call, self._call, self._why = self._call, None, why
        self.factory.closed(self, why)
        try:
            if call is not None:
                call.disconnected(why)
        except Exception:  # noqa: BLE001
            self._complain(call)

    # -- frames ----------------------------------------------------------------
    def _heard(self, frame: Frame) -> None:
        self._conduct.bad_in_a_row = 0
        call = self._call
        if call is None:
            self._before_start(frame)
        elif type(frame) is Audio:
            self._mute = False
            call.receive(frame)
        elif isinstance(frame, Ignored):
            self._ignored(frame.reason, frame.complaint)
        elif isinstance(frame, StreamStarted):
            self._started_again(frame)
        elif isinstance(frame, StreamStopped):
            call.receive(frame)
            self.end(NORMAL, "stop")
        elif not isinstance(frame, Connected):
            call.receive(frame)

    def _before_start(self, frame: Frame) -> None:
        if self._waiting is not None:
            if not self._waiting.hold(frame):
                self._ignored("held_too_many")
            return
        if isinstance(frame, StreamStarted):
            self._start(frame)
            return
        if isinstance(frame, Ignored):
            self._ignored(frame.reason, frame.complaint)
        elif not isinstance(frame, Connected):
            self._ignored("before_start")
        self._count_before_start()

    def _count_before_start(self) -> None:
        self._conduct.before_start += 1
        if self._conduct.before_start >= self._settings.max_messages_before_start:
            self.end(POLICY, "policy", "no start message")

    def _start(self, started: StreamStarted) -> None:
        assert self._outbound is not None
        self._stream_sid = started.stream_sid
        self._outbound.carry(started.wire.spoken)
        opened = self._guest.open(started, self._outbound)
        if isinstance(opened, Coroutine):
            self._waiting = Waiting()
            self._opening = Deferred.fromCoroutine(self._soon(opened))
            self._opening.addErrback(lambda failure: failure.trap(CancelledError))
        else:
            self._opened(opened)

    async def _soon(self, opening: Coroutine[Any, Any, CallPort | Declined]) -> None:
        """Other instances are asked first; what comes meanwhile waits."""
        try:
            opened = await opening
            waiting, self._waiting = self._waiting, None
            self._opened(opened)
            for frame in waiting.take() if waiting is not None else ():
                if not self._why:
                    self._heard(frame)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001
            self.crashed()

    def _opened(self, opened: CallPort | Declined) -> None:
        if not isinstance(opened, Declined):
            self._call = opened
            if self.place is not None:
                self.place.leave()
            for message in self._guest.held():
                self._heard(self._serializer.decode(message))
        elif opened.full:
            self.end(TRY_LATER, "refused", "no room for this call")
        else:
            self._log.warn("a stream from {peer} is refused: {reason}", peer=self.peer, reason=opened.reason)
            self.end(POLICY, "untrusted", "not this call's stream")

    def _started_again(self, started: StreamStarted) -> None:
        self._ignored("second_start")
        if started.stream_sid != self._stream_sid:
            self.end(POLICY, "policy", "a second stream on one socket")

    def _ignored(self, reason: str, complaint: bool = False) -> None:
        self.factory.recorder.message_ignored(reason)
        if not self._conduct.first(reason):
            return
        name = self._name(self._call)
        if complaint:
            self._log.warn("call {call_id}: the carrier complains: {reason}", call_id=name, reason=reason)
        else:
            self._log.debug("call {call_id}: ignored: {reason}", call_id=name, reason=reason)

    def _bad(self, problem: BadMessage) -> None:
        reason = problem.reason
        self.factory.recorder.message_bad(reason)
        if self._conduct.first(reason):
            self._log.warn(
                "call {call_id}: bad message: {problem}",
                call_id=self._name(self._call),
                reason=reason,
                problem=str(problem),
            )
        if reason == "unsupported_media":
            self.end(UNSUPPORTED, "policy", problem.detail or "the codec is not understood")
        elif self._conduct.bad():
            self.end(POLICY, "policy", "too many bad messages")
        elif self._call is None:
            self._count_before_start()

    # -- time ------------------------------------------------------------------
    def tick(self, elapsed_secs: float) -> None:
        """Once a second from the factory: deadlines, pings, the message allowance.

        Ticks are what is counted, not the clock: a stalled reactor must not look like a silent peer.
        """
        self._age_secs += elapsed_secs
        self._conduct.tick(elapsed_secs)
        unfinished = bool(self.data) or self.inside_message or self.current_frame is not None
        self._conduct.reads(unfinished, self.trafficStats.incomingWebSocketMessages, elapsed_secs)
        if self._mute and self._call is not None:
            self._mute_secs += elapsed_secs
        try:
            self._judge(elapsed_secs)
        except Exception:  # noqa: BLE001
            self.crashed()

    def _judge(self, elapsed_secs: float) -> None:
        assert self._outbound is not None
        if self._conduct.quiet_secs >= self._settings.dead_peer_secs:
            self._abort("dead_peer")
        elif self._outbound.stuck(elapsed_secs):
            self._abort("slow_consumer")
        elif (
            self._call is None
            and self._waiting is None
            and self._age_secs >= self._settings.start_timeout_secs
        ):
            self.end(POLICY, "policy", "no start message")
        elif self._conduct.partial_secs >= self._settings.partial_message_timeout_secs:
            self.end(POLICY, "policy", "a message without an end")
        elif self._mute and self._mute_secs >= self._settings.first_media_timeout_secs:
            self.end(POLICY, "policy", "no media")
        elif self._age_secs >= self._ping_due_secs:
            self._ping_due_secs = self._age_secs + self._settings.ping_interval_secs
            self.sendPing()

    # -- the end ---------------------------------------------------------------
    def end(self, code: int, why: str, text: str = "") -> None:
        """Starts the close handshake, once; Autobahn bounds it to a second."""
        if self._why or self.state != self.STATE_OPEN:
            return
        self._why = why
        reason = text.encode("utf-8", "replace")[:123].decode("utf-8", "ignore").encode("utf-8")
        self.sendCloseFrame(code=code, reasonUtf8=reason or None, isReply=False)

    def _abort(self, why: str) -> None:
        """For a peer that no close frame would reach."""
        self._why = self._why or why
        self.wasNotCleanReason = why
        self.dropConnection(abort=True)

    def crashed(self) -> None:
        """Call in an `except` block: our own code failed below one of the callbacks."""
        if not self._why:
            self._complain(self._call)
            self.end(INTERNAL, "error", "internal error")

    def _complain(self, call: CallPort | None) -> None:
        self.factory.recorder.callback_failed()
        self._log.failure("call {call_id}: a callback failed; this call ends", call_id=self._name(call))

    def _name(self, call: CallPort | None) -> str:
        """For the log: the call's id, or who is at the other end when there is no call yet."""
        return f"(none yet, {self.peer})" if call is None else call.call_id
