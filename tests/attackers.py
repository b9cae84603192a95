"""How the attack tests reach a real daemon: a child process, raw blocking sockets, and an honest call.

Everything here reads the wire for itself. A `Sentinel` is an honest call beside the attack: what it hears is
compared, byte for byte, with what the same call hears on a quiet daemon.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import TestCase

import voxray
from tests.wsframes import CLOSE, TEXT, frame, handshake
from voxray.simulator.daemon import free_port

ROOT = Path(voxray.__file__).parent.parent
QUIET = b"\xff" * 160
SCRIPTED: dict[str, object] = {
    "host": "127.0.0.1",
    "provider": "scripted",
    "runner_transport": "twilio",
    "greeting": "Hello.",
    "telephony_auth": "off",
    "vad_type": "energy",
    "log_level": "debug",
    "start_timeout_secs": 1.0,
    "drain_timeout_secs": 0,
    "max_lag_ms": 0,  # a machine that is busy with tests is late, and no news
}


def start(number: int, **fields: object) -> dict[str, Any]:
    """A `start` whose ids are made of a number."""
    ids = {"streamSid": f"MZ{number:032x}", "callSid": f"CA{number:032x}", "accountSid": "AC" + "0" * 32}
    return {"event": "start", "start": {**ids, **fields}}


def media(payload: bytes = QUIET) -> dict[str, Any]:
    return {"event": "media", "media": {"payload": base64.b64encode(payload).decode()}}


STOP = {"event": "stop"}


class LiveDaemon:
    """`twistd -n voxray` with a configuration, its output in a file."""

    def __init__(self, directory: Path, document: dict[str, object], **environ: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = int(str(document.get("port") or free_port()))
        self.config = directory / "voxray.json"
        self.config.write_text(json.dumps({**document, "port": self.port}), encoding="utf-8")
        self.log_path = directory / "log"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("VOXRAY_")}
        self._environ = {**inherited, **environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
        self.process: subprocess.Popen[bytes]
        self.tls: ssl.SSLContext | None = None
        """How clients trust the daemon; None: it is spoken to in the clear."""

    def launch(self, stdout: Any = None) -> None:
        """Starts the process without waiting for it."""
        twistd = str(Path(sys.executable).parent / "twistd")
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [twistd, "-n", "--pidfile=", "voxray", "--config", str(self.config)],
                env=self._environ, cwd=ROOT, stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout, stderr=log,
            )  # fmt: skip

    def launch_on(self, ours: socket.socket) -> None:
        """As systemd would: the socket is passed to it."""
        twistd = str(Path(sys.executable).parent / "twistd")
        script = f'exec 3<&{ours.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", twistd, "-n", "--pidfile=", "voxray",
             "--config", str(self.config), "--listen", "systemd:"],
            env=self._environ, cwd=ROOT, pass_fds=(ours.fileno(),),
            stdin=subprocess.DEVNULL, stdout=self.log_path.open("ab"), stderr=subprocess.STDOUT,
        )  # fmt: skip

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.launch()
        self.wait_ready()

    def wait_ready(self) -> None:
        patience = time.monotonic() + 30
        while self.get("/ready")[0] != 200:
            if self.process.poll() is not None or time.monotonic() > patience:
                raise AssertionError(f"the daemon is not ready:\n{self.log()}")
            time.sleep(0.05)

    def stop(self) -> int:
        """SIGTERM; how it ended."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(5)

    # -- what can be seen of it ------------------------------------------------
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def get(self, path: str) -> tuple[int, str]:
        """Status (0: no answer) and body."""
        try:
            url = f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}{path}"
            with urllib.request.urlopen(url, timeout=5, context=self.tls) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, ""
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """The sum of a metric's samples; `name` may hold labels."""
        values = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", self.get("/metrics")[1], re.M)
        return sum(map(float, values))

    def fds(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def rss_kib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0])

    def until(self, condition: Callable[[], object], secs: float = 5.0) -> None:
        """Polls; the daemon has its own time."""
        patience = time.monotonic() + secs
        while not condition():
            if time.monotonic() > patience:
                raise AssertionError("it did not happen in time")
            time.sleep(0.02)

    # -- ways in ---------------------------------------------------------------
    def connect(self, receive_buffer: int = 0) -> socket.socket:
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(5)
        sock.connect(("127.0.0.1", self.port))
        return self.tls.wrap_socket(sock, server_hostname="localhost") if self.tls else sock

    def raw(self, request: bytes, secs: float = 5.0) -> bytes:
        """Writes, then reads until the daemon closes or falls silent."""
        sock = self.connect()
        sock.settimeout(secs)
        with contextlib.closing(sock):
            sock.sendall(request)
            return read_all(sock)

    def peer(self, receive_buffer: int = 0) -> Peer:
        return Peer(self.connect(receive_buffer))


def read_all(sock: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(OSError):
        while data := sock.recv(65_536):
            got += data
    return got


class Peer:
    """One WebSocket, blocking."""

    def __init__(self, sock: socket.socket, request: bytes = b"") -> None:
        """`request`: the upgrade, when it is another than usual."""
        self.sock = sock
        self._data = b""
        sock.sendall(request or handshake())
        while b"\r\n\r\n" not in self._data:
            more = sock.recv(4096)
            if not more:
                raise AssertionError(f"no upgrade: {self._data!r}")
            self._data += more
        self.answer, _, self._data = self._data.partition(b"\r\n\r\n")

    def raw(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send(self, *messages: object) -> None:
        """Objects as JSON, bytes as they are, each a text frame."""
        for message in messages:
            self.raw(frame(message if isinstance(message, bytes) else json.dumps(message).encode()))

    def must_answer(self) -> None:
        """A key is heard, and spoken of."""
        self.send({"event": "dtmf", "dtmf": {"digit": "1"}}, {"event": "dtmf", "dtmf": {"digit": "#"}})
        while True:
            got = self.next()
            assert got is not None, "the call is gone"
            if got[0] == TEXT and b'"media"' in got[1]:
                return

    def must_hear(self) -> None:
        """The caller is quiet until we say something."""
        for _ in range(100):
            self.send(media(QUIET))
            got = self.next(0.05)
            if got is not None and b'"media"' in got[1]:
                return
        raise AssertionError("the caller hears nothing")

    def next(self, secs: float = 5.0) -> tuple[int, bytes] | None:
        """The next frame; None when the daemon has closed, or says nothing for so long."""
        self.sock.settimeout(secs)
        while (found := _first(self._data)) is None:
            try:
                more = self.sock.recv(65_536)
            except OSError:
                return None
            if not more:
                return None
            self._data += more
        opcode, payload, size = found
        self._data = self._data[size:]
        return opcode, payload

    def close_code(self, secs: float = 5.0) -> int | None:
        """Reads on to the close frame; None when the connection ends without one."""
        patience = time.monotonic() + secs
        while (got := self.next(max(0.01, patience - time.monotonic()))) is not None:
            if got[0] == CLOSE:
                return int(struct.unpack("!H", got[1][:2])[0]) if got[1] else 1005
        return None

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def calls_up(case: TestCase, daemon: LiveDaemon, count: int) -> list[Peer]:
    """So many calls, each of which was spoken to; they are closed with the test."""
    peers = [daemon.peer() for _ in range(count)]
    for number, peer in enumerate(peers):
        case.addCleanup(peer.close)
        peer.send({"event": "connected"}, start(100 + number))
    for peer in peers:
        case.assertIsNotNone(peer.next())
    return peers


def _first(data: bytes) -> tuple[int, bytes, int] | None:
    """A server frame at the head of `data`: opcode, payload, size."""
    if len(data) < 4:
        return None if len(data) < 2 or data[1] > 125 or len(data) < 2 + data[1] else (
            data[0] & 15, data[2 : 2 + data[1]], 2 + data[1])  # fmt: skip
    size, head = data[1], 2
    if size == 126:
        size, head = int(struct.unpack_from("!H", data, 2)[0]), 4
    if len(data) < head + size:
        return None
    return data[0] & 15, data[head : head + size], head + size


class Sentinel(threading.Thread):
    """An honest call: 50 packets a second, marks echoed, a key pressed every second, `stop` at the end.

    The agent answers each key with tones of its own, so a packet that is lost, doubled or another's shows.
    """

    def __init__(self, daemon: LiveDaemon, number: int, keys: str = "1") -> None:
        super().__init__(daemon=True)
        self._server, self._number, self._keys = daemon, number, keys
        self.audio = bytearray()
        self.clears = 0
        self.code: int | None = None
        self.error = ""
        self.gaps: list[float] = []

    def run(self) -> None:
        try:
            self._call()
        except Exception as error:  # noqa: BLE001 - told by `check`
            self.error = repr(error)

    def _call(self) -> None:
        peer = self._server.peer()
        peer.send({"event": "connected"}, start(self._number))
        self._until_quiet(peer, 0.0)
        for key in self._keys:
            peer.send({"event": "dtmf", "dtmf": {"digit": key}}, {"event": "dtmf", "dtmf": {"digit": "#"}})
            self._until_quiet(peer, 0.0)
        peer.send(STOP)
        self.code = peer.close_code()
        peer.close()

    def _until_quiet(self, peer: Peer, not_before: float) -> None:
        """Sends silence in real time until the agent has said a piece and its mark came."""
        due, marked, last = time.monotonic(), False, 0.0
        give_up = due + 20
        while not (marked and time.monotonic() > not_before):
            if time.monotonic() > give_up:
                raise AssertionError("the agent never finished")
            peer.send(media())
            due += 0.02
            while (left := due - time.monotonic()) > 0.0005:
                got = peer.next(left)
                if got is None or got[0] != TEXT:
                    continue
                message = json.loads(got[1])
                if message["streamSid"] != f"MZ{self._number:032x}":
                    raise AssertionError("another call's message")
                if message["event"] == "media":
                    self.audio += base64.b64decode(message["media"]["payload"])
                    now = time.monotonic()
                    if last:
                        self.gaps.append(now - last)
                    last = now
                elif message["event"] == "mark":
                    marked = True
                    not_before = max(not_before, time.monotonic() + 0.35)  # what is at the carrier plays out
                    peer.send(message)
                elif message["event"] == "clear":
                    self.clears += 1

    @property
    def checksum(self) -> str:
        return hashlib.sha256(bytes(self.audio)).hexdigest()
