"""Reading the file: where it is, what is wrong in it, where its paths lead."""

from __future__ import annotations

import json
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.configs import LOCAL
from voxray.config import load
from voxray.errors import ConfigError


class FileTests(SynchronousTestCase):
    """Reading the file."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def write(self, data: str | bytes) -> str:
        path = self.directory / "voxray.json"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return str(path)

    def refused(self, data: str | bytes) -> str:
        return str(self.assertRaises(ConfigError, load, self.write(data), {}))

    def test_syntax(self) -> None:
        """Line and column, and the usual slips in words."""
        for text, where, why in (
            ('{\n  "port": 1,\n}', "line 3, column 1", "remove the comma before the closing bracket"),
            ("{\n  // no\n}", "line 2, column 3", 'use a key such as "_comment"'),
            ("{\n 'port': 1}", "line 2, column 2", "strings take double quotes"),
            ("", "line 1, column 1", "the file is empty"),
            ('{"port" 1}', "line 1, column 9", "expecting ':' delimiter"),
        ):
            message = self.refused(text)
            self.assertIn(f"voxray.json, {where}: not JSON: ", message)
            self.assertIn(why, message)

    def test_not_an_object(self) -> None:
        """Whatever else is JSON is told what the file must hold."""
        for text in ("[]", "1", '"x"', "null"):
            self.assertIn("must hold one JSON object", self.refused(text))

    def test_odd_bytes(self) -> None:
        """Other encodings, NaN, endless digits and endless nesting are refused in words."""
        self.assertIn("line 2: not UTF-8", self.refused(b'{\n"greeting": "\xe4"}'))
        self.assertIn("NaN is not JSON", self.refused('{"port": NaN}'))
        self.assertIn("thousands of digits", self.refused('{"port": ' + "9" * 5000 + "}"))
        self.assertIn("nested too deeply", self.refused("[" * 100_000))
        self.assertIn("larger than 4 MiB", self.refused(b" " * (4 * 1024 * 1024 + 1)))

    def test_byte_order_mark(self) -> None:
        """A mark that some editors write is not an error."""
        path = self.write(b"\xef\xbb\xbf" + json.dumps(LOCAL).encode())
        self.assertEqual(load(path, {}).settings.calls.carrier, "twilio")

    def test_twice(self) -> None:
        """A key there twice is warned about, and the last one holds; twice a comment is no matter."""
        text = '{"_comment": 1, "_comment": 2, "provider": "local", "port": 1, "port": 2}'
        made = load(self.write(text), {})
        self.assertEqual(made.settings.server.port, 2)
        self.assertIn('"port" is there more than once', made.warnings[0])
        self.assertNotIn("_comment", str(made.warnings))
        self.assertRaises(ConfigError, load, self.write(text), {}, strict=True)

    def test_unreadable(self) -> None:
        """No file, a directory, an impossible name: the path and the reason."""
        missing = str(self.directory / "none.json")
        self.assertRaisesRegex(ConfigError, "there is no configuration at .*none.json", load, missing, {})
        self.assertRaisesRegex(ConfigError, "Is a directory", load, str(self.directory), {})
        self.assertRaisesRegex(ConfigError, "NUL", load, "a\0b", {})

    def test_which(self) -> None:
        """The option, else VOXRAY_CONFIG, else /etc/voxray.json."""
        path = self.write(json.dumps({**LOCAL, "port": 77}))
        self.assertEqual(load(None, {"VOXRAY_CONFIG": path}).settings.server.port, 77)
        self.assertEqual(load(path, {"VOXRAY_CONFIG": "/nowhere"}).settings.server.port, 77)

    def test_relative_paths(self) -> None:
        """Paths in the file start from its directory, those of variables from the current one."""
        (self.directory / "s.json").write_text("{}")
        path = self.write(json.dumps({**LOCAL, "scenario_file": "s.json", "cdr_file": "./cdr.jsonl"}))
        made = load(path, {}).settings
        here = os.path.abspath(self.directory)
        self.assertEqual(made.agent.scenario_file, os.path.join(here, "s.json"))
        self.assertEqual(made.calls.cdr_file, os.path.join(here, "cdr.jsonl"))
        made = load(path, {"VOXRAY_CDR_FILE": "cdr.jsonl"}).settings
        self.assertEqual(made.calls.cdr_file, os.path.abspath("cdr.jsonl"))

    def test_default_file(self) -> None:
        """etc/voxray.json, the one that ships, loads strictly, offline, and with no key."""
        path = Path(__file__).parents[1] / "etc" / "voxray.json"
        made = load(str(path), {}, strict=True).settings
        self.assertEqual([made.providers.stt.provider, made.providers.llm.provider], ["local", "local"])
        self.assertEqual(
            (made.server.host, made.server.port, made.calls.carrier), ("127.0.0.1", 8080, "twilio")
        )
        self.assertTrue(made.agent.greeting and made.agent.system_prompt)
