"""TwiML, which Telnyx copied as TeXML: the webhook's fields and the answer's verbs. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET

from voxray.carriers.xml import clean, document, is_sip
from voxray.frames import IncomingCall

_MAX_PARAMETER_CHARS = 500  # Twilio cuts there, or drops the stream
_MAX_NUMBER_CHARS = 256


def incoming(form: Mapping[str, str], call_sid: re.Pattern[str]) -> IncomingCall:
    """The webhook's call; an id that is not matched whole by `call_sid` is as good as absent."""
    sid = form.get("CallSid", "")
    return IncomingCall(
        call_sid=sid if call_sid.fullmatch(sid) else "",
        from_number=form.get("From", "")[:_MAX_NUMBER_CHARS],
        to_number=form.get("To", "")[:_MAX_NUMBER_CHARS],
    )


def connect_stream(
    url: str, parameters: Mapping[str, str], attributes: Mapping[str, str], again: str = ""
) -> bytes:
    """`<Connect><Stream>`: the only form whose audio goes both ways. Nothing after it, by design:

    verbs that follow run when we close the socket, and a `<Pause>` there once left callers on a silent
    line. `again`, the one exception, is asked then what to do next.
    """
    response = ET.Element("Response")
    stream = ET.SubElement(ET.SubElement(response, "Connect"), "Stream", {"url": clean(url), **attributes})
    for name, value in parameters.items():
        ET.SubElement(stream, "Parameter", name=_short(name), value=_short(value))
    if again:
        _redirect(response, again)
    return document(response)


def wait_then(secs: int, again: str) -> bytes:
    """Silence, and then `again` is asked what to do next."""
    response = ET.Element("Response")
    ET.SubElement(response, "Pause", length=str(secs))
    _redirect(response, again)
    return document(response)


def _redirect(response: ET.Element, url: str) -> None:
    ET.SubElement(response, "Redirect", method="POST").text = clean(url)


def reject_busy() -> bytes:
    """As the first verb this refuses the call unanswered, and unbilled."""
    response = ET.Element("Response")
    ET.SubElement(response, "Reject", reason="busy")
    return document(response)


def dial(to: str, noun: str = "") -> ET.Element:
    """Connects the caller to `to`, a number (within `noun`, if there is one) or a SIP URI.

    With nothing after it, the end of that call is the end of this one.
    """
    response = ET.Element("Response")
    element = ET.SubElement(response, "Dial")
    within = "Sip" if is_sip(to) else noun
    (ET.SubElement(element, within) if within else element).text = clean(to)
    return response


def _short(text: str) -> str:
    return clean(text)[:_MAX_PARAMETER_CHARS]
