"""The parent of several workers, on imaginary processes and an imaginary reactor."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ProcessDone, ProcessTerminated
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.configs import LOCAL, loaded
from tests.house import InlineWorker, Reactor
from voxray import logs
from voxray.config.source import Source
from voxray.errors import StoreUnavailable
from voxray.workers.hand import KILL_SECS
from voxray.workers.line import Line
from voxray.workers.orders import Orders
from voxray.workers.restarts import FIRST_PAUSE_SECS, LONGEST_PAUSE_SECS, STEADY_SECS, Restarts
from voxray.workers.supervisor import Parts, Supervisor

WATCHDOG_SECS = 4.0


class Pipe:
    """One end's transport: what is written arrives in a reactor turn of its own."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor, self.other, self.open = reactor, None, True
        self.protocol: Any = None
        self.other: Any = None

    def write(self, data: bytes) -> None:
        self._reactor.callLater(0, self.other.arrived, data)

    def arrived(self, data: bytes) -> None:
        if self.open:
            self.protocol.dataReceived(data)

    def abortConnection(self) -> None:
        for end in (self, self.other):
            if end.open:
                end.open = False
                end.protocol.connectionLost(Failure(ConnectionDone()))

    loseConnection = abortConnection

    def getPeer(self) -> None: ...

    getHost = getPeer


def joined(reactor: Reactor, one: Line, other: Line) -> None:
    pipes = Pipe(reactor), Pipe(reactor)
    pipes[0].other, pipes[1].other = pipes[1], pipes[0]
    for pipe, line in zip(pipes, (one, other), strict=True):
        pipe.protocol = line
        line.makeConnection(pipe)


class Process:
    """A worker that does what the test says."""

    def __init__(self, reactor: Reactor, protocol: Any, line: Line, number: int) -> None:
        self.pid = 1_000 + number
        self._protocol = protocol
        self.heard: list[Any] = []
        self.signals: list[int] = []
        self.calls, self.outcome, self.silent = 0, "loaded", False
        self.line = Line(
            reactor,
            {
                "beat": self._beat,
                "reload": self._reload,
                "drain": lambda: self._told("drain"),
                "stop": lambda: self._told("stop"),
                "metrics": self._metrics,
                "lost": self._lost,
            },
        )
        joined(reactor, line, self.line)

    async def _beat(self) -> dict[str, int]:
        if self.silent:
            await Deferred()
        return {"calls": self.calls}

    async def _reload(self, text: str | None) -> str:
        self.heard.append(("reload", text))
        return "kept" if text is None else self.outcome

    async def _lost(self, lease: str) -> None:
        self.heard.append(("lost", lease))

    async def _told(self, what: str) -> None:
        self.heard.append(what)

    async def _metrics(self) -> str:
        if self.silent:
            await Deferred()
        return f"# TYPE voxray_calls_active gauge\nvoxray_calls_active {self.calls}\n" + (
            f"# TYPE voxray_calls_started_total counter\nvoxray_calls_started_total {self.calls}\n"
        )

    def signalProcess(self, number: int) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL:
            self.dies(signal.SIGKILL)

    def dies(self, number: int = 0, status: int = 0) -> None:
        ended = ProcessTerminated(status or None, number or None) if number or status else ProcessDone(0)
        self._protocol.processEnded(Failure(ended))


class Manager:
    """systemd, and what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.watchdog_secs = WATCHDOG_SECS
        self.status: Callable[[], str] = lambda: ""
        self.alive: Callable[[], bool] = lambda: True

    def watch(self, status: Callable[[], str], alive: Callable[[], bool]) -> None:
        self.status, self.alive = status, alive

    def extend(self, secs: float) -> None:
        self.said.append(f"extend {secs:g}")

    def __getattr__(self, name: str) -> Any:
        return lambda: self.said.append(name)


class StoppableReactor(Reactor):
    """Knows that it was stopped."""

    stopped = 0

    def stop(self) -> None:
        self.stopped += 1

    def callWhenRunning(self, function: Any, *args: Any) -> None:
        function(*args)


class ParentTestCase(SynchronousTestCase):
    count = 2

    def setUp(self) -> None:
        self.reactor = StoppableReactor()
        self.reactor.advance(100)
        self.manager = Manager()
        self.processes: list[Process] = []
        self.refusing = False
        self.path = Path(self.mktemp()).absolute()
        self.path.write_text('{"provider": "local"}', encoding="utf-8")
        self.source = Source(str(self.path), cwd="/")
        self.addCleanup(logs.choose, logs._chosen)
        self.logged: list[Any] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)
        settings = loaded({**LOCAL, "workers": self.count, "drain_timeout_secs": 20}).settings
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        text = self.path.read_bytes()
        parts = Parts(
            settings,
            ("a warning",),
            Orders(0, self.source, text, text, b"secret"),
            [listener],
            self.spawn,
            self.manager,  # type: ignore[arg-type]
            InlineWorker(self.reactor, "files", 1),
        )
        self.parent = Supervisor(parts, self.reactor)
        for name in ("running", "reactor_runs"):
            self.patch(self.parent._signals, name, lambda: None)
        self.parent.startService()

    def spawn(self, protocol: Any, line: Line) -> Any:
        if self.refusing:
            raise OSError(11, "Resource temporarily unavailable")
        made = Process(self.reactor, protocol, line, len(self.processes))
        self.processes.append(made)
        return made

    def turn(self) -> None:
        """Whatever is on the lines arrives, and is answered."""
        for _ in range(6):
            self.reactor.advance(0)

    def pass_time(self, secs: float) -> None:
        for _ in range(round(secs / 0.25)):
            self.reactor.advance(0.25)
            self.turn()

    def asks(self, process: Process, what: str, secs: float = 60.0, **said: object) -> Deferred[Any]:
        asking: Coroutine[Any, Any, Any] = process.line.ask(what, said, secs)
        asked = Deferred.fromCoroutine(asking)
        self.turn()
        return asked

    def serves(self, *processes: Process) -> None:
        preparing = [self.asks(process, "prepared") for process in processes]
        for process, prepared in zip(processes, preparing, strict=True):
            self.successResultOf(prepared)
            self.successResultOf(self.asks(process, "opened"))

    def all_serve(self) -> None:
        self.serves(*self.processes)


class StartTests(ParentTestCase):
    def test_ready(self) -> None:
        """The port is opened by all at once; READY when every one listens."""
        first, second = self.processes
        opening = self.asks(first, "prepared")
        self.assertNoResult(opening)
        also = self.asks(second, "prepared")
        self.successResultOf(opening)
        self.successResultOf(also)
        self.successResultOf(self.asks(first, "opened"))
        self.assertNotIn("ready", self.manager.said)
        self.successResultOf(self.asks(second, "opened"))
        self.assertEqual(self.manager.said, ["ready"])
        self.assertEqual(self.manager.status(), "answering, 0 calls, 2 workers")

    def test_orders(self) -> None:
        """Each is told its number, the configuration as it was read, and one secret."""
        said = [self.successResultOf(self.asks(process, "hello")) for process in self.processes]
        orders = [Orders.heard(each) for each in said]
        self.assertEqual([each.node for each in orders], ["w1", "w2"])
        self.assertEqual({each.secret for each in orders}, {b"secret"})
        self.assertEqual(orders[0], replace(orders[1], number=1))
        self.assertEqual(orders[0].source, self.source)

    def test_cannot_start(self) -> None:
        """One that dies before all are ready is the end of all, in its own words, with status 1."""
        self.successResultOf(self.asks(self.processes[0], "failed", text="no such voice"))
        self.processes[0].dies(status=1)
        self.assertEqual(self.reactor.stopped, 1)
        errors = [event for event in self.logged if event["log_level"] is LogLevel.critical]
        self.assertEqual([event["reason"] for event in errors], ["no such voice"])
        stopping = self.parent.stopService()
        self.assertEqual(self.processes[1].signals, [signal.SIGKILL])
        self.successResultOf(stopping)
        self.assertNotIn("ready", self.manager.said)
        self.assertEqual(len(self.processes), 2)

    def test_no_process_to_be_had(self) -> None:
        """The daemon that cannot start its workers cannot start."""
        self.assertEqual(self.reactor.stopped, 0)
        self.processes[0].signals.clear()
        hand = next(iter(self.parent.crew))
        hand.ended("Resource temporarily unavailable")
        [event] = [event for event in self.logged if event["log_level"] is LogLevel.critical]
        self.assertIn("worker 1 ended as it started: Resource temporarily", event["reason"])

    def test_stopped_while_starting(self) -> None:
        """SIGTERM before anybody serves: nobody is waited for."""
        self.parent.asked()
        self.assertEqual([process.signals for process in self.processes], [[signal.SIGKILL]] * 2)
        self.assertEqual(self.reactor.stopped, 1)


class LossTests(ParentTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.all_serve()

    def test_back_off(self) -> None:
        """Who dies is replaced, at growing intervals; who lived long, soon again; others are left alone."""
        self.processes[1].dies(signal.SIGSEGV)
        self.pass_time(0.25)
        self.assertEqual(len(self.processes), 3)
        self.assertEqual(self.manager.status(), "answering, 0 calls, 1 of 2 workers")
        for _ in range(12):
            self.processes[-1].dies(status=1)
            self.pass_time(LONGEST_PAUSE_SECS)
        self.assertLess(len(self.processes), 16)
        self.serves(self.processes[-1])
        self.assertEqual(self.manager.status(), "answering, 0 calls, 2 workers")
        self.pass_time(STEADY_SECS)
        before = len(self.processes)
        self.processes[-1].dies(signal.SIGKILL)
        self.pass_time(FIRST_PAUSE_SECS * 3)
        self.assertEqual(len(self.processes), before + 1)
        self.assertEqual(self.processes[0].signals, [])
        self.assertEqual(self.manager.said, ["ready"])

    def test_no_process_to_be_had(self) -> None:
        """That none can be started is one death more."""
        self.refusing = True
        self.processes[0].dies(signal.SIGKILL)
        self.pass_time(5)
        self.refusing = False
        self.pass_time(10)
        self.assertEqual(len(self.processes), 3)

    def test_places(self) -> None:
        """With a worker its calls are forgotten, and only its."""
        for number, process in enumerate(self.processes):
            call = {"lease": f"l{number}", "carrier": "c", "call_sid": f"s{number}", "call_id": f"i{number}"}
            said = {"call": {**call, "node": f"w{number + 1}"}, "limit": 2, "take_over": False}
            got = self.successResultOf(self.asks(process, "board.reserve", **said))
            self.assertEqual(got, ["admitted", number + 1])
        self.processes[0].dies(signal.SIGKILL)
        self.assertEqual(self.successResultOf(self.asks(self.processes[1], "board.count")), 1)

    def test_replaced(self) -> None:
        """A stream whose call has a newer one elsewhere hears of it; nobody else does."""
        for number, process in enumerate(self.processes):
            call = {"lease": f"l{number}", "carrier": "c", "call_sid": "s", "call_id": f"i{number}"}
            said = {"call": {**call, "node": f"w{number + 1}"}, "limit": 9, "take_over": True}
            for _ in range(2):  # a lease of its own is no newer one
                self.successResultOf(self.asks(process, "board.reserve", **said))
        self.assertEqual([process.heard for process in self.processes], [[("lost", "l0")], []])

    def test_hangs(self) -> None:
        """Told to abort, then killed; the watchdog is fed meanwhile, unless it cannot be killed."""
        self.processes[0].silent = True
        self.pass_time(WATCHDOG_SECS - 1)
        self.assertEqual(self.processes[0].signals, [])
        self.pass_time(2.5)
        self.assertEqual(self.processes[0].signals, [signal.SIGABRT])
        self.assertTrue(self.manager.alive())
        self.pass_time(KILL_SECS)
        self.assertEqual(self.processes[0].signals, [signal.SIGABRT, signal.SIGKILL])
        self.pass_time(1)
        self.assertEqual(len(self.processes), 3)
        self.processes[1].silent = True
        self.processes[1].signalProcess = lambda number: None  # type: ignore[method-assign]
        self.pass_time(WATCHDOG_SECS + 8)
        self.assertTrue(self.manager.alive())
        self.pass_time(5)
        self.assertFalse(self.manager.alive())

    def test_status(self) -> None:
        """Calls are counted by each worker's last word."""
        for process in self.processes:
            process.calls = 2
        self.pass_time(1.5)
        self.assertEqual(self.manager.status(), "answering, 4 calls, 2 workers")

    def test_metrics(self) -> None:
        """Of all; one who does not answer is missing after half a second, but for what it had counted."""
        for number, process in enumerate(self.processes):
            process.calls = number + 1
        text: str = self.successResultOf(self.asks(self.processes[0], "exposition"))
        for line in ("voxray_calls_active 3.0", "voxray_calls_started_total 3.0", "voxray_workers 2.0"):
            self.assertIn(line, text)
        self.processes[1].silent = True
        asking = self.asks(self.processes[0], "exposition")
        self.assertNoResult(asking)
        self.pass_time(0.5)
        text = self.successResultOf(asking)
        for line in ("active 1.0", "started_total 3.0", "workers 2.0", "metrics_missed_total 1.0"):
            self.assertIn(line, text)
        self.processes[1].dies(signal.SIGKILL)
        text = self.successResultOf(self.asks(self.processes[0], "exposition"))
        for line in ("active 1.0", "started_total 3.0", "workers 1.0", "restarts_total 1.0"):
            self.assertIn(line, text)

    def test_claims(self) -> None:
        """Orders with one key are one worker's, until it dies."""
        for process in (*self.processes, self.processes[0]):
            self.assertEqual(self.successResultOf(self.asks(process, "claim", key="k")), 1)
        self.processes[0].dies(signal.SIGKILL)
        self.assertEqual(self.successResultOf(self.asks(self.processes[1], "claim", key="k")), 2)
        said = {"number": 1, "what": "place", "said": {}}
        gone = Deferred.fromCoroutine(self.processes[1].line.ask("other", said))
        self.turn()
        self.assertIsNone(self.successResultOf(gone))


class StopTests(ParentTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.all_serve()

    def test_drain(self) -> None:
        """Told once each time; the service manager hears how long it may take; over with the last of them."""
        self.parent.asked()
        self.turn()
        self.assertEqual([process.heard for process in self.processes], [["drain"]] * 2)
        self.assertEqual(self.manager.said, ["ready", "stopping", "extend 56"])
        self.processes[0].dies()
        self.pass_time(5)
        self.assertEqual((len(self.processes), self.reactor.stopped), (2, 0))
        self.assertEqual(self.manager.status(), "draining, 0 calls, 1 of 2 workers")
        self.parent.asked()
        self.turn()
        self.assertEqual(self.processes[1].heard, ["drain"] * 2)
        self.processes[1].dies()
        self.assertEqual(self.reactor.stopped, 1)
        self.successResultOf(self.parent.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_who_does_not_end(self) -> None:
        """It is killed when the time is over."""
        self.parent.asked()
        self.processes[0].dies()
        self.pass_time(57)
        self.assertEqual(self.processes[1].signals, [signal.SIGKILL])
        self.assertEqual(self.reactor.stopped, 1)

    def test_the_reactor_stops(self) -> None:
        """By somebody else's doing: workers are told to end at once, and five seconds are waited."""
        stopping = self.parent.stopService()
        self.turn()
        self.assertEqual([process.heard for process in self.processes], [["stop"]] * 2)
        self.processes[0].dies()
        self.assertNoResult(stopping)
        self.pass_time(5)
        self.successResultOf(stopping)
        self.assertEqual(self.processes[1].signals, [signal.SIGKILL])
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class ReloadTests(ParentTestCase):
    def setUp(self) -> None:
        super().setUp()
        for process in self.processes:
            self.successResultOf(self.asks(process, "hello"))
        self.all_serve()
        self.manager.said.clear()

    def reload(self, text: str) -> list[list[Any]]:
        """What each worker heard."""
        self.path.write_text(text, encoding="utf-8")
        self.parent.reload()
        self.turn()
        heard = [process.heard for process in self.processes]
        for process in self.processes:
            process.heard = []
        return heard

    def orders(self, process: Process) -> str:
        return str(self.successResultOf(self.asks(process, "hello"))["text"])

    def restarted(self) -> Process:
        self.processes[0].dies(signal.SIGKILL)
        self.pass_time(0.25)
        return self.processes[-1]

    def test_good(self) -> None:
        """All are told what was read, once; one reload for the service manager; new workers have it too."""
        new = '{"provider": "local", "max_calls": 5}'
        self.assertEqual(self.reload(new), [[("reload", new)]] * 2)
        self.assertEqual(self.manager.said, ["reloading", "ready"])
        self.assertEqual(self.orders(self.restarted()), new)

    def test_bad(self) -> None:
        """Nobody hears of it, but that certificates are to be read; new workers get the old one."""
        self.assertEqual(self.reload("{"), [[("reload", None)]] * 2)
        self.assertEqual(self.manager.said, ["reloading", "ready"])
        self.assertEqual(self.orders(self.restarted()), '{"provider": "local"}')

    def test_good_for_some(self) -> None:
        """Who could serve with it goes back: all have the same."""
        self.processes[1].outcome = "kept"
        new = '{"provider": "local", "max_calls": 5}'
        old = '{"provider": "local"}'
        self.assertEqual(self.reload(new), [[("reload", new), ("reload", old)], [("reload", new)]])
        self.assertEqual(self.orders(self.restarted()), old)

    def test_good_for_nobody(self) -> None:
        """A worker that starts later must be able to."""
        for process in self.processes:
            process.outcome = "kept"
        self.reload('{"provider": "local", "max_calls": 5}')
        self.assertEqual(self.orders(self.restarted()), '{"provider": "local"}')
        self.assertNotIn("go back", str([event.get("log_format") for event in self.logged]))

    def test_nobody_is_left_to_say(self) -> None:
        """All die of it, or while they read it: those that start then get the one that was in force."""
        for process in self.processes:
            process.line._answers = {**process.line._answers, "reload": self.never}
        self.reload('{"provider": "local", "max_calls": 5}')
        for process in tuple(self.processes):
            process.dies(signal.SIGKILL)
        self.pass_time(1)
        self.assertEqual(self.orders(self.processes[-1]), '{"provider": "local"}')

    async def never(self, text: str) -> None:
        await Deferred()

    def test_read_while_one_starts(self) -> None:
        """It has the old one, and is told when it serves."""
        late = self.restarted()
        old = self.orders(late)
        new = '{"provider": "local", "max_calls": 5}'
        self.reload(new)
        self.assertEqual((old, late.heard), ('{"provider": "local"}', []))
        self.serves(late)
        self.turn()
        self.assertEqual(late.heard, [("reload", new)])

    def test_not_while_it_ends(self) -> None:
        """As with one process."""
        self.parent.asked()
        self.turn()
        self.assertEqual(self.reload('{"provider": "local"}'), [["drain"]] * 2)


class RestartTests(SynchronousTestCase):
    @given(st.lists(st.floats(0, 300), min_size=1, max_size=60))
    def test_pauses(self, lives: list[float]) -> None:
        """Never longer than the longest; the shortest after a long life; twice as long after a short one."""
        restarts, before = Restarts(), 0.0
        for lived in lives:
            pause = restarts.pause_secs(lived)
            if lived >= STEADY_SECS or not before:
                self.assertEqual(pause, FIRST_PAUSE_SECS)
            else:
                self.assertEqual(pause, min(LONGEST_PAUSE_SECS, before * 2))
            before = pause


class UnavailableTests(ParentTestCase):
    def test_a_parent_that_hangs(self) -> None:
        """Half a second, and the worker does without."""
        process = self.processes[0]
        asking = Deferred.fromCoroutine(process.line.ask("board.count"))
        self.reactor.advance(0.5)
        self.failureResultOf(asking, StoreUnavailable)
