"""`workers: 2` on the real daemon: a parent, two workers, one port.

To say which worker gets a connection the test stops the other one for a moment: the port is shared, and who
does not run accepts nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.attackers import ROOT, SCRIPTED, STOP, LiveDaemon, Peer, start
from tests.certificates import write_pair
from tests.dangers import shows
from tests.test_systemd import Manager
from tests.wsframes import TEXT, handshake
from voxray.simulator.daemon import free_port

KEY = "owner-key"
CALLS = 20


class Workers(LiveDaemon):
    """The parent's process is `process`."""

    def pids(self) -> dict[int, int]:
        """Each worker's process, by its number: the last that was started."""
        found = re.findall(r"worker (\d+) is process (\d+)", self.log())
        return {int(number): int(pid) for number, pid in found}

    @contextlib.contextmanager
    def only(self, number: int) -> Iterator[None]:
        """Who connects meanwhile gets this worker."""
        others = [pid for other, pid in self.pids().items() if other != number]
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
            self.until(lambda pid=pid: _state(pid) in "TZ")
        try:
            yield
        finally:
            for pid in others:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def asks(
        self, path: str, body: bytes | None = None, method: str | None = None, **headers: str
    ) -> tuple[int, bytes]:
        url = f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}{path}"
        headers = {"Authorization": f"Bearer {KEY}", "Host": "bot.example.com", **headers}
        request = urllib.request.Request(url, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10, context=self.tls) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read()

    def calls(self) -> list[Any]:
        status, body = self.asks("/api/v1/calls")
        assert status == 200, status
        return list(json.loads(body)["data"]["calls"])

    def rings(self, number: int) -> str:
        """The webhook of a call; the path of its stream."""
        form = f"CallSid=CA{number:032x}&From=%2B15551234567&To=%2B15557654321"
        status, answer = self.asks(
            "/", form.encode(), **{"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert status == 200, (status, answer)
        stream = ET.fromstring(answer).find("Connect/Stream")
        assert stream is not None, answer
        return "/" + stream.attrib["url"].split("/", 3)[3]

    def stream(self, path: str) -> Peer:
        return Peer(self.connect(), handshake().replace(b"/telephony/ws", path.encode(), 1))


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


class Case(SynchronousTestCase):
    document: ClassVar[dict[str, object]] = {
        **SCRIPTED,
        "workers": 2,
        "server_api_key": KEY,
        "log_level": "info",
        "start_timeout_secs": 10.0,
    }

    def made(self, environ: dict[str, str] | None = None, **document: object) -> Workers:
        directory = Path(self.mktemp()).absolute()
        made = Workers(directory, {**self.document, **document}, **(environ or {}))
        self.addCleanup(self.end, made)
        return made

    def daemon(self, **document: object) -> Workers:
        made = self.made(**document)
        made.start()
        return made

    def end(self, daemon: Workers) -> None:
        daemon.stop()
        for pid in daemon.pids().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def up(self, daemon: Workers, number: int, path: str = "/telephony/ws") -> Peer:
        """A call that was greeted."""
        peer = daemon.stream(path)
        self.addCleanup(peer.close)
        peer.send({"event": "connected"}, start(number))
        got = peer.next()
        assert got is not None and got[0] == TEXT, (got, daemon.log())
        return peer

    def counts(self, daemon: Workers, name: str, value: float) -> None:
        """A metric of all. A worker that is late is missing in one answer, and there in the next."""
        daemon.until(lambda: daemon.metric(name) == value)

    def over(self, peer: Peer) -> None:
        peer.send(STOP)
        self.assertEqual(peer.close_code(), 1000)


class CallsTests(Case):
    """Whichever worker is asked."""

    def test_calls_over_two_workers(self) -> None:
        """Webhooks at one, streams at the other, both ways; all are one daemon's; the end is orderly."""
        daemon = self.daemon(telephony_auth="token")
        paths: dict[int, str] = {}
        for number in range(CALLS):
            with daemon.only(1 + number % 2):
                paths[number] = daemon.rings(number)
        peers: list[Peer] = []
        for number, path in paths.items():
            with daemon.only(2 - number % 2):
                peers.append(self.up(daemon, number, path))
        for peer in peers:
            peer.must_answer()
        for number in (1, 2):
            with daemon.only(number):  # the other's calls are missing then, and it is said so
                data = json.loads(daemon.asks("/api/v1/calls")[1])["data"]
                self.assertEqual((len(data["calls"]), data.get("incomplete")), (CALLS / 2, True))
        for _ in range(6):
            self.assertEqual(len(daemon.calls()), CALLS)
            self.counts(daemon, "voxray_calls_active", CALLS)
        self.counts(daemon, "voxray_calls_started_total", CALLS)
        self.counts(daemon, "voxray_workers", 2)
        self.counts(daemon, "voxray_up", 1)
        for peer in peers:
            self.over(peer)
        daemon.until(lambda: not daemon.calls())
        self.counts(daemon, "voxray_calls_ended_total", CALLS)
        self.assertEqual(daemon.stop(), 0)
        self.assertNotIn("Traceback", daemon.log())

    @shows("T5")
    def test_one_token(self) -> None:
        """It opens one stream, whichever workers compete for it."""
        daemon = self.daemon(telephony_auth="token")
        for number in range(6):
            path = daemon.rings(number)
            sockets: list[Peer] = []
            for worker in (1, 2):
                with daemon.only(worker):
                    sockets.append(daemon.stream(path))
            for peer in sockets:
                self.addCleanup(peer.close)
                peer.send({"event": "connected"}, start(number))
            first = [peer.next() for peer in sockets]
            self.assertEqual(sorted(got is not None and got[0] == 1 for got in first), [False, True])
        self.counts(daemon, "voxray_calls_active", 6)

    @shows("T5")
    def test_a_newer_stream(self) -> None:
        """It takes the call over, and the older one, at the other worker, ends at once."""
        daemon = self.daemon(telephony_auth="token")
        paths = []
        for worker in (1, 2):
            with daemon.only(worker):
                paths.append(daemon.rings(1))
        with daemon.only(1):
            older = self.up(daemon, 1, paths[0])
        with daemon.only(2):
            newer = self.up(daemon, 1, paths[1])
        self.assertEqual(older.close_code(2.0), 1000)  # its lease would tell it within four
        newer.must_answer()
        self.assertEqual(len(daemon.calls()), 1)

    @shows("F58")
    def test_max_calls(self) -> None:
        """It is the limit of all together, to the call."""
        daemon = self.daemon(max_calls=7)
        peers = []
        for number in range(24):
            with daemon.only(1 + number % 2) if number < 6 else contextlib.nullcontext():
                peers.append(daemon.peer())
            self.addCleanup(peers[-1].close)
        for number, peer in enumerate(peers):
            peer.send({"event": "connected"}, start(number))
        answers = [peer.next() for peer in peers]
        self.assertEqual(sum(got is not None and got[0] == 1 for got in answers), 7)
        self.assertEqual(len(daemon.calls()), 7)

    def test_a_call_at_the_other(self) -> None:
        """It is shown, and ended, by whoever is asked; one that is nowhere is not found."""
        daemon = self.daemon()
        with daemon.only(1):
            peer = self.up(daemon, 1)
        [call] = daemon.calls()
        path = f"/api/v1/calls/{call['id']}"
        for _ in range(6):
            self.assertEqual(json.loads(daemon.asks(path)[1])["data"]["call_sid"], call["call_sid"])
        with daemon.only(2):  # the one that has it does not answer
            self.assertEqual(daemon.asks(path)[0], 503)
            self.assertEqual(daemon.asks(path, method="DELETE")[0], 503)
        seen = daemon.log().count("DELETE")
        while daemon.asks(path, method="DELETE")[0] == 200 and daemon.log().count("DELETE") < seen + 9:
            continue
        self.assertEqual(peer.close_code(), 1000)
        daemon.until(lambda: daemon.asks(path)[0] == 404)

    def test_sessions(self) -> None:
        """Started at one, found at the other; an Idempotency-Key is answered as the first time."""
        daemon = self.daemon()
        bodies = []
        for worker in (1, 2, 1):
            with daemon.only(worker):
                status, body = daemon.asks("/start", b'{"body": {"a": 1}}', **{"Idempotency-Key": "k"})
                self.assertEqual(status, 201)
                bodies.append(body)
        self.assertEqual(bodies[1:], bodies[:1] * 2)
        session = json.loads(bodies[0])["data"]["sessionId"]
        for worker in (1, 2):
            with daemon.only(worker):
                status, body = daemon.asks(f"/sessions/{session}/api/offer", b"{}")
                self.assertEqual((status, b"Rooms" in body), (503, True))


class LossTests(Case):
    """Workers that die or hang."""

    @shows("F53")
    def test_killed(self) -> None:
        """The other's calls hear nothing of it; places are free at once; counters go on; it is back."""
        daemon = self.daemon(max_calls=4)
        peers: dict[int, list[Peer]] = {1: [], 2: []}
        for number in range(4):
            with daemon.only(1 + number % 2):
                peers[1 + number % 2].append(self.up(daemon, number))
        self.counts(daemon, "voxray_calls_started_total", 4)
        victim = daemon.pids()[1]
        os.kill(victim, signal.SIGKILL)
        for peer in peers[1]:
            self.assertIsNone(peer.close_code())
        daemon.until(lambda: "worker 1 ended (signal 9) with 2 calls" in daemon.log())
        self.assertEqual(len(daemon.calls()), 2)
        self.counts(daemon, "voxray_calls_started_total", 4)  # nothing counted is lost
        with daemon.only(2):
            new = [self.up(daemon, number) for number in (10, 11)]  # the dead one's places
        for peer in (*peers[2], *new):
            peer.must_answer()
        daemon.until(lambda: daemon.metric("voxray_workers") == 2, 20)
        self.assertNotEqual(daemon.pids()[1], victim)
        self.counts(daemon, "voxray_worker_restarts_total", 1)
        for peer in (*peers[2], *new):
            self.over(peer)
        with daemon.only(1):
            self.over(self.up(daemon, 20))
        self.counts(daemon, "voxray_calls_started_total", 7)

    @shows("F55")
    def test_hangs(self) -> None:
        """Under a watchdog it is killed, saying where it hung, and replaced; the rest serves on."""
        manager = Manager(self, f"@voxray-test-{os.getpid()}-{id(self)}")
        daemon = self.made({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000"}, log_level="debug")
        daemon.launch()
        said: list[str] = []
        patience = time.monotonic() + 30
        while "READY=1" not in said and time.monotonic() < patience:
            said += manager.heard(1)
        self.assertEqual(daemon.get("/ready")[0], 200)  # not before both listen
        self.assertEqual(len(daemon.pids()), 2)
        with daemon.only(2):
            peer = self.up(daemon, 1)
        victim = daemon.pids()[1]
        os.kill(victim, signal.SIGSTOP)
        fed: list[float] = []
        patience = time.monotonic() + 20
        while daemon.pids()[1] == victim and time.monotonic() < patience:
            if "WATCHDOG=1" in (more := manager.heard(0.5)):
                fed.append(time.monotonic())
            said += more
        self.assertRegex(daemon.log(), r"worker 1 has not answered for \d s: it is killed")
        self.assertIn("worker 1 ended (signal", daemon.log())
        self.assertLess(max(b - a for a, b in pairwise(fed)), 3.0)
        peer.must_answer()
        daemon.until(lambda: "worker 1 serves again" in daemon.log(), 20)
        patience = time.monotonic() + 10
        while "STATUS=answering, 1 call, 2 workers" not in said and time.monotonic() < patience:
            said += manager.heard(1)
        self.assertIn("STATUS=answering, 1 call, 2 workers", said)
        self.over(peer)

    def test_the_parent_is_killed(self) -> None:
        """Workers finish their calls and go; the port is free at once, for a successor."""
        daemon = self.daemon(drain_timeout_secs=60)
        peer = self.up(daemon, 1)
        pids = daemon.pids().values()
        daemon.process.kill()
        daemon.process.wait()
        peer.must_answer()
        daemon.until(lambda: daemon.get("/health")[0] == 0)
        successor = self.made(port=daemon.port, drain_timeout_secs=60)
        successor.start()
        peer.must_answer()
        self.over(self.up(successor, 2))
        self.over(peer)
        daemon.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 10)

    @shows("F61")
    def test_cannot_start(self) -> None:
        """One line, status 1, and no process is left."""
        for document, text in (
            ({"tts_provider": "local", "tts_voice": "bob"}, "bob"),
            (
                {"tls_enable": True, "tls_cert_file": "/nowhere.crt", "tls_key_file": "/nowhere.key"},
                "nowhere",
            ),
        ):
            daemon = self.made(**document)
            daemon.launch()
            self.assertEqual(daemon.process.wait(30), 1)
            lines = [line for line in daemon.log().splitlines() if "#critical]" in line or "voxray: " in line]
            self.assertEqual(len(lines), 1, daemon.log())
            self.assertIn(text, lines[0])
            self.assertNotIn("Traceback", daemon.log())
            self.assertFalse([pid for pid in daemon.pids().values() if Path(f"/proc/{pid}").exists()])


class OrderTests(Case):
    """What the parent is told by signal."""

    @shows("F51")
    def test_drain(self) -> None:
        """Calls finish, a stream that was announced comes still, nobody new is let in; the status is 0."""
        daemon = self.daemon(telephony_auth="token", drain_timeout_secs=60)
        peers = []
        for number in range(4):
            with daemon.only(1 + number % 2):
                peers.append(self.up(daemon, number, daemon.rings(number)))
        with daemon.only(1):
            path = daemon.rings(9)
        daemon.process.terminate()
        daemon.until(lambda: daemon.get("/ready")[0] == 503)
        for worker in (1, 2):
            with daemon.only(worker):
                self.assertEqual(daemon.get("/ready")[0], 503)
        with daemon.only(2):
            peers.append(self.up(daemon, 9, path))
        self.assertEqual(daemon.asks("/", b"CallSid=CA1&From=1&To=2")[0], 503)
        for peer in peers:
            peer.must_answer()
            self.over(peer)
        self.assertEqual(daemon.process.wait(10), 0)
        self.assertEqual(daemon.log().count("ended, caller_hangup"), 5)

    def test_twice(self) -> None:
        """The second SIGTERM ends all calls, at both."""
        daemon = self.daemon(drain_timeout_secs=60)
        peers = []
        for number in (1, 2):
            with daemon.only(number):
                peers.append(self.up(daemon, number))
        daemon.process.terminate()
        daemon.until(lambda: daemon.get("/ready")[0] == 503)
        daemon.process.terminate()
        self.assertEqual([peer.close_code() for peer in peers], [1001, 1001])
        self.assertEqual(daemon.process.wait(10), 0)

    def test_terminal(self) -> None:
        """Ctrl-C reaches all processes at once, and is one order: calls go on."""
        daemon = self.daemon(drain_timeout_secs=60)
        peer = self.up(daemon, 1)
        for pid in (*daemon.pids().values(), daemon.process.pid):
            os.kill(pid, signal.SIGINT)
        daemon.until(lambda: daemon.get("/ready")[0] == 503)
        peer.must_answer()
        self.over(peer)
        self.assertEqual(daemon.process.wait(10), 0)

    @shows("F52")
    def test_reload(self) -> None:
        """Both get the new configuration; a bad one is neither's, and a worker that starts later has the good
        one; the service manager hears of one reload."""
        manager = Manager(self, f"@voxray-test-{os.getpid()}-{id(self)}")
        daemon = self.made({"NOTIFY_SOCKET": manager.address})
        daemon.start()
        good = json.loads(daemon.config.read_text(encoding="utf-8"))
        while manager.heard():
            continue
        loaded, kept = (
            f'voxray_config_reload_total{{outcome="{outcome}"}}' for outcome in ("loaded", "kept")
        )
        self.reload(daemon, json.dumps({**good, "server_api_key": "new", "workers": 5}).encode())
        self.assertEqual(self.keys(daemon), {(1, 401), (2, 401)})
        self.counts(daemon, loaded, 1)
        self.counts(daemon, kept, 0)
        said = [word for _ in range(3) for word in manager.heard(0.2)]
        self.assertEqual([said.count(word) for word in ("RELOADING=1", "READY=1")], [1, 1])
        for bad in (b"{", json.dumps({**good, "tts_provider": "local", "tts_voice": "bob"}).encode()):
            self.reload(daemon, bad)
        self.assertEqual(self.keys(daemon), {(1, 401), (2, 401)})
        self.counts(daemon, loaded, 1)
        self.counts(daemon, kept, 2)
        os.kill(daemon.pids()[1], signal.SIGKILL)
        daemon.until(lambda: "worker 1 serves again" in daemon.log(), 20)
        self.assertEqual(self.keys(daemon), {(1, 401), (2, 401)})
        self.assertEqual(len(daemon.pids()), 2)

    def reload(self, daemon: Workers, content: bytes) -> None:
        before = daemon.metric("voxray_config_reload_total")
        daemon.config.write_bytes(content)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(lambda: daemon.metric("voxray_config_reload_total") > before, 10)

    def keys(self, daemon: Workers) -> set[tuple[int, int]]:
        """What each worker answers to the old key."""
        answers = set()
        for number in (1, 2):
            with daemon.only(number):
                answers.add((number, daemon.asks("/api/v1/calls")[0]))
        return answers


class PortTests(Case):
    """What stands on the port."""

    def test_tls(self) -> None:
        """Both serve the certificate, and the new one after SIGHUP, while calls go on."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        crt, key = write_pair(directory)
        daemon = self.made(tls_enable=True, tls_cert_file=crt, tls_key_file=key)
        daemon.tls = ssl.create_default_context(cafile=crt)
        daemon.start()
        peers = []
        for number in (1, 2):
            with daemon.only(number):
                peers.append(self.up(daemon, number))
        before = {number: self.certificate(daemon, number) for number in (1, 2)}
        self.assertEqual(before[1], before[2])
        write_pair(directory, replace=True)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(lambda: self.certificate(daemon, 1) != before[1], 10)
        daemon.until(lambda: self.certificate(daemon, 2) == self.certificate(daemon, 1), 10)
        for peer in peers:
            peer.must_answer()
            self.over(peer)

    def certificate(self, daemon: Workers, number: int) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with daemon.only(number):
            sock = socket.create_connection(("127.0.0.1", daemon.port), 5)
            with sock, context.wrap_socket(sock) as tls:
                found = tls.getpeercert(binary_form=True)
        assert found is not None
        return found

    def test_proxy_protocol(self) -> None:
        """The header is read by both."""
        daemon = self.made(proxy_protocol=True, trusted_proxies=["127.0.0.1"])
        daemon.launch()
        daemon.until(lambda: "2 workers" in daemon.log(), 30)
        for number in (1, 2):
            with daemon.only(number):
                line = b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 443\r\n"
                got = daemon.raw(line + b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                self.assertIn(b" 200 ", got[:20])
        self.assertEqual(daemon.log().count("192.0.2.7 - - ["), 2)

    def test_passed_socket(self) -> None:
        """Both answer on the socket that systemd passed; its variables are not for them."""
        with socket.socket() as ours:
            ours.bind(("127.0.0.1", 0))
            ours.listen()
            daemon = self.made()
            daemon.port = ours.getsockname()[1]
            daemon.launch_on(ours)
        daemon.wait_ready()
        for number, pid in daemon.pids().items():
            with daemon.only(number):
                self.assertEqual(daemon.get("/ready")[0], 200)
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            self.assertNotIn(b"LISTEN_", environ)

    def test_logs(self) -> None:
        """Each line says whose it is, in JSON too; with a log of twistd's they are in that one."""
        daemon = self.daemon(json_logs=True)
        for number in (1, 2):
            with daemon.only(number):
                self.over(self.up(daemon, number))
        lines = [json.loads(line) for line in daemon.log().splitlines() if line.startswith("{")]
        ended = {(line["worker"], line["call_sid"][-1]) for line in lines if line.get("event") == "cdr"}
        self.assertEqual(ended, {("w1", "1"), ("w2", "2")})
        daemon.stop()
        log = daemon.config.parent / "twistd.log"
        twistd = str(Path(sys.executable).parent / "twistd")
        daemon.process = subprocess.Popen(
            [twistd, "-n", "--pidfile=", "--logfile", str(log), "voxray", "--config", str(daemon.config)],
            env=daemon._environ, cwd=ROOT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        daemon.wait_ready()
        self.assertEqual(daemon.stop(), 0)
        text = log.read_text(encoding="utf-8")
        for number in (1, 2):
            self.assertRegex(text, rf'w{number}: .*"worker": "w{number}"')

    def test_metrics_port(self) -> None:
        """The address of `metrics_bind` is one, and tells of all; on the calls' port there is nothing."""
        port = free_port()
        daemon = self.daemon(metrics_bind=f"127.0.0.1:{port}")
        peers = [self.up(daemon, number) for number in range(4)]
        calls, daemon.port = daemon.port, port
        for _ in range(4):
            self.counts(daemon, "voxray_calls_active", len(peers))
        daemon.port = calls
        self.assertEqual(daemon.get("/metrics")[0], 404)

    def test_records(self) -> None:
        """The lines of both are whole in one file."""
        path = Path(self.mktemp()).absolute()
        daemon = self.daemon(cdr_file=str(path))
        peers = [self.up(daemon, number) for number in range(CALLS)]
        for peer in peers:
            peer.send(STOP)
        daemon.until(lambda: path.exists() and path.read_text("utf-8").count("\n") == CALLS)
        records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        self.assertEqual(len({record["call_sid"] for record in records}), CALLS)
