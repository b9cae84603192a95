"""What is refused at start: names, hosts, missing keys, files."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import write_pair
from tests.configs import LOCAL, loaded, settings
from voxray import catalog
from voxray.config import from_document, names
from voxray.config.hosts import bare_host, split_host
from voxray.errors import ConfigError


class Refusals(SynchronousTestCase):
    def refused(self, document: dict[str, object], **environ: str) -> str:
        return str(self.assertRaises(ConfigError, loaded, document, **environ))


class CarrierTests(Refusals):
    """runner_transport and telephony_auth."""

    def test_none(self) -> None:
        """Without a carrier the daemon starts and says that it answers no calls."""
        made = from_document({"provider": "local"}, {})
        self.assertEqual(made.settings.calls.carrier, "")
        self.assertIn("no calls are answered", made.warnings[0])

    def test_not_built(self) -> None:
        """Every other carrier of the contract is known, and refused as not built."""
        built = ", ".join(names.CARRIERS_BUILT)
        for carrier in sorted({*names.CARRIERS} - {*names.CARRIERS_BUILT}):
            self.assertEqual(
                self.refused({"runner_transport": carrier}),
                f'runner_transport: "{carrier}" is a known name but not built yet; built: {built}',
            )

    def test_unknown(self) -> None:
        """A name nobody knows is refused with the nearest."""
        self.assertIn('did you mean "twilio"? (got "twillio")', self.refused({"runner_transport": "twillio"}))

    def test_auth(self) -> None:
        """What is asked to be checked and cannot be is refused; an open door is said once, loudly."""
        for auth in ("signature", "both"):
            self.assertIn("set TWILIO_AUTH_TOKEN", self.refused({"telephony_auth": auth}))
        [warning] = [text for text in loaded().warnings if "ANYBODY" in text]
        self.assertIn("ANYBODY who finds the webhook can start calls", warning)
        self.assertIn("set TWILIO_AUTH_TOKEN", warning)
        self.assertNotIn("ANYBODY", str(loaded({"telephony_auth": "off"}).warnings))
        self.assertIn("webhooks are not checked", str(loaded({"telephony_auth": "token"}).warnings))

    def test_secret_without_host(self) -> None:
        """Signatures that cover the address could not match; those that do not need no host."""
        secrets = {
            "twilio": {"twilio_auth_token": "t"},
            "plivo": {"plivo_auth_token": "t"},
            "telnyx": {"telnyx_public_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="},
            "exotel": {"exotel_ws_user": "u", "exotel_ws_password": "p"},
        }
        for carrier, keys in secrets.items():
            document: dict[str, object] = {"runner_transport": carrier, "api_keys": keys}
            for mode in ("auto", "signature", "both"):
                if carrier in ("twilio", "plivo"):
                    self.assertIn("proxy_host", self.refused({**document, "telephony_auth": mode}))
                made = loaded({**document, "telephony_auth": mode, "proxy_host": "h"})
                self.assertNotIn("ANYBODY", str(made.warnings))
            loaded({**document, "telephony_auth": "off"})
        self.assertIn("proxy_host", self.refused({"runner_transport": "auto", "api_keys": secrets["plivo"]}))


class ProviderTests(Refusals):
    """Names of providers."""

    def test_unknown(self) -> None:
        """A name nobody knows is refused with the nearest known ones."""
        for key in ("stt_provider", "llm_provider", "tts_provider"):
            message = self.refused({key: "opnai"})
            self.assertTrue(message.startswith(f'{key}: "opnai" is unknown; nearest: openai'), message)
        self.assertIn("built: openai, groq, local, scripted", self.refused({"provider": "zzz"}))

    def test_not_built(self) -> None:
        """Every provider of the contract, and three more, is known and said not to be built."""
        for stage in names.STAGES:
            for name in names.KNOWN[stage]:
                if name not in names.BUILT[stage]:
                    self.assertEqual(
                        self.refused({f"{stage}_provider": name}),
                        f'{stage}_provider: "{name}" is a known name but not built yet; '
                        "built: openai, groq, local, scripted",
                    )
        for name, stage in (("deepgram", "stt"), ("cartesia", "tts"), ("assemblyai", "stt")):
            self.assertIn(name, names.KNOWN[stage])

    def test_catalog(self) -> None:
        """What is said to be built is what the catalog builds."""
        self.assertEqual({stage: set(built) for stage, built in names.BUILT.items()}, dict(catalog.BUILT))

    def test_other_role(self) -> None:
        """A language model asked to transcribe is told what to set."""
        message = self.refused({"provider": "anthropic"})
        self.assertTrue(
            message.startswith('provider: "anthropic" does no stt; set stt_provider to one'), message
        )

    def test_missing_key(self) -> None:
        """The variable to set is named; local and scripted need none; an own server is no exception."""
        self.assertEqual(
            self.refused({"tts_provider": "groq", "base_urls": {"groq": "http://127.0.0.1:1"}}),
            "no API key for groq, which tts_provider asks for: "
            "set GROQ_API_KEY, or api_keys.groq in the configuration",
        )
        self.assertIn("OPENAI_API_KEY", self.refused({"provider": "openai"}))
        self.assertIn("OPENAI_API_KEY", self.refused({"provider": "openai"}, OPENAI_API_KEY="  "))
        settings({"provider": "scripted"})
        settings({"provider": "openai", "api_keys": {"openai": "k"}})

    def test_key_text(self) -> None:
        """A key that cannot travel in a header is refused, and not shown."""
        for key in ("sk-\nabc", "sk-\u201cabc\u201d", 5):
            message = self.refused({"api_keys": {"openai": key}})
            self.assertTrue(message.startswith("api_keys.openai must be"), message)
            self.assertNotIn("abc", message)

    def test_urls(self) -> None:
        """A base URL is absolute, http or ws, without a query."""
        for url in (
            "127.0.0.1:9000",
            "ftp://h/",
            "http://",
            "http://h/?a=1",
            "http://h:x/",
            "http://a b/",
            1,
        ):
            self.assertIn("base_urls.openai must be", self.refused({"base_urls": {"openai": url}}))

    def test_plugins(self) -> None:
        """Unknown plugins are refused with the nearest."""
        self.assertIn("nearest: frame_filter", self.refused({"plugins": ["frame_filtr"]}))

    def test_aic(self) -> None:
        """The contract's future detector is known and not built."""
        self.assertIn("not built yet; built: silero, energy", self.refused({"vad_type": "aic"}))


class HostTests(Refusals):
    """proxy_host is bare."""

    def test_corrected(self) -> None:
        """A scheme, a slash and the like are refused with the value to write instead."""
        for text, instead in (
            ("https://bot.example.com", "bot.example.com"),
            ("https://bot.example.com/", "bot.example.com"),
            ("HTTPS://bot.example.com:8443/x?y", "bot.example.com:8443"),
            ("bot.example.com/", "bot.example.com"),
            ("//bot.example.com", "bot.example.com"),
            ("https//bot.example.com", "bot.example.com"),
            ("https:bot.example.com", "bot.example.com"),
            ("wss://user:pw@bot.example.com", "bot.example.com"),
            (" bot.example.com ", "bot.example.com"),
            ("https://[::1]:8080/", "[::1]:8080"),
            ("b\u00fccher.example", "xn--bcher-kva.example"),
        ):
            self.assertIn(f'spaces: write "{instead}"', self.refused({"proxy_host": text}))

    def test_hopeless(self) -> None:
        """Where there is no telling what was meant, an example is given."""
        for text in ("https://", "a b", 'x"><y', "bot.example.com:99999", "-"):
            self.assertIn("proxy_host must be a bare host name", self.refused({"proxy_host": text}))

    def test_accepted(self) -> None:
        """A host, with a port or without."""
        for text in (
            "bot.example.com",
            "bot.example.com:8443",
            "10.0.0.1",
            "abc123.ngrok.io",
            "[::1]:80",
            "",
        ):
            self.assertEqual(settings({"proxy_host": text}).server.proxy_host, text)

    def test_listen_host(self) -> None:
        """The address to listen on takes no port and no scheme; brackets of IPv6 are dropped."""
        self.assertIn('write "127.0.0.1"', self.refused({"host": "http://127.0.0.1:8080"}))
        self.assertEqual(settings({"host": "[::1]"}).server.host, "::1")

    @hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.text(max_size=40) | st.from_regex(r"https?://[a-z:/@.\[\]0-9]{0,12}"))
    def test_any_text(self, text: str) -> None:
        """What is offered instead is itself accepted, and never holds a scheme or slash."""
        for with_port in (True, False):
            instead = bare_host(text, with_port)
            if instead:
                self.assertIsNotNone(split_host(instead, with_port))
                self.assertNotIn("/", instead)


class NumberTests(Refusals):
    """Wrong types and values out of range."""

    def test_refused(self) -> None:
        """The key, what it must be, and what it was, in one line."""
        for name, value, text in (
            ("port", 65536, "port must be a whole number from 0 to 65535 (got 65536)"),
            ("port", -1, "port must be a whole number from 0 to 65535 (got -1)"),
            ("port", "8080", 'port must be a whole number from 0 to 65535 (got "8080")'),
            ("port", True, "port must be a whole number from 0 to 65535 (got true)"),
            ("port", 8080.0, "port must be a whole number from 0 to 65535 (got 8080.0)"),
            ("port", 10**5000, "port must be a whole number from 0 to 65535"),
            ("max_calls", 0, "max_calls must be a whole number from 1 to 100000 (got 0)"),
            ("turn_stop_secs", float("nan"), "turn_stop_secs must be a number from 0 to 60 (got nan)"),
            ("turn_stop_secs", False, "turn_stop_secs must be a number from 0 to 60 (got false)"),
            ("turn_stop_secs", 10**400, "turn_stop_secs must be a number from 0 to 60"),
            ("vad_confidence", 1.5, "vad_confidence must be a number from 0 to 1 (got 1.5)"),
            ("json_logs", "true", 'json_logs must be true or false, without quotes (got "true")'),
            ("json_logs", 1, "json_logs must be true or false, without quotes (got 1)"),
            ("plugins", "vad", 'plugins must be a list of strings, such as ["a", "b"] (got "vad")'),
            ("greeting", ["hi"], "greeting must be a string (got a list)"),
            ("recording", 5, 'recording must be an object, such as {"recording": {...}}'),
            ("api_keys", [], 'api_keys must be an object, such as {"openai": "..."}'),
            ("model", "\ud800", 'model must be text (it holds half of a surrogate pair) (got "\\ud800")'),
        ):  # fmt: skip
            self.assertEqual(self.refused({name: value}), text)

    def test_networks(self) -> None:
        """trusted_proxies takes addresses and blocks."""
        made = settings({"trusted_proxies": ["10.0.0.0/8", "::1"]}).server.trusted_proxies
        self.assertEqual(made, ("10.0.0.0/8", "::1"))
        self.assertIn("list of addresses or blocks", self.refused({"trusted_proxies": ["proxy.local"]}))

    def test_metrics_bind(self) -> None:
        """metrics_bind needs host and port."""
        self.assertIn("must be host:port", self.refused({"metrics_bind": "127.0.0.1"}))


class StoreTests(Refusals):
    """The two texts of the contract, to the letter."""

    def test_texts(self) -> None:
        self.assertEqual(
            self.refused({"session_store": "redis"}), "session_store is redis but redis_url is empty"
        )
        self.assertEqual(
            self.refused({"transcripts": {"enable": True, "driver": "postgres"}}),
            "transcripts enabled but driver or dsn missing",
        )

    def test_redis(self) -> None:
        """With its URL, Redis is accepted from the environment too; a URL that is none is refused."""
        made = loaded(VOXRAY_SESSION_STORE="redis", VOXRAY_REDIS_URL="redis://h/0")
        self.assertEqual(made.settings.stores.session_store, "redis")
        self.assertNotIn("redis", str(made.warnings))
        wrong = self.refused({"session_store": "redis", "redis_url": "http://:s3cret@h"})
        self.assertIn("redis_url must begin with", wrong)
        self.assertNotIn("s3cret", wrong)

    def test_without_effect(self) -> None:
        """A URL that nothing uses is said to be."""
        warnings = str(loaded({"redis_url": "redis://h"}).warnings)
        self.assertIn("redis_url has no effect: session_store is memory", warnings)

    def test_one_secret_for_all(self) -> None:
        """Where streams need tokens, instances that share Redis need one secret."""
        shared: dict[str, object] = {
            "session_store": "redis",
            "redis_url": "redis://h",
            "proxy_host": "h.example",
        }
        signed = {"TWILIO_AUTH_TOKEN": "t"}
        for document, environ, warned in (
            (shared, signed, True),
            ({**shared, "telephony_auth": "token"}, {}, True),
            ({**shared, "telephony_auth": "off"}, signed, False),
            ({**shared, "stream_secret": "s"}, signed, False),
            ({"proxy_host": "h.example"}, signed, False),
        ):
            warnings = str(loaded(document, **environ).warnings)
            self.assertEqual("stream_secret is not set" in warnings, warned, document)

    def test_table_name(self) -> None:
        self.assertIn("letters, digits and", self.refused({"transcripts": {"table_name": "x; drop"}}))


class TlsTests(Refusals):
    """The pair is tried before the daemon starts."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.crt, self.key = write_pair(self.directory.absolute())

    def document(self, crt: str, key: str) -> dict[str, object]:
        return {**LOCAL, "tls_enable": True, "tls_cert_file": crt, "tls_key_file": key}

    def test_pair(self) -> None:
        """A certificate and its key are accepted."""
        made = settings(self.document(self.crt, self.key)).server.tls
        self.assertEqual((made.enable, made.cert_file, made.key_file), (True, self.crt, self.key))

    def test_missing_file(self) -> None:
        """Never plain HTTP because a file is not there."""
        message = self.refused(self.document(self.crt, "/nowhere/key.pem"))
        self.assertEqual(message, 'tls_key_file: cannot read "/nowhere/key.pem": No such file or directory')
        self.assertIn("tls_cert_file is not set", self.refused({"tls_enable": True}))
        self.assertIn("Is a directory", self.refused(self.document(str(self.directory.absolute()), self.key)))

    def test_wrong_key(self) -> None:
        """Another certificate's key, a key with a pass phrase, a file that is no PEM."""
        _, other = write_pair(self.directory.absolute(), "other")
        self.assertIn("is not the key of the certificate", self.refused(self.document(self.crt, other)))
        _, locked = write_pair(self.directory.absolute(), "locked", b"secret")
        self.assertIn("has a pass phrase", self.refused(self.document(self.crt, locked)))
        self.assertIn("no usable PEM", self.refused(self.document(self.key, __file__)))

    def test_not_enabled(self) -> None:
        """Files without tls_enable: plain HTTP, and said so."""
        made = loaded({"tls_cert_file": self.crt, "tls_key_file": self.key})
        self.assertIn("tls_enable is not: plain HTTP is served", str(made.warnings))


class FileTests(Refusals):
    """Files that must be there."""

    def test_scenario(self) -> None:
        """A scenario that cannot be read is refused at start."""
        self.assertIn("scenario_file: cannot read", self.refused({"scenario_file": "/nowhere.json"}))

    def test_cdr_directory(self) -> None:
        """The CDR file's directory must exist."""
        self.assertIn("there is no directory", self.refused({"cdr_file": "/nowhere/cdr.jsonl"}))
        self.assertIn("is a directory", self.refused({"cdr_file": "/"}))


class LocalTests(SynchronousTestCase):
    """What the local engines cannot do is said when it is asked of them."""

    def test_models(self) -> None:
        """They have one model each; a vendor's may be chosen."""
        for key, stage in (("model", "llm"), ("stt_model", "stt"), ("tts_model", "tts")):
            warning = f"{key} has no effect: {stage}_provider is local, which has one"
            self.assertIn(warning, loaded({key: "large"}).warnings)
            made = loaded({key: "large", f"{stage}_provider": "openai"}, OPENAI_API_KEY="k")
            self.assertNotIn("no effect", str(made.warnings))

    def test_language(self) -> None:
        """English, whichever key asks for another."""
        for document in ({"stt_language": "hi-IN"}, {"language": "hi-IN"}):
            made = loaded(document)
            self.assertIn('stt_provider local understands English only, not "hi-IN"', made.warnings)
        self.assertNotIn("English only", str(loaded({"stt_language": "en-GB"}).warnings))
        made = loaded({"language": "de", "stt_provider": "openai"}, OPENAI_API_KEY="k")
        self.assertNotIn("English only", str(made.warnings))

    def test_scenario(self) -> None:
        """A vendor's model follows no scenario."""
        made = loaded({"scenario_file": __file__, "llm_provider": "openai"}, OPENAI_API_KEY="k")
        self.assertIn("scenario_file has no effect: llm_provider is openai, not local", made.warnings)
        self.assertNotIn("scenario_file", str(loaded({"scenario_file": __file__}).warnings))
