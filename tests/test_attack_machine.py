"""What the machine does to the real daemon: its clock is set, its threads are taken, its disk is full.

An honest call must hear, byte for byte, what it hears on a quiet day. `sitecustomize` gets the daemon to do
to itself, on SIGUSR2, what a file says.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.attackers import SCRIPTED, STOP, LiveDaemon, Sentinel, start
from tests.dangers import shows

HOOK = """
import os, signal, time
real, step = time.time, 0.0
time.time = lambda: real() + step
def told(*_):
    global step
    with open(os.environ["TEST_HOOK"]) as file:
        word, number = file.read().split()
    if word == "clock":
        step = float(number)
    elif word == "threads":
        from twisted.internet import reactor
        for _ in range(int(number)):
            reactor.callInThread(time.sleep, 4)
    os.unlink(os.environ["TEST_HOOK"])
signal.signal(signal.SIGUSR2, told)
"""
KEYS = "123"  # some seconds of answers
STEPS = (3_600.0, 0.0, -3_600.0, 0.0, 2.0, -2.0, 0.0)  # seconds beside the true time


class MachineTestCase(SynchronousTestCase):
    """One daemon, with a way in for the tests."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).absolute()
        (directory / "hook").mkdir(parents=True)
        (directory / "hook" / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
        self.hook = directory / "told"
        self.daemon = LiveDaemon(directory, {**SCRIPTED, "start_timeout_secs": 10}, TEST_HOOK=str(self.hook))
        self.daemon._environ["PYTHONPATH"] += f"{os.pathsep}{directory / 'hook'}"
        self.addCleanup(self.daemon.stop)
        self.daemon.start()

    def tell(self, what: str) -> None:
        self.hook.with_suffix(".new").write_text(what, encoding="utf-8")
        self.hook.with_suffix(".new").rename(self.hook)
        self.daemon.process.send_signal(signal.SIGUSR2)
        self.daemon.until(lambda: not self.hook.exists())

    def call(self, number: int) -> Sentinel:
        sentinel = Sentinel(self.daemon, number, KEYS)
        sentinel.start()
        return sentinel

    def heard(self, sentinel: Sentinel) -> str:
        """All of a call that went as it should."""
        sentinel.join(60)
        self.assertEqual((sentinel.error, sentinel.code, sentinel.clears), ("", 1000, 0))
        return sentinel.checksum

    def undisturbed(self) -> None:
        self.assertNotIn("Traceback", self.daemon.log())


class MachineTests(MachineTestCase):
    """Two calls at once in each: one goes on through it, and is compared with one of before it."""

    @shows("F50")
    def test_the_clock_is_set(self) -> None:
        """By an hour and by two seconds, either way: no packet is missing, and a new call is taken."""
        quiet = self.heard(self.call(1))
        stepped = self.call(2)
        for step in STEPS:
            self.tell(f"clock {step}")
            time.sleep(0.4)  # the call goes on in real time
        self.tell("clock -3600")
        late = self.call(3)
        self.assertEqual([self.heard(stepped), self.heard(late)], [quiet] * 2)
        self.undisturbed()

    @shows("F59")
    def test_no_thread_is_free(self) -> None:
        """Ten jobs and more hold every thread of the reactor's pool: calls begin and go on as ever."""
        quiet = self.heard(self.call(1))
        going_on = self.call(2)
        time.sleep(0.5)
        self.tell("threads 40")
        beginning = self.call(3)
        self.assertEqual([self.heard(going_on), self.heard(beginning)], [quiet] * 2)
        self.undisturbed()


@shows("F54")
class FullDiskTests(SynchronousTestCase):
    """A file system of a few pages, as root can have one."""

    def setUp(self) -> None:
        self.disk = Path(self.mktemp()).absolute()
        self.disk.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(self.disk)]
        if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
            raise SkipTest("only root may mount a small file system")
        self.addCleanup(subprocess.run, ["umount", "-l", str(self.disk)], check=True)

    def test_records(self) -> None:
        """Calls go on; the records that do not fit are counted, later ones, once there is room, are not."""
        path = self.disk / "cdr.jsonl"
        daemon = LiveDaemon(
            Path(self.mktemp()).absolute(), {**SCRIPTED, "start_timeout_secs": 10, "cdr_file": str(path)}
        )
        self.addCleanup(daemon.stop)
        daemon.start()
        ballast = self.disk / "ballast"
        with ballast.open("wb", buffering=0) as file, self.assertRaises(OSError):
            while True:
                file.write(bytes(512))
        sentinel = Sentinel(daemon, 99)
        sentinel.start()
        for number in range(20):
            self.short_call(daemon, number)
        daemon.until(lambda: daemon.metric("voxray_cdr_lost_total") > 0)
        sentinel.join(30)
        self.assertEqual((sentinel.error, sentinel.code), ("", 1000))
        ballast.unlink()
        lost = daemon.metric("voxray_cdr_lost_total")
        self.short_call(daemon, 50)
        daemon.until(lambda: f"CA{50:032x}" in path.read_text())
        self.assertEqual(daemon.metric("voxray_cdr_lost_total"), lost)
        self.assertNotIn("Traceback", daemon.log())
        self.assertEqual(daemon.stop(), 0)

    def short_call(self, daemon: LiveDaemon, number: int) -> None:
        peer = daemon.peer()
        peer.send(start(number), STOP)
        self.assertEqual(peer.close_code(), 1000)
        peer.close()
