"""The table of keys is sound, and the page made from it is up to date."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from twisted.trial.runner import TestLoader
from twisted.trial.unittest import SynchronousTestCase, TestCase

from voxray.config.document import NO_TEST, document
from voxray.config.keys import KEYS, MAP_PROOFS, MAPS, SECTIONS
from voxray.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
CONTRACT = Path(__file__).parent / "data" / "config" / "contract-keys.json"
OUTSIDE_THE_TABLE = {"providers.api_keys", "providers.base_urls", "providers.tts.language"}
UNUSED = {"providers.llm.language", "providers.llm.voice", "providers.stt.voice"}


def leaves(value: object, prefix: str = "") -> set[str]:
    """The paths of everything in a dataclass."""
    found: set[str] = set()
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        inner, path = getattr(value, field.name), f"{prefix}{field.name}"
        found |= leaves(inner, f"{path}.") if dataclasses.is_dataclass(inner) else {path}
    return found


class TableTests(SynchronousTestCase):
    """The keys."""

    def test_fields(self) -> None:
        """Every key leads to a field of the settings, every field comes from one key."""
        from tests.configs import settings

        paths = [key.field for key in KEYS.values() if key.field]
        self.assertEqual(len(paths), len(set(paths)))
        self.assertEqual(set(paths) | OUTSIDE_THE_TABLE | UNUSED, leaves(settings()))
        self.assertIsInstance(settings(), Settings)

    def test_names(self) -> None:
        """No key is in two sections, no variable serves two keys."""
        self.assertEqual(len(KEYS), sum(len(section.keys) for section in SECTIONS))
        variables = [name for key in KEYS.values() for name in key.env_names]
        self.assertEqual(len(variables), len(set(variables)))

    def test_contract(self) -> None:
        """Every key and every variable of the contract is there."""
        contract: dict[str, list[str]] = json.loads(CONTRACT.read_text(encoding="utf-8"))
        for name, variables in contract.items():
            if not name.startswith("_comment"):
                self.assertTrue(name in KEYS or name in MAPS, name)
                if variables:
                    self.assertEqual(list(KEYS[name].env_names), variables)


class PageTests(TestCase):
    """docs/configuration.md."""

    def test_up_to_date(self) -> None:
        """The committed page is what the table makes: run `make docs` when this fails."""
        self.assertEqual(PAGE.read_text(encoding="utf-8"), document())

    def test_proofs(self) -> None:
        """Every key that is said to work names a test, a key that waits names none, and every test exists."""
        loader = TestLoader()
        proofs = {proof for named in MAP_PROOFS.values() for proof in named}
        self.assertEqual(set(MAP_PROOFS), set(MAPS))
        for key in KEYS.values():
            self.assertNotEqual(bool(key.proof), bool(key.later), key.name)
            if key.proof:
                proofs.add(key.proof)
        for proof in proofs:
            suite = loader.loadByName(proof)
            self.assertEqual(suite.countTestCases(), 1, proof)
            self.assertNotIn("ErrorHolder", repr(suite), proof)
        self.assertNotIn(NO_TEST, document())
