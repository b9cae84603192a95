"""What systemd hears of the daemon, on a real datagram socket; the sockets and secrets that it hands over."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.attackers import SCRIPTED, LiveDaemon, start
from tests.configs import loaded
from tests.dangers import shows
from voxray.errors import ConfigError
from voxray.listening import adopt, chosen, passed
from voxray.systemd import Notify

ROOT = Path(__file__).parents[1]


class Manager:
    """systemd's end of the socket."""

    def __init__(self, case: SynchronousTestCase, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        case.addCleanup(self._socket.close)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.settimeout(0)

    def heard(self, secs: float = 0.0) -> list[str]:
        """The next message, as lines; nothing when none comes in that time."""
        self._socket.settimeout(secs)
        try:
            return self._socket.recv(4096).decode().split("\n")
        except (BlockingIOError, TimeoutError):
            return []

    def close(self) -> None:
        self._socket.close()


class NotifyTests(SynchronousTestCase):
    """The sender, by itself."""

    def setUp(self) -> None:
        self.clock = Clock()
        # An abstract name: a path of trial's may be longer than such an address can be.
        self.manager = Manager(self, f"@voxray-test-{os.getpid()}-{id(self)}")

    def notify(self, **environ: str) -> Notify:
        made = Notify.of({"NOTIFY_SOCKET": self.manager.address, **environ}, self.clock)
        self.addCleanup(made.unwatch)
        return made

    def test_states(self) -> None:
        """Each change of state is one message, in systemd's words."""
        notify = self.notify()
        notify.ready()
        self.assertEqual(self.manager.heard(), ["READY=1"])
        self.clock.advance(1.5)
        notify.reloading()
        self.assertEqual(self.manager.heard(), ["RELOADING=1", "MONOTONIC_USEC=1500000"])
        notify.stopping()
        self.assertEqual(self.manager.heard(), ["STOPPING=1"])
        notify.extend(330)
        self.assertEqual(self.manager.heard(), ["EXTEND_TIMEOUT_USEC=330000000"])

    @shows("F55")
    def test_watchdog(self) -> None:
        """The watchdog is fed at half its period, for as long as the reactor runs."""
        notify = self.notify(WATCHDOG_USEC="4000000", WATCHDOG_PID=str(os.getpid()))
        notify.watch(lambda: "")
        self.assertEqual(self.manager.heard(), ["WATCHDOG=1"])
        self.clock.advance(1.9)
        self.assertEqual(self.manager.heard(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.manager.heard(), ["WATCHDOG=1"])
        notify.stopping()
        self.manager.heard()
        self.clock.advance(2)
        self.assertEqual(self.manager.heard(), ["WATCHDOG=1"])
        notify.unwatch()
        self.clock.advance(10)
        self.assertEqual((self.manager.heard(), self.clock.getDelayedCalls()), ([], []))

    def test_watchdog_of_several(self) -> None:
        """It is fed while whoever asks for it says that all are alive; the status is told all the same."""
        alive = [True]
        notify = self.notify(WATCHDOG_USEC="4000000")
        self.assertEqual(notify.watchdog_secs, 4.0)
        notify.watch(lambda: f"alive: {alive[0]}", lambda: alive[0])
        self.assertEqual(self.manager.heard(), ["WATCHDOG=1", "STATUS=alive: True"])
        alive[0] = False
        self.clock.advance(2)
        self.assertEqual(self.manager.heard(), ["STATUS=alive: False"])
        self.clock.advance(2)
        self.assertEqual(self.manager.heard(), [])

    def test_watchdog_of_another(self) -> None:
        """A watchdog that is meant for another process, or is no number, is not fed."""
        for environ in ({"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}):
            notify = self.notify(**{"WATCHDOG_USEC": "4000000", **environ})
            notify.watch(lambda: "")
            self.clock.advance(10)
            self.assertEqual(self.manager.heard(), [], environ)

    def test_status(self) -> None:
        """The status is sent when it changes, on one line, with whatever is sent next."""
        texts = ["answering, 0 calls"]
        notify = self.notify()
        notify.watch(lambda: texts[-1])
        self.assertEqual(self.manager.heard(), ["STATUS=answering, 0 calls"])
        self.clock.advance(5)
        self.assertEqual(self.manager.heard(), [])
        texts.append("answering,\n1 call")
        notify.ready()
        self.assertEqual(self.manager.heard(), ["READY=1", "STATUS=answering, 1 call"])

    def test_path(self) -> None:
        """An address is a path, too."""
        directory = Path(self.mktemp())
        directory.mkdir()
        self.manager = Manager(self, os.path.relpath(directory / "n"))
        self.manager.address = str(Path(self.manager.address).absolute())
        if len(self.manager.address) > 100:
            self.manager.address = f"/proc/self/cwd/{os.path.relpath(directory / 'n')}"
        self.notify().ready()
        self.assertEqual(self.manager.heard(), ["READY=1"])

    def test_nobody(self) -> None:
        """Without systemd, or with an address that is none, nothing is sent and nothing runs."""
        for address in ("", "vsock:2:1234", "relative"):
            notify = Notify.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "4000000"}, self.clock)
            notify.ready()
            notify.watch(lambda: "x")
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gone(self) -> None:
        """A manager that does not listen is one line in the log, and no error at any beat."""
        notify = self.notify(WATCHDOG_USEC="4000000")
        self.manager.close()
        notify.ready()
        notify.watch(lambda: "x")
        self.clock.advance(2)

    def test_full(self) -> None:
        """A manager that does not read costs no waiting."""
        notify = self.notify()
        for _ in range(5_000):  # far over net.unix.max_dgram_qlen
            notify.ready()
        self.assertEqual(self.manager.heard(), ["READY=1"])


class PassedTests(SynchronousTestCase):
    """The choice among sockets that systemd passed."""

    def refused(self, listen: str, found: list[tuple[str, int]]) -> str:
        return str(self.assertRaises(ConfigError, chosen, listen, found))

    def test_environment(self) -> None:
        """Sockets are ours when their variables name our process; names may be absent."""
        ours = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}
        self.assertEqual(passed({**ours, "LISTEN_FDNAMES": "web:other"}), [("web", 3), ("other", 4)])
        self.assertEqual(passed(ours), [("", 3), ("", 4)])
        for wrong in ({}, {**ours, "LISTEN_PID": "1"}, {**ours, "LISTEN_FDS": "-1"}):
            self.assertEqual(passed(wrong), ())

    def test_choice(self) -> None:
        """None, the only one, one by name or by number; Twisted's spelling too."""
        two = [("web", 3), ("other", 4)]
        self.assertIsNone(chosen("", []))
        self.assertEqual(chosen("", [("web", 3)]), 3)
        self.assertEqual(chosen("systemd:", [("web", 3)]), 3)
        self.assertEqual(chosen("systemd:name=other", two), 4)
        self.assertEqual(chosen("systemd:domain=INET6:index=1", two), 4)

    def test_mistakes(self) -> None:
        """A socket that is asked for and not there is an error: nothing else is listened on instead."""
        two = [("web", 3), ("", 4)]
        self.assertIn("systemd passed no socket", self.refused("systemd:", []))
        self.assertIn("systemd passed 2 sockets (web, unnamed)", self.refused("", two))
        for listen in ("systemd:name=x", "systemd:index=2", "systemd:index=-1", "systemd:index=one"):
            self.assertIn("no such socket, but: web, unnamed", self.refused(listen, two))
        for listen in ("tcp:80", "8080", "systemd:port=80"):
            self.assertIn("--listen must be systemd:", self.refused(listen, two))

    def test_no_listener(self) -> None:
        """What is no listening TCP socket is refused, and stays open: it is not ours."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        self.assertIn("cannot be used", str(self.assertRaises(ConfigError, adopt, reader)))
        for family, kind in ((socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)):
            with socket.socket(family, kind) as wrong:
                text = str(self.assertRaises(ConfigError, adopt, wrong.fileno()))
                self.assertIn("no listening TCP socket", text)
                wrong.getsockname()


class SecretTests(SynchronousTestCase):
    """`credential:NAME` in the configuration."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def put(self, name: str, data: bytes) -> None:
        (self.directory / name).write_bytes(data)

    def key(self, value: object) -> str:
        """What becomes of api_keys.openai."""
        made = loaded({"api_keys": {"openai": value}}, CREDENTIALS_DIRECTORY=str(self.directory))
        return made.settings.providers.api_keys["openai"]

    def refused(self, value: object, **environ: str) -> str:
        environ = environ or {"CREDENTIALS_DIRECTORY": str(self.directory)}
        return str(self.assertRaises(ConfigError, loaded, {"api_keys": {"openai": value}}, **environ))

    def test_named(self) -> None:
        """The key is what the file of that name holds, without the newline at its end."""
        self.put("openai", b"sk-1\n")
        self.assertEqual(self.key("credential:openai"), "sk-1")
        self.assertEqual(self.key("sk-2"), "sk-2")

    def test_spelling_of_our_unit(self) -> None:
        """A directory that is loaded as a whole puts its own name before each."""
        self.put("voxray_openai", b"sk-1")
        self.assertEqual(self.key("credential:openai"), "sk-1")

    def test_every_secret(self) -> None:
        """Every key that is secret can name one; in lists and in variables too."""
        self.put("a", b"first")
        self.put("b", b"second")
        environ = {"CREDENTIALS_DIRECTORY": str(self.directory), "VOXRAY_STREAM_SECRET": "credential:b"}
        made = loaded({"server_api_key": ["credential:a", "plain"]}, **environ).settings
        self.assertEqual(made.server.server_api_keys, ("first", "plain"))
        self.assertEqual(made.calls.stream_secret, "second")
        environ |= {"GROQ_API_KEY": "credential:a"}
        self.assertEqual(loaded({}, **environ).settings.providers.api_keys["groq"], "first")

    def test_mistakes(self) -> None:
        """What is not there, or no secret, is told by the key's name and never by what the file holds."""
        self.put("empty", b"\n")
        self.put("binary", b"\xff\xfe")
        self.put("large", b"x" * 20_000)
        self.put("spaces", b"two words")
        self.assertIn("put it into /etc/voxray/credentials/openai", self.refused("credential:openai"))
        for name in ("empty", "binary", "large"):
            self.assertIn(f"credential {name} is empty, not text", self.refused(f"credential:{name}"))
        self.assertNotIn("two words", self.refused("credential:spaces"))
        for name in ("", "../openai", "a/b", ".", "a b"):
            self.assertIn("is no name of a credential", self.refused(f"credential:{name}"))
        self.assertIn("but there are none", self.refused("credential:openai", HOME="/"))
        (self.directory / "directory").mkdir()
        self.assertIn("cannot be read", self.refused("credential:directory"))


class LiveTests(SynchronousTestCase):
    """The real daemon under a manager of ours."""

    def setUp(self) -> None:
        self.manager = Manager(self, f"@voxray-test-{os.getpid()}-{id(self)}")
        self.directory = Path(self.mktemp()).absolute()

    def daemon(self, **settings: object) -> LiveDaemon:
        made = LiveDaemon(
            self.directory,
            {**SCRIPTED, **settings},
            NOTIFY_SOCKET=self.manager.address,
            WATCHDOG_USEC="1000000",
        )
        self.addCleanup(made.stop)
        return made

    @shows("F51", "F52")
    def test_life(self) -> None:
        """READY when a call would be answered, not before; watchdog and calls; a reload; STOPPING."""
        daemon = self.daemon()
        daemon.launch()
        patience = time.monotonic() + 30
        words: list[str] = []
        while "READY=1" not in words and time.monotonic() < patience:
            words += self.manager.heard(30)
        self.assertIn("READY=1", words)
        self.assertEqual(daemon.get("/ready")[0], 200)
        peer = daemon.peer()
        self.addCleanup(peer.close)
        peer.send({"event": "connected"}, start(1))
        patience = time.monotonic() + 10
        said: list[str] = []
        while "STATUS=answering, 1 call" not in said and time.monotonic() < patience:
            said += self.manager.heard(5)
        self.assertIn("STATUS=answering, 1 call", said)
        self.assertIn("WATCHDOG=1", said)
        daemon.process.send_signal(signal.SIGHUP)
        while "READY=1" not in said and time.monotonic() < patience:
            said += self.manager.heard(5)
        self.assertIn("READY=1", said[said.index("RELOADING=1") :])
        daemon.process.terminate()
        while "STOPPING=1" not in said and time.monotonic() < patience:
            said += self.manager.heard(5)
        self.assertIn("STOPPING=1", said)

    @shows("F61")
    def test_cannot_start(self) -> None:
        """A daemon that cannot start never says that it is ready."""
        daemon = self.daemon(tts_provider="local", tts_voice="bob")
        daemon.launch()
        self.assertEqual(daemon.process.wait(30), 1)
        said: list[str] = []
        while more := self.manager.heard():
            said += more
        self.assertNotIn("READY=1", said)

    def test_passed_socket(self) -> None:
        """The daemon answers on the socket it was passed, and not on its configuration's port."""
        with socket.socket() as ours:
            ours.bind(("127.0.0.1", 0))
            ours.listen()
            port = ours.getsockname()[1]
            daemon = self.daemon()
            configured = daemon.port
            daemon.launch_on(ours)
        daemon.port = port
        daemon.wait_ready()
        daemon.port = configured
        self.assertEqual(daemon.get("/ready")[0], 0)
        self.assertIn(f"answering on 127.0.0.1 port {port}", daemon.log())
