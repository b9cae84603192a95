"""The carriers' bad days, one by one: in memory where that is enough, else over loopback."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.carrier_side import AgentSite
from tests.dangers import shows
from tests.test_simulator_carriers import WEBHOOKS, Agents, Line
from voxray.simulator import report
from voxray.simulator.arguments import plan_of
from voxray.simulator.caller import REDIAL_SECS, SimulatedCall
from voxray.simulator.carriers import CARRIERS
from voxray.simulator.channel import JUNK
from voxray.simulator.client import place_call
from voxray.simulator.options import parser
from voxray.simulator.playout import Playout, Spoken
from voxray.simulator.result import CallResult
from voxray.simulator.script import BadScript, Do, Patience, Script, Step
from voxray.simulator.target import Target, new_ids
from voxray.simulator.wires.vocabulary import Numbers, Quirks


def quirky(carrier: str, quirks: Quirks) -> tuple[SimulatedCall, Clock]:
    """A call that has not begun, and its clock."""
    clock, side = Clock(), CARRIERS[carrier]
    ids = side.new_ids(side.default_account)
    wire = side.wire(ids, Numbers(), quirks)
    return SimulatedCall(clock, ids, Script(), wire=wire, quirks=quirks), clock


@shows("F44")
class MarkTests(SynchronousTestCase):
    def test_marks_after_a_clear_either_way(self) -> None:
        """On every carrier those a clear overtakes can be made to come back, or not to."""
        for carrier in CARRIERS:
            for back in (True, False):
                line = Line(carrier, marks_after_clear=back)
                Agents.say(line, 0.8)
                Agents.mark(line, "late")
                line.run(0.3)
                Agents.clear(line)
                line.run(0.1)
                self.assertEqual(Agents.marks(line), ["late"] if back else [], carrier)

    def test_a_clear_may_spare_the_message_that_is_playing(self) -> None:
        """Its rest is heard, the messages after it are not."""
        playout, spoken = Playout(0.0, spares_message=True), Spoken()
        for _ in range(3):
            playout.media(b"\x10" * 800, 0.0, spoken)
        self.assertEqual(playout.clear(0.13), 0.1)
        playout.advance(1.0)
        self.assertEqual((spoken.queued, spoken.played, spoken.dropped), (2400, 1600, 800))
        self.assertEqual((playout.queued, playout.played, playout.dropped), (2400, 1600, 800))
        self.assertEqual(playout.take().audio.count(b"\x10"), 1600)
        playout.media(b"\x10" * 800, 1.0)
        self.assertEqual(playout.clear(1.0), 0.1)  # it has not begun


class StartTests(SynchronousTestCase):
    def test_a_late_start(self) -> None:
        """`connected` comes at once, `start` and the first packet so much later; times count from there."""
        for carrier in CARRIERS:
            line = Line(carrier, start_delay_secs=2.0)
            line.run(1.99)
            self.assertEqual(
                [each["event"] for each in line.got], [] if carrier == "plivo" else ["connected"]
            )
            line.send(event="media", streamSid=line.ids.stream_sid, media={"payload": "/w=="})
            line.run(0.02 + 0.3)
            self.assertEqual(line.got[0 if carrier == "plivo" else 1]["event"], "start")
            self.assertEqual(
                line.events("media")[0]["media"]["timestamp"], "100" if carrier == "exotel" else "20"
            )
            line.call.hang_up()
            self.assertEqual((line.results[0].media_received, line.closes), (0, [1000]))

    def test_an_end_before_the_start(self) -> None:
        """A close, or a hang-up, while `start` is still to come: it does not, and the clock is at rest."""
        for close in (True, False):
            line = Line("twilio", start_delay_secs=2.0)
            line.call.closed(1008) if close else line.call.hang_up()
            line.run(3.0)
            [result] = line.results
            self.assertEqual([each["event"] for each in line.got], ["connected"])
            self.assertEqual(
                (result.ended_by, result.close_code), ("lost", 1008) if close else ("caller", None)
            )
            self.assertEqual(line.clock.getDelayedCalls(), [])

    def test_junk(self) -> None:
        """What is no message comes between `connected` and `start`, which is as ever."""
        for carrier in CARRIERS:
            said: list[str] = []
            call, _ = quirky(carrier, Quirks(junk=True))
            call.start(said.append, lambda code: None)
            at = 0 if carrier == "plivo" else 1
            self.assertEqual(tuple(said[at : at + len(JUNK)]), JUNK)
            self.assertIn('"event":"start"', said[at + len(JUNK)])
            call.hang_up()


class EndTests(SynchronousTestCase):
    def test_with_and_without_stop(self) -> None:
        """Plivo can be made to send one, the others not to; the close follows all the same."""
        for carrier in CARRIERS:
            for stop in (None, True, False):
                line = Line(carrier, stop=stop)
                line.run(0.1)
                line.call.hang_up()
                stopped = line.got[-1]["event"] == "stop"
                self.assertEqual(stopped, carrier != "plivo" if stop is None else stop, (carrier, stop))
                self.assertEqual(line.closes, [1000])

    def test_stop_without_close(self) -> None:
        """The agent has to close; what it closes with is in the result."""
        line = Line("twilio", close_after_stop=False)
        line.run(0.1)
        line.call.hang_up()
        self.assertEqual((line.got[-1]["event"], line.closes), ("stop", []))
        line.call.closed(1000)
        self.assertEqual((line.results[0].ended_by, line.results[0].close_code), ("caller", 1000))


class RedialTests(SynchronousTestCase):
    """A lost socket, carrier by carrier."""

    def lose(self, line: Line, code: int = 1006) -> int:
        """Loses every socket at once; how many there were."""
        dialled: list[float] = []
        line.call.redial = lambda: dialled.append(line.clock.seconds())
        for sockets in range(1, 9):
            line.run(0.3)
            line.call.closed(code)
            line.run(REDIAL_SECS + 0.02)
            if len(dialled) < sockets:
                return sockets
            line.call.start(line.receive, line.closes.append)
        raise self.failureException("it never ends")

    def test_who_dials_again(self) -> None:
        """Plivo twice unless it was closed with 1000; Telnyx whatever the code, unless told not to."""
        reconnecting = WEBHOOKS["telnyx"]["response"]["body"].replace(' enableReconnect="false"', "")
        cases = [
            ("twilio", "", 1006, 1),
            ("exotel", "", 1006, 1),
            ("plivo", "", 1006, 3),
            ("plivo", "", 1000, 1),
            ("telnyx", "", 1006, 1),
            ("telnyx", reconnecting, 1006, 4),
            ("telnyx", reconnecting, 1000, 4),
        ]
        for carrier, answer, code, sockets in cases:
            line = Line(carrier, answer=answer)
            self.assertEqual(self.lose(line, code), sockets, (carrier, code))
            [result] = line.results
            self.assertEqual((result.redials, result.close_codes), (sockets - 1, [code] * sockets))
            self.assertEqual(result.ended_by, "agent-socket" if code == 1000 else "lost")
            self.assertEqual(self.lose_quietly(carrier, answer), 1)

    def lose_quietly(self, carrier: str, answer: str) -> int:
        return self.lose(Line(carrier, answer=answer, redials=False))

    def test_the_call_goes_on_meanwhile(self) -> None:
        """What was buffered is played; the next socket has a `start`, and counters and times of its own."""
        line = Line("plivo")
        line.call.redial = lambda: line.call.start(line.receive, line.closes.append)
        Agents.say(line, 1.0)
        Agents.mark(line, "unheard")
        line.run(0.5)
        line.call.closed(1006)
        line.run(REDIAL_SECS + 0.12)
        starts = [number for number, each in enumerate(line.got) if each["event"] == "start"]
        self.assertEqual((len(starts), starts[0]), (2, 0))
        again = line.got[starts[1] :]
        self.assertEqual([each["sequenceNumber"] for each in again], list(range(1, len(again) + 1)))
        self.assertEqual([each["media"]["timestamp"] for each in again[1:3]], ["20", "40"])
        self.assertEqual(again[0]["start"]["streamId"], line.got[0]["start"]["streamId"])
        self.assertEqual(Agents.marks(line), [])
        Agents.say(line, 0.2)
        Agents.mark(line, "heard")
        line.run(0.3)
        self.assertEqual(Agents.marks(line), ["heard"])
        line.call.hang_up()
        self.assertEqual(line.results[0].turns[0].heard_ms, 1200.0)

    def test_a_drop(self) -> None:
        """The socket is lost so long after the first `start`, and only that one."""
        call, clock = quirky("plivo", Quirks(drop_after_secs=1.0))
        aborted: list[float] = []
        for _ in range(2):
            call.start(
                lambda text: None, lambda code: None, lambda: aborted.append(round(clock.seconds(), 2))
            )
            for _ in range(150):
                clock.advance(0.01)
        self.assertEqual(aborted, [1.0])
        call.hang_up()


class Loopback(TestCase):
    """With sockets."""

    async def call(self, carrier: str, site: AgentSite, secs: float = 0.3, **quirks: Any) -> CallResult:
        target, made = Target(site.url, carrier=carrier), Quirks(**quirks)
        ids = new_ids(target.account_sid, carrier)
        call = SimulatedCall(
            reactor,
            ids,
            Script((Step(Do.WAIT, secs=secs), Step(Do.HANG_UP))),
            wire=target.side.wire(ids, target.numbers, made),
            quirks=made,
            patience=Patience(greeting=0.05),
        )
        self.addCleanup(call.hang_up)
        return await place_call(reactor, target, call)

    async def test_the_webhook_twice(self) -> None:
        """The same call is asked about twice, and one socket opens."""
        site = AgentSite(self, "plivo")
        result = await self.call("plivo", site, webhook_twice=True)
        self.assertEqual([got.fields["CallUUID"] for got in site.webhook.got], [result.ids.call_sid] * 2)
        self.assertEqual(len(site.sockets), 1)

    @shows("F38")
    async def test_a_dropped_connection_is_dialled_again(self) -> None:
        """Plivo, over TCP: the agent sees 1006, then the same call on another socket, at the same path."""
        site = AgentSite(self, "plivo")
        result = await self.call("plivo", site, 1.2, drop_after_secs=0.2)
        first, second = site.sockets
        self.assertEqual((first.code, second.code), (1006, 1000))
        self.assertEqual(first.path, second.path)
        self.assertEqual(first.got[0]["start"]["callId"], second.got[0]["start"]["callId"])
        self.assertEqual((result.ended_by, result.redials, result.close_codes), ("caller", 1, [1006, 1000]))

    async def test_a_socket_that_is_refused_is_tried_again(self) -> None:
        """Plivo twice more, and gives up then; the others at once."""
        for carrier, tries in (("plivo", 2), ("twilio", 0)):
            site = AgentSite(self, carrier)
            site.webhook.answer = site.webhook.answer.replace("/telephony/ws/", "/nowhere/")
            result = await self.call(carrier, site)
            self.assertEqual((result.ended_by, result.redials, len(site.sockets)), ("refused", tries, 0))

    async def test_a_duplicate_socket(self) -> None:
        """The same URL and call, a stream of its own. Closed, left open, or refused: the result says so."""
        for carrier in CARRIERS:
            site = AgentSite(self, carrier)

            def refuse_the_second(socket: Any, site: AgentSite = site) -> None:
                if len(site.sockets) == 2:
                    socket.sendClose(4001)

            site.factory.on["start"] = refuse_the_second
            result = await self.call(carrier, site, duplicate_socket=True)
            first, second = site.sockets
            self.assertEqual(first.path, second.path)
            starts = [
                next(each for each in socket.got if each["event"] == "start") for socket in (first, second)
            ]
            self.assertNotEqual(starts[0], starts[1])
            for text in map(str, starts):
                self.assertIn(result.ids.call_sid, text)
            assert result.duplicate is not None
            self.assertEqual((result.duplicate.close_code, result.ended_by), (4001, "caller"))
            self.assertEqual(report.call_json(result, [])["duplicate"]["close_code"], 4001)

    async def test_a_duplicate_that_is_let_in(self) -> None:
        """It is closed with the call, and what was said on it is counted."""
        site = AgentSite(self, "twilio")
        site.factory.on["start"] = lambda socket: socket.sendMessage(b"{}")
        result = await self.call("twilio", site, duplicate_socket=True)
        assert result.duplicate is not None
        self.assertEqual((result.duplicate.close_code, result.duplicate.messages), (None, 1))
        self.assertEqual([socket.code for socket in site.sockets], [1000, 1000])

    async def test_stop_without_close(self) -> None:
        """The agent closes by itself, with the code it has for that."""
        site = AgentSite(self, "twilio")
        site.factory.on["stop"] = lambda socket: socket.sendClose(4000)
        result = await self.call("twilio", site, close_after_stop=False)
        self.assertEqual((result.ended_by, result.close_code), ("caller", 4000))


class CommandLineTests(SynchronousTestCase):
    def test_the_options(self) -> None:
        """Each reaches the call."""
        words = (
            "--marks-after-clear yes --clear-spares-message --start-delay 3 --junk --webhook-twice --no-stop "
            "--duplicate-socket --drop-after 4 --no-redial --no-close"
        )
        wanted = Quirks(
            marks_after_clear=True,
            clear_spares_message=True,
            start_delay_secs=3.0,
            junk=True,
            webhook_twice=True,
            stop=False,
            duplicate_socket=True,
            drop_after_secs=4.0,
            redials=False,
            close_after_stop=False,
        )
        self.assertEqual(plan_of(parser().parse_args(words.split())).quirks, wanted)
        self.assertEqual(plan_of(parser().parse_args([])).quirks, Quirks())
        self.assertRaises(BadScript, plan_of, parser().parse_args(["--stop", "--no-stop"]))
