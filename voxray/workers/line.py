"""The line between a parent and one worker: a socket pair, AMP on it, and one command both ways.

What is asked is a word and a JSON object, the answer any JSON. AMP's values end at 64 KiB, so long ones are
several. Nothing is waited for without a deadline: a process that is stopped has its socket open still.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as Late
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from voxray.errors import StoreUnavailable
from voxray.serializers.strictjson import dumps, loads

ASK_SECS = 0.5
"""For what calls wait for; as with Redis."""
PIECE_BYTES = 60_000
Answers = Mapping[str, Callable[..., Coroutine[Any, Any, Any]]]


class Stumbled(Exception):
    """The other side failed to answer; its log says why."""


class Long(amp.Argument):
    """Bytes of any length, in pieces that AMP takes."""

    def toBox(self, name: bytes, strings: Any, objects: Any, proto: object) -> None:
        value = objects.pop(name.decode("ascii"))
        for number, first in enumerate(range(0, len(value) or 1, PIECE_BYTES)):
            strings[b"%s %d" % (name, number)] = value[first : first + PIECE_BYTES]

    def fromBox(self, name: bytes, strings: Any, objects: Any, proto: object) -> None:
        pieces: list[bytes] = []
        while (key := b"%s %d" % (name, len(pieces))) in strings:
            pieces.append(strings.pop(key))
        objects[name.decode("ascii")] = b"".join(pieces)


class Ask(amp.Command):
    """The only command."""

    arguments: ClassVar = [(b"what", amp.Unicode()), (b"said", Long())]  # type: ignore[no-untyped-call]
    response: ClassVar = [(b"answer", Long())]  # type: ignore[no-untyped-call]
    errors: ClassVar = {Stumbled: b"STUMBLED"}


class Line(amp.AMP):
    """One end."""

    log = Logger()

    def __init__(
        self, clock: IReactorTime, answers: Answers, lost: Callable[[], None] = lambda: None
    ) -> None:
        """`answers` are given to the other end's questions; `lost()` is called when the other end is gone."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._clock, self._answers, self._lost = clock, answers, lost
        self.up = False

    async def ask(self, what: str, said: Mapping[str, object] | None = None, secs: float = ASK_SECS) -> Any:
        """The other end's answer. Raises StoreUnavailable."""
        if not self.up:
            raise StoreUnavailable("down")
        try:
            text = dumps(dict(said or {}))
        except (TypeError, ValueError):  # a stranger's id may be text that no UTF-8 can say
            raise StoreUnavailable("unspeakable") from None
        asking: Deferred[Any] = self.callRemote(  # type: ignore[no-untyped-call]
            Ask, what=what, said=text
        )
        try:
            answer = await asking.addTimeout(secs, self._clock)
        except Late:
            raise StoreUnavailable("timeout") from None
        except ConnectionClosed:
            raise StoreUnavailable("lost") from None
        except Stumbled:
            raise StoreUnavailable("stumbled") from None
        return loads(answer["answer"])

    def tell(self, what: str, said: Mapping[str, object] | None = None) -> None:
        """Nobody waits for the answer; there may be none."""
        telling = Deferred.fromCoroutine(self.ask(what, said))
        telling.addErrback(lambda failure: failure.trap(StoreUnavailable))
        telling.addErrback(lambda failure: self.log.failure("telling {what} failed", failure, what=what))

    # -- AMP -------------------------------------------------------------------
    @Ask.responder
    def asked(self, what: str, said: bytes) -> Deferred[Any]:
        answering = Deferred.fromCoroutine(self._answer(what, said))
        return answering.addErrback(self._stumbled, what)

    async def _answer(self, what: str, said: bytes) -> dict[str, bytes]:
        return {"answer": dumps(await self._answers[what](**loads(said)))}

    def _stumbled(self, failure: Failure, what: str) -> None:
        """AMP would hang up at an error that it does not know."""
        self.log.failure("answering {what} failed", failure, what=what)
        raise Stumbled(what)

    def makeConnection(self, transport: Any) -> None:
        """Not AMP's own, nor its `connectionLost`: they log each connection."""
        self.up = True
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.up = False
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self._lost()
