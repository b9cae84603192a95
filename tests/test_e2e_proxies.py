"""The configurations of docs/deployment/examples, with the real proxies: a call through each of them.

The files are the ones that are copied by users; only addresses, ports and the paths of certificates are
other ones here, and the timeouts shorter, so that a call in which the agent is silent outlasts them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.attackers import ROOT, SCRIPTED, STOP, LiveDaemon, Peer, read_all
from tests.certificates import Authority, write_pair
from tests.signers import HOST, SIGNERS, TWILIO_TOKEN
from tests.wsframes import PING, PONG, frame, handshake
from voxray.simulator.daemon import free_port

EXAMPLES = ROOT / "docs" / "deployment" / "examples"
CLIENT = "127.0.0.9"  # connects from here, and is no proxy
QUIET_SECS = 5.0  # the agent says nothing for so long; the proxies' timeouts are 2 s here
START_SECS = 20.0


def example(name: str, **changes: str) -> str:
    """The file, every occurrence of each text in it replaced; a text that is not there is an error."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    for old, new in changes.items():
        if old not in text:
            raise AssertionError(f"{name} has no {old!r}")
        text = text.replace(old, new)
    return text


def lines(headers: dict[str, str]) -> list[bytes]:
    return [f"{name}: {value}".encode() for name, value in headers.items()]


class ProxyTestCase(SynchronousTestCase):
    """A daemon, and a proxy in front of it."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.authority = Authority()
        self.root = self.authority.write_root(self.directory)
        self.certificate, self.key = write_pair(self.directory, authority=self.authority)
        self.port = free_port()

    def start_daemon(self, **settings: object) -> None:
        document = {
            **SCRIPTED,
            "proxy_host": HOST,
            "telephony_auth": "auto",
            "trusted_proxies": ["127.0.0.1"],
            "ping_interval_secs": 0.5,
            "greeting": "Hello.",
            **settings,
        }
        self.daemon = LiveDaemon(self.directory, document, TWILIO_AUTH_TOKEN=TWILIO_TOKEN)
        self.addCleanup(self.daemon.stop)
        self.daemon.launch()

    def start_proxy(self, program: str, *arguments: str) -> None:
        path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert path is not None
        environ = {**os.environ, "HOME": str(self.directory), "XDG_DATA_HOME": str(self.directory)}
        with (self.directory / "proxy.log").open("wb") as log:
            proxy = subprocess.Popen(
                [path, *arguments], env=environ, stdout=log, stderr=log, cwd=self.directory
            )

        def end() -> None:
            proxy.terminate()
            try:
                proxy.wait(10)
            except subprocess.TimeoutExpired:
                proxy.kill()
                proxy.wait()

        self.addCleanup(end)
        patience = time.monotonic() + START_SECS
        while b"200 OK" not in self.ask(b"GET /ready HTTP/1.1\r\nHost: a\r\n"):
            if proxy.poll() is not None or time.monotonic() > patience:
                log_text = (self.directory / "proxy.log").read_text(encoding="utf-8", errors="replace")
                raise AssertionError(f"no way through:\n{log_text}\n{self.daemon.log()}")
            time.sleep(0.1)

    def connect(self) -> ssl.SSLSocket:
        """From an address that is not a proxy's."""
        context = ssl.create_default_context(cafile=self.root)
        raw = socket.create_connection(("127.0.0.1", self.port), 5, source_address=(CLIENT, 0))
        return context.wrap_socket(raw, server_hostname="localhost")

    def ask(self, head: bytes, body: bytes = b"") -> bytes:
        """One request through the proxy; the answer, empty if there is none."""
        try:
            with self.connect() as sock:
                length = b"Content-Length: %d\r\n" % len(body) if body else b""
                sock.sendall(head + b"Connection: close\r\n" + length + b"\r\n" + body)
                return read_all(sock)
        except OSError:
            return b""

    def dial(self) -> dict[str, Any]:
        """A signed call: greeting, keys, an answer to them. The simulator's report."""
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SSL_CERT_FILE": self.root,
            "TWILIO_AUTH_TOKEN": TWILIO_TOKEN,
        }
        done = subprocess.run(
            [
                sys.executable, "-m", "voxray.simulator.cli", "--no-transcribe", "--json", "-",
                "--url", f"https://localhost:{self.port}/", "--public-url", f"https://{HOST}/",
                "--dtmf", "1#", "--wait", "2",
            ],
            env=environ, cwd=self.directory, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, f"{done.stdout}\n{done.stderr}\n{self.daemon.log()}")
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def judge(self) -> None:
        """What a proxy has to do: docs/deployment/proxies.md."""
        self.carries_a_call()
        self.outlasts_silence()
        self.tells_the_client()
        self.passes_long_paths()
        refused = re.findall(r"^voxray_auth_failures_total.* (\S+)$", self.metrics(), re.MULTILINE)
        self.assertEqual(refused, ["1.0"])  # of passes_long_paths
        self.assertNotIn("Traceback", self.daemon.log())

    def carries_a_call(self) -> None:
        """A whole call, its requests signed, its token in the path."""
        [call] = self.dial()["calls"]
        self.assertEqual((call["ended_by"], len(call["turns"])), ("caller", 2), call)
        for turn in call["turns"]:
            self.assertIsNotNone(turn["reply_began_secs"], turn)

    def outlasts_silence(self) -> None:
        """A media socket on which nobody says anything outlives the proxy's timeouts: there are pings."""
        form = {"CallSid": "CA" + "7" * 32, "From": "+15558675310", "To": "+15017122661"}
        signed = lines(SIGNERS["twilio"].webhook(f"https://{HOST}/", form, 0.0))
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        answer = self.ask(head + b"".join(line + b"\r\n" for line in signed), urlencode(form).encode())
        found = re.search(rb'url="(wss://[^"]+)"', answer)
        assert found is not None, answer
        url = found[1].decode()
        request = handshake(*lines(SIGNERS["twilio"].upgrade(url)))
        path = url.removeprefix(f"wss://{HOST}").encode()
        peer = Peer(self.connect(), request.replace(b"/telephony/ws", path))
        self.addCleanup(peer.close)
        peer.send({"event": "start", "start": {"streamSid": "MZ" + "7" * 32, "callSid": form["CallSid"]}})
        until = time.monotonic() + QUIET_SECS
        while (left := until - time.monotonic()) > 0:
            got = peer.next(left)
            if got is not None and got[0] == PING:
                peer.raw(frame(got[1], PONG))
        peer.send(STOP)
        self.assertEqual(peer.close_code(), 1000)

    def tells_the_client(self) -> None:
        """The access log has the client's address, whatever it says of itself."""
        self.ask(b"GET /health HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n")
        found = [line for line in self.daemon.log().splitlines() if '"GET /health"' in line]
        self.assertEqual(len(found), 1, found)
        self.assertIn(f"{CLIENT} - - ", found[0])
        self.assertNotIn("6.6.6.6", self.daemon.log())

    def passes_long_paths(self) -> None:
        """An upgrade with a long path reaches the daemon, which does not know such a token."""
        path = b"/telephony/ws/" + b"x" * 1500
        with self.connect() as sock:
            sock.sendall(handshake().replace(b"/telephony/ws", path))
            answer = sock.recv(65_536)
        self.assertIn(b" 403 ", answer[:20])

    def metrics(self) -> str:
        """From within; through the proxy where there is no other way."""
        inside = self.daemon.get("/metrics")[1]
        return inside or self.ask(b"GET /metrics HTTP/1.1\r\nHost: a\r\n").decode()

    def needs(self, program: str, package: str) -> None:
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
            raise SkipTest(f"{program} is not installed: apt install {package}")

    def upstream(self) -> str:
        return f"127.0.0.1:{self.daemon.port}"

    def metrics_are_shut(self) -> None:
        """The examples keep /metrics to the machine."""
        self.assertIn(b" 404", self.ask(b"GET /metrics HTTP/1.1\r\nHost: a\r\n")[:20])


class NginxTests(ProxyTestCase):
    FRAME = """
        daemon off; user root; worker_processes 1; pid nginx.pid; error_log stderr;
        events {{ worker_connections 256; }}
        http {{ access_log off; {temporary} include site.conf; }}
    """

    def test_call(self) -> None:
        """nginx.conf."""
        self.needs("nginx", "nginx-light")
        self.start_daemon()
        live = f"/etc/letsencrypt/live/{HOST}"
        site = example("nginx.conf", **{
            "127.0.0.1:8080": self.upstream(),
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "listen [::]:443 ssl": f"listen [::1]:{self.port} ssl",
            f"{live}/fullchain.pem": self.certificate,
            f"{live}/privkey.pem": self.key,
            "75s": "2s",
        })  # fmt: skip
        (self.directory / "site.conf").write_text(site, encoding="utf-8")
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {self.directory}/{kind}; " for kind in kinds)
        (self.directory / "nginx.conf").write_text(self.FRAME.format(temporary=temporary), encoding="utf-8")
        self.start_proxy("nginx", "-p", str(self.directory), "-c", "nginx.conf")
        self.judge()
        self.metrics_are_shut()


class CaddyTests(ProxyTestCase):
    def test_call(self) -> None:
        """Caddyfile; with a certificate of ours, for there is nobody here to issue one."""
        self.needs("caddy", "caddy")
        self.start_daemon()
        options = "{\n\tadmin off\n\tauto_https off\n}\n\n"
        site = f":{self.port} {{\n\tbind 127.0.0.1\n\ttls {self.certificate} {self.key}"
        text = example(
            "Caddyfile", **{f"{HOST} {{": options + site, "127.0.0.1:8080\n": f"{self.upstream()}\n"}
        )
        (self.directory / "Caddyfile").write_text(text, encoding="utf-8")
        self.start_proxy("caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile")
        self.judge()
        self.metrics_are_shut()


class HaproxyTests(ProxyTestCase):
    def start(self, name: str, **changes: str) -> None:
        (self.directory / "haproxy.cfg").write_text(example(name, **changes), encoding="utf-8")
        self.start_proxy("haproxy", "-db", "-f", "haproxy.cfg")

    def test_call(self) -> None:
        """haproxy.cfg."""
        self.needs("haproxy", "haproxy")
        self.start_daemon()
        both = self.directory / "both.pem"
        both.write_bytes(Path(self.certificate).read_bytes() + Path(self.key).read_bytes())
        self.start("haproxy.cfg", **{
            "bind :443": f"bind 127.0.0.1:{self.port}",
            f"/etc/haproxy/{HOST}.pem": str(both),
            "127.0.0.1:8080 check": f"{self.upstream()} check",
            "75s": "2s",
        })  # fmt: skip
        self.judge()
        self.metrics_are_shut()

    def test_passing_through(self) -> None:
        """haproxy-tcp.cfg: TLS is ours, the PROXY header comes before it."""
        self.needs("haproxy", "haproxy")
        self.start_daemon(
            proxy_protocol=True, tls_enable=True, tls_cert_file=self.certificate, tls_key_file=self.key
        )
        self.start("haproxy-tcp.cfg", **{
            "bind :443": f"bind 127.0.0.1:{self.port}",
            "127.0.0.1:8443": self.upstream(),
            "75s": "2s",
        })  # fmt: skip
        self.judge()
