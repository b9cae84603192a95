"""`voxray print-config`: each key, what it is, and who says so."""

from __future__ import annotations

from typing import Any

from tests.cli import CommandCase
from tests.configs import document_of
from voxray.config.keys import KEYS
from voxray.config.kinds import Secrets
from voxray.masking import HIDDEN


class ShowTests(CommandCase):
    def keys(self, *words: str) -> Any:
        status, document = self.document("print-config", *words)
        self.assertEqual(status, 0)
        self.assertEqual(document["file"], str(self.path))
        return document["keys"]

    def test_every_key(self) -> None:
        """None is left out; what nobody set is the default, and is said to be."""
        self.configured()
        shown = self.keys()
        self.assertEqual(list(shown)[: len(KEYS)], list(KEYS))
        self.assertEqual(shown["max_calls"], {"value": 200, "origin": "default", "by": ""})
        self.assertEqual(shown["language"]["value"], "en")

    def test_origins(self) -> None:
        """File, variable and option, in the order in which they win."""
        self.configured(
            {"port": 1, "host": "127.0.0.1", "api_keys": {"groq": "from-the-file"}},
            VOXRAY_MAX_CALLS="5", PORT="2", OPENAI_API_KEY="from-a-variable", GROQ_BASE_URL="http://a:1",
        )  # fmt: skip
        shown = self.keys("--port", "3")
        for name, origin, by in (
            ("host", "file", ""),
            ("max_calls", "variable", "VOXRAY_MAX_CALLS"),
            ("port", "option", "--port"),
            ("api_keys.openai", "variable", "OPENAI_API_KEY"),
            ("api_keys.groq", "file", ""),
            ("base_urls.groq", "variable", "GROQ_BASE_URL"),
        ):
            self.assertEqual((shown[name]["origin"], shown[name]["by"]), (origin, by), name)
        self.assertEqual((shown["port"]["value"], shown["max_calls"]["value"]), (3, 5))
        self.assertEqual(shown["api_keys.openai"]["value"], HIDDEN)

    def test_what_holds(self) -> None:
        """The value is the one the daemon goes by, also where it follows from another key."""
        self.configured({"provider": "scripted", "rtc_max_duration_secs": 60, "tls_cert_file": "a.pem"})
        shown = self.keys()
        self.assertEqual(shown["stt_provider"], {"value": "scripted", "origin": "default", "by": ""})
        self.assertEqual(shown["max_call_secs"]["value"], 60)
        self.assertEqual(shown["rtc_max_duration_secs"]["value"], 60)
        self.assertEqual(shown["tls_cert_file"]["value"], str(self.directory / "a.pem"))

    def test_secret_keys(self) -> None:
        """Set or not is seen; what it is, never."""
        for key in KEYS.values():
            if not key.secret:
                continue
            empty = [] if isinstance(key.kind, Secrets) else ""
            self.configured()
            self.assertEqual(self.keys()[key.name]["value"], empty)
            self.configured(document_of(key, "redis://:hush-hush@h"))
            self.assertEqual(self.keys()[key.name]["value"], HIDDEN, key.name)

    def test_secrets_within(self) -> None:
        """Options of plugins and of tools may hold some, under names that say so."""
        headers = {"Authorization": "Bearer hush-a", "Accept": "text/plain"}
        self.configured(
            {
                "plugin_options": {"external_chain": {"url": "http://u:hush-b@h", "headers": headers}},
                "mcp": {
                    "command": "tool",
                    "args": ["--token", "hush-c", "--api-key=hush-d", "--verbose", "x"],
                },
            }
        )
        status, out, err = self.typed("print-config", "--config", str(self.path))
        self.assertEqual(status, 0)
        self.assertNotIn("hush", out + err)
        for kept in ("text/plain", "--verbose", '"x"', "external_chain"):
            self.assertIn(kept, out)

    def test_text(self) -> None:
        """A line a key, its value as JSON, and in brackets who says so; warnings stay beside."""
        self.configured({"greeting": 'Say "hi"', "prot": 1})
        status, out, err = self.typed("print-config", "--config", str(self.path))
        lines = dict(line.split(None, 1) for line in out.splitlines()[1:])
        self.assertEqual(status, 0)
        self.assertEqual(lines["greeting"], '"Say \\"hi\\""  (file)')
        self.assertIn("(default)", lines["max_calls"])
        self.assertIn('unknown key "prot"', err)
        self.assertNotIn('prot"', out)

    def test_refused(self) -> None:
        """A configuration that the daemon would not take has no values to show."""
        self.configured({"port": "x"})
        status, out, err = self.typed("print-config", "--config", str(self.path))
        self.assertEqual((status, out), (1, ""))
        self.assertIn("port must be", err)
