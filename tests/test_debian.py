"""The Debian package, as far as it can be judged without building it; `make deb-test` does the rest."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import voxray
from voxray.config.credentials import UNIT_PREFIX
from voxray.config.keys import KEYS

ROOT = Path(__file__).parents[1]
EXPOSURE_MAX = 1.3


def directives(unit: str) -> list[str]:
    """The lines of a unit that say something."""
    lines = (ROOT / "systemd" / unit).read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


class FileTests(SynchronousTestCase):
    def test_installed(self) -> None:
        """What the package is to hold is there, the dashboard and the alerts among it."""
        rows = (ROOT / "debian" / "voxray.install").read_text("utf-8").split("\n")
        places = dict(row.split() for row in rows if row)
        for source in places:
            self.assertTrue((ROOT / source).is_file(), source)
        self.assertEqual(places["contrib/grafana/voxray.json"], "usr/share/voxray/grafana")
        self.assertEqual(places["contrib/prometheus/voxray.rules.yml"], "usr/share/voxray/prometheus")


class UnitTests(SynchronousTestCase):
    def test_instances(self) -> None:
        """The template is the unit, but for names and a file of variables for each instance."""
        template = [
            line.replace(", %i", "").replace("/etc/voxray/%i.json", "/etc/voxray.json").replace("-%i", "")
            for line in directives("voxray@.service")
        ]
        template.remove("EnvironmentFile=-/etc/default/voxray")  # there once more, for all of them
        self.assertEqual(template, directives("voxray.service"))

    def test_patience(self) -> None:
        """systemd waits for the calls that we wait for, and half a minute for the end."""
        default = KEYS["drain_timeout_secs"].default
        assert isinstance(default, float)
        self.assertIn(f"TimeoutStopSec={default + 30:.0f}", directives("voxray.service"))

    def test_credentials(self) -> None:
        """The directory is loaded under the name that the configuration looks for."""
        name = UNIT_PREFIX.removesuffix("_")
        self.assertIn(f"LoadCredential={name}:/etc/voxray/credentials", directives("voxray.service"))

    def test_exposure(self) -> None:
        """systemd itself says how far the daemon is locked in."""
        if shutil.which("systemd-analyze") is None:
            self.skipTest("systemd-analyze is not installed")
        for unit in ("voxray.service", "voxray@.service"):
            told = subprocess.run(
                ["systemd-analyze", "security", "--offline=true", "--no-pager", str(ROOT / "systemd" / unit)],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            ).stdout
            figures = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", told)
            self.assertEqual(len(figures), 1, told)
            self.assertLessEqual(float(figures[0]), EXPOSURE_MAX)


class PackageTests(SynchronousTestCase):
    def test_version(self) -> None:
        """The package has the program's version."""
        newest = (ROOT / "debian" / "changelog").read_text("utf-8").partition("\n")[0]
        self.assertTrue(newest.startswith(f"voxray ({voxray.__version__}) "), newest)

    def test_files(self) -> None:
        """What the package's lists name is there, or is made by the build."""
        made = {"debian/versions.txt"}
        for name in ("install", "docs", "manpages"):
            for line in (ROOT / "debian" / f"voxray.{name}").read_text("utf-8").splitlines():
                pattern = line.split()[0]
                self.assertTrue(pattern in made or list(ROOT.glob(pattern)), line)

    def test_manual_pages(self) -> None:
        """Every option of the daemon is in voxray(8)."""
        page = (ROOT / "share" / "man" / "voxray.8").read_text("utf-8").replace("\\-", "-")
        for option in ("config", "transport", "port", "proxy", "listen", "strict"):
            self.assertIn(f"--{option}", page)

    def test_overrides(self) -> None:
        """Each exception asked of lintian has its reason above it."""
        lines = (ROOT / "debian" / "voxray.lintian-overrides").read_text("utf-8").splitlines()
        for before, line in zip(["", *lines], lines, strict=False):
            if line.startswith("voxray") and not before.startswith("voxray"):
                self.assertTrue(before.startswith("#"), line)


class HookTests(SynchronousTestCase):
    """certbot's hook, as far as it goes without root."""

    def test_without_certbot(self) -> None:
        """Run by hand without a certificate's name, it says what is missing and touches nothing."""
        done = subprocess.run(
            ["sh", str(ROOT / "share" / "certbot-deploy-hook")],
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("RENEWED_LINEAGE", done.stderr)


class CompletionTests(SynchronousTestCase):
    """What bash offers after a Tab; bash-completion's own part is stood in for."""

    def offers(self, *words: str) -> list[str]:
        script = (
            "_init_completion() { cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} "
            'words=("${COMP_WORDS[@]}") cword=$COMP_CWORD; }; '
            'twistd() { echo "  -c, --config=  --nodaemon"; }; '
            f". {ROOT / 'share' / 'completions' / 'voxray'}; "
            'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _voxray; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "-c", script, "bash", *words], capture_output=True, text=True, check=False, timeout=30
        )
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_offers(self) -> None:
        """Our command, the options that the program tells, and the names of carriers."""
        self.assertEqual(self.offers("twistd", "vox"), ["voxray"])
        self.assertEqual(self.offers("twistd", "-n", "voxray", "--c"), ["--config"])
        self.assertEqual(self.offers("voxray-dial", "--carrier", "t"), ["twilio", "telnyx"])
