"""The media socket between `start` and an answer that takes its time: nothing is lost, little is kept."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.test_media_socket import Call, Peer, Recorder, media, start
from voxray.frames import Audio, Dtmf, Frame, Mark, StreamStarted
from voxray.interfaces import CallPort, Declined, MediaSink, Serializer
from voxray.serializers.twilio import TwilioSerializer
from voxray.settings import MediaSettings
from voxray.web.media import MediaFactory, MediaProtocol
from voxray.web.waiting import MAX_AUDIO_BYTES, MAX_FRAMES, Waiting


class SlowGuest:
    """Joined to a call when the test says so."""

    def __init__(self) -> None:
        self.serializer: Serializer = TwilioSerializer()
        self.answer: Deferred[CallPort | Declined] = Deferred(self._cancelled)
        self.cancelled = 0
        self.call: Call

    def _cancelled(self, _: object) -> None:
        self.cancelled += 1

    async def open(self, started: StreamStarted, sink: MediaSink) -> CallPort | Declined:
        self.call = Call(started, sink)
        return await self.answer

    def held(self) -> list[bytes]:
        return []


class SlowFactory(MediaFactory):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.guests: list[SlowGuest] = []

    def buildProtocol(self, addr: object) -> MediaProtocol | None:
        self.guests.append(SlowGuest())
        self.expect(self.guests[-1])
        return super().buildProtocol(addr)


class SocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.recorder = Clock(), Recorder()
        self.factory = SlowFactory(self.clock, MediaSettings(start_timeout_secs=2.0), self.recorder)
        self.peer = Peer(self.factory)
        self.guest = self.factory.guests[0]
        self.peer.send(start())
        self.addCleanup(self.end)

    def end(self) -> None:
        if not self.peer._ended:
            self.peer.lose()

    def test_in_order(self) -> None:
        """What came meanwhile is heard first, then what comes."""
        self.peer.send(media("AAAA"))
        self.peer.send({"event": "dtmf", "dtmf": {"digit": "1"}})
        self.peer.send(media("BBBB"))
        self.assertEqual(self.guest.call.heard, [])
        self.guest.answer.callback(self.guest.call)
        self.peer.send({"event": "dtmf", "dtmf": {"digit": "2"}})
        kinds = [frame.digit if isinstance(frame, Dtmf) else type(frame) for frame in self.guest.call.heard]
        self.assertEqual(kinds, [Audio, "1", Audio, "2"])

    def test_a_stop_meanwhile(self) -> None:
        """The caller hung up: the call begins and ends, and what came after is not heard."""
        self.peer.send({"event": "stop"})
        self.peer.send(media())
        self.guest.answer.callback(self.guest.call)
        self.peer.settle()
        self.assertEqual([type(frame).__name__ for frame in self.guest.call.heard], ["StreamStopped"])
        self.assertEqual(self.peer.code, 1000)

    def test_declined(self) -> None:
        """As if it had been at once."""
        for declined, code in ((Declined("max_calls", full=True), 1013), (Declined("token_spent"), 1008)):
            peer = Peer(self.factory)
            peer.send(start(2))
            peer.send(media())
            guest = self.factory.guests[-1]
            guest.answer.callback(declined)
            self.assertEqual((peer.code, guest.call.heard), (code, []))
            peer.lose()

    def test_gone_meanwhile(self) -> None:
        """The question is given up; no call is left behind."""
        self.peer.lose()
        self.assertEqual(self.guest.cancelled, 1)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_fault(self) -> None:
        """Ours: 1011, logged, and no other socket is touched."""
        other = Peer(self.factory)
        self.guest.answer.errback(RuntimeError("a bug"))
        self.assertEqual(self.peer.code, 1011)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertIsNone(other.code)
        other.lose()

    def test_a_call_that_fails_at_what_was_kept(self) -> None:
        """1011, as at any other message."""
        self.peer.send(media())
        self.guest.call.fails = True
        self.guest.answer.callback(self.guest.call)
        self.assertEqual(self.peer.code, 1011)
        self.peer.lose()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_the_deadline_of_start(self) -> None:
        """It is met: a slow answer is not the peer's fault."""
        self.clock.pump([1.0] * 5)
        self.assertIsNone(self.peer.code)
        self.guest.answer.callback(self.guest.call)
        self.peer.send(media())
        self.assertEqual(len(self.guest.call.heard), 1)

    def test_a_second_start(self) -> None:
        """Of another stream is misconduct, also meanwhile."""
        self.peer.send(start(2))
        self.guest.answer.callback(self.guest.call)
        self.assertEqual(self.peer.code, 1008)
        self.peer.lose()
        self.assertEqual(self.guest.call.ends, ["policy"])

    def test_too_much(self) -> None:
        """The rest is dropped and counted; misconduct is what it always is."""
        for _ in range(300):
            self.peer.send(media())
        self.assertIsNone(self.peer.code)
        self.guest.answer.callback(self.guest.call)
        self.assertEqual(len(self.guest.call.heard), MAX_FRAMES // 2)
        self.assertEqual(self.recorder.counts["ignored held_too_many"], 300 - MAX_FRAMES // 2)


class WaitingTests(SynchronousTestCase):
    FRAMES: st.SearchStrategy[Frame] = st.one_of(
        st.builds(Audio, st.integers(0, 20_000).map(bytes)), st.just(Dtmf("1")), st.just(Mark("m"))
    )

    @given(st.lists(FRAMES, max_size=400))
    def test_bounded(self, frames: list[Frame]) -> None:
        """What is kept is in order and bounded, in number and in bytes; keys and marks outlive audio."""
        waiting = Waiting()
        kept = [frame for frame in frames if waiting.hold(frame)]
        taken = waiting.take()
        self.assertEqual(taken, kept)
        self.assertLessEqual(len(taken), MAX_FRAMES)
        audio = [frame for frame in taken if isinstance(frame, Audio)]
        self.assertLessEqual(sum(len(frame.payload) for frame in audio), MAX_AUDIO_BYTES)
        self.assertLessEqual(len(audio), MAX_FRAMES // 2)
        if (
            len(frames) <= MAX_FRAMES // 2
            and sum(len(f.payload) for f in frames if isinstance(f, Audio)) < 60_000
        ):
            self.assertEqual(taken, frames)
        self.assertEqual(waiting.take(), [])
