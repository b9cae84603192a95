"""docs/tunnel.md, tried: the real daemon, a tunnel that ends TLS in front of it, a carrier that signs.

The certificate is for localhost, where this tunnel really is; what the carrier dials, signs and sends as Host
is the tunnel's public name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import reactor, ssl
from twisted.internet.task import deferLater
from twisted.web.client import Agent, readBody

from tests.certificates import write_pair
from tests.dangers import shows
from tests.e2e_office import OfficeTestCase, said
from tests.tunnel import Tunnel
from voxray.simulator.daemon import free_port
from voxray.simulator.script import Do, Script

PAGE = Path(__file__).parent.parent / "docs" / "tunnel.md"
PUBLIC = "abc123.ngrok.io"
GOODBYE = Script((said(Do.SAY, "thank-you-goodbye", "Thank you. Goodbye."),), expect_hang_up=True)


@shows("T3")
class TunnelTests(OfficeTestCase):
    scenario: ClassVar = {"business": "Us", "facts": [], "lines": {"goodbye": "Bye then."}}

    async def dig(self, proxy_host: str) -> None:
        """The daemon as step 2 starts it, and a tunnel to it; from here on everything goes through that."""
        await self.open("twilio", proxy_host=proxy_host)
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        certificate, key = write_pair(directory)
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = certificate
        self.addCleanup(os.environ.pop, "SSL_CERT_FILE")
        if before is not None:
            self.addCleanup(os.environ.__setitem__, "SSL_CERT_FILE", before)
        self.tunnel = Tunnel(reactor, self.port)  # type: ignore[arg-type]
        context = ssl.DefaultOpenSSLContextFactory(key, certificate)
        listening = reactor.listenSSL(0, self.tunnel, context, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(listening.stopListening)
        self.url = f"https://localhost:{listening.getHost().port}/"

    async def failures(self, **target: Any) -> str:
        """What the simulator says of a call that came to nothing."""
        [judged] = await self.judged(self.plan(GOODBYE, public_url=f"https://{PUBLIC}", **target))
        return " ".join(judged.failures)

    async def logged(self, words: str) -> str:
        """The line of the daemon's log with these words; it comes through a pipe."""
        for _ in range(60):
            if found := [line for line in self.daemon.last_lines().splitlines() if words in line]:
                return str(found[0])
            await deferLater(reactor, 0.05)
        raise AssertionError(f"{words}: not in {self.daemon.last_lines()}")

    async def reached(self) -> None:
        """Step 3."""
        agent: Any = Agent(reactor)
        response = await agent.request(b"GET", f"{self.url}ready".encode())
        self.assertEqual(response.code, 200)
        self.assertTrue((await readBody(response)).startswith(b'{"data"'))

    def listed(self) -> list[tuple[str, str, int]]:
        """The tunnel's list since the last time, tokens left out."""
        seen, self.tunnel.seen[:] = tuple(self.tunnel.seen), []
        self.assertEqual({each.host for each in seen} - {PUBLIC}, set())
        return [(each.method, each.path[:14], each.status) for each in seen]

    async def test_call(self) -> None:
        """Steps 5 and 6: a whole signed call, its webhook and its media socket through the tunnel."""
        await self.dig(PUBLIC)
        await self.reached()
        self.tunnel.seen.clear()
        result = await self.call(GOODBYE, public_url=f"https://{PUBLIC}")
        self.assertEqual(result.ended_by, "agent")
        self.assertIsNotNone(result.turns[-1].reply_began)
        self.assertEqual(self.listed(), [("POST", "/", 200), ("GET", "/telephony/ws/", 101)])
        self.assertEqual((await self.record(result.ids.call_sid))["reason"], "agent")
        await self.bad_tunnels()

    async def bad_tunnels(self) -> None:
        """What the table says of them, and what the simulator does."""
        self.tunnel.interstitial = True
        self.assertIn("a page of HTML", await self.failures())
        self.assertEqual(self.listed(), [("POST", "/", 200)])
        self.tunnel.interstitial, self.tunnel.websockets = False, False
        self.assertIn("[426]: Upgrade Required", await self.failures())
        self.assertEqual(self.listed(), [("POST", "/", 200), ("GET", "/telephony/ws/", 426)])
        self.tunnel.websockets, self.tunnel.port = True, free_port()
        self.assertIn("answered 502", await self.failures())
        self.assertEqual(self.listed(), [("POST", "/", 502)])

    async def test_wrong_name(self) -> None:
        """`proxy_host` is not what the carrier dials: 403, and the log has the address that was checked."""
        await self.dig("old-name.ngrok.io")
        await self.forged("https://old-name.ngrok.io/: proxy_host must be the host that the carrier dials")

    async def test_wrong_token(self) -> None:
        """So it is with a token that is another account's; the log says that it may be that."""
        await self.dig(PUBLIC)
        await self.forged(f"https://{PUBLIC}/: ", "and the key that account's", auth_token="another")

    async def forged(self, *words: str, **target: Any) -> None:
        said = "webhook refused: webhook_forged: checked against https://"
        self.assertIn("answered 403", await self.failures(**target))
        self.assertEqual(self.listed(), [("POST", "/", 403)])
        line = await self.logged(said)
        for each in words:
            self.assertIn(each, line)
        self.assertIn(said, PAGE.read_text("utf-8"))
        self.assertEqual(self.ears.asked, 0)
