"""F52 on the real daemon: 20 calls and 50 SIGHUPs, every other one with a configuration that cannot serve."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.attackers import SCRIPTED, STOP, LiveDaemon, Sentinel, calls_up, start
from tests.dangers import shows

CALLS, SIGNALS = 20, 50
LOADED, KEPT = (f'voxray_config_reload_total{{outcome="{outcome}"}}' for outcome in ("loaded", "kept"))
BROKEN = (
    b"{",
    b"\xff\xfe",
    b"[]",
    b'{"provider": "nobody"}',
    b'{"port": "http"}',
    json.dumps({**SCRIPTED, "tls_enable": True}).encode(),
    json.dumps({**SCRIPTED, "tts_provider": "local", "tts_voice": "bob"}).encode(),
    json.dumps({**SCRIPTED, "telephony_auth": "both"}).encode(),
    b"",
)


@shows("F52")
class ReloadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon = LiveDaemon(Path(self.mktemp()).absolute(), SCRIPTED)
        self.addCleanup(self.daemon.stop)
        self.daemon.start()
        self.good = json.loads(self.daemon.config.read_text(encoding="utf-8"))

    def reload(self, content: bytes) -> None:
        """Waits until it is loaded, or kept out."""
        before = self.daemon.metric("voxray_config_reload_total")
        self.daemon.config.write_bytes(content)
        self.daemon.process.send_signal(signal.SIGHUP)
        self.daemon.until(lambda: self.daemon.metric("voxray_config_reload_total") > before)

    def changed(self, **keys: object) -> bytes:
        return json.dumps({**self.good, **keys}).encode()

    def test_fifty_signals(self) -> None:
        """What is heard meanwhile is what is heard on a quiet daemon, to the byte; no call is lost."""
        quiet, sentinel = Sentinel(self.daemon, 1, "123"), Sentinel(self.daemon, 2, "123")
        quiet.start()
        quiet.join(60)
        sentinel.start()
        peers = calls_up(self, self.daemon, CALLS)
        threads = self.daemon.threads()
        for number in range(SIGNALS):
            if number % 2:
                self.reload(BROKEN[number // 2 % len(BROKEN)])
            else:
                self.reload(self.changed(goodbye=f"Good bye {number}.", vad_threshold=0.02 + number / 1000))
        self.assertEqual((self.daemon.metric(LOADED), self.daemon.metric(KEPT)), (25, 25))
        for peer in peers:
            peer.must_answer()
            peer.send(STOP)
            self.assertEqual(peer.close_code(), 1000)
        sentinel.join(60)
        self.assertEqual((sentinel.error, sentinel.code), ("", 1000))
        self.assertEqual(sentinel.checksum, quiet.checksum)
        self.assertEqual(self.daemon.metric("voxray_playout_underruns_total"), 0)
        log = self.daemon.log()
        self.assertEqual(log.count("the configuration stays the old one: "), 25)
        self.assertNotIn("Traceback", log)
        self.assertLessEqual(self.daemon.threads(), threads + 2)  # the files', and the voice's

    def test_new_calls(self) -> None:
        """They get what is in the file; a key rotated there opens the API at once, the old one no more."""
        self.reload(self.changed(server_api_key="one"))
        self.assertEqual((self.api("one"), self.api("two")), (200, 401))
        self.reload(self.changed(server_api_key="two", greeting="", max_calls=1))
        self.assertEqual((self.api("one"), self.api("two")), (401, 200))
        peer = self.daemon.peer()
        self.addCleanup(peer.close)
        peer.send({"event": "connected"}, start(1))
        self.assertIsNone(peer.next(0.5))  # no greeting
        other = self.daemon.peer()
        self.addCleanup(other.close)
        other.send({"event": "connected"}, start(2))
        self.assertEqual(other.close_code(), 1013)

    def api(self, key: str) -> int:
        url = f"http://127.0.0.1:{self.daemon.port}/api/v1/calls"
        request = urllib.request.Request(url, headers={"X-API-Key": key})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code
