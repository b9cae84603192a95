"""Circuits: when a vendor's endpoint that fails is left alone, and when it is tried again."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.provider_contract import CALL, MESSAGES, collect
from tests.test_provider_openai import HELLO, KEY
from tests.vendor import Step, VendorTestCase, answer, chunked
from voxray.circuits import LONG_PAUSES, WINDOW_SECS, Breaker, Circuit, Circuits, Limits
from voxray.endpoints import ProviderRecorder
from voxray.errors import ErrorKind, ProviderError
from voxray.metrics import Metrics
from voxray.providers.llm_openai import OpenAIChat
from voxray.providers.openai_api import Host

DOWN = answer(b'{"error": {"message": "no"}}', status=500)
REFUSED = answer(b'{"error": {"message": "no"}}', status=401)
KINDS = st.sampled_from([ErrorKind.OVERLOADED, ErrorKind.TRANSPORT, ErrorKind.TIMEOUT, ErrorKind.BAD_ANSWER])


class BreakerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.breaker = Breaker(lambda: Limits(3, 15.0))

    def fail_at(self, *times: float, kind: ErrorKind = ErrorKind.OVERLOADED) -> None:
        for now in times:
            self.assertTrue(self.breaker.admit(now))
            self.breaker.failed(kind, now)

    def test_opens(self) -> None:
        """After three failures in a row nothing is let through for the pause, and then one request."""
        self.fail_at(0.0, 1.0, 2.0)
        self.assertEqual([self.breaker.admit(now) for now in (2.0, 10.0, 16.9)], [False] * 3)
        self.assertEqual([self.breaker.admit(now) for now in (17.0, 17.1, 25.0)], [True, False, False])

    def test_in_a_row(self) -> None:
        """A success between them, or half a minute, and they are no row."""
        self.fail_at(0.0, 1.0)
        self.breaker.worked()
        self.fail_at(2.0, 3.0)
        self.fail_at(3.1 + WINDOW_SECS)
        self.assertTrue(self.breaker.is_closed)

    def test_a_key(self) -> None:
        """A refused key opens it at once, and for longer: it does not mend by itself."""
        for kind in (ErrorKind.AUTH, ErrorKind.QUOTA):
            self.setUp()
            self.fail_at(0.0, kind=kind)
            self.assertFalse(self.breaker.admit(15.0 * LONG_PAUSES - 0.1))
            self.assertTrue(self.breaker.admit(15.0 * LONG_PAUSES))

    def test_the_probe(self) -> None:
        """It decides: closed again, or another pause. One that tells nothing is soon followed by another."""
        self.fail_at(0.0, 0.0, 0.0)
        self.assertTrue(self.breaker.admit(15.0))
        self.assertFalse(self.breaker.failed(ErrorKind.TIMEOUT, 20.0))
        self.assertFalse(self.breaker.admit(34.9))
        self.assertTrue(self.breaker.admit(35.0))
        self.breaker.abandoned(36.0)
        self.assertFalse(self.breaker.admit(43.0))
        self.assertTrue(self.breaker.admit(43.5))
        self.assertTrue(self.breaker.worked())
        self.assertTrue(self.breaker.admit(43.6) and self.breaker.admit(43.6))

    def test_a_lost_probe(self) -> None:
        """One of which nothing is ever heard does not close the door for good."""
        self.fail_at(0.0, 0.0, 0.0)
        self.assertTrue(self.breaker.admit(15.0))
        self.assertFalse(self.breaker.admit(29.9))
        self.assertTrue(self.breaker.admit(30.0))

    def test_stragglers(self) -> None:
        """Requests that were under way when it opened neither lengthen the pause nor open it again."""
        self.fail_at(0.0, 0.0, 0.0)
        self.assertFalse(self.breaker.failed(ErrorKind.TIMEOUT, 5.0))
        self.breaker.abandoned(6.0)
        self.assertTrue(self.breaker.admit(15.0))

    @shows("F2")
    def test_asked_for_peace(self) -> None:
        """F2: a vendor that names a longer pause gets it, up to a minute."""
        for asked, pause in ((5.0, 15.0), (40.0, 40.0), (3600.0, 60.0)):
            self.setUp()
            for _ in range(3):
                self.breaker.failed(ErrorKind.RATE, 0.0, asked)
            self.assertFalse(self.breaker.admit(pause - 0.1))
            self.assertTrue(self.breaker.admit(pause))

    def test_off(self) -> None:
        """With 0 failures it never opens."""
        breaker = Breaker(lambda: Limits(0, 15.0))
        for now in range(50):
            self.assertTrue(breaker.admit(now))
            breaker.failed(ErrorKind.AUTH, now)

    @given(st.lists(st.tuples(st.floats(0.0, 3.0), KINDS, st.booleans()), max_size=200))
    def test_a_dead_vendor(self, wishes: list[tuple[float, ErrorKind, bool]]) -> None:
        """Goal G10: however often it is asked, at most five requests in any 30 seconds; lost probes too."""
        breaker, now = Breaker(), 0.0
        asked: list[float] = []
        for wait, kind, hung_up in wishes:
            now += wait
            if not breaker.admit(now):
                continue
            asked.append(now)
            if hung_up and not breaker.is_closed:
                breaker.abandoned(now)
            else:
                breaker.failed(kind, now)
        for begin in asked:
            self.assertLessEqual(sum(begin <= at < begin + 30.0 for at in asked), 5)


class CircuitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.circuits = Circuits(self.clock.seconds, ProviderRecorder(self.metrics.registry))
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def of(self, model: str = "m", key: str = "") -> Circuit:
        return self.circuits.of("acme", "llm", model, "https://acme.example/v1/chat", key)

    def ask(self, circuit: Circuit, error: BaseException | None = None) -> None:
        with contextlib.suppress(ProviderError, CancelledError), circuit.watch():
            circuit.check()
            if error is not None:
                raise error

    def up(self, model: str = "m") -> float | None:
        return self.metrics.registry.get_sample_value("voxray_provider_up", {"stage": "llm", "model": model})

    def test_shared(self) -> None:
        """One circuit for an endpoint; another model, another key or another stage has its own."""
        self.assertIs(self.of(), self.of())
        others = [self.of("n"), self.of(key="k"), self.circuits.of("acme", "tts", "m", "https://a/", "")]
        self.assertEqual(len({id(each) for each in (self.of(), *others)}), 4)

    def test_open(self) -> None:
        """What is not asked fails at once, as paused; a gauge and a counter tell, the log says it once."""
        circuit = self.of(key=KEY)
        circuit.serve()
        self.assertEqual(self.up(), 1.0)
        for _ in range(5):
            self.ask(circuit, ProviderError("acme", ErrorKind.OVERLOADED, "down"))
        with self.assertRaises(ProviderError) as caught:
            circuit.check()
        self.assertEqual((caught.exception.kind, caught.exception.retry), (ErrorKind.PAUSED, False))
        labels = {"stage": "llm", "model": "m", "error_type": "overloaded"}
        paused = self.metrics.registry.get_sample_value("voxray_provider_paused_total", labels)
        self.assertEqual((self.up(), paused), (0.0, 1.0))
        self.clock.advance(15)
        self.ask(circuit)
        self.assertEqual(self.up(), 1.0)
        lines = [formatEvent(event) for event in self.events]
        self.assertEqual(len(lines), 2)
        self.assertIn("acme: llm m is not asked for a while: overloaded", lines[0])
        self.assertIn("answers again", lines[1])
        self.assertNotIn("SECRET", str(self.events))

    def test_of_a_call(self) -> None:
        """What one caller's words brought about says nothing of the vendor: other calls go on."""
        circuit = self.of()
        for error in (
            ProviderError("acme", ErrorKind.BAD_REQUEST, "too long", status=400),
            ProviderError("acme", ErrorKind.BAD_ANSWER, "filtered", of_call=True),
            CancelledError(),
            ValueError("ours"),
        ):
            for _ in range(9):
                with contextlib.suppress(ValueError):
                    self.ask(circuit, error)
            self.assertTrue(circuit.up)
        for _ in range(3):
            self.ask(circuit, ProviderError("acme", ErrorKind.BAD_REQUEST, "no such model", status=404))
        self.assertFalse(circuit.up)

    def test_lives(self) -> None:
        """The gauge is there while an adapter serves; of two under one name it is the later one's."""
        old, new = self.of(key="old"), self.of(key="new")
        old.serve()
        self.ask(old, ProviderError("acme", ErrorKind.AUTH, "refused"))
        self.assertEqual(self.up(), 0.0)
        new.serve()
        self.assertEqual(self.up(), 1.0)
        self.ask(old)
        old.retire()
        self.assertEqual(self.up(), 1.0)
        new.retire()
        self.assertIsNone(self.up())
        self.assertIsNot(self.of(key="new"), new)


class RequestTests(VendorTestCase):
    """Against a vendor on loopback."""

    def setUp(self) -> None:
        super().setUp()
        self.http.circuits.limits = Limits()

    def model(self, key: str = KEY) -> OpenAIChat:
        return OpenAIChat(self.http, Host("openai", self.base, key))

    async def ask(self, llm: OpenAIChat) -> ErrorKind | None:
        """One turn; how it fails. Waits between tries are skipped."""
        work: Deferred[Any] = Deferred.fromCoroutine(collect(llm.reply(MESSAGES, CALL)))
        while not work.called:
            if self.pausing():
                self.clock.advance(1)
            await self.turns(1)
        try:
            await work
        except ProviderError as error:
            return error.kind
        return None

    @shows("F1")
    async def test_refused_key(self) -> None:
        """F1: one request, no retry; turn after turn fails at once, without another, in every call."""
        for status in (401, 403):
            self.vendor.requests.clear()
            self.script([answer(b"{}", status=status)])
            llm = self.model(f"sk-{status}")
            kinds = [await self.ask(llm) for _ in range(4)]
            self.assertEqual(kinds, [ErrorKind.AUTH, *[ErrorKind.PAUSED] * 3])
            self.assertEqual(len(self.vendor.requests), 1)
        self.script(chunked(HELLO))
        self.assertIsNone(await self.ask(self.model("sk-new")), "a new key is a new chance")
        await self.until(lambda: not self.clock.getDelayedCalls())

    @shows("F3")
    async def test_at_most_five(self) -> None:
        """F3: all calls together ask a dead vendor five times in 30 seconds at most, retries included."""
        self.script([DOWN])
        calls = [self.model() for _ in range(10)]
        for second in range(30):
            kind = await self.ask(calls[second % 10])
            self.assertIn(kind, (ErrorKind.OVERLOADED, ErrorKind.PAUSED))
            self.clock.advance(max(0.0, second + 1 - self.clock.seconds()))
        self.assertLessEqual(len(self.vendor.requests), 5)
        self.assertGreaterEqual(len(self.vendor.requests), 4, "it is asked again after a pause")

    @shows("F3")
    async def test_recovers(self) -> None:
        """F3: the first request after the pause finds the vendor well, and all calls are served again."""
        self.script([DOWN])
        llm = self.model()
        for _ in range(3):
            await self.ask(llm)
        self.script(chunked(HELLO))
        self.assertEqual(await self.ask(llm), ErrorKind.PAUSED)
        self.clock.advance(15)
        self.assertEqual([await self.ask(llm) for _ in range(3)], [None] * 3)
        await self.until(lambda: not self.clock.getDelayedCalls())

    @shows("F6")
    async def test_garbage(self) -> None:
        """F6: an endpoint that answers with pages counts as failing too, though its status says 200."""
        page: list[Step] = [answer(b"<html>", "text/html")]
        self.script(page)
        kinds = [await self.ask(self.model()) for _ in range(4)]
        self.assertEqual(kinds, [*[ErrorKind.BAD_ANSWER] * 3, ErrorKind.PAUSED])

    @shows("F1")
    async def test_warming_up(self) -> None:
        """F1: a vendor that has just failed is not asked for the sake of a warm connection either."""
        self.script([REFUSED])
        llm = self.model()
        await self.ask(llm)
        for _ in range(5):
            await llm.warm_up()
        self.assertEqual([request.method for request in self.vendor.requests], ["POST"])

    @shows("F4")
    async def test_warming_up_a_dead_one(self) -> None:
        """F4: nor is one that cannot be warmed up, call after call."""
        await self._close()
        self.vendor.connections = 0
        llm = self.model()
        for _ in range(9):
            await llm.warm_up()
        circuit = self.http.circuits.of("openai", "", "", f"{self.base}/models")
        self.assertFalse(circuit.up)
