"""What is written to Redis and what is believed of what is read there; `redis_url`."""

from __future__ import annotations

import contextlib
import json
import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.call.expected import Expected
from voxray.errors import ConfigError
from voxray.stores.address import RedisAddress, parse
from voxray.stores.forms import (
    MAX_BYTES,
    Poisoned,
    digest,
    expected_of,
    expected_text,
    is_session_id,
    live_of,
    live_text,
    session_of,
    session_text,
)
from voxray.stores.ports import LiveCall, Session
from voxray.stores.replies import Meaning, Refusal

WORDS = st.text(st.characters(codec="utf-8"), max_size=20)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=10,
)
BODIES = st.dictionaries(WORDS, JSON, max_size=4)
EXPECTED = st.builds(
    Expected,
    call_id=st.text("abc", min_size=1),
    carrier=st.sampled_from(["twilio", "exotel"]),
    call_sid=WORDS,
    from_number=WORDS,
    to_number=WORDS,
    verified=st.booleans(),
    outbound=st.booleans(),
    body=BODIES,
    max_secs=st.floats(0, 1e6),
)
LIVE = st.builds(
    LiveCall,
    lease=st.text("0f", min_size=1),
    carrier=WORDS,
    call_sid=WORDS,
    call_id=st.text("0f", min_size=1),
    node=WORDS,
    outbound=st.booleans(),
    began_at=st.floats(0, 1e10),
)


class RoundTripTests(SynchronousTestCase):
    """What we write is what we read."""

    @given(st.builds(Session, BODIES, st.booleans()))
    def test_sessions(self, session: Session) -> None:
        self.assertEqual(session_of(session_text(session)), session)

    @given(EXPECTED)
    def test_announced_calls(self, expected: Expected) -> None:
        self.assertEqual(expected_of(expected_text(expected)), expected)

    @given(LIVE)
    def test_live_calls(self, call: LiveCall) -> None:
        self.assertEqual(live_of(live_text(call)), call)


@shows("T21", "F25")
class DistrustTests(SynchronousTestCase):
    """Readers of strangers' writing."""

    @given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
    def test_anything(self, text: bytes) -> None:
        """They return a value of theirs or say Poisoned, and nothing else."""
        for reader, kind in ((session_of, Session), (expected_of, Expected), (live_of, LiveCall)):
            with contextlib.suppress(Poisoned):
                self.assertIsInstance(reader(text), kind)

    def test_each_field(self) -> None:
        """A field that is gone, of another type or far too long spoils the whole."""
        expected = json.loads(expected_text(Expected("id", "twilio", "CA1", body={"a": 1})))
        call = json.loads(live_text(LiveCall("l", "twilio", "CA1", "id", "n")))
        for good, reader in ((expected, expected_of), (call, live_of)):
            reader(json.dumps(good).encode())
            for name, value in good.items():
                other: Any = 7 if isinstance(value, str | bool | dict) else "x"
                for bad in (
                    {**good, name: other},
                    {**good, name: None},
                    {n: v for n, v in good.items() if n != name},
                ):
                    self.assertRaises(Poisoned, reader, json.dumps(bad).encode())
                if isinstance(value, str):
                    self.assertRaises(Poisoned, reader, json.dumps({**good, name: "x" * 257}).encode())
            for name in ("max_secs", "began_at"):
                if name in good:
                    self.assertRaises(Poisoned, reader, json.dumps({**good, name: True}).encode())

    def test_size(self) -> None:
        """A byte too many, and it is not even parsed."""
        text = session_text(Session({"a": ""}))
        fits = text.replace(b'""', b'"' + b"x" * (MAX_BYTES - len(text)) + b'"')
        self.assertEqual(len(session_of(fits).body["a"]), MAX_BYTES - len(text))  # type: ignore[arg-type]
        self.assertRaises(Poisoned, session_of, fits + b" ")

    def test_no_token(self) -> None:
        """Who reads Redis cannot open the stream of a call that is announced there."""
        self.assertNotIn(b"s3cret", expected_text(Expected("id", "twilio", "CA1", token="s3cret")))


@shows("T21")
class IdTests(SynchronousTestCase):
    def test_session_ids(self) -> None:
        """A canonical UUID, and no other writing of it."""
        one = str(uuid.uuid4())
        self.assertTrue(is_session_id(one))
        others = [
            "",
            "*",
            one + "\n",
            f"{{{one}}}",
            f"urn:uuid:{one}",
            one.replace("-", ""),
            one.upper(),
            "\r\nFLUSHALL",
            "x" * 1_000_000,
            f"../{one}",
            one.replace(one[0], "٣", 1),
        ]
        for text in others:
            self.assertFalse(is_session_id(text) and text != one, text[:50])

    def test_digest(self) -> None:
        """Words are told apart where they part; half a character is a character."""
        made = {digest("a", "bc"), digest("ab", "c"), digest("abc"), digest("\ud800"), digest("a\0bc", "")}
        self.assertEqual((len(made), {len(each) for each in made}), (5, {32}))


class RefusalTests(SynchronousTestCase):
    def test_meaning(self) -> None:
        """By the code, also where an old Redis quotes it in the middle; the rest of the text is dropped."""
        for text, meaning in (
            ("READONLY You can't write against a read only replica.", Meaning.STALE),
            ("LOADING Redis is loading the dataset in memory", Meaning.STALE),
            ("MASTERDOWN Link with MASTER is down", Meaning.STALE),
            ("NOAUTH Authentication required.", Meaning.AUTH),
            ("WRONGPASS invalid username-password pair", Meaning.AUTH),
            ("NOPERM this user has no permissions", Meaning.AUTH),
            ("OOM command not allowed when used memory > 'maxmemory'.", Meaning.WRITE),
            (" Error running script (call to f_1): @user_script:1: -OOM command not allowed", Meaning.WRITE),
            ("WRONGTYPE Operation against a key", Meaning.TYPE),
            ("NOSCRIPT No matching script.", Meaning.NO_SCRIPT),
            (" unknown command 'x', with args beginning with: 's3cret'", Meaning.OTHER),
            ("", Meaning.OTHER),
        ):
            refusal = Refusal(text)
            self.assertEqual(refusal.meaning, meaning, text)
            self.assertNotIn("s3cret", f"{refusal}{refusal!r}")


class AddressTests(SynchronousTestCase):
    def test_plain(self) -> None:
        """Host, port, database, user and password; with defaults."""
        for url, address in (
            ("redis://", RedisAddress((("localhost", 6379),))),
            ("redis://h", RedisAddress((("h", 6379),))),
            ("redis://h:7/3", RedisAddress((("h", 7),), db=3)),
            ("redis://h?db=3&read_timeout=1s", RedisAddress((("h", 6379),), db=3)),
            ("rediss://[::1]:7", RedisAddress((("::1", 7),), tls=True)),
            ("redis://[::1]", RedisAddress((("::1", 6379),))),
            ("redis://:p@h", RedisAddress((("h", 6379),), password="p")),
            ("redis://u:p%40%2F@h", RedisAddress((("h", 6379),), username="u", password="p@/")),
            ("redis://u:p@q@h", RedisAddress((("h", 6379),), username="u", password="p@q")),
            ("rediss://h?ssl_ca_certs=/x.pem", RedisAddress((("h", 6379),), tls=True, ca_file="/x.pem")),
        ):
            self.assertEqual(parse(url), address, url)

    def test_others(self) -> None:
        """Sockets and sentinels."""
        for url, address in (
            ("unix:///run/r.sock?db=2", RedisAddress(path="/run/r.sock", db=2)),
            ("unix://u:p@/run/r.sock", RedisAddress(path="/run/r.sock", username="u", password="p")),
            ("redis+sentinel://a,b:7/m", RedisAddress((("a", 26379), ("b", 7)), master="m")),
            (
                "rediss+sentinel://u:p@a/m/4",
                RedisAddress((("a", 26379),), master="m", tls=True, username="u", password="p", db=4),
            ),
        ):
            self.assertEqual(parse(url), address, url)

    def test_refused(self) -> None:
        """In one line that shows nothing of the password."""
        for url in (
            "",
            "h:6379",
            "http://:s3cret@h",
            "redis://s3cret@h",
            "redis://:s3cret@h:0",
            "redis://:s3cret@h:x",
            "redis://:s3cret@h/x",
            "redis://:s3cret@h h",
            "redis://:s3cret@h?dbb=s3cret",
            "unix://:s3cret@h/path",
            "unix://",
            "redis+sentinel://:s3cret@a,b",
            "redis+sentinel://:s3cret@a,,b:99999/m",
        ):
            error = self.assertRaises(ConfigError, parse, url)
            self.assertIn("redis_url", str(error))
            self.assertNotIn("s3cret", str(error))

    @given(st.text() | st.text().map(lambda text: f"redis://{text}"))
    def test_anything(self, url: str) -> None:
        """An address or a ConfigError."""
        with contextlib.suppress(ConfigError):
            parse(url)

    @shows("T10")
    def test_for_the_log(self) -> None:
        """Neither user nor password is in it."""
        for url, text in (
            ("redis://user:s3cret@h:7/3", "redis://h:7"),
            ("rediss://user:s3cret@[::1]", "rediss://[::1]:6379"),
            ("unix://user:s3cret@/run/r.sock", "unix:///run/r.sock"),
            ("redis+sentinel://user:s3cret@a,b:7/m", "redis+sentinel://a:26379,b:7/m"),
        ):
            self.assertEqual(str(parse(url)), text)
            self.assertNotIn("s3cret", repr(parse(url)))
