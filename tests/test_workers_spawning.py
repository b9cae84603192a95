"""How a worker process comes to be: its command, its environment, and what it is told."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import voxray
from voxray.config.source import Source
from voxray.listening import one_at_a_time
from voxray.serializers.strictjson import dumps, loads
from voxray.workers.orders import Orders
from voxray.workers.spawning import environment, words

HOME = str(Path(voxray.__file__).parent.parent)


class EnvironmentTests(SynchronousTestCase):
    def test_what_is_the_parents(self) -> None:
        """systemd's variables are not passed on; keys and credentials are."""
        theirs = {
            "NOTIFY_SOCKET": "@n",
            "WATCHDOG_USEC": "1",
            "WATCHDOG_PID": "1",
            "LISTEN_PID": "1",
            "LISTEN_FDS": "1",
            "LISTEN_FDNAMES": "x",
        }
        kept = {"CREDENTIALS_DIRECTORY": "/run/c", "OPENAI_API_KEY": "sk", "PYTHONFAULTHANDLER": "1"}
        made = environment({**theirs, **kept})
        self.assertEqual({name: made[name] for name in kept}, kept)
        self.assertEqual(theirs.keys() & made.keys(), set())

    def test_the_package(self) -> None:
        """This very package is found, where only the working directory led to it; nothing is said twice."""
        self.patch(sys, "path", [HOME, "/elsewhere"])
        self.assertEqual(environment({"PYTHONPATH": "/a"})["PYTHONPATH"], f"{HOME}:/a")
        self.assertEqual(environment({"PYTHONPATH": f"/a:{HOME}"})["PYTHONPATH"], f"/a:{HOME}")
        self.patch(sys, "path", ["/bin", HOME])
        self.assertEqual(environment({"PYTHONPATH": "/a"})["PYTHONPATH"], "/a")
        self.assertNotIn("PYTHONPATH", environment({}))

    def test_the_command(self) -> None:
        """The same interpreter; no module of the working directory takes the place of one of ours."""
        command = words()
        self.assertEqual((command[0], command[-2:]), (sys.executable, ["-m", "voxray.workers"]))
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        (directory / "voxray.py").write_text("raise SystemExit('hijacked')", encoding="utf-8")
        ended = subprocess.run(
            [*command[:-2], "-c", "import voxray.workers; print(voxray.workers.__file__)"],
            cwd=directory,
            env=environment(os.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertIn(os.path.join(HOME, "voxray", "workers"), ended.stdout + ended.stderr)

    def test_nobody_else(self) -> None:
        """Started by hand it ends, and serves nobody."""
        ended = subprocess.run(
            words(), env=environment(os.environ), stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        self.assertNotEqual(ended.returncode, 0)


class OrdersTests(SynchronousTestCase):
    @given(st.binary(), st.binary(), st.binary(), st.one_of(st.none(), st.text("ab/", max_size=9)))
    def test_round_trip(self, first: bytes, text: bytes, secret: bytes, path: str | None) -> None:
        """What the worker hears is what the parent said, whatever bytes the file holds."""
        orders = Orders(7, Source(path, {"port": "1"}, True, "/"), first, text, secret)
        self.assertEqual(Orders.heard(loads(dumps(orders.said()))), orders)
        self.assertEqual(orders.node, "w7")

    def test_not_shown(self) -> None:
        """Neither the secret nor the configuration, which has keys in it, is in a log."""
        orders = Orders(1, Source(), b"sk-first", b"sk-text", b"s3cret")
        for word in ("sk-first", "sk-text", "s3cret"):
            self.assertNotIn(word, repr(orders))


class QueueTests(SynchronousTestCase):
    def test_one_in_a_turn(self) -> None:
        """A burst is left to whoever is free, whatever Twisted made of the last one."""
        took: list[int] = []

        class Port:
            """What is used of Twisted's."""

            numberAccepts = 100

            def doRead(self) -> None:
                took.append(self.numberAccepts)
                self.numberAccepts += 20

        port: Any = Port()
        one_at_a_time(port)
        for _ in range(3):
            port.doRead()
        self.assertEqual(took, [1, 1, 1])

    def test_twisteds_own(self) -> None:
        """Twisted's port reads that number."""
        from twisted.internet import reactor
        from twisted.internet.protocol import Factory

        made: list[object] = []
        factory: Any = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda addr: made.append(addr)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.setblocking(False)
            port: Any = reactor.adoptStreamPort(listener.fileno(), listener.family, factory)  # type: ignore[attr-defined]
            self.addCleanup(port.stopListening)
            port.stopReading()
            one_at_a_time(port)
            callers = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        for count in (1, 2, 3):
            port.doRead()
            self.assertEqual(len(made), count)
        for caller in callers:
            caller.close()
