"""Where an agent's document sends a call that is up: TwiML's, TeXML's and Plivo's verbs are the same here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from voxray.simulator.twiml import BadAnswer, StreamAnswer, redirect, response, verbs

_PLACES = ("Number", "Sip", "User", "Client")


@dataclass(frozen=True, slots=True)
class Moved:
    """Connected to `dials`, after `keys` were pressed; neither: the call is over when the document is."""

    dials: str = ""
    keys: str = ""


def read_document(body: bytes) -> Moved:
    """Raises BadAnswer for what is no document, or one that does nothing that can be done here."""
    root = response(body)
    dial, play = root.find("Dial"), root.find("Play")
    if dial is None and play is None and root.find("Hangup") is None and len(root):
        raise BadAnswer(f"the document neither dials, presses keys nor hangs up; it says {verbs(root)}")
    to = ""
    if dial is not None:
        places = (child.text for child in dial if child.tag in _PLACES)
        to = next((text.strip() for text in (dial.text, *places) if text and text.strip()), "")
        if not to:
            raise BadAnswer("<Dial> has no number")
    return Moved(to, play.get("digits", "") if play is not None else "")


@dataclass(frozen=True, slots=True)
class Next:
    """What a call without a stream is to do: wait; then its stream, or ask `again`, or end."""

    pause_secs: float = 0.0
    stream: StreamAnswer | None = None
    again: str = ""


def next_of(body: bytes, parse: Callable[[bytes], StreamAnswer]) -> Next:
    """The answer to a `<Redirect>`; `parse` reads the carrier's answers with a stream. Raises BadAnswer."""
    root = response(body)
    if root.find("Connect") is not None:
        stream = parse(body)
        return Next(stream=stream, again=stream.again)
    lengths = [pause.get("length", "1") for pause in root.findall("Pause")]
    if not all(length.isascii() and length.isdigit() and len(length) < 4 for length in lengths):
        raise BadAnswer("<Pause> has no whole seconds")
    return Next(float(sum(map(int, lengths))), again=redirect(root))
