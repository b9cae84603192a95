"""What a media message costs on the socket: our fast path beside plain Autobahn, in one run.

    python bench/websocket.py [--calls 50] [--messages 20000]

A server process echoes Twilio-sized text messages; this one plays the callers, each with one message
under way, as in telephony. The figure is the server's CPU time (user and system) for one message in
and one out; wall time would measure the neighbours. Both servers run twice, in turn; the better counts.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

PAYLOAD = (
    b'{"event":"media","sequenceNumber":"1234","media":{"track":"inbound","chunk":"1233","timestamp":"24660",'
    b'"payload":"%b"},"streamSid":"MZ18ad3ab5a668481ce02b83e7395059f0"}' % (b"/+7e" * 54)
)
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MASK = b"\x37\xfa\x21\x3d"
FRAME = (
    bytes((0x81, 0x80 | 126))
    + len(PAYLOAD).to_bytes(2, "big")
    + MASK
    + bytes(byte ^ MASK[i & 3] for i, byte in enumerate(PAYLOAD))
)
ECHO_BYTES = 4 + len(PAYLOAD)


def serve(kind: str) -> None:
    """Echoes until it is ended; prints its port first."""
    from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
    from twisted.internet import reactor

    from voxray.web.fastpath import FastTextProtocol

    class Plain(WebSocketServerProtocol):
        def onMessage(self, payload: bytes, isBinary: bool) -> None:
            self.sendMessage(payload)

    class Fast(FastTextProtocol):
        def text_received(self, payload: bytes) -> None:
            self.send_text(payload)

    factory = WebSocketServerFactory(reactor=reactor)
    factory.protocol = {"plain": Plain, "fast": Fast}[kind]
    factory.setProtocolOptions(maxFramePayloadSize=65_536, maxMessagePayloadSize=65_536)
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
    print(port.getHost().port, flush=True)
    reactor.run()  # type: ignore[attr-defined]


def cpu_secs(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connect(port: int, calls: int) -> list[socket.socket]:
    callers = []
    for _ in range(calls):
        caller = socket.create_connection(("127.0.0.1", port), timeout=10)
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        caller.sendall(HANDSHAKE)
        while not caller.recv(4096).endswith(b"\r\n\r\n"):
            pass
        callers.append(caller)
    return callers


def exchange(callers: list[socket.socket], messages: int) -> None:
    """Each caller sends, waits for the echo, sends again, until all messages are done."""
    poll = select.epoll()
    by_fd = {caller.fileno(): caller for caller in callers}
    waiting = dict.fromkeys(by_fd, ECHO_BYTES)
    for fd, caller in by_fd.items():
        poll.register(fd, select.EPOLLIN)
        caller.sendall(FRAME)
    left = messages
    while left > 0:
        ready = poll.poll(10)
        if not ready:
            raise TimeoutError("the server stopped answering")
        for fd, _ in ready:
            waiting[fd] -= len(by_fd[fd].recv(65_536))
            if waiting[fd] == 0:
                waiting[fd] = ECHO_BYTES
                left -= 1
                by_fd[fd].sendall(FRAME)
    poll.close()


def measure(kind: str, calls: int, messages: int) -> float:
    """CPU microseconds of the server for one message in and one out."""
    with subprocess.Popen(
        [sys.executable, __file__, "--serve", kind], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            callers = connect(int(server.stdout.readline()), calls)
            exchange(callers, messages // 10)  # warm
            for caller in callers:
                caller.recv(65_536)
            before = cpu_secs(server.pid)
            exchange(callers, messages)
            spent = cpu_secs(server.pid) - before
            for caller in callers:
                caller.close()
        finally:
            server.terminate()
    return spent / messages * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--serve", choices=("plain", "fast"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    best: dict[str, float] = {}
    for kind in ("plain", "fast") * 2:
        micros = measure(kind, options.calls, options.messages)
        best[kind] = min(micros, best.get(kind, micros))
    for kind, micros in best.items():
        print(f"{kind:>6}: {micros:6.1f} us CPU a message pair, {1e6 / micros:8.0f} pairs per CPU second")
    print(f" ratio: {best['plain'] / best['fast']:.2f}")


if __name__ == "__main__":
    main()
