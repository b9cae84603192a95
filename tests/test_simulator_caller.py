"""One simulated call by the clock: pacing, turns, interruptions, endings."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxray.simulator import checks, g711, report
from voxray.simulator.caller import SimulatedCall
from voxray.simulator.line import Noise
from voxray.simulator.result import CallResult
from voxray.simulator.script import Do, Patience, Script, Step, keys
from voxray.simulator.wires.vocabulary import CallIds

IDS = CallIds("AC" + "0" * 32, "CA" + "1" * 32, "MZ" + "2" * 32)


def tone(secs: float) -> bytes:
    """Audible mu-law."""
    t = np.arange(int(secs * 8000))
    return g711.encode((8000 * np.sin(t * 0.4)).astype(np.int16))


class Agent:
    """The other end of a call, in memory: remembers what it got and says what the test tells it to."""

    def __init__(self, script: Script, **options: Any) -> None:
        self.clock = Clock()
        self.got: list[dict[str, Any]] = []
        self.closes: list[int] = []
        self.turns: list[str] = []
        self.call = SimulatedCall(
            self.clock, IDS, script, on_turn=lambda turn: self.turns.append(turn.kind), **options
        )
        self.results: list[CallResult] = []
        self.call.done.addCallback(self.results.append)
        self.call.start(lambda text: self.got.append(json.loads(text)), self.closes.append)

    def run(self, secs: float, each: Callable[[float], None] = lambda _: None) -> None:
        """Lets time pass in 10 ms steps; `each` is called with the time since the start."""
        for _ in range(round(secs * 100)):
            self.clock.advance(0.01)
            each(self.clock.seconds())

    def send(self, message: dict[str, Any]) -> None:
        self.call.message(json.dumps({"streamSid": IDS.stream_sid} | message).encode())

    def say(self, secs: float) -> None:
        payload = base64.b64encode(tone(secs)).decode()
        self.send({"event": "media", "media": {"payload": payload}})

    def mark(self, name: str) -> None:
        self.send({"event": "mark", "mark": {"name": name}})

    def clear(self) -> None:
        self.send({"event": "clear"})

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.got if each["event"] == kind]

    @property
    def result(self) -> CallResult:
        assert self.results, "the call is not over"
        return self.results[0]


def said(secs: float = 1.0, **more: Any) -> Step:
    return Step(Do.SAY, text="hello", audio=tone(secs), **more)


class PacingTests(SynchronousTestCase):
    def test_fifty_packets_a_second_always(self) -> None:
        """Silence is sent as well; counters and timestamps are consecutive strings."""
        agent = Agent(Script())
        agent.run(2.0)
        media = agent.events("media")
        self.assertEqual(len(media), 100)
        self.assertEqual([each["media"]["chunk"] for each in media], [str(n) for n in range(1, 101)])
        self.assertEqual([each["media"]["timestamp"] for each in media], [str(n * 20) for n in range(1, 101)])
        self.assertEqual([each["sequenceNumber"] for each in media], [str(n) for n in range(2, 102)])
        self.assertEqual({len(base64.b64decode(each["media"]["payload"])) for each in media}, {160})

    def test_a_late_clock_sends_what_it_missed(self) -> None:
        """After a stall of 330 ms the packets of that time follow at once: media time never drifts."""
        agent = Agent(Script())
        agent.run(0.1)
        agent.clock.advance(0.33)
        self.assertEqual(len(agent.events("media")), 21)
        agent.run(0.57)
        self.assertEqual(len(agent.events("media")), 50)

    def test_noise_between_words(self) -> None:
        """With line noise no two neighbouring packets are digital silence."""
        agent = Agent(Script(), noise=Noise(bytes(range(0xF0, 0xFE)) * 80))
        agent.run(0.2)
        payloads = {each["media"]["payload"] for each in agent.events("media")}
        self.assertGreater(len(payloads), 1)
        self.assertNotIn(base64.b64encode(b"\xff" * 160).decode(), payloads)


class TurnTests(SynchronousTestCase):
    def test_greeting_question_answer(self) -> None:
        """The caller waits for the greeting, asks, and the answer's latency is measured at the ear."""
        agent = Agent(Script((said(),)), patience=Patience(settle=0.5))
        agent.run(0.2)
        agent.say(1.0)
        agent.run(1.4)  # quiet since 1.2: the caller speaks at 1.7, until 2.7
        self.assertEqual(agent.turns, [])
        agent.run(1.6)
        self.assertEqual(agent.turns, ["greeting"])
        agent.say(1.0)  # at 3.2
        agent.run(3.0)
        greeting, turn = agent.result.turns
        self.assertEqual(round(greeting.latency_ms or 0), 200)
        self.assertLess(abs((turn.latency_ms or 0) - 500), 45)
        self.assertFalse(turn.cut_off)
        self.assertEqual(agent.result.ended_by, "caller")
        self.assertEqual(checks.failures(agent.result, Script((said(),)), checks.Expectations(600)), [])
        (slow,) = checks.failures(agent.result, Script((said(),)), checks.Expectations(100))
        self.assertIn("at most 100 ms", slow)

    def test_an_answer_before_the_end_is_a_cut_off(self) -> None:
        """An agent that speaks while the caller still does has no latency, it has cut the caller off."""
        agent = Agent(Script((said(2.0),)), patience=Patience(settle=0.5, greeting=0.1))
        agent.run(1.0)
        agent.say(0.5)
        agent.run(3.0)
        turn = agent.result.turns[1]
        self.assertTrue(turn.cut_off)
        self.assertIsNone(turn.latency_ms)
        found = checks.failures(agent.result, Script(), checks.Expectations(500))
        self.assertTrue(any("before the caller had finished" in each for each in found), found)

    def test_a_dumb_agent_is_reported(self) -> None:
        """No greeting, no answer: the caller gives up in bounded time and the report says so."""
        agent = Agent(Script((said(),)), patience=Patience(greeting=1.0, reply=2.0))
        agent.run(6.0)
        self.assertEqual(agent.result.ended_by, "caller")
        self.assertEqual(agent.result.turns[0].problems, [])
        found = checks.failures(agent.result, Script((said(),)), checks.Expectations())
        self.assertEqual(found, ["turn 1 (hello): no reply within 2 s"])

    def test_a_second_line_needs_an_answer_to_the_first(self) -> None:
        """Between two lines the caller waits for the answer; each that does not come is a failure."""
        script = Script((said(0.5), said(0.5)))
        agent = Agent(script, patience=Patience(greeting=0.1, reply=2.0))
        agent.run(8.0)
        found = checks.failures(agent.result, script, checks.Expectations())
        self.assertEqual(len(found), 2)
        self.assertGreater(agent.result.turns[2].began - agent.result.turns[1].began, 2.4)

    def test_keys(self) -> None:
        """Keys are sent one by one, as Twilio writes them."""
        agent = Agent(Script((keys("1 2#"),)), patience=Patience(greeting=0.1))
        agent.run(0.2)
        self.assertEqual([each["dtmf"]["digit"] for each in agent.events("dtmf")], ["1"])
        agent.run(0.6)
        self.assertEqual([each["dtmf"]["digit"] for each in agent.events("dtmf")], ["1", "2", "#"])
        self.assertEqual({each["dtmf"]["track"] for each in agent.events("dtmf")}, {"inbound_track"})

    def test_gaps_inside_a_reply(self) -> None:
        """A reply that runs dry for 60 ms is one gap; the pause between turns is none."""
        agent = Agent(Script(), patience=Patience(settle=5))
        agent.say(0.2)
        agent.run(0.26)
        agent.say(0.2)
        agent.run(3.0)
        agent.say(0.2)
        agent.run(5.5)
        (gap,) = agent.result.turns[0].gaps
        self.assertLess(abs(gap.length_secs - 0.06), 0.001)


class InterruptionTests(SynchronousTestCase):
    script = Script((Step(Do.BARGE_IN, text="stop", secs=0.5, audio=tone(1.0)),))

    def test_barge_in_to_clear(self) -> None:
        """Half a second into the agent's speech the caller barges in; the time to the clear is measured."""
        agent = Agent(self.script, patience=Patience(settle=0.5))
        agent.say(10.0)
        agent.mark("end")
        agent.run(0.7)  # the caller has been speaking since 0.52
        self.assertEqual(agent.events("mark"), [])
        agent.clear()
        self.assertEqual([each["mark"]["name"] for each in agent.events("mark")], ["end"])
        agent.run(1.5)
        agent.say(0.5)
        agent.run(2.0)
        turn = agent.result.turns[1]
        self.assertLess(abs((turn.clear_ms or 0) - 200), 45)
        self.assertEqual(turn.stale_secs, 0.0)
        self.assertIsNotNone(turn.stopped_at)
        self.assertIsNotNone(turn.latency_ms)
        self.assertEqual(checks.failures(agent.result, self.script, checks.Expectations()), [])

    def test_audio_after_the_clear_is_stale(self) -> None:
        """What the agent sends after its own clear, while the caller still speaks, is counted."""
        agent = Agent(self.script, patience=Patience(settle=0.5, reply=2.0))
        agent.say(10.0)
        agent.run(0.7)
        agent.clear()
        agent.say(0.1)
        agent.run(4.0)
        self.assertLess(abs(agent.result.turns[1].stale_secs - 0.1), 0.001)

    def test_no_clear_is_a_failure(self) -> None:
        """An agent that talks on is reported."""
        agent = Agent(self.script, patience=Patience(settle=0.5, reply=2.0))
        agent.say(4.0)
        agent.run(8.0)
        found = checks.failures(agent.result, self.script, checks.Expectations())
        self.assertIn("no clear", " ".join(found))

    def test_a_back_channel_must_not_stop_the_agent(self) -> None:
        """ "Mhm" over the agent: fine when it talks on, a failure when it clears."""
        script = Script((Step(Do.BACKCHANNEL, text="mhm", secs=0.5, audio=tone(0.3)),))
        for cleared in (False, True):
            agent = Agent(script, patience=Patience(settle=0.5))
            agent.say(2.0)
            agent.run(0.7)
            if cleared:
                agent.clear()
            agent.run(4.0)
            self.assertEqual(bool(checks.failures(agent.result, script, checks.Expectations())), cleared)


class EndingTests(SynchronousTestCase):
    def test_the_caller_hangs_up(self) -> None:
        """`stop`, then close 1000; nothing after."""
        agent = Agent(Script((Step(Do.HANG_UP),)), patience=Patience(greeting=0.1))
        agent.run(2.0)
        self.assertEqual(agent.got[-1]["event"], "stop")
        self.assertEqual(agent.closes, [1000])
        self.assertEqual(agent.result.ended_by, "caller")
        self.assertEqual(agent.clock.getDelayedCalls(), [])

    def test_the_agent_hangs_up_by_rest(self) -> None:
        """The stream gets `stop` and closes, as Twilio does; steps not reached are failures."""
        script = Script((said(),), expect_hang_up=True)
        agent = Agent(script)
        agent.run(0.1)
        agent.call.hung_up_by_agent()
        self.assertEqual(agent.got[-1]["event"], "stop")
        self.assertEqual(agent.result.ended_by, "agent")
        self.assertEqual(
            checks.failures(agent.result, script, checks.Expectations()), ["the call ended before: hello"]
        )

    def test_an_expected_hang_up_that_does_not_come(self) -> None:
        """The wait is bounded, then the caller hangs up and the report says so."""
        script = Script(expect_hang_up=True)
        agent = Agent(script, patience=Patience(greeting=0.1, hang_up=2.0))
        agent.run(3.0)
        self.assertIn(
            "the agent did not hang up", checks.failures(agent.result, script, checks.Expectations())
        )

    def test_the_socket_closes(self) -> None:
        """A clean close is the agent's end of the call; any other is a lost call, and a failure."""
        for code, ended_by, failed in ((1000, "agent-socket", 0), (1006, "lost", 1), (1011, "lost", 1)):
            agent = Agent(Script())
            agent.run(0.1)
            agent.call.closed(code)
            self.assertEqual(agent.result.ended_by, ended_by)
            self.assertEqual(agent.events("stop"), [])
            self.assertEqual(len(checks.failures(agent.result, Script(), checks.Expectations())), failed)
            self.assertEqual(agent.clock.getDelayedCalls(), [])

    def test_the_whole_call_is_bounded(self) -> None:
        """An agent that never stops talking does not keep the caller for ever."""
        agent = Agent(Script(), max_secs=3.0)
        agent.say(60.0)
        agent.run(4.0)
        self.assertEqual(agent.result.ended_by, "timeout")
        self.assertIn("cut at 3 s", checks.failures(agent.result, Script(), checks.Expectations())[0])

    def test_protocol_faults_are_failures(self) -> None:
        """What Twilio would refuse is listed (a bounded list) and the call goes on."""
        agent = Agent(Script())
        for _ in range(50):
            agent.call.message(b"\x00\x01", is_binary=True)
            agent.call.message(b'{"event":"pla')
        agent.run(0.11)
        agent.call.hang_up()
        self.assertEqual(len(agent.result.faults), 20)
        self.assertIn("31950", agent.result.faults[0])
        self.assertEqual(len(agent.events("media")), 5)
        self.assertEqual(len(checks.failures(agent.result, Script(), checks.Expectations())), 20)


class ReportTests(SynchronousTestCase):
    def test_both_ears_share_a_clock(self) -> None:
        """Left and right of the recording are as long as the call, sample for sample."""
        agent = Agent(Script())
        agent.say(0.5)
        agent.run(1.0)
        agent.call.hang_up()
        result = agent.result
        self.assertEqual(len(result.caller_audio), 8000)
        self.assertEqual(len(result.agent_audio), 8000)
        self.assertEqual(result.agent_audio[:4000], tone(0.5))
        self.assertEqual(result.agent_audio[4000:], b"\xff" * 4000)

    def test_readable_and_complete(self) -> None:
        """The lines name what happened; the JSON survives a round trip and agrees."""
        script = InterruptionTests.script
        agent = Agent(script, patience=Patience(settle=0.5))
        agent.say(10.0)
        agent.run(0.7)
        agent.clear()
        agent.run(1.5)
        agent.say(0.5)
        agent.run(2.0)
        line = report.turn_line(agent.result.turns[1])
        self.assertRegex(line, r"barged in +'stop': cleared after \d+ ms, answered after \d+ ms, spoke 0.5 s")
        again = json.loads(json.dumps(report.call_json(agent.result, ["x"])))
        self.assertEqual(again["failures"], ["x"])
        self.assertEqual(again["turns"][1]["clear_ms"], round(agent.result.turns[1].clear_ms or 0, 1))
        self.assertIn("barge-in to clear", "\n".join(report.summary_lines([agent.result])))
        self.assertIn("stop", report.turn_table(agent.result))
