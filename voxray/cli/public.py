"""What the answers of the public address mean: is it us, and what stands before us. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from voxray.certificates import WARN_DAYS
from voxray.cli.exchange import NoAnswer, Reply
from voxray.cli.looking import Shown
from voxray.cli.report import Finding, Verdict

Outcome = Reply | NoAnswer
OK, WARN, FAIL = Verdict.OK, Verdict.WARN, Verdict.FAIL

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
UPGRADE_REMEDY = (
    "let it pass WebSockets; nginx: proxy_http_version 1.1, and proxy_set_header Upgrade $http_upgrade, "
    'Connection "upgrade"'
)
NOT_REACHED = "is the daemon started, and does the proxy forward to its port?"
REMEDIES = {
    "dns": "make a DNS record, or mend proxy_host",
    "refused": "does the proxy or tunnel run, and is the firewall open?",
    "timeout": "is the firewall open, and the address this machine's?",
    "tls": "serve TLS 1.2 or later there",
    "closed": "see the proxy's log",
    "nonsense": "see what listens there",
}
CLOCK_GOOD_SECS, CLOCK_BAD_SECS = 5.0, 60.0
"""Signatures are good for 300 s and stream tokens for 120; a clock that is a minute off is not being set."""

_GONE = (502, 503, 504, 530)  # 530: Cloudflare's, for a tunnel that is down


def ready(outcome: Outcome) -> Finding:
    """GET /ready."""
    if isinstance(outcome, NoAnswer):
        return _nothing("public", outcome)
    if is_ours(outcome):
        if outcome.status == 200:
            return Finding(OK, "public", f"answers as Voxray does, in {outcome.secs * 1000:.0f} ms")
        text = f"Voxray answers that it is not ready ({outcome.status}): it starts, stops, or lacks Redis"
        return Finding(WARN, "public", text, "see its log")
    return Finding(FAIL, "public", *_stranger(outcome))


def socket(outcome: Outcome, key: str) -> Finding:
    """The handshake at a media socket's path with a token that is none; `key` is its Sec-WebSocket-Key."""
    if isinstance(outcome, NoAnswer):
        return _nothing("websocket", outcome)
    status = outcome.status
    if status == 101:
        if outcome.headers.get("sec-websocket-accept") != accept_of(key):
            return Finding(FAIL, "websocket", "the handshake is answered wrongly", "see what stands there")
        return Finding(OK, "websocket", "the upgrade passes; who a socket is, its first message has to tell")
    if status in (401, 403) and not outcome.body.strip():  # ours is without a word
        return Finding(OK, "websocket", f"the upgrade passes; the daemon refuses a wrong token ({status})")
    if status in (400, 426):
        return Finding(FAIL, "websocket", f"the upgrade is lost on the way (status {status})", UPGRADE_REMEDY)
    if status in (414, 431):
        text = f"the long path of a stream's token is refused (status {status})"
        return Finding(FAIL, "websocket", text, "let the proxy take request lines of 1000 bytes")
    if status == 404 and is_ours(outcome):
        text = "the daemon has no media socket: runner_transport is not set where it runs"
        return Finding(FAIL, "websocket", text, "set runner_transport and restart it")
    if status == 404:
        text = "the proxy knows no /telephony/ws (status 404)"
        return Finding(FAIL, "websocket", text, "forward every path to the daemon")
    return Finding(FAIL, "websocket", *_stranger(outcome))


def certificate(shown: Shown | None, host: str, now: float) -> Finding:
    """The public one; None: there was no TLS."""
    topic = "certificate"
    if shown is None:
        text = "no TLS: carriers open wss:// alone"
        return Finding(FAIL, topic, text, "put a proxy with a certificate in front, or set tls_enable")
    if now < shown.not_before:
        return Finding(FAIL, topic, "it is not valid yet", "see to this machine's clock, or the certificate")
    days = shown.days_left(now)
    if days < 0:
        return Finding(FAIL, topic, f"it expired {-days:.0f} days ago", "renew it: no carrier connects")
    if shown.other_name:
        return Finding(FAIL, topic, f"it is not for {host}", "get one for that name, or mend proxy_host")
    if shown.untrusted and shown.chain == 1 and not shown.self_signed:
        text = "its issuer's certificate is not sent, so carriers may not trust it"
        return Finding(FAIL, topic, text, "serve the whole chain (fullchain.pem)")
    if shown.untrusted:
        faults = ", ".join(shown.faults)
        return Finding(FAIL, topic, f"nobody known has signed it ({faults})", "get one from Let's Encrypt")
    if shown.faults:
        return Finding(FAIL, topic, f"it is refused: {', '.join(shown.faults)}", "get a new one")
    if days < WARN_DAYS:
        return Finding(WARN, topic, f"it is good, and expires in {days:.0f} days", "renew it")
    return Finding(OK, topic, f"it is good, for {days:.0f} more days")


def skew(date: str, before: float, after: float) -> tuple[float, float] | None:
    """By how much the sender's clock is ahead of ours, and how surely; None for a Date that is none.

    `before` and `after`: our clock around the exchange. A Date has whole seconds.
    """
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return theirs + 0.5 - (before + after) / 2, 0.5 + (after - before) / 2


def clock(found: tuple[float, float] | None, whose: str) -> Finding:
    """By somebody's Date header."""
    if found is None:
        return Finding(Verdict.SKIP, "clock", f"{whose} tells no time")
    ahead, unsure = found
    apart = max(0.0, abs(ahead) - unsure)
    if apart <= CLOCK_GOOD_SECS:
        return Finding(OK, "clock", f"within {max(abs(ahead), unsure):.0f} s of {whose}'s")
    way = "behind" if ahead > 0 else "ahead of"
    verdict = FAIL if apart > CLOCK_BAD_SECS else WARN
    return Finding(verdict, "clock", f"{abs(ahead):.0f} s {way} {whose}'s", "timedatectl set-ntp true")


def accept_of(key: str) -> str:
    digest = hashlib.sha1(f"{key}{GUID}".encode("ascii"), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def is_ours(reply: Reply) -> bool:
    """Whether it has one of our envelopes."""
    try:
        document: Any = json.loads(_unchunked(reply))
    except (ValueError, RecursionError):
        return False
    if not isinstance(document, dict):
        return False
    inner = document.get("meta" if "data" in document else "error")
    return isinstance(inner, dict) and isinstance(inner.get("requestId"), str)


def _unchunked(reply: Reply) -> bytes:
    if "chunked" not in reply.headers.get("transfer-encoding", "").lower():
        return reply.body
    rest, whole = reply.body, b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        try:
            length = int(size.split(b";")[0], 16)
        except ValueError:
            return b""
        whole, rest = whole + rest[:length], rest[length + 2 :]
    return whole


# -- who is it then ----------------------------------------------------------------
def _nothing(topic: str, error: NoAnswer) -> Finding:
    return Finding(FAIL, topic, str(error), REMEDIES[error.kind])


def _stranger(reply: Reply) -> tuple[str, str]:
    """What it is that answers instead of us, and what to do."""
    status, tunnel = reply.status, _tunnel(reply.headers, reply.body)
    whose = f"{tunnel}'s" if tunnel else "the proxy's"
    if status in _GONE:
        return f"{whose} answer is {status}: it does not reach the daemon", NOT_REACHED
    if 300 <= status < 400:
        to = reply.headers.get("location", "nowhere")[:200]
        return f"it redirects to {to}", "let that very address answer: carriers do not follow"
    if status in (401, 403, 407):
        return f"{whose} answer is {status}: it asks for a password, or blocks", "let carriers pass"
    if reply.is_page:
        kind = f"a page of {tunnel}'s" if tunnel else "a page of HTML (of a tunnel, or another server)"
        return f"{kind} answers, not Voxray (status {status})", f"{NOT_REACHED} Tunnels must show no page"
    return f"something else than Voxray answers (status {status})", NOT_REACHED


def _tunnel(headers: Mapping[str, str], body: bytes) -> str:
    seen = body[:20_000].lower()
    if any(name.startswith("ngrok") for name in headers) or b"ngrok" in seen:
        return "ngrok"
    if "cf-ray" in headers or headers.get("server", "").lower() == "cloudflare":
        return "Cloudflare"
    return "localtunnel" if b"localtunnel" in seen else ""
