"""`voxray init`: a file that the daemon takes as it is, and that nothing of the owner's is lost for."""

from __future__ import annotations

import json
import os
import stat
from itertools import product
from pathlib import Path

from tests.cli import CommandCase
from tests.test_cli_plan import KEYS
from voxray.cli import scaffold
from voxray.cli.arguments import PROVIDERS
from voxray.config import from_document
from voxray.config.names import AUTO, CARRIERS_BUILT

HOST = "bot.example.com"


class DocumentTests(CommandCase):
    def test_every_choice(self) -> None:
        """The daemon takes each, strictly; with the secrets in the environment it has nothing to warn of."""
        keys: dict[str, object] = {"api_keys": {**KEYS, "openai": "k", "groq": "k"}}
        for carrier, provider in product((*CARRIERS_BUILT, AUTO), PROVIDERS):
            document = json.loads(scaffold.text(carrier, provider, HOST))
            loaded = from_document({**document, **keys}, {}, strict=True)
            self.assertEqual(loaded.warnings, (), (carrier, provider))
            self.assertEqual(loaded.settings.calls.carrier, carrier)
            self.assertEqual(loaded.settings.providers.tts.provider, provider)

    def test_comments(self) -> None:
        """What to set at the carrier, and where the secrets go; no secret itself."""
        text = scaffold.text("telnyx", "openai", HOST)
        for expected in (f"https://{HOST}/", "TELNYX_PUBLIC_KEY", "OPENAI_API_KEY", "docs/configuration.md"):
            self.assertIn(expected, text)
        self.assertNotIn("api_keys", json.loads(text))


class InitTests(CommandCase):
    def init(self, *words: str) -> tuple[int, str, str]:
        return self.typed("init", *words)

    def test_written(self) -> None:
        """At the path, for owner and group alone, whatever the umask; and `voxray check` is content."""
        self.addCleanup(os.umask, os.umask(0o077))
        status, out, err = self.init(str(self.path))
        self.assertEqual((status, err), (0, ""))
        self.assertIn(f"wrote {self.path}", out)
        self.assertIn(f"next         voxray check --config {self.path}", out)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)
        self.assertEqual(self.command("check")[0], 0)
        self.assertEqual([each.name for each in self.directory.iterdir()], ["voxray.json"])

    def test_default(self) -> None:
        """voxray.json, here."""
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)
        self.assertEqual(self.init("--carrier", "plivo", "--proxy-host", HOST)[0], 0)
        document = json.loads(self.path.read_text("utf-8"))
        self.assertEqual((document["runner_transport"], document["proxy_host"]), ("plivo", HOST))

    def test_still_to_do(self) -> None:
        """What the daemon would miss here and now is said, and the file is written all the same."""
        status, out, _ = self.init(str(self.path), "--provider", "groq")
        self.assertEqual(status, 0)
        self.assertIn("warn  still to do  no API key for groq", out)
        self.assertTrue(self.path.exists())

    def test_never_over(self) -> None:
        """A file that is there stays as it is, also a link to nowhere; --force replaces it, mode and all."""
        self.path.write_text("mine", encoding="utf-8")
        status, out, err = self.init(str(self.path))
        self.assertEqual((status, out), (1, ""))
        self.assertIn("is there already: nothing was written", err)
        self.assertEqual(self.path.read_text("utf-8"), "mine")
        self.path.unlink()
        self.path.symlink_to(self.directory / "nowhere")
        self.assertEqual(self.init(str(self.path))[0], 1)
        self.assertEqual(self.init(str(self.path), "--force")[0], 0)
        self.assertFalse(self.path.is_symlink())
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)
        self.assertEqual([each.name for each in self.directory.iterdir()], ["voxray.json"])

    def test_directories(self) -> None:
        """Are made where they are missing."""
        path = self.directory / "a" / "b" / "voxray.json"
        self.assertEqual(self.init(str(path))[0], 0)
        self.assertTrue(path.exists())

    def test_impossible(self) -> None:
        """One line, and nothing left behind."""
        (self.directory / "file").write_text("", encoding="utf-8")
        for path in (self.directory / "file" / "x.json", "a\0b"):
            status, out, err = self.init(str(path))
            self.assertEqual((status, out, err.count("\n")), (1, "", 1), path)
            self.assertIn("cannot write", err)
        self.assertEqual([each.name for each in self.directory.iterdir()], ["file"])

    def test_not_half(self) -> None:
        """A disk that is full leaves the old file, and no other."""
        self.path.write_text("mine", encoding="utf-8")

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", full)
        status, _, err = self.init(str(self.path), "--force")
        self.assertEqual(status, 1)
        self.assertIn("No space left", err)
        self.assertEqual(self.path.read_text("utf-8"), "mine")
        self.assertEqual([each.name for each in self.directory.iterdir()], ["voxray.json"])

    def test_host(self) -> None:
        """A URL for a host is a mistake of the command line, with the remedy."""
        status, _, err = self.init(str(self.path), "--proxy-host", "https://bot.example.com/")
        self.assertEqual(status, 2)
        self.assertIn('write "bot.example.com"', err)
        self.assertFalse(Path(self.path).exists())
