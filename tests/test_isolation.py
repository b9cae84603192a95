"""No call hears another: bytes of sockets in, bytes out, real calls; a fake clock, and tones for words."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.typing import NDArray
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.attackers import media, start
from tests.dangers import shows
from tests.doors import OpenFactory, unknown
from tests.fakes import RecordingSink
from tests.test_call_call import Line, Loudness, make_settings
from tests.test_media_socket import Peer, Recorder
from tests.wsframes import BINARY, PING, frame
from voxray.audio.g711 import linear_to_ulaw, ulaw_to_linear
from voxray.call.call import Call
from voxray.call.exchange import Exchange
from voxray.call.expected import Welcome
from voxray.call.metronome import Metronome
from voxray.call.phrases import PhraseBook
from voxray.call.registry import Registry
from voxray.frames import ULAW_8K, Audio, CallInfo, Dtmf, StreamStarted, StreamStopped, Transcript, Utterance
from voxray.interfaces import Providers
from voxray.metrics import Metrics
from voxray.providers.scripted import ScriptedChat, ScriptedTranscriber, ToneSynthesizer, tone_hz
from voxray.serializers.twilio import TwilioSerializer
from voxray.settings import MediaSettings

CALLERS_HZ = {"alpha": 700.0, "victor": 1900.0}
"""Each caller speaks one tone, and the transcriber calls it by this name."""


def tone(hz: float, packets: int) -> list[bytes]:
    samples = 8000 * np.sin(2 * np.pi * hz / 8000 * np.arange(160 * packets))
    payload = linear_to_ulaw(samples.astype(np.int16))
    return [payload[i : i + 160] for i in range(0, len(payload), 160)]


def power(samples: NDArray[Any], hz: float) -> float:
    """Goertzel: how much of a tone there is."""
    wave = np.exp(-2j * np.pi * hz / 8000 * np.arange(len(samples)))
    return float(abs(np.dot(samples, wave)) / max(1, len(samples)))


class Namer(ScriptedTranscriber):
    """Hears which tone it is, and keeps what each call uploaded."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.uploads: list[tuple[str, Utterance]] = []

    async def transcribe(self, utterance: Utterance, call: CallInfo) -> Transcript:
        self.uploads.append((call.call_id, utterance))
        await self._wait(0.2)
        samples = ulaw_to_linear(utterance.payload).astype(float)
        return Transcript(max(CALLERS_HZ, key=lambda name: power(samples, CALLERS_HZ[name])))


class Exchangeful:
    """Everything between a carrier's bytes and the vendors, for any number of sockets."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(100)
        self.stt, self.metrics, self.recorder = Namer(self.clock), Metrics(), Recorder()
        tts = ToneSynthesizer(self.clock)
        exchange = Exchange(
            settings=make_settings(greeting="Welcome."),
            providers=Providers(self.stt, ScriptedChat(self.clock), tts),
            phrases=PhraseBook(tts),
            activity=Loudness(),
            controls={},
            clock=self.clock,
            beat=Metronome(self.clock, 0.02),
            metrics=self.metrics,
        )
        self.calls: list[Call] = []
        self.registry = Registry(
            max_calls=3,
            make_call=lambda info, wire, sink, ended: self.keep(Call(info, wire, sink, exchange, ended)),
            clock=self.clock,
            metrics=self.metrics,
        )
        self.factory = OpenFactory(
            self.clock, MediaSettings(), TwilioSerializer, unknown(self.registry.open), self.recorder
        )

    def keep(self, call: Call) -> Call:
        self.calls.append(call)
        return call

    def ended(self) -> float:
        samples = (s for m in self.metrics.calls_ended.collect() for s in m.samples)
        return sum(s.value for s in samples if s.name.endswith("_total"))

    def started(self) -> float:
        return self.metrics.registry.get_sample_value("voxray_calls_started_total") or 0.0


def heard(peer: Peer) -> bytes:
    """All audio that was sent to this peer, and nothing but its own messages."""
    return b"".join(base64.b64decode(m["media"]["payload"]) for m in peer.messages() if m["event"] == "media")


class TwoCallsTests(SynchronousTestCase):
    """Two calls, their packets interleaved, each with a tone of its own."""

    @shows("F39")
    def test_interleaved(self) -> None:
        """Same ids, same number, both barge in: each hears its own words, each upload holds its own tone."""
        office = Exchangeful()
        peers = {name: Peer(office.factory) for name in CALLERS_HZ}
        for peer in peers.values():
            peer.send(start(1, customParameters={"from": "+15550001"}))
        calls = dict(zip(CALLERS_HZ, office.calls, strict=True))
        quiet = [b"\xff" * 160]
        for turn in range(3):
            # The second caller is a little later: one speaks while the other is spoken to, and over it.
            script = {
                name: quiet * (60 + 17 * i * turn)
                + tone(CALLERS_HZ[name], 40)
                + quiet * 75
                + tone(CALLERS_HZ[name], 40)
                + quiet * (120 - 17 * i * turn)
                for i, name in enumerate(CALLERS_HZ)
            }
            for step, packets in enumerate(zip(*script.values(), strict=True)):
                office.clock.advance(0.02)
                for i, (peer, packet) in enumerate(zip(peers.values(), packets, strict=True)):
                    if step == 165 + 17 * i * turn:  # in the middle of the answer, whatever the detector says
                        peer.send({"event": "dtmf", "dtmf": {"digit": "1"}})
                        peer.send({"event": "dtmf", "dtmf": {"digit": "#"}})
                    peer.send(media(packet))
        for name, other in (("alpha", "victor"), ("victor", "alpha")):
            kinds = [m["event"] for m in peers[name].messages()]
            self.assertIn("clear", kinds)  # it did interrupt
            samples = ulaw_to_linear(heard(peers[name])).astype(float)
            own, foreign = self.frames(samples, f"{name}.", f"{other}.")
            self.assertGreater(own, 20)
            self.assertEqual(foreign, 0)
            uploads = [u for call_id, u in office.stt.uploads if call_id == calls[name].call_id]
            self.assertGreaterEqual(len(uploads), 6)
            for upload in uploads:
                samples = ulaw_to_linear(upload.payload).astype(float)
                self.assertGreater(power(samples, CALLERS_HZ[name]), 1000)
                self.assertLess(power(samples, CALLERS_HZ[other]), 20)
        for peer in peers.values():
            peer.send({"event": "stop"})
            peer.lose()
        self.assertEqual((len(office.registry), office.ended()), (0, 2))
        office.clock.advance(1)
        self.assertEqual(office.clock.getDelayedCalls(), [])

    def frames(self, samples: NDArray[Any], own_word: str, foreign_word: str) -> tuple[int, int]:
        """20 ms frames with one's own word in them, and with the other's."""
        ours = [tone_hz(word) for word in ("Welcome.", "You", "said:", "DTMF:", "1.", own_word)]
        theirs = tone_hz(foreign_word)
        own = foreign = 0
        for i in range(0, len(samples) - 159, 160):
            part = samples[i : i + 160]
            strengths = [power(part, hz) for hz in ours]
            if power(part, theirs) > max(500.0, *strengths):
                foreign += 1
            elif strengths[-1] > max(500.0, *strengths[:-1]):
                own += 1
        return own, foreign


ILLEGAL: Sequence[bytes] = (
    b"", b"{", b"[]", b"\xff\xfe", b'{"event":"media"}', b'{"event":"media","media":{"payload":"%"}}',
    b'{"event":1}', b'{"event":"start"}', b'{"event":"dtmf","dtmf":{"digit":"x"}}', b'{"event":"mark"}',
)  # fmt: skip


class Interference(RuleBasedStateMachine):
    """A stranger does what he likes on sockets of his own; the sentinel's call goes on as if alone."""

    def __init__(self) -> None:
        super().__init__()
        self.office = Exchangeful()
        self.sentinel = Peer(self.office.factory)
        self.sentinel.send(start(1))
        self.did: list[str] = []  # by and to the sentinel, to be played again without the stranger
        self.stranger: Peer | None = None
        self.failures: list[Any] = []
        self._observe = lambda event: self.failures.append(event) if "log_failure" in event else None
        globalLogPublisher.addObserver(self._observe)

    @staticmethod
    def act(office: Exchangeful, sentinel: Peer, what: str) -> None:
        """One step of the sentinel's call."""
        if what == "key":
            sentinel.send({"event": "dtmf", "dtmf": {"digit": "5"}})
            sentinel.send({"event": "dtmf", "dtmf": {"digit": "#"}})
        else:
            packet = media(tone(CALLERS_HZ["alpha"], 1)[0] if what == "tone" else b"\xff" * 160)
            for _ in range(25):
                office.clock.advance(0.02)
                sentinel.send(packet)

    @rule(what=st.sampled_from(("key", "tone", "quiet")))
    def sentinel_acts(self, what: str) -> None:
        self.sentinel_goes_on(what)

    def sentinel_goes_on(self, what: str) -> None:
        self.did.append(what)
        self.act(self.office, self.sentinel, what)

    @precondition(lambda self: self.stranger is None)
    @rule(number=st.sampled_from((1, 2, 0)))
    def stranger_comes(self, number: int) -> None:
        self.stranger = Peer(self.office.factory)
        if number:
            self.say(frame(json.dumps(start(number)).encode()))

    @precondition(lambda self: self.stranger is not None)
    @rule(number=st.sampled_from((1, 2)))
    def stranger_starts(self, number: int) -> None:
        self.say(frame(json.dumps(start(number)).encode()))

    @precondition(lambda self: self.stranger is not None)
    @rule(packets=st.integers(1, 60), hz=st.sampled_from(sorted(CALLERS_HZ.values())), size=st.integers(1, 3))
    def stranger_speaks(self, packets: int, hz: float, size: int) -> None:
        payload = b"".join(tone(hz, packets))
        for i in range(0, len(payload), 160 * size):
            self.say(frame(json.dumps(media(payload[i : i + 160 * size])).encode()))

    @precondition(lambda self: self.stranger is not None)
    @rule(digit=st.sampled_from("12#"), mark=st.sampled_from(("v0-1", "v1-2", "", "?")))
    def stranger_presses_and_echoes(self, digit: str, mark: str) -> None:
        self.say(frame(json.dumps({"event": "dtmf", "dtmf": {"digit": digit}}).encode()))
        self.say(frame(json.dumps({"event": "mark", "mark": {"name": mark}}).encode()))

    @precondition(lambda self: self.stranger is not None)
    @rule(message=st.sampled_from(ILLEGAL) | st.binary(max_size=40), times=st.sampled_from((1, 1, 1, 25)))
    def stranger_talks_nonsense(self, message: bytes, times: int) -> None:
        self.say(frame(message) * times)

    @precondition(lambda self: self.stranger is not None)
    @rule(data=st.binary(min_size=1, max_size=30), kind=st.sampled_from(("raw", "binary", "ping", "cut")))
    def stranger_breaks_rules(self, data: bytes, kind: str) -> None:
        whole = frame(json.dumps(media()).encode())
        self.say({"raw": data, "binary": frame(data, BINARY), "ping": frame(data, PING)}.get(kind, whole[:7]))

    @precondition(lambda self: self.stranger is not None)
    @rule(how=st.sampled_from(("stop", "close", "lost")))
    def stranger_leaves(self, how: str) -> None:
        assert self.stranger is not None
        if how == "stop":
            self.say(frame(b'{"event":"stop"}'))
        elif how == "close":
            self.say(frame(b"\x03\xe8", 8))
        self.gone()

    def say(self, data: bytes) -> None:
        if self.stranger is not None:
            self.stranger.raw(data)
            if self.stranger._ended:
                self.stranger = None
        self.sentinel_goes_on("quiet")  # half a second: what was begun has time to show

    def gone(self) -> None:
        if self.stranger is not None:
            if not self.stranger._ended:
                self.stranger.lose()
            self.stranger = None

    @invariant()
    def nothing_escapes(self) -> None:
        assert not self.failures, self.failures[0]["log_failure"].getTraceback()
        assert 1 <= len(self.office.registry) <= 3
        assert self.office.started() - self.office.ended() == len(self.office.registry)

    def teardown(self) -> None:
        globalLogPublisher.removeObserver(self._observe)
        office = self.office
        self.gone()
        # Strangers that we closed and that never answered are dropped after a second.
        self.act(office, self.sentinel, "quiet")
        self.did.append("quiet")
        got = heard(self.sentinel)
        self.sentinel.send({"event": "stop"})
        self.sentinel.lose()
        assert len(office.registry) == 0
        assert office.started() == office.ended() == len(office.calls)
        for socket in tuple(office.factory.sockets):
            socket.connectionLost(Failure(ConnectionLost()))
        counts = office.recorder.counts
        assert sum(n for name, n in counts.items() if name.startswith("closed")) == counts["opened"]
        office.clock.advance(1)
        assert office.clock.getDelayedCalls() == []
        alone = Exchangeful()
        peer = Peer(alone.factory)
        peer.send(start(1))
        for what in self.did:
            self.act(alone, peer, what)
        expected = heard(peer)
        peer.lose()  # a call left to the garbage collector would be closed by it, in any order
        assert got == expected


class InterferenceTests(SynchronousTestCase):
    @shows("F30", "F31", "F32", "F33", "F39")
    def test_interference(self) -> None:
        """Whatever a stranger does on other sockets, the sentinel's audio is what it would be alone."""
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Interference,
            settings=hypothesis_settings(
                max_examples=20, stateful_step_count=20, deadline=None, derandomize=True
            ),
        )


@shows("F42")
class FaultTests(SynchronousTestCase):
    """A bug of ours below a callback ends the call it is in, is logged once, and leaves nothing."""

    def faulty(self, where: str) -> tuple[Line, Call, RecordingSink]:
        """A call that fails at `where` from now on, beside one that must go on."""
        line = Line(settings=make_settings())
        self.other, self.other_sink = line.dial("CA2")
        call, sink = line.dial("CA1")
        line.silence(call, 0.2)
        owner: Any = call
        *path, name = where.split(".")
        for part in path:
            owner = getattr(owner, part)

        def broken(*arguments: object, **named: object) -> None:
            raise RuntimeError("a bug")

        self.patch(owner, name, broken)
        return line, call, sink

    def test_ends_alone(self) -> None:
        """In the pacer, the endpointer, the twice-a-second check."""
        for where in ("_pacer._release", "_ear._endpointer.feed", "_dialogue.elapsed"):
            line, call, sink = self.faulty(where)
            line.silence(call, 1.0)
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1, where)
            self.assertEqual(sink.closed, (1011, "internal error"), where)
            self.assertEqual([c.call_id for c in line.registry], [self.other.call_id], where)
            reason = line.metrics.registry.get_sample_value("voxray_calls_ended_total", {"reason": "error"})
            self.assertEqual(reason, 1)
            self.other.receive(StreamStopped())
            line.clock.advance(1)
            self.assertEqual(line.clock.getDelayedCalls(), [])

    def test_cleaning_up_fails(self) -> None:
        """The place among the calls is given back all the same."""
        line, call, _ = self.faulty("_dialogue.stop")
        self.assertRaises(RuntimeError, call.receive, StreamStopped())
        self.assertEqual([c.call_id for c in line.registry], [self.other.call_id])
        line.registry.abort_all(1001, "test over")

    def test_the_beginning_fails(self) -> None:
        """A call that cannot begin does not keep its place."""
        line = Line()
        self.patch(Call, "greet", lambda call: 1 / 0)
        started = StreamStarted("MZ1", "CA1", "AC1", ULAW_8K)
        self.assertRaises(ZeroDivisionError, line.registry.open, started, RecordingSink(), Welcome("twilio"))
        self.assertEqual(len(line.registry), 0)
        line.clock.advance(1)
        self.assertEqual(line.clock.getDelayedCalls(), [])

    def test_what_a_call_gets_after_its_end(self) -> None:
        """Frames that come late change nothing and raise nothing."""
        line = Line()
        call, sink = line.dial()
        call.receive(StreamStopped())
        for frame_ in (Audio(b"\xff" * 160), Dtmf("1"), Dtmf("#"), StreamStopped()):
            call.receive(frame_)
        sent = len(sink.sent)
        line.clock.pump([0.1] * 50)
        self.assertEqual(len(sink.sent), sent)
        self.assertEqual(line.clock.getDelayedCalls(), [])
