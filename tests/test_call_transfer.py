"""Transfers: asked of the carrier once what was said was heard; and a call handed over is let go."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.fakes import FakeControl, RecordingSink
from tests.test_call_call import Line, human, make_settings
from voxray.call.call import Call
from voxray.call.dialogue import RESUME_AFTER_SECS
from voxray.call.ending import STOP_AFTER_TRANSFER_SECS
from voxray.call.expected import Expected
from voxray.errors import CarrierError, ErrorKind, ProviderError
from voxray.frames import EndCall, ReplyEvent, StreamStopped, TextDelta, Transfer
from voxray.interfaces import Ability

SID = "CA" + "1" * 32
SALES = "+14155550100"
REFUSED = CarrierError("twilio", "500")
WORDS = "one two three four five six seven eight."  # 800 ms


def reply(text: str, *events: ReplyEvent) -> list[object]:
    return [TextDelta(text), *events]


TO_SALES = reply("Sales then.", Transfer("sales"))


class TransferTestCase(SynchronousTestCase):
    """A call whose agent may transfer to sales."""

    control: FakeControl | None

    def begin(
        self,
        *replies: list[object],
        control: FakeControl | None = None,
        verified: bool = True,
        max_secs: float = 0.0,
        **agent: object,
    ) -> tuple[Line, Call, RecordingSink]:
        told = {"greeting": "", "transfers": {"sales": SALES}, "transfer_apology": "Nobody there.", **agent}
        line = Line(
            *replies,
            control=control,
            settings=make_settings(**told),
            transfer_url=lambda call_id, number: f"https://h/{call_id}/{number}",
        )
        self.addCleanup(line.registry.abort_all, 1001, "test over")
        call, sink = line.dial(SID, Expected("ours", "twilio", SID, verified=verified, max_secs=max_secs))
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        return line, call, sink

    def asked(self, line: Line, call: Call, secs: float = 1.0) -> None:
        """The caller presses 1, and what the model then does is done."""
        line.press(call, "1#")
        line.silence(call, secs)

    def ended(self, line: Line, reason: str) -> None:
        self.assertEqual(len(line.registry), 0)
        self.assertEqual(line.count("voxray_calls_ended_total", reason=reason), 1)
        line.clock.advance(1)
        self.assertEqual(line.clock.getDelayedCalls(), [])

    def warnings(self) -> list[str]:
        return [formatEvent(event) for event in self.events if event["log_level"].name == "warn"]


class TransferTests(TransferTestCase):
    def test_once_its_words_were_heard(self) -> None:
        """The carrier is asked for it then, with the number of that name and the document's URL."""
        control = FakeControl()
        line, call, _ = self.begin(reply(WORDS, Transfer("sales")), control=control)
        self.asked(line, call, 0.7)
        self.assertEqual(control.transferred, [])
        line.silence(call, 0.4)
        self.assertEqual(control.transferred, [(SID, SALES, f"https://h/ours/{SALES}")])

    def test_handed_over(self) -> None:
        """Then nobody listens or speaks; the carrier's stop ends the call, and nobody ever hangs it up."""
        control = FakeControl()
        line, call, sink = self.begin(TO_SALES, control=control, user_idle_timeout_secs=2.0)
        self.asked(line, call)
        sent = len(sink.sent)
        line.press(call, "2#")
        line.hear(call, human("dickens-wisdom"))
        line.silence(call, 5.0)
        call.say_goodbye("shutdown")
        call.finish("agent")
        line.silence(call, 5.0)
        self.assertEqual((len(sink.sent), line.stt.asked, len(line.llm.asked)), (sent, [], 1))
        self.assertFalse(call._ear._memory)
        self.assertIsNone(sink.closed)
        call.receive(StreamStopped())
        self.ended(line, "transferred")
        self.assertEqual((control.hung_up, len(control.transferred)), ([], 1))
        self.assertEqual(line.count("voxray_transfers_total", outcome="rest"), 1)

    def test_no_stop_follows(self) -> None:
        """The socket is closed half a minute later, and still nobody is hung up on."""
        control = FakeControl()
        line, call, sink = self.begin(TO_SALES, control=control)
        self.asked(line, call)
        line.silence(call, STOP_AFTER_TRANSFER_SECS - 2.0)
        self.assertIsNone(sink.closed)
        line.silence(call, 2.0)
        self.assertEqual(sink.closed, (1000, "transferred"))
        call.disconnected("hung_up")
        self.ended(line, "transferred")
        self.assertEqual(control.hung_up, [])

    def test_the_stop_comes_before_the_answer(self) -> None:
        """A stream may stop while the carrier's answer is on its way: by `stop`, or by a close alone."""
        for told in (lambda call: call.receive(StreamStopped()), lambda call: call.disconnected("closed")):
            control = FakeControl()
            control.gate = Deferred()
            line, call, _ = self.begin(TO_SALES, control=control)
            self.asked(line, call)
            told(call)
            self.ended(line, "transferred")
            self.assertTrue(control.gate.called)  # cancelled

    def test_the_daemon_goes_meanwhile(self) -> None:
        """Neither is a fault of the line or a shutdown called a transfer."""
        for end, reason in (
            (lambda call: call.abort(1001, "shutdown"), "shutdown"),
            (lambda call: call.disconnected("lost"), "lost"),
        ):
            control = FakeControl()
            control.gate = Deferred()
            line, call, _ = self.begin(TO_SALES, control=control)
            self.asked(line, call)
            end(call)
            self.ended(line, reason)

    def test_refused(self) -> None:
        """The agent says that it cannot be, and goes on: it may try again, and it may end the call."""
        control = FakeControl(REFUSED)
        line, call, sink = self.begin(TO_SALES, TO_SALES, reply("Bye.", EndCall()), control=control)
        self.asked(line, call, 2.0)
        self.assertEqual(line.tts.said, ["Sales then.", "Nobody there."])
        self.asked(line, call, 2.0)
        self.assertEqual(len(control.transferred), 2)
        self.assertEqual(line.llm.asked[1][1].text, "Sales then. Nobody there.")
        control.error = None
        self.asked(line, call)
        self.assertEqual((control.hung_up, sink.closed), ([SID], None))
        call.receive(StreamStopped())
        self.ended(line, "agent")
        self.assertEqual(line.count("voxray_transfers_total", outcome="failed"), 2)
        self.assertEqual(len(self.warnings()), 2)

    def test_said_while_it_is_asked(self) -> None:
        """It is answered if the transfer fails, behind the apology."""
        control = FakeControl(REFUSED)
        control.gate = Deferred()
        line, call, _ = self.begin(TO_SALES, reply("Yes."), control=control)
        self.asked(line, call)
        line.hear(call, human("dickens-wisdom"))
        line.silence(call, 1.0)
        line.stt.answer("What about the time?")
        line.silence(call, 0.5)
        self.assertEqual(len(line.llm.asked), 1)
        control.gate.callback(None)
        line.silence(call, 2.0)
        self.assertEqual(line.tts.said, ["Sales then.", "Nobody there.", "Yes."])
        self.assertEqual(line.llm.asked[1][-1].text, "What about the time?")

    def test_not_understood_while_it_is_asked(self) -> None:
        """A transcriber that fails meanwhile says nothing into it."""
        control = FakeControl()
        control.gate = Deferred()
        line, call, sink = self.begin(TO_SALES, control=control)
        self.asked(line, call)
        line.hear(call, human("dickens-wisdom"))
        line.silence(call, 1.0)
        sent = len(sink.sent)
        line.stt.fail(ProviderError("fake", ErrorKind.OVERLOADED, "down"))
        line.silence(call, 0.5)
        self.assertEqual(len(sink.sent), sent)

    def test_no_apology(self) -> None:
        """An owner may have none said: the caller is listened to again."""
        line, call, _ = self.begin(TO_SALES, reply("Yes."), transfer_apology="")
        self.asked(line, call)
        self.asked(line, call)
        self.assertEqual(line.tts.said, ["Sales then.", "Yes."])

    def test_closing_transfers(self) -> None:
        """Where what follows in the carrier's flow takes the call, our socket is closed with 1000."""
        control = FakeControl(abilities=[Ability.CLOSING_TRANSFERS])
        line, call, sink = self.begin(TO_SALES, control=control, verified=False)
        self.asked(line, call)
        self.assertEqual((sink.closed, control.transferred), ((1000, "transferred"), []))
        call.disconnected("hung_up")
        self.ended(line, "transferred")
        self.assertEqual(line.count("voxray_transfers_total", outcome="closed"), 1)

    @shows("T27")
    def test_impossible(self) -> None:
        """Not verified, no credentials, or not the carrier's to do: an apology, one line why, no request."""
        for control, verified, why in (
            (FakeControl(), False, "not verified"),
            (None, True, "no credentials"),
            (FakeControl(abilities=[Ability.HANG_UP]), True, "no such request"),
        ):
            line, call, sink = self.begin(TO_SALES, reply("Yes."), control=control, verified=verified)
            self.asked(line, call)
            self.asked(line, call)
            self.assertEqual(line.tts.said, ["Sales then.", "Nobody there.", "Yes."])
            [warning] = self.warnings()
            self.assertIn(why, warning)
            self.assertEqual((control.transferred if control else [], sink.closed), ([], None))
            self.assertEqual(line.count("voxray_transfers_total", outcome="impossible"), 1)

    @shows("T27")
    def test_a_name_that_is_not_there(self) -> None:
        """It is refused before anybody is asked, counted, and not logged: it may be what a caller said."""
        control = FakeControl()
        for name in ("secretname", "+19005550199", "", "SALES"):
            line, call, _ = self.begin(reply("Yes.", Transfer(name)), reply("Right."), control=control)
            self.asked(line, call)
            self.asked(line, call)
            self.assertEqual(line.tts.said, ["Yes.", "Nobody there.", "Right."])
            self.assertEqual(line.count("voxray_transfers_total", outcome="unknown"), 1)
            self.assertEqual(len(self.warnings()), 1)
            if name:
                self.assertFalse([event for event in self.events if name in f"{event} {formatEvent(event)}"])
        self.assertEqual(control.transferred, [])

    def test_a_transfer_and_a_hang_up(self) -> None:
        """Nobody is hung up on who was promised a transfer, whichever the model names first."""
        for events in ((Transfer("sales"), EndCall()), (EndCall(), Transfer("sales"))):
            control = FakeControl()
            line, call, _ = self.begin(reply("Sales then.", *events), control=control)
            self.asked(line, call)
            self.assertEqual((len(control.transferred), control.hung_up), (1, []))

    def test_two_names(self) -> None:
        """The first one is whom the caller was told of."""
        control = FakeControl()
        transfers = {"sales": SALES, "desk": "sip:desk@h.example"}
        both = reply("Sales then.", Transfer("sales"), Transfer("desk"))
        line, call, _ = self.begin(both, control=control, transfers=transfers)
        self.asked(line, call)
        self.assertEqual([number for _, number, _ in control.transferred], [SALES])

    def test_nothing_ends_it_meanwhile(self) -> None:
        """While it is asked, neither the longest call nor a goodbye of the daemon's ends the call."""
        control = FakeControl(REFUSED)
        control.gate = Deferred()
        line, call, sink = self.begin(TO_SALES, control=control, max_call_secs=3.0)
        self.asked(line, call)
        call.say_goodbye("shutdown")
        call.finish("agent")
        line.silence(call, 30.0)
        self.assertEqual((control.hung_up, sink.closed, line.tts.said), ([], None, ["Sales then."]))
        control.error, opened = None, control.gate
        control.gate = None
        opened.callback(None)
        line.silence(call, 10.0)
        self.assertEqual((control.hung_up, len(control.transferred)), ([], 1))

    def test_the_longest_call_after_a_refusal(self) -> None:
        """Then it holds again."""
        control = FakeControl(REFUSED)
        control.gate = Deferred()
        line, call, _ = self.begin(TO_SALES, control=control, max_call_secs=3.0)
        self.asked(line, call, 5.0)
        control.gate.callback(None)
        control.gate = control.error = None
        line.silence(call, 3.0)
        self.assertEqual((line.tts.said[-1], control.hung_up), ("Bye.", [SID]))


class InterruptedTests(TransferTestCase):
    """The caller speaks before the transfer was asked."""

    def speaking(self, **options: Any) -> tuple[Line, Call, FakeControl]:
        control = FakeControl()
        line, call, _ = self.begin(
            reply(WORDS, Transfer("sales")), reply("Of course."), control=control, **options
        )
        line.silence(call, 1.0)
        self.asked(line, call, 0.3)
        return line, call, control

    def test_by_words(self) -> None:
        """What was said is answered, and nobody is transferred."""
        line, call, control = self.speaking()
        line.hear(call, human("dickens-wisdom")[8:])
        line.silence(call, 1.0)
        line.stt.answer("Wait, not to sales.")
        line.silence(call, 3.0)
        self.assertEqual((line.tts.said[-1], control.transferred), ("Of course.", []))

    def test_by_a_cough(self) -> None:
        """It was no interruption: the rest is said, and the transfer asked for once that was heard."""
        line, call, control = self.speaking()
        call._dialogue.barge_in(0.2)
        line.silence(call, RESUME_AFTER_SECS - 0.2)
        self.assertEqual(control.transferred, [])
        line.silence(call, 2.0)
        self.assertEqual(len(control.transferred), 1)

    def test_by_keys(self) -> None:
        """Keys are an answer like another."""
        line, call, control = self.speaking()
        line.press(call, "9")
        line.silence(call, 4.0)
        self.assertEqual((line.tts.said[-1], control.transferred), ("Of course.", []))


class HangUpTests(TransferTestCase):
    """Whether the carrier's API is asked to hang up."""

    @shows("T6")
    def test_only_of_a_verified_call(self) -> None:
        """An id that only a stream told may be another caller's: the socket is closed instead."""
        for verified, abilities, asked in (
            (True, [Ability.HANG_UP], [SID]),
            (False, [Ability.HANG_UP], []),
            (True, [Ability.TRANSFER, Ability.CLOSING_TRANSFERS], []),
        ):
            control = FakeControl(abilities=abilities)
            line, call, sink = self.begin(reply("Bye.", EndCall()), control=control, verified=verified)
            self.asked(line, call)
            self.assertEqual(control.hung_up, asked)
            self.assertEqual(sink.closed, None if asked else (1000, "hang-up"))

    def test_another_carriers_api(self) -> None:
        """A call is never asked about at a carrier that is not its own."""
        control = FakeControl()
        line, _, _ = self.begin(control=control)
        settings = make_settings(greeting="")
        other = Line(reply("Bye.", EndCall()), settings=settings, controls={"plivo": control})
        self.addCleanup(other.registry.abort_all, 1001, "test over")
        call, sink = other.dial(SID)
        self.asked(other, call)
        self.assertEqual((control.hung_up, sink.closed), ([], (1000, "hang-up")))
        self.assertEqual(len(line.registry), 1)


class LimitTests(TransferTestCase):
    @shows("T29")
    def test_a_calls_own_limit(self) -> None:
        """The shorter of the call's limit and the configuration's holds; 0 is none of its own."""
        for own, configured, over in (
            (3.0, 100.0, True),
            (100.0, 3.0, True),
            (0.0, 3.0, True),
            (0.0, 100.0, False),
        ):
            control = FakeControl()
            line, call, _ = self.begin(control=control, max_secs=own, max_call_secs=configured)
            line.silence(call, 2.4)
            self.assertEqual(line.tts.said, [])
            line.silence(call, 2.0)
            self.assertEqual((line.tts.said, control.hung_up), (["Bye."], [SID]) if over else ([], []))
