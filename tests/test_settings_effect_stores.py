"""Keys of what is stored, from the document to what a client of the daemon sees."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from tests.house import House, Line
from tests.stalling import StallingActivity
from tests.test_web_http import Answer
from voxray import edition
from voxray.frames import TextDelta

REDIS = {"session_store": "redis", "redis_url": "unix://:pw@/nowhere/redis.sock"}


def ask(house: House, method: str, path: str, body: str = "", **headers: str) -> Answer:
    line = Line(house)
    sent = {"Host": "h.example", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in sent.items())
    line.raw(f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}".encode())
    return Answer(line.transport.value())


class SessionTests(SynchronousTestCase):
    def started(self, house: House) -> Any:
        """The id of a new session."""
        answer = ask(house, "POST", "/start")
        self.assertEqual(answer.status, 201)
        return answer.json["data"]["sessionId"]

    def offered(self, house: House, session_id: str) -> tuple[int, str]:
        answer = ask(house, "POST", f"/sessions/{session_id}/api/offer", '{"sdp":"v=0"}')
        return answer.status, answer.json["error"]["message"]

    def test_session_store(self) -> None:
        """In memory: always there. In Redis, which is away: ready it is not, and sessions are for later."""
        for document, ready, started in (({}, 200, 201), (REDIS, 503, 503)):
            house = House(self, document)
            self.assertEqual(ask(house, "GET", "/ready").status, ready)
            answer = ask(house, "POST", "/start")
            self.assertEqual((answer.status, "retry-after" in answer.headers), (started, started == 503))
            degraded = b'voxray_degraded{what="redis"} 1.0' in ask(house, "GET", "/metrics").body
            self.assertEqual(degraded, ready == 503)
            self.assertEqual(ask(house, "GET", "/health").status, 200)

    def test_redis_url(self) -> None:
        """It is what is connected to, again and again, and the password is in no line of the log."""
        house = House(self, REDIS)
        [(address, *_)] = house.reactor.unixClients
        self.assertEqual(address, "/nowhere/redis.sock")
        self.assertNotIn("pw", str(house.logged))

    def test_session_ttl_secs(self) -> None:
        """After that time a session is unknown; until then it is the offer that cannot be taken."""
        house = House(self, {"session_ttl_secs": 60})
        session_id = self.started(house)
        house.reactor.advance(59.9)
        self.assertEqual(self.offered(house, session_id), (503, "Rooms are not built yet"))
        house.reactor.advance(0.1)
        self.assertEqual(self.offered(house, session_id), (404, "Session not found"))
        self.assertEqual(self.offered(house, str(uuid4())), (404, "Session not found"))

    def test_cors_allowed_origins(self) -> None:
        """Absent: any page may; a list: those in it, to the letter; empty: none."""
        mine, other = "https://a.example", "https://a.example.evil"
        for document, allowed in (
            ({}, ["*", "*"]),
            ({"cors_allowed_origins": [mine]}, [mine, None]),
            ({"cors_allowed_origins": []}, [None, None]),
        ):
            house = House(self, document)
            for method in ("OPTIONS", "POST"):
                answers = [ask(house, method, "/start", Origin=origin) for origin in (mine, other)]
                got = [answer.headers.get("access-control-allow-origin") for answer in answers]
                self.assertEqual(got, allowed)


class QueueTests(SynchronousTestCase):
    def test_pipeline_input_queue_cap(self) -> None:
        """An ear that is stuck for a minute has so many packets waiting, not more, and the call goes on.

        The socket is read all the while: a key pressed behind the audio is answered at once.
        """
        activity = StallingActivity()
        self.patch(edition, "EnergyVoiceActivity", lambda threshold: activity)
        replies = [[TextDelta("Key pressed.")], [TextDelta("Welcome back.")]]
        house = House(self, {"pipeline_input_queue_cap": 80}, *replies)
        line = house.dial()
        line.silence(1)
        activity.stuck = True
        line.silence(60)
        page = house.ask("GET", "/metrics").body
        self.assertIn(b'voxray_pipeline_queue_depth{stage="vad"} 80.0', page)
        self.assertIn(b'voxray_pipeline_queue_depth{stage="stt"} 0.0', page)
        line.press("1#")
        line.silence(1)
        self.assertEqual(line.said, ["Key pressed."])
        activity.go_on()
        line.silence(1)
        line.tone(1)
        line.silence(1)
        line.answer("Hello?")
        line.silence(1)
        self.assertEqual(line.said, ["Key pressed.", "Welcome back."])
        page = house.ask("GET", "/metrics").body
        self.assertIn(b'voxray_pipeline_queue_depth{stage="vad"} 0.0', page)
        dropped = page.partition(b'voxray_pipeline_dropped_total{stage="vad"} ')[2].split()[0]
        self.assertGreater(float(dropped), 2_900)
