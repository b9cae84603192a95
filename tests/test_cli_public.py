"""What the answers of a public address mean: pure, so every way of being wrong has a row here."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxray.cli import public
from voxray.cli.exchange import NoAnswer, Reply
from voxray.cli.looking import Shown
from voxray.cli.report import Finding, Verdict
from voxray.web.envelope import error_body, success_body

NOW = 1_795_428_000.0
DAY = 86_400.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
READY, NOT_READY = success_body({"status": "ok"}, "id"), error_body(503, "Service unavailable", "id")
PAGE = b"<!DOCTYPE html><html><body>hello</body></html>"
HTML = {"content-type": "text/html; charset=utf-8"}
OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL
GOOD = Shown(NOW - DAY, NOW + 60 * DAY, chain=2, self_signed=False)


def chunked(body: bytes) -> Reply:
    parts = b"".join(
        b"%x\r\n%b\r\n" % (len(body[i : i + 7]), body[i : i + 7]) for i in range(0, len(body), 7)
    )
    return Reply(200, {"transfer-encoding": "chunked"}, parts + b"0\r\n\r\n")


class ReadyTests(SynchronousTestCase):
    """GET /ready."""

    def test_ours(self) -> None:
        """Our envelope is us: ready, or not. So it is in chunks, as a proxy may send it on."""
        self.assertEqual(public.ready(Reply(200, {}, READY, 0.012)).text, "answers as Voxray does, in 12 ms")
        self.assertEqual(public.ready(chunked(READY)).verdict, OK)
        found = public.ready(Reply(503, {}, NOT_READY))
        self.assertEqual(found.verdict, WARN)
        self.assertIn("not ready", found.text)

    def test_somebody_else(self) -> None:
        """Each is a failure, and says who answers and what to do."""
        for reply, text in (
            (Reply(200, HTML, PAGE), "a page of HTML"),
            (Reply(200, {}, PAGE), "a page of HTML"),
            (Reply(200, {**HTML, "ngrok-trace-id": "x"}, PAGE), "a page of ngrok's"),
            (Reply(404, HTML, b"<p>ngrok: ERR_NGROK_3200</p>"), "a page of ngrok's"),
            (
                Reply(502, {"server": "nginx"}, PAGE),
                "the proxy's answer is 502: it does not reach the daemon",
            ),
            (Reply(530, {"cf-ray": "x"}, PAGE), "Cloudflare's answer is 530"),
            (Reply(503, {}, b"no server is available"), "does not reach the daemon"),
            (
                Reply(301, {"location": "https://www.example.com/"}),
                "it redirects to https://www.example.com/",
            ),
            (Reply(403, {"server": "cloudflare"}, PAGE), "it asks for a password, or blocks"),
            (Reply(401, {}), "it asks for a password"),
            (Reply(200, {}, b'{"status":"ok"}'), "something else than Voxray"),
            (Reply(200, {}, b'{"data":1,"meta":[]}'), "something else than Voxray"),
            (Reply(200, {}, b""), "something else than Voxray"),
            (Reply(404, {}, b"not found"), "something else than Voxray"),
        ):
            found = public.ready(reply)
            self.assertEqual(found.verdict, FAIL, reply)
            self.assertIn(text, found.text)
            self.assertTrue(found.remedy)

    def test_nobody(self) -> None:
        """No answer has its kind's remedy."""
        for kind in public.REMEDIES:
            for judged in (public.ready(NoAnswer(kind, "why")), public.socket(NoAnswer(kind, "why"), KEY)):
                self.assertEqual(
                    (judged.verdict, judged.text, judged.remedy), (FAIL, "why", public.REMEDIES[kind])
                )


class SocketTests(SynchronousTestCase):
    """The handshake."""

    def judged(self, status: int, body: bytes = b"", **headers: str) -> Finding:
        return public.socket(Reply(status, {k.replace("_", "-"): v for k, v in headers.items()}, body), KEY)

    def test_accept(self) -> None:
        """The RFC's own example."""
        self.assertEqual(public.accept_of(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")

    def test_passes(self) -> None:
        """The daemon's refusal of a wrong token is as good as its yes."""
        for status in (401, 403):
            self.assertEqual(self.judged(status).verdict, OK)
        self.assertEqual(self.judged(101, sec_websocket_accept=public.accept_of(KEY)).verdict, OK)

    def test_does_not(self) -> None:
        """What a proxy makes of an upgrade it does not know, each with its remedy."""
        for found, text, remedy in (
            (self.judged(101, sec_websocket_accept="x"), "answered wrongly", "see"),
            (self.judged(101), "answered wrongly", "see"),
            (self.judged(400), "the upgrade is lost", "proxy_http_version 1.1"),
            (self.judged(426, upgrade="websocket"), "the upgrade is lost", "proxy_http_version 1.1"),
            (self.judged(414), "the long path", "1000 bytes"),
            (self.judged(404, error_body(404, "Not found", "id")), "has no media socket", "runner_transport"),
            (self.judged(404, PAGE), "knows no /telephony/ws", "forward every path"),
            (self.judged(403, PAGE, **HTML), "blocks", "let carriers pass"),
            (self.judged(502), "does not reach the daemon", "is the daemon started"),
            (self.judged(200, PAGE, **HTML), "a page of HTML", "no page"),
            (self.judged(308, location="http://a/"), "redirects to http://a/", "do not follow"),
        ):
            self.assertEqual(found.verdict, FAIL, found)
            self.assertIn(text, found.text)
            self.assertIn(remedy, found.remedy)

    @given(
        st.integers(100, 999),
        st.dictionaries(
            st.sampled_from(
                ["content-type", "server", "location", "transfer-encoding", "sec-websocket-accept"]
            ),
            st.sampled_from(["", "text/html", "chunked", "cloudflare", "\x1b[2J"]) | st.text(max_size=9),
        ),
        st.binary(max_size=60) | st.sampled_from([READY, NOT_READY, PAGE, b"zz\r\n", b"[" * 30_000]),
    )
    def test_anything(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Whatever comes back is a finding, never a fault of ours; nobody is us without our mark."""
        reply = Reply(status, headers, body)
        ready = public.ready(reply)
        public.socket(reply, KEY)
        if b"requestId" not in body:
            self.assertEqual(ready.verdict, FAIL)


class CertificateTests(SynchronousTestCase):
    def judged(self, **more: Any) -> Finding:
        fields = {name: getattr(GOOD, name) for name in Shown.__dataclass_fields__}
        return public.certificate(Shown(**{**fields, **more}), "bot.example.com", NOW)

    def test_good(self) -> None:
        """With its days; few are warned of."""
        self.assertEqual(self.judged(), Finding(OK, "certificate", "it is good, for 60 more days"))
        found = self.judged(not_after=NOW + 3.2 * DAY)
        self.assertEqual((found.verdict, found.text), (WARN, "it is good, and expires in 3 days"))

    def test_bad(self) -> None:
        """The first reason that an owner can do something about."""
        faults = {"untrusted": True, "faults": ("unable to get local issuer certificate",)}
        for found, text, remedy in (
            (self.judged(not_after=NOW - 2 * DAY, **faults), "it expired 2 days ago", "renew"),
            (self.judged(not_before=NOW + DAY), "not valid yet", "clock"),
            (self.judged(other_name=True, **faults), "it is not for bot.example.com", "proxy_host"),
            (self.judged(chain=1, **faults), "issuer's certificate is not sent", "fullchain.pem"),
            (self.judged(chain=1, self_signed=True, **faults), "nobody known has signed it", "Let's Encrypt"),
            (self.judged(faults=("certificate revoked",)), "it is refused: certificate revoked", "new one"),
            (public.certificate(None, "a", NOW), "no TLS", "tls_enable"),
        ):
            self.assertEqual(found.verdict, FAIL)
            self.assertIn(text, found.text)
            self.assertIn(remedy, found.remedy)


class ClockTests(SynchronousTestCase):
    def judged(self, ahead: float, took: float = 0.2) -> Finding:
        """Their clock is `ahead` of ours; the exchange took so long."""
        date = formatdate(NOW + ahead + took / 2, usegmt=True)
        return public.clock(public.skew(date, NOW, NOW + took), "api.example.com")

    def test_right(self) -> None:
        """A Date has whole seconds, and an exchange takes a while: neither is held against anybody."""
        for ahead in (0.0, 0.9, -0.9, 4.0):
            self.assertEqual(self.judged(ahead).verdict, OK, ahead)
        self.assertEqual(self.judged(9.0, took=20.0).verdict, OK)

    def test_wrong(self) -> None:
        """Seconds are warned of, minutes are a failure; ahead or behind is said from our side."""
        self.assertEqual(self.judged(30.0).verdict, WARN)
        found = self.judged(600.0)
        self.assertEqual((found.verdict, found.remedy), (FAIL, "timedatectl set-ntp true"))
        self.assertIn("600 s behind api.example.com's", found.text)
        self.assertIn("600 s ahead of api.example.com's", self.judged(-600.0).text)

    @given(st.text(max_size=40))
    def test_no_date(self, date: str) -> None:
        """A Date that is none is nobody's clock."""
        found = public.clock(public.skew(date, NOW, NOW), "a")
        self.assertIn(found.verdict, set(Verdict))
        self.assertEqual(public.clock(public.skew("Mon, 32 Foo", NOW, NOW), "a").verdict, Verdict.SKIP)

    def test_json_of_a_finding(self) -> None:
        """With the remedy only where there is one."""
        self.assertEqual(
            json.loads(json.dumps(self.judged(0.0).document())).keys(), {"verdict", "topic", "text"}
        )
