"""Connections that are no calls: how many there may be, and who has to go."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from voxray.settings import LimitSettings
from voxray.web.crowd import DISPLACED, PENDING, PER_IP, Crowd, Place
from voxray.web.forwarded import networks


class Recorder:
    """What the metrics were told."""

    def __init__(self) -> None:
        self.size = 0
        self.reasons: list[str] = []

    def crowd(self, size: int) -> None:
        self.size = size

    def turned_away(self, reason: str) -> None:
        self.reasons.append(reason)


class CrowdTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.recorder = Recorder()
        self.dropped: list[str] = []

    def crowd(self, pending: int = 10, per_ip: int = 3, exempt: tuple[str, ...] = ()) -> Crowd:
        crowd = Crowd(self.recorder)
        limits = LimitSettings(
            max_pending_connections=pending, max_connections_per_ip=per_ip, connection_exempt=exempt
        )
        crowd.use(limits, networks(["10.0.0.0/8"]))
        return crowd

    def comes(self, crowd: Crowd, host: str) -> Place | None:
        """None: it was closed at the door."""
        if crowd.refuses(host):
            return None
        return crowd.enter(host, lambda: self.dropped.append(host))


@shows("T18")
class LimitTests(CrowdTestCase):
    def test_per_address(self) -> None:
        """So many of one address; what ends or becomes a call makes room."""
        crowd = self.crowd()
        places = [self.comes(crowd, "198.51.100.1") for _ in range(3)]
        self.assertIsNone(self.comes(crowd, "198.51.100.1"))
        self.assertIsNotNone(self.comes(crowd, "198.51.100.2"))
        assert places[0] is not None
        places[0].leave()
        places[0].leave()  # a socket that became a call ends later
        self.assertIsNotNone(self.comes(crowd, "198.51.100.1"))
        self.assertEqual((len(crowd), self.recorder.size, self.recorder.reasons), (4, 4, [PER_IP]))

    @shows("T28")
    def test_networks(self) -> None:
        """An IPv6 customer is a /64; an IPv4 address in IPv6 clothes is itself."""
        crowd = self.crowd()
        for tail in ("1", "2:3:4"):
            self.assertIsNotNone(self.comes(crowd, f"2001:db8:0:1::{tail}"))
        self.assertIsNotNone(self.comes(crowd, "2001:db8:0:1:ffff::1"))
        self.assertIsNone(self.comes(crowd, "2001:db8:0:1::9"))
        self.assertIsNotNone(self.comes(crowd, "2001:db8:0:2::9"))
        for host in ("::ffff:198.51.100.1", "198.51.100.1", "::ffff:198.51.100.1"):
            self.assertIsNotNone(self.comes(crowd, host))
        self.assertIsNone(self.comes(crowd, "198.51.100.1"))

    def test_exempt(self) -> None:
        """Carriers' networks, proxies and UNIX sockets are not counted at all."""
        crowd = self.crowd(exempt=("203.0.113.0/24", "2001:db8::/32"))
        for host in ("203.0.113.9", "2001:db8::1", "10.1.2.3", "", "/run/x.sock"):
            for _ in range(20):
                self.assertIsNotNone(self.comes(crowd, host), host)
        self.assertEqual((len(crowd), self.recorder.reasons), (0, []))

    def test_displaced(self) -> None:
        """A newcomer to a full pool gets the oldest place of whoever has most; answers are not cut off."""
        crowd = self.crowd(pending=5, per_ip=0)
        first = self.comes(crowd, "198.51.100.1")
        assert first is not None
        first.busy = True
        for host in ("198.51.100.2", "198.51.100.1", "198.51.100.1", "198.51.100.3"):
            self.comes(crowd, host)
        self.assertIsNotNone(self.comes(crowd, "198.51.100.4"))
        self.assertEqual((self.dropped, len(crowd)), (["198.51.100.1"], 5))
        self.assertIn(first, crowd._by_key[first.key or 0])
        self.assertEqual(self.recorder.reasons, [DISPLACED])

    def test_full_of_answers(self) -> None:
        """Where everybody is being answered, the newcomer is refused."""
        crowd = self.crowd(pending=10, per_ip=0)
        for number in range(10):
            place = self.comes(crowd, f"198.51.100.{number}")
            assert place is not None
            place.busy = True
        self.assertIsNone(self.comes(crowd, "198.51.100.77"))
        self.assertEqual((self.recorder.reasons, self.dropped), ([PENDING], []))

    def test_clients_of_a_proxy(self) -> None:
        """A proxy's connection counts for the client of its request, until that is answered."""
        crowd = self.crowd()
        places = [self.comes(crowd, "10.0.0.1") for _ in range(5)]
        found = [place.belongs_to("198.51.100.1") for place in places if place is not None]
        self.assertEqual(found, ["", "", "", PER_IP, PER_IP])
        assert places[0] is not None and places[3] is not None
        self.assertEqual(places[0].belongs_to("10.0.0.1"), "")
        self.assertEqual(places[3].belongs_to("198.51.100.1"), "")
        self.assertEqual(len(crowd), 3)


@shows("T18")
class PropertyTests(CrowdTestCase):
    @given(st.integers(0, 2**32), st.integers(1, 12), st.integers(0, 5))
    def test_never_over(self, seed: int, pending: int, per_ip: int) -> None:
        """Whatever comes and goes: the limits hold, the sum is right, and nobody is forgotten."""
        dice = random.Random(seed)
        crowd = self.crowd(pending=pending, per_ip=per_ip)
        places: list[Place] = []
        for _ in range(100):
            host = f"198.51.100.{dice.randrange(6)}"
            what = dice.randrange(4)
            if what < 2 and (place := self.comes(crowd, host)) is not None:
                place.busy = dice.random() < 0.3
                places.append(place)
            elif what == 2 and places:
                places.pop(dice.randrange(len(places))).leave()
            elif what == 3 and places:
                dice.choice(places).belongs_to(host)
            sizes = [len(own) for own in crowd._by_key.values()]
            self.assertEqual(sum(sizes), len(crowd))
            self.assertLessEqual(len(crowd), pending)
            self.assertLessEqual(max(sizes, default=0), per_ip or pending)
            self.assertNotIn(0, sizes)
        for place in places:
            place.leave()
        self.assertEqual((len(crowd), crowd._by_key), (0, {}))
