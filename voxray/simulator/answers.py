"""The answers of Telnyx (TeXML), Plivo (its own XML) and Exotel (JSON), read as each carrier reads them.

An answer that would leave the caller without an agent is refused with what is wrong with it: each carrier
has a way of being mute (Telnyx plays nothing raw without `bidirectionalMode="rtp"`, Plivo nothing at all
without `bidirectional="true"`), and from the outside they look alike. Nothing but BadAnswer is raised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from voxray.simulator.sound import supported
from voxray.simulator.twiml import (
    BadAnswer,
    StreamAnswer,
    check_body,
    checked_url,
    connected_stream,
    parameters,
    redirect,
    response,
    verbs,
)
from voxray.simulator.wires.exotel import rate_of
from voxray.simulator.wires.plivo import CONTENT_TYPES

MAX_HEADER_BYTES = 512  # Plivo's extraHeaders, in all
MAX_PAIRS, MAX_PAIR_CHARS, MAX_EXOTEL_URL = 3, 256, 600


# -- Telnyx ------------------------------------------------------------------
def parse_texml(body: bytes) -> StreamAnswer:
    """`<Connect><Stream bidirectionalMode="rtp">`."""
    root = response(body)
    stream = connected_stream(root)
    url, warnings = checked_url(stream.get("url", "").strip())
    if stream.get("bidirectionalMode", "mp3") != "rtp":
        raise BadAnswer('<Stream> has no bidirectionalMode="rtp": Telnyx expects MP3 and plays nothing else')
    _check_codecs(stream.attrib)
    if stream.get("track", "inbound_track") != "inbound_track":
        raise BadAnswer("<Stream> wants another track than inbound_track: the agent would hear itself")
    if stream.get("enableReconnect", "true") != "false":
        warnings += ("enableReconnect is not false: Telnyx dials again when the agent closes the socket",)
    return StreamAnswer(url, parameters(stream), warnings, dict(stream.attrib), redirect(root))


def _check_codecs(attributes: Mapping[str, str]) -> None:
    codec = attributes.get("codec", "default")
    if codec not in ("PCMU", "PCMA", "default"):
        raise BadAnswer(f"codec={codec!r:.20}: the simulator has PCMU, PCMA and default")
    encoding = attributes.get("bidirectionalCodec", "PCMU")
    rate = attributes.get("bidirectionalSamplingRate", "8000")
    if not rate.isascii() or not rate.isdigit() or len(rate) > 5 or not supported(encoding, int(rate)):
        raise BadAnswer(
            f"bidirectionalCodec={encoding!r:.20} at {rate!r:.20}: the simulator has PCMU, PCMA and L16"
        )


# -- Plivo -------------------------------------------------------------------
def parse_plivo(body: bytes) -> StreamAnswer:
    """`<Stream bidirectional="true" keepCallAlive="true" contentType="...">wss://...</Stream>`."""
    root = response(body)
    stream = root.find("Stream")
    if stream is None:
        hint = "; Plivo has no <Connect>" if root.find("Connect") is not None else ""
        raise BadAnswer(f"the answer has no <Stream>; it says {verbs(root)}{hint}")
    if stream.get("url") and not (stream.text or "").strip():
        raise BadAnswer("Plivo's <Stream> has its URL as text, not in an attribute")
    url, warnings = checked_url((stream.text or "").strip())
    if stream.get("bidirectional") != "true":
        raise BadAnswer('<Stream> is not bidirectional="true": the agent would not be heard')
    if stream.get("audioTrack", "inbound") != "inbound":
        raise BadAnswer('a bidirectional <Stream> requires audioTrack="inbound"')
    if stream.get("keepCallAlive") != "true":
        raise BadAnswer('<Stream> is not keepCallAlive="true": the call would end at once')
    kind = stream.get("contentType")
    if kind is None:
        warnings += ("<Stream> has no contentType: Plivo's pages disagree on the default",)
    elif kind.replace(" ", "") not in CONTENT_TYPES:
        raise BadAnswer(f"contentType={kind!r:.60}: Plivo has {', '.join(CONTENT_TYPES)}")
    headers = _headers(stream.get("extraHeaders", ""))
    return StreamAnswer(url, headers, warnings, dict(stream.attrib))


def _headers(written: str) -> dict[str, str]:
    if len(written.encode("utf-8", "replace")) > MAX_HEADER_BYTES:
        raise BadAnswer(f"extraHeaders has more than {MAX_HEADER_BYTES} bytes")
    found: dict[str, str] = {}
    for pair in filter(None, written.split(",")):
        name, equals, value = pair.strip().partition("=")
        if not (equals and name.isascii() and name.isalnum() and value.isascii() and value.isalnum()):
            raise BadAnswer(f"extraHeaders: {pair!r:.60} is not letters and digits, =, letters and digits")
        found[name] = value
    return found


# -- Exotel ------------------------------------------------------------------
def parse_exotel(body: bytes) -> StreamAnswer:
    """`{"url": "wss://..."}`, at top level, in no envelope."""
    check_body(body)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise BadAnswer("the answer is not JSON") from None
    url = found.get("url") if isinstance(found, dict) else None
    if not isinstance(url, str):
        raise BadAnswer('the answer has no "url" at its top level')
    return applet_url(url)


def applet_url(url: str) -> StreamAnswer:
    """A URL as it stands in a Voicebot applet: its query is the sample rate and the custom parameters."""
    url, warnings = checked_url(url.strip())
    if len(url) > MAX_EXOTEL_URL:
        raise BadAnswer(f"the stream's URL has {len(url)} characters; at most {MAX_EXOTEL_URL}")
    try:
        rate_of(url)
    except ValueError as error:
        raise BadAnswer(f"the stream's URL: {error}") from None
    pairs = [pair for pair in parse_qsl(urlsplit(url).query) if pair[0] not in ("sample-rate", "sample_rate")]
    if len(pairs) > MAX_PAIRS or sum(len(name) + len(value) for name, value in pairs) > MAX_PAIR_CHARS:
        raise BadAnswer(f"at most {MAX_PAIRS} custom parameters, of {MAX_PAIR_CHARS} characters in all")
    return StreamAnswer(url, dict(pairs), warnings)
