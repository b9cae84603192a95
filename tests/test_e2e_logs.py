"""What the real daemon writes, all of it, from its first line to its last: an event a line, in both forms."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.attackers import SCRIPTED, STOP, LiveDaemon, start
from tests.dangers import shows
from tests.test_attack_process import HEALTH

SID = "CA" + "1" * 32
HOSTILE = "x\n2026-11-23T10:00:00+0000 [voxray#info] admin login\x1b[2J\x85\u2028\u2029" + "y" * 40_000
PLAIN = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[[^\]]+\] \S.*"
)  # a line that is not one is the rest of another


@shows("T12")
class LinesTests(SynchronousTestCase):
    def run_daemon(self, **settings: object) -> list[str]:
        """A day in its life: calls, strangers, faults, reloads, the end. Its lines."""
        directory = Path(self.mktemp()).absolute()
        daemon = LiveDaemon(directory, {**SCRIPTED, "server_apikey": "", **settings})
        self.addCleanup(daemon.stop)
        before = time.time()
        daemon.start()
        self.strangers(daemon)
        peer = daemon.peer()
        peer.send({"event": "connected"}, start(1, customParameters={"name": HOSTILE}))
        peer.must_answer()
        peer.send({"event": HOSTILE}, HOSTILE.encode(), {"event": "mark", "mark": {"name": HOSTILE}})
        peer.must_answer()
        daemon.config.write_text('{"max_calls": "many\\n\\u001b[2J"}', encoding="utf-8")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until(lambda: daemon.metric('voxray_config_reload_total{outcome="kept"}') == 1)
        peer.send(STOP)
        self.assertEqual(peer.close_code(), 1000)
        peer.close()
        self.assertEqual(daemon.stop(), 0)
        self.span = (before, time.time())
        return daemon.log().splitlines()

    def strangers(self, daemon: LiveDaemon) -> None:
        daemon.raw(HEALTH, 0.2)
        for path in (b"/\x1b[2J", b"/%0a%0d%1b", b"/" + b"z" * 9_000, "/\u2028\x85".encode()):
            daemon.raw(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n", 0.2)
        body = b"CallSid=CA%0a%1b%5b2J&From=%0a" + b"9" * 4_000
        head = b"POST / HTTP/1.1\r\nHost: a\x1b\r\nContent-Length: %d\r\n\r\n" % len(body)
        daemon.raw(head + body, 0.2)
        daemon.raw(head.replace(b"a\x1b", b"a") + body, 0.2)
        peer = daemon.peer()
        peer.send({"event": "start", "start": {"streamSid": HOSTILE, "callSid": HOSTILE}}, b"\xff\x00")
        peer.close_code(2)
        peer.close()

    def test_json(self) -> None:
        """Each line is an object with the same four fields first; the call's lines name it."""
        lines = [json.loads(line) for line in self.run_daemon(json_logs=True)]
        self.assertGreater(len(lines), 20)
        for line in lines:
            self.assertEqual(list(line)[:4], ["time", "level", "msg", "source"])
            self.assertIn(line["level"], ("debug", "info", "warn", "error", "critical"))
        times = [line["time"] for line in lines]
        self.assertEqual(times, sorted(times))
        self.assert_within(times)
        sources = {line["source"] for line in lines}
        self.assertTrue({"voxray.service.Daemon", "voxray.call.call.Call"} <= sources, sources)
        self.assertTrue(any("server_apikey" in line["msg"] for line in lines))
        ids = {line["call_id"] for line in lines if line["source"].startswith("voxray.call.")}
        self.assertEqual(len(ids), 1)
        ended = next(line for line in lines if line.get("event") == "cdr")
        self.assertIn(ended["call_id"], ids)

    def assert_within(self, times: list[str]) -> None:
        """By the wall clock, to the millisecond."""
        first, last = (
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t)) for t in (self.span[0], self.span[1] + 1)
        )
        self.assertTrue(all(re.fullmatch(r"[-\dT:]{19}\.\d{3}\+00:00", each) for each in times))
        self.assertTrue(first <= times[0] <= times[-1] <= last)

    def test_plain(self) -> None:
        """Each line begins with its date and its source, and there is no control character in it."""
        for line in self.run_daemon():
            self.assertTrue(PLAIN.fullmatch(line), line[:300])
            self.assertTrue(line.isprintable(), line[:300])
            self.assertLess(len(line), 50_000)

    def test_before_the_log(self) -> None:
        """What is wrong with the configuration is an object, too, where that was asked for."""
        for document, environ in (
            ({"json_logs": True, "port": "many"}, {}),
            ({"port": "many"}, {"VOXRAY_JSON_LOGS": "true"}),
            ({**SCRIPTED, "json_logs": True, "tls_enable": True}, {}),
        ):
            daemon = LiveDaemon(Path(self.mktemp()).absolute(), {"port": 1})
            daemon.config.write_text(json.dumps(document), encoding="utf-8")
            daemon._environ |= environ
            daemon.launch()
            self.assertEqual(daemon.process.wait(20), 1)
            [line] = daemon.log().splitlines()
            said: dict[str, Any] = json.loads(line)
            self.assertEqual((said["level"], said["source"]), ("critical", "voxray"))
            self.assertIn("tls" if "tls_enable" in document else "port", said["msg"])
