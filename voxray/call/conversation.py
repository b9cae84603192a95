"""The conversation as the model sees it: what was said, and what was really heard.

The agent's message of a turn is written when its audio was heard, not when it was generated, and it holds
the words that came out of the earpiece.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from voxray.frames import Message

MAX_MESSAGES = 200
"""Older exchanges are forgotten, the system prompt never: a call may last four hours."""


MAX_FACTS_CHARS = 8_000
"""Of what whoever placed the call told the agent: every turn pays for it."""

NO_FACTS: Mapping[str, object] = MappingProxyType({})


class Conversation:
    """Messages in order; consecutive ones of one role are joined."""

    def __init__(self, system_prompt: str = "", facts: Mapping[str, object] = NO_FACTS) -> None:
        """`facts` are what whoever placed the call told the agent of it."""
        json_text = _as_json(facts)[:MAX_FACTS_CHARS] if facts else ""
        told = f"Facts about this call: {json_text}" if json_text else ""
        self._system = tuple(Message("system", text) for text in (system_prompt, told) if text)
        self._messages: list[Message] = []

    def messages(self) -> Sequence[Message]:
        """What to send to the model now."""
        return (*self._system, *self._messages)

    def caller_said(self, text: str) -> None:
        self._add("user", text)

    def agent_said(self, text: str) -> None:
        """What the caller heard of the agent; nothing heard, nothing said."""
        self._add("assistant", text)

    def agent_pressed(self, digits: str) -> None:
        """A note for the model: it does not see its own function calls, and would press them again.

        Not in its own words, or it would learn to say such notes.
        """
        self._add("system", f"You pressed {digits} on the keypad.")

    def __len__(self) -> int:
        return len(self._messages)

    def _add(self, role: str, text: str) -> None:
        text = text.strip()
        if not text:
            return
        if self._messages and self._messages[-1].role == role:
            text = f"{self._messages.pop().text} {text}"
        self._messages.append(Message(role, text))
        if len(self._messages) > MAX_MESSAGES:
            del self._messages[: len(self._messages) - MAX_MESSAGES]


def _as_json(facts: Mapping[str, object]) -> str:
    """ "" when they are nested too deep to be written."""

    def plain(value: object) -> object:
        return dict(value) if isinstance(value, Mapping) else str(value)

    try:
        text = json.dumps(dict(facts), ensure_ascii=False, default=plain)
    except (RecursionError, ValueError):
        return ""
    return text.encode("utf-8", "replace").decode("utf-8")  # half of a surrogate pair would fail every reply
