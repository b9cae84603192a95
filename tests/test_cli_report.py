"""What the commands print: one line a thing, no control character, no secret, colour on a terminal alone."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.cli import Screen
from tests.dangers import shows
from voxray.cli.report import Finding, Paper, Verdict, failed, plain, tally
from voxray.masking import HIDDEN, Masking

SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), min_size=6, max_size=20)


class PaperTests(SynchronousTestCase):
    def lines(self, terminal: bool = False, environ: dict[str, str] | None = None) -> list[str]:
        screen = Screen(terminal)
        paper = Paper(screen, environ or {})
        for verdict in Verdict:
            paper.finding(Finding(verdict, "topic", "text", "remedy" if verdict is Verdict.FAIL else ""))
        return screen.getvalue().splitlines()

    def test_plain(self) -> None:
        """A verdict, a topic, what there is and what to do: one line each."""
        self.assertEqual(
            self.lines(),
            [
                "ok    topic        text",
                "warn  topic        text",
                "fail  topic        text; remedy",
                "skip  topic        text",
            ],
        )

    def test_colours(self) -> None:
        """On a terminal, unless that is dumb or the owner wants none."""
        self.assertTrue(all(line.startswith("\x1b[") for line in self.lines(True, {"TERM": "xterm"})))
        for environ in ({"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}):
            self.assertEqual(self.lines(True, environ), self.lines())

    @given(st.text())
    def test_one_line(self, text: str) -> None:
        """Whatever a text holds, it is one line, and moves no terminal."""
        screen = Screen()
        Paper(screen, {}).line(f"x{text}")
        self.assertEqual(len(screen.getvalue().splitlines()), 1)
        self.assertTrue(all(c.isprintable() for c in screen.getvalue()[:-1]))
        self.assertEqual(plain("a\x1b[2J\u202eb"), "a\\x1b[2J\\u202eb")

    def test_tally(self) -> None:
        """Counted in words."""
        ok, warn, fail = (Finding(v, "t", "x") for v in (Verdict.OK, Verdict.WARN, Verdict.FAIL))
        self.assertEqual(tally([ok]), "no problem")
        self.assertEqual(tally([fail, warn, warn]), "1 problem, 2 warnings")
        self.assertEqual(tally([fail, fail, warn]), "2 problems, 1 warning")
        self.assertEqual((failed([ok, warn]), failed([ok, fail])), (False, True))


@shows("T10")
class MaskingTests(SynchronousTestCase):
    @given(SECRETS, st.text(max_size=10), st.text(max_size=10))
    def test_by_value(self, secret: str, before: str, after: str) -> None:
        """A known secret is hidden wherever it stands, in lines and in JSON alike."""
        masked = Masking([secret])(f"{before}{secret}{after}")
        self.assertIn(HIDDEN, masked)
        screen = Screen()
        Paper(screen, {}, Masking([secret])).document({"a": [f"{before} {secret} {after}"]})
        self.assertIn(HIDDEN, json.loads(screen.getvalue())["a"][0])

    def test_secrets(self) -> None:
        """The longer of two first, each of a pair, keys by their look, users of URLs; nothing else."""
        masking = Masking(["secret-one,secret-two", "secret-one-longer", "abc"])
        for text, expected in (
            ("x secret-one-longer y", "x (hidden) y"),
            ("secret-two", HIDDEN),
            ("abc is too short to be looked for", "abc is too short to be looked for"),
            ("key sk-proj_0123456789abcdef.", "key (hidden)."),
            ("redis://user:pass@host/0", "redis://(hidden)@host/0"),
            ("wss://host/telephony/ws", "wss://host/telephony/ws"),
            ("mail me@example.com", "mail me@example.com"),
        ):
            self.assertEqual(masking(text), expected)
