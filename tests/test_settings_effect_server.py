"""Keys of the server, from the document to what a client of the daemon sees."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path
from xml.etree import ElementTree as ET

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import write_pair
from tests.dangers import shows
from tests.house import House, Line, free_port
from tests.test_web_http import FORM, Answer
from tests.wsframes import handshake
from voxray.errors import ConfigError
from voxray.frames import TextDelta
from voxray.logs import json_line, text_line


class TlsClient:
    """The other end of TLS, in memory."""

    def __init__(self, house: House, ca_file: str) -> None:
        self._house, self._line = house, Line(house)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=ca_file)
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="localhost")

    def handshake(self) -> None:
        """Raises ssl.SSLError unless the server has the certificate's key."""
        for _ in range(10):
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._exchange()
            else:
                self._exchange()
                return
        raise AssertionError("no handshake")

    def ask(self, request: bytes) -> bytes:
        self._tls.write(request)
        self._exchange()
        return self._tls.read()

    def certificate(self) -> bytes:
        """The server's, DER."""
        found = self._tls.getpeercert(binary_form=True)
        assert found is not None
        return found

    def _exchange(self) -> None:
        self._line.raw(self._out.read())
        self._house.reactor.advance(0)  # small writes are gathered
        self._in.write(self._line.transport.value())
        self._line.transport.clear()


class ListeningTests(SynchronousTestCase):
    def test_host(self) -> None:
        """The address written is the only one that is bound; none is every one."""
        self.assertEqual(House(self, {"host": "127.0.0.2"}).address[0], "127.0.0.2")
        self.assertIn(House(self, {"host": ""}).address[0], ("::", "0.0.0.0"))

    def test_port(self) -> None:
        """A client connects to the port written."""
        port = free_port()
        house = House(self, {"port": port})
        self.assertEqual(house.address, ("127.0.0.1", port))

    @shows("F61")
    def test_port_in_use(self) -> None:
        """A port that another program has is said before anything runs."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            with self.assertRaisesRegex(ConfigError, f"port {port} of 127.0.0.1 is in use"):
                House(self, {"port": port})


class TlsTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        self.certificate, self.key = write_pair(directory)
        self.files = {"tls_cert_file": self.certificate, "tls_key_file": self.key}

    def test_pair(self) -> None:
        """HTTPS with the certificate and the key of the two files, and nothing in the clear."""
        house = House(self, {"tls_enable": True, **self.files})
        client = TlsClient(house, self.certificate)
        client.handshake()
        pem = Path(self.certificate).read_text(encoding="ascii")
        self.assertEqual(client.certificate(), ssl.PEM_cert_to_DER_cert(pem))
        answer = Answer(client.ask(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        self.assertEqual(answer.status, 200)
        plain = Line(house)
        plain.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertNotIn(b"HTTP/1.1 200", plain.transport.value())

    def test_off(self) -> None:
        """With the files alone, plain HTTP is served (and a warning says so)."""
        house = House(self, {"tls_enable": False, **self.files})
        self.assertEqual(house.ask("GET", "/health").status, 200)
        self.assertTrue(any("plain HTTP is served" in str(e.get("text")) for e in house.logged))


class WebhookTests(SynchronousTestCase):
    def stream(self, house: House, host: str) -> str | None:
        answer = house.ask("POST", "/", FORM, host=host)
        element = ET.fromstring(answer.body).find("./Connect/Stream")
        assert element is not None
        return element.get("url")

    def test_proxy_host(self) -> None:
        """The carrier is sent to the public host; without one, to the host it asked."""
        house = House(self, {"proxy_host": "bot.example.com"})
        self.assertEqual(self.stream(house, "10.0.0.5:8080"), "wss://bot.example.com/telephony/ws")
        house = House(self)
        self.assertEqual(self.stream(house, "10.0.0.5:8080"), "wss://10.0.0.5:8080/telephony/ws")

    def test_runner_transport(self) -> None:
        """With a carrier `/` is its webhook; without one a status page, and there is no way in for calls."""
        house = House(self, {"runner_transport": "twilio"})
        self.assertIn(b"<Stream", house.ask("POST", "/", FORM).body)
        self.assertEqual(house.ask("GET", "/").json["data"], {"status": "Bot started with twilio"})
        house.dial()
        house = House(self, {"runner_transport": ""})
        answer = house.ask("GET", "/")
        self.assertEqual((answer.status, answer.json), (200, {"status": "ok"}))
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual(house.ask("POST", "/", FORM).status, 405)
        self.assertEqual(house.ask("GET", "/elsewhere").status, 404)
        self.assertEqual(house.ask("GET", "/health").status, 200)
        line = Line(house)
        line.raw(handshake())
        self.assertEqual(Answer(line.transport.value()).status, 404)

    @shows("F58")
    def test_max_calls(self) -> None:
        """With two lines the third caller is refused as busy, and its socket is not let in."""
        house = House(self, {"max_calls": 2})
        house.dial()
        self.assertIn(b"<Connect>", house.ask("POST", "/", FORM).body)
        late = house.socket()
        house.dial()
        another = FORM.replace(b"CallSid=CA", b"CallSid=CB")
        self.assertIn(b"<Reject", house.ask("POST", "/", another).body)
        late.send({"event": "start", "start": {"streamSid": "MZ" + "9" * 32, "callSid": "CA" + "9" * 32}})
        self.assertEqual(late.code, 1013)

    def test_max_request_body_bytes(self) -> None:
        """A body of so many bytes is taken, one byte more is 413."""
        house = House(self, {"max_request_body_bytes": 200})
        pad = FORM + b"&Pad="
        self.assertEqual(house.ask("POST", "/", pad.ljust(200, b"x")).status, 200)
        self.assertEqual(house.ask("POST", "/", pad.ljust(201, b"x")).status, 413)


class WatchTests(SynchronousTestCase):
    def test_metrics_enabled(self) -> None:
        """On: the daemon's own figures; off: 204 and nothing."""
        house = House(self, {"metrics_enabled": True})
        house.dial()
        self.assertIn(b"voxray_up 1.0", house.ask("GET", "/metrics").body)
        house = House(self, {"metrics_enabled": False})
        answer = house.ask("GET", "/metrics")
        self.assertEqual((answer.status, answer.body), (204, b""))

    def test_cdr_file(self) -> None:
        """A JSON line for each call in the file named, whole numbers in it, for its owner's eyes alone."""
        path = Path(self.mktemp()).absolute()
        house = House(self, {"cdr_file": str(path)})
        house.reactor.advance(0)
        self.assertEqual(path.read_bytes(), b"")  # that it can be written was found out at the start
        for number in (1, 2):
            line = house.dial()
            line.silence(number)
            line.send({"event": "stop"})
        first, second = map(json.loads, path.read_text(encoding="ascii").splitlines())
        self.assertEqual((first["duration_secs"], second["duration_secs"]), (1.0, 2.0))
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual([r["call_id"] for r in house.records], [first["call_id"], second["call_id"]])
        house = House(self, {"cdr_file": ""})
        house.dial().send({"event": "stop"})
        self.assertEqual(len(house.records), 1)

    @shows("F54")
    def test_cdr_file_full(self) -> None:
        """A record that cannot be written is counted; its line in the journal is there all the same."""
        house = House(self, {"cdr_file": "/dev/full"})
        house.dial().send({"event": "stop"})
        self.assertIn(b"voxray_cdr_lost_total 1.0", house.ask("GET", "/metrics").body)
        self.assertEqual(len(house.records), 1)

    def _turn_logged(self, document: dict[str, object]) -> list[str]:
        """Everything logged of a call in which both said something: as events, for people, as JSON."""
        house = House(self, document, [TextDelta("We open at nine.")])
        line = house.dial()
        line.silence(0.5)
        line.tone(0.8)
        line.silence(1.0)
        line.answer("My secret is out.")
        line.silence(1.0)
        [turn] = [e for e in house.logged if e.get("event") == "turn"]
        self.assertIn("total", turn["parts_ms"])
        return ["\n".join(map(write, house.logged)) for write in (str, text_line, json_line)]

    @shows("T11")
    def test_log_transcripts(self) -> None:
        """What was said is in the log when asked for, and nowhere in it otherwise."""
        for shown in self._turn_logged({"log_transcripts": True}):
            self.assertIn("My secret is out.", shown)
            self.assertIn("We open at nine.", shown)
        for hidden in self._turn_logged({}):
            self.assertNotIn("secret", hidden)
            self.assertNotIn("nine", hidden)


class StopTests(SynchronousTestCase):
    def test_drain_timeout_secs(self) -> None:
        """After SIGTERM a call goes on for so long, and is then told goodbye; 0: at once."""
        for secs in (0.0, 30.0):
            house = House(self, {"goodbye": "Bye now.", "drain_timeout_secs": secs})
            line = house.dial()
            house.terminate()
            line.silence(max(0.0, secs - 0.5))
            self.assertEqual(line.said, [])
            line.silence(1.0)
            self.assertEqual((line.said, line.code), (["Bye now."], 1001))
