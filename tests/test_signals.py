"""Signals, in this process, whose handlers are put back: none kills calls by surprise."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.signals import Signals


@shows("F52")
class HangUpTests(SynchronousTestCase):
    """SIGHUP: everything that can be read again is, whatever happens to one of them."""

    def setUp(self) -> None:
        self.handed_over: list[Callable[[], Any]] = []
        self.read: list[str] = []

    def signals(self, *on_hangup: Callable[[], None]) -> None:
        made = Signals(self.handed_over.append, on_hangup)
        self.addCleanup(made.restore)
        made.running()

    def test_in_order(self) -> None:
        """Each is called once for each signal, on the reactor's thread and not in the handler."""
        self.signals(lambda: self.read.append("one"), lambda: self.read.append("two"))
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual(self.read, [])
        for call in self.handed_over:
            call()
        self.assertEqual(self.read, ["one", "two"] * 2)

    def test_one_fails(self) -> None:
        """The failure is logged, and the next has its turn."""
        self.signals(lambda: self.read.append(str(1 // 0)), lambda: self.read.append("two"))
        os.kill(os.getpid(), signal.SIGHUP)
        self.handed_over.pop()()
        self.assertEqual(self.read, ["two"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_ignored(self) -> None:
        """Under nohup it stays ignored."""
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        self.signals(lambda: self.read.append("one"))
        os.kill(os.getpid(), signal.SIGHUP)
        self.assertEqual((self.handed_over, self.read), ([], []))
        self.assertIs(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)


@shows("F51")
class TermTests(SynchronousTestCase):
    """SIGTERM and SIGINT: told each time, and nothing else."""

    def setUp(self) -> None:
        self.handed_over: list[Callable[[], Any]] = []
        self.told = 0
        self.signals = Signals(self.handed_over.append, on_term=self.tell)
        self.addCleanup(self.signals.restore)

    def tell(self) -> None:
        self.told += 1

    def test_each_time(self) -> None:
        """Each is handed to the reactor's thread; the handler itself does nothing."""
        self.signals.reactor_runs()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        self.assertEqual(self.told, 0)
        for call in self.handed_over:
            call()
        self.assertEqual(self.told, 3)

    def test_before_the_reactor_runs(self) -> None:
        """Nothing is touched: the reactor would put its own handlers in place of ours."""
        before = signal.getsignal(signal.SIGTERM)
        self.signals.running()
        self.assertEqual(signal.getsignal(signal.SIGTERM), before)

    def test_ignored(self) -> None:
        """SIGINT of a job in a script's background is ignored, and stays so."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        self.signals.reactor_runs()
        self.assertIs(signal.getsignal(signal.SIGINT), signal.SIG_IGN)

    def test_restored(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        self.signals.reactor_runs()
        self.signals.restore()
        self.assertEqual(signal.getsignal(signal.SIGTERM), before)
