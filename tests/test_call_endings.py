"""Calls always end: each way there is, from the carrier's bytes on, with its reason and nothing left over."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from tests.aftermath import Aftermath
from tests.dangers import shows
from tests.house import House, Line
from tests.test_call_call import FakeControl, human
from tests.test_exotel_serializer import START as EXOTEL_START
from tests.wsframes import CLOSE, frame
from voxray import tap
from voxray.call.call import Call
from voxray.call.ending import PLAY_OUT_MAX_SECS, STOP_AFTER_HANGUP_SECS
from voxray.call.limits import GOODBYE_GRACE_SECS
from voxray.carriers.twilio import TwilioControl
from voxray.errors import CarrierError, ErrorKind, ProviderError
from voxray.frames import EndCall, TextDelta
from voxray.interfaces import CallControl

SID = "CA" + "1".rjust(32, "0")
SENTENCE = human("dickens-wisdom")
STOP: dict[str, Any] = {"event": "stop"}
WORDS = "one two three four five six seven eight nine ten"  # a second


class EndingsTestCase(SynchronousTestCase):
    """One daemon, one call."""

    def up(
        self,
        *replies: list[object],
        control: CallControl | None = None,
        document: dict[str, object] | None = None,
    ) -> Line:
        self.house = house = House(self, document, *replies)
        house.controlled(control)
        self.after = Aftermath(self, house)
        if document is not None and document.get("runner_transport") == "exotel":
            line = house.socket()
            line.send(EXOTEL_START)
        else:
            line = house.dial()
        return line

    @property
    def call(self) -> Any:
        [call] = self.house.daemon._parts.registry
        return call

    def marks(self, line: Line) -> list[str]:
        return [message["mark"]["name"] for message in line.messages() if message["event"] == "mark"]

    def echo(self, line: Line, name: str) -> None:
        line.send({"event": "mark", "mark": {"name": name}})
        line.settle_stages()

    def closed_by_us(self, line: Line, code: int = 1000) -> None:
        """Our close frame came, and the carrier answers it."""
        self.assertEqual(line.code, code)
        line.raw(frame(struct.pack("!H", code), CLOSE))
        self.assertTrue(line.over)


class AgentTests(EndingsTestCase):
    """The agent ends the call: the last word is heard, then one hang-up."""

    def farewell(self, control: CallControl | None, words: str = WORDS, **document: object) -> Line:
        line = self.up([TextDelta(f"{words}."), EndCall()], control=control, document=document)
        line.press("1#")
        return line

    @shows("F44")
    def test_after_the_playout_time(self) -> None:
        """Marks that never come back hold nothing up: a second of speech, and the carrier is asked."""
        line = self.farewell(control := FakeControl())
        line.silence(0.98)
        self.assertEqual(control.hung_up, [])
        line.silence(0.06)
        self.assertEqual(control.hung_up, [SID])
        self.assertEqual(len(line.audio), 8000)
        line.send(STOP)
        self.closed_by_us(line)
        self.after.check(line, "agent")
        self.assertEqual(control.hung_up, [SID])

    def test_after_the_last_mark(self) -> None:
        """The carrier says that it has played everything: there is nothing to wait for."""
        line = self.farewell(control := FakeControl())
        line.silence(0.9)
        self.assertEqual(control.hung_up, [])
        self.echo(line, self.marks(line)[-1])
        self.assertEqual(control.hung_up, [SID])
        line.send(STOP)
        self.closed_by_us(line)
        self.after.check(line, "agent")

    @shows("F44")
    def test_other_marks(self) -> None:
        """A mark in the middle, of a reply that was cut, or of nobody's, ends no wait."""
        line = self.up(
            [TextDelta(f"{WORDS}.")],
            [TextDelta("One two. Three four. Five six seven."), EndCall()],
            control=(control := FakeControl()),
        )
        line.press("1#")
        line.silence(0.9)
        [cut] = self.marks(line)
        line.press("2#")
        line.silence(0.4)
        middle = self.marks(line)[1:]
        self.assertEqual(len(middle), 2)
        for name in (cut, *middle, "v1-9", "?"):
            self.echo(line, name)
        line.silence(0.25)
        self.assertEqual(control.hung_up, [])
        line.silence(0.1)
        self.assertEqual(control.hung_up, [SID])
        line.send(STOP)
        self.closed_by_us(line)
        self.after.check(line, "agent")

    def test_as_late_as_the_ear_is(self) -> None:
        """Where marks come late, so does the caller's ear: the hang-up waits for it, and no longer."""
        for echoed in (False, True):
            line = self.up(
                [TextDelta("One two.")],
                [TextDelta("Three four."), EndCall()],
                control=(control := FakeControl()),
            )
            line.press("1#")
            line.silence(0.5)
            self.echo(line, self.marks(line)[-1])  # 0.3 s late
            line.press("2#")
            line.silence(0.4)
            self.assertEqual(control.hung_up, [])
            if echoed:
                self.echo(line, self.marks(line)[-1])
            else:
                line.silence(0.12)
            self.assertEqual(control.hung_up, [SID])

    def test_a_long_farewell(self) -> None:
        """It is heard to its end; only a call that is over its time is cut short."""
        line = self.farewell(control := FakeControl(), " ".join([WORDS] * 20))
        line.silence(19.9)
        self.assertEqual(control.hung_up, [])
        line.silence(0.2)
        self.assertEqual(control.hung_up, [SID])
        line.send(STOP)
        self.closed_by_us(line)
        self.after.check(line, "agent")

    def test_no_stop_follows(self) -> None:
        """The carrier took the hang-up and says no more: we close after five seconds."""
        line = self.farewell(control := FakeControl())
        line.silence(1.1)
        line.silence(STOP_AFTER_HANGUP_SECS - 0.2)
        self.assertIsNone(line.code)
        line.silence(0.4)
        self.closed_by_us(line)
        self.after.check(line, "agent")
        self.assertEqual(control.hung_up, [SID])

    def test_over_already(self) -> None:
        """An answer that says so is a success: no complaint, no second try."""

        class Client:
            asked = 0

            def request(self, method: str, url: str, **content: object) -> Deferred[Any]:
                self.asked += 1
                return succeed(SimpleNamespace(code=404, content=lambda: succeed(b'{"code": 20404}')))

        client = Client()
        line = self.up([TextDelta("Bye."), EndCall()], control=FakeControl())
        self.replace_control(TwilioControl(client, self.house.reactor, "AC1", "token"))  # type: ignore[arg-type]
        line.press("1#")
        line.silence(0.2)
        self.assertEqual(client.asked, 1)
        line.send(STOP)
        self.closed_by_us(line)
        self.after.check(line, "agent")
        self.assertEqual(client.asked, 1)
        self.assertFalse([e for e in self.house.logged if "hang up" in str(e.get("log_format"))])

    def replace_control(self, control: CallControl) -> None:
        """Of the call that is up."""
        self.call._ending._control = control

    def test_the_carrier_refuses(self) -> None:
        """Then the socket is closed, which ends the call too."""
        line = self.farewell(control := FakeControl(CarrierError("twilio", "500")))
        line.silence(1.1)
        self.closed_by_us(line)
        self.after.check(line, "agent")
        self.assertEqual(control.hung_up, [SID])

    def test_the_carrier_does_not_answer(self) -> None:
        """The caller hangs up meanwhile: the request is given up with the call."""
        asked: Deferred[None] = Deferred()

        class Slow(FakeControl):
            async def hang_up(self, call_sid: str) -> None:
                await asked

        line = self.farewell(Slow())
        line.silence(1.1)
        line.send(STOP)
        self.closed_by_us(line)
        self.after.check(line, "agent")
        self.assertTrue(asked.called)

    def test_without_credentials(self) -> None:
        """The socket is closed."""
        line = self.farewell(None)
        line.silence(0.9)
        self.assertIsNone(line.code)
        line.silence(0.2)
        self.closed_by_us(line)
        self.after.check(line, "agent")

    def test_a_carrier_that_never_answers_our_close(self) -> None:
        """It is dropped after a second."""
        line = self.farewell(None)
        line.silence(1.1)
        self.assertEqual((line.code, line.over), (1000, False))
        line.silence(1.0)
        self.assertTrue(line.transport.aborted)
        self.after.check(line, "agent")

    def test_the_caller_goes_first(self) -> None:
        """A caller who hangs up during the last words has heard that it was over, and nobody is asked."""
        line = self.farewell(control := FakeControl())
        line.silence(0.5)
        line.send(STOP)
        self.closed_by_us(line)
        self.after.check(line, "caller_hangup")
        self.assertEqual(control.hung_up, [])

    def test_a_models_own_reason(self) -> None:
        """What a model calls its end is neither a label nor a reason."""
        for said in ("the customer was rude", "shutdown"):
            line = self.up([TextDelta("Bye."), EndCall(said)])
            line.press("1#")
            line.silence(0.3)
            self.closed_by_us(line)
            self.after.check(line, "agent")

    def test_nothing_new_while_leaving(self) -> None:
        """Keys and words of a caller who is being hung up on are answered by nobody."""
        line = self.farewell(control := FakeControl(), "Bye", eager_transcription=False)
        line.tone(0.2)  # over the last word, and not yet transcribed
        line.silence(0.2)
        self.assertEqual(control.hung_up, [SID])
        line.press("2#")
        line.press("3")
        line.tone(0.8)
        line.silence(3.0)
        self.assertEqual((len(self.house.llm.asked), line.said), (1, ["Bye."]))
        line.send(STOP)
        self.closed_by_us(line)
        self.assertEqual(self.after.check(line, "agent")["dtmf"], 5)

    def test_warned_of_at_the_start(self) -> None:
        """Without credentials one line says which variables to set, and what happens until then."""
        for document, words in (
            ({}, "set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"),
            ({"api_keys": {"twilio_account_sid": "AC1"}}, "set TWILIO_AUTH_TOKEN;"),
            ({"runner_transport": "telnyx"}, "set TELNYX_API_KEY;"),
            ({"runner_transport": "plivo"}, "set PLIVO_AUTH_ID and PLIVO_AUTH_TOKEN;"),
            ({"runner_transport": "exotel"}, ""),  # it has no hang-up to ask for
            ({"runner_transport": ""}, ""),
            ({"api_keys": {"twilio_account_sid": "AC1", "twilio_auth_token": "t"}, "proxy_host": "h"}, ""),
        ):
            house = House(self, document)
            lines = [e["text"] for e in house.logged if "closes the socket" in str(e.get("text"))]
            self.assertEqual(len(lines), 1 if words else 0, document)
            self.assertIn(words, "".join(lines))


def closing(line: Line) -> None:
    line.raw(frame(struct.pack("!H", 1000), CLOSE))


def stopping(line: Line) -> None:
    line.send(STOP)
    if line.code != 1000:
        raise AssertionError("not closed at once")
    line.raw(frame(struct.pack("!H", 1000), CLOSE))


WAYS: tuple[tuple[str, Callable[[Line], None], str], ...] = (
    ("stop", stopping, "caller_hangup"),
    ("close", closing, "closed"),
    ("close without a code", lambda line: line.raw(frame(b"", CLOSE)), "closed"),
    ("FIN", lambda line: line.lose(ConnectionDone()), "lost"),
    ("RST", lambda line: line.lose(ConnectionLost()), "lost"),
)


class CallerTests(EndingsTestCase):
    """The other end goes, whatever is going on."""

    def greeted(self) -> Line:
        """The agent is speaking."""
        line = self.up(document={"greeting": WORDS})
        line.silence(0.3)
        return line

    def speaking(self) -> Line:
        """The caller is."""
        line = self.up()
        line.silence(0.3)
        line.tone(0.5)
        return line

    def transcribed(self) -> Line:
        """The transcriber hangs."""
        line = self.speaking()
        line.silence(1.0)
        self.assertEqual(self.after.stages(), ["stt"])
        return line

    def thinking(self) -> Line:
        """The model hangs in the middle of its reply."""
        line = self.up([TextDelta("One moment. Well"), Deferred()])
        line.press("1#")
        line.silence(0.1)
        self.assertEqual(self.after.stages(), ["llm"])
        return line

    def synthesized(self) -> Line:
        """The voice does."""
        line = self.up([TextDelta("One two three. And more."), Deferred()])
        self.house.tts.gate = Deferred()
        line.press("1#")
        line.silence(0.1)
        self.assertEqual(self.after.stages(), ["llm", "tts"])
        return line

    def resting(self) -> Line:
        """Nothing is."""
        line = self.up()
        line.silence(1.0)
        return line

    def typing(self) -> Line:
        """Half an entry was typed."""
        line = self.up()
        line.press("12")
        return line

    def interrupting(self) -> Line:
        """A reply was cut off."""
        line = self.greeted()
        line.hear(SENTENCE[8:25])
        self.assertIn("clear", line.kinds())
        return line

    @shows("F17", "F42")
    def test_whatever_is_going_on(self) -> None:
        """Every stage is cancelled, every timer gone, the reason is that of the way, the record one."""
        for way, leave, reason in WAYS:
            for begin in (
                self.greeted,
                self.speaking,
                self.transcribed,
                self.thinking,
                self.synthesized,
                self.resting,
                self.typing,
                self.interrupting,
            ):
                line = begin()
                leave(line)
                try:
                    self.after.check(line, reason)
                except self.failureException as failure:
                    raise self.failureException(f"{way}, {begin.__name__}: {failure}") from failure

    @shows("F42")
    def test_any_code(self) -> None:
        """Every code that may be sent ends the call in the same way; the others are a fault of protocol."""
        for code in (1000, 1001, 1003, 1007, 1008, 1009, 1011, 1013, 3000, 4000, 4404, 4999):
            line = self.greeted()
            line.raw(frame(code.to_bytes(2, "big") + b"any words", CLOSE))
            self.after.check(line, "closed")
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535):
            line = self.greeted()
            line.raw(frame(code.to_bytes(2, "big"), CLOSE))
            self.house.pass_time(1.1, 0.1)
            self.after.check(line, "protocol", 1002)

    @shows("F42")
    def test_stop_and_no_close(self) -> None:
        """After `stop` we close with 1000, and drop a carrier that says no more within a second."""
        line = self.greeted()
        line.send(STOP)
        self.assertEqual((line.code, line.over), (1000, False))
        self.house.pass_time(1.1, 0.1)
        self.assertTrue(line.over)
        self.after.check(line, "caller_hangup")

    def test_exotel(self) -> None:
        """`closed` is Exotel's other word for it."""
        for message in ({"event": "closed"}, {"event": "stop", "stop": {"reason": "callended"}}):
            line = self.up(document={"runner_transport": "exotel"})
            line.send(message)
            self.closed_by_us(line)
            record = self.after.check(line, "caller_hangup")
            self.assertEqual((record["carrier"], record["heard_codec"]), ("exotel", "l16"))

    @shows("F42")
    def test_in_the_middle_of_a_message(self) -> None:
        """A connection that breaks there is lost like any other."""
        line = self.greeted()
        line.raw(frame(b'{"event":"media"}')[:9])
        line.lose()
        self.after.check(line, "lost")

    @shows("F42")
    def test_twice(self) -> None:
        """`stop`, then the close, then the end of the connection: one record."""
        line = self.greeted()
        line.send(STOP)
        closing(line)
        line.lose()
        self.after.check(line, "caller_hangup")

    def test_misconduct(self) -> None:
        """Bad messages one after the other are closed with 1008, and that is the reason."""
        line = self.greeted()
        for _ in range(20):
            line.raw(frame(b"{"))
        self.closed_by_us(line, 1008)
        self.after.check(line, "policy")

    def test_too_big(self) -> None:
        """A message over the limit is closed with 1009."""
        line = self.greeted()
        line.raw(frame(b"x" * 70_000))
        self.assertEqual(line.code, 1009)
        self.house.pass_time(1.1, 0.1)
        self.after.check(line, "protocol")

    @shows("F41")
    def test_does_not_read(self) -> None:
        """A carrier that reads nothing for ten seconds is dropped."""
        line = self.greeted()
        line.transport.producer.pauseProducing()
        line.silence(12.0)
        self.assertTrue(line.transport.aborted)
        self.after.check(line, "slow_consumer")


class TimeTests(EndingsTestCase):
    """Nobody ends it, so time does."""

    @shows("F40")
    def test_dead_peer(self) -> None:
        """Fifteen seconds without a message of any kind."""
        line = self.up()
        line.silence(1.0)
        self.house.pass_time(13.0, 0.1)
        self.assertFalse(line.over)
        self.house.pass_time(3.0, 0.1)
        self.assertTrue(line.transport.aborted)
        record = self.after.check(line, "dead_peer")
        self.assertEqual(record["heard_secs"], 1.0)

    @shows("F40")
    def test_a_missing_pong(self) -> None:
        """A carrier that answers no ping, but goes on sending, is alive; messages of any kind will do."""
        line = self.up(document={"ping_interval_secs": 1, "dead_peer_secs": 3})
        line.silence(6.0)
        self.assertGreaterEqual(line.pings, 5)
        for _ in range(3):
            line.send({"event": "mark", "mark": {"name": "?"}})
            self.house.pass_time(2.0, 0.1)
        self.assertFalse(line.over)
        self.house.pass_time(2.2, 0.1)
        self.assertTrue(line.over)
        self.after.check(line, "dead_peer")

    @shows("T29")
    def test_longest_call(self) -> None:
        """By either key: goodbye, the hang-up, and the same reason."""
        for key in ("max_call_secs", "rtc_max_duration_secs"):
            control = FakeControl()
            line = self.up(document={key: 3, "goodbye": "Time is up."}, control=control)
            line.silence(3.2)
            self.assertEqual((line.said, control.hung_up), (["Time is up."], []))
            line.silence(0.5)
            self.assertEqual(control.hung_up, [SID])
            line.send(STOP)
            self.closed_by_us(line)
            record = self.after.check(line, "max_duration")
            self.assertAlmostEqual(record["duration_secs"], 3.7, delta=0.03)

    @shows("T29")
    def test_longest_call_without_a_voice(self) -> None:
        """The goodbye hangs: the call is hung up all the same, and the wait for it goes with it."""
        line = self.up(document={"max_call_secs": 3, "goodbye": "Time is up."})
        self.forget_phrases()
        self.house.tts.gate = Deferred()
        line.silence(3.0 + GOODBYE_GRACE_SECS - 0.1)
        self.assertIsNone(line.code)
        line.silence(0.7)
        self.closed_by_us(line)
        self.after.check(line, "max_duration")
        self.assertEqual(line.said, [])

    @shows("T29")
    def test_longest_call_and_a_goodbye_held_back(self) -> None:
        """It waits for a caller whose words nobody makes out, and is said when the time for that is up."""
        line = self.up(
            document={"max_call_secs": 3, "goodbye": "Time is up."}, control=(control := FakeControl())
        )
        self.forget_phrases()
        self.house.tts.gate = gate = Deferred()
        line.silence(3.2)
        line.tone(0.5)
        gate.callback(None)
        line.silence(3.0 + GOODBYE_GRACE_SECS - 3.8)
        self.assertEqual((line.said, control.hung_up), ([], []))
        line.silence(1.0)
        self.assertEqual((line.said, control.hung_up), (["Time is up."], [SID]))
        line.send(STOP)
        self.closed_by_us(line)
        self.after.check(line, "max_duration")

    def forget_phrases(self) -> None:
        """The fixed ones have to be synthesized like any other."""
        self.house.daemon._parts.exchange.phrases._made.clear()

    @shows("T29")
    def test_longest_call_and_a_long_story(self) -> None:
        """A caller who makes the agent talk through its goodbye is cut off; nothing waits for the rest."""
        story = [TextDelta(f"{' '.join([WORDS] * 60)}.")]
        line = self.up(story, document={"max_call_secs": 3, "goodbye": "Time is up."})
        line.silence(3.3)
        line.press("1#")  # over the goodbye
        line.silence(15.0)
        self.assertIsNone(line.code)
        line.silence(PLAY_OUT_MAX_SECS + 0.6)
        self.closed_by_us(line)
        self.after.check(line, "max_duration")

    @shows("T29")
    def test_idle(self) -> None:
        """Prompts, goodbye, hang-up."""
        document = {
            "user_idle_timeout_secs": 2,
            "idle_prompts_max": 2,
            "idle_prompt": "Hello?",
            "goodbye": "Bye.",
        }
        line = self.up(document=document, control=(control := FakeControl()))
        line.silence(7.5)
        self.assertEqual((len(line.audio), control.hung_up), (3 * 800, [SID]))
        self.assertEqual(line.said, ["Hello?", "Bye."])
        line.send(STOP)
        self.closed_by_us(line)
        record = self.after.check(line, "idle")
        self.assertEqual((record["turns"], record["latency_ms"]), (0, {}))

    @shows("T17")
    def test_no_start(self) -> None:
        """A socket without `start` is closed with 1008 after ten seconds. It was no call: no record."""
        self.up()
        self.house.lines[0].lose()
        self.house.logged.clear()
        line = self.house.socket()
        self.house.pass_time(9.5, 0.1)
        self.assertIsNone(line.code)
        self.house.pass_time(1.1, 0.1)
        self.closed_by_us(line, 1008)
        self.after.check_nothing_left()
        self.assertEqual(self.house.records, [])


@contextmanager
def patched(owner: Any, name: str) -> Iterator[None]:
    """It fails meanwhile."""
    really = getattr(owner, name)
    setattr(owner, name, lambda *arguments: 1 / 0)
    try:
        yield
    finally:
        setattr(owner, name, really)


class OurTests(EndingsTestCase):
    """This end goes."""

    def test_fault(self) -> None:
        """A bug in the middle of a call closes it with 1011."""
        line = self.up(document={"greeting": WORDS})
        self.patch(self.call._pacer, "_release", lambda now: 1 / 0)
        line.silence(0.1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.closed_by_us(line, 1011)
        self.after.check(line, "error")

    def test_fault_in_the_apology(self) -> None:
        """What fails to be said is apologised for once; the apology, not at all. The call goes on."""
        line = self.up([TextDelta("Yes.")])
        self.patch(self.call._pacer, "push", lambda payload, now: 1 / 0)
        line.press("1#")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        line.send(STOP)
        self.closed_by_us(line)
        self.after.check(line, "caller_hangup")

    def test_fault_while_cleaning_up(self) -> None:
        """Each step of it is taken whatever becomes of the others, and the record is kept."""
        for step in ("_ending.stop", "_ear.close", "_dialogue.stop"):
            line = self.up(document={"greeting": WORDS})
            owner, name = step.split(".")
            part = getattr(self.call, owner)
            really = getattr(part, name)

            def failing(really: Callable[[], None] = really) -> None:
                really()
                raise RuntimeError("a bug")

            self.patch(part, name, failing)
            line.silence(0.1)
            line.send(STOP)
            self.flushLoggedErrors(RuntimeError)
            self.house.pass_time(1.1, 0.1)
            self.after.check(line, "caller_hangup")

    def test_fault_at_the_beginning(self) -> None:
        """A call that cannot begin leaves a record and no more; one that cannot be made, not even that."""
        for owner, name, reasons in ((Call, "greet", ["error"]), (Call, "__init__", [])):
            house = House(self, {"greeting": WORDS})
            after = Aftermath(self, house)
            with patched(owner, name):
                line = house.dial()
            self.assertEqual(line.code, 1011)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            house.pass_time(1.1, 0.1)
            after.check_nothing_left()
            self.assertEqual([record["reason"] for record in house.records], reasons)

    def test_shutdown(self) -> None:
        """Every call is closed with 1001, whatever it was doing, and leaves its record."""
        line = self.up([TextDelta("Well"), Deferred()], document={"greeting": WORDS})
        other = self.house.dial()
        other.press("1#")
        stopping = self.house.daemon.stopService()
        self.assertEqual((line.code, other.code), (1001, 1001))
        self.assertEqual([record["reason"] for record in self.house.records], ["shutdown", "shutdown"])
        for each in (line, other):
            each.lose()
        self.successResultOf(stopping)
        self.assertEqual(len(self.house.records), 2)
        self.assertEqual(self.after.stages(), [])

    def test_operator(self) -> None:
        """Whoever ends a call with a reason of the list finds it in the record; another is a fault."""
        for reason, recorded in (("operator", "operator"), ("replaced", "replaced"), ("whim", "error")):
            line = self.up(document={"greeting": WORDS})
            self.call.abort(1000, reason)
            self.closed_by_us(line)
            self.after.check(line, recorded)
        line = self.up(document={"greeting": WORDS, "goodbye": "Bye."})
        self.call.say_goodbye("operator")
        line.silence(0.3)
        self.closed_by_us(line)
        self.after.check(line, "operator")

    @shows("F5")
    def test_provider_fails(self) -> None:
        """Failures of vendors end no call; the record counts the turns they were asked for."""
        down = ProviderError("fake", ErrorKind.OVERLOADED, "down")
        line = self.up([down], document={"apology": "Sorry."})
        line.press("1#")
        line.silence(0.3)
        self.assertEqual(line.said, ["Sorry."])
        line.send(STOP)
        self.closed_by_us(line)
        record = self.after.check(line, "caller_hangup")
        self.assertEqual((record["turns"], record["interruptions"]), (1, 0))


class RecordTests(EndingsTestCase):
    def test_what_it_counts(self) -> None:
        """A call with everything in it: its figures, by the right clocks."""
        line = self.up(
            [TextDelta(f"{WORDS}.")],
            [TextDelta("Two.")],
            [TextDelta("Three.")],
            document={"greeting": "Hello there."},
        )
        self.house.reactor.advance(0)
        line.silence(0.5)  # greeted
        line.tone(0.8)
        line.silence(1.0)
        line.answer("First.")
        line.silence(0.5)
        line.hear(SENTENCE[8:38])  # cuts in
        line.silence(1.0)
        line.answer("Second.")
        line.silence(0.5)
        line.press("33#")
        line.silence(0.5)
        line.send(STOP)
        self.closed_by_us(line)
        record = self.after.check(line, "caller_hangup")
        self.assertEqual((record["turns"], record["interruptions"], record["dtmf"]), (3, 1, 3))
        self.assertEqual((record["duration_secs"], record["heard_secs"]), (5.4, 5.4))
        self.assertEqual(record["started_at"], "2026-11-23T10:00:00.000Z")
        self.assertEqual(record["ended_at"], "2026-11-23T10:00:05.400Z")
        self.assertEqual(record["spoken_secs"], round(len(line.audio) / 8000, 2))
        self.assertEqual(record["account_sid"], "")
        latency = record["latency_ms"]
        self.assertLessEqual(600, latency["p50"])
        self.assertLessEqual(latency["p50"], latency["max"])
        self.assertEqual(
            sorted(latency), sorted(["p50", "p95", "max", "endpoint", "stt", "llm", "sentence", "tts", "own"])
        )
        self.assertEqual((record["heard_codec"], record["spoken_rate_hz"]), ("mulaw", 8000))

    def test_the_last_turn(self) -> None:
        """A turn whose answer was being spoken when the caller hung up counts like the others."""
        line = self.up([TextDelta(f"{WORDS}.")])
        line.tone(0.8)
        line.silence(1.0)
        line.answer("First.")
        line.silence(0.3)
        line.send(STOP)
        self.closed_by_us(line)
        record = self.after.check(line, "caller_hangup")
        self.assertGreater(record["latency_ms"]["max"], 600)
        self.assertEqual((record["turns"], record["interruptions"]), (1, 0))

    @shows("F50")
    def test_two_clocks(self) -> None:
        """A step of the wall clock changes the dates and not the duration."""
        line = self.up()
        line.silence(2.0)
        step = -3600.0
        dates = tap.time.time
        self.patch(self.house.daemon._parts.exchange.records, "_wall_clock", lambda: dates() + step)
        line.send(STOP)
        self.closed_by_us(line)
        record = self.after.check(line, "caller_hangup")
        self.assertEqual(record["duration_secs"], 2.0)
        self.assertEqual(record["ended_at"], "2026-11-23T09:00:02.000Z")
