"""One call, anything at any time: whatever happens, it ends, once, and leaves one record and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from tests.aftermath import Aftermath
from tests.dangers import shows
from tests.house import House
from tests.test_call_call import FakeControl, human
from tests.wsframes import CLOSE, frame
from voxray.call.reasons import EndReason
from voxray.errors import CarrierError, ErrorKind, ProviderError
from voxray.frames import EndCall, TextDelta

SENTENCE = human("dickens-wisdom")[8:]
DOWN = ProviderError("fake", ErrorKind.OVERLOADED, "down")
DOCUMENT: dict[str, object] = {
    "goodbye": "Bye now.",
    "apology": "So sorry.",
    "idle_prompt": "Hello?",
    "idle_prompts_max": 1,
    "dead_peer_secs": 8,
    "ping_interval_secs": 2,
}
BY_ITSELF = {"idle", "max_duration", "dead_peer"}
ENOUGH_SECS = 12.0
"""A carrier that says nothing more is dead after 8 s, and is given a second to take its leave."""


class Errand(SynchronousTestCase):
    """What `House` wants of a test, for the length of one example."""

    def __init__(self) -> None:
        super().__init__("runTest")
        self._undo: list[Callable[[], object]] = []

    def runTest(self) -> None: ...

    def addCleanup(self, function: Any, *arguments: Any, **named: Any) -> None:
        self._undo.append(lambda: function(*arguments, **named))

    def over(self) -> None:
        while self._undo:
            self._undo.pop()()


class HangingControl(FakeControl):
    """A REST API that does not answer until its time is up."""

    async def hang_up(self, call_sid: str) -> None:
        await super().hang_up(call_sid)
        await Deferred()


CONTROLS: dict[str, Callable[[], FakeControl | None]] = {
    "none": lambda: None,
    "good": FakeControl,
    "refusing": lambda: FakeControl(CarrierError("twilio", "500")),
    "hanging": HangingControl,
}
REPLIES: dict[str, Callable[[], list[object]]] = {
    "short": lambda: [TextDelta("Yes it is.")],
    "long": lambda: [TextDelta("One two three four five six. And seven eight nine ten eleven.")],
    "bye": lambda: [TextDelta("Good bye then."), EndCall("any words")],
    "wordless bye": lambda: [EndCall()],
    "hanging": lambda: [TextDelta("One moment. And"), Deferred()],
    "hanging bye": lambda: [EndCall(), TextDelta("One moment. And"), Deferred()],
    "failing": lambda: [TextDelta("Well. "), DOWN],
    "nothing": list,
}


class OneCall(RuleBasedStateMachine):
    """Both ends, the vendors and the time do what they like."""

    def __init__(self) -> None:
        super().__init__()
        self.case = Errand()
        self.checked = False
        self.acts = 0
        self.faulty = False
        self.causes = set(BY_ITSELF)

    @initialize(
        control=st.sampled_from(sorted(CONTROLS)),
        greeting=st.sampled_from(("", "Hello and welcome to us.")),
        idle_secs=st.sampled_from((0, 3)),
        max_secs=st.sampled_from((4, 20)),
        interruptions=st.booleans(),
        eager=st.booleans(),
        kinds=st.lists(st.sampled_from(sorted(REPLIES)), min_size=2, max_size=4),
    )
    def dial(
        self,
        control: str,
        greeting: str,
        idle_secs: int,
        max_secs: int,
        interruptions: bool,
        eager: bool,
        kinds: list[str],
    ) -> None:
        self.control = CONTROLS[control]()
        document = DOCUMENT | {
            "greeting": greeting,
            "user_idle_timeout_secs": idle_secs,
            "max_call_secs": max_secs,
            "allow_interruptions": interruptions,
            "eager_transcription": eager,
        }
        self.house = House(self.case, document)
        self.house.controlled(self.control)
        self.after = Aftermath(self.case, self.house)
        self.line = self.house.dial()
        [self.call] = self.house.daemon._parts.registry
        self.steps: list[list[object]] = []
        for kind in kinds:
            self.model_will_say(kind)

    # -- the caller ------------------------------------------------------------
    @precondition(lambda self: not self.checked)
    @rule(packets=st.integers(1, 40))
    def speaks(self, packets: int) -> None:
        self.line.hear(SENTENCE[:packets])

    @precondition(lambda self: not self.checked)
    @rule(words=st.sampled_from(("Goodbye.", "What are your hours?", "")))
    def has_a_turn(self, words: str) -> None:
        self.line.hear(SENTENCE[:30])
        self.line.silence(0.8)
        self.transcriber_answers(words)

    @precondition(lambda self: not self.checked)
    @rule(secs=st.sampled_from((0.06, 0.3, 0.7, 1.5)))
    def is_silent(self, secs: float) -> None:
        self.line.silence(secs)

    @precondition(lambda self: not self.checked)
    @rule(keys=st.text("12*#", min_size=1, max_size=4))
    def presses(self, keys: str) -> None:
        self.line.press(keys)

    # -- the carrier -----------------------------------------------------------
    @precondition(lambda self: not self.checked)
    @rule(which=st.lists(st.integers(0, 8), min_size=1, max_size=3))
    def returns_marks(self, which: list[int]) -> None:
        """Any of those it was sent, in any order, perhaps twice."""
        names = [m["mark"]["name"] for m in self.line.messages() if m["event"] == "mark"] or ["none"]
        for number in which:
            self.line.send({"event": "mark", "mark": {"name": names[-1 - number % len(names)]}})

    @precondition(lambda self: not self.checked)
    @rule(secs=st.sampled_from((0.1, 1.0, 3.0)))
    def sends_nothing(self, secs: float) -> None:
        self.house.pass_time(secs)

    @precondition(lambda self: not self.checked)
    @rule(
        message=st.sampled_from((b"{", b"[]", b'{"event":"media","media":{"payload":"%"}}')),
        times=st.sampled_from((1, 1, 25)),
    )
    def talks_nonsense(self, message: bytes, times: int) -> None:
        self.causes.add("policy")
        self.line.raw(frame(message) * times)

    @precondition(lambda self: not self.checked and self.acts > 4)
    @rule(way=st.sampled_from(("stop", "close", "FIN", "RST", "too big")))
    def goes(self, way: str) -> None:
        self.causes |= {"caller_hangup"} if way == "stop" else {"closed", "lost", "protocol"}
        if way == "stop":
            self.line.send({"event": "stop"})
        elif way == "close":
            self.line.raw(frame(struct.pack("!H", 1000), CLOSE))
        elif way == "too big":
            self.line.raw(frame(b"x" * 70_000))
        else:
            self.line.lose(ConnectionDone() if way == "FIN" else None)

    # -- the vendors -----------------------------------------------------------
    def model_will_say(self, kind: str) -> None:
        """In one of its next replies."""
        self.steps.append(REPLIES[kind]())
        self.house.llm.replies.append(self.steps[-1])
        self.causes |= {"agent"} if "bye" in kind else set()

    @precondition(lambda self: not self.checked)
    @rule(fails=st.booleans())
    def model_goes_on(self, fails: bool) -> None:
        for step in [step for reply in self.steps for step in reply]:
            if isinstance(step, Deferred) and not step.called:
                step.errback(DOWN) if fails else step.callback(None)
        self.line.settle_stages()

    @precondition(lambda self: not self.checked)
    @rule(words=st.sampled_from(("What are your hours?", "uh-huh", "", "fails")))
    def transcriber_answers(self, words: str) -> None:
        if any(not waiting.called for _, waiting in self.house.stt.asked):
            if words == "fails":
                self.house.stt.fail(DOWN)
            else:
                self.house.stt.answer(words)
            self.line.settle_stages()

    @precondition(lambda self: not self.checked)
    @rule(how=st.sampled_from(("well", "hangs", "fails")))
    def voice_works(self, how: str) -> None:
        tts = self.house.tts
        gate, tts.gate = tts.gate, Deferred() if how == "hangs" else None
        tts.error = DOWN if how == "fails" else None
        if gate is not None:
            gate.callback(None)
        self.line.settle_stages()

    # -- ourselves -------------------------------------------------------------
    @precondition(lambda self: not self.checked and self.acts > 4)
    @rule(
        how=st.sampled_from(("say_goodbye", "finish", "abort")),
        reason=st.sampled_from(("operator", "transferred")),
    )
    def we_end_it(self, how: str, reason: str) -> None:
        self.causes.add(reason)
        if how == "abort":
            self.call.abort(1000, reason)
        else:
            getattr(self.call, how)(reason)

    @precondition(lambda self: not self.checked and self.acts > 4)
    @rule(where=st.sampled_from(("_pacer._release", "_ear._endpointer.feed", "_dialogue.elapsed")))
    def bug(self, where: str) -> None:
        """From now on."""
        self.causes.add("error")
        self.faulty = True
        owner: Any = self.call
        *path, name = where.split(".")
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, name, lambda *arguments: {}["a bug"])

    @precondition(lambda self: self.checked)
    @rule()
    def nothing_more(self) -> None: ...

    # -- what holds ------------------------------------------------------------
    @invariant()
    def ends_once(self) -> None:
        self.acts += 1
        self.line.settle()
        house = self.house
        failures = [event for event in house.logged if "log_failure" in event]
        assert self.faulty or not failures, failures[0]["log_failure"].getTraceback()
        over = not len(house.daemon._parts.registry)
        assert len(house.records) == over
        if self.control is not None:
            assert len(self.control.hung_up) <= 1
        if over and self.line.over and not self.checked:
            self.checked = True
            [record] = house.records
            assert record["reason"] in self.causes, record["reason"]
            assert record["reason"] in list(EndReason)
            self.after.check(self.line, record["reason"])

    def teardown(self) -> None:
        try:
            if hasattr(self, "call"):
                if not self.checked:
                    self.house.pass_time(ENOUGH_SECS, 0.1)
                self.ends_once()
                assert self.checked, "the call goes on"
        finally:
            self.case.over()


class OneCallTests(SynchronousTestCase):
    @shows("F42")
    def test_one_call(self) -> None:
        """Exactly one record, a reason that something gave cause for, and no stage, socket or timer left."""
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            OneCall,
            settings=hypothesis_settings(
                max_examples=30, stateful_step_count=20, deadline=None, derandomize=True
            ),
        )
        self.flushLoggedErrors(KeyError)
