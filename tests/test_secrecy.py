"""G15: canaries for every secret there is, and for what a caller says, are in nothing that the daemon shows.

One daemon with a key of each kind goes through calls, strangers, vendors and a Redis that fail, orders and
broken configurations. What is looked through: the log, `/metrics`, every HTTP answer, the record of calls,
and what `ps` shows. Secrets are looked for at debug; what is personal, at info.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

from twilio.request_validator import RequestValidator
from twisted.internet import reactor, threads
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.attackers import QUIET, SCRIPTED, STOP, LiveDaemon, Peer, media, read_all
from tests.dangers import shows
from tests.signers import HOST, stream_of
from tests.test_attack_vendors import GOOD, FaultyVendor, event, faults
from tests.test_call_call import TONE
from tests.vendor import END, answer, chunk, head
from tests.wsframes import handshake
from voxray.config.names import KEY_ENV

THE_REACTOR: Any = reactor
NO_SECRETS = frozenset(
    {
        "twilio_account_sid",
        "telnyx_account_sid",
        "telnyx_application_sid",
        "telnyx_public_key",
        "plivo_auth_id",
        "exotel_account_sid",
        "daily_room_url",
        "aws_region",
        "google_cloud_project",
        "google_cloud_location",
    }
)
"""Names in `api_keys` of what is no secret."""
KEYS = {name: f"canary-{name.replace('_', '-')}" for name in KEY_ENV if name not in NO_SECRETS}
SERVER_KEYS = ["canary-server-key-one", "canary-server-key-two"]
SETTINGS: dict[str, object] = {
    "api_keys": {**KEYS, "twilio_account_sid": "AC" + "0" * 32, "plivo_auth_id": "MA" + "0" * 18},
    "server_api_key": SERVER_KEYS,
    "stream_secret": "canary-stream-secret",
    "daily_dialin_webhook_secret": "canary-daily-secret",
    "transcripts": {"dsn": "postgres://canary-dsn-user:canary-dsn-password@127.0.0.1/x"},
    "session_store": "redis",
    "redis_url": "redis://canary-redis-user:canary-redis-password@127.0.0.1:1/0",
}
NUMBER, CARD, KEYED = "15551234567", "4111 1111 1111 1111", "86420975"
SID = "CA" + "1" * 32


class SecrecyCase(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.vendor = FaultyVendor()
        port = THE_REACTOR.listenTCP(0, self.vendor, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.base = f"http://127.0.0.1:{port.getHost().port}/v1"
        said = json.dumps({"text": f"My card is {CARD}."}).encode()
        self.good("stt", [answer(said)])
        self.good("llm", [head(), event(f"You said {CARD}. "), chunk(b"data: [DONE]\n\n"), END])
        self.shown: dict[str, str] = {}
        self.calls = 0

    def good(self, stage: str, script: list[Any]) -> None:
        self.addCleanup(GOOD.__setitem__, stage, GOOD[stage])
        GOOD[stage] = script

    # -- in a thread -----------------------------------------------------------
    def live(self, **settings: object) -> None:
        """The daemon's life; what it showed is in `shown`."""
        here = Path(self.mktemp()).absolute()
        document = {
            **SCRIPTED,
            **SETTINGS,
            "telephony_auth": "both",
            "proxy_host": HOST,
            "provider": "openai",
            "base_urls": {"openai": self.base, "twilio": self.base},
            "greeting": "",
            "caller_id": "+15550001111",
            "cdr_file": str(here / "cdr"),
            **settings,
        }
        daemon = self.daemon = LiveDaemon(here, document)
        self.bodies: list[str] = []
        daemon.launch()
        daemon.until(lambda: daemon.get("/health")[0] == 200, 30)
        try:
            self.shown["ps"] = Path(f"/proc/{daemon.process.pid}/cmdline").read_text("utf-8")
            self.call()
            for stage in ("tts", "llm", "stt"):  # who has refused a key is not asked again
                self.vendor.faulty, self.vendor.fault = stage, faults(stage)["answers 401"]
                self.call()
            self.vendor.faulty = ""
            self.strangers()
            self.orders()
            self.broken_configurations(document)
            self.shown["metrics"] = daemon.get("/metrics")[1]
        finally:
            daemon.stop()
        self.shown |= {"log": daemon.log(), "bodies": "\n".join(self.bodies)}
        self.shown["records"] = (here / "cdr").read_text("utf-8")

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> bytes:
        """One request; its whole answer."""
        given = {"Host": HOST, "Connection": "close", "Content-Length": str(len(body)), **headers}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
        return self.daemon.raw(f"{method} {path} HTTP/1.1\r\n{lines}\r\n{body}".encode())

    def told(self, *request: str, **headers: str) -> str:
        """The same, where the answer is looked through afterwards."""
        answer = self.ask(*request, **headers).decode("utf-8", "replace")
        self.bodies.append(answer)
        return answer

    def call(self) -> None:
        """A call of a caller's, signed as Twilio signs; with a token of its own."""
        self.calls += 1
        sid = SID[:-4] + f"{self.calls:04x}"
        form = {"CallSid": sid, "From": f"+{NUMBER}", "To": "+15550002", "CallerName": "canary-name"}
        validator = RequestValidator(KEYS["twilio_auth_token"])
        signature = validator.compute_signature(f"https://{HOST}/", form)
        body = "&".join(f"{name}={value.replace('+', '%2B')}" for name, value in form.items())
        kind = "application/x-www-form-urlencoded"
        webhook = self.ask("POST", "/", body, X_Twilio_Signature=signature, Content_Type=kind)
        self.assertIn(b" 200 ", webhook[:20], self.daemon.log())
        [document] = re.findall(rb"<\?xml.*</Response>", webhook)
        url, parameters = stream_of("twilio", document)
        self.tokens = re.findall(r"/telephony/ws/(\S+)", url)
        signed = validator.compute_signature(url, {})
        path = url.partition(HOST)[2]
        upgrade = handshake().replace(b"/telephony/ws", path.encode(), 1)
        upgrade = upgrade.replace(b"\r\n\r\n", f"\r\nX-Twilio-Signature: {signed}\r\n\r\n".encode(), 1)
        peer = Peer(self.daemon.connect(), upgrade)
        start = {"streamSid": "MZ" + sid[2:], "callSid": sid, "accountSid": "AC" + "0" * 32}
        peer.send(
            {"event": "connected"}, {"event": "start", "start": {**start, "customParameters": parameters}}
        )
        for packet in [QUIET] * 10 + [TONE] * 40 + [QUIET] * 60:
            peer.send(media(packet))
            time.sleep(0.005)
        for digit in KEYED + "#":
            peer.send({"event": "dtmf", "dtmf": {"digit": digit}})
        peer.must_hear()
        peer.send(STOP)
        peer.close_code()
        peer.close()

    def strangers(self) -> None:
        """With proofs that are none, in every place where one may be."""
        form = f"CallSid={SID}&From=%2B{NUMBER}&To=canary-to&Digits={KEYED}"
        for name in (
            "X-Twilio-Signature",
            "X-Plivo-Signature-V3",
            "telnyx-signature-ed25519",
            "Authorization",
            "Cookie",
        ):
            self.told("POST", "/?secret=canary-query", form, **{name: "canary-signature"})
        for path in (
            "/telephony/ws/canary-token",
            "/telephony/transfer/canary-token",
            "/telephony/ws?t=canary-token",
        ):
            self.bodies.append(self.upgrade(path))
            self.told("POST", path, form)
        for key in ("canary-no-key", SERVER_KEYS[0], SERVER_KEYS[1]):
            for path in ("/start", "/sessions/x/api/offer", "/webrtc/offer", "/ws", "/api/v1/calls"):
                self.told("POST", path, '{"body": {"a": "canary-body"}}', X_API_Key=key)
                self.told("GET", path, "", Authorization=f"Bearer {key}")
        self.told("GET", "/health?key=canary-query", "", X_API_Key=SERVER_KEYS[0], X_Request_ID="r-1")
        self.told("GET", "/ready")

    def upgrade(self, path: str) -> str:
        sock = self.daemon.connect()
        sock.settimeout(2)
        sock.sendall(handshake().replace(b"/telephony/ws", path.encode(), 1))
        sock.shutdown(socket.SHUT_WR)
        got = read_all(sock)
        sock.close()
        return got.decode("utf-8", "replace")

    def orders(self) -> None:
        """Calls that we place, by a carrier that answers with an error."""
        for order in ({"to": f"+{NUMBER}", "body": {"note": "canary-note"}}, {"to": "canary-number"}):
            self.told("POST", "/api/v1/calls", json.dumps(order), X_API_Key=SERVER_KEYS[0],
                      Content_Type="application/json")  # fmt: skip

    def broken_configurations(self, document: dict[str, object]) -> None:
        """What is wrong is said, but not what a secret is."""
        for number, broken in enumerate((
            {"redis_url": "redis://:canary-redis-password@127.0.0.1:port/0"},
            {"redis_url": "canary-redis-password"},
            {"server_api_key": {"key": SERVER_KEYS[0]}},
            {"stream_secret": ["canary-stream-secret"]},
            {"api_keys": {"openai": ["canary-openai"]}},
            {"api_keys": ["canary-openai"]},
            {"transcripts": {"dsn": ["canary-dsn-password"]}},
            {"api_keys": {"opnai": "canary-openai"}, "max_calls": "many"},
        ), 1):  # fmt: skip
            text = json.dumps({**document, "port": self.daemon.port, **broken})
            self.daemon.config.write_text(text, encoding="utf-8")
            self.daemon.process.send_signal(signal.SIGHUP)
            self.daemon.until(lambda n=number: self.daemon.metric("voxray_config_reload_total") >= n, 10)


class SecrecyTests(SecrecyCase):
    @shows("T10")
    def test_secrets(self) -> Deferred[None]:
        """More than twenty secrets, at debug, in either format."""
        self.assertGreater(len(KEYS), 20)

        def look(_: None) -> None:
            log = self.shown["log"]
            self.assertIn("turn 1", log)
            self.assertIn("Redis", log)
            self.assertNotIn("Traceback", log)
            for where, text in self.shown.items():
                hits = re.findall(r".{0,60}canary-(?!number|to\b).{0,30}", text)
                self.assertEqual(hits, [], where)
                for token in self.tokens:
                    self.assertNotIn(token, text, where)

        def look_at_json(_: None) -> None:
            lines = [json.loads(line) for line in self.shown["log"].splitlines()]
            told = [line for line in lines if line["source"].startswith("voxray.call.")]
            self.assertGreater(len(told), 10)
            self.assertEqual([line for line in told if "call_id" not in line], [])

        def again(_: None) -> Deferred[None]:
            living = threads.deferToThread(self.live, log_level="debug", json_logs=True)
            return living.addCallback(look).addCallback(look_at_json)

        return threads.deferToThread(self.live, log_level="debug").addCallback(look).addCallback(again)

    @shows("T11")
    def test_callers(self) -> Deferred[None]:
        """A number, a card that was spoken of, and keys that were pressed, at info."""

        def look(_: None) -> None:
            self.assertIn("turn 1", self.shown["log"])
            self.assertIn(NUMBER, self.shown["records"])  # that is what the owner asked for
            for where in ("log", "metrics", "ps"):
                for canary in (
                    NUMBER,
                    NUMBER[1:],
                    CARD,
                    CARD.replace(" ", ""),
                    CARD[:9],
                    KEYED,
                    "canary-name",
                ):
                    self.assertNotIn(canary, self.shown[where], where)

        return threads.deferToThread(self.live, log_level="info").addCallback(look)

    def test_that_it_would_be_found(self) -> Deferred[None]:
        """With log_transcripts what is said is in the log: then these tests can fail."""

        def look(_: None) -> None:
            self.assertIn(CARD, self.shown["log"])
            self.assertNotIn(KEYED, self.shown["log"])

        return threads.deferToThread(self.live, log_transcripts=True).addCallback(look)
