"""Keys nobody knows, keys that wait for their feature, a file with every key of the Go project."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.configs import LOCAL, document_of, loaded, settings
from voxray.config import from_document, load
from voxray.config.key import Key
from voxray.config.keys import KEYS
from voxray.config.kinds import Choice, Texts
from voxray.errors import ConfigError

GO_FILE = Path(__file__).parent / "data" / "config" / "go-style.json"


def plain(value: object) -> object:
    """A default as JSON has it."""
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, str | bool | int | float | None) else {}


def other_value(key: Key) -> object:
    """A legal value that is not the default."""
    options: dict[str, object] = {
        "plugins": ["vad"], "stt_fallback": ["groq"], "llm_fallback": ["groq"], "tts_fallback": ["groq"],
        "plugin_options": {"vad": {}}, "trusted_proxies": ["10.0.0.0/8"], "metrics_bind": "127.0.0.1:9100",
        "metrics.audio_sample_rate": 0.5,
    }  # fmt: skip
    if key.name in options:
        return options[key.name]
    if isinstance(key.kind, Choice):
        return next(option for option in key.kind.options if option not in ("", key.default))
    if isinstance(key.default, bool):
        return not key.default
    if isinstance(key.default, int | float):
        return key.default + 1
    return ["x"] if isinstance(key.kind, Texts) else "x"


class UnknownTests(SynchronousTestCase):
    """Keys nobody knows, and keys that wait for their feature."""

    def test_nearest(self) -> None:
        """The nearest known key is named, within groups and maps too."""
        made = loaded({"prot": 1, "recording": {"buket": "b"}, "api_keys": {"opena": "k"}, "zzzzqq": 1})
        for warning in (
            'unknown key "prot": did you mean "port"?',
            'unknown key "recording.buket": did you mean "recording.bucket"?',
            'unknown key "api_keys.opena": did you mean "api_keys.openai"?',
            'unknown key "zzzzqq": no key is like it',
        ):
            self.assertIn(warning, made.warnings)

    def test_dotted(self) -> None:
        """A dotted key is told how to be written."""
        made = loaded({"recording.enable": True})
        self.assertIn('unknown key "recording.enable": write {"recording": {"enable": ...}}', made.warnings)
        self.assertFalse(made.settings.recording.enable)

    def test_capitals(self) -> None:
        """Go does not mind capitals in keys: they are understood, with a warning."""
        made = loaded({"Port": 99, "Recording": {"Bucket": "b"}})
        self.assertEqual((made.settings.server.port, made.settings.recording.bucket), (99, "b"))
        self.assertIn('write "Port" in small letters: "port"', made.warnings)

    def test_strict(self) -> None:
        """With strict, mistakes are errors; keys without effect and advice are not."""
        with self.assertRaisesRegex(ConfigError, '^--strict: unknown key "prot"'):
            from_document({**LOCAL, "prot": 1}, {}, strict=True)
        with self.assertRaisesRegex(ConfigError, "VOXRAY_PORT is ignored"):
            from_document(LOCAL, {"VOXRAY_PORT": "x"}, strict=True)
        from_document({**LOCAL, "workers": 2, "_comment_x": 1}, {}, strict=True)

    def test_comments(self) -> None:
        """Keys that begin with _comment are comments, at every level."""
        noted: dict[str, object] = {
            "_comment": 1,
            "_comment_a": [],
            "api_keys": {"_comment": 3},
            "recording": {"_comment": {}},
            "plugin_options": {"_comment": 1},
        }
        self.assertEqual(loaded(noted).warnings, loaded().warnings)
        self.assertEqual(dict(settings(noted).extensions.plugin_options), {})

    def test_no_effect(self) -> None:
        """Every key that waits is named in a warning when set to something; at its default it is not."""
        for key in KEYS.values():
            if not key.later or key.name == "telephony_auth":
                continue
            value = other_value(key)
            extra: dict[str, object] = {
                "redis_url": "redis://h",
                "transcripts": {"driver": "mysql", "dsn": "d"},
            }
            document = {**extra, **document_of(key, value)}
            if key.name == "transcripts.enable":
                document["transcripts"] = {"driver": "mysql", "dsn": "d", "enable": True}
            lines = [w for w in loaded(document).warnings if "no effect yet" in w]
            self.assertEqual(sum(key.name in w.split(":")[0].split(", ") for w in lines), 1, key.name)
            lines = [w for w in loaded(document_of(key, plain(key.default))).warnings if "no effect yet" in w]
            self.assertEqual(lines, [], key.name)

    def test_secrets_do_not_show(self) -> None:
        """The settings' repr, the warnings and the origins hold no secret."""
        secret = "s3cr3t-value"
        made = loaded(
            {"api_keys": {"openai": secret}, "server_api_key": secret, "redis_url": f"redis://:{secret}@h",
             "session_store": "redis", "daily_dialin_webhook_secret": secret,
             "transcripts": {"dsn": secret}},
        )  # fmt: skip
        self.assertNotIn(secret, repr(made))

    def test_frozen(self) -> None:
        """Nothing in the settings can be changed, the options of plugins included."""
        made = settings({"plugin_options": {"rtvi": {"a": [1]}}, "api_keys": {"openai": "k"}})
        with self.assertRaises(dataclasses.FrozenInstanceError):
            made.server.port = 1  # type: ignore[misc]
        for mapping in (made.extensions.plugin_options, made.providers.api_keys, made.providers.base_urls):
            with self.assertRaises(TypeError):
                mapping["x"] = 1  # type: ignore[index]
        self.assertEqual(made.extensions.plugin_options["rtvi"]["a"], (1,))  # type: ignore[index]


class GoFileTests(SynchronousTestCase):
    """A file with every key of the Go project."""

    def setUp(self) -> None:
        self.made = load(str(GO_FILE), {})

    def test_values(self) -> None:
        """It loads as it is, and its values arrive."""
        made = self.made.settings
        self.assertEqual(
            (made.server.host, made.server.port, made.calls.carrier), ("127.0.0.1", 3042, "twilio")
        )
        self.assertEqual((made.turns.stop_secs, made.turns.stop_timeout_secs), (3.0, 4.0))
        self.assertEqual((made.turns.interruption_strategy, made.turns.min_words), ("min_words", 3))
        self.assertEqual((made.server.cors_allowed_origins, made.logs.level), ((), "warn"))
        self.assertEqual((made.recording.worker_count, made.recording.queue_cap), (4, 32))
        self.assertEqual(made.extensions.mcp.args, ("-y", "mcp-server"))
        self.assertEqual(made.providers.api_keys, {"groq": "gsk-file"})

    def test_warnings(self) -> None:
        """None of its keys is unknown; those without effect are named; a deaf level is pointed out."""
        text = "\n".join(self.made.warnings)
        self.assertNotIn("unknown", text)
        for name in ("recording.enable", "transcripts.dsn", "mcp.command", "plugins", "runner_port"):
            self.assertIn(name, text)
        self.assertIn("vad_min_volume 0.25 is louder than most telephone speech", text)
