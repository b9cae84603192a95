"""Nothing secret and nothing said is in the log, at debug, after calls, faults and refusals."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor, threads
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.attackers import QUIET, SCRIPTED, STOP, LiveDaemon, media, start
from tests.dangers import shows
from tests.test_attack_vendors import GOOD, FaultyVendor, event, faults
from tests.test_call_call import TONE
from tests.vendor import END, answer, chunk, head

THE_REACTOR: Any = reactor
HEARD, REPLIED = "canarynightingale", "canarysparrow"
SECRETS = {
    "OPENAI_API_KEY": "sk-canary-openai",
    "TWILIO_AUTH_TOKEN": "canary-twilio-token",
    "TWILIO_ACCOUNT_SID": "AC" + "c" * 32,
    "VOXRAY_SERVER_API_KEY": "canary-server-key",
    "VOXRAY_REDIS_URL": "redis://:canary-redis@127.0.0.1/0",
}


@shows("T10", "T11")
class SecretTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.vendor = FaultyVendor()
        port = THE_REACTOR.listenTCP(0, self.vendor, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.base = f"http://127.0.0.1:{port.getHost().port}/v1"
        said = {
            "stt": [answer(json.dumps({"text": f"Tell me of the {HEARD}."}).encode())],
            "llm": [head(), event(f"The {REPLIED} sings."), chunk(b"data: [DONE]\n\n"), END],
        }
        for stage, script in said.items():
            self.patch_good(stage, script)

    def patch_good(self, stage: str, script: list[Any]) -> None:
        before = GOOD[stage]
        GOOD[stage] = script
        self.addCleanup(GOOD.__setitem__, stage, before)

    def calls(self, **settings: object) -> str:
        """Calls that go well, calls that do not; the log."""
        document = {
            **SCRIPTED,
            **settings,
            "provider": "openai",
            "base_urls": {"openai": self.base, "twilio": self.base},
            "greeting": "",
        }
        daemon = LiveDaemon(Path(self.mktemp()).absolute(), document, **SECRETS)
        daemon.start()
        try:
            body = f"CallSid=CA{'c' * 32}&From=%2B4930canary&To=canarydigits"
            request = f"POST /?secret=canaryquery HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
            daemon.raw(f"{request}Authorization: Bearer canaryheader\r\n\r\n{body}".encode(), 0.3)
            self.one_call(daemon)
            for stage in ("stt", "llm", "tts"):
                self.vendor.faulty, self.vendor.fault = stage, faults(stage)["answers 401"]
                self.one_call(daemon)
            self.vendor.faulty = ""
        finally:
            daemon.stop()
        return daemon.log()

    def one_call(self, daemon: LiveDaemon) -> None:
        peer = daemon.peer()
        parameters = {"from": "canaryparameter", "token": "canaryparameter"}
        peer.send({"event": "connected"}, start(1, customParameters=parameters))
        peer.send(
            {"event": "mark", "mark": {"name": "canarymark"}}, b'{"event": "canaryevent"}', b"canaryjson"
        )
        for packet in [QUIET] * 10 + [TONE] * 40 + [QUIET] * 40:
            peer.send(media(packet))
            time.sleep(0.005)
        peer.must_hear()
        time.sleep(0 if self.vendor.faulty else 1.2)  # a reply is heard to its end
        peer.send(STOP)
        peer.close_code()
        peer.close()

    def test_canaries(self) -> Deferred[None]:
        """Keys, tokens, queries, numbers, parameters, payloads, vendors' error texts, words: none."""

        def look(log: str) -> None:
            self.assertIn("turn 1", log)  # there were turns
            self.assertIn("auth", log)  # and refusals
            self.assertNotIn("Traceback", log)
            hits = [line for line in log.splitlines() if "canary" in line]
            self.assertEqual(hits, [])

        return threads.deferToThread(self.calls).addCallback(look)

    def test_transcripts_when_asked_for(self) -> Deferred[None]:
        """With log_transcripts the words are there, so the test above can fail; the rest is not."""

        def look(log: str) -> None:
            self.assertIn(HEARD, log)
            self.assertIn(REPLIED, log)
            rest = log.replace(HEARD, "").replace(REPLIED, "")
            self.assertEqual([line for line in rest.splitlines() if "canary" in line], [])

        return threads.deferToThread(self.calls, log_transcripts=True, json_logs=True).addCallback(look)
