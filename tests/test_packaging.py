"""What we ship: the wheel, the commands README promises, the fragments, the versions."""

from __future__ import annotations

import configparser
import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

from twisted.trial import unittest

import voxray
from tests.dangers import shows

ROOT = Path(__file__).resolve().parent.parent
FRAGMENT = re.compile(r"(\d+|\+[\w-]+)\.(feature|bugfix|doc|removal|misc)(\.\d+)?\.md")
TARGET = re.compile(r"^([a-z]+):", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def numbers(version: str) -> tuple[int, ...]:
    """As far as there are any: ">= 26.7.1" is (26, 7, 1)."""
    return tuple(map(int, re.findall(r"\d+", version)))


def make_targets() -> set[str]:
    return set(TARGET.findall((ROOT / "Makefile").read_text("utf-8")))


def anchors(document: Path) -> set[str]:
    """What a page's titles are called in a link."""
    titles = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@functools.cache
def build_wheel() -> zipfile.ZipFile:
    """One build for all tests, from a copy of the tree."""
    place = Path("wheel").resolve()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    ignore = shutil.ignore_patterns("__pycache__", "dropin.cache")
    for name in ("voxray", "twisted"):
        shutil.copytree(ROOT / name, place / name, ignore=ignore)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-w", "dist"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "."],
        cwd=place,
        # This machine's own limits on setuptools are none of this build's business.
        env={**os.environ, "PIP_CONSTRAINT": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (place / "dist").glob("voxray-*.whl")
    return zipfile.ZipFile(path)


class WheelTests(unittest.SynchronousTestCase):
    """The wheel, built without touching the network."""

    if importlib.util.find_spec("setuptools") is None:
        skip = "setuptools is not installed (make dev)"

    def setUp(self) -> None:
        self.wheel = build_wheel()

    def test_it_carries_the_plugin_and_none_of_twisted(self) -> None:
        """twistd finds us; removing us leaves Twisted whole."""
        names = [name for name in self.wheel.namelist() if name.startswith("twisted/")]
        self.assertEqual(names, ["twisted/plugins/voxray_plugin.py"])

    def test_it_carries_every_module(self) -> None:
        """A package that setup.cfg forgot would be missing here."""
        ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / "voxray").rglob("*.py")}
        self.assertEqual(ours - set(self.wheel.namelist()), set())

    def test_it_carries_the_data(self) -> None:
        """Recordings, scenarios and their licences, at whatever depth, and the mark that we are typed."""
        data = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / "voxray" / "data").rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        self.assertTrue(data)
        self.assertEqual((data | {"voxray/py.typed"}) - set(self.wheel.namelist()), set())

    def test_it_carries_nothing_else(self) -> None:
        """No tests, no scripts, no caches."""
        tops = {name.partition("/")[0] for name in self.wheel.namelist()}
        self.assertEqual(tops, {"voxray", "twisted", f"voxray-{voxray.__version__}.dist-info"})

    def test_its_version_and_command(self) -> None:
        """The version is voxray.__version__; `voxray` and `voxray-dial` are installed with it."""
        info = f"voxray-{voxray.__version__}.dist-info"
        self.assertIn(f"\nVersion: {voxray.__version__}\n", self.wheel.read(f"{info}/METADATA").decode())
        commands = self.wheel.read(f"{info}/entry_points.txt").decode()
        for command in ("voxray = voxray.cli.main:main", "voxray-dial = voxray.simulator.cli:main"):
            self.assertIn(command, commands)


class TreeTests(unittest.SynchronousTestCase):
    """What the files say of each other is true."""

    def test_the_packages_are_those_in_the_tree(self) -> None:
        """setup.cfg writes them out, because twisted.plugins must be among them."""
        listed = set(setup_cfg()["options"]["packages"].split())
        found = {
            ".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "voxray").rglob("__init__.py")
        }
        self.assertEqual(listed, found | {"twisted.plugins"})
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])

    def test_every_directory_of_modules_is_a_package(self) -> None:
        """One without an __init__.py works from the checkout and is missing from the wheel."""
        homes = {path.parent for path in (ROOT / "voxray").rglob("*.py")}
        self.assertEqual([str(home) for home in homes if not (home / "__init__.py").exists()], [])

    def test_the_documented_commands_exist(self) -> None:
        """Each `make x` of README, CONTRIBUTING and .ci/run is a target; each target is in the help."""
        for name in ("README.md", "CONTRIBUTING.md", ".ci/run"):
            text = (ROOT / name).read_text("utf-8")
            promised = set(re.findall(r"(?:^ *|`|\" |&& )make ([a-z]+)", text, re.MULTILINE))
            self.assertTrue(promised, name)
            self.assertEqual(promised - make_targets(), set(), name)
        shown = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
        for target in make_targets():
            self.assertIn(f"  make {target} ", shown)

    def test_the_documents_links_lead_somewhere(self) -> None:
        """A relative link in a document is a file of the tree, and its anchor one of the file's titles."""
        for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
            for link, anchor in LINK.findall(document.read_text("utf-8")):
                aim = document.parent / link if link else document
                self.assertTrue(aim.exists(), f"{document.name}: {link}")
                if anchor:
                    self.assertIn(anchor, anchors(aim), f"{document.name}: {link}")

    def test_the_fragments_have_legal_names(self) -> None:
        """towncrier ignores a fragment whose name it does not understand."""
        names = [path.name for path in (ROOT / "newsfragments").iterdir() if not path.name.startswith(".")]
        self.assertEqual([name for name in names if not FRAGMENT.fullmatch(name)], [])

    def test_the_debian_version_is_ours(self) -> None:
        """debian/changelog's newest entry is for this version."""
        changelog = ROOT / "debian" / "changelog"
        match = re.match(r"voxray \(([^)]+)\)", changelog.read_text("utf-8"))
        assert match is not None
        self.assertEqual(match[1].partition("-")[0], voxray.__version__)

    @shows("T31")
    def test_every_requirement_is_pinned(self) -> None:
        """constraints.txt has a version for all that setup.cfg asks for, itself satisfying it."""
        config = setup_cfg()
        texts = [config["options"]["install_requires"], *config["options.extras_require"].values()]
        wanted = {
            re.split(r"[\[ ><=!~]", line)[0].lower().replace("_", "-")
            for text in texts
            for line in text.splitlines()
            if line and not line.startswith("#")
        }
        pinned = {
            line.partition("==")[0].lower().replace("_", "-")
            for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
            if "==" in line
        }
        self.assertEqual(wanted - pinned, set())

    @shows("T31")
    def test_no_version_with_a_known_hole(self) -> None:
        """Floors in setup.cfg, in constraints.txt and in what runs.

        Autobahn unpacked past its limit before 26.7.1 (GHSA-hxp9-w8x3-p566); Twisted before 26.4 could be
        kept busy by DNS over TCP (CVE-2026-42304).
        """
        floors = {"autobahn": (26, 7, 1), "twisted": (26, 4)}
        asked = setup_cfg()["options"]["install_requires"].splitlines()
        pinned = (ROOT / "constraints.txt").read_text("utf-8").lower().splitlines()
        for name, floor in floors.items():
            [wanted] = [line for line in asked if re.split(r"[\[ >=]", line)[0] == name]
            self.assertGreaterEqual(numbers(wanted.partition(">=")[2]), floor)
            [exact] = [line for line in pinned if line.startswith(f"{name}==")]
            self.assertGreaterEqual(numbers(exact.partition("==")[2]), floor)
            self.assertGreaterEqual(numbers(metadata.version(name)), floor)

    @shows("T31")
    def test_what_the_debian_package_carries(self) -> None:
        """The pinned versions are what it is built of, and the list of them goes with it."""
        rules = (ROOT / "debian" / "rules").read_text("utf-8")
        self.assertIn("constraints.txt", rules)
        self.assertIn("freeze --all --exclude voxray >debian/versions.txt", rules)
        self.assertIn(
            "debian/versions.txt", (ROOT / "debian" / "voxray.docs").read_text("utf-8").splitlines()
        )


class SetUpTests(unittest.SynchronousTestCase):
    """scripts/venv.sh, as far as it goes without a network."""

    def run_it(self, *, python: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs it in an otherwise empty copy of the project."""
        place = Path(self.mktemp()).resolve()
        (place / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "venv.sh", place / "scripts")
        for name in ("setup.cfg", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, place)
        environment = {**os.environ, "PYTHON": python, "PATH": path or os.environ["PATH"]}
        return subprocess.run(
            ["bash", "scripts/venv.sh", "run"],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def test_an_unsuitable_python_is_named(self) -> None:
        """No traceback of pip's: what is needed and how to say where it is."""
        done = self.run_it(python="/nonexistent/python3")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no Python >= 3.11 found", done.stderr)

    def test_missing_libraries_without_root_give_the_line_to_type(self) -> None:
        """The exact command, and nothing was made."""
        tools = Path(self.mktemp()).resolve()
        tools.mkdir()
        # A user who is not root, and an interpreter that finds no library.
        for name, body in {
            "id": "echo 1000",
            "python": f'case "$*" in *ctypes*) exit 1;; esac; exec {sys.executable} "$@"',
        }.items():
            (tools / name).write_text(f"#!/bin/sh\n{body}\n")
            (tools / name).chmod(0o755)
        done = self.run_it(python=str(tools / "python"), path=f"{tools}:{os.environ['PATH']}")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends "
            "libopus0 libflite1 espeak-ng libespeak-ng1",
            done.stderr,
        )
        self.assertNotIn("installing packages", done.stdout)
