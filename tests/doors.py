"""Doors for tests: sockets that nobody has to prove anything at, and a policy with its parts at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from voxray.call.expected import Expectations, Expected, Welcome
from voxray.carriers.twilio import TwilioDocuments
from voxray.frames import StreamStarted
from voxray.interfaces import AnswerDocuments, Authenticity, CallPort, Declined, MediaSink, Serializer
from voxray.serializers.twilio import TwilioSerializer
from voxray.web.media import MediaFactory, MediaProtocol
from voxray.web.rules import Rules
from voxray.web.tokens import StreamTokens
from voxray.web.trust import Doorkeeper, Trunk

OpenCall = Callable[[StreamStarted, MediaSink], CallPort | None]


class AnyGuest:
    """Let in without a question; no call means that there is no room."""

    def __init__(self, serializer: Serializer, open_call: OpenCall) -> None:
        self.serializer, self._open_call = serializer, open_call

    def open(self, started: StreamStarted, sink: MediaSink) -> CallPort | Declined:
        return self._open_call(started, sink) or Declined("max_calls", full=True)

    def held(self) -> Sequence[bytes]:
        return ()


class OpenFactory(MediaFactory):
    """A factory that expects everybody."""

    def __init__(
        self,
        reactor: Any,
        settings: Any,
        serializer: Callable[[], Serializer],
        open_call: OpenCall,
        recorder: Any,
        **options: Any,
    ) -> None:
        super().__init__(reactor, settings, recorder, **options)
        self._new_guest = lambda: AnyGuest(serializer(), open_call)

    def guest(self) -> AnyGuest:
        return self._new_guest()

    def buildProtocol(self, addr: object) -> MediaProtocol | None:
        self.expect(self.guest())
        return super().buildProtocol(addr)


def unknown(opened: Callable[[StreamStarted, MediaSink, Welcome], Any], carrier: str = "twilio") -> OpenCall:
    """A registry's `open` for streams that nobody announced."""
    return lambda started, sink: opened(started, sink, Welcome(carrier))


class Doors:
    """A doorkeeper, its clocks, and what it is told of the calls."""

    def __init__(self, *trunks: Trunk, configured: str | None = None, ttl_secs: float = 120.0) -> None:
        self.now, self.wall = 100.0, 1_700_000_000.0
        self.live: set[tuple[str, str]] = set()
        self.dialed: dict[str, Expected] = {}
        self.expectations = Expectations(ttl_secs)
        self.tokens = StreamTokens(b"k" * 32, ttl_secs)
        self.trunks: Mapping[str, Trunk] = {trunk.name: trunk for trunk in trunks or (twilio_trunk(),)}
        self.keeper = Doorkeeper(
            self.trunks,
            next(iter(self.trunks)) if configured is None else configured,
            tokens=self.tokens,
            expectations=self.expectations,
            live=lambda carrier, sid: (carrier, sid) in self.live,
            clock=lambda: self.now,
            wall_clock=lambda: self.wall,
            dialed=lambda dial_id: self.dialed.get(dial_id),
        )

    def pass_time(self, secs: float) -> None:
        self.now += secs
        self.wall += secs


def twilio_trunk(
    rules: Rules = Rules(),  # noqa: B008 - frozen
    authenticity: Authenticity | None = None,
    documents: AnswerDocuments | None = None,
    **options: Any,
) -> Trunk:
    return Trunk(
        documents or TwilioDocuments(),
        lambda query: TwilioSerializer(),
        authenticity,
        rules,
        **{"parameters": True, **options},
    )
