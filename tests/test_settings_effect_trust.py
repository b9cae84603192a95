"""Effects of the keys that say who may call."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.signers import SIGNERS
from tests.test_attack_trust import PATH, Trusted

TWILIO = SIGNERS["twilio"]
SID = TWILIO.call_sid(1)


class ModeTests(SynchronousTestCase):
    """telephony_auth and the tokens."""

    def outcome(self, mode: str, **document: object) -> tuple[int, str, str]:
        """An unsigned webhook; an unsigned stream without token; a signed one with it."""
        house = Trusted(self, TWILIO, telephony_auth=mode, **document)
        webhook = house.rings(TWILIO.call_sid(2), {}).status
        stranger = house.streams(PATH, TWILIO.call_sid(3), headers={})
        answer = house.rings(SID)
        self.assertEqual(answer.status, 200)
        path = PATH
        if b"voxray_token" in answer.body:
            path, _ = house.answered(SID)
        return webhook, stranger, house.streams(path, SID)

    def test_telephony_auth(self) -> None:
        """Each mode shuts the doors that its name says."""
        self.assertEqual(self.outcome("auto"), (403, "HTTP 403", ""))
        self.assertEqual(self.outcome("both"), (403, "HTTP 403", ""))
        self.assertEqual(self.outcome("signature"), (403, "HTTP 403", ""))
        self.assertEqual(self.outcome("token"), (200, "close 1008", ""))
        self.assertEqual(self.outcome("off"), (200, "", ""))
        self.assertEqual(self.outcome("auto", api_keys={}), (200, "", ""))

    def test_stream_secret(self) -> None:
        """Two daemons that share it take each other's tokens; one that makes its own does not."""
        here = Trusted(self, TWILIO, stream_secret="shared")
        there = Trusted(self, TWILIO, stream_secret="shared")
        other = Trusted(self, TWILIO)
        path, parameters = here.answered(SID)
        self.assertEqual(other.streams(path, SID, parameters), "HTTP 403")
        self.assertEqual(there.streams(path, SID, parameters), "")

    def test_stream_token_secs(self) -> None:
        """A token is good for so long."""
        house = Trusted(self, TWILIO, stream_token_secs=30)
        for number, waited, outcome in ((1, 29, ""), (2, 31, "HTTP 403")):
            path, parameters = house.answered(TWILIO.call_sid(number))
            house.pass_wall_time(waited)
            self.assertEqual(house.streams(path, TWILIO.call_sid(number), parameters), outcome)

    def test_insecure_gauge(self) -> None:
        """1 where strangers may start calls, whatever was written."""
        for mode, keys, gauge in (
            ("auto", TWILIO.keys, 0.0),
            ("auto", {}, 1.0),
            ("off", TWILIO.keys, 1.0),
            ("token", TWILIO.keys, 1.0),
        ):
            house = Trusted(self, TWILIO, telephony_auth=mode, api_keys=dict(keys))
            metrics = house.daemon._parts.exchange.metrics.registry
            found = metrics.get_sample_value("voxray_insecure_config", {"what": "webhook_auth"})
            self.assertEqual(found or 0.0, gauge, (mode, keys))
