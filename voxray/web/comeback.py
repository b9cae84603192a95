"""Callers who come back: with `reattach` an answer goes on after its stream, with the order to ask us again.

A carrier does what comes next in a document once the stream is over, also when the daemon was killed. The
webhook that it then sends is marked in its query. Of a call that nobody knows any more (a crash) it is
answered with a new stream; of one that is over, with a hang-up; of one that still has its stream as far as
anybody knows (an instance that crashed keeps its place for some seconds) the caller is kept waiting for a
moment, and gets no second stream: the request may be a replay. Who comes back must be verified, and a call
that we end must be ended by the carrier's API, or else closing the socket would bring the caller back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

FIELD = "back"
"""In the webhook's query: how often this call has come back since it last had a stream."""
WAIT_SECS = 2
MAX_TIMES = 10
"""20 s in all: longer than an instance that is gone keeps the places of its calls."""


@runtime_checkable
class Documents(Protocol):
    """What a carrier needs that can send its callers back."""

    def answer_then(self, url: str, parameters: Mapping[str, str], again: str) -> bytes:
        """`AnswerDocuments.answer`; when that stream is over, POST to `again`."""

    def wait_then(self, secs: int, again: str) -> bytes:
        """Silence for so long, then POST to `again`."""


def times(query: Mapping[str, str]) -> int:
    """How often the caller has come back; 0: it is an ordinary webhook, or somebody's nonsense."""
    text = query.get(FIELD, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 0


def again(scheme: str, host: str, count: int = 1) -> str:
    """Our webhook, marked. Nothing of a request but its host is in it."""
    return f"{scheme}://{host}/?{FIELD}={count}"
