"""Keys for providers that fail or are slow, from the document to what a caller hears."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.house import House, Line
from tests.test_exotel_carrier import EXOTEL
from tests.test_exotel_carrier import call as exotel_call
from voxray.circuits import Circuit
from voxray.errors import ConfigError, ErrorKind, ProviderError
from voxray.frames import TextDelta

DOWN = ProviderError("fake", ErrorKind.OVERLOADED, "down")
WORDS = {"apology": "Sorry.", "failure_goodbye": "Call later.", "failure_handover": "One of us."}


class CircuitTests(SynchronousTestCase):
    def circuit(self, house: House) -> Circuit:
        """One of the daemon's."""
        circuit: Circuit = house.daemon._parts.http.circuits.of("acme", "llm", "m", "https://acme/")
        return circuit

    def admitted(self, circuit: Circuit) -> bool:
        try:
            circuit.check()
        except ProviderError:
            return False
        return True

    def failing(self, house: House, times: int) -> Circuit:
        circuit = self.circuit(house)
        for _ in range(times):
            self.assertTrue(self.admitted(circuit))
            circuit.failed(DOWN)
        return circuit

    def test_provider_failures(self) -> None:
        """So many in a row, and the endpoint is not asked; 0: it always is. A reload changes it."""
        for most in (1, 4):
            house = House(self, {"provider_failures": most})
            self.assertFalse(self.admitted(self.failing(house, most)))
        house = House(self, {"provider_failures": 0})
        self.assertTrue(self.admitted(self.failing(house, 50)))
        house.reload(provider_failures=2)
        self.assertFalse(self.admitted(self.failing(house, 2)))

    def test_provider_pause_secs(self) -> None:
        """For so long. An endpoint that stays the same stays paused when the configuration is read again."""
        for secs in (5.0, 50.0):
            house = House(self, {"provider_pause_secs": secs})
            circuit = self.failing(house, 3)
            house.reactor.advance(secs - 0.1)
            house.reload(goodbye="Bye.")
            self.assertIs(self.circuit(house), circuit)
            self.assertFalse(self.admitted(circuit))
            house.reactor.advance(0.2)
            self.assertTrue(self.admitted(circuit))


class GivingUpTests(SynchronousTestCase):
    def failing(self, times: int, **document: object) -> tuple[House, Line]:
        """A call so many of whose turns fail."""
        house = House(self, {**WORDS, **document}, *[[DOWN]] * times)
        line = house.dial()
        self.turns(line, times)
        return house, line

    def turns(self, line: Line, times: int) -> None:
        for _ in range(times):
            line.press("1#")
            line.silence(1.0)

    def test_on_provider_failure(self) -> None:
        """Hang up, transfer, or apologise on and on; the record has a reason of its own."""
        house, line = self.failing(3)
        self.assertEqual((line.said, line.code), (["Sorry.", "Call later."], 1000))
        line.lose()
        self.assertEqual([record["reason"] for record in house.records], ["provider_failure"])
        _, line = self.failing(9, on_provider_failure="apologise")
        self.assertEqual((line.said, line.code), (["Sorry."], None))
        _, line = self.failing(9, on_provider_failure="apologize")
        self.assertIsNone(line.code)

    def test_failed_turns_max(self) -> None:
        """So many, in a row."""
        for most in (1, 5):
            _, line = self.failing(most - 1, failed_turns_max=most)
            self.assertIsNone(line.code)
            _, line = self.failing(most, failed_turns_max=most)
            self.assertEqual(line.code, 1000)

    def test_failure_goodbye(self) -> None:
        """The owner's words; without any the call ends in silence."""
        _, line = self.failing(1, failed_turns_max=1, failure_goodbye="Try again.")
        self.assertEqual((line.said, line.code), (["Try again."], 1000))
        _, line = self.failing(1, failed_turns_max=1, failure_goodbye="")
        self.assertEqual((line.said, line.code), ([], 1000))

    def transferring(self, **document: object) -> tuple[House, Line]:
        """To a name that is none is an error at the start; on Exotel closing transfers."""
        keys = {**EXOTEL, **WORDS, "on_provider_failure": "transfer", "failed_turns_max": 1, **document}
        house = House(self, {"transfers": {"desk": "+14155550100"}, **keys}, [DOWN])
        line = exotel_call(house)
        self.turns(line, 1)
        return house, line

    def test_failure_transfer(self) -> None:
        """Whom to; a name that is not in `transfers` is refused when the configuration is read."""
        house, line = self.transferring(failure_transfer="desk")
        line.lose()
        self.assertEqual([record["reason"] for record in house.records], ["transferred"])
        for name in ("", "Desk", "nobody"):
            with self.assertRaisesRegex(ConfigError, "failure_transfer"):
                self.transferring(failure_transfer=name)

    def test_failure_handover(self) -> None:
        """The words before it."""
        house, line = self.transferring(failure_transfer="desk", failure_handover="To the desk.")
        self.assertIn("To the desk.", house.tts.texts)
        self.assertTrue(line.audio)
        _, line = self.transferring(failure_transfer="desk", failure_handover="")
        self.assertEqual(line.audio, b"")


class HoldTests(SynchronousTestCase):
    def waiting(self, secs: float, **document: object) -> Line:
        """A caller so long after a turn to which the model says nothing."""
        house = House(self, {**WORDS, **document}, [Deferred[None]()], [TextDelta("Yes.")])
        line = house.dial()
        line.press("1#")
        line.silence(secs)
        return line

    def test_hold_after_secs(self) -> None:
        """So much silence, give or take the half second between two looks; 0: none is broken."""
        for secs in (2.0, 5.0):
            line = self.waiting(secs - 0.1, hold_after_secs=secs, hold_phrase="Wait.")
            self.assertEqual(line.said, [])
            line.silence(0.8)
            self.assertEqual(line.said, ["Wait."])
        self.assertEqual(self.waiting(10.0, hold_after_secs=0).audio, b"")

    def test_hold_phrase(self) -> None:
        """The owner's words; without any a beep."""
        self.assertEqual(self.waiting(4.0, hold_phrase="I am looking.").said, ["I am looking."])
        line = self.waiting(4.0, hold_phrase="")
        self.assertEqual(len(line.audio), 1600)
        self.assertNotIn("Wait.", line.said)

    def test_answer_timeout_secs(self) -> None:
        """So long after the turn it has failed: an apology."""
        for secs in (4.0, 20.0):
            line = self.waiting(secs - 0.1, answer_timeout_secs=secs, hold_after_secs=0)
            self.assertEqual(line.said, [])
            line.silence(1.0)
            self.assertEqual(line.said, ["Sorry."])


class MendingTests(SynchronousTestCase):
    def test_a_phrase_that_could_not_be_made(self) -> None:
        """The voice was away at the start: a call half a minute later makes the phrase, in the background."""
        house = House(self, {"provider_failures": 0, "tts_provider": "openai", "api_keys": {"openai": "k"}})
        house.tts.texts.clear()
        exchange = house.daemon._parts.exchange
        exchange.phrases._made.clear()
        house.dial()
        self.assertEqual(house.tts.texts, [])
        house.reactor.advance(31)
        house.dial()
        self.assertIn(exchange.settings.agent.apology, house.tts.texts)
        self.assertFalse(exchange.phrases.lacks([exchange.settings.agent.apology]))
