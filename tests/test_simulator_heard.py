"""How much of a cut answer came out of the earpiece: to the sample, on every carrier, whenever it is cut."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.test_simulator_caller import tone
from tests.test_simulator_carriers import Agents, Line
from voxray.simulator import g711, report
from voxray.simulator.carriers import CARRIERS
from voxray.simulator.measure import Turn
from voxray.simulator.result import CallResult
from voxray.simulator.script import Do, Script, Step

QUIET = b"\xff" * 1600  # 0.2 s: a pause between two words
ANSWER = (tone(0.6) + QUIET) * 8
QUESTION = Step(Do.SAY, text="hours?", audio=tone(0.3))
# message and lead in ms, as an agent has them that paces what it sends
PACES = {"twilio": (40, 200), "telnyx": (40, 200), "plivo": (40, 200), "exotel": (100, 150)}


class PacedAgent:
    """Answers once, in real time with a lead, until it is interrupted; knows what it sent."""

    def __init__(self, carrier: str, after: float, reaction: float, **quirks: Any) -> None:
        barge_in = Step(Do.BARGE_IN, text="stop", audio=tone(2.0), secs=after)
        self.line = Line(carrier, Script((QUESTION, barge_in)), greeting=0.1, **quirks)
        self.message_ms, self.lead_ms = PACES[carrier]
        self.carrier, self.reaction = carrier, reaction
        self.sent = 0
        self.began = self.cleared = None

    def run(self) -> CallResult:
        """Until the caller hangs up; the agent begins a second after the call, and 10 ms after the beat."""
        turns = self.line.call._measure.turns
        for step in range(2000):
            self.line.clock.advance(0.01)
            now = self.line.clock.seconds()
            if self.line.results:
                return self.line.results[0]
            if step < 100 or self.cleared is not None:
                continue
            if turns[-1].kind == "barge_in" and now >= (turns[-1].speech_began or 0.0) + self.reaction:
                self.cleared = now
                Agents.clear(self.line)
                continue
            self.pace(now)
        raise AssertionError("the call does not end")

    def pace(self, now: float) -> None:
        self.began = now if self.began is None else self.began
        message = self.message_ms * 8
        while self.sent < min(len(ANSWER), ((now - self.began) * 1000 + self.lead_ms) * 8):
            self.say(ANSWER[self.sent : self.sent + message])
            self.sent += message

    def say(self, mulaw: bytes) -> None:
        sid = self.line.ids.stream_sid
        payload = mulaw if self.carrier != "exotel" else g711.decode(mulaw).astype("<i2").tobytes()
        media = {"payload": base64.b64encode(payload).decode()}
        if self.carrier == "plivo":
            self.line.send(
                event="playAudio", media=media | {"contentType": "audio/x-mulaw", "sampleRate": 8000}
            )
        else:
            self.line.send(event="media", streamSid=sid, stream_sid=sid, media=media)

    @property
    def heard_ms(self) -> float:
        assert self.began is not None and self.cleared is not None
        return (self.cleared - self.began) * 1000


def cut(result: CallResult) -> tuple[Turn, Turn]:
    """The answer, and the interruption of it."""
    _, answer, barge_in = result.turns
    return answer, barge_in


class HeardTests(SynchronousTestCase):
    @settings(max_examples=20, deadline=None)
    @given(
        st.sampled_from(sorted(CARRIERS)),
        st.integers(1, 200).map(lambda each: each / 50),
        st.integers(2, 60).map(lambda each: each / 100),
    )
    def test_whenever_it_is_cut(self, carrier: str, after: float, reaction: float) -> None:
        """What was heard is what had time to be played, also where the cut falls into a pause; the rest is
        dropped.
        """
        agent = PacedAgent(carrier, after, reaction)
        answer, barge_in = cut(agent.run())
        self.assertLess(abs(answer.heard_ms - agent.heard_ms), 0.2)
        self.assertEqual(answer.heard_ms + answer.dropped_ms, agent.sent / 8)
        self.assertEqual(barge_in.heard_ms, 0.0)
        assert answer.reply_began is not None and barge_in.stopped_at is not None and agent.began is not None
        self.assertLess(abs(answer.reply_began - agent.began), 0.021)
        quiet = barge_in.stopped_at - answer.reply_began
        audible = self.audible_until(agent.heard_ms / 1000)
        self.assertLess(abs(quiet - audible), 0.041)

    def audible_until(self, heard: float) -> float:
        """When the last sound of the first so many seconds of the answer ends."""
        words, rest = divmod(heard, 0.8)
        return words * 0.8 + min(rest, 0.6)

    def test_in_the_report(self) -> None:
        """For programs, in milliseconds."""
        agent = PacedAgent("exotel", 1.0, 0.3)
        result = agent.run()
        told = report.call_json(result, [])["turns"][1]
        self.assertEqual(told["heard_ms"], round(result.turns[1].heard_ms, 1))
        self.assertGreater(told["dropped_ms"], 0)

    def test_a_pause_is_no_end(self) -> None:
        """The caller speaks over a pause, the agent goes on and clears later: still one answer, cut."""
        agent = PacedAgent("twilio", 0.58, 0.8)
        answer, barge_in = cut(agent.run())
        self.assertLess(abs(answer.heard_ms - agent.heard_ms), 0.2)
        self.assertIsNone(barge_in.reply_began)
        self.assertFalse(barge_in.cut_off)

    def test_an_answer_that_ends_by_itself(self) -> None:
        """All of it was heard; the next turn's audio is its own."""
        line = Line("plivo", Script((QUESTION, Step(Do.SAY, text="more?", audio=tone(0.2)))), greeting=0.1)
        line.run(0.5)
        Agents.say(line, 1.0)
        line.run(2.5)
        Agents.say(line, 0.5)
        line.run(2.0)
        self.assertEqual([turn.heard_ms for turn in line.results[0].turns], [0.0, 1000.0, 500.0])
        self.assertEqual([turn.dropped_ms for turn in line.results[0].turns], [0.0] * 3)

    def test_where_the_playing_message_is_spared(self) -> None:
        """Up to a message more is heard than was the agent's to know."""
        agent = PacedAgent("exotel", 1.0, 0.35, clear_spares_message=True)
        answer, _ = cut(agent.run())
        self.assertEqual(answer.heard_ms % 100, 0)
        self.assertLess(0, answer.heard_ms - agent.heard_ms)
        self.assertLessEqual(answer.heard_ms - agent.heard_ms, 100)
