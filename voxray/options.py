"""The command line of `twistd voxray`: which file, and the few overrides the Go daemon had too.

Every mistake ends here as one line on stderr and status 1, before there is a reactor. Import nothing
heavy: `twistd --help` and a mistyped key must answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from twisted.python import usage

from voxray import __version__, config, logs
from voxray.config.source import Source
from voxray.errors import ConfigError
from voxray.listening import Passed, passed
from voxray.masking import secrets_in
from voxray.settings import LogSettings, Settings

GO_FLAGS = ("config", "transport", "port", "proxy", "dialin", "init", "strict", "help")


def complain(text: str) -> NoReturn:
    """One line, whatever is in it, and the end."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    shown = line.encode("ascii", "backslashreplace").decode("ascii")
    sys.stderr.write(f"{logs.early_line(shown)}\n")
    raise SystemExit(1)


class Options(usage.Options):
    """After parsing, `settings`, `warnings`, `origins`, `passed`, `source` and its `text` stand."""

    longdesc = "Answers telephone calls. Keys of the configuration are in docs/configuration.md."
    optParameters = [  # noqa: RUF012  (usage reads them from the class)
        ["config", "c", None, "the configuration; else $VOXRAY_CONFIG, else /etc/voxray.json"],
        ["transport", None, None, "the carrier; overrides runner_transport"],
        ["port", None, None, "overrides port"],
        ["proxy", None, None, "the public host; overrides proxy_host"],
        [
            "listen",
            None,
            "",
            "systemd:, systemd:index=N or systemd:name=NAME: the socket that systemd passed",
        ],
    ]
    optFlags = [  # noqa: RUF012
        ["strict", None, "an unknown key is an error, not a warning"],
        ["dialin", None, "refused: it needs Daily's rooms, which are not built yet"],
        ["init", None, "refused: `voxray init PATH` writes a configuration"],
    ]

    settings: Settings
    warnings: tuple[str, ...] = ()
    writes_log = False
    """On standard output; else the log is twistd's, or nobody's."""
    text = b""
    source = Source()
    passed: Passed = ()

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Like Go's flags, ours may have one dash; a mistake here is one line, not the help text."""
        given = sys.argv[1:] if options is None else list(options)
        try:
            super().parseOptions([_two_dashes(word) for word in given])  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            complain(f"{error}; see twistd voxray --help")

    def parseArgs(self, *words: str) -> None:
        if words:
            complain(f"{words[0]!a} is no option; see twistd voxray --help")

    def opt_version(self) -> NoReturn:
        """Display Voxray's version and exit."""
        sys.stdout.write(f"voxray {__version__}\n")
        raise SystemExit(0)

    def postOptions(self) -> None:
        if self["init"]:
            complain("--init: `voxray init PATH` writes a configuration; this command runs the daemon")
        if self["dialin"]:
            complain("--dialin: calls that dial in to Daily's rooms are not built yet: leave the option out")
        try:
            self._load()
        except ConfigError as error:
            logs.choose(LogSettings(json=config.wants_json(self["config"], os.environ)))
            complain(str(error))

    def load(self) -> config.Loaded:
        """Reads the configuration (again, on SIGHUP). Raises ConfigError."""
        return self.source.load()

    def _load(self) -> None:
        names = {"transport": "runner_transport", "port": "port", "proxy": "proxy_host"}
        overrides = {key: self[option] for option, key in names.items() if self[option] is not None}
        # twistd may change directory afterwards
        self.source = Source(self["config"], overrides, bool(self["strict"]), os.getcwd())
        self.passed = passed(os.environ)
        self.text = self.source.read()
        loaded = self.source.load(self.text)
        self.settings, self.warnings, self.origins = loaded.settings, loaded.warnings, loaded.origins
        self._choose_log()

    def _choose_log(self) -> None:
        """On a terminal or under systemd we write the log; --logger, --logfile and --syslog are twistd's."""
        logs.choose(self.settings.logs)
        logs.conceal(secrets_in(self.settings))
        twistd = self.parent
        if twistd is None or not twistd.get("nodaemon"):
            return
        if not any(twistd.get(name) for name in ("logger", "logfile", "syslog")):
            self.writes_log = True
            twistd["logger"] = "voxray.logs.observer"  # a name: twistd looks it up when we are done


def _two_dashes(word: str) -> str:
    name = word[1:].partition("=")[0]
    return f"-{word}" if word.startswith("-") and name in GO_FLAGS else word
