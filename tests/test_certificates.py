"""The certificate that serves, and how it is renewed: on a clock, then with real sockets."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.certificates import Authority, write_pair
from tests.dangers import shows
from voxray.certificates import DAY_SECS, LOOK_SECS, Certificates, notice, objection
from voxray.errors import ConfigError, ErrorKind, ProviderError
from voxray.metrics import TlsRecorder
from voxray.tls import Pair
from voxray.worker import ThreadWorker

DAY = 86_400.0


def pair(begins: float, ends: float) -> Pair:
    """Days from the epoch."""
    return Pair(None, begins * DAY, ends * DAY, ())  # type: ignore[arg-type]


class DecidingTests(SynchronousTestCase):
    """What the owner is told, and what may replace what."""

    def test_notice(self) -> None:
        """Nothing until two weeks before the end; then how long; then that it is over. Or not yet begun."""
        one = pair(10, 100)
        self.assertIsNone(notice(one, 86 * DAY))
        self.assertEqual(notice(one, 86 * DAY + 1), "expires on 1970-04-11, in 13 days: renew it")
        self.assertEqual(notice(one, 98.5 * DAY), "expires on 1970-04-11, in 1 day: renew it")
        self.assertEqual(notice(one, 99.5 * DAY), "expires on 1970-04-11, in 0 days: renew it")
        self.assertEqual(notice(one, 100 * DAY + 1), "expired on 1970-04-11: carriers refuse to connect")
        self.assertIn("is not valid before 1970-01-11", str(notice(one, 9 * DAY)))

    def test_objection(self) -> None:
        """One that is of no use now does not replace one that is; anything replaces one that is of none."""
        good, expired, early = pair(10, 100), pair(10, 40), pair(60, 200)
        self.assertIsNone(objection(good, good, 50 * DAY))
        self.assertEqual(
            objection(expired, good, 50 * DAY),
            "the new certificate expired on 1970-02-10: carriers refuse to connect",
        )
        self.assertIn("not valid before", str(objection(early, good, 50 * DAY)))
        self.assertIsNone(objection(early, expired, 50 * DAY))
        self.assertIsNone(objection(expired, early, 50 * DAY))


class Shelf:
    """The worker: the test decides when the disk answers."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []
        self.hangs = self.stopped = False
        self.jobs = 0

    async def run(self, work: Callable[[], Any]) -> Any:
        if self.stopped:
            raise ProviderError("certificates", ErrorKind.UNAVAILABLE, "stopped")
        self.jobs += 1
        if self.hangs:
            held: Deferred[Any] = Deferred()
            self.waiting.append(held)
            await held
        return work()


class Recorder:
    """What the metrics were told."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.until = 0.0

    def reloaded(self, outcome: str) -> None:
        self.outcomes.append(outcome)

    def serving_until(self, timestamp: float) -> None:
        self.until = timestamp


@shows("T23")
class ReloadTests(SynchronousTestCase):
    """`Certificates` on a clock, over real files."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.files = write_pair(self.directory, ends=30)
        self.clock, self.shelf, self.recorder = Clock(), Shelf(), Recorder()
        self.wall = time.time()
        self.certificates = self.make()
        self.lines: list[str] = []

    def make(self) -> Certificates:
        made = Certificates(*self.files, self.shelf, self.clock, lambda: self.wall, self.recorder)
        made.log = self  # type: ignore[assignment]  # it collects
        return made

    # -- a Logger
    def info(self, format: str, **fields: Any) -> None:
        self.lines.append(format.format(**fields))

    warn = error = info

    def failure(self, text: str, failure: Any = None) -> None:
        self.fail(f"{text}: {failure}")

    # -- what is seen
    def start(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.certificates.start()))
        self.addCleanup(lambda: self.successResultOf(Deferred.fromCoroutine(self.certificates.stop())))

    def looks(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.advance(LOOK_SECS)

    def served(self) -> Any:
        """The context that a new connection gets."""
        return self.certificates.serverConnectionForTLS(None).get_context()

    def days_in_metric(self) -> int:
        return round((self.recorder.until - self.wall) / DAY)

    # -- the tests
    def test_start(self) -> None:
        """It says what it serves with, once, and the metric has the date."""
        self.start()
        self.assertEqual(len(self.lines), 1)
        self.assertIn("certificate of localhost, 127.0.0.1, ::1, valid until", self.lines[0])
        self.assertEqual((self.days_in_metric(), self.recorder.outcomes), (30, []))
        self.looks(100)
        self.assertEqual(len(self.lines), 1)

    @shows("F61")
    def test_broken_at_the_start(self) -> None:
        """Then there is nothing to serve with: the daemon's own error."""
        Path(self.files[1]).unlink()
        self.assertRaises(ConfigError, self.make)

    def test_sighup(self) -> None:
        """A renewed pair is taken at once, and its date."""
        self.start()
        before = self.served()
        write_pair(self.directory, ends=60)
        self.certificates.reload()
        self.assertIsNot(self.served(), before)
        self.assertEqual((self.days_in_metric(), self.recorder.outcomes), (60, ["loaded"]))

    def test_file_change(self) -> None:
        """A renewed pair is taken when two looks have seen the same files, and then not again."""
        self.start()
        self.looks(3)
        before = self.served()
        write_pair(self.directory)
        self.looks()
        self.assertIs(self.served(), before)
        self.looks()
        self.assertIsNot(self.served(), before)
        self.looks(10)
        self.assertEqual(self.recorder.outcomes, ["loaded"])

    def test_old_clothes(self) -> None:
        """Another file of the same size and date (`cp -p`, a restored backup) is another file."""
        self.start()
        path = Path(self.files[1])
        before = path.stat()
        beside = path.with_name("beside")
        beside.write_bytes(b"x" * before.st_size)
        os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
        beside.replace(path)
        self.looks(2)
        self.assertEqual(self.recorder.outcomes, ["kept"])

    def test_half_written(self) -> None:
        """Certificate and key are replaced one after the other: what is between is not taken for broken."""
        self.start()
        other = write_pair(self.directory, "other")
        shutil.copy(other[0], self.files[0])
        self.looks()
        shutil.copy(other[1], self.files[1])
        self.looks(2)
        self.assertEqual(self.recorder.outcomes, ["loaded"])

    def test_links(self) -> None:
        """What certbot does: the names are links, and it is the links that change."""
        other = write_pair(self.directory, "other", ends=50)
        for name, target in zip(("live.crt", "live.key"), self.files, strict=True):
            (self.directory / name).symlink_to(target)
        self.files = str(self.directory / "live.crt"), str(self.directory / "live.key")
        self.certificates = self.make()
        self.start()
        before = self.served()
        for name, target in zip(("live.crt", "live.key"), other, strict=True):
            (self.directory / name).unlink()
            (self.directory / name).symlink_to(target)
        self.looks(2)
        self.assertIsNot(self.served(), before)

    def test_broken(self) -> None:
        """Garbage, another's key, a missing file, a wrong date: the old one stays; one line each."""
        self.start()
        good = [Path(file).read_bytes() for file in self.files]

        def garbage() -> None:
            Path(self.files[0]).write_bytes(b"garbage")

        def mismatch() -> None:
            shutil.copy(write_pair(self.directory, "other")[1], self.files[1])

        def missing() -> None:
            Path(self.files[1]).unlink()

        def expired() -> None:
            write_pair(self.directory, begins=-5, ends=-1)

        def early() -> None:
            write_pair(self.directory, begins=1, ends=5)

        for spoil, text in (
            (garbage, "no usable PEM certificate"),
            (mismatch, "is not the key"),
            (missing, "cannot read"),
            (expired, "the new certificate expired on"),
            (early, "the new certificate is not valid before"),
        ):
            for file, data in zip(self.files, good, strict=True):
                Path(file).write_bytes(data)
            self.recorder.outcomes.clear()
            self.certificates.reload()
            before = self.served()
            self.lines.clear()
            spoil()
            self.looks(5)
            self.assertEqual(len(self.lines), 1, self.lines)
            self.assertIn("the certificate stays the old one: ", self.lines[0])
            self.assertIn(text, self.lines[0])
            self.assertIs(self.served(), before)
            self.certificates.reload()
            self.assertEqual(len(self.lines), 2)  # asked again, it says so again
            self.assertEqual(self.recorder.outcomes, ["loaded", "kept", "kept"])

    def test_hung_disk(self) -> None:
        """A disk that does not answer gets one job, not one a look; a SIGHUP meanwhile is not forgotten."""
        self.start()
        before, self.shelf.hangs = self.served(), True
        jobs = self.shelf.jobs
        self.looks(100)
        self.assertEqual(self.shelf.jobs, jobs + 1)
        write_pair(self.directory)
        self.certificates.reload()
        self.certificates.reload()
        self.assertEqual(self.shelf.jobs, jobs + 1)
        self.shelf.hangs = False
        self.shelf.waiting.pop().callback(None)
        self.assertIsNot(self.served(), before)
        self.assertEqual(self.recorder.outcomes, ["loaded"])

    def test_stopped(self) -> None:
        """After the end nothing is looked at, and a late SIGHUP does no harm."""
        self.start()
        self.successResultOf(Deferred.fromCoroutine(self.certificates.stop()))
        self.shelf.stopped = True
        self.certificates.reload()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_expiry(self) -> None:
        """A warning once a day in the last two weeks, in louder words after the end, silence once renewed."""
        self.start()
        for _ in range(35):
            self.wall += DAY
            self.clock.advance(DAY_SECS)
            self.clock.advance(LOOK_SECS)
        told = self.lines[1:]
        self.assertEqual(len(told), 35 - 15, told)
        self.assertEqual(sum("expires on" in line for line in told), 14)
        self.assertEqual(sum("carriers refuse" in line for line in told), 6)
        write_pair(self.directory, ends=40)
        self.lines.clear()
        self.certificates.reload()
        self.assertEqual(["renew it" in line for line in self.lines], [False, True], self.lines)
        write_pair(self.directory, ends=90)
        self.certificates.reload()
        self.lines.clear()
        self.clock.advance(DAY_SECS)
        self.assertEqual(self.lines, [])

    def test_incomplete(self) -> None:
        """cert.pem instead of fullchain.pem is warned about."""
        crt, _ = write_pair(self.directory, authority=Authority())
        first, end, _ = Path(crt).read_bytes().partition(b"-----END CERTIFICATE-----\n")
        Path(crt).write_bytes(first + end)
        self.certificates = self.make()
        self.start()
        self.assertTrue(any("fullchain.pem" in line for line in self.lines))


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Client:
    """A blocking TLS connection, used in a thread."""

    def __init__(self, port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        raw = socket.create_connection(("127.0.0.1", port), 10)
        self.sock = context.wrap_socket(raw)

    @property
    def certificate(self) -> bytes | None:
        return self.sock.getpeercert(binary_form=True)

    def echo(self, text: bytes) -> bytes:
        self.sock.sendall(text)
        got = b""
        while len(got) < len(text) and (more := self.sock.recv(4096)):
            got += more
        return got


@shows("T23")
class SocketTests(TestCase):
    """T23 with sockets, threads and a disk."""

    timeout = 60

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.files = write_pair(self.directory)
        self.registry = CollectorRegistry()
        self.worker = ThreadWorker(reactor, "certificates", 1)  # type: ignore[arg-type]
        self.certificates = Certificates(
            *self.files,
            self.worker,
            reactor,
            time.time,
            TlsRecorder(self.registry),  # type: ignore[arg-type]
        )
        factory = TLSMemoryBIOFactory(self.certificates, False, Factory.forProtocol(Echo), reactor)  # type: ignore[arg-type]
        self.port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.clients: list[Client] = []

    async def tearDown(self) -> None:  # type: ignore[override]
        for client in self.clients:
            client.sock.close()
        await self.port.stopListening()
        await self.certificates.stop()
        await self.worker.stop()

    async def connect(self) -> Client:
        client: Client = await deferToThread(Client, self.port.getHost().port)
        self.clients.append(client)
        return client

    async def reload(self, outcome: str) -> None:
        before = self.registry.get_sample_value("voxray_tls_reload_total", {"outcome": outcome})
        self.certificates.reload()
        while self.registry.get_sample_value("voxray_tls_reload_total", {"outcome": outcome}) == before:
            await deferToThread(os.sched_yield)

    async def test_established_connections_go_on(self) -> None:
        """20 connections echo on through renewals and rubbish; new ones get the newest that can serve."""
        old = [await self.connect() for _ in range(20)]
        first = old[0].certificate
        write_pair(self.directory, kind="rsa")
        await self.reload("loaded")
        second = (await self.connect()).certificate
        self.assertNotEqual(second, first)
        Path(self.files[0]).write_bytes(b"-----BEGIN CERTIFICATE-----\nrubbish\n")
        await self.reload("kept")
        self.assertEqual((await self.connect()).certificate, second)
        write_pair(self.directory)
        await self.reload("loaded")
        self.assertNotIn((await self.connect()).certificate, (first, second))
        for number, client in enumerate(old):
            text = b"%d" % number * 5000
            self.assertEqual(await deferToThread(client.echo, text), text)
            self.assertEqual(client.certificate, first)
        self.flushLoggedErrors()
