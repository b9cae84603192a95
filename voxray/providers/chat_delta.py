"""Reads a chat completion of the OpenAI dialect, streamed or whole: text, function calls, errors. Pure.

Lenient where hosts differ: chunks without choices, content as null, "" or a list of parts, reasoning
(never spoken), tool calls without index, with one index for all or whole in one chunk, arguments as object,
errors in the midst of a stream, no `[DONE]`. What is not JSON is skipped and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from voxray.errors import ErrorKind
from voxray.providers.openai_errors import explain_event
from voxray.providers.sse import EventReader
from voxray.providers.tools import MAX_ARGUMENT_CHARS, ToolCall

MAX_TOOL_CALLS = 32
_MAX_WHOLE_BYTES = 1 << 20
_MAX_NAME_CHARS = 64


@dataclass(slots=True)
class _Called:
    """A function call on its way: the pieces of its arguments are put together, up to a limit."""

    index: object
    ident: str
    name: str = ""
    arguments: str = ""

    def is_meant(self, index: object, ident: str, name: str) -> bool:
        """Whether a piece with these is of this call. Some hosts give all calls one index, some give none."""
        if ident and self.ident and ident != self.ident:
            return False
        if index is not None:
            return index == self.index
        return bool(ident) or not (name and self.name)

    def add(self, arguments: str) -> None:
        room = MAX_ARGUMENT_CHARS + 1 - len(self.arguments)
        self.arguments += arguments[:room]


class ReplyReader:
    """Feed it the body; it returns the text to say. `whole`: the body is one JSON object, not a stream."""

    def __init__(self, max_chars: int, *, whole: bool = False) -> None:
        self.finished = False
        """Nothing that matters comes after this."""
        self.failure: tuple[ErrorKind, str] | None = None
        self.reason = ""
        """The host's finish_reason."""
        self.chunks = 0
        self.skipped = 0
        self.chars = 0
        self._max_chars = max_chars
        self._events = EventReader()
        self._whole: list[bytes] | None = [] if whole else None
        self._size = 0
        self._called: list[_Called] = []

    @property
    def calls(self) -> list[ToolCall]:
        """The functions the model called so far."""
        return [
            ToolCall(each.name, each.arguments if len(each.arguments) <= MAX_ARGUMENT_CHARS else None)
            for each in self._called
            if each.name
        ]

    def feed(self, data: bytes) -> str:
        """What `data` adds to the reply; often nothing."""
        if self._whole is None:
            return self._read([event.data for event in self._events.feed(data)])
        self._size += len(data)
        if self._size > _MAX_WHOLE_BYTES:
            self._fail(ErrorKind.BAD_ANSWER, "an answer that is too long")
        else:
            self._whole.append(data)
        return ""

    def finish(self) -> str:
        """The body is over: what was still held."""
        if self._whole is not None:
            return self._read([b"".join(self._whole)])
        return self._read([event.data for event in self._events.finish()])

    def _read(self, pieces: list[str] | list[bytes]) -> str:
        said = []
        for piece in pieces:
            if self.finished:
                break
            if piece == "[DONE]":
                self.finished = True
            elif text := self._chunk(piece):
                said.append(text)
        return "".join(said)

    def _chunk(self, piece: str | bytes) -> str:
        try:
            chunk = orjson.loads(piece)
        except orjson.JSONDecodeError:
            chunk = None
        if not isinstance(chunk, dict):
            self.skipped += 1
            return ""
        self.chunks += 1
        if (failure := explain_event(chunk)) is not None:
            self._fail(*failure)
            return ""
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        return self._choice(choice) if isinstance(choice, dict) else ""

    def _choice(self, choice: dict[str, Any]) -> str:
        delta = choice.get("delta") or choice.get("message")
        text = ""
        if isinstance(delta, dict):
            text = _text(delta.get("content"))
            calls = delta.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                self._tool_call(call)
        if isinstance(reason := choice.get("finish_reason"), str) and reason:
            self.reason, self.finished = reason[:40], True
        self.chars += len(text)
        if self.chars > self._max_chars:
            text = text[: len(text) - (self.chars - self._max_chars)]
            self.reason, self.finished = "too long", True
        return text

    def _tool_call(self, call: object) -> None:
        """A function call, or some more of one."""
        if not isinstance(call, dict):
            return
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        name, arguments = function.get("name"), function.get("arguments")
        name = name[:_MAX_NAME_CHARS] if isinstance(name, str) else ""
        called = self._called_by(call.get("index"), call.get("id"), name)
        if called is None:
            return
        called.name = name or called.name
        if isinstance(arguments, dict):
            arguments = orjson.dumps(arguments).decode()
        if isinstance(arguments, str):
            called.add(arguments)

    def _called_by(self, index: object, ident: object, name: str) -> _Called | None:
        """The call that is meant, perhaps a new one; None when there are too many."""
        index = index if isinstance(index, int) else None
        ident = ident if isinstance(ident, str) else ""
        for called in reversed(self._called):
            if called.is_meant(index, ident, name):
                called.ident = called.ident or ident
                return called
        if len(self._called) >= MAX_TOOL_CALLS:
            return None
        self._called.append(_Called(index, ident))
        return self._called[-1]

    def _fail(self, kind: ErrorKind, detail: str) -> None:
        self.failure, self.finished = (kind, detail), True


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return ""
