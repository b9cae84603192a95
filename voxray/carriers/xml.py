"""Answer documents in XML, for the carriers that speak it: made of elements, never of strings. Pure."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

CONTENT_TYPE = "application/xml"
_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>'
# What XML 1.0 cannot carry (C0 less tab and line ends, surrogates, U+FFFE, U+FFFF), and C1.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def document(root: ET.Element) -> bytes:
    """The whole document, UTF-8."""
    return _DECLARATION + markup(root).encode("utf-8")


def markup(root: ET.Element) -> str:
    """The same without a declaration, as a REST parameter takes it."""
    # ElementTree escapes ">" in attributes and text, so " />" is only ever the end of an empty element.
    text: str = ET.tostring(root, encoding="unicode")
    return text.replace(" />", "/>")


def hang_up(**attributes: str) -> bytes:
    """Ends the call; all the carriers that speak XML call it the same."""
    response = ET.Element("Response")
    ET.SubElement(response, "Hangup", attributes)
    return document(response)


def is_sip(to: str) -> bool:
    """Whether a number is a SIP URI: that goes into an element of its own."""
    return to.startswith(("sip:", "sips:"))


def clean(text: str) -> str:
    """Without the characters that no XML document can hold."""
    return _NOT_XML.sub("", text)
