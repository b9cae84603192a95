"""Reads the answer to the webhook: TwiML that connects the call to a media stream, or a clear refusal.

The server under test may be anybody's, so the document is bounded and a DOCTYPE is refused before its
entities are read. Rules from Twilio's `<Stream>` page: an absolute `wss` url without a query string (Twilio
drops it, and the handshake then fails with 31920); parameter names and values of at most 500 characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit
from xml.etree import ElementTree

MAX_DOCUMENT_BYTES = 65_536
MAX_PARAMETER_CHARS = 500


class BadAnswer(Exception):
    """The answer does not put the call on a media stream; the text says what it does instead."""


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """Where the answer sends the call's audio."""

    url: str
    parameters: Mapping[str, str]
    warnings: tuple[str, ...] = ()


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a document type, and with it every entity trick."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise BadAnswer("the answer has a DOCTYPE; TwiML has none")


def parse_answer(body: bytes) -> StreamAnswer:
    """`body` is the whole answer. Raises BadAnswer and nothing else."""
    if len(body) > MAX_DOCUMENT_BYTES:
        raise BadAnswer(f"the answer has {len(body)} bytes; TwiML has at most {MAX_DOCUMENT_BYTES}")
    root = _parsed(body)
    if root.tag != "Response":
        raise BadAnswer(f"the answer's root is <{root.tag:.40}>, not <Response>")
    stream = _stream(root)
    url, warnings = _checked_url(stream.get("url", "").strip())
    return StreamAnswer(url=url, parameters=_parameters(stream), warnings=warnings)


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


def _stream(root: ElementTree.Element) -> ElementTree.Element:
    connect = root.find("Connect")
    stream = connect.find("Stream") if connect is not None else None
    if stream is not None:
        return stream
    if root.find("Start/Stream") is not None:
        raise BadAnswer("<Start><Stream> is one-way: the agent would not be heard; use <Connect><Stream>")
    verbs = ", ".join(f"<{child.tag:.40}>" for child in list(root)[:8]) or "nothing"
    raise BadAnswer(f"the answer has no <Connect><Stream>; it says {verbs}")


def _checked_url(url: str) -> tuple[str, tuple[str, ...]]:
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
    if parts.query or parts.fragment:
        raise BadAnswer(f"<Stream> url {url!r:.200} has a query string, which Twilio drops; use <Parameter>")
    if not url.isascii() or any(character.isspace() or ord(character) < 32 for character in url):
        raise BadAnswer(f"<Stream> url {url!r:.200} has characters that do not belong in a URL")
    if parts.scheme == "ws":
        return url, ("the <Stream> url is ws://: Twilio itself takes only wss://",)
    return url, ()


def _parameters(stream: ElementTree.Element) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for child in stream.findall("Parameter"):
        name, value = child.get("name", ""), child.get("value", "")
        if not name:
            raise BadAnswer("a <Parameter> has no name")
        if len(name) > MAX_PARAMETER_CHARS or len(value) > MAX_PARAMETER_CHARS:
            raise BadAnswer(f"<Parameter> {name!r:.40} is longer than {MAX_PARAMETER_CHARS} characters")
        parameters[name] = value
    return parameters
