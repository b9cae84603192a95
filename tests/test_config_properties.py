"""Every key, any value: it loads or there is one line; the environment says what the file would."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.configs import LOCAL, document_of
from voxray.config import from_document
from voxray.config.hosts import Address, Host
from voxray.config.key import Key
from voxray.config.keys import GROUPS, KEYS, MAPS
from voxray.config.kinds import (
    Choice,
    FilePath,
    Flag,
    Networks,
    Number,
    Secrets,
    Text,
    Texts,
    Whole,
    WholeChoice,
)
from voxray.config.transfers import Numbers
from voxray.errors import ConfigError

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.characters()
    | st.sampled_from(["twilio", "local", "127.0.0.1", "", "https://x/", 10**400, "\ud800", "a\0b", "/dev"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
# A busy machine is no defect of the parser: nothing here depends on the wall clock.
unhurried = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NAMES = (*KEYS, *GROUPS, *MAPS)


def env_texts(key: Key) -> st.SearchStrategy[tuple[str, object]]:
    """Pairs of a variable's text and the same value as the file would have it."""
    kind = key.kind
    if isinstance(kind, Flag):
        return st.sampled_from([("true", True), ("True", True), ("1", True), ("false", False), ("0", False)])
    if isinstance(kind, Whole):
        return st.integers(kind.low, kind.high).map(lambda n: (str(n), n))
    if isinstance(kind, Number):
        return st.floats(kind.low, kind.high).map(lambda n: (repr(n), n))
    if isinstance(kind, WholeChoice):
        return st.sampled_from([(str(option), option) for option in kind.options])
    if isinstance(kind, Choice):
        return st.sampled_from([(option, option) for option in kind.options if option])
    if isinstance(kind, Networks):
        return st.just(("10.0.0.0/8, ::1", ["10.0.0.0/8", "::1"]))
    if isinstance(kind, Texts):
        words = st.lists(st.sampled_from(["openai", "groq"] if "fallback" in key.name else ["vad", "rtvi"]),
                         min_size=1)  # fmt: skip
        return words.map(lambda items: (",".join(items), items))
    if isinstance(kind, Host):
        return st.sampled_from([(h, h) for h in ("localhost", "bot.example.com", "10.0.0.1", "::1")])
    if isinstance(kind, Address):
        return st.just(("127.0.0.1:9100", "127.0.0.1:9100"))
    if isinstance(kind, Numbers):
        return st.just(("a=+14155550100, b c=sip:x@h", {"a": "+14155550100", "b c": "sip:x@h"}))
    if isinstance(kind, FilePath):
        return st.just((os.path.abspath(__file__), os.path.abspath(__file__)))
    if key.name.endswith("provider"):
        return st.sampled_from([(name, name) for name in ("local", "scripted", "openai")])
    assert isinstance(kind, Text | Secrets)
    return st.text("abc_", min_size=1).map(lambda text: (text, text))


class PropertyTests(SynchronousTestCase):
    """Any value of any key."""

    @unhurried
    @given(st.sampled_from(NAMES), JSON_VALUES)
    def test_anything(self, name: str, value: object) -> None:
        """Whatever a key holds, it loads or there is one line of ASCII-safe text."""
        group, _, member = name.rpartition(".")
        document = {**LOCAL, **({group: {member: value}} if group else {member: value})}
        try:
            made = from_document(document, {})
        except ConfigError as error:
            self.check_line(str(error))
        else:
            for warning in made.warnings:
                self.check_line(warning)

    @unhurried
    @given(st.dictionaries(st.sampled_from(NAMES) | st.text(), JSON_VALUES, max_size=6))
    def test_documents(self, document: dict[str, object]) -> None:
        """Several at once, and names that nobody knows."""
        try:
            for warning in from_document(document, {"OPENAI_API_KEY": "k"}).warnings:
                self.check_line(warning)
        except ConfigError as error:
            self.check_line(str(error))

    @unhurried
    @given(st.sampled_from([k for k in KEYS.values() if k.env_names]), st.text(min_size=1))
    def test_any_variable(self, key: Key, text: str) -> None:
        """Whatever a variable holds, it loads or there is one line."""
        try:
            from_document(LOCAL, {key.env_names[0]: text})
        except ConfigError as error:
            self.check_line(str(error))

    @unhurried
    @given(st.data())
    def test_environment_equals_file(self, data: st.DataObject) -> None:
        """A value from the environment gives the settings the file would give with it."""
        key = data.draw(st.sampled_from([k for k in KEYS.values() if k.env_names]))
        text, value = data.draw(env_texts(key))
        keys = {"OPENAI_API_KEY": "k", "GROQ_API_KEY": "k"}
        results = []
        for document, environ in ((document_of(key, value), {}), ({}, {key.env_names[0]: text})):
            try:
                results.append(from_document({**LOCAL, **document}, {**keys, **environ}).settings)
            except ConfigError as error:
                results.append(str(error).partition(" (got")[0].partition("must")[2])  # type: ignore[arg-type]
        self.assertEqual(results[0], results[1])

    def check_line(self, line: str) -> None:
        self.assertNotIn("\n", line)
        self.assertLess(len(line), 1500)
        line.encode("utf-8")
