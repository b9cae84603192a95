"""The command line of `voxray-dial`: its help, and the plan it makes of what was typed."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from voxray import __version__
from voxray.simulator.carriers import CARRIERS
from voxray.simulator.client import DialFailed, Target, check_local
from voxray.simulator.engines import CALLER_VOICE
from voxray.simulator.script import BadScript, Patience, Script, Step, parse_script
from voxray.simulator.session import Plan
from voxray.simulator.wires.vocabulary import Quirks

DESCRIPTION = """\
Calls a telephone agent as Twilio, Telnyx, Plivo or Exotel would: asks the webhook, obeys its answer, opens
the media stream, speaks, listens, and reports how the agent did. No telephone and no account needed.
"""

EXAMPLES = """\
examples:
  voxray-dial --say "What are your opening hours?"
      ask one question, wait for the answer, hang up
  voxray-dial --say "What are your hours?" --expect-reply "friday|six" --max-latency 1500
      the same as a test: exit status 1 unless the answer matches and came in time
  voxray-dial --barge-in "Stop, please" --after 2 --say "Goodbye" --expect-hangup --rest-port 8081
      interrupt the greeting after two seconds of it; the agent must hang up by itself. For that the daemon's
      base_urls.twilio must be http://127.0.0.1:8081
  voxray-dial --carrier telnyx --leg-codec PCMA --reorder 2 --say "What are your hours?"
      the same question over a leg in A-law whose packets come out of order
  voxray-dial --script call.json --calls 20 --ramp 10 --no-transcribe --json report.json
      twenty calls at once, begun over ten seconds

A step waits until the agent has answered and has been quiet for a moment; --barge-in and --backchannel
speak over it. The wire, the measures and the script file are described in docs/dial.md.

environment: TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, if set, are the account; requests are then signed.
TELNYX_API_KEY; PLIVO_AUTH_ID and PLIVO_AUTH_TOKEN; EXOTEL_ACCOUNT_SID: as the daemon has them.
"""


class _StepAction(argparse.Action):
    """Keeps the steps in the order of the command line."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        words = getattr(namespace, "words", None) or []
        namespace.words = [*words, (self.dest, values)]


def _secs(text: str) -> float:
    """A number, 0 or more; argparse words the complaint."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value


def _dbfs(text: str) -> float | None:
    """A level below full scale, or off."""
    if text == "off":
        return None
    value = float(text)
    if not -100 <= value <= -20:
        raise ValueError(text)
    return value


_secs.__name__, _dbfs.__name__ = "number", "level (-100 to -20, or off)"


_STEP = {"action": _StepAction}
_GROUPS: dict[str, tuple[tuple[str, dict[str, Any], str], ...]] = {
    "whom to call": (
        ("--carrier", {"default": "twilio", "choices": tuple(CARRIERS)}, "whose wire (default: %(default)s)"),
        ("--url", {"default": "http://127.0.0.1:8080/"}, "the webhook (default: %(default)s)"),
        (
            "--method",
            {"default": "", "choices": ("GET", "POST"), "type": str.upper},
            "how the webhook is asked (default: POST; Telnyx and Exotel GET)",
        ),
        (
            "--stream-url",
            {"default": "", "metavar": "URL"},
            "Exotel: the wss:// URL of a static Voicebot applet, which asks no webhook",
        ),
        (
            "--via",
            {"default": "", "metavar": "HOST:PORT"},
            "open the media socket there, whatever the answer says (default: at the webhook's own host and "
            "port when that is this machine)",
        ),
        (
            "--public-url",
            {"default": "", "metavar": "URL"},
            "the webhook's public URL, which is what is signed",
        ),
        ("--from", {"dest": "from_number", "default": "+15558675310", "metavar": "NUMBER"}, "who calls"),
        ("--to", {"dest": "to_number", "default": "+15017122661", "metavar": "NUMBER"}, "who is called"),
        (
            "--rest-port",
            {"type": int, "metavar": "PORT"},
            "stand in for the carrier's REST API on this port of 127.0.0.1, so that the agent can hang up "
            "(0: any free port)",
        ),
        ("--allow-remote", {"action": "store_true"}, "let calls leave this machine"),
    ),
    "what the caller does, in this order": (
        ("--say", _STEP | {"metavar": "TEXT"}, "speak, with the local voice"),
        ("--play", _STEP | {"metavar": "FILE"}, "speak, with a recording (PCM16 WAV, any rate)"),
        ("--barge-in", _STEP | {"metavar": "TEXT|FILE"}, "speak over the agent"),
        (
            "--backchannel",
            _STEP | {"metavar": "TEXT|FILE"},
            'say "mhm" (or other words) over the agent: it must not stop',
        ),
        (
            "--after",
            _STEP | {"type": _secs, "metavar": "SECS"},
            "of agent speech, before the last --barge-in or --backchannel (default: 1)",
        ),
        ("--wait", _STEP | {"type": _secs, "metavar": "SECS"}, "say nothing for so long"),
        ("--dtmf", _STEP | {"metavar": "KEYS"}, "press keys: 0-9 * # A-D"),
        ("--hang-up", _STEP | {"nargs": 0}, "hang up (the default after the last step)"),
        ("--script", {"metavar": "FILE"}, "the same steps from a JSON file, before those given here"),
        ("--voice", {"default": CALLER_VOICE}, "the local voice of --say (default: %(default)s)"),
    ),
    "what is expected (exit status 1 when it does not happen)": (
        (
            "--expect-reply",
            _STEP | {"metavar": "REGEX"},
            "what the agent answers to the step before (or says first), case ignored",
        ),
        (
            "--max-latency",
            {"type": _secs, "default": 0.0, "metavar": "MS"},
            "at most so long from the caller's last word to the agent's first",
        ),
        ("--expect-hangup", {"action": "store_true"}, "the agent ends the call after the last step"),
    ),
    "how many, and for how long": (
        ("--calls", {"type": int, "default": 1, "metavar": "N"}, "calls at once (default: 1)"),
        ("--ramp", {"type": _secs, "default": 0.0, "metavar": "SECS"}, "from the first call to the last"),
        (
            "--settle",
            {"type": _secs, "default": 1.0, "metavar": "SECS"},
            "quiet that ends the agent's turn (default: %(default)s)",
        ),
        (
            "--reply-timeout",
            {"type": _secs, "default": 15.0, "metavar": "SECS"},
            "how long to wait for an answer (default: %(default)s)",
        ),
        (
            "--max-secs",
            {"type": _secs, "default": 120.0, "metavar": "SECS"},
            "a call never lasts longer (default: %(default)s)",
        ),
        (
            "--noise",
            {"type": _dbfs, "default": -65.0, "metavar": "DBFS"},
            "line noise between words, or off for digital silence (default: %(default)s)",
        ),
    ),
    "what the carrier does to the call": (
        ("--no-marks", {"action": "store_true"}, "no mark or checkpoint ever comes back"),
        ("--lose-first-mark", {"action": "store_true"}, "the first one does not (seen on Plivo)"),
        (
            "--leg-codec",
            {"default": "", "choices": ("PCMU", "PCMA")},
            "Telnyx: the caller is heard in this, whatever the answer asks for",
        ),
        (
            "--reorder",
            {"type": int, "default": 0, "metavar": "N"},
            "Telnyx: every fifth packet comes N packets late (0 to 10)",
        ),
        (
            "--sample-rate",
            {"type": int, "default": 0, "choices": (8000, 16_000, 24_000)},
            "Exotel: the stream's rate, whatever its URL says",
        ),
        ("--camel-case", {"action": "store_true"}, "Exotel: keys as its Connect calls spell them"),
    ),
    "results": (
        ("--json", {"metavar": "FILE"}, "the report for programs (- for standard output)"),
        (
            "--wav",
            {"metavar": "FILE"},
            "the call in stereo: left the caller, right the agent as heard (of several: FILE-1, ...)",
        ),
        (
            "--no-transcribe",
            {"action": "store_true"},
            "do not write down what the agent said; --expect-reply is then not checked",
        ),
        ("--quiet", {"action": "store_true"}, "only the failures"),
    ),
}


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=100)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="voxray-dial",
        usage="voxray-dial [--url URL] [STEP ...] [OPTION ...]",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"voxray-dial {__version__}")
    for title, arguments in _GROUPS.items():
        group = made.add_argument_group(title)
        for flag, details, text in arguments:
            group.add_argument(flag, help=text, **details)
    return made


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
    )


def _quirks(options: argparse.Namespace) -> Quirks:
    if not 0 <= options.reorder <= 10:
        raise BadScript("--reorder is 0 to 10")
    return Quirks(
        marks=not options.no_marks,
        first_mark=not options.lose_first_mark,
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
    return Target(
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
    )
