"""`voxray doctor`: what stands between the carrier and the daemon, one line for each thing."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, urlsplit

from voxray import catalog, catalog_carriers
from voxray.cli import machine, public
from voxray.cli.exchange import TLS_SCHEMES, NoAnswer, Reply, ask
from voxray.cli.given import Given, given
from voxray.cli.plan import service
from voxray.cli.report import Finding, Paper, Verdict, failed, tally
from voxray.cli.running import with_reactor
from voxray.config import names
from voxray.errors import ConfigError
from voxray.masking import Masking
from voxray.settings import Settings
from voxray.web.hosts import MEDIA_PATH, valid_host

USAGE = 2
TOKEN_CHARS = 240
"""Of the token that is none: as long as the longest that is one."""

Say = Callable[[Finding], None]


def run(options: argparse.Namespace) -> int:
    """The exit status."""
    try:
        found = given(options, os.environ)
    except ConfigError as error:
        return _without_configuration(options, error)
    try:
        url = public_url(options.url, found.settings)
    except ValueError as error:
        Paper(sys.stderr, os.environ).line(f"voxray: --url: {error}")
        return USAGE
    paper = Paper(sys.stdout, os.environ, Masking(found.secrets))
    findings: list[Finding] = []

    def say(finding: Finding) -> None:
        findings.append(finding)
        if not options.json:
            paper.finding(finding)

    with_reactor(lambda reactor: Examination(reactor, found, options.timeout, say).all(url))
    _close(options, paper, findings)
    return int(failed(findings))


def _without_configuration(options: argparse.Namespace, error: ConfigError) -> int:
    paper = Paper(sys.stdout, os.environ)
    finding = Finding(Verdict.FAIL, "config", str(error), "mend it first: the rest depends on it")
    if not options.json:
        paper.finding(finding)
    _close(options, paper, [finding])
    return 1


def _close(options: argparse.Namespace, paper: Paper, findings: list[Finding]) -> None:
    if options.json:
        each = [finding.document() for finding in findings]
        paper.document({"ok": not failed(findings), "findings": each})
    else:
        paper.line(tally(findings))


def public_url(asked: str | None, settings: Settings) -> SplitResult | None:
    """Where carriers come in; None: nobody said. Raises ValueError."""
    text = asked or (f"https://{settings.server.proxy_host}/" if settings.server.proxy_host else "")
    if not text:
        return None
    url = urlsplit(text if "://" in text else f"https://{text}")
    if url.scheme not in ("http", "https") or not valid_host(url.netloc):
        raise ValueError("an address such as https://bot.example.com/")
    if url.path not in ("", "/") or url.query:
        raise ValueError("without a path: carriers are told / and /telephony/ws of the host")
    return url


class Examination:
    """One doctor's round."""

    def __init__(
        self, reactor: Any, found: Given, timeout_secs: float, say: Say, wall: Callable[[], float] = time.time
    ) -> None:
        self._reactor, self._found, self._timeout_secs = reactor, found, timeout_secs
        self._settings, self._say, self._wall = found.settings, say, wall

    async def all(self, url: SplitResult | None) -> None:
        warnings = len(self._found.loaded.warnings)
        many = (
            f", with {warnings} warning{'s' * (warnings != 1)} that `voxray check` tells" if warnings else ""
        )
        self._say(Finding(Verdict.OK, "config", f"{self._found.path} is good{many}"))
        reached = await self.outside(url)
        self._say(await self.daemon(reached))
        self._say(await self.clock(url))
        self._say(await machine.redis(self._reactor, self._settings))
        self._say(machine.files(self._settings))
        self._say(await machine.systemd(self._reactor, os.environ))
        for finding in await machine.engines(self._reactor, self._settings):
            self._say(finding)

    # -- from outside ----------------------------------------------------------
    async def outside(self, url: SplitResult | None) -> bool:
        """The public address; whether the daemon answered there."""
        if url is None:
            text = "its address is not known: proxy_host is not set"
            self._say(Finding(Verdict.WARN, "public", text, "set it, or give --url https://HOST/"))
            return False
        outcome = await self._asked(url, "/ready", {})
        answered = public.ready(outcome)
        self._say(answered)
        if isinstance(outcome, Reply) or url.scheme not in TLS_SCHEMES:
            shown = outcome.shown if isinstance(outcome, Reply) else None
            self._say(public.certificate(shown, url.hostname or "", self._wall()))
        if isinstance(outcome, Reply):
            self._say(await self.socket(url))
        return answered.verdict is not Verdict.FAIL

    async def socket(self, url: SplitResult) -> Finding:
        """A handshake as a carrier's, with a path as long as one of ours."""
        key = b64encode(secrets.token_bytes(16)).decode("ascii")
        headers = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
        }
        path = f"{MEDIA_PATH}/{secrets.token_urlsafe(TOKEN_CHARS)[:TOKEN_CHARS]}"
        return public.socket(await self._asked(url, path, headers), key)

    async def _asked(self, url: SplitResult, target: str, headers: dict[str, str]) -> public.Outcome:
        try:
            return await ask(self._reactor, url, target, headers, self._timeout_secs)
        except NoAnswer as error:
            return error

    # -- from here -------------------------------------------------------------
    async def daemon(self, reached: bool) -> Finding:
        """The daemon's own port, past every proxy."""
        server = self._settings.server
        if server.proxy_protocol:
            return Finding(Verdict.SKIP, "daemon", "not asked: it hears its proxies only (proxy_protocol)")
        host = server.host or "127.0.0.1"
        shown = f"[{host}]" if ":" in host else host
        scheme = "https" if server.tls.enable else "http"
        outcome = await self._asked(urlsplit(f"{scheme}://{shown}:{server.port}/"), "/ready", {})
        if isinstance(outcome, Reply) and public.is_ours(outcome):
            answered = "is ready" if outcome.status == 200 else "answers, and is not ready"
            verdict = Verdict.OK if outcome.status == 200 else Verdict.WARN
            return Finding(verdict, "daemon", f"{answered}, at port {server.port}")
        if isinstance(outcome, Reply):
            return Finding(Verdict.FAIL, "daemon", f"something else answers at port {server.port}", "stop it")
        if reached:  # systemd's socket, or another machine
            text = f"not at port {server.port} of this machine, but it is reached from outside"
            return Finding(Verdict.OK, "daemon", text)
        return Finding(Verdict.FAIL, "daemon", f"it does not answer: {outcome}", "start it")

    async def clock(self, url: SplitResult | None) -> Finding:
        """Against the first that tells: a carrier, a vendor, else the public address."""
        for asked in (*self._others(), *([url] if url is not None else [])):
            before = self._wall()
            outcome = await self._asked(asked, asked.path or "/", {})
            if isinstance(outcome, Reply) and (date := outcome.headers.get("date")):
                found = public.skew(date, before, self._wall())
                return public.clock(found, asked.hostname or "")
        return Finding(Verdict.SKIP, "clock", "nobody outside to compare it with")

    def _others(self) -> list[SplitResult]:
        """They are asked for nothing but the time."""
        settings = self._settings
        hosts = [catalog_carriers.api_url(carrier, settings) for carrier in service(settings)]
        hosts += [catalog.offered(stage, settings).host for stage in names.STAGES]
        urls = (urlsplit(host)._replace(path="/") for host in dict.fromkeys(hosts) if host)
        return [url for url in urls if url.scheme in ("http", "https")]
