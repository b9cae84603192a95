"""Ten thousand malformed messages a carrier, at the whole daemon: the call beside them does not notice.

The kinds are those of `test_wire_malformed`. They come on sockets whose call is up and on some whose is not;
a socket that misbehaves too long is closed and another takes its place. The sentinel's call is greeted, is
answered afterwards, and hears nobody else; nothing is logged with a traceback and nothing is left.
"""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.house import House, Line
from tests.signers import HOST, SIGNERS
from tests.test_wire_malformed import KINDS, dumped
from tests.wsframes import frame
from voxray.frames import TextDelta

MESSAGES = 10_000
A_SOCKET = 200  # messages; then a fresh one, so that every kind meets sockets of every age


@shows("F30", "F31", "F32", "F33", "F34", "F35", "F36", "F37", "F39")
class StormTests(SynchronousTestCase):
    """One carrier at a time."""

    def storm(self, carrier: str) -> None:
        seed = random.randrange(2**32)
        dice, signer = random.Random(seed), SIGNERS[carrier]
        house = House(
            self,
            {
                "runner_transport": carrier,
                "proxy_host": HOST,
                "max_calls": 100,
                "greeting": "Hello there.",
                "dead_peer_secs": 60,
            },
            [TextDelta("Still here.")],
        )
        sentinel = house.socket()
        sentinel.send(signer.start(signer.call_sid(1), {}))
        house.pass_time(0.5)
        sent, sockets = 0, 0
        while sent < MESSAGES:
            sockets += 1
            attacker = house.socket()
            if dice.random() < 0.8:
                attacker.send(signer.start(signer.call_sid(1 + sockets), {}))
            sent += self.attack(attacker, carrier, dice)
            attacker.lose()
            house.reactor.advance(0.02)  # little: the silent sentinel must not be given up
            house.lines.remove(attacker)
        told = f"seed {seed}"
        self.assertIsNone(sentinel.code, told)
        registry = house.daemon._parts.registry
        self.assertEqual([call.info.call_sid for call in registry], [signer.call_sid(1)], told)
        self.assertEqual(self.flushLoggedErrors(), [], told)
        self.still_there(house, sentinel, told)

    def attack(self, attacker: Line, carrier: str, dice: random.Random) -> int:
        """Messages on one socket, until it is closed or has had enough."""
        for count in range(1, A_SOCKET + 1):
            kind = dice.choice(KINDS)
            attacker.raw(frame(dumped(kind(dice, carrier))[:65_000]))
            if attacker.over or (count % 10 == 0 and attacker.code is not None):
                return count
        return A_SOCKET

    def still_there(self, house: House, sentinel: Line, told: str) -> None:
        """The sentinel presses a key and is answered, in its own stream."""
        before = len(sentinel.messages())
        for digit in "1#":
            sentinel.send({"event": "dtmf", "dtmf": {"digit": digit}})
        sentinel.settle_stages()
        house.pass_time(0.6)
        self.assertGreater(len(sentinel.messages()), before, told)
        self.assertEqual(house.tts.texts[-1], "Still here.")

    def test_twilio(self) -> None:
        """Media streams."""
        self.storm("twilio")

    def test_telnyx(self) -> None:
        """With its reorder window."""
        self.storm("telnyx")

    def test_plivo(self) -> None:
        """Without `connected`."""
        self.storm("plivo")

    def test_exotel(self) -> None:
        """Both spellings."""
        self.storm("exotel")
