"""Reads a chat completion of the OpenAI dialect, streamed or whole: text, hanging up, errors. Pure.

Lenient where hosts differ: chunks without choices, content as null, "" or a list of parts, reasoning
(never spoken), tool calls without index or whole in one chunk, arguments as object, errors in the midst of
a stream, no `[DONE]`. What is not JSON is skipped and counted.
"""

from __future__ import annotations

from typing import Any

import orjson

from voxray.errors import ErrorKind
from voxray.providers.openai_errors import explain_event
from voxray.providers.sse import EventReader

END_CALL = "end_call"
MAX_TOOL_CALLS = 32
_MAX_WHOLE_BYTES = 1 << 20


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
        self._tools: dict[object, str] = {}
        self._tool: object = 0

    @property
    def end_call(self) -> bool:
        """The model called the function that hangs up."""
        return END_CALL in self._tools.values()

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
        """Collects names by index; where there is none, a new id begins a new call. Arguments: unused."""
        if not isinstance(call, dict):
            return
        index, ident = call.get("index"), call.get("id")
        if isinstance(index, int):
            self._tool = index
        elif isinstance(ident, str) and ident:
            self._tool = ident
        function = call.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str) and name and len(self._tools) < MAX_TOOL_CALLS:
            self._tools[self._tool] = name

    def _fail(self, kind: ErrorKind, detail: str) -> None:
        self.failure, self.finished = (kind, detail), True


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return ""
