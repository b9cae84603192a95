"""T20: nothing secret is compared in a time that tells how much of it was right."""

from __future__ import annotations

import ast
import hmac
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

import voxray
from tests.dangers import shows
from voxray.web import keys

SOURCES = Path(voxray.__file__).parent
SECRET = re.compile(
    r"(?:^|_)(?:keys?|tokens?|secrets?|passwords?|sig|signatures?|digests?|hmac|credentials?)(?:_|$)"
)
OURS = {  # of two values of the owner's own, or of two addresses
    "office.py": ["calls.stream_secret != self._secret"],
    "tls.py": ["_public(leaf) != key.public_key()"],
    "web/crowd.py": ["key == place.key"],
    "web/tokens.py": ["key != self._key"],
}


def name_of(node: ast.expr) -> str:
    """The last name of what is compared: of `self._token`, `given.token`, `token()` it is `token`."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def plain_comparisons(source: str) -> Iterator[str]:
    """`==` and `!=` of something secret with anything but a constant."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        sides = (node.left, *node.comparators)
        constant = any(isinstance(side, ast.Constant) for side in sides)
        equal = any(isinstance(each, ast.Eq | ast.NotEq) for each in node.ops)
        if equal and not constant and any(SECRET.search(name_of(side)) for side in sides):
            yield ast.unparse(node)


@shows("T20")
class ComparisonTests(SynchronousTestCase):
    """What the sources say, and what is done with keys."""

    def test_offences(self) -> None:
        """A plain comparison of something secret is seen, whatever it hangs on."""
        for source in ("a.token == b", "given != self._api_keys[0]", "x == digest(y)", "f(sig) == sig"):
            self.assertTrue(list(plain_comparisons(source)), source)
        for source in ("token == ''", "hmac.compare_digest(token, x)", "keyboard == x", "token is None"):
            self.assertEqual(list(plain_comparisons(source)), [], source)

    def test_the_shipped_code(self) -> None:
        """What a stranger sent is compared by hmac.compare_digest and by nothing else."""
        found = {
            str(path.relative_to(SOURCES)): offences
            for path in sorted(SOURCES.rglob("*.py"))
            if (offences := list(plain_comparisons(path.read_text("utf-8"))))
        }
        self.assertEqual(found, OURS)

    def test_keys(self) -> None:
        """A right key, a wrong one and none take the same way: as many comparisons, of equal lengths."""
        compared: list[tuple[int, int]] = []

        def compare(one: bytes, other: bytes) -> bool:
            compared.append((len(one), len(other)))
            return hmac.compare_digest(one, other)

        self.patch(keys, "hmac", SimpleNamespace(compare_digest=compare))
        known = keys.Keys(["first-key", "second-key", "third-key"])
        for sent, good in (("Bearer first-key", True), ("Bearer x", False), ("", False), ("Bearer", False)):
            compared.clear()
            request = SimpleNamespace(getHeader={"Authorization": sent}.get)
            self.assertEqual(known.admit(request), good)
            self.assertEqual(compared, [(32, 32)] * 3, sent)
