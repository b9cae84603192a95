"""The command line of `voxray`: its commands and their options. Completion and manual are made from this."""

from __future__ import annotations

import argparse
from typing import Any

from voxray import __version__
from voxray.config.names import AUTO, BUILT, CARRIERS_BUILT, STAGES
from voxray.config.read import DEFAULT_PATH, PATH_ENV

DESCRIPTION = """\
Looks after the telephone agent that `twistd voxray` runs: checks its configuration, shows what it comes to,
finds what stands between the carrier and the daemon, and calls the agent as a carrier would.
"""

EPILOG = """\
exit status: 0 all is well (there may be warnings), 1 a problem was found, 2 a mistake in the command line.

The daemon itself: twistd -n voxray --config FILE
"""

CHECK = """\
Reads the configuration as the daemon would and says what is wrong with it; then what would run: the carriers,
what is set at them, how callers are told from strangers, the way of the audio, the providers and their keys.
With --online it also tries each key, with a request that costs nothing and changes nothing.
"""

PRINT_CONFIG = """\
Every key of the configuration with its value and where that comes from: the default, the file, a variable or
an option. Secrets are hidden.
"""

DOCTOR = """\
Looks, from this machine, at what stands between the carrier and the daemon: the public address, its
certificate, the proxy's way with WebSockets, the clock, Redis, limits, and whether the local engines load.
One line each: ok, warn, fail or skip, and what to do. The media socket is tried with a token that is none,
which the daemon refuses and counts.
"""

INIT = """\
Writes a configuration to begin with, with comments. It asks nothing and overwrites nothing without --force;
the file may be read by its owner and its group (0640). Keys of vendors are not written: they belong into the
environment, and what is still to be set is said.
"""

DIAL = "Calls the agent as Twilio, Telnyx, Plivo or Exotel would: the same as voxray-dial."

PROVIDERS = tuple(name for name in BUILT[STAGES[0]] if all(name in BUILT[stage] for stage in STAGES))


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Descriptions as they stand; a column that fits ours."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=100)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="voxray", description=DESCRIPTION, epilog=EPILOG, formatter_class=Formatter, allow_abbrev=False
    )
    made.add_argument("--version", action="version", version=f"voxray {__version__}")
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True, title="commands")

    check = _command(commands, "check", "check the configuration, show what will run", CHECK)
    _configuration(check)
    check.add_argument("--strict", action="store_true", help="an unknown key is a problem, not a warning")
    check.add_argument("--online", action="store_true", help="try the keys of providers and carriers")
    _json(check)

    show = _command(commands, "print-config", "every key, its value and where that comes from", PRINT_CONFIG)
    _configuration(show)
    _json(show)

    doctor = _command(commands, "doctor", "what stands between the carrier and the daemon", DOCTOR)
    _configuration(doctor)
    doctor.add_argument("--url", metavar="URL", help="the public address; else https://{proxy_host}/")
    doctor.add_argument(
        "--timeout", metavar="SECS", type=_secs, default=10.0, help="for each answer from outside (10)"
    )
    _json(doctor)

    init = _command(commands, "init", "write a configuration to begin with", INIT)
    init.add_argument("path", nargs="?", metavar="PATH", default="voxray.json", help="default: voxray.json")
    carriers = (*CARRIERS_BUILT, AUTO)
    init.add_argument(
        "--carrier", choices=carriers, default=carriers[0], help=f"who brings the calls ({carriers[0]})"
    )
    init.add_argument("--proxy-host", metavar="HOST", default="", help="the public host name")
    init.add_argument("--provider", choices=PROVIDERS, default="local", help="for all three stages (local)")
    init.add_argument("--force", action="store_true", help="write over a file that is there")

    _command(commands, "dial", "call the agent, as voxray-dial does", DIAL, add_help=False)
    _command(commands, "version", "print the version", "Prints the version.")
    return made


def _command(commands: Any, name: str, line: str, text: str, **more: bool) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=line, description=text, formatter_class=Formatter, allow_abbrev=False, **more
    )
    return made


def _configuration(made: argparse.ArgumentParser) -> None:
    """Which configuration, and what the daemon's own options would override."""
    made.add_argument(
        "-c", "--config", metavar="FILE", help=f"the configuration; else ${PATH_ENV}, else {DEFAULT_PATH}"
    )
    made.add_argument("--env-file", metavar="FILE", help="variables as systemd's EnvironmentFile= has them")
    made.add_argument("--transport", metavar="CARRIER", help="overrides runner_transport")
    made.add_argument("--port", metavar="PORT", help="overrides port")
    made.add_argument("--proxy", metavar="HOST", help="overrides proxy_host")


def _json(made: argparse.ArgumentParser) -> None:
    made.add_argument("--json", action="store_true", help="the same as one JSON object")


def _secs(text: str) -> float:
    secs = float(text)
    if not 0.1 <= secs <= 300:
        raise argparse.ArgumentTypeError("0.1 to 300 seconds")
    return secs
