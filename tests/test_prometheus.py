"""The dashboard and the alerts of contrib/, tried: by promtool, and by a real Prometheus at a real daemon."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.attackers import QUIET, SCRIPTED, STOP, LiveDaemon, Sentinel, media, start
from tests.prometheus import DASHBOARD, MISSING, RULE_TESTS, RULES, Prometheus
from tests.test_call_call import TONE
from tests.test_metrics import everything

ROOT = DASHBOARD.parent.parent.parent
NOT_OURS = frozenset({"up"})
HAS_DATA = frozenset({"Calls", "Latency", "Interruptions and sound", "HTTP", "Reactor", "Process"})
"""Rows of the dashboard of which every panel shows something after a few calls."""
MAY_BE_EMPTY = frozenset({
    "Hang-ups and transfers",  # the carrier of the test has no API
    "Barge-in",
    "Too slow",
})  # fmt: skip

OF_A_BUSY_MACHINE = frozenset({"VoxrayReactorLag", "VoxrayAnswersLate", "VoxrayUnderruns"})
"""Alerts that are true where the tests have too little CPU."""


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def queries() -> list[tuple[str, str, str]]:
    """Row, panel and expression of everything that the dashboard asks, its variables filled in."""
    found, row = [], ""
    for panel in dashboard()["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        for target in panel.get("targets", ()):
            expr = target["expr"].replace("$instance", ".+").replace("$__rate_interval", "1m")
            found.append((row, panel["title"], expr.replace("$__range", "1m")))
    return found


def alerts() -> list[str]:
    return re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8"))


def names(text: str) -> set[str]:
    """Metrics that an expression asks for."""
    return {
        re.sub(r"_(?:bucket|count|sum)$", "", name)
        for name in re.findall(
            r"\b((?:voxray|http|stt|llm|tts|process|up)(?:_\w+)?)(?=[{\[ )]|$)", text, re.M
        )
        if "_" in name or name == "up"
    }


class FileTests(SynchronousTestCase):
    """What needs no Prometheus."""

    def test_current(self) -> None:
        """The dashboard is what its script makes."""
        script = str(ROOT / "scripts" / "dashboard.py")
        done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_only_what_is_served(self) -> None:
        """Nothing is asked for that no daemon has: a renamed metric would leave a panel empty for ever."""
        served = set(everything(self)) | NOT_OURS
        for row, panel, expr in queries():
            self.assertTrue(names(expr), expr)
            self.assertEqual(names(expr) - served, set(), f"{row}: {panel}")
        exprs = "\n".join(
            re.findall(r"expr: (?:>-\n)?((?:.+\n?)+?)(?=\s+(?:for|labels):)", RULES.read_text())
        )
        self.assertGreater(len(names(exprs)), 20)
        self.assertEqual(names(exprs) - served, set())

    def test_form(self) -> None:
        """What Grafana's import asks of a dashboard: a schema it migrates, a data source that it asks for."""
        made = dashboard()
        for field, kind in (
            ("title", str), ("uid", str), ("schemaVersion", int), ("panels", list), ("templating", dict),
            ("time", dict), ("annotations", dict), ("tags", list), ("version", int), ("editable", bool),
        ):  # fmt: skip
            self.assertIsInstance(made[field], kind, field)
        self.assertIsNone(made["id"])
        self.assertTrue(36 <= made["schemaVersion"] <= 41)
        [asked] = made["__inputs"]
        self.assertEqual(
            (asked["name"], asked["type"], asked["pluginId"]), ("DS_PROMETHEUS", "datasource", "prometheus")
        )
        kinds = {each["id"] for each in made["__requires"] if each["type"] == "panel"}
        source = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
        self.assertEqual([each["datasource"] for each in made["templating"]["list"]], [source])
        taken: set[tuple[int, int]] = set()
        ids = [panel["id"] for panel in made["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        for panel in made["panels"]:
            place = panel["gridPos"]
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            self.assertEqual(cells & taken, set(), panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells
            if panel["type"] != "row":
                self.assertIn(panel["type"], kinds)
                self.assertEqual(
                    {json.dumps(each["datasource"]) for each in (panel, *panel["targets"])},
                    {json.dumps(source)},
                )
                refs = [target["refId"] for target in panel["targets"]]
                self.assertEqual(len(refs), len(set(refs)))

    def test_every_alert_is_tried(self) -> None:
        """Each fires in one of the rules' own tests, and says what it is about."""
        tried = re.findall(r'alertname="(\w+)"', RULE_TESTS.read_text(encoding="utf-8"))
        self.assertEqual(set(alerts()), set(tried))
        rules = RULES.read_text(encoding="utf-8")
        self.assertEqual(len(alerts()), rules.count("severity: page}") + rules.count("severity: ticket}"))


class RuleTests(SynchronousTestCase):
    skip = MISSING or None

    def test_promtool(self) -> None:
        """The rules are well formed, and do what their tests say."""
        for words in (["check", "rules", RULES], ["test", "rules", RULE_TESTS]):
            done = subprocess.run(["promtool", *words], capture_output=True, text=True, cwd=RULES.parent)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class LiveTests(SynchronousTestCase):
    """A daemon with calls, and a Prometheus that watches it."""

    skip = MISSING or None

    def setUp(self) -> None:
        here = Path(self.mktemp()).absolute()
        self.daemon = LiveDaemon(here / "daemon", {**SCRIPTED, "eager_transcription": False})
        self.addCleanup(self.daemon.stop)
        self.daemon.start()
        self.prometheus = Prometheus(here / "prometheus", f"127.0.0.1:{self.daemon.port}")
        self.addCleanup(self.prometheus.stop)
        self.prometheus.until(lambda: [h for h, _ in self.prometheus.targets()] == ["up"])

    def call(self, number: int) -> None:
        """Words and keys, an answer to each."""
        peer = self.daemon.peer()
        peer.send({"event": "connected"}, start(number))
        for packet in [QUIET] * 30 + [TONE] * 40 + [QUIET] * 150:
            peer.send(media(packet))
            time.sleep(0.01)
        peer.must_answer()
        peer.send(STOP)
        self.assertEqual(peer.close_code(), 1000)
        peer.close()

    def test_everything(self) -> None:
        """The target is up, every panel and every rule evaluates, and the panels of calls have data."""
        self.daemon.get("/nowhere")
        self.daemon.raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 0.2)
        for number in range(2, 4):
            Sentinel(self.daemon, number).run()
        for number in range(10, 13):  # a rate is of what comes after the first
            self.call(number)
        self.assertEqual(self.prometheus.targets(), [("up", "")])
        ask = self.prometheus.get
        asked = "sum(voxray_turn_latency_seconds_count) > 0 and sum(voxray_calls_ended_total) >= 3"
        self.prometheus.until(lambda: ask("query", query=asked)["result"])
        time_of_turn = 'sum(rate(voxray_turn_latency_seconds_count{stage="total"}[1m]))'
        self.prometheus.until(lambda: ask("query", query=f"{time_of_turn} > 0")["result"])
        for row, panel, expr in queries():
            found = ask("query", query=expr)["result"]
            if row in HAS_DATA and panel not in MAY_BE_EMPTY:
                figures = [each["value"][1] for each in found if each["value"][1] != "NaN"]
                self.assertTrue(figures, f"{row}: {panel}: {expr}")
        self.rules()

    def rules(self) -> None:
        """All are loaded and evaluate; the open door of this daemon is about to be told of."""
        found = {}

        def evaluated() -> bool:
            groups = self.prometheus.get("rules")["groups"]
            found.update({rule["name"]: rule for group in groups for rule in group["rules"]})
            return {rule["health"] for rule in found.values()} == {"ok"}

        self.prometheus.until(evaluated)
        self.assertEqual(set(found), set(alerts()))
        self.assertEqual({rule.get("lastError", "") for rule in found.values()}, {""})
        told = {name: rule["state"] for name, rule in found.items() if name not in OF_A_BUSY_MACHINE}
        active = {name: state for name, state in told.items() if state != "inactive"}
        self.assertEqual(active, {"VoxrayInsecure": "pending"})
