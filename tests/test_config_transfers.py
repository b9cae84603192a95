"""`transfers`: names and numbers, and what is no number."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.configs import loaded, settings
from voxray.config.kinds import BadValue
from voxray.config.transfers import MAX_NAMES, Numbers
from voxray.errors import ConfigError

NUMBER = "+14155550100"


class TransfersTests(SynchronousTestCase):
    def numbers(self, value: object, **environ: str) -> dict[str, str]:
        return dict(settings({"transfers": value}, **environ).agent.transfers)

    def refused(self, value: object) -> str:
        return str(self.assertRaises(ConfigError, loaded, {"transfers": value}))

    def test_numbers(self) -> None:
        """E.164 and SIP URIs are taken as they are; names may have spaces, comments are left out."""
        given = {
            " the  sales\tdesk ": NUMBER,
            "x" * 64: "+4930123456",
            "caf\u00e9": "sip:desk@pbx.example.com",
            "a": "sips:+14155550100@10.0.0.1:5061;transport=tls",
        }
        taken = {" ".join(name.split()): number for name, number in given.items()}
        self.assertEqual(self.numbers({**given, "_comment": 5}), taken)
        self.assertEqual(self.numbers({}), {})
        self.assertEqual(self.numbers(None), {})

    def test_variable(self) -> None:
        """In the environment: name=number, by commas; it takes the place of the file's."""
        text = "sales=+14155550100, the desk = sip:d@h;user=phone,"
        found = self.numbers({"old": NUMBER}, VOXRAY_TRANSFERS=text)
        self.assertEqual(found, {"sales": NUMBER, "the desk": "sip:d@h;user=phone"})
        for wrong in ("sales", "=+14155550100", "sales=", "sales=5"):
            self.assertRaises(ConfigError, loaded, {}, VOXRAY_TRANSFERS=wrong)

    def test_no_numbers(self) -> None:
        """What cannot be dialled is refused in one line that names it and says what to write."""
        for number in (
            "", "4155550100", "+1 415 555 0100", "+0123456789", "+1", "+1234567890123456", "911",
            "tel:+14155550100", "sip:", "sip:desk", "sip:a b@h", "sip:a@h<x>", 'sip:a@h"', "http://h/",
            "+14155550100\n", 14155550100, None, True, [], {}, "sip:" + "a" * 300 + "@h",
        ):  # fmt: skip
            problem = self.refused({"sales": number})
            self.assertEqual(
                problem,
                'transfers must be numbers such as "+14155550100" or "sip:desk@example.com", which that of '
                '"sales" is not',
                number,
            )

    def test_names(self) -> None:
        """1 to 64 printable characters, each once, and not more of them than a model can be told."""
        for name in ("", "  ", "x" * 65, "a\u0007b", "a\u202eb"):
            self.assertIn("under names of 1 to 64 characters", self.refused({name: NUMBER}))
        self.assertIn("twice", self.refused({"a b": NUMBER, "a  b": NUMBER}))
        many = {f"n{i}": NUMBER for i in range(MAX_NAMES + 1)}
        self.assertIn("at most 100", self.refused(many))
        self.assertEqual(len(self.numbers(dict(list(many.items())[1:]))), MAX_NAMES)
        for value in (5, "+14155550100", ["+14155550100"], True):
            self.assertIn("an object of names and numbers", self.refused(value))

    def test_the_apology_is_in_english(self) -> None:
        """With transfers it is one of the phrases that an owner of another language is told of."""
        for transfers, told in (({}, False), ({"sales": NUMBER}, True)):
            warnings = str(loaded({"language": "de", "transfers": transfers}).warnings)
            self.assertEqual("transfer_apology" in warnings, told)

    @given(st.dictionaries(st.text(max_size=8), st.text("+0123456789sip:@ab.;", max_size=20), max_size=4))
    def test_any_text(self, value: dict[str, str]) -> None:
        """Whatever is taken can be dialled; whatever is not is a BadValue."""
        try:
            found = Numbers().from_json(value)
        except BadValue:
            return
        assert isinstance(found, Mapping)
        for number in found.values():
            self.assertTrue(
                number.startswith(("+", "sip:", "sips:")) and number.isprintable() and " " not in number
            )
