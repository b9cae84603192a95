"""Reads the answer to the webhook: TwiML that connects the call to a media stream, or a clear refusal.

What the other carriers' documents have in common with it is here too; the rest is in `answers`.

The server under test may be anybody's, so the document is bounded and a DOCTYPE is refused before its
entities are read. Rules from Twilio's `<Stream>` page: an absolute `wss` url without a query string (Twilio
drops it, and the handshake then fails with 31920); parameter names and values of at most 500 characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from xml.etree import ElementTree

MAX_DOCUMENT_BYTES = 65_536
MAX_PARAMETER_CHARS = 500
_PAGES = (b"<!doctype html", b"<html")


class BadAnswer(Exception):
    """The answer does not put the call on a media stream; the text says what it does instead."""


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """Where the answer sends the call's audio."""

    url: str
    parameters: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)  # what else is said of the stream
    again: str = ""  # what is asked, by POST, once the stream is over: <Redirect>


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a document type, and with it every entity trick."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise BadAnswer("the answer has a DOCTYPE; TwiML has none")


def parse_answer(body: bytes) -> StreamAnswer:
    """`body` is the whole answer, Twilio's TwiML. Raises BadAnswer and nothing else."""
    root = response(body)
    stream = connected_stream(root)
    url, warnings = checked_url(stream.get("url", "").strip(), query_dropped=True)
    return StreamAnswer(url, parameters(stream), warnings, dict(stream.attrib), redirect(root))


def response(body: bytes) -> ElementTree.Element:
    """The `<Response>` that an XML answer is."""
    check_body(body)
    root = _parsed(body)
    if root.tag != "Response":
        raise BadAnswer(f"the answer's root is <{root.tag:.40}>, not <Response>")
    return root


def check_body(body: bytes) -> None:
    """What no carrier's answer is: endless, or a page for people."""
    if len(body) > MAX_DOCUMENT_BYTES:
        raise BadAnswer(f"the answer has {len(body)} bytes; at most {MAX_DOCUMENT_BYTES} are read")
    if body.lstrip()[:14].lower().startswith(_PAGES):
        raise BadAnswer("the answer is a page of HTML: a tunnel or a proxy answered, not the agent")


def _parsed(body: bytes) -> ElementTree.Element:
    parser = ElementTree.XMLParser(target=_NoDoctype())
    try:
        parser.feed(body)
        root = parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise BadAnswer(f"the answer is not XML: {error}") from None
    if not isinstance(root, ElementTree.Element):
        raise BadAnswer("the answer is empty")
    return root


def connected_stream(root: ElementTree.Element) -> ElementTree.Element:
    """TwiML's and TeXML's `<Connect><Stream>`."""
    connect = root.find("Connect")
    stream = connect.find("Stream") if connect is not None else None
    if stream is not None:
        return stream
    if root.find("Start/Stream") is not None:
        raise BadAnswer("<Start><Stream> is one-way: the agent would not be heard; use <Connect><Stream>")
    raise BadAnswer(f"the answer has no <Connect><Stream>; it says {verbs(root)}")


def redirect(root: ElementTree.Element) -> str:
    """The URL of `<Redirect>`, "" without. Raises BadAnswer."""
    found = root.find("Redirect")
    if found is None:
        return ""
    url = (found.text or "").strip()
    if found.get("method", "POST") != "POST" or not url.startswith(("https://", "http://")):
        raise BadAnswer(f"<Redirect> {url!r:.200}: the simulator follows whole URLs, by POST")
    return url


def verbs(root: ElementTree.Element) -> str:
    """What the answer does, for people."""
    return ", ".join(f"<{child.tag:.40}>" for child in list(root)[:8]) or "nothing"


def checked_url(url: str, *, query_dropped: bool = False) -> tuple[str, tuple[str, ...]]:
    """The stream's URL as it is, with warnings. Raises BadAnswer."""
    if not url:
        raise BadAnswer("<Stream> has no url")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise BadAnswer(f"<Stream> url {url!r:.200}: {error}") from None
    if parts.scheme not in ("wss", "ws"):
        raise BadAnswer(f"<Stream> url must begin with wss://, not {url!r:.200}")
    if not host:
        raise BadAnswer(f"<Stream> url {url!r:.200} names no host")
    if query_dropped and parts.query:
        raise BadAnswer(f"<Stream> url {url!r:.200} has a query string, which Twilio drops; use <Parameter>")
    if parts.fragment:
        raise BadAnswer(f"<Stream> url {url!r:.200} has a fragment, which no WebSocket URL may")
    if not url.isascii() or any(character.isspace() or ord(character) < 32 for character in url):
        raise BadAnswer(f"<Stream> url {url!r:.200} has characters that do not belong in a URL")
    if parts.scheme == "ws":
        return url, ("the <Stream> url is ws://: carriers take only wss://",)
    return url, ()


def parameters(stream: ElementTree.Element) -> dict[str, str]:
    """The `<Parameter>`s of a stream. Raises BadAnswer."""
    found: dict[str, str] = {}
    for child in stream.findall("Parameter"):
        name, value = child.get("name", ""), child.get("value", "")
        if not name:
            raise BadAnswer("a <Parameter> has no name")
        if len(name) > MAX_PARAMETER_CHARS or len(value) > MAX_PARAMETER_CHARS:
            raise BadAnswer(f"<Parameter> {name!r:.40} is longer than {MAX_PARAMETER_CHARS} characters")
        found[name] = value
    return found
