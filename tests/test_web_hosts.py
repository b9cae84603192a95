"""T7: the Host header ends up in an answer document."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.web import envelope
from voxray.web.hosts import acceptable, public_host, sent_host, stream_url, valid_host

GOOD = ("voice.example.com", "localhost:8080", "10.0.0.1", "[::1]", "[2001:db8::1]:443", "a", "A-b.c:1")
BAD = (
    "",
    "a b",
    "a/b",
    "a,b",
    "user@host",
    'a"/><Redirect>http://evil/</Redirect><x y="',
    "a<b",
    "a&b",
    "a'b",
    "a\nb",
    "host\n",
    "host\x00",
    "host:",
    "host:0",
    "host:65536",
    "host:123456",
    "host:80:80",
    "host:²",
    "host:+80",
    ":80",
    "::1",
    "[::1",
    "::1]",
    "[::1]x",
    "[::1]:",
    "[zz::1]",
    "[1.2.3.4]",
    "[::1%eth0]",
    "[]",
    "a" * 254,
    "a" * 8192,
    "münchen.example",
    "http://host",
    "host_name",
    "host\\x",
    "%2f",
    "a;b",
    "..",
    "a..b",
    ".a",
    "a" * 64 + ".b",
)


@shows("T7")
class HostTests(SynchronousTestCase):
    """Syntax, and which host wins."""

    def test_good(self) -> None:
        """Names, addresses, brackets, ports."""
        for text in GOOD:
            self.assertTrue(valid_host(text), text)
            self.assertEqual(sent_host([text.encode()]), text)

    def test_bad(self) -> None:
        """Everything else, a trailing newline included."""
        for text in BAD:
            self.assertFalse(valid_host(text), text)
            self.assertFalse(acceptable([text.encode()]), text)

    def test_repeated_or_not_ascii(self) -> None:
        """Two Host headers, or bytes that are no ASCII, are none."""
        self.assertIsNone(sent_host([b"a", b"a"]))
        self.assertIsNone(sent_host([b"a\xff"]))
        self.assertFalse(acceptable([b"a", b"b"]))
        self.assertTrue(acceptable([]))

    def test_configured_host_wins(self) -> None:
        """With `proxy_host` the request's own is never used."""
        self.assertEqual(public_host("voice.example.com", [b"evil.example"]), "voice.example.com")
        self.assertEqual(public_host("", [b"here.example:8080"]), "here.example:8080")
        self.assertIsNone(public_host("", []))
        self.assertEqual(stream_url("h:1"), "wss://h:1/telephony/ws")

    @settings(max_examples=500, deadline=None)
    @given(st.text(max_size=40))
    def test_only_safe_characters_pass(self, text: str) -> None:
        """No accepted host holds anything that means something in XML, in a URL or in a log."""
        if valid_host(text):
            self.assertEqual(
                set(text) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]"), set()
            )


@shows("T12")
class RequestIdTests(SynchronousTestCase):
    """The caller's id for a request."""

    def test_sane_ids_are_echoed(self) -> None:
        """Letters, digits and a little punctuation, up to 64."""
        for sent in ("abc-1", "a" * 64, "550e8400-e29b-41d4-a716-446655440000"):
            self.assertEqual(envelope.request_id(sent), sent)

    def test_others_are_replaced(self) -> None:
        """Nothing that could break a log line or a header comes back."""
        for sent in (None, "", "a\nb", "a b", "a:b", "a" * 65, "é", '"'):
            made = envelope.request_id(sent)
            self.assertNotEqual(made, sent)
            self.assertEqual(len(made), 36)
