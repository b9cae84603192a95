"""`voxray check`: what the daemon would say of its configuration, and what it would do with it."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from collections.abc import Iterable

from voxray import catalog, catalog_carriers
from voxray.cli.given import Given, given
from voxray.cli.plan import Row, rows
from voxray.cli.report import Finding, Paper, Verdict, failed, tally
from voxray.errors import ConfigError
from voxray.masking import Masking


def run(options: argparse.Namespace) -> int:
    """The exit status."""
    try:
        found = given(options, os.environ)
    except ConfigError as error:
        return _said(options, Paper(sys.stdout, os.environ), (), [_problem(error)])
    paper = Paper(sys.stdout, os.environ, Masking(found.secrets))
    findings = [*judged(found)]
    if options.online and not failed(findings):
        from voxray.cli.online import try_all

        findings += try_all(found.settings, _progress(options))
    return _said(options, paper, rows(found), findings)


def judged(found: Given) -> list[Finding]:
    """All that can be said without asking anybody."""
    warnings = [Finding(Verdict.WARN, "config", text) for text in (*found.loaded.warnings, *found.notes)]
    problems = []
    for rehearse in (catalog.rehearse, catalog_carriers.rehearse):
        try:
            rehearse(found.settings)
        except ConfigError as error:
            problems.append(_problem(error))
    return [*problems, *warnings, *_certificate(found), *_port(found)]


def _problem(error: ConfigError) -> Finding:
    return Finding(Verdict.FAIL, "config", str(error))


def _certificate(found: Given) -> Iterable[Finding]:
    """As the daemon loads it; that takes OpenSSL, so only where there is one."""
    tls = found.settings.server.tls
    if not tls.enable:
        return
    from voxray.certificates import notice
    from voxray.tls import load

    try:
        pair = load(tls.cert_file, tls.key_file)
    except ConfigError as error:
        yield _problem(error)
        return
    if (text := notice(pair, time.time())) is not None:
        yield Finding(Verdict.WARN, "certificate", f"it {text}")
    if pair.incomplete:
        text = "tls_cert_file holds one certificate, and not its issuer's: carriers may refuse it"
        yield Finding(Verdict.WARN, "certificate", text, "give the whole chain (fullchain.pem)")


def _port(found: Given) -> Iterable[Finding]:
    """In use is as it should be while the daemon runs; and it may be meant for another machine."""
    from voxray.listening import bind

    server = found.settings.server
    try:
        bind(server.host, server.port).close()
    except ConfigError as error:
        if _answers(server.host, server.port):
            text = f"port {server.port} is in use: right if it is this daemon that runs"
            yield Finding(Verdict.OK, "port", text)
        else:
            yield Finding(Verdict.WARN, "port", f"here and now: {error}")
    else:
        yield Finding(Verdict.OK, "port", f"port {server.port} is free")


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host or "localhost", port), timeout=1):
            return True
    except OSError:
        return False


def _progress(options: argparse.Namespace) -> Paper | None:
    """Asking takes seconds: who is asked is told meanwhile, beside the result."""
    return None if options.json else Paper(sys.stderr, os.environ)


def _said(options: argparse.Namespace, paper: Paper, planned: Iterable[Row], findings: list[Finding]) -> int:
    planned = list(planned)
    if options.json:
        document = {
            "ok": not failed(findings),
            "findings": [finding.document() for finding in findings],
            "plan": [{"name": name, "text": text} for name, text in planned],
        }
        paper.document(document)
        return int(failed(findings))
    for name, text in planned:
        paper.row(name, text)
    if planned:
        paper.line()
    for finding in findings:
        paper.finding(finding)
    paper.line(tally(findings))
    return int(failed(findings))
