"""Coverage-guided noise for what reads the bytes of strangers: no parser fails in a way of its own.

    make fuzz                        every parser for a minute
    python -m bench.fuzz [--secs 60] [PARSER ...]

atheris (libFuzzer) starts from the fixtures in tests/data. A finding is an exception that the parser does not
promise, a promise about the result that is not kept, or two seconds for one input; it is printed with the
input, which is left in bench-findings/. The exit status is the number of parsers with findings. atheris is no
dependency of ours: `make fuzz` fetches it for the occasion.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"
FINDINGS = ROOT / "bench-findings"
LONGEST = 65_536

Target = Callable[[bytes], None]


def _lines(carrier: str) -> Iterator[bytes]:
    """A carrier's recorded messages: each alone, and the first eight as one input."""
    recorded = (DATA / carrier / "call.jsonl").read_text("utf-8").splitlines()
    heard = [json.dumps(entry["msg"]) for entry in map(json.loads, recorded) if entry["dir"] == "in"]
    yield from (line.encode() for line in heard)
    yield "\n".join(heard[:8]).encode()


def serializer(carrier: str) -> tuple[Target, list[bytes]]:
    """One stream's messages, a line each."""
    from tests.configs import settings
    from voxray.catalog_carriers import build_carrier
    from voxray.errors import BadMessage
    from voxray.frames import Audio, StreamStarted
    from voxray.serializers.common import REASONS

    built = build_carrier(carrier)
    configured = settings({"runner_transport": carrier})

    def target(data: bytes) -> None:
        made, up = built.serializer(configured, {}), False
        for line in data.split(b"\n")[:40]:
            try:
                frame = made.decode(line)
            except BadMessage as problem:
                assert problem.reason in REASONS, problem.reason
                continue
            if isinstance(frame, Audio):
                assert len(frame.payload) <= 12 * LONGEST
            up |= isinstance(frame, StreamStarted)
            if up:
                made.media(bytes(640))
                made.mark("m")

    return target, list(_lines(carrier))


def sniffer() -> tuple[Target, list[bytes]]:
    """Whose call it is."""
    from voxray.serializers.sniff import Sniffer

    def target(data: bytes) -> None:
        sniffing = Sniffer()
        for line in data.split(b"\n"):
            found = sniffing.feed(line)
            assert found is None or found[0] in ("twilio", "telnyx", "plivo", "exotel")

    return target, [each for carrier in ("twilio", "telnyx", "plivo", "exotel") for each in _lines(carrier)]


def socket() -> tuple[Target, list[bytes]]:
    """The bytes of a media socket after its upgrade, in pieces, with a serializer and no call behind."""
    from twisted.internet.task import Clock
    from twisted.logger import LogLevel, globalLogPublisher

    from tests.doors import OpenFactory
    from tests.test_media_socket import Call, Peer, Recorder
    from tests.wsframes import BINARY, CLOSE, PING, frame
    from voxray.serializers.twilio import TwilioSerializer
    from voxray.settings import MediaSettings

    clock, failures = Clock(), list[Any]()
    factory = OpenFactory(clock, MediaSettings(), TwilioSerializer, Call, Recorder())
    globalLogPublisher.addObserver(
        lambda event: failures.append(event) if event["log_level"] >= LogLevel.error else None
    )

    def target(data: bytes) -> None:
        peer = Peer(factory)
        for piece in data.split(b"\n\n"):
            if not peer._ended:
                peer.raw(piece)
        if not peer._ended:
            peer.lose()
        clock.advance(3)
        assert not failures, failures.pop()
        assert not factory.sockets
        assert not clock.getDelayedCalls()

    messages = list(_lines("twilio"))
    odd = [frame(b"x", PING), frame(b"\x03\xe8", CLOSE), frame(b"\0", BINARY), frame(b"{", fin=False)]
    return target, [*(frame(message) for message in messages), *odd, b"".join(map(frame, messages[:4]))]


def events() -> tuple[Target, list[bytes]]:
    """Server-sent events: any cutting is the same stream."""
    from voxray.providers.sse import EventReader

    def read(pieces: Sequence[bytes]) -> list[Any]:
        reader = EventReader(4_096)
        return [event for piece in pieces for event in reader.feed(piece)] + reader.finish()

    def target(data: bytes) -> None:
        cut = data[0] + 1 if data else 1
        pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
        assert read(pieces) == read([data])

    return target, [path.read_bytes() for path in (DATA / "providers").glob("*.sse")]


def reply() -> tuple[Target, list[bytes]]:
    """A model's answer, streamed and whole, with its function calls."""
    from voxray.frames import CallInfo
    from voxray.providers.chat_delta import ReplyReader
    from voxray.providers.tools import offered, orders

    functions = offered(CallInfo("1", outbound=True), ["desk"])

    def target(data: bytes) -> None:
        for whole in (False, True):
            reader = ReplyReader(500, whole=whole)
            half = len(data) // 2
            said = reader.feed(data[:half]) + reader.feed(data[half:]) + reader.finish()
            assert len(said) <= 500
            orders(reader.calls, functions)

    found = [path.read_bytes() for path in (DATA / "providers").glob("*.*")]
    return target, [
        *found,
        *(line[6:] for text in found for line in text.split(b"\n") if line[:6] == b"data: "),
    ]


def refusals() -> tuple[Target, list[bytes]]:
    """A vendor's words for an error."""
    from voxray.providers.openai_errors import explain

    unprintable = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

    def target(data: bytes) -> None:
        for status in (200, 400, 401, 429, 503):
            _, words = explain(status, data)
            assert len(words) < 1_000
            assert not unprintable.search(words), words

    texts = [json.loads(path.read_text()) for path in (DATA / "providers").glob("*errors.json")]
    return target, [
        json.dumps(each).encode() for text in texts for each in (text if isinstance(text, list) else [text])
    ]


def proxy_line() -> tuple[Target, list[bytes]]:
    """The PROXY protocol."""
    import ipaddress

    from voxray.web.proxyline import BadProxyHeader, parse

    def target(data: bytes) -> None:
        try:
            found = parse(data)
        except BadProxyHeader:
            return
        if found is not None and found[0].host:
            ipaddress.ip_address(found[0].host)
            assert 0 <= found[0].port < 65_536
            assert data.endswith(found[1])

    two = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(range(12))
    return target, [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 5 443\r\nGET",
        b"PROXY TCP6 ::1 ::2 1 2\r\n",
        b"PROXY UNKNOWN\r\n",
        two,
    ]


def forwarded() -> tuple[Target, list[bytes]]:
    """X-Forwarded-For, -Proto and -Host, a line each."""
    import ipaddress

    from voxray.web.forwarded import networks, origin
    from voxray.web.hosts import valid_host

    trusted = networks(["10.0.0.0/8", "::1"])

    def target(data: bytes) -> None:
        lines = data.split(b"\n")
        headers = {
            b"x-forwarded-for": lines[:-2],
            b"x-forwarded-proto": lines[-2:-1],
            b"x-forwarded-host": lines[-1:],
        }
        found = origin("10.0.0.1", lambda name: headers[name], trusted)
        ipaddress.ip_address(found.client)
        assert found.scheme in ("", "http", "https")
        assert not found.host or valid_host(found.host)

    return target, [
        b"1.2.3.4, 10.0.0.2\nhttps\nvoice.example.com",
        b"[2001:db8::1]:443\n::ffff:10.1.1.1\nwss\n[::1]:8",
    ]


def hosts() -> tuple[Target, list[bytes]]:
    """Host: what is accepted means nothing in XML, a URL or a log."""
    from voxray.web.hosts import acceptable, is_media_path, loggable, public_host

    safe = re.compile(r"[A-Za-z0-9.:\[\]-]+")

    def target(data: bytes) -> None:
        headers = data.split(b"\n")
        acceptable(headers)
        host = public_host("", headers)
        assert host is None or safe.fullmatch(host), host
        path = data.decode("latin-1")
        is_media_path(path)
        assert loggable(f"/telephony/ws/{path}") == "/telephony/ws/-"

    return target, [b"voice.example.com:443", b"[::1]:8080", b"a\nb", b"/telephony/ws/abc.def"]


def forms() -> tuple[Target, list[bytes]]:
    """Webhooks' bodies and queries, and what the carriers make of them."""
    from tests.signers import SIGNERS
    from voxray.carriers import exotel, plivo, telnyx, twilio
    from voxray.web.requests import fields

    read = (
        twilio.TwilioDocuments().incoming,
        telnyx.TelnyxDocuments().incoming,
        plivo.PlivoDocuments().incoming,
        exotel.ExotelDocuments().incoming,
    )

    def target(data: bytes) -> None:
        for kind in (None, "application/json", "application/x-www-form-urlencoded"):
            found = fields(data, kind)
            assert all(isinstance(each, str) for pair in found.items() for each in pair)
            for incoming in read:
                assert len(incoming(found).call_sid) <= 256

    return target, [urlencode(each.form(each.call_sid(1))).encode() for each in SIGNERS.values()] + [
        b'{"a":"b"}'
    ]


def signatures() -> tuple[Target, list[bytes]]:
    """Every carrier's check of a signature: of no noise is it convinced."""
    from tests.test_carrier_authenticity import CHECKS, HEADERS
    from voxray.interfaces import Proof, SignedRequest

    def target(data: bytes) -> None:
        value, _, rest = data.partition(b"\n")
        url, _, body = rest.partition(b"\n")
        text = value.decode("latin-1")
        request = SignedRequest(
            "POST", "https://h/" + url.decode("latin-1"), dict.fromkeys(HEADERS, text), body
        )
        for check in CHECKS:
            assert check.webhook(request, 1.7e9) is not Proof.GENUINE
            assert check.upgrade(request, 1.7e9) is not Proof.GENUINE

    return target, [
        b"1700000000\n?a=b\nCallSid=CA1&From=%2B1",
        b"QUJD=\n\n",
        b"algorithm=HMAC_SHA256\n?bodySHA256=00\n{}",
    ]


def tokens() -> tuple[Target, list[bytes]]:
    """Stream tokens: only those that we minted are read."""
    from voxray.web.tokens import Claim, StreamTokens

    minted = StreamTokens(b"k" * 32, 120.0)
    good = minted.mint("twilio", "CA1", 1.7e9)

    def target(data: bytes) -> None:
        text = data.decode("latin-1")
        assert text == good or not isinstance(minted.read(text, 1.7e9), Claim)

    return target, [good.encode(), b"a.b", good.replace(".", "").encode()]


def stored() -> tuple[Target, list[bytes]]:
    """What may stand in Redis."""
    from voxray.call.expected import Expected
    from voxray.stores.forms import Poisoned, expected_of, expected_text, live_of, session_of

    def target(data: bytes) -> None:
        for read in (session_of, expected_of, live_of):
            with contextlib.suppress(Poisoned):
                read(data)

    known = expected_text(Expected("c", "twilio", "CA1", "+1", "+2", True))
    return target, [known, b'{"Body":null,"EnableDefaultIceServers":true}', b"[]", b"{}"]


def addresses() -> tuple[Target, list[bytes]]:
    """`redis_url`."""
    from voxray.errors import ConfigError
    from voxray.stores.address import parse

    def target(data: bytes) -> None:
        with contextlib.suppress(ConfigError):
            assert "pass-word" not in str(parse(data.decode("utf-8", "surrogateescape")))

    seeds = (b"redis://user:pass-word@h:1/2", b"rediss://h", b"unix:///a?db=1", b"redis+sentinel://a,b:1/m/2")
    return target, list(seeds)


def wav() -> tuple[Target, list[bytes]]:
    """A voice's WAV, in pieces and whole."""
    from voxray.audio.wav import BadWav, WavReader, read_wav

    def target(data: bytes) -> None:
        with contextlib.suppress(BadWav):
            read_wav(data)
        reader, out = WavReader(), 0
        with contextlib.suppress(BadWav):
            for at in range(0, len(data), 7):
                out += sum(map(len, reader.feed(data[at : at + 7])))
        assert out <= len(data)

    return target, [path.read_bytes()[:300] for path in (DATA / "turns").glob("*.wav")]


PARSERS: dict[str, Callable[[], tuple[Target, list[bytes]]]] = {
    **{name: lambda name=name: serializer(name) for name in ("twilio", "telnyx", "plivo", "exotel")},  # type: ignore[misc]
    "sniffer": sniffer,
    "socket": socket,
    "events": events,
    "reply": reply,
    "refusals": refusals,
    "proxy_line": proxy_line,
    "forwarded": forwarded,
    "hosts": hosts,
    "forms": forms,
    "signatures": signatures,
    "tokens": tokens,
    "stored": stored,
    "addresses": addresses,
    "wav": wav,
}


def fuzz(name: str, secs: int, corpus: str) -> None:
    """In a process of its own: libFuzzer never returns."""
    import atheris

    with atheris.instrument_imports(include=["voxray", "autobahn"], enable_loader_override=False):
        target, seeds = PARSERS[name]()
    for number, seed in enumerate(seeds):
        (Path(corpus) / f"seed-{number}").write_bytes(seed)
    FINDINGS.mkdir(exist_ok=True)
    options = [
        f"-max_total_time={secs}",
        f"-max_len={LONGEST}",
        "-timeout=2",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([name, *options, f"-artifact_prefix={FINDINGS}/{name}-", corpus], target)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parsers", nargs="*", metavar="PARSER", help=", ".join(PARSERS))
    parser.add_argument("--secs", type=int, default=60, help="for each")
    parser.add_argument("--corpus", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.corpus:
        fuzz(options.parsers[0], options.secs, options.corpus)
        return 0
    bad = 0
    for name in options.parsers or PARSERS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as corpus:
            command = [
                sys.executable,
                "-m",
                "bench.fuzz",
                name,
                "--secs",
                str(options.secs),
                "--corpus",
                corpus,
            ]
            ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
        counted = re.search(r"number_of_executed_units: (\d+)", ran.stderr)
        count, secs = int(counted[1]) if counted else 0, time.monotonic() - began
        found = ran.returncode != 0
        bad += found
        print(f"{'FOUND' if found else 'ok   '} {name}: {count} inputs in {secs:.0f} s", flush=True)
        if found:
            print(ran.stdout[-3000:], ran.stderr[-3000:], flush=True)
    return bad


if __name__ == "__main__":
    raise SystemExit(main())
