"""The conversation as the model sees it: what was said, and what was really heard.

The agent's message of a turn is written when its audio was heard, not when it was generated, and it holds
the words that came out of the earpiece.
"""

from __future__ import annotations

from collections.abc import Sequence

from voxray.frames import Message

MAX_MESSAGES = 200
"""Older exchanges are forgotten, the system prompt never: a call may last four hours."""


class Conversation:
    """Messages in order; consecutive ones of one role are joined."""

    def __init__(self, system_prompt: str = "") -> None:
        self._system = (Message("system", system_prompt),) if system_prompt else ()
        self._messages: list[Message] = []

    def messages(self) -> Sequence[Message]:
        """What to send to the model now."""
        return (*self._system, *self._messages)

    def caller_said(self, text: str) -> None:
        self._add("user", text)

    def agent_said(self, text: str) -> None:
        """What the caller heard of the agent; nothing heard, nothing said."""
        self._add("assistant", text)

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
