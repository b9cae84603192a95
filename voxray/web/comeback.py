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
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

WAIT_SECS = 2
MAX_WAITS = 10
"""20 s in all: longer than an instance that is gone keeps the places of its calls."""
MAX_STREAMS = 3
"""Of one call: it may be what kills us, and where no stream gets through it must come to an end."""


@dataclass(frozen=True, slots=True)
class Trail:
    """How a call has come here; it is told in the query. Nothing in it: by an ordinary webhook."""

    back: int = 0  # questions since its last stream
    streams: int = 0  # it was given

    def waiting(self) -> Trail:
        return replace(self, back=self.back + 1)

    def another_stream(self) -> Trail:
        """For the document that gives it one."""
        return Trail(1, self.streams + 1)

    @property
    def goes_on(self) -> bool:
        """The document may say that the call is to come back."""
        return self.back <= MAX_WAITS and self.streams < MAX_STREAMS

    def url(self, scheme: str, host: str) -> str:
        """Our webhook, marked. Nothing of a request but its host is in it."""
        return f"{scheme}://{host}/?back={self.back}&streams={self.streams}"


def trail_of(query: Mapping[str, str]) -> Trail:
    """What is no trail is an ordinary webhook."""
    back, streams = (_count(query.get(name, "")) for name in ("back", "streams"))
    return Trail(back, streams) if back and streams else Trail()


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 0


@runtime_checkable
class Documents(Protocol):
    """What a carrier needs that can send its callers back."""

    def answer_then(self, url: str, parameters: Mapping[str, str], again: str) -> bytes:
        """`AnswerDocuments.answer`; when that stream is over, POST to `again`."""

    def wait_then(self, secs: int, again: str) -> bytes:
        """Silence for so long, then POST to `again`."""
