"""The command line of `voxray-dial`: its options and their help."""

from __future__ import annotations

import argparse
import math
from typing import Any

from voxray import __version__
from voxray.simulator.carriers import CARRIERS
from voxray.simulator.engines import CALLER_VOICE

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
  voxray-dial --carrier plivo --rest-port 8081 --await-call --say "Who is this?"
      be the telephone that the agent calls: base_urls.plivo is http://127.0.0.1:8081
  voxray-dial --script call.json --calls 20 --ramp 10 --no-transcribe --json report.json
      twenty calls at once, begun over ten seconds

A step waits until the agent has answered and has been quiet for a moment; --barge-in and --backchannel
speak over it. The wire, the measures and the script file are described in docs/dial.md.

environment, as the daemon has it: TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN; TELNYX_ACCOUNT_SID, TELNYX_API_KEY;
PLIVO_AUTH_ID, PLIVO_AUTH_TOKEN; EXOTEL_ACCOUNT_SID, EXOTEL_API_KEY, EXOTEL_API_TOKEN. With these requests are
signed as the carrier signs them: Twilio's and Plivo's token; TELNYX_PRIVATE_KEY, 32 bytes in base64;
EXOTEL_WS_USER and EXOTEL_WS_PASSWORD; TWILIO_SHARED_KEY for --signature sha256.
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
            "the webhook's public URL, which is what is signed; without a path, --url's is taken",
        ),
        (
            "--signature",
            {"default": "", "choices": ("sha256", "v2", "none")},
            "another than the carrier's usual one: Twilio sha256, Plivo v2; none leaves requests unsigned",
        ),
        ("--unsigned-get", {"action": "store_true"}, "Telnyx: only a POST is signed"),
        (
            "--print-public-key",
            {"action": "store_true"},
            "print the public half of TELNYX_PRIVATE_KEY, which the agent needs, and do nothing else",
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
    "calls that the agent places": (
        (
            "--await-call",
            {"nargs": "?", "type": _secs, "const": 600.0, "metavar": "SECS"},
            "call nobody: wait for the agent to place a call (600 seconds) and answer it as told below",
        ),
        (
            "--pickup",
            {"default": "answer", "choices": ("answer", "busy", "no-answer", "failed")},
            "what becomes of it (default: %(default)s)",
        ),
        (
            "--ring",
            {"type": _secs, "default": 1.0, "metavar": "SECS"},
            "how long it rings before (default: %(default)s)",
        ),
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
            "--marks-after-clear",
            {"choices": ("yes", "no")},
            "whether those that a clear overtakes come back (default: Twilio's and Telnyx's do)",
        ),
        ("--clear-spares-message", {"action": "store_true"}, "a clear lets the message being played end"),
        (
            "--start-delay",
            {"type": _secs, "default": 0.0, "metavar": "SECS"},
            "so long from the socket's opening to start",
        ),
        ("--junk", {"action": "store_true"}, "messages that nobody can read come before start"),
        ("--webhook-twice", {"action": "store_true"}, "the webhook is asked twice, the second answer obeyed"),
        (
            "--duplicate-socket",
            {"action": "store_true"},
            "a second socket opens for the same call, with a start of its own",
        ),
        (
            "--drop-after",
            {"type": _secs, "default": 0.0, "metavar": "SECS"},
            "the socket is lost so long after start; Telnyx and Plivo dial again",
        ),
        ("--no-redial", {"action": "store_true"}, "they do not"),
        (
            "--no-stop",
            {"action": "store_true"},
            "only the close tells that the call is over (as Plivo's does)",
        ),
        ("--stop", {"action": "store_true"}, "Plivo: there is a stop before it"),
        ("--no-close", {"action": "store_true"}, "stop is all there is: the agent must close"),
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
