"""The plan that `voxray-dial` makes of its command line (`options` has what can be typed)."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from voxray.simulator.carriers import CARRIERS
from voxray.simulator.script import BadScript, Patience, Script, Step, parse_script
from voxray.simulator.session import Plan
from voxray.simulator.signing import BadKey, Secrets
from voxray.simulator.target import DialFailed, Target, check_local
from voxray.simulator.wires.vocabulary import Quirks


# -- the command line -> a plan ----------------------------------------------
def steps_of(words: Sequence[tuple[str, Any]]) -> Script:
    """The steps of a command line; the same checks as for a script file. Raises BadScript."""
    steps: list[dict[str, Any]] = []
    greeting = ""
    for name, value in words:
        if name == "expect_reply" and not steps:
            greeting = value
        elif name == "expect_reply":
            steps[-1]["expect_reply"] = value
        elif name == "after":
            if not steps or not {"barge_in", "backchannel"} & set(steps[-1]):
                raise BadScript("--after belongs behind a --barge-in or --backchannel")
            steps[-1]["after"] = value
        else:
            steps.append({name: True if name == "hang_up" else value})
    return parse_script({"steps": steps, "expect_greeting": greeting})


def script_of(options: argparse.Namespace) -> Script:
    """The script file's steps followed by the command line's. Recordings are relative to where they are
    named.
    """
    filed = _script_file(Path(options.script)) if options.script else Script()
    typed = steps_of(getattr(options, "words", None) or [])
    return Script(
        steps=(*filed.steps, *typed.steps),
        expect_greeting=typed.expect_greeting or filed.expect_greeting,
        expect_hang_up=options.expect_hangup or filed.expect_hang_up,
    )


def _script_file(path: Path) -> Script:
    try:
        found = parse_script(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, BadScript) as error:
        raise BadScript(f"{path}: {error}") from None
    return replace(found, steps=tuple(_below(step, path.parent) for step in found.steps))


def _below(step: Step, folder: Path) -> Step:
    return replace(step, file=str(folder / step.file)) if step.file else step


def plan_of(options: argparse.Namespace) -> Plan:
    """Raises BadScript, DialFailed."""
    if not 1 <= options.calls <= 1000:
        raise BadScript("--calls is 1 to 1000")
    return Plan(
        target=_target(options),
        script=script_of(options),
        patience=Patience(settle=options.settle, reply=options.reply_timeout),
        calls=options.calls,
        ramp_secs=options.ramp,
        max_secs=options.max_secs,
        noise_dbfs=options.noise,
        transcribe=not options.no_transcribe,
        max_latency_ms=options.max_latency,
        quirks=_quirks(options),
        pickup=options.pickup,
        ring_secs=options.ring,
    )


def _quirks(options: argparse.Namespace) -> Quirks:
    if not 0 <= options.reorder <= 10:
        raise BadScript("--reorder is 0 to 10")
    if options.stop and options.no_stop:
        raise BadScript("--stop or --no-stop")
    return Quirks(
        marks=not options.no_marks,
        first_mark=not options.lose_first_mark,
        marks_after_clear={"yes": True, "no": False}.get(options.marks_after_clear),
        clear_spares_message=options.clear_spares_message,
        start_delay_secs=options.start_delay,
        junk=options.junk,
        stop=True if options.stop else False if options.no_stop else None,
        close_after_stop=not options.no_close,
        webhook_twice=options.webhook_twice,
        duplicate_socket=options.duplicate_socket,
        drop_after_secs=options.drop_after,
        redials=not options.no_redial,
        leg_codec=options.leg_codec,
        reorder=options.reorder,
        rate_hz=options.sample_rate,
        camel_case=options.camel_case,
    )


def _target(options: argparse.Namespace) -> Target:
    url = urlsplit(options.url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise DialFailed(f"--url {options.url!r} is no http:// or https:// URL")
    check_local(url.hostname, options.allow_remote)
    if options.stream_url and options.carrier != "exotel":
        raise DialFailed("--stream-url is for --carrier exotel: the others ask a webhook")
    side = CARRIERS[options.carrier]
    target = Target(
        url=options.url if url.path else f"{options.url}/",
        via=options.via,
        public_url=options.public_url,
        from_number=options.from_number,
        to_number=options.to_number,
        account_sid=os.environ.get(side.account_env) or side.default_account,
        auth_token=os.environ.get(side.secret_env, ""),
        allow_remote=options.allow_remote,
        carrier=options.carrier,
        method=options.method,
        stream_url=options.stream_url,
        secrets=_secrets(options),
    )
    try:
        target.signer  # noqa: B018 - a key that is none is a mistake in the command line
    except BadKey as error:
        raise DialFailed(str(error)) from None
    return target


def _secrets(options: argparse.Namespace) -> Secrets:
    wanted = {"sha256": "twilio", "v2": "plivo"}.get(options.signature, options.carrier)
    if wanted != options.carrier:
        raise DialFailed(f"--signature {options.signature} is for --carrier {wanted}")
    if options.signature == "none":
        return Secrets(scheme="none")
    return Secrets(
        token=os.environ.get(CARRIERS[options.carrier].secret_env, ""),
        shared_key=os.environ.get("TWILIO_SHARED_KEY", ""),
        private_key=os.environ.get("TELNYX_PRIVATE_KEY", ""),
        user=os.environ.get("EXOTEL_WS_USER", ""),
        password=os.environ.get("EXOTEL_WS_PASSWORD", ""),
        scheme=options.signature,
        signs_get=not options.unsigned_get,
    )
