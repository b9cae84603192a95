"""Signals, in this process, whose handlers are put back: none kills calls by surprise."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from voxray.signals import Signals


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


class TermTests(SynchronousTestCase):
    def test_a_second_sigterm(self) -> None:
        """Once the end has begun, SIGTERM and SIGINT are lines in the log."""
        told: list[str] = []
        signals = Signals(lambda function, text: told.append(text))
        self.addCleanup(signals.restore)
        before = signal.getsignal(signal.SIGTERM)
        signals.stopping()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        self.assertEqual(told, ["already stopping"] * 2)
        signals.restore()
        self.assertEqual(signal.getsignal(signal.SIGTERM), before)
