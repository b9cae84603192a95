"""Two real daemons behind a real nginx (docs/deployment/examples/nginx-two.conf): one is told to stop."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from tests import test_e2e_proxies
from tests.attackers import SCRIPTED, STOP, LiveDaemon, Peer
from tests.dangers import shows
from tests.signers import HOST, SIGNERS, TWILIO_TOKEN
from tests.test_e2e_proxies import ProxyTestCase, example, lines
from tests.wsframes import TEXT, handshake
from voxray.simulator.daemon import free_port

TWILIO = SIGNERS["twilio"]
CALLS = 8


@shows("F51")
class RollingTests(ProxyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.needs("nginx", "nginx-light")
        document = {
            **SCRIPTED,
            "proxy_host": HOST,
            "telephony_auth": "both",
            "trusted_proxies": ["127.0.0.1"],
            "stream_secret": "shared",
            "drain_timeout_secs": 60,
        }
        self.nodes = [
            LiveDaemon(
                self.directory / name, {**document, "port": free_port()}, TWILIO_AUTH_TOKEN=TWILIO_TOKEN
            )
            for name in ("one", "two")
        ]
        self.daemon = self.nodes[0]  # whose log is shown when there is no way through
        for node in self.nodes:
            self.addCleanup(node.stop)
            node.start()
        self.start_nginx()

    def start_nginx(self) -> None:
        live = f"/etc/letsencrypt/live/{HOST}"
        first, second = (f"127.0.0.1:{node.port}" for node in self.nodes)
        site = example("nginx-two.conf", **{
            "127.0.0.1:8080": first,
            "127.0.0.1:8081": second,
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "listen [::]:443 ssl": f"listen [::1]:{self.port} ssl",
            f"{live}/fullchain.pem": self.certificate,
            f"{live}/privkey.pem": self.key,
        })  # fmt: skip
        (self.directory / "site.conf").write_text(site, encoding="utf-8")
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {self.directory}/{kind}; " for kind in kinds)
        frame = test_e2e_proxies.NginxTests.FRAME.format(temporary=temporary)
        (self.directory / "nginx.conf").write_text(frame, encoding="utf-8")
        self.start_proxy("nginx", "-p", str(self.directory), "-c", "nginx.conf")

    # -- calls -----------------------------------------------------------------
    def rings(self, number: int) -> str:
        """The webhook through nginx: where the stream is to go."""
        form = TWILIO.form(TWILIO.call_sid(number))
        signed = lines(TWILIO.webhook(f"https://{HOST}/", form, 0.0))
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        answer = self.ask(head + b"".join(line + b"\r\n" for line in signed), urlencode(form).encode())
        found = re.search(rb'url="(wss://[^"]+)"', answer)
        assert found is not None, answer
        return found[1].decode()

    def streams(self, number: int, url: str) -> Peer:
        """The stream, up to its first audio."""
        request = handshake(*lines(TWILIO.upgrade(url)))
        path = url.removeprefix(f"wss://{HOST}").encode()
        peer = Peer(self.connect(), request.replace(b"/telephony/ws", path))
        self.addCleanup(peer.close)
        peer.send(TWILIO.start(TWILIO.call_sid(number), {}))
        self.hears(peer)
        return peer

    def hears(self, peer: Peer) -> None:
        while True:
            got = peer.next()
            assert got is not None, "the call is gone"
            if got[0] == TEXT and b'"media"' in got[1]:
                return

    def finishes(self, peer: Peer) -> None:
        """A key is answered, and the caller hangs up."""
        key: Any = {"event": "dtmf", "dtmf": {"digit": "1"}}
        peer.send(key, {"event": "dtmf", "dtmf": {"digit": "#"}})
        self.hears(peer)
        peer.send(STOP)
        self.assertEqual(peer.close_code(), 1000)

    def test_one_of_two(self) -> None:
        """Its calls and those announced go on, new ones go to the other; it ends once they have ended."""
        peers = [self.streams(number, self.rings(number)) for number in range(CALLS)]
        for node in self.nodes:
            self.assertGreaterEqual(node.metric("voxray_calls_active"), CALLS / 4)
        announced = [self.rings(100 + number) for number in range(2)]
        self.nodes[0].process.terminate()
        self.nodes[0].until(lambda: self.nodes[0].get("/ready")[0] == 503)
        for number, url in enumerate(announced):
            peers.append(self.streams(100 + number, url))
        peers += [self.streams(200 + number, self.rings(200 + number)) for number in range(CALLS)]
        self.assertGreaterEqual(self.nodes[1].metric("voxray_calls_active"), CALLS)
        self.assertIsNone(self.nodes[0].process.poll())
        for peer in peers:
            self.finishes(peer)
        self.assertEqual(self.nodes[0].process.wait(10), 0)
        peers = [self.streams(300 + number, self.rings(300 + number)) for number in range(2)]
        for peer in peers:
            self.finishes(peer)
        for node in self.nodes:
            self.assertNotIn("Traceback", node.log())
