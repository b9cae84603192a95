"""Every JSON block of the page Voxray implements is a configuration, or adds to one."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import write_pair
from tests.seed import ENVIRONMENT, SeedBlock, seed_blocks
from voxray.config import Loaded, load


class SeedTests(SynchronousTestCase):
    """Unchanged, the keys from the environment."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.crt, self.key = write_pair(self.directory)

    def load(self, block: SeedBlock, text: str) -> Loaded:
        path = self.directory / f"{block.name}.json"
        path.write_text(text, encoding="utf-8")
        environ = dict(ENVIRONMENT)
        if block.needs_certificate:
            environ |= {"VOXRAY_TLS_CERT_FILE": self.crt, "VOXRAY_TLS_KEY_FILE": self.key}
        return load(str(path), environ, strict=True)

    def test_as_they_are(self) -> None:
        """Each block alone is a legal configuration, even strictly."""
        for block in seed_blocks():
            made = self.load(block, block.text)
            self.assertEqual(made.settings.calls.carrier, "twilio" if block.is_complete else "")

    def test_whole(self) -> None:
        """Each block, added to the page's base where it names no carrier, takes calls."""
        for block in seed_blocks():
            made = self.load(block, block.whole())
            self.assertEqual(made.settings.calls.carrier, "twilio")
            self.assertEqual(made.settings.server.port, 8080)
            for key in block.document:
                self.assertIn(key, made.origins)

    def test_values(self) -> None:
        """What the page sets arrives."""
        made = {block.name: self.load(block, block.whole()).settings for block in seed_blocks()}
        self.assertEqual(made["1-base"].providers.tts.provider, "groq")
        twilio = made["2-twilio"].providers
        self.assertEqual([twilio.stt.provider, twilio.llm.model, twilio.tts.provider],
                         ["groq", "gpt-4o-mini", "openai"])  # fmt: skip
        self.assertTrue(made["3-tls"].server.tls.enable)
        self.assertEqual(made["4-server-api-key"].server.server_api_keys, ("your-strong-random-key",))
        self.assertEqual(made["5-metrics"].turns.input_queue_cap, 512)
        self.assertEqual(made["6-redis"].stores.redis_url, "redis://redis.internal:6379/0")
        self.assertEqual(made["7-ngrok"].server.proxy_host, "abc123.ngrok.io")
        self.assertEqual(made["7-ngrok"].providers.llm.provider, "openai")

    def test_redis(self) -> None:
        """The store is used, and calls are taken all the same."""
        (redis,) = (block for block in seed_blocks() if block.name == "6-redis")
        made = self.load(redis, redis.whole())
        self.assertNotIn("redis", str(made.warnings))
        self.assertEqual(made.settings.calls.carrier, "twilio")

    def test_all_seven(self) -> None:
        """Three whole configurations, four additions; each is JSON as it stands."""
        self.assertEqual([block.is_complete for block in seed_blocks()], [True, True] + [False] * 4 + [True])
        for block in seed_blocks():
            self.assertIsInstance(json.loads(block.text), dict)
