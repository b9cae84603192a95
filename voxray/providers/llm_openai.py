"""Chat in the OpenAI dialect, streamed (OpenAI, Groq, servers of one's own).

Source: POST {base}/chat/completions of OpenAI's API description; `voxray.providers.chat_delta` reads the
chunks, and `voxray.providers.tools` has the functions by which a model may hang up, transfer or press keys.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from twisted.logger import Logger

from voxray.errors import ErrorKind, ProviderError
from voxray.frames import CallInfo, Message, ReplyEvent, TextDelta
from voxray.http import HttpClient
from voxray.httpstream import HttpStream
from voxray.providers.chat_delta import ReplyReader
from voxray.providers.offers import CHAT_MODELS, OTHER_CHAT_MODEL
from voxray.providers.openai_api import Host, media_type
from voxray.providers.tools import Orders, offered, orders

PATH = "/chat/completions"
MAX_REPLY_TOKENS = 1024  # also what a model that reasons may spend on reasoning
MAX_REPLY_CHARS = 8_000  # about ten minutes of speech: a model that goes on has lost the thread


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where a host departs from OpenAI."""

    max_tokens_field: str = "max_tokens"
    extra: Mapping[str, Any] = field(default_factory=dict)


DIALECTS = {
    # The padding that hides token lengths from eavesdroppers is of no use to us inside TLS.
    "openai": Dialect("max_completion_tokens", {"stream_options": {"include_obfuscation": False}}),
    "groq": Dialect("max_completion_tokens"),
}


def reasoning_effort(model: str) -> str:
    """The least thinking a model can be told to do before it speaks; empty: it does not take the field.

    A caller waits meanwhile. Names as OpenAI and Groq give them, a maker before a slash left out.
    """
    name = model.lower().rpartition("/")[2]
    if name.startswith("gpt-oss"):
        return "low"
    if name.startswith("qwen3"):
        return "none"
    if name[:1] == "o" and name[1:2].isdigit():
        return "low"
    family = name.partition("gpt-")[2]
    if name.startswith("gpt-") and family[:1] in ("5", "6") and "-chat" not in name:
        return "minimal" if family == "5" or family.startswith("5-") else "none"
    return ""


def request_body(
    model: str, messages: Sequence[Message], dialect: Dialect, *, tools: Sequence[Any], max_tokens: int
) -> bytes:
    """The request as JSON. System prompt and tools come first and unchanged: vendors cache that prefix."""
    body: dict[str, Any] = {"model": model, "stream": True, dialect.max_tokens_field: max_tokens}
    body |= dialect.extra
    if effort := reasoning_effort(model):
        body["reasoning_effort"] = effort
    if tools:
        body["tools"] = tools
    body["messages"] = [{"role": m.role, "content": m.text} for m in messages]
    return orjson.dumps(body)


class OpenAIChat:
    """The agent's mind, at a vendor."""

    log = Logger()

    def __init__(
        self,
        http: HttpClient,
        host: Host,
        *,
        model: str = "",
        end_call_tool: bool = True,
        transfers: Sequence[str] = (),
        max_tokens: int = MAX_REPLY_TOKENS,
    ) -> None:
        """`transfers` are the names a caller may be connected to."""
        self.name = host.name
        self.model = model or CHAT_MODELS.get(host.name, OTHER_CHAT_MODEL)
        self._http = http
        self._host = host
        self._circuit = host.circuit(http, "llm", self.model, PATH)
        self._dialect = DIALECTS.get(host.name, Dialect())
        self._end_call_tool, self._transfers = end_call_tool, transfers
        self._max_tokens = max_tokens

    async def start(self) -> None:
        """Nothing to load."""
        self._circuit.serve()

    async def warm_up(self) -> None:
        await self._host.warm_up(self._http)

    async def stop(self) -> None:
        """The connections are the HTTP client's."""
        self._circuit.retire()

    async def reply(self, messages: Sequence[Message], call: CallInfo) -> AsyncGenerator[ReplyEvent, None]:
        tools = offered(call, self._transfers, end_call=self._end_call_tool)
        body = request_body(
            self.model, messages, self._dialect, tools=[*tools.values()], max_tokens=self._max_tokens
        )
        asked = self._host.post(PATH, body, "application/json", self._circuit)
        with self._circuit.watch():
            stream = await self._http.open(replace(asked, model=self.model))
            with closing(stream):
                reply = self._reader(stream)
                while not reply.finished:
                    data = await stream.read()
                    if text := reply.feed(data) if data else reply.finish():
                        yield TextDelta(text)
                    if not data:
                        break
                wanted = orders(reply.calls, tools)
                self._check(reply, wanted, stream)
                stream.release()  # what follows is of no interest, but the connection is
        if wanted.ignored:
            text = "call {call_id}: {count} function calls of the model's make no sense; ignored"
            self.log.warn(text, call_id=call.call_id, count=wanted.ignored)
        for event in wanted.events:
            yield event

    def _reader(self, stream: HttpStream) -> ReplyReader:
        kind = media_type(stream.headers)
        if kind == "text/html":
            raise self._host.bad_answer("a web page instead of a reply")
        return ReplyReader(MAX_REPLY_CHARS, whole=kind == "application/json")

    def _check(self, reply: ReplyReader, wanted: Orders, stream: HttpStream) -> None:
        """Raises for a reply that cannot be taken for a whole one."""
        if reply.failure is not None:
            raise ProviderError(self.name, *reply.failure, status=stream.status)
        if not reply.finished and not stream.complete:
            raise ProviderError(self.name, ErrorKind.TRANSPORT, "the reply was cut off")
        if not reply.chars and not wanted.events:
            why = f"finish reason {reply.reason}" if reply.reason else f"{reply.skipped} unreadable events"
            text = f"an empty reply ({why})"
            raise ProviderError(self.name, ErrorKind.BAD_ANSWER, text, of_call=bool(reply.reason))
