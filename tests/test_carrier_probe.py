"""Trying a carrier's credentials: one request that changes nothing, and little said of what comes back."""

from __future__ import annotations

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from tests.carrier_rest import EXOTEL, PLIVO, SIDES, TELNYX, TWILIO, Asked, RestApi, Side
from voxray.carriers.exotel import ExotelControl
from voxray.errors import CarrierError
from voxray.probing import Probed

ACCOUNT = {"status": "active", "type": "Full", "auth_token": "hush-token", "friendly_name": "Bakery"}


class ProbeTests(SynchronousTestCase):
    def probed(self, side: Side, document: object = None, status: int = 200) -> tuple[Asked, Probed]:
        api = RestApi(status, document if document is not None else {})
        result = self.successResultOf(side.ask(api, lambda control: control.probe()))  # type: ignore[attr-defined]
        (asked,) = api.asked
        return asked, result

    def refused(self, side: Side, status: int, document: object = None) -> str:
        api = RestApi(status, document)
        act = side.ask(api, lambda control: control.probe())  # type: ignore[attr-defined]
        error = self.failureResultOf(act, CarrierError).value
        self.assertEqual(error.status, status)
        return str(error)

    def test_requests(self) -> None:
        """A GET without a body, of the account itself, with its credentials."""
        basic = "Basic " + b64encode(b"AC0123456789abcdef0123456789abcdef:hush-token").decode()
        for side, uri, authorization in (
            (TWILIO, "/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef.json", basic),
            (TELNYX, "/v2/balance", "Bearer hush-token"),
            (PLIVO, "/v1/Account/MAXXXXXXXXXXXXXXXXXX/", None),
            (EXOTEL, "/v1/Accounts/exampleaccount1/Calls.json?PageSize=1", None),
        ):
            asked, probed = self.probed(side)
            self.assertEqual((asked.method, asked.uri, asked.body), ("GET", uri, b""))
            self.assertEqual(asked.authorization, authorization or asked.authorization)
            self.assertTrue(asked.authorization)
            self.assertEqual(probed.doubt, "")

    def test_refused(self) -> None:
        """Status and carrier, and never a credential."""
        for side in SIDES:
            for status in (401, 403, 404, 500):
                text = self.refused(side, status, {"message": "hush-token is wrong"})
                self.assertIn(f"answered {status}", text)
                self.assertFalse([secret for secret in side.secrets if secret in text])

    def test_any_answer(self) -> None:
        """What is not the document we know is no reason to complain: the status told."""
        for side in SIDES:
            for body in (b"", b"[]", b"<html>", b'{"data": []}', b'{"data": {"available_credit": {}}}'):
                self.assertEqual(self.probed(side, body)[1].doubt, "")

    def test_twilio(self) -> None:
        """A suspended account takes no calls; a trial one is good, with a doubt. No token is repeated."""
        self.assertNotIn("hush", repr(self.probed(TWILIO, ACCOUNT)[1]))
        self.assertIn("trial", self.probed(TWILIO, {**ACCOUNT, "type": "Trial"})[1].doubt)
        for status in ("suspended", "closed"):
            self.assertIn(status, self.refused(TWILIO, 200, {**ACCOUNT, "status": status}))

    def test_telnyx(self) -> None:
        """Credit is a decimal string; with none left calls end."""
        for credit, doubt in (
            ("400.00", ""),
            ("0.00", "no credit is left"),
            ("-3", "no credit is left"),
            ("x", ""),
        ):
            self.assertEqual(self.probed(TELNYX, {"data": {"available_credit": credit}})[1].doubt, doubt)

    def test_exotel_without_credentials(self) -> None:
        """There is nothing to try, and nothing is sent."""
        control = ExotelControl(None, None)  # type: ignore[arg-type]
        coroutine = control.probe()
        error = self.assertRaises(CarrierError, coroutine.send, None)
        self.assertIn("nothing was sent", str(error))
