"""Every variable, one by one: it does to the settings what its key does in the file, and not nothing."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import write_pair
from tests.configs import SILERO, document_of
from voxray.config import from_document
from voxray.config.hosts import Address, Host
from voxray.config.key import Key
from voxray.config.keys import KEYS
from voxray.config.kinds import Choice, FilePath, Flag, Networks, Number, Text, Texts, Whole, WholeChoice
from voxray.config.names import KEY_ENV, URL_ENV
from voxray.config.transfers import Numbers
from voxray.settings import Settings

# Built, and not what a call gets anyway.
CHOSEN = {
    "runner_transport": "twilio",
    "vad_type": "energy",
    "telephony_auth": "off",
    "transcripts.driver": "mysql",
}


class EnvironmentTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        certificate, key = write_pair(directory)
        self.file = directory / "other"
        self.file.write_text("{}", encoding="utf-8")
        # What some keys cannot be switched on without.
        self.base: dict[str, object] = {
            "provider": "local",
            "tls_cert_file": certificate,
            "tls_key_file": key,
            "trusted_proxies": ["10.0.0.5"],
            "redis_url": "redis://h",
            "transcripts": {"driver": "postgres", "dsn": "postgres://h"},
        }

    def made(self, document: dict[str, object], **environ: str) -> Settings:
        merged = {**self.base, **document}
        if isinstance(group := document.get("transcripts"), dict):
            merged["transcripts"] = {"driver": "postgres", "dsn": "postgres://h", **group}
        return from_document(merged, environ, installed=SILERO.__contains__).settings

    def sample(self, key: Key) -> tuple[str, object]:
        """A text that is not the default, and the same value as the file would have it."""
        kind = key.kind
        if isinstance(kind, Flag):
            return str(not key.default).lower(), not key.default
        if isinstance(kind, Whole | Number):
            default = key.default
            assert isinstance(default, int | float)
            candidates = (default * 2, default / 2, 7, 0.5)
            value = next(c for c in candidates if c != default and kind.low <= c <= kind.high)
            return (str(int(value)), int(value)) if isinstance(kind, Whole) else (str(value), value)
        if isinstance(kind, WholeChoice):
            number = next(option for option in kind.options if option != key.default)
            return str(number), number
        if isinstance(kind, Choice):
            word = CHOSEN.get(key.name) or next(o for o in kind.options if o and o != key.default)
            return word, word
        if isinstance(kind, Networks):
            return "10.0.0.0/8,::1", ["10.0.0.0/8", "::1"]
        if isinstance(kind, Texts):
            words = ["scripted"] if "fallback" in key.name else ["vad", "rtvi"]
            return ",".join(words), words
        if isinstance(kind, FilePath):
            return str(self.file), str(self.file)
        for of, text in ((Host, "10.9.8.7"), (Address, "127.0.0.1:9100")):
            if isinstance(kind, of):
                return text, text
        if isinstance(kind, Numbers):
            return "sales=+14155550100", {"sales": "+14155550100"}
        word = "scripted" if key.name.endswith("provider") else "some_text"
        assert isinstance(kind, Text) or key.secret, key
        return word, word

    def test_keys(self) -> None:
        """All variables of all keys."""
        nothing_set = self.made({})
        for key in KEYS.values():
            for variable in key.env_names:
                text, value = self.sample(key)
                by_variable = self.made({}, **{variable: text})
                self.assertEqual(by_variable, self.made(document_of(key, value)), variable)
                self.assertNotEqual(by_variable, nothing_set, variable)

    def test_credentials(self) -> None:
        """All variables of all credentials, and no two share a name."""
        for name, variables in KEY_ENV.items():
            for variable in variables:
                made = self.made({}, **{variable: "a-key"})
                self.assertEqual(dict(made.providers.api_keys), {name: "a-key"}, variable)

    def test_addresses(self) -> None:
        """All variables of all vendors' addresses."""
        for name, variable in URL_ENV.items():
            made = self.made({}, **{variable: "https://h.example/v1/"})
            self.assertEqual(dict(made.providers.base_urls), {name: "https://h.example/v1"}, variable)
