"""`voxray doctor` on loopback: proxies in the way, certificates that are no good, clocks that are off."""

from __future__ import annotations

import json
import os
import resource
import ssl
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.protocols.portforward import ProxyFactory, ProxyServer
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.attackers import ROOT, SCRIPTED, LiveDaemon
from tests.certificates import Authority, write_pair
from tests.cli import CommandCase
from tests.configs import loaded
from tests.vendor import CLOSE, HANG, RESET, Step, VendorTestCase, answer
from voxray.cli import machine
from voxray.cli.doctor import Examination, public_url
from voxray.cli.exchange import NoAnswer, ask
from voxray.cli.given import Given
from voxray.cli.public import accept_of
from voxray.cli.report import Finding, Verdict
from voxray.config import from_document
from voxray.settings import Settings
from voxray.web.envelope import error_body, success_body

THE_REACTOR: Any = reactor
READY = answer(success_body({"status": "ok"}, "id"))
REFUSED = answer(b"", status=403)
PAGE = answer(b"<html><h1>Welcome to ngrok</h1></html>", "text/html")
SECS = 5.0


def by_topic(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.topic: finding for finding in findings}


class OutsideCase(VendorTestCase):
    """A public address that is a script, and a doctor who looks at it."""

    def setUp(self) -> None:
        super().setUp()
        self.said: list[Finding] = []

    def examination(self, document: dict[str, object] | None = None, **more: Any) -> Examination:
        found = Given("voxray.json", loaded({"vad_type": "energy", **(document or {})}), {})
        return Examination(THE_REACTOR, found, more.pop("timeout", SECS), self.said.append, **more)

    async def outside(self, *scripts: list[Step], url: str = "", **more: Any) -> dict[str, Finding]:
        """The findings of looking at the address."""
        self.vendor.scripts = list(scripts)
        self.said.clear()
        self.reached = await self.examination(**more).outside(urlsplit(url or self.base.removesuffix("/v1")))
        await self.until(lambda: not self.vendor.open)
        return by_topic(self.said)


class PublicTests(OutsideCase):
    """Over plain HTTP, for what has nothing to do with TLS."""

    async def test_good(self) -> None:
        """Two requests, as from the carrier: what is public, and an upgrade with a path as of a token."""
        found = await self.outside([READY], [REFUSED])
        self.assertTrue(self.reached)
        self.assertEqual((found["public"].verdict, found["websocket"].verdict), (Verdict.OK, Verdict.OK))
        self.assertEqual(found["certificate"].text, "no TLS: carriers open wss:// alone")
        ready, upgrade = self.vendor.requests
        self.assertEqual((ready.method, ready.path), ("GET", "/ready"))
        self.assertEqual(ready.headers["host"], urlsplit(self.base).netloc)
        self.assertTrue(upgrade.path.startswith("/telephony/ws/"))
        self.assertGreater(len(upgrade.path), 250)
        self.assertEqual(
            (upgrade.headers["upgrade"], upgrade.headers["connection"]), ("websocket", "Upgrade")
        )
        self.assertNotIn("authorization", {**ready.headers, **upgrade.headers})

    async def test_accepted(self) -> None:
        """A daemon that lets everybody in answers 101, and is left with a close frame."""
        left: list[bytes] = []

        class Accepting(Protocol):
            def dataReceived(self, data: bytes) -> None:
                if data.startswith(b"GET"):
                    key = data.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
                    self.transport.write(
                        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_of(key).encode()
                    )
                else:
                    left.append(data)

        port = THE_REACTOR.listenTCP(0, Factory.forProtocol(Accepting), interface="127.0.0.1")
        try:
            url = urlsplit(f"http://127.0.0.1:{port.getHost().port}/")
            found = await self.examination().socket(url)
            await self.until(lambda: left)
        finally:
            await port.stopListening()
        self.assertEqual(found.verdict, Verdict.OK)
        self.assertEqual(left, [b"\x88\x82\0\0\0\0\x03\xe8"])

    async def test_page(self) -> None:
        """A tunnel's page where the daemon should be."""
        found = await self.outside([PAGE])
        self.assertFalse(self.reached)
        self.assertIn("a page of ngrok's answers", found["public"].text)
        self.assertEqual(found["websocket"].verdict, Verdict.FAIL)

    async def test_upgrade_lost(self) -> None:
        """/ready passes and WebSockets do not: the most usual mistake in a proxy."""
        for status in (400, 426):
            found = await self.outside([READY], [answer(b"", status=status)])
            self.assertEqual(
                (found["public"].verdict, found["websocket"].verdict), (Verdict.OK, Verdict.FAIL)
            )
            self.assertIn("proxy_set_header Upgrade", found["websocket"].remedy)

    async def test_down(self) -> None:
        """The proxy's 502, and the daemon's own 503: only one of them is the daemon."""
        found = await self.outside([answer(b"<h1>Bad Gateway</h1>", "text/html", 502)])
        self.assertEqual((self.reached, found["public"].verdict), (False, Verdict.FAIL))
        found = await self.outside([answer(error_body(503, "Service unavailable", "id"), status=503)])
        self.assertEqual((self.reached, found["public"].verdict), (True, Verdict.WARN))

    async def test_silence(self) -> None:
        """Nothing, a closed or reset connection, half an answer, what is no HTTP: bounded, and told apart."""
        for script, text in (
            ([HANG], "does not answer within 0.2 s"),
            ([CLOSE], "closed"),
            ([RESET], "closed"),
            ([b"HTTP/1.1 200 OK\r\nContent-", CLOSE], "does not speak HTTP"),
            ([b"SSH-2.0-OpenSSH_9.2\r\n\r\n", CLOSE], "does not speak HTTP"),
            ([b"\0" * 70_000], "does not speak HTTP"),
        ):
            found = await self.outside(script, timeout=0.2)
            self.assertEqual((found["public"].verdict, self.reached), (Verdict.FAIL, False))
            self.assertIn(text, found["public"].text)
            self.assertNotIn("websocket", found)

    async def test_too_much(self) -> None:
        """Who sends without end is heard for 64 KiB."""
        found = await self.outside([b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000, HANG])
        self.assertIn("something else than Voxray", found["public"].text)

    async def test_nobody(self) -> None:
        """No listener; no such name. What to do is another thing each time."""
        found = await self.outside([READY], url="http://127.0.0.1:1/")
        self.assertIn("does the proxy or tunnel run", found["public"].remedy)
        found = await self.outside([READY], url="http://no-such-host.invalid/", timeout=30)
        self.assertIn("make a DNS record", found["public"].remedy)

    async def test_no_address(self) -> None:
        """Nobody said what the public address is: a warning, with the option that says it."""
        self.assertFalse(await self.examination().outside(None))
        (found,) = self.said
        self.assertEqual(found.verdict, Verdict.WARN)
        self.assertIn("--url", found.remedy)
        self.vendor.scripts = [[READY]]  # nothing was asked
        self.assertEqual(self.vendor.requests, [])


class TlsTests(OutsideCase):
    """The same behind TLS, with authorities and certificates made for the occasion."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.authority = Authority()
        self.trust = patch.dict(os.environ, {"SSL_CERT_FILE": self.authority.write_root(self.directory)})
        self.trust.start()
        self.addCleanup(self.trust.stop)

    async def certificate(self, name: str = "localhost", leaf_only: bool = False, **pair: Any) -> Finding:
        """What is found of a server with that pair; what it says over the connection counts all the same."""
        certificate, key = write_pair(self.directory, **{"authority": self.authority, "ends": 60, **pair})
        if leaf_only:
            first = Path(certificate).read_text().split("-----END CERTIFICATE-----")[0]
            Path(certificate).write_text(f"{first}-----END CERTIFICATE-----\n")
        context = _Chain(key, certificate)
        port = THE_REACTOR.listenSSL(0, self.vendor, context, interface="127.0.0.1")
        try:
            url = f"https://{name}:{port.getHost().port}/"
            found = await self.outside([READY], [REFUSED], url=url)
        finally:
            await port.stopListening()
        self.assertEqual((found["public"].verdict, found["websocket"].verdict), (Verdict.OK, Verdict.OK))
        return found["certificate"]

    async def test_good(self) -> None:
        """By name and by address, and with the days that are left."""
        for name in ("localhost", "127.0.0.1"):
            found = await self.certificate(name)
            self.assertEqual((found.verdict, found.text), (Verdict.OK, "it is good, for 60 more days"))

    async def test_expired(self) -> None:
        """An expired one is the owner's to renew; what is behind it is looked at all the same."""
        found = await self.certificate(begins=-30, ends=-3)
        self.assertEqual((found.verdict, found.text), (Verdict.FAIL, "it expired 3 days ago"))

    async def test_expiring(self) -> None:
        """Two weeks before, it is warned of."""
        self.assertEqual((await self.certificate(ends=5)).verdict, Verdict.WARN)

    async def test_untrusted(self) -> None:
        """Signed by itself, by nobody known, or with the link missing that leads to somebody known."""
        self.assertIn("nobody known", (await self.certificate(authority=None)).text)
        self.assertIn("nobody known", (await self.certificate(authority=Authority())).text)
        self.assertIn("issuer's certificate is not sent", (await self.certificate(leaf_only=True)).text)

    async def test_other_name(self) -> None:
        """For another host than the one that was asked for."""
        with patch("voxray.cli.looking.verify_hostname", side_effect=_verification_error()):
            self.assertIn("it is not for localhost", (await self.certificate()).text)

    async def test_no_tls_there(self) -> None:
        """https:// where plain HTTP is spoken."""

        class Blunt(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(answer(b"what?", status=400))

        port = THE_REACTOR.listenTCP(0, Factory.forProtocol(Blunt), interface="127.0.0.1")
        try:
            found = await self.outside([READY], url=f"https://127.0.0.1:{port.getHost().port}/")
        finally:
            await port.stopListening()
        self.assertIn("does not speak TLS", found["public"].text)


class _Chain(DefaultOpenSSLContextFactory):
    """Serves the whole file, intermediates too."""

    def cacheContext(self) -> None:
        super().cacheContext()
        self._context.use_certificate_chain_file(self.certificateFileName)


def _verification_error() -> Exception:
    from service_identity import VerificationError

    return VerificationError(errors=[])


class ClockTests(OutsideCase):
    """By the Date of a carrier or a vendor, else of the public address."""

    async def told(self, date: str, **more: Any) -> Finding:
        self.vendor.scripts = [[answer(b"", status=401, Date=date) if date else answer(b"", status=401)]]
        document = {"base_urls": {"twilio": self.base.removesuffix("/v1")}}
        return await self.examination({**document, **more}).clock(None)

    async def test_right(self) -> None:
        """The carrier is asked for the time alone: its root, without a credential."""
        keys = {"twilio_account_sid": "AC1", "twilio_auth_token": "hush-hush"}
        found = await self.told(formatdate(usegmt=True), api_keys=keys, proxy_host="a.b")
        self.assertEqual(found.verdict, Verdict.OK)
        (request,) = self.vendor.requests
        self.assertEqual((request.path, "authorization" in request.headers), ("/", False))

    async def test_wrong(self) -> None:
        """Ten minutes off is a failure: signatures are good for five."""
        found = await self.told(formatdate(time.time() - 600, usegmt=True))
        self.assertEqual(found.verdict, Verdict.FAIL)
        self.assertIn("s ahead of 127.0.0.1's", found.text)

    async def test_who(self) -> None:
        """Who tells no time is passed over; the public address is the last; with nobody it is skipped."""
        self.vendor.scripts = [[READY], [answer(b"", Date=formatdate(usegmt=True))]]
        base = self.base.removesuffix("/v1")
        examination = self.examination({"base_urls": {"twilio": base}})
        self.assertEqual((await examination.clock(urlsplit(f"{base}/"))).verdict, Verdict.OK)
        self.assertEqual(len(self.vendor.requests), 2)
        found = await self.told("", base_urls={"twilio": "http://127.0.0.1:1"})
        self.assertEqual(found.verdict, Verdict.SKIP)

    async def test_vendors(self) -> None:
        """Without a carrier a vendor's clock will do."""
        document = {"runner_transport": "", "provider": "openai", "api_keys": {"openai": "k"}}
        date = formatdate(usegmt=True)
        found = await self.told(date, **document, base_urls={"openai": self.base})
        self.assertEqual((found.verdict, self.vendor.requests[0].path), (Verdict.OK, "/"))


class DaemonTests(OutsideCase):
    """The daemon's own port."""

    async def daemon(self, *script: Step, reached: bool = False, **document: object) -> Finding:
        self.vendor.scripts = [list(script)]
        port = self.port.getHost().port
        return await self.examination({"host": "127.0.0.1", "port": port, **document}).daemon(reached)

    async def test_there(self) -> None:
        """Ready, not ready, or somebody else."""
        self.assertEqual((await self.daemon(READY)).verdict, Verdict.OK)
        busy = answer(error_body(503, "Service unavailable", "id"), status=503)
        self.assertEqual((await self.daemon(busy)).verdict, Verdict.WARN)
        self.assertIn("something else", (await self.daemon(PAGE)).text)

    async def test_not_there(self) -> None:
        """A failure, unless it was reached from outside: systemd may have passed it another socket."""
        self.assertEqual((await self.daemon(READY, port=1)).verdict, Verdict.FAIL)
        self.assertEqual((await self.daemon(READY, port=1, reached=True)).verdict, Verdict.OK)

    async def test_behind_its_proxy(self) -> None:
        """With proxy_protocol it drops whoever comes without; it is not asked."""
        found = await self.daemon(HANG, proxy_protocol=True, trusted_proxies=["10.0.0.1"])
        self.assertEqual(found.verdict, Verdict.SKIP)
        self.assertEqual(self.vendor.requests, [])


class AddressTests(SynchronousTestCase):
    """--url."""

    def test_forms(self) -> None:
        """A URL or a bare host; else the one of proxy_host; else none."""
        settings: Settings = loaded({"proxy_host": "bot.example.com"}).settings
        for asked, expected in (
            (None, "https://bot.example.com/"),
            ("https://a.b", "https://a.b"),
            ("a.b:8443", "https://a.b:8443"),
            ("http://[::1]:8080/", "http://[::1]:8080/"),
        ):
            url = public_url(asked, settings)
            assert url is not None
            self.assertEqual(url.geturl(), expected)
        self.assertIs(public_url(None, loaded().settings), None)

    def test_refused(self) -> None:
        """Other schemes, paths, users, and what is no host."""
        for text in (
            "ftp://a.b",
            "https://a.b/voxray",
            "https://u:p@a.b/",
            "https://a b/",
            "https://",
            "https://a.b/?x",
        ):
            self.assertRaises(ValueError, public_url, text, loaded().settings)


class MachineTests(SynchronousTestCase):
    def test_files(self) -> None:
        """A limit that cannot hold the calls is warned of, with the number that can."""
        settings = loaded({"max_calls": 200}).settings
        self.assertEqual(machine.files(settings, 65_536).verdict, Verdict.OK)
        self.assertEqual(machine.files(settings, resource.RLIM_INFINITY).verdict, Verdict.OK)
        found = machine.files(settings, 1024)
        self.assertEqual(
            (found.verdict, found.remedy), (Verdict.WARN, "ulimit -n 1300; in a unit LimitNOFILE=1300")
        )

    def test_unit(self) -> None:
        """Absent, running, failed, restarted."""
        good = {"LoadState": "loaded", "ActiveState": "active", "NRestarts": "0", "LimitNOFILE": "65536"}
        for more, verdict, text in (
            ({}, Verdict.OK, "LimitNOFILE=65536"),
            ({"LoadState": "not-found"}, Verdict.SKIP, "there is no"),
            ({"ActiveState": "failed", "SubState": "failed"}, Verdict.WARN, "is failed"),
            ({"NRestarts": "3"}, Verdict.WARN, "3 times"),
        ):
            found = machine.unit({**good, **more})
            self.assertEqual(found.verdict, verdict, more)
            self.assertIn(text, found.text)
        self.assertEqual(machine.unit({}).verdict, Verdict.SKIP)


class SystemdTests(TestCase):
    """systemctl is a script of ours."""

    timeout = 30

    async def systemd(self, script: str) -> Finding:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        program = directory / "systemctl"
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)
        self.patch(machine, "_SYSTEMD", str(directory))
        with patch.dict(os.environ, {"PATH": f"{directory}:{os.environ['PATH']}"}):
            return await machine.systemd(THE_REACTOR, os.environ)

    async def test_told(self) -> None:
        """Its properties are read, of our unit."""
        found = await self.systemd(
            '[ "$2" = voxray.service ] && printf "LoadState=loaded\\nActiveState=active\\nNRestarts=0\\n"'
        )
        self.assertEqual(found.verdict, Verdict.OK)

    async def test_not_told(self) -> None:
        """A bus that is not there, a systemctl that hangs, no systemd at all: no more than a skip."""
        self.assertEqual((await self.systemd("exit 1")).verdict, Verdict.SKIP)
        self.patch(machine, "SYSTEMD_SECS", 0.1)
        self.assertEqual((await self.systemd("exec sleep 1")).text, "systemctl does not tell")
        self.patch(machine, "_SYSTEMD", "/nowhere")
        self.assertEqual((await machine.systemd(THE_REACTOR, os.environ)).text, "it does not run here")


class EngineTests(TestCase):
    """What runs here is loaded as the daemon would."""

    timeout = 60

    async def engines(self, **document: object) -> dict[str, Finding]:
        settings = from_document({"provider": "scripted", **document}, {}).settings
        return by_topic(await machine.engines(THE_REACTOR, settings))

    async def test_good(self) -> None:
        """One line for each stage and one for the detector."""
        found = await self.engines(tts_provider="local")
        self.assertEqual(set(found), {"stt scripted", "llm scripted", "tts local", "vad silero"})
        self.assertEqual({each.verdict for each in found.values()}, {Verdict.OK})

    async def test_remote(self) -> None:
        """Those elsewhere are not: `voxray check --online` asks them."""
        found = await self.engines(provider="openai", api_keys={"openai": "k"}, vad_type="energy")
        self.assertEqual(set(found), {"vad energy"})

    async def test_broken(self) -> None:
        """A voice that is not there, and one whose remedy is a package: the engine's own words."""
        found = await self.engines(tts_provider="local", tts_voice="bob", vad_type="energy")
        self.assertEqual(found["tts local"].verdict, Verdict.FAIL)
        self.assertIn("no voice 'bob'", found["tts local"].text)


class ExchangeTests(OutsideCase):
    async def test_nothing_left(self) -> None:
        """A silent server is left, and no timer or connection stays behind."""
        self.vendor.scripts = [[HANG]]
        url = urlsplit(self.base)
        error = await self.assertFailure(_caught(ask(THE_REACTOR, url, "/", {}, 0.1)), NoAnswer)
        self.assertEqual(error.kind, "timeout")
        await self.until(lambda: not self.vendor.open)


def _caught(asking: Any) -> Any:
    from twisted.internet.defer import Deferred

    return Deferred.fromCoroutine(asking)


# -- with the daemon itself --------------------------------------------------------
class Stripping(ProxyServer):
    """An nginx without the two lines: hop-by-hop headers do not pass."""

    clientProtocolFactory: Any

    def dataReceived(self, data: bytes) -> None:
        lines = data.split(b"\r\n")
        kept = [line for line in lines if not line.lower().startswith((b"upgrade:", b"connection:"))]
        super().dataReceived(b"\r\n".join(kept))


class StrippingFactory(ProxyFactory):
    protocol = Stripping
    noisy = False


class WholeTests(TestCase):
    """The command as a process, looking at a real daemon behind its own TLS."""

    timeout = 120

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.authority = Authority()
        certificate, key = write_pair(self.directory, authority=self.authority, ends=60)
        tls = {"tls_enable": True, "tls_cert_file": certificate, "tls_key_file": key}
        self.root = self.authority.write_root(self.directory)
        self.environ = {
            "TWILIO_AUTH_TOKEN": "hush-hush",
            "VOXRAY_PROXY_HOST": "localhost",
            "TWILIO_BASE_URL": "",
        }
        document = {**SCRIPTED, **tls, "telephony_auth": "auto"}
        self.daemon = LiveDaemon(self.directory / "daemon", document, **self.environ)
        self.daemon.tls = ssl.create_default_context(cafile=self.root)
        self.daemon.tls.check_hostname = False
        self.daemon.start()
        self.addCleanup(self.daemon.stop)

    def doctor(self, *words: str) -> tuple[int, dict[str, Any]]:
        base = {"TWILIO_BASE_URL": f"https://localhost:{self.daemon.port}"}
        environ = {**self.environ, **base, "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-m", "voxray.cli.main", "doctor", "--config", str(self.daemon.config),
             "--json", *words],
            env={**environ, "SSL_CERT_FILE": self.root},
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        self.assertEqual(done.stderr, "")
        self.assertNotIn("hush", done.stdout)
        return done.returncode, {each["topic"]: each for each in json.loads(done.stdout)["findings"]}

    def test_well(self) -> None:
        """Nothing fails; the daemon's own door is what answers the handshake."""
        status, found = self.doctor("--url", f"https://localhost:{self.daemon.port}/")
        self.assertEqual({k: v for k, v in found.items() if v["verdict"] == "fail"}, {})
        self.assertEqual(status, 0)
        for topic in ("config", "public", "certificate", "websocket", "daemon", "clock", "stt scripted"):
            self.assertEqual(found[topic]["verdict"], "ok", found[topic])
        self.assertIn("refuses a wrong token (403)", found["websocket"]["text"])
        self.assertIn("token_malformed", self.daemon.get("/metrics")[1])


class ProxiedTests(TestCase):
    """A proxy that drops the upgrade, before a daemon that would refuse the token anyhow."""

    timeout = 60

    async def test_stripping(self) -> None:
        """It is the upgrade that is told of: the daemon has not judged the token."""
        directory = Path(self.mktemp()).absolute()
        document = {**SCRIPTED, "telephony_auth": "auto", "proxy_host": "localhost"}
        daemon = LiveDaemon(directory, document, TWILIO_AUTH_TOKEN="hush-hush")
        daemon.start()
        self.addCleanup(daemon.stop)
        proxy = THE_REACTOR.listenTCP(0, StrippingFactory("127.0.0.1", daemon.port), interface="127.0.0.1")
        said: list[Finding] = []
        given = Given("voxray.json", loaded({"vad_type": "energy"}), {})
        try:
            url = urlsplit(f"http://127.0.0.1:{proxy.getHost().port}/")
            await Examination(THE_REACTOR, given, SECS, said.append).outside(url)
        finally:
            await proxy.stopListening()
        found = by_topic(said)
        self.assertEqual(found["public"].verdict, Verdict.OK)
        self.assertEqual(found["websocket"].verdict, Verdict.FAIL)
        self.assertIn("the upgrade is lost on the way (status 426)", found["websocket"].text)


class CommandTests(CommandCase):
    """What ends before a reactor runs."""

    def test_bad_configuration(self) -> None:
        """One failure, and the rest is not looked at."""
        self.configured({"port": "x"})
        status, out = self.command("doctor")
        self.assertEqual(status, 1)
        self.assertIn("fail  config       port must be", out)
        status, document = self.document("doctor")
        self.assertEqual((status, document["ok"], len(document["findings"])), (1, False, 1))

    def test_bad_address(self) -> None:
        """A mistake of the command line."""
        self.configured()
        status, out, err = self.typed("doctor", "--config", str(self.path), "--url", "https://a.b/voxray")
        self.assertEqual((status, out), (2, ""))
        self.assertIn("without a path", err)
