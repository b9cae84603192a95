"""Every configuration of the seed page, unchanged: the real daemon starts with it and answers a call."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet import defer, reactor
from twisted.trial.unittest import TestCase
from twisted.web.server import Site

import voxray
from tests.certificates import write_pair
from tests.openai_vendor import TRANSCRIPT, Asked, OpenAIVendor
from tests.seed import ENVIRONMENT, SeedBlock, seed_blocks
from voxray.simulator.caller import CallResult
from voxray.simulator.client import Target
from voxray.simulator.daemon import Daemon, environment, free_port
from voxray.simulator.engines import Engines
from voxray.simulator.measure import Turn
from voxray.simulator.script import Do, Patience, Script, Step
from voxray.simulator.session import Plan, prepared, run

ROOT = Path(voxray.__file__).parent.parent
RECORDING = str(Path(voxray.__file__).parent / "data" / "callers" / "your-hours.wav")


class Unheard:
    """A listener that does not listen."""

    def line(self, call: int, turn: Turn) -> None: ...

    def turn(self, call: int, turn: Turn) -> None: ...

    def ended(self, call: int, result: CallResult) -> None: ...


class SeedTests(TestCase):
    timeout = 60

    async def answers(self, block: SeedBlock) -> None:
        """Starts the daemon with the block, calls it, and asks one recorded question."""
        asked = Asked()
        vendor = reactor.listenTCP(0, Site(OpenAIVendor(asked)), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(vendor.stopListening)
        base = f"http://127.0.0.1:{vendor.getHost().port}"
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        config = directory / "config.json"
        config.write_text(block.whole(), encoding="utf-8")
        port = free_port()
        settings = {
            **environment(port),
            **ENVIRONMENT,
            "OPENAI_BASE_URL": f"{base}/v1",
            "GROQ_BASE_URL": f"{base}/openai/v1",
            "PYTHONPATH": str(ROOT),
        }
        url = f"http://127.0.0.1:{port}"
        if block.needs_certificate:
            certificate, key = write_pair(directory)
            settings |= {"VOXRAY_TLS_CERT_FILE": certificate, "VOXRAY_TLS_KEY_FILE": key}
            self.patch(os, "environ", {**os.environ, "SSL_CERT_FILE": certificate})
            os.putenv("SSL_CERT_FILE", certificate)  # OpenSSL reads the real environment
            self.addCleanup(os.unsetenv, "SSL_CERT_FILE")
            url = f"https://localhost:{port}"
        daemon = Daemon(reactor, lambda event: None)
        daemon.start(config, settings, ROOT)
        self.addCleanup(lambda: defer.Deferred.fromCoroutine(daemon.stop()))
        # Not /ready: the page's Redis is not there, and calls do without.
        await daemon.ready(f"{url}/health", lambda waited: None)
        engines = Engines(reactor)
        self.addCleanup(lambda: defer.Deferred.fromCoroutine(engines.stop()))
        script = Script(steps=(Step(Do.SAY, file=RECORDING, text="Hello. Your hours?"),))
        plan = Plan(Target(f"{url}/"), script, Patience(settle=0.4, greeting=0.5), transcribe=False)
        [judged] = await run(reactor, await prepared(plan, engines), engines, Unheard())
        self.assertEqual(judged.failures, ())
        assert judged.result is not None
        turn = judged.result.turns[-1]
        self.assertIsNotNone(turn.reply_began, "no reply was heard")
        self.assertIn("transcriptions", asked.kinds())
        [chat, *_] = [body for kind, body in asked.requests if kind == "completions"]
        self.assertIn(TRANSCRIPT.encode(), chat)
        self.assertTrue(asked.keys <= {f"Bearer {key}" for key in ENVIRONMENT.values()}, asked.keys)


def _add(block: SeedBlock) -> None:
    def test(self: SeedTests) -> defer.Deferred[None]:
        return defer.Deferred.fromCoroutine(self.answers(block))

    name = "test_" + "".join(c if c.isalnum() else "_" for c in block.name)
    test.__name__ = name
    test.__doc__ = f"The page's block {block.name}."
    setattr(SeedTests, name, test)


for _block in seed_blocks():
    _add(_block)
