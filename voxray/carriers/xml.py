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
    # ElementTree escapes ">" in attributes and text, so " />" is only ever the end of an empty element.
    text: str = ET.tostring(root, encoding="unicode")
    return _DECLARATION + text.replace(" />", "/>").encode("utf-8")


def clean(text: str) -> str:
    """Without the characters that no XML document can hold."""
    return _NOT_XML.sub("", text)
