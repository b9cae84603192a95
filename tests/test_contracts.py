"""The rules of docs/design.md's table "Never" hold, and each of them fires when it is broken."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from twisted.trial import unittest

ROOT = Path(__file__).resolve().parent.parent


def load_script(name: str) -> ModuleType:
    """scripts/ is not a package; its files are loaded by path."""
    spec = importlib.util.spec_from_file_location(f"voxray_scripts_{name}", ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


check_reactor = load_script("check_reactor")
check_sizes = load_script("check_sizes")

# where, source, the rule that must name it
BROKEN = [
    ("web/site.py", "from twisted.internet import reactor", "reactor"),
    ("web/site.py", "def f():\n    from twisted.internet import reactor\n", "reactor"),
    ("web/site.py", "from twisted.internet import reactor as r", "reactor"),
    ("web/site.py", "import twisted.internet.reactor", "reactor"),
    ("web/site.py", "from twisted import internet\ninternet.reactor.callLater(1, f)", "reactor"),
    ("web/site.py", "import twisted.internet\ntwisted.internet.reactor.run()", "reactor"),
    ("call/pacer.py", "from twisted.internet.task import LoopingCall\nLoopingCall(f).start(1)", "implicit"),
    (
        "x.py",
        "from twisted.internet import task\ndef f(self):\n    self.l = task.LoopingCall(g)\n",
        "implicit",
    ),
    ("x.py", "from twisted.internet.task import LoopingCall\nl = LoopingCall.withCount(f)", "implicit"),
    (
        "x.py",
        "from twisted.internet.task import LoopingCall as L\n"
        "def f():\n    a = L(g)\n    a.clock = c\ndef h():\n    a = L(g)\n",
        "implicit",
    ),
    ("x.py", "from twisted.internet.threads import deferToThread\ndeferToThread(f)", "never"),
    ("x.py", "from twisted.internet import threads\nthreads.deferToThread(f)", "never"),
    ("x.py", "from twisted.internet import task\ntask.cooperate(i)", "never"),
    ("x.py", "from twisted.internet.task import Cooperator\nCooperator()", "implicit"),
    ("x.py", "from twisted.application.internet import ClientService\nClientService(e, f)", "implicit"),
    ("x.py", "import treq\ntreq.get('http://x')", "implicit"),
    ("x.py", "from treq import post\npost('http://x', timeout=1)", "implicit"),
    ("x.py", "from twisted.web.server import Site\nSite(root)", "implicit"),
    (
        "web/m.py",
        "from autobahn.twisted.websocket import WebSocketServerFactory as W\nW(url='ws://x')",
        "implicit",
    ),
    (
        "x.py",
        "from twisted.internet.defer import inlineCallbacks\n@inlineCallbacks\ndef f(): yield",
        "never",
    ),
    ("x.py", "import time\ntime.sleep(1)", "never"),
    ("x.py", "import time\npool.callInThread(time.sleep, 1)", "never"),
    ("x.py", "from time import sleep\nsleep(1)", "never"),
    ("x.py", "import urllib.request\nurllib.request.urlopen('http://x')", "never"),
    ("x.py", "import requests", "blocking"),
    ("x.py", "from requests import get", "blocking"),
    ("audio/g711.py", "import time\ntime.monotonic()", "clock"),
    ("call/call.py", "import datetime\ndatetime.datetime.now()", "clock"),
    ("turns/vad.py", "from datetime import datetime\ndatetime.now()", "clock"),
    ("call/call.py", "from twisted.web.client import Agent", "call"),
    ("call/call.py", "import twisted.internet.endpoints", "call"),
    ("call/call.py", "from twisted.internet import threads", "call"),
    ("config/keys.py", "import klein", "only-in"),
    ("web/api.py", "import txredisapi", "only-in"),
    ("call/call.py", "from autobahn.twisted import websocket", "only-in"),
    ("catalog.py", "from voxray.testing import CannedModel", "testing"),
    ("catalog.py", "import voxray.testing", "testing"),
    ("catalog.py", "from tests import test_g711", "testing"),
]

KEPT = [
    ("tap.py", "from twisted.internet import reactor"),
    ("simulator/cli.py", "from twisted.internet import reactor"),
    (
        "web/site.py",
        "from twisted.internet.interfaces import IReactorTime\ndef f(reactor): reactor.seconds()",
    ),
    ("web/site.py", "def f(self): self.twisted.internet.reactor"),
    (
        "x.py",
        "from twisted.internet.task import LoopingCall\ndef f():\n    a = LoopingCall(g)\n    a.clock = c\n",
    ),
    (
        "x.py",
        "from twisted.internet.task import LoopingCall\n"
        "def f(self):\n    self._l: LoopingCall = LoopingCall.withCount(g)\n    self._l.clock = c\n",
    ),
    ("x.py", "from twisted.internet.threads import deferToThreadPool\ndeferToThreadPool(r, p, f)"),
    ("x.py", "import treq\ntreq.get('http://x', reactor=r)\ntreq.content(x)"),
    ("x.py", "from twisted.web.server import Site\nSite(root, reactor=r)"),
    ("x.py", "from twisted.internet.task import Cooperator\nCooperator(scheduler=s)"),
    ("x.py", "def sleep(n): pass\nsleep(1)"),
    ("web/site.py", "import time\ntime.time()"),
    ("call/call.py", "from twisted.internet.defer import Deferred\nfrom twisted.logger import Logger"),
    ("call/call.py", "import twisted.internet.defer"),
]

# contract's id in setup.cfg -> module to plant, what it imports
PLANTS = {
    "pure": ("audio/planted.py", "import twisted.internet.defer"),
    "call": ("call/planted.py", "import voxray.web"),
    "serializers": ("serializers/planted.py", "import voxray.carriers"),
    "simulator": ("simulator/planted.py", "import voxray.serializers"),
    "one-list": ("web/planted.py", "import voxray.providers.planted"),
    "apart": ("providers/planted.py", "import voxray.carriers.planted"),
    "carriers": ("carriers/planted.py", "import voxray.carriers.twilio"),
    "providers": ("providers/scripted.py", "import voxray.providers.stt_openai"),
    "strata": ("turns/planted.py", "import voxray.call"),
}


class ReactorRulesTests(unittest.SynchronousTestCase):
    """scripts/check_reactor.py sees what import-linter cannot."""

    def test_each_offence_is_named(self) -> None:
        """Every planted snippet is reported once, under its rule and with its line."""
        for where, source, rule in BROKEN:
            offences = check_reactor.check_source(source, where)
            self.assertEqual([offence.rule for offence in offences], [rule], (where, source))
            self.assertLessEqual(offences[0].line, source.count("\n") + 1)

    def test_what_is_allowed_is_not_reported(self) -> None:
        """The same things done properly, or where they belong, pass."""
        for where, source in KEPT:
            self.assertEqual(check_reactor.check_source(source, where), [], (where, source))

    def test_the_shipped_code_keeps_them(self) -> None:
        """No module of voxray breaks a rule."""
        offences = [
            (path.name, offence)
            for path in (ROOT / "voxray").rglob("*.py")
            for offence in check_reactor.check_source(
                path.read_text("utf-8"), path.relative_to(ROOT / "voxray").as_posix()
            )
        ]
        self.assertEqual(offences, [])

    def test_the_roots_exist(self) -> None:
        """An excuse for a file that is gone would excuse whoever takes its name."""
        for root in check_reactor.ROOTS:
            self.assertTrue((ROOT / "voxray" / root).exists(), root)


class SizeTests(unittest.SynchronousTestCase):
    """scripts/check_sizes.py."""

    def test_a_long_module_is_named(self) -> None:
        """One line over the limit is too many; the limit itself is not."""
        self.assertEqual(check_sizes.too_large("x = 1\n" * 350, "x.py"), [])
        self.assertEqual(check_sizes.too_large("x = 1\n" * 351, "x.py"), ["1: 351 lines, at most 350"])

    def test_the_call_has_a_tighter_limit(self) -> None:
        """call/call.py is where voice servers grow without bound."""
        self.assertEqual(
            check_sizes.too_large("x = 1\n" * 251, "call/call.py"), ["1: 251 lines, at most 250"]
        )

    def test_a_long_function_is_named(self) -> None:
        """Nested and async functions count; a docstring does not."""
        body = "    x = 1\n" * 59
        self.assertEqual(check_sizes.too_large(f"def f():\n{body}", "x.py"), [])
        self.assertEqual(check_sizes.too_large(f'def f():\n    """a\n    b"""\n{body}', "x.py"), [])
        long = check_sizes.too_large(f"y = 1\nasync def f():\n{body}    x = 2\n", "x.py")
        self.assertEqual(long, ["2: f has 61 lines, at most 60"])


class ImportContractTests(unittest.SynchronousTestCase):
    """The contracts in setup.cfg, run by import-linter on a copy with one violation of each planted."""

    if importlib.util.find_spec("importlinter") is None:
        skip = "import-linter is not installed (make dev)"

    def lint(self, plants: dict[str, tuple[str, str]]) -> tuple[int, str]:
        """Exit status and output of lint-imports on a copy of the package with `plants` in it."""
        copy = Path(self.mktemp()).resolve()
        shutil.copytree(
            ROOT / "voxray", copy / "voxray", ignore=shutil.ignore_patterns("data", "__pycache__")
        )
        shutil.copy(ROOT / "setup.cfg", copy)
        for where, source in plants.values():
            with (copy / "voxray" / where).open("a") as planted:
                planted.write(f"\n{source}\n")
        # In a process of its own: import-linter looks the package up on sys.path, where ours already is.
        code = "import sys; from importlinter.cli import lint_imports_command as main; main(sys.argv[1:])"
        done = subprocess.run(
            [sys.executable, "-c", code, "--config", "setup.cfg", "--no-cache"],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def names(self) -> dict[str, str]:
        """Contract's id -> its name in the report."""
        config = configparser.ConfigParser()
        config.read(ROOT / "setup.cfg")
        prefix = "importlinter:contract:"
        return {
            section.removeprefix(prefix): config[section]["name"]
            for section in config.sections()
            if section.startswith(prefix)
        }

    def test_each_contract_fires(self) -> None:
        """With one violation of each, every contract is reported broken and names the planted module."""
        status, report = self.lint(PLANTS)
        self.assertEqual(status, 1, report)
        self.assertEqual(set(self.names()), set(PLANTS))
        # A chapter: its title, a line of dashes, what is wrong up to the next title.
        chapters = re.split(r"^(.+)\n-{5,}$", report.partition("Broken contracts")[2], flags=re.MULTILINE)
        told = dict(zip(chapters[1::2], chapters[2::2], strict=True))
        for contract, name in self.names().items():
            self.assertIn(f"{name} BROKEN", report)
            module = "voxray." + PLANTS[contract][0].removesuffix(".py").replace("/", ".")
            self.assertIn(module, told[name], contract)

    def test_the_shipped_code_keeps_them(self) -> None:
        """Without the plants every contract is kept: it is they that broke them."""
        status, report = self.lint({})
        self.assertEqual(status, 0, report)
        self.assertIn(f"{len(PLANTS)} kept, 0 broken", report)
