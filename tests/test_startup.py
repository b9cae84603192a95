"""The command line: every mistake is one line on stderr and status 1; nothing heavy is loaded to say it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.logger import Logger
from twisted.plugin import getPlugins
from twisted.scripts.twistd import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from tests.configs import LOCAL
from tests.dangers import shows
from tests.house import free_port
from voxray import __version__, logs
from voxray.options import Options
from voxray.settings import LogSettings

ROOT = Path(__file__).parents[1]
HEAVY = (
    "numpy",
    "scipy",
    "onnxruntime",
    "autobahn",
    "klein",
    "treq",
    "twisted.web",
    "twisted.internet.reactor",
)


class OptionsTests(SynchronousTestCase):
    """Options, in this process."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = str(self.directory / "voxray.json")
        self.write(LOCAL)
        self.patch(os, "environ", {})
        self.addCleanup(logs.choose, LogSettings())
        self.stderr = io.StringIO()
        self.patch(sys, "stderr", self.stderr)

    def write(self, document: dict[str, object]) -> None:
        Path(self.path).write_text(json.dumps(document), encoding="utf-8")

    def parse(self, *words: str) -> Options:
        options = Options()  # type: ignore[no-untyped-call]
        options.parseOptions(words)
        return options

    def refused(self, *words: str) -> str:
        """The one line, without its newline."""
        self.stderr.truncate(0)
        self.stderr.seek(0)
        end = self.assertRaises(SystemExit, self.parse, *words)
        self.assertEqual(end.code, 1)
        text = self.stderr.getvalue()
        self.assertEqual(text.count("\n"), 1)
        self.assertTrue(text.startswith("voxray: ") and text.endswith("\n"))
        return text.rstrip("\n")

    def test_settings(self) -> None:
        """After parsing there are settings, warnings and origins."""
        self.write({**LOCAL, "prot": 1})
        options = self.parse("--config", self.path)
        self.assertEqual(options.settings.calls.carrier, "twilio")
        self.assertIn('unknown key "prot": did you mean "port"?', options.warnings)
        self.assertEqual(options.origins["provider"], "file")

    def test_overrides(self) -> None:
        """The options win over the environment, and the environment over the file."""
        os.environ.update(VOXRAY_PORT="2", VOXRAY_CONFIG=self.path)
        words = ("--port", "3", "--proxy", "bot.example.com", "--transport", "twilio")
        options = self.parse(*words)
        server = options.settings.server
        self.assertEqual((server.port, server.proxy_host), (3, "bot.example.com"))
        self.assertEqual(options.origins["runner_transport"], "--transport")
        self.assertEqual(self.parse().settings.server.port, 2)

    def test_one_dash(self) -> None:
        """The Go daemon's spelling of the options is understood."""
        options = self.parse("-config", self.path, "-port=9", "-strict")
        self.assertEqual(options.settings.server.port, 9)
        self.assertEqual(self.parse("-c", self.path).settings.server.port, 8080)

    @shows("F61")
    def test_mistakes(self) -> None:
        """Wrong options, a missing file, a wrong key: one line each."""
        for words, text in (
            (("--bogus",), "option --bogus not recognized"),
            (("--config",), "option --config requires argument"),
            (("--config", self.path, "extra"), "'extra' is no option"),
            (("--config", "/nowhere.json"), "there is no configuration at /nowhere.json"),
            (
                ("--config", self.path, "--port", "http"),
                '--port must be a whole number from 0 to 65535 (got "http")',
            ),
            (("--config", self.path, "--proxy", "https://a.b/"), "--proxy must be a bare host name"),
            (("--config", self.path, "--transport", "daily"), "not built yet; built: twilio"),
        ):
            self.assertIn(text, self.refused(*words))

    def test_other_go_flags(self) -> None:
        """What the Go daemon had and we have not is refused by name, with what to do instead."""
        for words, text in (
            (("-init", "--init"), "`voxray init PATH` writes a configuration"),
            (("-dialin", "--dialin"), "not built yet: leave the option out"),
        ):
            for word in words:
                self.assertIn(text, self.refused(word, "--config", self.path))

    @shows("T12", "F61")
    def test_one_line_always(self) -> None:
        """A name with a newline or an escape sequence stays on one line of ASCII."""
        line = self.refused("--config", "/nowhere\n\x1b[31m\u2603.json")
        self.assertTrue(line.isascii())
        self.assertNotIn("\x1b", line)

    def test_strict(self) -> None:
        """With --strict an unknown key is the end."""
        self.write({**LOCAL, "prot": 1})
        self.assertIn('--strict: unknown key "prot"', self.refused("--strict", "--config", self.path))

    def test_from_another_directory(self) -> None:
        """twistd may change directory after parsing: relative paths start where they did, however given."""
        self.addCleanup(os.chdir, os.getcwd())
        os.environ.update(VOXRAY_CDR_FILE="cdr.jsonl")
        for words in (("--config", "voxray.json"), ()):
            os.environ.update(VOXRAY_CONFIG="" if words else "voxray.json")
            os.chdir(self.directory)
            options = self.parse(*words)
            os.chdir("/")
            self.assertEqual(options.load().settings, options.settings)
            self.assertEqual(options.settings.calls.cdr_file, str(self.directory / "cdr.jsonl"))

    def test_log(self) -> None:
        """In the foreground our observer writes at the chosen level; twistd's own choices are respected."""
        self.write({**LOCAL, "log_level": "error", "json_logs": True})
        for words, expected in (
            (("-n",), logs.observer),
            (("-n", "--logfile", "x.log"), None),
            ((), None),
        ):
            twistd = ServerOptions()
            twistd.parseOptions([*words, "voxray", "--config", self.path])
            self.assertIs(twistd.get("logger"), expected)
        written = io.StringIO()
        self.patch(sys, "stdout", written)
        log = Logger(observer=logs.observer())
        log.warn("not this")
        log.error("this")
        self.assertEqual([json.loads(line)["msg"] for line in written.getvalue().splitlines()], ["this"])

    def test_version(self) -> None:
        """--version is ours, not Twisted's."""
        self.patch(sys, "stdout", io.StringIO())
        self.assertEqual(self.assertRaises(SystemExit, self.parse, "--version").code, 0)
        self.assertEqual(sys.stdout.getvalue(), f"voxray {__version__}\n")  # type: ignore[attr-defined]


class TwistdTests(SynchronousTestCase):
    """The real twistd, from another directory."""

    def run_python(self, *words: str) -> subprocess.CompletedProcess[str]:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("VOXRAY_")}
        environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), environ.get("PYTHONPATH", "")])
        directory = self.mktemp()
        os.mkdir(directory)
        return subprocess.run(
            [sys.executable, *words],
            cwd=directory,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_plugin(self) -> None:
        """twistd knows the voxray command, and the plugin's file imports nothing of voxray."""
        names = [plugin.tapname for plugin in getPlugins(IServiceMaker)]
        self.assertEqual(names.count("voxray"), 1)
        text = (ROOT / "twisted" / "plugins" / "voxray_plugin.py").read_text(encoding="utf-8")
        self.assertNotIn("import voxray", text)
        self.assertNotIn("from voxray", text)

    @shows("F61")
    def test_one_line(self) -> None:
        """A mistake in the configuration: one line, no traceback, no usage dump, status 1."""
        bad = Path(self.mktemp()).absolute()
        bad.write_text('{"provider": "local", "proxy_host": "https://bot.example.com/"}', encoding="utf-8")
        end = self.run_python(
            "-c", "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()",
            "-n", "--pidfile=", "voxray", "--config", str(bad),
        )  # fmt: skip
        self.assertEqual(
            (end.returncode, end.stderr, end.stdout),
            (
                1,
                "voxray: proxy_host must be a bare host name, without scheme, slash or spaces: "
                'write "bot.example.com" (got "https://bot.example.com/")\n',
                "",
            ),
        )

    @shows("F61")
    def test_engine_missing(self) -> None:
        """What is found out only when the engines start: one line, status 1, and no pid file stays behind."""
        here = Path(self.mktemp()).absolute()
        here.mkdir()
        wanted = {"provider": "scripted", "tts_provider": "local", "tts_voice": "bob"}
        given = wanted | {"host": "127.0.0.1", "port": free_port(), "log_level": "error"}
        (here / "c.json").write_text(json.dumps(given), encoding="utf-8")
        end = self.run_python(
            "-c", "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()",
            "-n", "--pidfile", str(here / "pid"), "voxray", "--config", str(here / "c.json"),
        )  # fmt: skip
        self.assertEqual((end.returncode, end.stderr, end.stdout.count("\n")), (1, "", 1))
        self.assertIn("cannot start: local: unavailable: no voice 'bob'; there are rms", end.stdout)
        self.assertEqual([each.name for each in here.iterdir()], ["c.json"])

    def test_light(self) -> None:
        """Reading options and configuration loads no model runtime, no web server and no reactor."""
        code = f"import sys, voxray.options; print([m for m in {HEAVY!r} if m in sys.modules])"
        self.assertEqual(self.run_python("-c", code).stdout, "[]\n")
