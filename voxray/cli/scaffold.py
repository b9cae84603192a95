"""`voxray init`: a configuration to begin with, commented, that the daemon takes as it is."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from voxray import config
from voxray.cli.plan import UNKNOWN_HOST, where
from voxray.cli.report import Finding, Paper, Verdict
from voxray.config import names
from voxray.config.hosts import Host
from voxray.config.kinds import BadValue
from voxray.errors import ConfigError

MODE = 0o640
USAGE = 2
PROMPT = (
    "You are the receptionist of a small practice, speaking on the telephone. Answer in one or two short "
    "sentences, without lists, symbols or emoji. If you did not understand, ask again. When the caller is "
    "done, say goodbye."
)


def run(options: argparse.Namespace) -> int:
    """The exit status."""
    paper, aside = Paper(sys.stdout, os.environ), Paper(sys.stderr, os.environ)
    try:
        host = str(Host(with_port=True).from_json(options.proxy_host))
    except BadValue as bad:
        aside.line(f"voxray: --proxy-host must be {bad}")
        return USAGE
    path = Path(os.path.abspath(options.path))
    try:
        write(path, text(options.carrier, options.provider, host), force=options.force)
    except FileExistsError:
        aside.line(f"voxray: {path} is there already: nothing was written; --force writes over it")
        return 1
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        aside.line(f"voxray: cannot write {path}: {reason}")
        return 1
    paper.line(f"wrote {path}")
    for finding in _next(path, os.environ):
        paper.finding(finding)
    return 0


# -- what is in it -----------------------------------------------------------------
def text(carrier: str, provider: str, host: str) -> str:
    """The file, whole."""
    return json.dumps(document(carrier, provider, host), indent=2, ensure_ascii=False) + "\n"


def document(carrier: str, provider: str, host: str) -> dict[str, object]:
    """Keys that begin with _comment are comments."""
    return {
        "_comment": "Made by `voxray init`. docs/configuration.md has every key; `voxray check` says what it "
        "comes to, `voxray doctor` whether the carrier gets through.",
        "_comment_server": "Behind a proxy or tunnel that ends TLS. Its public name, without https://, is "
        "proxy_host. To serve TLS here: tls_enable, tls_cert_file, tls_key_file.",
        "host": "127.0.0.1",
        "port": 8080,
        "proxy_host": host,
        **_carrier(carrier, host),
        **_provider(provider),
        "_comment_agent": "What it says first, what it is told, and what it says of itself.",
        "language": "en",
        "greeting": "Hello, this is the front desk. How can I help you?",
        "system_prompt": PROMPT,
        "goodbye": "Thank you for calling. Goodbye.",
        "idle_prompt": "Are you still there?",
        "user_idle_timeout_secs": 15,
        "_comment_limits": "Calls at once, and the longest one in seconds.",
        "max_calls": 50,
        "max_call_secs": 3600,
        "log_level": "info",
    }


def _carrier(carrier: str, host: str) -> dict[str, object]:
    built = names.CARRIERS_BUILT if carrier == names.AUTO else (carrier,)
    empty = config.from_document({"provider": "local"}, {}).settings
    there = "; ".join(where(empty, each, host or UNKNOWN_HOST) for each in built)
    return {
        "_comment_carrier": f"Set at the carrier: {there}.",
        "_comment_trust": f"Requests are checked once these are in the environment: {_secrets(built)}. Until "
        "then ANYBODY who finds the address can start calls.",
        "runner_transport": carrier,
        "telephony_auth": "auto",
    }


def _secrets(carriers: tuple[str, ...]) -> str:
    sets = (" and ".join(names.KEY_ENV[key][0] for key in names.SECRETS_OF[each]) for each in carriers)
    return " or ".join(sets)


def _provider(provider: str) -> dict[str, object]:
    key = names.KEY_OF.get(provider)
    comment = (
        f"The key belongs into the environment, never here: {names.KEY_ENV[key][0]}."
        if key
        else "Works offline, with no account. For better answers: openai or groq, the key in OPENAI_API_KEY "
        "or GROQ_API_KEY, never here."
    )
    stages: dict[str, object] = {f"{stage}_provider": provider for stage in names.STAGES}
    return {"_comment_providers": comment, **stages}


# -- onto the disk -----------------------------------------------------------------
def write(path: Path, text: str, *, force: bool) -> None:
    """In one go, or not at all. Raises FileExistsError unless forced, OSError."""
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, f"{path.parent} is no directory") from None
    descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), MODE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if force:
            os.replace(made, path)
        else:
            os.link(made, path)  # fails where there is anything, be it a link to nowhere
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(made)


def _next(path: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What the daemon would say of it here and now: what is still to be set."""
    try:
        loaded = config.load(str(path), environ)
    except ConfigError as error:
        yield Finding(Verdict.WARN, "still to do", str(error))
        return
    for warning in loaded.warnings:
        yield Finding(Verdict.WARN, "still to do", warning)
    yield Finding(Verdict.OK, "next", f"voxray check --config {path}")
