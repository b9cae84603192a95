"""docs/carriers/: a page for each carrier, of one shape, with all its keys and with what is answered."""

from __future__ import annotations

import json
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxray.carriers.exotel import ExotelDocuments
from voxray.carriers.plivo import PlivoDocuments
from voxray.carriers.telnyx import TelnyxDocuments
from voxray.carriers.twilio import TwilioDocuments
from voxray.catalog_carriers import CARRIERS
from voxray.config.document import document
from voxray.config.keys import KEYS
from voxray.config.names import KEY_ENV

PAGES = Path(__file__).parent.parent / "docs" / "carriers"
SECTIONS = ["Set it up", "Settings", "What is answered", "What is supported", "What is not known"]
ASIDE = {"After a crash", "Codecs", "SIP trunks", "Sample rate"}
L16 = ("telnyx", "plivo")
URL = "wss://voice.example.com/telephony/ws/TOKEN"
PARAMETERS = {"from": "+15558675310", "to": "+15017122661", "voxray_token": "TOKEN"}
DOCUMENTS = {
    each.name: each for each in (TwilioDocuments(), TelnyxDocuments(), PlivoDocuments(), ExotelDocuments())
}


def page(carrier: str) -> str:
    return (PAGES / f"{carrier}.md").read_text("utf-8")


def sections(carrier: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", page(carrier), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def keys_of(carrier: str) -> dict[str, str]:
    """Every key that is this carrier's, and the first variable of it."""
    own = {f"api_keys.{name}": env[0] for name, env in KEY_ENV.items() if name.startswith(f"{carrier}_")}
    shared = ["runner_transport", "proxy_host", "telephony_auth", *(["l16_byte_order"] * (carrier in L16))]
    named = [name for name in KEYS if name.startswith(f"{carrier}_")]
    own |= {name: KEYS[name].env_names[0] for name in (*shared, *named)}
    return own | {f"base_urls.{carrier}": f"{carrier.upper()}_BASE_URL"}


class CarrierPagesTests(SynchronousTestCase):
    def test_all(self) -> None:
        """There is one for each carrier, and no other."""
        self.assertEqual({path.stem for path in PAGES.iterdir()}, set(CARRIERS))

    def test_shape(self) -> None:
        """The same sections in the same order; some have one or two more."""
        for carrier in CARRIERS:
            found = list(sections(carrier))
            self.assertEqual([name for name in found if name not in ASIDE], SECTIONS, carrier)

    def test_settings(self) -> None:
        """The table has every key of the carrier's with its variable, and no key that there is not."""
        for carrier in CARRIERS:
            rows = {}
            for line in sections(carrier)["Settings"].splitlines():
                cells = [re.findall(r"`([^`]+)`", cell) for cell in line.split("|")[1:3]]
                rows |= dict(zip(*cells, strict=True)) if len(cells) == 2 else {}
            wanted = keys_of(carrier)
            self.assertEqual({name: rows.get(name) for name in wanted}, wanted, carrier)
            for name in set(rows) - set(wanted):
                self.assertEqual(rows[name], KEYS[name].env_names[0], carrier)

    def test_answer(self) -> None:
        """What the page shows is what is answered, but for line ends."""
        for carrier, documents in DOCUMENTS.items():
            shown = re.findall(r"(?:^    .+\n)+", sections(carrier)["What is answered"], re.MULTILINE)[0]
            made = documents.answer(URL, PARAMETERS).decode()
            if documents.content_type == "application/json":
                self.assertEqual(json.loads(shown), json.loads(made))
            else:
                self.assertEqual(squeezed(shown), squeezed(made.partition("?>")[2]), carrier)

    def test_names(self) -> None:
        """A word in backticks that looks like a key of ours, or like a variable, is one."""
        variables = set(re.findall(r"`([A-Z][A-Z_0-9]+)`", document()))
        for carrier in CARRIERS:
            text = re.sub(r"^    .*$", "", page(carrier), flags=re.MULTILINE)
            said = set(re.findall(r"`((?:VOXRAY|TWILIO|TELNYX|PLIVO|EXOTEL)_[A-Z_]+)`", text))
            self.assertEqual(said - variables, set(), carrier)
            said = set(re.findall(rf"`({carrier}_[a-z_]+)`", text))
            self.assertEqual(said - set(KEYS) - set(KEY_ENV), set(), carrier)


def squeezed(xml: str) -> str:
    """Without the spaces between elements, and with one between attributes."""
    return re.sub(r">\s+<", "><", " ".join(xml.split()))
