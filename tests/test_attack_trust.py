"""T1 to T6 on the whole daemon: forged, replayed, expired and crossed streams, on all four carriers.

The vendors' own libraries sign what is genuine (`signers`). None of a thousand others reaches a provider.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from urllib.parse import urlencode

from twisted.trial.unittest import SynchronousTestCase

from tests.dangers import shows
from tests.house import House, Line
from tests.signers import HOST, SIGNERS, TOKEN, Headers, Signer, stream_of
from tests.test_call_call import QUIET, TONE
from tests.test_web_http import Answer
from tests.wsframes import frame
from voxray import telephony
from voxray.audio.codec import codec_for
from voxray.audio.g711 import ulaw_to_linear
from voxray.frames import Encoding, MediaFormat
from voxray.web.tokens import StreamTokens

PATH = "/telephony/ws"
EACH = 250  # streams a carrier


class Trusted(House):
    """A daemon that checks everything, and what a carrier or a forger does to it."""

    def __init__(self, case: SynchronousTestCase, signer: Signer, **document: object) -> None:
        self.wall = 1_700_000_000.0
        self.case, self.signer = case, signer
        case.patch(telephony, "time", SimpleNamespace(time=lambda: self.wall))
        super().__init__(
            case,
            {
                "runner_transport": signer.name,
                "proxy_host": HOST,
                "api_keys": dict(signer.keys),
                "max_calls": 2000,
                **document,
            },
        )

    def pass_wall_time(self, secs: float) -> None:
        self.wall += secs
        self.pass_time(secs, 1.0)

    def rings(self, sid: str, headers: Headers | None = None) -> Answer:
        """The webhook, by POST."""
        form = self.signer.form(sid)
        signed = self.signer.webhook(f"https://{HOST}/", form, self.wall) if headers is None else headers
        return self.post("/", form, signed)

    def post(self, path: str, form: dict[str, str], signed: Headers) -> Answer:
        """A form with these headers."""
        body = urlencode(form).encode()
        lines = [
            f"POST {path} HTTP/1.1",
            f"Host: {HOST}",
            f"Content-Length: {len(body)}",
            "Content-Type: application/x-www-form-urlencoded",
            *(f"{name}: {value}" for name, value in signed.items()),
        ]
        line = Line(self)
        line.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        line.lose()
        return Answer(line.transport.value())

    def answered(self, sid: str) -> tuple[str, dict[str, str]]:
        """A genuine webhook: the stream's path and parameters."""
        answer = self.rings(sid)
        self.case.assertEqual(answer.status, 200, answer.body)
        url, parameters = stream_of(self.signer.name, answer.body)
        self.case.assertRegex(url, rf"\Awss://{HOST}{PATH}/[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
        return url.removeprefix(f"wss://{HOST}"), parameters

    def connects(self, path: str, headers: Headers | None = None) -> tuple[Line, int]:
        """An upgrade; signed unless `headers` say otherwise."""
        signed = self.signer.upgrade(f"wss://{HOST}{path}") if headers is None else headers
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {HOST}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            *(f"{name}: {value}" for name, value in signed.items()),
        ]
        line = Line(self)
        line.raw("\r\n".join(lines).encode() + b"\r\n\r\n")
        status = int(line.transport.value().split()[1])
        line.transport.clear()
        return line, status

    def streams(
        self, path: str, sid: str, parameters: dict[str, str] | None = None, headers: Headers | None = None
    ) -> str:
        """A whole attempt: upgrade, start, speech. How it was refused; "" when it was not."""
        line, status = self.connects(path, headers)
        if status != 101:
            line.lose()
            return f"HTTP {status}"
        line.send(self.signer.start(sid, parameters or {}))
        refused = f"close {line.code}" if line.code is not None else ""
        for packet in itertools.chain([TONE] * 30, QUIET[:40]) if not refused else [TONE] * 3:
            line.send(self.signer.voice(self.on_wire(packet)))
            self.reactor.advance(0.02)
        if refused:
            line.lose()
        self.current = line
        return refused

    def on_wire(self, packet: bytes) -> bytes:
        if self.signer.name != "exotel":
            return packet
        return codec_for(MediaFormat(Encoding.L16, 8000)).encode(ulaw_to_linear(packet))

    @property
    def asked(self) -> int:
        """Requests that reached a provider."""
        return len(self.stt.asked) + len(self.llm.asked)

    def refusals(self) -> float:
        """What was not let in, as the metrics have it."""
        families = self.daemon._parts.exchange.metrics.auth_failures.collect()
        return sum(s.value for family in families for s in family.samples if s.name.endswith("_total"))


Attack = Callable[[Trusted, int], str]


def attacks(signer: Signer) -> Iterator[Attack]:
    """Every way in that must not be one; each gets a number of its own for its calls."""
    sid = signer.call_sid

    def no_token(house: Trusted, n: int) -> str:
        headers = {} if signer.name == "exotel" else None  # there, genuine credentials would do
        return house.streams(PATH, sid(n), headers=headers)

    def rubbish(house: Trusted, n: int) -> str:
        return house.streams(f"{PATH}/{'x' * (n % 40 + 1)}.{n}", sid(n))

    def changed(house: Trusted, n: int) -> str:
        path, _ = house.answered(sid(n))
        at = len(PATH) + 1 + n % 60
        return house.streams(path[:at] + ("A" if path[at] != "A" else "B") + path[at + 1 :], sid(n))

    def expired(house: Trusted, n: int) -> str:
        path, _ = house.answered(sid(n))
        house.wall += 121
        return house.streams(path, sid(n))

    def spent(house: Trusted, n: int) -> str:
        path, parameters = house.answered(sid(n))
        line, _ = house.connects(path)
        line.send(signer.start(sid(n), parameters))
        line.lose()
        return house.streams(path, sid(n), parameters)

    def crossed(house: Trusted, n: int) -> str:
        path, parameters = house.answered(sid(n))
        return house.streams(path, sid(n + 100_000), parameters)

    def another_node(house: Trusted, n: int) -> str:
        token = StreamTokens(b"another secret", 120).mint(signer.name, sid(n), house.wall)
        return house.streams(f"{PATH}/{token}", sid(n))

    def forged_webhook(house: Trusted, n: int) -> str:
        form = signer.form(sid(n))
        genuine = signer.webhook(f"https://{HOST}/", form, house.wall)
        name = next(reversed(genuine)) if signer.name == "telnyx" else next(iter(genuine))
        value = genuine[name]
        genuine[name] = value[:-6] + ("AAAA" if value[-6:-2] != "AAAA" else "BBBB") + value[-2:]
        answer = house.rings(sid(n), genuine)
        house.case.assertEqual((answer.status, answer.body), (403, b""))
        return "HTTP 403"

    def unsigned_webhook(house: Trusted, n: int) -> str:
        answer = house.rings(sid(n), {})
        house.case.assertEqual((answer.status, answer.body), (403, b""))
        return "HTTP 403"

    def replayed_webhook(house: Trusted, n: int) -> str:
        path, parameters = house.answered(sid(n))
        line, _ = house.connects(path)
        line.send(signer.start(sid(n), parameters))
        while_live = house.rings(sid(n))
        line.lose()
        after = house.rings(sid(n))
        for answer in (while_live, after):
            house.case.assertIsNone(TOKEN.search(answer.body.decode()), answer.body)
            house.case.assertIn(answer.status, (200, 409))
        return "no token"

    def second_stream(house: Trusted, n: int) -> str:
        path, parameters = house.answered(sid(n))
        line, _ = house.connects(path)
        line.send(signer.start(sid(n), parameters))
        outcome = house.streams(path, sid(n), parameters)
        house.case.assertIsNone(line.code)
        line.lose()
        return outcome

    yield from (no_token, rubbish, changed, expired, spent, crossed, another_node)
    yield from (forged_webhook, unsigned_webhook, replayed_webhook, second_stream)
    if signer.name == "twilio":

        def unsigned_upgrade(house: Trusted, n: int) -> str:
            path, parameters = house.answered(sid(n))
            return house.streams(path, sid(n), parameters, headers={})

        def https_upgrade(house: Trusted, n: int) -> str:
            path, parameters = house.answered(sid(n))
            return house.streams(path, sid(n), parameters, signer.upgrade(f"https://{HOST}{path}"))

        yield from (unsigned_upgrade, https_upgrade)
    if signer.name == "telnyx":

        def stale_webhook(house: Trusted, n: int) -> str:
            signed = signer.webhook("", signer.form(sid(n)), house.wall - 301)
            house.case.assertEqual(house.rings(sid(n), signed).status, 403)
            return "HTTP 403"

        yield stale_webhook


@shows("T1", "T2", "T4", "T5")
class AttackTests(SynchronousTestCase):
    """A thousand streams that are nobody's call."""

    def attack(self, name: str) -> None:
        signer = SIGNERS[name]
        house = Trusted(self, signer)
        kinds = list(attacks(signer))
        for number in range(EACH):
            kind = kinds[number % len(kinds)]
            refused = kind(house, number + 1)
            self.assertIn(
                refused, ("HTTP 403", "HTTP 401", "close 1008", "no token"), (name, kind.__name__, refused)
            )
            if number % 50 == 49:
                house.lines.clear()  # they are over
        self.assertEqual(house.asked, 0)
        self.assertGreaterEqual(house.refusals(), EACH)
        log = json.dumps([str(event.get("log_format")) + str(event) for event in house.logged])
        self.assertIsNone(TOKEN.search(log), "a token in the log")
        self.genuine(house)

    def genuine(self, house: Trusted) -> None:
        """After all of it a call that is one is taken, and reaches the providers."""
        sid = house.signer.call_sid(999_999)
        path, parameters = house.answered(sid)
        self.assertEqual(house.streams(path, sid, parameters), "")
        for packet in QUIET * 2:
            house.current.send(house.signer.voice(house.on_wire(packet)))
            house.reactor.advance(0.02)
        self.assertEqual(len(house.stt.asked), 1)
        [call] = list(house.daemon._parts.registry)
        self.assertTrue(call.info.verified)
        self.assertNotIn("voxray_token", call.info.parameters)

    @shows("T3")
    def test_twilio(self) -> None:
        """HMAC on webhook and upgrade, a token in between."""
        self.attack("twilio")

    def test_telnyx(self) -> None:
        """Ed25519 on the webhook, the token on the rest."""
        self.attack("telnyx")

    def test_plivo(self) -> None:
        """V3 on the webhook, the token on the rest."""
        self.attack("plivo")

    def test_exotel(self) -> None:
        """Basic on the webhook and, for a static address, on the upgrade; else the token."""
        self.attack("exotel")

    def test_exotel_static(self) -> None:
        """The credentials of the applet's address are enough; without them 401 and how to come again."""
        house = Trusted(self, SIGNERS["exotel"])
        self.assertEqual(house.streams(PATH, house.signer.call_sid(1)), "")
        _, status = house.connects(PATH, {})
        self.assertEqual(status, 401)
        wrong = {"Authorization": "Basic d3Jvbmc6d3Jvbmc="}
        self.assertEqual(house.streams(PATH, house.signer.call_sid(2), headers=wrong), "HTTP 401")


class GetTests(SynchronousTestCase):
    """Webhooks by GET."""

    @shows("T2")
    def test_unsigned_get_of_telnyx(self) -> None:
        """Refused where signatures are enforced; the hint to set POST is in the log, not in the answer."""
        house = Trusted(self, SIGNERS["telnyx"])
        query = urlencode(house.signer.form(house.signer.call_sid(1)))
        answer = house.ask("GET", f"/?{query}", host=HOST)
        self.assertEqual((answer.status, answer.body), (403, b""))
        hints = [e["hint"] for e in house.logged if "hint" in e]
        self.assertTrue(any("POST" in hint for hint in hints), hints)
        house.ask("GET", f"/?{query}", host=HOST)
        self.assertEqual(len([e for e in house.logged if "hint" in e]), 1)

    def test_the_status_page_is_for_everybody(self) -> None:
        """A GET without a call asks for no signature."""
        for name, signer in SIGNERS.items():
            house = Trusted(self, signer)
            answer = house.ask("GET", "/", host=HOST)
            self.assertEqual(answer.json["data"], {"status": f"Bot started with {name}"})


class MalformedTests(SynchronousTestCase):
    """Signed nonsense."""

    @shows("T2")
    def test_headers(self) -> None:
        """No header value raises or is taken for a signature."""
        for name, signer in SIGNERS.items():
            house = Trusted(self, signer)
            names = list(signer.webhook(f"https://{HOST}/", {}, house.wall))
            for value in ("", "=", "a" * 8000, "\xff\xfe", "Basic", "Basic \xff", ",,,", "AAAA", "-1", "1e9"):
                answer = house.rings(signer.call_sid(1), dict.fromkeys(names, value))
                self.assertEqual((answer.status, answer.body), (403, b""), (name, value))
        self.assertEqual(self.flushLoggedErrors(), [])

    @shows("T6", "F30")
    def test_starts(self) -> None:
        """A genuine socket whose start is of no call id is closed, and no call."""
        for signer in SIGNERS.values():
            house = Trusted(self, signer)
            for number, sid in enumerate(("", "../x", "x" * 200, "a b", "CA\n", "\u0660")):
                path, parameters = house.answered(signer.call_sid(number))
                line, status = house.connects(path)
                self.assertEqual(status, 101)
                line.send(signer.start(sid, parameters))
                house.pass_time(11, 0.5)
                self.assertEqual(line.code, 1008)
            self.assertEqual(house.asked, 0)

    @shows("T1")
    def test_frames_after_the_refusal(self) -> None:
        """What comes after the close is not read."""
        house = Trusted(self, SIGNERS["plivo"])
        path, parameters = house.answered(house.signer.call_sid(1))
        line, _ = house.connects(path)
        line.raw(
            b"".join(
                frame(json.dumps(message).encode())
                for message in (
                    house.signer.start(house.signer.call_sid(2), parameters),
                    house.signer.start(house.signer.call_sid(1), parameters),
                )
            )
        )
        self.assertEqual(line.code, 1008)
        self.assertEqual(len(house.daemon._parts.registry), 0)
